//! Containers, told of before their first event.
//!
//! Engines are asked while the stream goes on, so what a short container did would be over before its name is
//! known. But they write down each container before its program runs, and [`Watcher`] reads that as it is written:
//! where a process is born, executes a program or is first told of in such a container, the name goes before that. nabe's own
//! runtime also leaves the state of a container that has ended for a while, so its image is known however late
//! its first event is read.
//!
//! States of plain runtimes may be anywhere: where one is executed with a root of its own, that is watched, too.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::mpsc::Sender;

use nabe_container::{Config, Engine, Metadata, Watcher, identify_any};
use nabe_event::raw::Event;
use nabe_event::source::Account;
use nabe_event::table::EventId;
use nabe_event::{Item, Source};

use super::container::{self, Book, Message};
use crate::query::may_be_container;

/// Lists of cgroups that are remembered.
const MOST: usize = 4096;

/// A list of cgroups that nothing more is to be learnt about.
const SETTLED: u64 = u64::MAX;

/// Knows which containers were told of.
pub struct Announcer {
    config: Config,
    watcher: Watcher,
    book: Rc<RefCell<Book>>,
    messages: Sender<Message>,
    /// Lists of cgroups, with how much was known when they were looked at.
    looked: HashMap<Box<[u8]>, u64>,
    /// What was told last of nabe's own containers, by name: names are given again.
    own: HashMap<String, Metadata>,
    /// When we began: the picture of the beginning is of about that moment.
    begun_ns: u64,
    /// When the last event was; 0 before the first.
    now_ns: u64,
    /// What the picture of the beginning showed: told with the first event, since it has no time of its own.
    first: Vec<String>,
}

/// A source whose containers are told of.
pub struct Announced<'a, S> {
    source: &'a mut S,
    announcer: &'a mut Announcer,
}

impl Announcer {
    pub(super) fn new(
        config: Config,
        watcher: Watcher,
        book: Rc<RefCell<Book>>,
        messages: Sender<Message>,
    ) -> Self {
        Self {
            config,
            watcher,
            book,
            messages,
            looked: HashMap::new(),
            own: HashMap::new(),
            begun_ns: container::now_ns(),
            now_ns: 0,
            first: Vec::new(),
        }
    }

    /// `source`, with an event before the first of each container.
    pub fn before<'a, S: Source>(&'a mut self, source: &'a mut S) -> Announced<'a, S> {
        Announced { source, announcer: self }
    }

    /// What there is to be told before this, and when.
    fn look(&mut self, item: &Item<'_>) -> (Vec<String>, u64) {
        let mut told = Vec::new();
        match item {
            Item::Event(event) => {
                self.now_ns = event.ts_ns;
                told = std::mem::take(&mut self.first);
                told.extend(self.look_at_event(event));
            }
            Item::Thread(found) if self.now_ns == 0 => {
                let document = self.look_at(found.cgroups, None, self.begun_ns);
                self.first.extend(document);
            }
            // Whose birth was not shown, for one since its container was not known to be meant then.
            Item::Thread(found) => told.extend(self.look_at(found.cgroups, None, self.now_ns)),
            _ => {}
        }
        (told, self.now_ns)
    }

    fn look_at_event(&mut self, event: &Event<'_>) -> Option<String> {
        if !container::tells_cgroups(event.id) {
            return None;
        }
        let param = |name: &str| event.described().find(|(of, _)| of.name == name).map(|(_, bytes)| bytes);
        let cgroups = param("cgroups")?;
        let executes = matches!(event.id, EventId::SYSCALL_EXECVE_19_X | EventId::SYSCALL_EXECVEAT_X);
        if executes && let Some((engine, root)) = runtime_root(&param) {
            self.add_root(engine, root, number(param("uid")), cgroups);
        }
        // The first program of a new container with an old name: it has been made the leader of a group.
        let leader = executes
            .then(|| number(param("pgid")))
            .flatten()
            .filter(|pid| number(param("pid")) == Some(*pid));
        self.look_at(cgroups, leader, event.ts_ns)
    }

    /// What is known of the container of these cgroups and was not told yet.
    fn look_at(&mut self, cgroups: &[u8], leader: Option<u32>, ts_ns: u64) -> Option<String> {
        let generation = self.watcher.generation();
        match self.looked.get(cgroups) {
            Some(&SETTLED) if leader.is_none() || own_name(cgroups).is_none() => return None,
            Some(looked) if *looked == generation => return None,
            _ => {}
        }
        let paths = container::paths(cgroups);
        let found = self.find(&paths, cgroups, leader, ts_ns);
        let is_settled = found.is_some() || !may_be_container(&paths, identify_any(&paths).as_ref());
        if self.looked.len() >= MOST {
            self.looked.clear();
        }
        self.looked.insert(cgroups.into(), if is_settled { SETTLED } else { generation });
        let found = found?;
        let short = found.short_id().to_owned();
        if own_name(cgroups).is_some() {
            if self.own.get(&short) == Some(&found) {
                return None;
            }
            if self.own.len() >= MOST {
                self.own.clear();
            }
            self.own.insert(short.clone(), found.clone());
        }
        let document = container::document(&short, &found, None);
        self.book.borrow_mut().told(short.as_bytes(), found);
        Some(document)
    }

    fn find(&self, paths: &[&[u8]], cgroups: &[u8], pid: Option<u32>, ts_ns: u64) -> Option<Metadata> {
        let watched = self.watcher.find(paths);
        if let Some(name) = own_name(cgroups).and_then(|name| std::str::from_utf8(name).ok()) {
            let own = nabe_container::own(&self.config, name, pid, ts_ns);
            // A state elsewhere (`--root`) is known to who watches there, if to anybody.
            let ts_ns = i64::try_from(ts_ns).unwrap_or(i64::MAX);
            let is_same = |found: &Metadata| found.started_at.is_none_or(|started| started <= ts_ns);
            return Some(match watched.filter(is_same) {
                Some(watched) if own.image.is_none() => watched,
                _ => own,
            });
        }
        let mut found = watched?;
        // Names that are no ids show in fewer places than the state looks at.
        if found.cgroups.is_empty() && found.short_id() == found.id {
            let shows = |path: &&&[u8]| nabe_container::identify(path).is_some_and(|of| of.id == found.id);
            let shown = paths.iter().filter(shows).map(|path| String::from_utf8_lossy(path).into_owned());
            found.cgroups = shown.collect();
        }
        Some(found)
    }

    /// A plain runtime was executed that keeps its states there.
    fn add_root(&self, engine: Engine, root: PathBuf, uid: Option<u32>, cgroups: &[u8]) {
        // Inside a container the path means something else.
        let Some(uid) = uid.filter(|_| identify_any(&container::paths(cgroups)).is_none()) else { return };
        let owner = Some(uid).filter(|uid| *uid != 0);
        if self.watcher.add_root(engine, root.clone(), owner) && owner.is_none() {
            let _ = self.messages.send(Message::Root(engine, root));
        }
    }
}

/// A number of four or eight bytes.
fn number(bytes: Option<&[u8]>) -> Option<u32> {
    let bytes = bytes?;
    if let Ok(eight) = <[u8; 8]>::try_from(bytes) {
        return u32::try_from(i64::from_le_bytes(eight)).ok();
    }
    Some(u32::from_le_bytes(<[u8; 4]>::try_from(bytes).ok()?))
}

/// The engine and the directory of states that a program's arguments name, when it is a plain runtime.
fn runtime_root<'a>(param: &impl Fn(&str) -> Option<&'a [u8]>) -> Option<(Engine, PathBuf)> {
    let path = |text| Path::new(std::ffi::OsStr::from_bytes(text));
    let arguments = trimmed(param("args")?).split(|byte| *byte == 0);
    let (engine, root) = nabe_container::state_root(trimmed(param("exe")?), arguments)?;
    let root = path(trimmed(param("cwd")?)).join(path(root));
    root.is_absolute().then_some((engine, root))
}

fn trimmed(text: &[u8]) -> &[u8] {
    text.strip_suffix(b"\0").unwrap_or(text)
}

/// The container of nabe's own that a list of cgroups lies in.
fn own_name(cgroups: &[u8]) -> Option<&[u8]> {
    cgroups.split(|byte| *byte == 0).find_map(|entry| {
        let path = entry.splitn(2, |byte| *byte == b'=').nth(1)?;
        let rest = path.strip_prefix(b"/nabe/")?;
        let identity = nabe_container::identify(path).filter(|identity| identity.engine == Engine::Nabe)?;
        let name = rest.split(|byte| *byte == b'/').next()?;
        (*identity.id.as_bytes() == *name).then_some(name)
    })
}

impl<S: Source> Source for Announced<'_, S> {
    type Error = S::Error;

    fn batch(&mut self) -> Result<Option<impl Iterator<Item = Item<'_>>>, S::Error> {
        self.source.batch()
    }

    fn each(&mut self, mut take: impl FnMut(&Item<'_>) -> ControlFlow<()>) -> Result<bool, S::Error> {
        let announcer = &mut *self.announcer;
        self.source.each(|item| {
            let (documents, ts_ns) = announcer.look(item);
            for document in documents {
                let told = container::event(&document, ts_ns, |told| take(&Item::Event(*told)));
                if told.is_break() {
                    return told;
                }
            }
            take(item)
        })
    }

    fn account(&self) -> Account {
        self.source.account()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cgroups_name_own_containers() {
        assert_eq!(own_name(b"cpu=/\0pids=/nabe/web-1\0"), Some(&b"web-1"[..]));
        assert_eq!(own_name(b"pids=/nabe/web-1/inner\0"), Some(&b"web-1"[..]));
        for other in [&b""[..], b"cpu=/x/nabe/web\0", b"cpu=/nabe\0", b"cpu=/nabe/\0", b"cpu=/nabe/../x\0"] {
            assert_eq!(own_name(other), None);
        }
    }

    #[test]
    fn runtimes_say_where_their_states_are() {
        let of = |exe: &'static str, args: &'static str| {
            runtime_root(&|name| match name {
                "exe" => Some(exe.as_bytes()),
                "args" => Some(args.as_bytes()),
                _ => Some(b"/srv/\0"),
            })
        };
        let some = |engine, path: &str| Some((engine, PathBuf::from(path)));
        assert_eq!(of("runc\0", "--root\0/x/y\0create\0web\0"), some(Engine::Runc, "/x/y"));
        assert_eq!(of("/usr/sbin/crun\0", "--log\0f\0--root=/x\0run\0web\0"), some(Engine::Crun, "/x"));
        assert_eq!(of("nabe", "--root\0states\0run\0web"), some(Engine::Nabe, "/srv/states"));
        assert_eq!(of("runc", "exec\0web\0tool\0--root\0/x"), None);
        assert_eq!(of("rsync", "--root\0/x"), None);
    }
}
