//! containers/storage, which Podman and CRI-O share:
//! `<graphroot>/<driver>-containers/containers.json` names containers and their
//! images; `userdata/` below it has the OCI `config.json` and the pid file.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::oci::{self, Spec};
use super::{file, plain_name, podman};
use crate::identity::is_hex64;
use crate::metadata::Pod;
use crate::resolver::Item;
use crate::time::parse_rfc3339;
use crate::{Config, Engine, Metadata, User};

/// Storage drivers that name their directories.
const DRIVERS: &[&str] = &["overlay", "vfs", "btrfs", "zfs"];

/// Lists of containers; the second one of those that go with the machine's next start.
pub(crate) const LISTS: [&str; 2] = ["containers.json", "volatile-containers.json"];

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

    /// Where lists of containers are, or may come to be.
    pub(crate) fn lists(&self) -> impl Iterator<Item = PathBuf> {
        let of =
            |directory: &PathBuf| DRIVERS.iter().map(|d| directory.join(format!("{d}-containers"))).collect();
        self.directories.iter().flat_map(of as fn(&PathBuf) -> Vec<PathBuf>)
    }

    /// Ids in the lists of one such directory.
    pub(crate) fn ids(containers: &Path) -> Vec<String> {
        let entries = LISTS.iter().filter_map(|list| file::json::<Vec<Entry>>(&containers.join(list)));
        entries.flatten().map(|entry| entry.id).filter(|id| is_hex64(id.as_bytes())).collect()
    }

    /// The user who can write it; `None` for root's.
    pub(crate) fn owner(&self) -> Option<u32> {
        self.owner
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
                for list in LISTS {
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
            let known = podman::read(directory, wanted);
            for (at, meta) in found.iter_mut() {
                if let Some((_, state)) = known.iter().find(|(i, _)| i == at) {
                    state.clone().add_to(meta);
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
