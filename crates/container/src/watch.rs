//! Sees containers come: engines write down a container before its first program runs, and some of them remove
//! that as soon as it has ended. A thread that the kernel wakes (inotify) reads it in between, so that a container
//! of a few milliseconds has its name and image when somebody asks, which takes no I/O.
//!
//! What the thread knows is bounded, and it never holds up who asks. It is not joined: it owns all that it touches
//! and ends with the process. Where nothing can be watched nothing is known, and [`crate::Resolver`] has to do.

mod lookout;

use std::collections::{HashMap, HashSet, VecDeque};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::cgroup::owner_uid;
use crate::identity::{identify_any, is_hex64};
use crate::{Config, Engine, Metadata};

/// Containers that are remembered; the first of them are forgotten.
const MOST: usize = 16_384;
/// Roots of plain runtimes that are added at most.
const MOST_ROOTS: usize = 64;

/// What is known of containers that came since [`Watcher::start`], or that were there then.
#[derive(Clone, Debug)]
pub struct Watcher {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    known: Mutex<Known>,
    roots: Mutex<Roots>,
    generation: AtomicU64,
    /// Wakes the thread; none where there is none.
    wake: Option<OwnedFd>,
}

#[derive(Debug, Default)]
struct Roots {
    all: HashSet<PathBuf>,
    new: Vec<(Engine, PathBuf, Option<u32>)>,
}

/// An id, with whose it is unless it is one of those that nobody has twice.
type Key = (Option<Engine>, String);

#[derive(Debug, Default)]
struct Known {
    by_id: HashMap<Key, Found>,
    by_cgroup: HashMap<String, Key>,
    order: VecDeque<Key>,
}

#[derive(Clone, Debug)]
struct Found {
    metadata: Metadata,
    /// Who can write where it stands: it counts in this user's cgroups only.
    owner: Option<u32>,
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

fn key(engine: Engine, id: &str) -> Key {
    ((!is_hex64(id.as_bytes())).then_some(engine), id.to_owned())
}

impl Known {
    fn add(&mut self, metadata: Metadata, owner: Option<u32>) {
        let key = key(metadata.engine, &metadata.id);
        let cgroups = metadata.cgroups.clone();
        match self.by_id.insert(key.clone(), Found { metadata, owner }) {
            Some(before) => self.leave(&before.metadata.cgroups, &key),
            None => self.order.push_back(key.clone()),
        }
        self.by_cgroup.extend(cgroups.into_iter().map(|cgroup| (cgroup, key.clone())));
        while self.order.len() > MOST {
            let Some(oldest) = self.order.pop_front() else { break };
            if let Some(gone) = self.by_id.remove(&oldest) {
                self.leave(&gone.metadata.cgroups, &oldest);
            }
        }
    }

    /// These cgroups are no longer this container's.
    fn leave(&mut self, cgroups: &[String], key: &Key) {
        for cgroup in cgroups {
            if self.by_cgroup.get(cgroup) == Some(key) {
                self.by_cgroup.remove(cgroup);
            }
        }
    }

    fn get(&self, engine: Engine, id: &str) -> Option<Metadata> {
        self.by_id.get(&key(engine, id)).map(|found| found.metadata.clone())
    }

    fn find(&self, cgroup_paths: &[&[u8]]) -> Option<&Metadata> {
        let found = match identify_any(cgroup_paths) {
            Some(identity) => self.by_id.get(&key(identity.engine, &identity.id)),
            None => cgroup_paths.iter().find_map(|path| self.by_id.get(self.around(path)?)),
        }?;
        let may_speak =
            found.owner.is_none() || cgroup_paths.iter().any(|path| owner_uid(path) == found.owner);
        may_speak.then_some(&found.metadata)
    }

    /// Whose recorded cgroup a path is, or lies in.
    fn around(&self, path: &[u8]) -> Option<&Key> {
        let mut path = std::str::from_utf8(path).ok()?;
        while path.len() > 1 {
            if let Some(key) = self.by_cgroup.get(path) {
                return Some(key);
            }
            path = path.get(..path.rfind('/')?)?;
        }
        None
    }
}

impl Watcher {
    /// Watches where `config` says that engines are.
    #[must_use]
    pub fn start(config: Config) -> Self {
        let wake = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).ok();
        let (known, roots) = (Mutex::default(), Mutex::default());
        let shared = Arc::new(Shared { known, roots, generation: AtomicU64::new(0), wake });
        let of = Arc::clone(&shared);
        // Without a thread nothing is known.
        let _ = std::thread::Builder::new()
            .name("watch-engines".to_owned())
            .spawn(move || lookout::run(&config, &of));
        Self { shared }
    }

    /// What is known of the container that a task with these cgroup paths is in. Never waits for an engine.
    #[must_use]
    pub fn find(&self, cgroup_paths: &[&[u8]]) -> Option<Metadata> {
        lock(&self.shared.known).find(cgroup_paths).cloned()
    }

    /// Changes whenever something was learnt.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.shared.generation.load(Ordering::Acquire)
    }

    /// Watches another directory of a plain runtime's states, too. `owner` is the ordinary user whose it is: only
    /// this user's cgroups are described by it. True when it was not watched before.
    pub fn add_root(&self, engine: Engine, root: PathBuf, owner: Option<u32>) -> bool {
        let mut roots = lock(&self.shared.roots);
        if !root.is_absolute() || roots.all.len() >= MOST_ROOTS || !roots.all.insert(root.clone()) {
            return false;
        }
        roots.new.push((engine, root, owner));
        drop(roots);
        if let Some(wake) = &self.shared.wake {
            let _ = rustix::io::write(wake, &1u64.to_ne_bytes());
        }
        true
    }
}

impl Shared {
    fn learn(&self, metadata: Metadata, owner: Option<u32>) {
        lock(&self.known).add(metadata, owner);
        self.generation.fetch_add(1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_are_found_by_id_and_by_recorded_cgroup() {
        let mut known = Known::default();
        let hex = "0123456789abcdef".repeat(4);
        known.add(Metadata::new(&hex, Engine::Docker, "test"), None);
        let mut plain = Metadata::new("web", Engine::Runc, "test");
        plain.cgroups = vec!["/mine/web".to_owned()];
        known.add(plain, None);
        known.add(Metadata::new("web", Engine::Nabe, "test"), Some(1000));
        let engine = |paths: &[&str]| {
            let paths: Vec<&[u8]> = paths.iter().map(|path| path.as_bytes()).collect();
            known.find(&paths).map(|found| found.engine)
        };
        assert_eq!(engine(&["/", &format!("/docker/{hex}/inner")]), Some(Engine::Docker));
        assert_eq!(engine(&["/", "/mine/web"]), Some(Engine::Runc));
        assert_eq!(engine(&["/mine/web/deep/er"]), Some(Engine::Runc));
        for nobody in ["/mine", "/mine/web2", "/", "", "web"] {
            assert_eq!(engine(&[nobody]), None, "{nobody}");
        }
        // A user's word does not count outside the user's own cgroups.
        assert_eq!(engine(&["/nabe/web"]), None);
        assert_eq!(engine(&["/nabe/web", "/user.slice/user-1000.slice/x"]), Some(Engine::Nabe));
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let mut known = Known::default();
        for number in 0..=MOST {
            let mut one = Metadata::new(format!("c{number}"), Engine::Runc, "test");
            one.cgroups = vec![format!("/c/{number}")];
            known.add(one, None);
        }
        assert_eq!((known.by_id.len(), known.by_cgroup.len(), known.order.len()), (MOST, MOST, MOST));
        assert!(known.find(&[b"/c/0"]).is_none() && known.find(&[b"/c/1"]).is_some());
    }
}
