//! containers/storage, which Podman and CRI-O share:
//! `<graphroot>/<driver>-containers/containers.json` names containers and their
//! images; `userdata/` below it has the OCI `config.json` and the pid file. With
//! Podman up to 4 the labels are in `<graphroot>/libpod/bolt_state.db` (bucket
//! `ctr/<id>`: JSON under `config` and `state`).

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::bolt::{self, Unreadable};
use super::oci::{self, Spec};
use super::{file, plain_name};
use crate::identity::is_hex64;
use crate::metadata::Pod;
use crate::resolver::Item;
use crate::time::parse_rfc3339;
use crate::{Config, Engine, Metadata, User};

/// Storage drivers that name their directories.
const DRIVERS: &[&str] = &["overlay", "vfs", "btrfs", "zfs"];

/// One storage: the data and run directories that belong together.
pub(crate) struct Storage {
    directories: Vec<PathBuf>,
    /// The user who can write it; `None` for root's.
    owner: Option<u32>,
}

/// Root's storage (one, as `/etc/containers/storage.conf` has it) and that of
/// each user.
pub(crate) fn storages(config: &Config, users: &[User]) -> Vec<Storage> {
    let mut directories: Vec<PathBuf> = config.roots_of(Engine::Podman, &[]).collect();
    directories.extend(config.roots_of(Engine::CriO, &[]));
    for conf in ["/etc/containers/storage.conf", "/usr/share/containers/storage.conf"] {
        if let Ok(text) = file::read(&config.at(conf)) {
            directories.extend(conf_roots(&text).map(|path| config.at(path)));
            break;
        }
    }
    for default in ["/var/lib/containers/storage", "/run/containers/storage"] {
        let default = config.at(default);
        if !directories.contains(&default) {
            directories.push(default);
        }
    }
    let mut storages = vec![Storage { directories, owner: None }];
    for user in users {
        storages.push(Storage {
            directories: vec![
                user.home.join(".local/share/containers/storage"),
                config.at(format!("/run/user/{}/containers", user.uid)),
            ],
            owner: Some(user.uid),
        });
    }
    storages
}

/// `graphroot = "…"` and `runroot = "…"`: the only two lines that matter here.
fn conf_roots(text: &[u8]) -> impl Iterator<Item = String> {
    let text = String::from_utf8_lossy(text).into_owned();
    let roots: Vec<String> = text
        .lines()
        .filter_map(|line| {
            let (key, value) = line.split_once('=')?;
            let value = value.trim().trim_matches(['"', '\'']);
            let known = matches!(key.trim(), "graphroot" | "runroot");
            (known && value.starts_with('/')).then(|| value.to_owned())
        })
        .collect();
    roots.into_iter()
}

#[derive(Deserialize)]
struct Entry {
    id: String,
    #[serde(default)]
    names: Vec<String>,
    image: Option<String>,
    layer: Option<String>,
    /// JSON in a string.
    metadata: Option<String>,
    created: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct EntryMetadata {
    image_name: Option<String>,
    name: Option<String>,
    pod_name: Option<String>,
    metadata_name: Option<String>,
    #[serde(default)]
    pod: bool,
}

/// CRI-O calls a pod `k8s_<pod>_<namespace>_<uid>_<attempt>`.
fn crio_pod(name: &str) -> Option<Pod> {
    let mut parts = name.strip_prefix("k8s_")?.split('_').map(str::to_owned);
    Some(Pod {
        name: parts.next(),
        namespace: Some(parts.next()?),
        uid: Some(parts.next()?),
        container_name: None,
    })
}

impl Storage {
    /// Root's storage below one data directory.
    pub(crate) fn at(graph: &Path) -> Storage {
        Storage { directories: vec![graph.to_path_buf()], owner: None }
    }

    /// Whether any of its directories can be read.
    pub(crate) fn readable(&self) -> Vec<PathBuf> {
        let has = |path: &PathBuf| {
            DRIVERS.iter().any(|d| std::fs::read_dir(path.join(format!("{d}-containers"))).is_ok())
        };
        self.directories.iter().filter(|path| has(path)).cloned().collect()
    }

    /// Describes the items of this storage. A user's storage speaks only for
    /// the user's own cgroups.
    pub(crate) fn read(&self, items: &[(usize, Item)], found: &mut Vec<(usize, Metadata)>) {
        let wanted: Vec<(usize, &str, Engine)> = items
            .iter()
            .filter(|(_, item)| self.owner.is_none() || item.uid == self.owner)
            .filter_map(|(at, item)| Some((*at, item.id.as_deref()?, item.engine)))
            .filter(|(_, id, _)| is_hex64(id.as_bytes()))
            .collect();
        if wanted.is_empty() {
            return;
        }
        for directory in &self.directories {
            for driver in DRIVERS {
                let containers = directory.join(format!("{driver}-containers"));
                for list in ["containers.json", "volatile-containers.json"] {
                    let Some(entries) = file::json::<Vec<Entry>>(&containers.join(list)) else {
                        continue;
                    };
                    for (at, _, engine) in wanted_entries(&entries, &wanted) {
                        let meta = self.describe(directory, driver, at.1, engine);
                        found.push((at.0, meta));
                    }
                }
            }
        }
        self.add_labels(found, &wanted);
    }

    fn describe(&self, graph: &Path, driver: &str, entry: &Entry, engine: Engine) -> Metadata {
        let extra: EntryMetadata =
            entry.metadata.as_deref().and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default();
        let engine = match engine {
            Engine::Podman | Engine::CriO => engine,
            _ if extra.metadata_name.is_some() => Engine::CriO,
            _ => Engine::Podman,
        };
        let source = match engine {
            Engine::CriO => "cri-o containers.json",
            _ => "podman containers.json",
        };
        let mut found = Metadata::new(&entry.id, engine, source);
        found.image = extra.image_name.filter(|name| !name.is_empty());
        found.image_id = entry.image.clone().filter(|id| !id.is_empty());
        found.started_at = entry.created.as_deref().and_then(parse_rfc3339);
        if engine == Engine::CriO {
            found.name = extra.metadata_name.clone();
            found.infra = extra.pod;
            found.pod = extra
                .pod_name
                .as_deref()
                .and_then(crio_pod)
                .map(|pod| Pod { container_name: extra.metadata_name.filter(|_| !extra.pod), ..pod });
        } else {
            found.name = extra.name.or_else(|| entry.names.first().cloned());
        }
        if driver == "overlay"
            && let Some(layer) = entry.layer.as_deref().filter(|layer| plain_name(layer))
        {
            let layer = graph.join("overlay").join(layer);
            found.upper_dir = Some(layer.join("diff"));
            found.rootfs = Some(layer.join("merged"));
        }
        self.userdata(&entry.id, &mut found);
        found
    }

    /// The bundle and the pid file, whichever of the directories has them.
    fn userdata(&self, id: &str, found: &mut Metadata) {
        for directory in &self.directories {
            for driver in DRIVERS {
                let userdata = directory.join(format!("{driver}-containers")).join(id).join("userdata");
                if !userdata.is_dir() {
                    continue;
                }
                if found.init_pid.is_none() {
                    found.init_pid = oci::read_pid(&userdata.join("pidfile"));
                }
                if found.bundle.is_none()
                    && let Some(spec) = Spec::read(&userdata)
                {
                    spec.describe(found);
                    found.bundle = Some(userdata);
                }
            }
        }
    }

    fn add_labels(&self, found: &mut [(usize, Metadata)], wanted: &[(usize, &str, Engine)]) {
        for directory in &self.directories {
            let database = directory.join("libpod/bolt_state.db");
            if !database.exists() {
                continue;
            }
            let Ok(known) = bolt::with(&database, |db| podman_state(db, wanted)) else {
                continue;
            };
            for (at, meta) in found.iter_mut() {
                if let Some(state) = known.iter().find(|state| state.0 == *at) {
                    state.1.clone().add_to(meta);
                }
            }
        }
    }
}

type Match<'a> = ((usize, &'a Entry), &'a str, Engine);

fn wanted_entries<'a>(
    entries: &'a [Entry],
    wanted: &'a [(usize, &'a str, Engine)],
) -> impl Iterator<Item = Match<'a>> {
    wanted.iter().filter_map(|(at, id, engine)| {
        let entry = entries.iter().find(|entry| entry.id == *id)?;
        Some(((*at, entry), *id, *engine))
    })
}

/// What Podman's own database adds.
#[derive(Clone, Default)]
pub(crate) struct PodmanState {
    labels: HashMap<String, String>,
    pod: Option<Pod>,
    infra: bool,
    started: Option<i64>,
}

impl PodmanState {
    fn add_to(self, found: &mut Metadata) {
        if found.labels.is_empty() {
            found.set_labels(self.labels);
        }
        found.infra |= self.infra;
        found.started_at = self.started.or(found.started_at);
        if found.pod.is_none() {
            found.pod = self.pod;
        }
    }
}

/// The `config` JSON of a Podman container.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PodmanConfig {
    labels: Option<HashMap<String, String>>,
    pod: Option<String>,
    #[serde(alias = "pause", default)]
    is_infra: bool,
}

fn podman_state(
    db: &bolt::Db,
    wanted: &[(usize, &str, Engine)],
) -> Result<Vec<(usize, PodmanState)>, Unreadable> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct State {
        started_time: Option<String>,
    }
    #[derive(Deserialize)]
    struct PodConfig {
        name: Option<String>,
    }
    let Some(containers) = db.bucket(&[b"ctr"])? else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    for (at, id, _) in wanted {
        let Some(bucket) = db.bucket_in(&containers, id.as_bytes())? else { continue };
        let Some(config) = db.value(&bucket, b"config")? else { continue };
        let Ok(config) = serde_json::from_slice::<PodmanConfig>(&config) else { continue };
        let mut state = PodmanState {
            labels: config.labels.unwrap_or_default(),
            infra: config.is_infra,
            ..PodmanState::default()
        };
        if let Some(json) = db.value(&bucket, b"state")?
            && let Ok(json) = serde_json::from_slice::<State>(&json)
        {
            state.started = json.started_time.as_deref().and_then(parse_rfc3339);
        }
        if let Some(pod) = config.pod.filter(|pod| !pod.is_empty()) {
            let bucket = db.bucket(&[b"pod", pod.as_bytes()])?;
            let json = match bucket {
                Some(bucket) => db.value(&bucket, b"config")?,
                None => None,
            };
            let json = json.and_then(|json| serde_json::from_slice::<PodConfig>(&json).ok());
            state.pod = Some(Pod { name: json.and_then(|pod| pod.name), uid: Some(pod), ..Pod::default() });
        }
        found.push((*at, state));
    }
    Ok(found)
}
