//! From ids to metadata: files first, sockets for the rest, each engine in a
//! thread of its own that nobody waits for beyond the deadline.
//!
//! This module keeps what was learnt between calls; [`round`] asks.

mod round;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use round::Round;

use crate::api::http::Deadline;
use crate::cgroup::owner_uid;
use crate::disk::oci;
use crate::identity::{is_hex64, nesting};
use crate::{Config, Engine, Identity, Metadata, Note};

/// An engine that failed is not asked again for this long.
const RETRY: Duration = Duration::from_secs(10);
/// A container that nobody knew is looked for again after this long.
const FORGET: Duration = Duration::from_secs(5);
/// Roots that are looked into at most.
const MOST_ROOTS: usize = 256;

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
    /// What went wrong, each thing once and once only for one resolver.
    pub notes: Vec<Note>,
}

/// Finds metadata and remembers it between calls: a container with an id that nobody
/// has twice for good, a miss and a failing engine for a few seconds.
#[derive(Debug)]
pub struct Resolver {
    config: Arc<Config>,
    known: HashMap<Key, Metadata>,
    missed: HashMap<Key, Instant>,
    failed: HashMap<Engine, Instant>,
    noted: HashSet<Note>,
}

/// What makes two wanted cgroups the same container.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Id(String),
    Paths(Vec<Vec<u8>>),
}

/// A [`Wanted`] that a thread can own.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) id: Option<String>,
    pub(crate) engine: Engine,
    /// Whose systemd user slice it is in.
    pub(crate) uid: Option<u32>,
    pub(crate) paths: Vec<Vec<u8>>,
    pub(crate) pids: Vec<u32>,
}

impl Resolver {
    /// A resolver that has asked nobody yet.
    pub fn new(config: Config) -> Self {
        Resolver {
            config: Arc::new(config),
            known: HashMap::new(),
            missed: HashMap::new(),
            failed: HashMap::new(),
            noted: HashSet::new(),
        }
    }

    /// Looks in another directory of a plain runtime's states, too. It has to be root's or ours alone: anybody
    /// else could give containers names.
    pub fn add_root(&mut self, engine: Engine, root: PathBuf) {
        let known = &self.config.roots;
        if oci::is_safe(&root) && known.len() < MOST_ROOTS && !known.contains(&(engine, root.clone())) {
            Arc::make_mut(&mut self.config).roots.push((engine, root));
        }
    }

    /// Looks again for what nobody knew a moment ago: an engine writes its files at the birth of a container, and
    /// who asks may be quicker.
    pub fn retry(&mut self) {
        self.missed.clear();
    }

    /// Finds what is known of each wanted cgroup, within [`Config::deadline`].
    pub fn resolve(&mut self, wanted: &[Wanted<'_>]) -> Resolution {
        let now = Instant::now();
        let deadline = Deadline::after(self.config.deadline);
        let keys: Vec<Key> = wanted.iter().map(Key::new).collect();
        self.missed.retain(|_, since| now.duration_since(*since) < FORGET);
        self.failed.retain(|_, since| now.duration_since(*since) < RETRY);
        // Who has names instead of ids may give one to another container.
        self.known.retain(|_, metadata| is_hex64(metadata.id.as_bytes()));
        let mut distinct = HashSet::new();
        let items: Vec<(usize, Item)> = keys
            .iter()
            .zip(wanted)
            .enumerate()
            .filter(|(_, (key, _))| {
                !self.known.contains_key(key)
                    && !self.missed.contains_key(key)
                    && distinct.insert((*key).clone())
            })
            .map(|(at, (_, wanted))| (at, Item::new(wanted)))
            .collect();
        let mut notes = Vec::new();
        if !items.is_empty() {
            let mut round = Round::new(&self.config, &items, deadline, &self.failed);
            let found = round.run(&items);
            for engine in &round.failed {
                self.failed.insert(*engine, now);
            }
            notes = round.notes;
            self.remember(&keys, &items, found, now);
        }
        notes.retain(|note| self.noted.insert(note.clone()));
        let found = keys.iter().map(|key| self.known.get(key).cloned()).collect();
        Resolution { found, notes }
    }

    fn remember(
        &mut self,
        keys: &[Key],
        items: &[(usize, Item)],
        mut found: HashMap<usize, Metadata>,
        now: Instant,
    ) {
        for (at, item) in items {
            let Some(key) = keys.get(*at) else { continue };
            let by_cgroup = || item.id.as_deref().filter(|_| item.engine == Engine::Nabe).map(oci::nameless);
            match found.remove(at).or_else(by_cgroup) {
                Some(meta) => self.known.insert(key.clone(), meta).is_some(),
                None => self.missed.insert(key.clone(), now).is_some(),
            };
        }
    }
}

impl Key {
    fn new(wanted: &Wanted<'_>) -> Key {
        match &wanted.identity {
            Some(identity) => Key::Id(identity.id.to_string()),
            None => Key::Paths(wanted.cgroup_paths.iter().map(|path| path.to_vec()).collect()),
        }
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

    pub(crate) fn by_id(id: &str, engine: Engine) -> Item {
        Item { id: Some(id.to_owned()), engine, uid: None, paths: Vec::new(), pids: Vec::new() }
    }

    /// The container around this one, if its paths show one.
    fn outer(&self) -> Option<Item> {
        let inner = self.id.as_deref()?;
        let outer = self.paths.iter().find_map(|path| nesting(path).find(|i| i.id != inner))?;
        Some(Item { uid: self.uid, ..Item::by_id(&outer.id, outer.engine) })
    }
}
