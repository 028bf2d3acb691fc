//! The thread behind a [`super::Watcher`]: which directories it watches, and what it reads when something comes
//! to be there.
//!
//! A directory that is not there yet is waited for at its nearest ancestor. A watch is set before a directory is
//! read, so that nothing falls between the two.

use std::collections::{HashMap, HashSet};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::inotify::{CreateFlags, ReadFlags, Reader, WatchFlags, add_watch, init, remove_watch};

use super::{Shared, lock};
use crate::disk::containerd::{self, MOBY, TASKS};
use crate::disk::storage::{LISTS, Storage, storages};
use crate::disk::{docker, oci, plain_name, subdirs, user};
use crate::identity::is_hex64;
use crate::resolver::Item;
use crate::{Config, Engine};

/// Directories that are watched at once.
const MOST_SPOTS: usize = 8192;
/// How often containerd's database is read that is being written, and the pause between.
const TRIES: usize = 16;
const PAUSE: Duration = Duration::from_millis(1);

/// What a watched directory is.
#[derive(Clone)]
enum Kind {
    /// Something that is waited for will be below it.
    Ancestor,
    /// `containers` in Docker's data root.
    Docker,
    /// One container in there.
    DockerOne(String),
    /// containerd's tasks: a directory for each namespace.
    Tasks,
    /// The tasks of one namespace.
    Namespace,
    /// The bundle of one task.
    Task(String),
    /// Lists of containers/storage.
    Storage(Arc<Storage>),
    /// States of a plain runtime.
    States(Engine),
    /// One container's state.
    State(Engine, String),
}

#[derive(Clone)]
struct Spot {
    kind: Kind,
    path: PathBuf,
    owner: Option<u32>,
}

struct Lookout<'a> {
    shared: &'a Shared,
    inotify: OwnedFd,
    /// By number of the watch; one directory may be several things.
    spots: HashMap<i32, Vec<Spot>>,
    missing: Vec<Spot>,
    /// Roots of containerd, with whose they are.
    containerd: Vec<(PathBuf, Option<u32>)>,
    /// Ids that each list had when it was read last.
    listed: HashMap<PathBuf, HashSet<String>>,
}

/// Watches until the process ends.
pub(super) fn run(config: &Config, shared: &Shared) {
    let Ok(inotify) = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK) else { return };
    let users = user::users(config, &[]);
    let mut lookout = Lookout {
        shared,
        inotify,
        spots: HashMap::new(),
        missing: targets(config, &users),
        containerd: containerd::roots(config, &users),
        listed: HashMap::new(),
    };
    lookout.look_for_missing();
    while lookout.wait() {
        lookout.add_roots();
        lookout.read();
    }
}

/// All directories that are worth a look.
fn targets(config: &Config, users: &[crate::User]) -> Vec<Spot> {
    let mut targets = Vec::new();
    let mut add = |kind, path, owner| targets.push(Spot { kind, path, owner });
    for (engine, path, owner) in oci::roots(config, users) {
        add(Kind::States(engine), path, owner);
    }
    for (root, owner) in docker::data_roots(config, users) {
        add(Kind::Docker, root.join("containers"), owner);
    }
    for (root, owner) in containerd::roots(config, users) {
        add(Kind::Tasks, root.join(TASKS), owner);
    }
    for storage in storages(config, users) {
        let storage = Arc::new(storage);
        for path in storage.lists() {
            add(Kind::Storage(Arc::clone(&storage)), path, storage.owner());
        }
    }
    targets
}

impl Lookout<'_> {
    /// Waits for news; false when there will be none.
    fn wait(&self) -> bool {
        let mut fds = vec![PollFd::new(&self.inotify, PollFlags::IN)];
        fds.extend(self.shared.wake.as_ref().map(|wake| PollFd::new(wake, PollFlags::IN)));
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false,
        }
        if let (Some(wake), Some(fd)) = (&self.shared.wake, fds.get(1))
            && fd.revents().contains(PollFlags::IN)
        {
            let _ = rustix::io::read(wake, &mut [0u8; 8]);
        }
        true
    }

    fn add_roots(&mut self) {
        let new = std::mem::take(&mut lock(&self.shared.roots).new);
        if new.is_empty() {
            return;
        }
        let spots =
            new.into_iter().map(|(engine, path, owner)| Spot { kind: Kind::States(engine), path, owner });
        self.missing.extend(spots);
        self.look_for_missing();
    }

    /// Reads what the kernel has to say by now.
    fn read(&mut self) {
        let mut news = Vec::new();
        let mut buffer = [MaybeUninit::uninit(); 16 << 10];
        let mut reader = Reader::new(self.inotify.as_fd(), &mut buffer);
        while let Ok(event) = reader.next() {
            let name = event.file_name().and_then(|name| name.to_str().ok()).unwrap_or_default();
            news.push((event.wd(), event.events(), name.to_owned()));
        }
        // A list that was written several times is read once.
        news.dedup();
        for (wd, events, name) in news {
            if events.contains(ReadFlags::QUEUE_OVERFLOW) {
                self.read_all();
            } else if events.contains(ReadFlags::IGNORED) {
                self.gone(wd);
            } else if !name.is_empty() {
                for spot in self.spots.get(&wd).cloned().unwrap_or_default() {
                    self.came(wd, &spot, &name);
                }
            }
        }
    }

    /// Something was lost: everything is read again.
    fn read_all(&mut self) {
        let spots: Vec<(i32, Spot)> =
            self.spots.iter().flat_map(|(wd, spots)| spots.iter().map(|spot| (*wd, spot.clone()))).collect();
        for (wd, spot) in spots {
            self.scan(wd, &spot);
        }
        self.look_for_missing();
    }

    /// A directory is gone; one that may come back is waited for.
    fn gone(&mut self, wd: i32) {
        use Kind::{Docker, States, Storage, Tasks};
        let Some(spots) = self.spots.remove(&wd) else { return };
        let back = |spot: &Spot| matches!(spot.kind, Docker | Tasks | Storage(_) | States(_));
        // Another one's ancestor may have gone, too.
        self.missing.extend(spots.into_iter().filter(back));
        self.look_for_missing();
    }

    /// Watches a directory; false when it is not there.
    fn watch(&mut self, spot: Spot) -> bool {
        if self.spots.len() >= MOST_SPOTS {
            return false;
        }
        let mut flags =
            WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::ONLYDIR | WatchFlags::MASK_ADD;
        if !matches!(spot.kind, Kind::Ancestor) {
            flags |= WatchFlags::CLOSE_WRITE;
        }
        let Ok(wd) = add_watch(&self.inotify, spot.path.as_path(), flags) else { return false };
        let here = self.spots.entry(wd).or_default();
        let same = |other: &Spot| other.path == spot.path && same_kind(&other.kind, &spot.kind);
        if !here.iter().any(same) {
            here.push(spot.clone());
        }
        self.scan(wd, &spot);
        true
    }

    /// What was missing is looked for again, and waited for where it will come to be.
    fn look_for_missing(&mut self) {
        for spot in std::mem::take(&mut self.missing) {
            if self.watch(spot.clone()) {
                continue;
            }
            for above in spot.path.ancestors().skip(1) {
                let ancestor = Spot { kind: Kind::Ancestor, path: above.to_owned(), owner: None };
                if self.watch(ancestor) {
                    break;
                }
            }
            // It may have come between the two.
            if !self.watch(spot.clone()) {
                self.missing.push(spot);
            }
        }
    }

    /// Reads what is in a directory already.
    fn scan(&mut self, wd: i32, spot: &Spot) {
        match &spot.kind {
            Kind::Docker | Kind::Tasks | Kind::Namespace | Kind::States(_) => {
                for name in subdirs(&spot.path) {
                    self.came(wd, spot, &name);
                }
            }
            Kind::Storage(_) => self.came(wd, spot, LISTS[0]),
            Kind::DockerOne(_) => self.came(wd, spot, "config.v2.json"),
            Kind::Task(_) => self.came(wd, spot, "config.json"),
            Kind::State(..) => self.came(wd, spot, "state.json"),
            Kind::Ancestor => {}
        }
    }

    /// Something came to be in a watched directory, or was written there.
    fn came(&mut self, wd: i32, spot: &Spot, name: &str) {
        let Spot { kind, path, owner } = spot;
        let inside = |kind| Spot { kind, path: path.join(name), owner: *owner };
        match kind {
            Kind::Ancestor => {
                let next = |missing: &Spot| missing.path.starts_with(path.join(name));
                if self.missing.iter().any(next) {
                    self.look_for_missing();
                }
            }
            Kind::Docker if is_hex64(name.as_bytes()) && !self.docker(path, name, *owner) => {
                self.watch(inside(Kind::DockerOne(name.to_owned())));
            }
            Kind::DockerOne(id)
                if name == "config.v2.json"
                    && path.parent().is_some_and(|containers| self.docker(containers, id, *owner)) =>
            {
                self.leave(wd);
            }
            Kind::Tasks if name != MOBY => {
                self.watch(inside(Kind::Namespace));
            }
            // containerd renames what it is about to remove.
            Kind::Namespace if plain_name(name) && !name.starts_with('.') => {
                self.containerd(&path.join(name), name, *owner, true);
                self.watch(inside(Kind::Task(name.to_owned())));
            }
            Kind::Task(id) if name == "config.json" => {
                self.containerd(path, id, *owner, false);
            }
            Kind::Storage(storage) if LISTS.contains(&name) => self.storage(storage, path),
            // Podman and CRI-O keep theirs in the same place.
            Kind::States(engine) if plain_name(name) && !is_hex64(name.as_bytes()) => {
                // Anybody else could give containers names.
                if owner.is_none() && !oci::is_safe(path) {
                    return;
                }
                self.watch(inside(Kind::State(*engine, name.to_owned())));
            }
            Kind::State(engine, id) if matches!(name, "state.json" | "status") => {
                let Some(found) = path.parent().and_then(|root| oci::in_root(*engine, root, id)) else {
                    return;
                };
                match found.bundle.as_deref().filter(|bundle| containerd::is_task(bundle)) {
                    Some(bundle) => self.containerd(bundle, id, *owner, false),
                    None => self.shared.learn(found, *owner),
                }
            }
            _ => {}
        }
    }

    /// No more is to be learnt there.
    fn leave(&mut self, wd: i32) {
        if self.spots.get(&wd).is_some_and(|spots| spots.len() == 1) {
            self.spots.remove(&wd);
            let _ = remove_watch(&self.inotify, wd);
        }
    }

    fn docker(&self, containers: &Path, id: &str, owner: Option<u32>) -> bool {
        let found = containers.parent().and_then(|root| docker::read(root, id));
        let known = found.as_ref().is_some_and(|found| found.name.is_some() && found.image.is_some());
        found.into_iter().for_each(|found| self.shared.learn(found, owner));
        known
    }

    /// A task, by the database and, once there is one, by the configuration in its bundle.
    fn containerd(&self, bundle: &Path, id: &str, owner: Option<u32>, is_new: bool) {
        let namespace = bundle.parent().and_then(Path::file_name).and_then(|name| name.to_str());
        let roots: Vec<_> = self.containerd.iter().filter(|(_, of)| *of == owner).cloned().collect();
        let item = Item { uid: owner, ..Item::by_id(id, Engine::Containerd) };
        // When the bundle is written the database may be, too; later it forgets the container first.
        let before = lock(&self.shared.known).get(Engine::Containerd, id).filter(|_| !is_new);
        let mut found = Vec::new();
        for _ in 0..TRIES {
            containerd::read(&roots, &[(0, item.clone())], &mut found);
            if before.is_some() || !found.is_empty() {
                break;
            }
            std::thread::sleep(PAUSE);
        }
        let task = namespace.map(|namespace| containerd::from_bundle(bundle, namespace, id, None));
        let told = found.into_iter().map(|(_, meta)| meta).chain(before);
        let told = told.filter(|meta| meta.namespace.as_deref() == namespace);
        let whole = told.chain(task).reduce(|mut whole, more| {
            whole.fill_from(more);
            whole
        });
        whole.into_iter().for_each(|found| self.shared.learn(found, owner));
    }

    fn storage(&mut self, storage: &Storage, path: &Path) {
        let now: HashSet<String> = Storage::ids(path).into_iter().collect();
        let before = self.listed.insert(path.to_owned(), now.clone()).unwrap_or_default();
        let item = |id: &String| (0, Item { uid: storage.owner(), ..Item::by_id(id, Engine::Unknown) });
        let items: Vec<(usize, Item)> = now.difference(&before).map(item).collect();
        let items: Vec<(usize, Item)> =
            items.into_iter().enumerate().map(|(at, (_, item))| (at, item)).collect();
        let mut found = Vec::new();
        storage.read(&items, &mut found);
        for (_, found) in found {
            self.shared.learn(found, storage.owner());
        }
    }
}

fn same_kind(a: &Kind, b: &Kind) -> bool {
    std::mem::discriminant(a) == std::mem::discriminant(b)
}
