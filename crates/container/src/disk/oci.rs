//! OCI bundles (`config.json`) and the state directories of plain runtimes:
//! `<root>/<id>/state.json` (runc), `…/status` (crun), `…/state.json` with
//! `youki_config.json` (youki). nabe's own has runc's shape.

use std::collections::{BTreeMap, HashMap};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{covers, file, pair_with_mounts, plain_name, subdirs, unnamed};
use crate::identity::is_hex64;
use crate::metadata::Pod;
use crate::resolver::Item;
use crate::time::parse_rfc3339;
use crate::{Config, Engine, Metadata, User};

/// Annotation with the name of a container of nabe's own, where that is not the id.
const NABE_NAME: &str = "org.nabe.name";

/// Annotation with the image, as the image-spec has it.
const IMAGE_NAME: &str = "org.opencontainers.image.ref.name";

/// States of nabe's own containers that have ended, in their root.
const ENDED: &str = ".ended";

/// The parts of an OCI `config.json` that tell whose container it is.
#[derive(Deserialize)]
pub(crate) struct Spec {
    #[serde(default)]
    annotations: HashMap<String, String>,
    linux: Option<Linux>,
    root: Option<Root>,
    #[serde(default)]
    mounts: Vec<Mount>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Linux {
    cgroups_path: Option<String>,
}

#[derive(Deserialize)]
struct Root {
    path: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Mount {
    #[serde(default)]
    destination: String,
    source: Option<PathBuf>,
}

impl Spec {
    /// Reads `config.json` of a bundle.
    pub(crate) fn read(bundle: &Path) -> Option<Spec> {
        file::json(&bundle.join("config.json"))
    }

    pub(crate) fn cgroups_path(&self) -> Option<&str> {
        self.linux.as_ref()?.cgroups_path.as_deref().filter(|path| path.len() > 1)
    }

    /// Docker's data directory: the source of a mount
    /// `<data-root>/containers/<id>/hostname`.
    pub(crate) fn docker_data_root(&self, id: &str) -> Option<&Path> {
        self.mounts
            .iter()
            .filter(|mount| mount.destination.starts_with("/etc/"))
            .filter_map(|mount| mount.source.as_deref()?.parent())
            .find(|directory| directory.file_name().is_some_and(|name| name == id))
            .and_then(|directory| directory.parent()?.parent())
    }

    /// Takes pod, names, image and root file system from the annotations that
    /// containerd's CRI, CRI-O and Podman write.
    pub(crate) fn describe(&self, found: &mut Metadata) {
        let get = |key: &str| self.annotations.get(key).filter(|value| !value.is_empty()).cloned();
        let cri = |key: &str| get(&format!("io.kubernetes.cri.{key}"));
        let crio = |key: &str| get(&format!("io.kubernetes.cri-o.{key}"));
        if found.pod.is_none() {
            found.pod = Pod::from_pairs(get).or_else(|| {
                Some(Pod {
                    name: Some(cri("sandbox-name")?),
                    namespace: cri("sandbox-namespace"),
                    uid: cri("sandbox-uid"),
                    container_name: cri("container-name"),
                })
            });
        }
        let kind = cri("container-type").or_else(|| crio("ContainerType"));
        found.infra |= kind.as_deref() == Some("sandbox");
        if found.image.is_none() {
            found.image = cri("image-name").or_else(|| crio("ImageName"));
        }
        if let Some(labels) = crio("Labels")
            && found.labels.is_empty()
            && let Ok(labels) = serde_json::from_str::<BTreeMap<String, String>>(&labels)
        {
            found.set_labels(labels);
        }
        if found.name.is_none() {
            found.name = get("nerdctl/name")
                .or_else(|| found.pod.as_ref()?.container_name.clone())
                .or_else(|| found.infra.then(|| found.pod.as_ref()?.name.clone()).flatten());
        }
        if let Some(path) = self.root.as_ref().and_then(|root| root.path.clone())
            && path.is_absolute()
        {
            found.rootfs = Some(path);
        }
    }
}

/// The number in a pid file.
pub(crate) fn read_pid(path: &Path) -> Option<u32> {
    let text = file::read(path).ok()?;
    std::str::from_utf8(&text).ok()?.trim().parse().ok().filter(|pid| *pid > 0)
}

/// State directories of plain runtimes, with the runtime and the user whose
/// they are.
pub(crate) fn roots(config: &Config, users: &[User]) -> Vec<(Engine, PathBuf, Option<u32>)> {
    let mut roots = Vec::new();
    for engine in [Engine::Nabe, Engine::Runc, Engine::Crun, Engine::Youki] {
        let default = format!("/run/{engine}");
        roots.extend(config.roots_of(engine, &[default.as_str()]).map(|path| (engine, path, None)));
        for user in users {
            let path = config.at(format!("/run/user/{}/{engine}", user.uid));
            roots.push((engine, path, Some(user.uid)));
        }
    }
    roots
}

/// Whether only root, or we, can write a directory.
pub(crate) fn is_safe(root: &Path) -> bool {
    std::fs::metadata(root).is_ok_and(|meta| {
        let ours = [0, rustix::process::geteuid().as_raw()].contains(&meta.uid());
        ours && meta.is_dir() && meta.mode() & 0o022 == 0
    })
}

/// What a runtime's state directory says of one container.
struct State {
    cgroups: Vec<String>,
    pid: Option<u32>,
    bundle: Option<PathBuf>,
    rootfs: Option<PathBuf>,
    created: Option<String>,
    annotations: Vec<(String, String)>,
}

/// Describes the items that were started by the runtime of this directory:
/// matched by id when there is one, else by the recorded cgroup.
pub(crate) fn read(
    engine: Engine,
    root: &Path,
    owner: Option<u32>,
    items: &[(usize, Item)],
    found: &mut Vec<(usize, Metadata)>,
) {
    // Podman and CRI-O keep their hexadecimal ids in the same place; those
    // containers are theirs.
    for id in subdirs(root).into_iter().filter(|id| plain_name(id) && !is_hex64(id.as_bytes())) {
        let Some(state) = state_of(engine, &root.join(&id)) else { continue };
        let mut meta: Option<Metadata> = None;
        for (at, item) in items.iter().filter(|(_, item)| owner.is_none() || item.uid == owner) {
            let mine = match &item.id {
                Some(wanted) => *wanted == id && item.engine == engine,
                None => state.cgroups.iter().any(|cgroup| covers(cgroup, &item.paths)),
            };
            if mine {
                let meta = meta.get_or_insert_with(|| describe(engine, &id, &state));
                found.push((*at, meta.clone()));
            }
        }
    }
}

/// A container of nabe's own, by its id alone, as it was at `ts_ns` since the epoch or when its first process
/// had this pid: what its state says, also when it has ended since; else that it is called so.
pub(crate) fn own(config: &Config, id: &str, pid: Option<u32>, ts_ns: u64) -> Metadata {
    let mut found = nameless(id);
    if !plain_name(id) {
        return found;
    }
    let ts_ns = i64::try_from(ts_ns).unwrap_or(i64::MAX);
    // An id is taken for as long as there is a state: what was made before that moment was there then.
    let meant = |state: &State| {
        let created = state.created.as_deref().and_then(parse_rfc3339);
        pid.is_some() && state.pid == pid || created.is_some_and(|created| created <= ts_ns)
    };
    for root in config.roots_of(Engine::Nabe, &["/run/nabe"]) {
        let now = runc_state(&root.join(id)).filter(meant);
        if let Some(state) = now.or_else(|| ended(&root.join(ENDED), id, pid, ts_ns)) {
            found = describe(Engine::Nabe, id, &state);
            break;
        }
    }
    found
}

/// The state of a container that has ended, out of the journal that the runtime keeps for a while:
/// `<id>:<pid of its first process>`, changed last when it ended.
fn ended(journal: &Path, id: &str, pid: Option<u32>, ts_ns: i64) -> Option<State> {
    let names = subdirs(journal).into_iter();
    let mine = names.filter_map(|name| {
        let first: u32 = name.strip_prefix(id)?.strip_prefix(':')?.parse().ok()?;
        let path = journal.join(name);
        let state = runc_file(&path)?;
        let created = state.created.as_deref().and_then(parse_rfc3339)?;
        let meta = std::fs::symlink_metadata(&path).ok()?;
        let ended = meta.ctime().checked_mul(1_000_000_000)?.checked_add(meta.ctime_nsec())?;
        (pid == Some(first) || (created..=ended).contains(&ts_ns)).then_some((
            pid == Some(first),
            created,
            state,
        ))
    });
    mine.max_by_key(|(same, created, _)| (*same, *created)).map(|(.., state)| state)
}

/// A container of nabe's own whose state is elsewhere (`--root`): its cgroup has its id, which is its name.
pub(crate) fn nameless(id: &str) -> Metadata {
    let mut found = Metadata::new(id, Engine::Nabe, "cgroup");
    found.name = Some(id.to_owned());
    found
}

fn describe(engine: Engine, id: &str, state: &State) -> Metadata {
    let source = match engine {
        Engine::Crun => "crun status",
        Engine::Youki => "youki state.json",
        Engine::Nabe => "nabe state.json",
        _ => "runc state.json",
    };
    let annotation =
        |key: &str| state.annotations.iter().find(|(found, _)| found == key).map(|(_, value)| value.clone());
    let mut found = Metadata::new(id, engine, source);
    found.name = Some(id.to_owned());
    if engine == Engine::Nabe {
        found.name = annotation(NABE_NAME).or(found.name);
        found.image = annotation(IMAGE_NAME);
    }
    found.init_pid = state.pid;
    found.bundle = state.bundle.clone();
    found.rootfs = state.rootfs.clone();
    found.started_at = state.created.as_deref().and_then(parse_rfc3339);
    found.set_labels(state.annotations.iter().cloned());
    found.cgroups = unnamed(id, state.cgroups.iter().map(String::as_str));
    found
}

/// The container whose state is in this directory of a root; none of an engine's, which are described better
/// by that, and none whose state says nothing yet.
pub(crate) fn in_root(engine: Engine, root: &Path, id: &str) -> Option<Metadata> {
    let plain = plain_name(id) && !is_hex64(id.as_bytes());
    Some(describe(engine, id, &state_of(engine, &plain.then(|| root.join(id))?)?))
}

fn state_of(engine: Engine, directory: &Path) -> Option<State> {
    match engine {
        Engine::Runc | Engine::Nabe => runc_state(directory),
        Engine::Crun => crun_state(directory),
        Engine::Youki => youki_state(directory),
        _ => None,
    }
}

fn runc_state(directory: &Path) -> Option<State> {
    runc_file(&directory.join("state.json"))
}

fn runc_file(path: &Path) -> Option<State> {
    #[derive(Deserialize)]
    struct File {
        init_process_pid: Option<i64>,
        created: Option<String>,
        #[serde(default)]
        cgroup_paths: HashMap<String, String>,
        #[serde(default)]
        config: Config,
    }
    #[derive(Default, Deserialize)]
    struct Config {
        rootfs: Option<PathBuf>,
        labels: Option<Vec<String>>,
    }
    let file: File = file::json(path)?;
    let mut cgroups: Vec<String> = pair_with_mounts(file.cgroup_paths).collect();
    cgroups.sort();
    cgroups.dedup();
    let mut annotations: Vec<(String, String)> = file
        .config
        .labels
        .unwrap_or_default()
        .iter()
        .filter_map(|label| label.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    let at = annotations.iter().position(|(key, _)| key == "bundle");
    let bundle = at.map(|at| PathBuf::from(annotations.swap_remove(at).1));
    Some(State {
        cgroups,
        pid: positive(file.init_process_pid),
        bundle,
        rootfs: file.config.rootfs,
        created: file.created,
        annotations,
    })
}

fn crun_state(directory: &Path) -> Option<State> {
    #[derive(Deserialize)]
    #[serde(rename_all = "kebab-case")]
    struct File {
        pid: Option<i64>,
        cgroup_path: Option<String>,
        rootfs: Option<PathBuf>,
        bundle: Option<PathBuf>,
        created: Option<String>,
    }
    let file: File = file::json(&directory.join("status"))?;
    let spec = Spec::read(directory).or_else(|| Spec::read(file.bundle.as_deref()?));
    Some(State {
        cgroups: file.cgroup_path.into_iter().filter(|path| path.len() > 1).collect(),
        pid: positive(file.pid),
        bundle: file.bundle,
        rootfs: file.rootfs,
        created: file.created,
        annotations: spec.map(|spec| spec.annotations.into_iter().collect()).unwrap_or_default(),
    })
}

fn youki_state(directory: &Path) -> Option<State> {
    #[derive(Deserialize)]
    struct File {
        pid: Option<i64>,
        bundle: Option<PathBuf>,
        created: Option<String>,
        annotations: Option<HashMap<String, String>>,
    }
    #[derive(Deserialize)]
    struct Config {
        cgroup_path: Option<String>,
    }
    let file: File = file::json(&directory.join("state.json"))?;
    let config: Option<Config> = file::json(&directory.join("youki_config.json"));
    let cgroup = config.and_then(|config| config.cgroup_path);
    Some(State {
        cgroups: cgroup.into_iter().filter(|path| path.len() > 1).collect(),
        pid: positive(file.pid),
        rootfs: None,
        bundle: file.bundle,
        created: file.created,
        annotations: file.annotations.unwrap_or_default().into_iter().collect(),
    })
}

fn positive(pid: Option<i64>) -> Option<u32> {
    pid.and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid > 0)
}
