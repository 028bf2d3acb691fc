//! One round of questions: files, then supervisors, then sockets, each step's
//! tasks in parallel under one deadline.
//!
//! The threads are never joined: one that hangs on a dead file system or daemon
//! is left behind, owns all that it touches, and ends with the process.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::Item;
use crate::api::http::{AskError, Deadline};
use crate::api::{self, Socket};
use crate::identity::short_id;
use crate::{Config, Engine, Metadata, Note, User, disk, supervisor};

type Found = Vec<(usize, Metadata)>;
type Items = Arc<Vec<(usize, Item)>>;

/// One engine's part of a step.
struct Task {
    engine: Engine,
    /// What is asked, for the message when it does not answer.
    subject: String,
    run: Box<dyn FnOnce() -> Result<Found, AskError> + Send>,
}

/// What every task needs and any may compute.
struct Host {
    config: Arc<Config>,
    uids: Vec<u32>,
    users: OnceLock<Vec<User>>,
}

impl Host {
    fn users(&self) -> &[User] {
        self.users.get_or_init(|| disk::user::users(&self.config, &self.uids))
    }
}

/// The questions of one `resolve` and what came of them.
pub(super) struct Round {
    host: Arc<Host>,
    deadline: Deadline,
    /// Engines that failed a moment ago: not asked.
    skip: HashSet<Engine>,
    /// Engines that failed in this round.
    pub(super) failed: HashSet<Engine>,
    pub(super) notes: Vec<Note>,
}

impl Round {
    pub(super) fn new(
        config: &Arc<Config>,
        items: &[(usize, Item)],
        deadline: Deadline,
        failed: &HashMap<Engine, Instant>,
    ) -> Round {
        let host = Host {
            config: Arc::clone(config),
            uids: items.iter().filter_map(|(_, item)| item.uid).collect(),
            users: OnceLock::new(),
        };
        Round {
            host: Arc::new(host),
            deadline,
            skip: failed.keys().copied().collect(),
            failed: HashSet::new(),
            notes: Vec::new(),
        }
    }

    pub(super) fn run(&mut self, items: &[(usize, Item)]) -> HashMap<usize, Metadata> {
        let mut found = HashMap::new();
        let pings = self.start_pings(items);
        self.files(items, &mut found);
        disk::mount::add_upper_dirs(&self.host.config, found.values_mut());
        self.outer(items, &mut found);
        let left = Arc::new(nameless(items, &found));
        self.step(self.api_tasks(&left), &mut found);
        self.end_pings(pings);
        self.note_nameless(&left, &found);
        found
    }

    /// What the engines' files and supervisors say.
    fn files(&mut self, items: &[(usize, Item)], found: &mut HashMap<usize, Metadata>) {
        self.step(self.disk_tasks(&Arc::new(items.to_vec())), found);
        let left: Items =
            Arc::new(nameless(items, found).into_iter().filter(|(_, item)| !item.pids.is_empty()).collect());
        if !left.is_empty() {
            let host = Arc::clone(&self.host);
            let run = move || {
                let mut found = Vec::new();
                supervisor::read(&host.config, &left, &mut found);
                Ok(found)
            };
            self.step(vec![Task::files(Engine::Unknown, run)], found);
        }
    }

    /// A container that nobody here knows, inside one that somebody does.
    fn outer(&mut self, items: &[(usize, Item)], found: &mut HashMap<usize, Metadata>) {
        let outer: Vec<(usize, Item)> =
            nameless(items, found).into_iter().filter_map(|(at, item)| Some((at, item.outer()?))).collect();
        if outer.is_empty() {
            return;
        }
        let mut around = HashMap::new();
        self.files(&outer, &mut around);
        for (at, item) in items {
            let (Some(id), Some(within)) = (&item.id, around.remove(at)) else { continue };
            found.entry(*at).or_insert_with(|| Metadata::new(id, item.engine, "cgroup path")).within =
                Some(Box::new(within));
        }
    }

    /// Runs tasks in parallel and merges their answers in the tasks' order.
    fn step(&mut self, tasks: Vec<Task>, found: &mut HashMap<usize, Metadata>) {
        let (sender, receiver) = channel();
        let mut waiting = BTreeMap::new();
        for (order, task) in tasks.into_iter().enumerate() {
            let sender = sender.clone();
            let run = task.run;
            let spawned = std::thread::Builder::new()
                .name(format!("ask-{}", task.engine))
                .spawn(move || drop(sender.send((order, run()))));
            match spawned {
                Ok(_) => drop(waiting.insert(order, (task.engine, task.subject))),
                Err(error) => self.note(task.engine, format!("no thread to ask it with: {error}")),
            }
        }
        let mut answers = BTreeMap::new();
        while !waiting.is_empty() {
            let left = self.deadline.until.saturating_duration_since(Instant::now());
            let Ok((order, answer)) = receiver.recv_timeout(left) else { break };
            if let Some(asked) = waiting.remove(&order) {
                answers.insert(order, (asked, answer));
            }
        }
        for (engine, subject) in waiting.into_values() {
            let error = AskError::Timeout(self.deadline.allowed_ms);
            self.fail(engine, &subject, &error);
        }
        for ((engine, subject), answer) in answers.into_values() {
            match answer {
                Ok(metas) => metas.into_iter().for_each(|(at, meta)| merge(found, at, meta)),
                Err(error) => self.fail(engine, &subject, &error),
            }
        }
    }

    fn fail(&mut self, engine: Engine, subject: &str, error: &AskError) {
        self.failed.insert(engine);
        self.note(engine, format!("{subject} {error}"));
    }

    fn note(&mut self, engine: Engine, message: String) {
        let message = match engine {
            Engine::Unknown => message,
            engine => format!("{engine}: {message}"),
        };
        self.notes.push(Note { engine, message });
    }

    fn disk_tasks(&self, items: &Items) -> Vec<Task> {
        use Engine::*;
        let any = |engines: &[Engine], id: bool| {
            items.iter().any(|(_, item)| engines.contains(&item.engine) && (item.id.is_some() || !id))
        };
        let mut tasks = Vec::new();
        let mut add = |engine, read: fn(&Host, &[(usize, Item)], &mut Found)| {
            let (host, items) = (Arc::clone(&self.host), Arc::clone(items));
            tasks.push(Task::files(engine, move || {
                let mut found = Vec::new();
                read(&host, &items, &mut found);
                Ok(found)
            }));
        };
        if any(&[Docker, Unknown], true) {
            add(Docker, read_docker);
        }
        if any(&[Containerd, Unknown], false) {
            add(Containerd, |host, items, found| {
                let roots = disk::containerd::roots(&host.config, host.users());
                disk::containerd::read(&roots, items, found);
            });
        }
        if any(&[Podman, CriO, Unknown], true) {
            add(Podman, |host, items, found| {
                for storage in disk::storage::storages(&host.config, host.users()) {
                    storage.read(items, found);
                }
            });
        }
        if any(&[Nabe, Runc, Crun, Youki, Unknown], false) {
            add(Runc, |host, items, found| {
                for (engine, root, owner) in disk::oci::roots(&host.config, host.users()) {
                    disk::oci::read(engine, &root, owner, items, found);
                }
            });
        }
        if any(&[Nspawn, LibvirtLxc, Lxc], true) {
            add(Nspawn, |host, items, found| disk::machine::read(&host.config, items, found));
        }
        tasks
    }

    fn api_tasks(&self, left: &Items) -> Vec<Task> {
        let config = &self.host.config;
        if !config.api || left.is_empty() {
            return Vec::new();
        }
        let mut tasks = Vec::new();
        for engine in [Engine::Docker, Engine::Podman, Engine::CriO] {
            let wanted = left.iter().any(|(_, item)| {
                item.id.is_some() && matches!(item.engine, e if e == engine || e == Engine::Unknown)
            });
            if !wanted || self.skip.contains(&engine) {
                continue;
            }
            for socket in api::sockets(config, engine, self.host.users()) {
                let (left, deadline) = (Arc::clone(left), self.deadline);
                let subject = socket.path.display().to_string();
                tasks.push(Task {
                    engine,
                    subject,
                    run: Box::new(move || api::ask(&socket, &left, deadline)),
                });
            }
        }
        tasks
    }

    /// Asks the daemons of the containers at hand for a sign of life, while
    /// their files are read.
    fn start_pings(&self, items: &[(usize, Item)]) -> Pings {
        let (sender, receiver) = channel();
        let config = &self.host.config;
        let allowed = config.ping.min(config.deadline);
        let deadline = Deadline::after(allowed);
        let mut sockets: Vec<Socket> = Vec::new();
        if config.api && !allowed.is_zero() {
            // Podman has no daemon, and asking would start one.
            for engine in [Engine::Docker, Engine::Containerd, Engine::CriO] {
                let mine = |owner: Option<u32>| {
                    items.iter().any(|(_, i)| i.engine == engine && (owner == i.uid || owner.is_none()))
                };
                if mine(None) && !self.skip.contains(&engine) {
                    sockets.extend(
                        api::sockets(config, engine, self.host.users())
                            .into_iter()
                            .filter(|socket| mine(socket.owner)),
                    );
                }
            }
        }
        for (order, socket) in sockets.iter().cloned().enumerate() {
            let sender = sender.clone();
            let run = move || drop(sender.send((order, api::ping(&socket, deadline))));
            drop(std::thread::Builder::new().name("ping".to_owned()).spawn(run));
        }
        Pings { sockets, deadline, receiver }
    }

    fn end_pings(&mut self, pings: Pings) {
        let Pings { sockets, deadline, receiver } = pings;
        let mut waiting: BTreeMap<usize, Socket> = sockets.into_iter().enumerate().collect();
        // A thread needs a moment after its own deadline to say so.
        let until = (deadline.until + Duration::from_millis(5)).min(self.deadline.until);
        while !waiting.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            let answer: Result<(usize, Result<(), AskError>), RecvTimeoutError> = receiver.recv_timeout(left);
            let Ok((order, answer)) = answer else { break };
            let Some(socket) = waiting.remove(&order) else { continue };
            match answer {
                Ok(()) | Err(AskError::Denied | AskError::Missing) => {}
                Err(error) => self.silent(&socket, &error),
            }
        }
        for socket in waiting.into_values() {
            self.silent(&socket, &AskError::Timeout(deadline.allowed_ms));
        }
    }

    fn silent(&mut self, socket: &Socket, error: &AskError) {
        if self.failed.insert(socket.engine) {
            let path = socket.path.display();
            let message = format!("{path} {error}; what is shown of it comes from its files");
            self.note(socket.engine, message);
        }
    }

    /// Says which containers have no name, where a name could be expected.
    fn note_nameless(&mut self, left: &[(usize, Item)], found: &HashMap<usize, Metadata>) {
        use Engine::*;
        for engine in [Docker, Containerd, CriO, Podman, Unknown] {
            let ids: Vec<&str> = nameless_ref(left, found)
                .filter(|(at, item)| {
                    item.engine == engine && found.get(at).is_none_or(|meta| meta.within.is_none())
                })
                .filter_map(|(_, item)| item.id.as_deref())
                .map(short_id)
                .collect();
            let (Some(first), count) = (ids.first(), ids.len()) else { continue };
            if self.failed.contains(&engine) || self.skip.contains(&engine) {
                continue;
            }
            let which = match count {
                1 => format!("container {first} has"),
                _ => format!("{count} containers ({first}, …) have"),
            };
            let why = if rustix::process::geteuid().is_root() {
                "no engine whose files or socket were found knows it"
            } else {
                "the engines' files and sockets are for root to read"
            };
            self.note(engine, format!("{which} no name: {why}"));
        }
    }
}

/// Answers to [`Round::start_pings`] that are still out.
struct Pings {
    sockets: Vec<Socket>,
    deadline: Deadline,
    receiver: Receiver<(usize, Result<(), AskError>)>,
}

impl Task {
    fn files(engine: Engine, run: impl FnOnce() -> Result<Found, AskError> + Send + 'static) -> Task {
        Task { engine, subject: "reading its files".to_owned(), run: Box::new(run) }
    }
}

fn read_docker(host: &Host, items: &[(usize, Item)], found: &mut Found) {
    for (root, owner) in disk::docker::data_roots(&host.config, host.users()) {
        for (at, item) in items {
            if owner.is_some() && item.uid != owner {
                continue;
            }
            if let Some(id) = item.id.as_deref().filter(|id| disk::plain_name(id))
                && let Some(meta) = disk::docker::read(&root, id)
            {
                found.push((*at, meta));
            }
        }
    }
}

fn merge(found: &mut HashMap<usize, Metadata>, at: usize, meta: Metadata) {
    match found.entry(at) {
        std::collections::hash_map::Entry::Vacant(entry) => drop(entry.insert(meta)),
        std::collections::hash_map::Entry::Occupied(mut entry) => {
            // Another engine's word about the same id: only the first counts.
            if entry.get().engine == meta.engine {
                entry.get_mut().fill_from(meta);
            }
        }
    }
}

fn nameless_ref<'a>(
    items: &'a [(usize, Item)],
    found: &'a HashMap<usize, Metadata>,
) -> impl Iterator<Item = &'a (usize, Item)> {
    items.iter().filter(|(at, _)| found.get(at).is_none_or(|meta| meta.name.is_none()))
}

fn nameless(items: &[(usize, Item)], found: &HashMap<usize, Metadata>) -> Vec<(usize, Item)> {
    nameless_ref(items, found).cloned().collect()
}
