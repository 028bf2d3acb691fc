//! Container metadata in a live stream: ids come from cgroups at once, names and images as events. Who came
//! while we watch is known before its first event (see [`super::announce`]); engines are asked about all others,
//! without holding up the stream.

mod answer;
mod document;

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{SystemTime, UNIX_EPOCH};

use nabe_container::{Config, Engine, Metadata, Watcher};
use nabe_event::Item;
use nabe_event::table::EventId;
use nabe_state::stream::{Seen, Stream, Thread};

use super::announce::Announcer;
use super::{Road, Sink, Wants};
use crate::error::Result;
use crate::query::may_be_container;
use answer::{Answer, Question};
pub(super) use document::{document, event};

/// Containers that are remembered as asked about.
const MOST: usize = 16_384;

/// What the thread that asks engines is told.
pub(super) enum Message {
    /// Somebody wants to know of a container.
    Ask(Box<Question>),
    /// A plain runtime keeps states there, too.
    Root(Engine, PathBuf),
}

/// What was asked and told so far.
#[derive(Default)]
pub(super) struct Book {
    /// Numbers of the last questions by short id: an answer to another one is about another container.
    asked: HashMap<Box<[u8]>, u64>,
    /// Lists of cgroups that were asked about.
    places: HashSet<Box<[u8]>>,
    /// What was told of containers that nobody has asked about yet.
    told: HashMap<Box<[u8]>, Metadata>,
    number: u64,
}

impl Book {
    /// A container was told of; whatever is asked about it from here on is about this one.
    pub(super) fn told(&mut self, short: &[u8], of: Metadata) {
        if self.told.len() >= MOST {
            self.told.clear();
        }
        self.asked.remove(short);
        self.told.insert(short.into(), of);
    }

    /// The number of a question about this container, unless there was one.
    fn ask(&mut self, short: &[u8]) -> Option<u64> {
        if self.asked.contains_key(short) {
            return None;
        }
        if self.asked.len() >= MOST {
            self.asked.clear();
        }
        self.number += 1;
        self.asked.insert(short.into(), self.number);
        Some(self.number)
    }

    /// The same of a list of cgroups that names no container.
    fn ask_place(&mut self, cgroups: &[u8]) -> Option<u64> {
        if self.places.contains(cgroups) {
            return None;
        }
        if self.places.len() >= MOST {
            self.places.clear();
        }
        self.places.insert(cgroups.into());
        self.number += 1;
        Some(self.number)
    }
}

/// Asks engines about containers that appear, in a thread of its own.
pub struct Containers {
    config: Config,
    watcher: Watcher,
    book: Rc<RefCell<Book>>,
    messages: Sender<Message>,
    answers: Receiver<Answer>,
}

/// Sees threads in containers that nobody has asked about.
pub struct Watch {
    book: Rc<RefCell<Book>>,
    messages: Sender<Message>,
}

impl Containers {
    /// Asks engines as `config` says, and watches where they are.
    pub fn new(config: Config) -> Self {
        let (messages, asked) = channel();
        let (answer, answers) = channel();
        let watcher = Watcher::start(config.clone());
        let of = config.clone();
        std::thread::spawn(move || answer::run(of, &asked, &answer));
        Self { config, watcher, book: Rc::default(), messages, answers }
    }

    /// The sink that sees them.
    pub fn watch(&self) -> Watch {
        Watch { book: Rc::clone(&self.book), messages: self.messages.clone() }
    }

    /// Who tells of them before their first event.
    pub fn announcer(&self) -> Announcer {
        let (book, messages) = (Rc::clone(&self.book), self.messages.clone());
        Announcer::new(self.config.clone(), self.watcher.clone(), book, messages)
    }

    /// Tells `road` what was learnt since the last time.
    pub fn tell(&self, road: &mut impl Road) -> Result<()> {
        while let Ok(answer) = self.answers.try_recv() {
            let current = self.book.borrow().asked.get(answer.short.as_bytes()) == Some(&answer.number);
            if !current && !answer.short.is_empty() {
                continue;
            }
            event(&answer.document, now_ns(), |event| road.item(&Item::Event(*event)).map(|_| ()))?;
        }
        Ok(())
    }
}

/// Nanoseconds since the epoch.
pub(super) fn now_ns() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

/// The distinct paths of a list `subsystem=path`.
pub(super) fn paths(cgroups: &[u8]) -> Vec<&[u8]> {
    let mut paths: Vec<&[u8]> = cgroups
        .split(|byte| *byte == 0)
        .filter_map(|entry| entry.get(entry.iter().position(|byte| *byte == b'=')? + 1..))
        .collect();
    paths.sort_unstable();
    paths.dedup();
    paths
}

/// Events with which a process comes to be what it is from then on.
pub(super) fn tells_cgroups(id: EventId) -> bool {
    matches!(
        id,
        EventId::SYSCALL_EXECVE_19_X
            | EventId::SYSCALL_EXECVEAT_X
            | EventId::SYSCALL_CLONE_20_X
            | EventId::SYSCALL_CLONE3_X
            | EventId::SYSCALL_FORK_20_X
            | EventId::SYSCALL_VFORK_20_X
    )
}

impl Watch {
    fn look(&self, thread: Option<&Thread>, is_new: bool) {
        let Some(thread) = thread else { return };
        let number = if thread.container.is_empty() {
            // Nearly all threads: their cgroups are looked at once.
            if !is_new || self.book.borrow().places.contains(&*thread.cgroups) {
                return;
            }
            self.book.borrow_mut().ask_place(&thread.cgroups)
        } else {
            self.book.borrow_mut().ask(&thread.container)
        };
        let Some(number) = number else { return };
        let paths = paths(&thread.cgroups);
        if thread.container.is_empty()
            && !may_be_container(&paths, nabe_container::identify_any(&paths).as_ref())
        {
            return;
        }
        let question = Question {
            cgroups: paths.into_iter().map(<[u8]>::to_vec).collect(),
            pid: u32::try_from(thread.pid).unwrap_or(0),
            short: String::from_utf8_lossy(&thread.container).into_owned(),
            number,
            told: self.book.borrow_mut().told.remove(&*thread.container),
        };
        // Nobody answers once the program ends.
        let _ = self.messages.send(Message::Ask(Box::new(question)));
    }

    fn look_at(&self, seen: &Seen<'_>) {
        self.look(seen.thread(), tells_cgroups(seen.event().id));
    }
}

impl Sink for Watch {
    fn wants(&self) -> Wants {
        Wants::All
    }
    fn item(&mut self, item: &Item<'_>, stream: &Stream) -> Result<()> {
        if let Item::Thread(found) = item {
            self.look(stream.thread(found.tid), true);
        }
        Ok(())
    }
    fn seen(&mut self, seen: &Seen<'_>) -> Result<()> {
        self.look_at(seen);
        Ok(())
    }
    fn other(&mut self, seen: &Seen<'_>, _: bool) -> Result<()> {
        self.look_at(seen);
        Ok(())
    }
    fn finish(&mut self, _: &Stream) -> Result<()> {
        Ok(())
    }
}

/// What a filter of containers or pods by name or id is in CEL.
pub fn filter(containers: &[String], pods: &[String]) -> String {
    let quoted = |text: &String| format!("{text:?}");
    let mut any = Vec::new();
    for name in containers {
        let name_text = quoted(name);
        let short: String = name.chars().take(12).collect();
        any.push(format!("container.name == {name_text} || container.id == {}", quoted(&short)));
    }
    any.extend(pods.iter().map(|pod| format!("k8s.pod.name == {}", quoted(pod))));
    any.join(" || ")
}
