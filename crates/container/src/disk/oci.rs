//! OCI bundles (`config.json`) and the state directories of plain runtimes:
//! `<root>/<id>/state.json` (runc), `…/status` (crun), `…/state.json` with
//! `youki_config.json` (youki). nabe's own has runc's shape.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{covers, file, pair_with_mounts, plain_name, subdirs};
use crate::identity::is_hex64;
use crate::metadata::Pod;
use crate::resolver::Item;
use crate::time::parse_rfc3339;
use crate::{Config, Engine, Metadata, User};

/// Annotation with the name of a container of nabe's own, where that is not the id.
const NABE_NAME: &str = "org.nabe.name";

/// Annotation with the image, as the image-spec has it.
const IMAGE_NAME: &str = "org.opencontainers.image.ref.name";

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

/// A container of nabe's own, by its id alone: what its state says, else that it is called so.
pub(crate) fn own(config: &Config, id: &str) -> Metadata {
    let roots = config.roots_of(Engine::Nabe, &["/run/nabe"]);
    let states = roots.filter(|_| plain_name(id)).filter_map(|root| state_of(Engine::Nabe, &root.join(id)));
    match states.into_iter().next() {
        Some(state) => describe(Engine::Nabe, id, &state),
        None => nameless(id),
    }
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
    found
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
    let file: File = file::json(&directory.join("state.json"))?;
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
