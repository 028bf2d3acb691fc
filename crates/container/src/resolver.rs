//! From ids to metadata: files first, sockets for the rest, all in threads that
//! nobody waits for beyond the deadline.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Instant;

use crate::cgroup::owner_uid;
use crate::{Config, Engine, Identity, Metadata, Note, disk};

/// One distinct cgroup that is, or may be, a container's.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// The task's cgroup paths, one per hierarchy, each once.
    pub cgroup_paths: &'a [&'a [u8]],
    /// Processes seen in it (any of them; the first few are enough).
    pub pids: &'a [u32],
    /// What [`crate::identify_any`] said of the paths. Without one the cgroup is
    /// compared with those that plain OCI runtimes and containerd recorded.
    pub identity: Option<Identity<'a>>,
}

/// The answer to one [`Resolver::resolve`].
#[derive(Clone, Debug, Default)]
pub struct Resolution {
    /// Aligned with the wanted cgroups; `None` where nobody knows it.
    pub found: Vec<Option<Metadata>>,
    /// What went wrong, each thing once.
    pub notes: Vec<Note>,
}

/// Finds metadata and remembers it by id between calls.
#[derive(Debug)]
pub struct Resolver {
    config: Arc<Config>,
    cache: HashMap<String, Metadata>,
}

/// A [`Wanted`] that a thread can own.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) id: Option<String>,
    pub(crate) engine: Engine,
    pub(crate) uid: Option<u32>,
    pub(crate) paths: Vec<Vec<u8>>,
    pub(crate) pids: Vec<u32>,
}

impl Resolver {
    /// A resolver that has asked nobody yet.
    pub fn new(config: Config) -> Self {
        Resolver { config: Arc::new(config), cache: HashMap::new() }
    }

    /// Finds what is known of each wanted cgroup, within [`Config::deadline`].
    pub fn resolve(&mut self, wanted: &[Wanted<'_>]) -> Resolution {
        let until = Instant::now() + self.config.deadline;
        let mut found: Vec<Option<Metadata>> =
            wanted.iter().map(|w| self.cache.get(w.identity.as_ref()?.id.as_ref()).cloned()).collect();
        let items: Arc<Vec<(usize, Item)>> = Arc::new(
            wanted
                .iter()
                .enumerate()
                .filter(|(at, _)| found.get(*at).is_none_or(Option::is_none))
                .map(|(at, wanted)| (at, Item::new(wanted)))
                .collect(),
        );
        if !items.is_empty() {
            let (sender, receiver) = mpsc::channel();
            let (config, shared) = (Arc::clone(&self.config), Arc::clone(&items));
            std::thread::spawn(move || {
                for root in disk::docker::data_roots(&config, &[]) {
                    for (at, item) in shared.iter() {
                        if let Some(id) = &item.id
                            && let Some(meta) = disk::docker::read(&root, id)
                        {
                            let _ = sender.send((*at, meta));
                        }
                    }
                }
            });
            while let Ok((at, meta)) = receiver.recv_timeout(until.saturating_duration_since(Instant::now()))
            {
                self.cache.insert(meta.id.clone(), meta.clone());
                if let Some(slot) = found.get_mut(at) {
                    *slot = Some(meta);
                }
            }
        }
        Resolution { found, notes: Vec::new() }
    }
}

impl Item {
    fn new(wanted: &Wanted<'_>) -> Item {
        Item {
            id: wanted.identity.as_ref().map(|identity| identity.id.to_string()),
            engine: wanted.identity.as_ref().map_or(Engine::Unknown, |i| i.engine),
            uid: wanted.cgroup_paths.iter().find_map(|path| owner_uid(path)),
            paths: wanted.cgroup_paths.iter().map(|path| path.to_vec()).collect(),
            pids: wanted.pids.to_vec(),
        }
    }
}
