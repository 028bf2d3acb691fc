//! Container metadata in a live stream: ids come from cgroups at once, names and images from engines a
//! little later, as an event, without holding up the stream.

use std::cell::RefCell;
use std::collections::HashSet;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};

use nabe_container::{Engine, Metadata, Resolver, Wanted, identify, identify_any};
use nabe_event::Item;
use nabe_event::raw::{Event, Params, flag};
use nabe_event::table::EventId;
use nabe_state::stream::{Seen, Stream, Thread};
use serde_json::json;

use super::{Road, Sink, Wants};
use crate::error::Result;

/// A container that somebody is to be asked about.
struct Question {
    cgroups: Vec<Vec<u8>>,
    pid: u32,
    short: String,
}

/// Asks engines about containers that appear, in a thread of its own.
pub struct Containers {
    known: Rc<RefCell<HashSet<Box<[u8]>>>>,
    questions: Sender<Question>,
    answers: Receiver<String>,
    _thread: JoinHandle<()>,
}

/// Sees threads in containers that nobody has asked about.
pub struct Watch {
    known: Rc<RefCell<HashSet<Box<[u8]>>>>,
    questions: Sender<Question>,
}

impl Containers {
    /// Asks engines as `config` says.
    pub fn new(config: nabe_container::Config) -> Self {
        let (questions, asked) = channel::<Question>();
        let (answer, answers) = channel();
        let thread = std::thread::spawn(move || {
            let mut resolver = Resolver::new(config);
            while let Ok(question) = asked.recv() {
                if let Some(document) = ask(&mut resolver, &question)
                    && answer.send(document).is_err()
                {
                    return;
                }
            }
        });
        Self { known: Rc::default(), questions, answers, _thread: thread }
    }

    /// The sink that sees them.
    pub fn watch(&self) -> Watch {
        Watch { known: Rc::clone(&self.known), questions: self.questions.clone() }
    }

    /// Tells `road` what was learnt since the last time.
    pub fn tell(&self, road: &mut impl Road) -> Result<()> {
        while let Ok(document) = self.answers.try_recv() {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
            event(&document, now, |event| road.item(&Item::Event(*event)).map(|_| ()))?;
        }
        Ok(())
    }
}

fn ask(resolver: &mut Resolver, question: &Question) -> Option<String> {
    let paths: Vec<&[u8]> = question.cgroups.iter().map(Vec::as_slice).collect();
    let identity = identify_any(&paths);
    let pids = [question.pid];
    let mut wanted = [Wanted { cgroup_paths: &paths, pids: &pids, identity }];
    let mut found = resolver.resolve(&wanted).found.pop().flatten();
    if found.is_none() {
        // An engine writes its files just behind the birth of a container.
        std::thread::sleep(std::time::Duration::from_millis(50));
        wanted[0].pids = &pids;
        found = resolver.resolve(&wanted).found.pop().flatten();
    }
    found.map(|metadata| {
        let privileged = is_privileged(metadata.init_pid.unwrap_or(question.pid));
        document(&question.short, &metadata, privileged)
    })
}

/// Whether the container of a process is what engines call privileged: its processes may have every
/// capability that the host's first process may have, in our own user namespace. Said by the kernel, so
/// it is the same for all engines; `None` when the process is gone, or a runtime is at work before the
/// container's program.
fn is_privileged(pid: u32) -> Option<bool> {
    /// Runtimes, as they call themselves before they execute the container's program with less.
    const RUNTIMES: [&str; 5] = ["runc:[", "runc", "crun", "youki", "nabe"];
    const LOOKS: u32 = 20;
    /// Capabilities until Linux 5.7; those of later were parts of SYS_ADMIN, and not every engine
    /// knows them.
    const OLD: u64 = (1 << 38) - 1;
    let line =
        |text: &str, key: &str| text.lines().find_map(|line| Some(line.strip_prefix(key)?.trim().to_owned()));
    let namespace = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/user")).ok();
    for _ in 0..LOOKS {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let name = line(&status, "Name:")?;
        if RUNTIMES.iter().any(|runtime| name.starts_with(runtime)) {
            std::thread::sleep(std::time::Duration::from_millis(25));
            continue;
        }
        let bounding = |status: &str| u64::from_str_radix(&line(status, "CapBnd:")?, 16).ok();
        let all = bounding(&std::fs::read_to_string("/proc/1/status").ok()?)? & OLD;
        return Some(bounding(&status)? & all == all && namespace(&pid.to_string())? == namespace("self")?);
    }
    None
}

/// The document of a container event.
pub(super) fn document(short: &str, of: &Metadata, privileged: Option<bool>) -> String {
    let engine = match of.engine.as_str() {
        "docker" => 0,
        "lxc" => 1,
        "containerd" => 7,
        "cri-o" | "crio" => 8,
        "podman" => 11,
        _ => 5,
    };
    let image = of.image.clone().unwrap_or_default();
    let (repository, tag) = match image.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository.to_owned(), tag.to_owned()),
        _ => (image.clone(), String::new()),
    };
    let labels: serde_json::Map<String, serde_json::Value> =
        of.labels.iter().map(|(key, value)| (key.clone(), value.as_str().into())).collect();
    json!({"container": {
        "id": short,
        "full_id": of.id,
        "name": of.name.as_deref().unwrap_or(short),
        "image": image,
        "imageid": of.image_id.clone().unwrap_or_default(),
        "imagerepo": repository,
        "imagetag": tag,
        "type": engine,
        "labels": labels,
        "privileged": privileged,
    }})
    .to_string()
}

pub(super) fn event<T>(document: &str, ts_ns: u64, then: impl FnOnce(&Event<'_>) -> T) -> T {
    let mut lengths = Vec::with_capacity(12);
    let mut data = Vec::with_capacity(document.len() + 16);
    for bytes in [&0u32.to_le_bytes()[..], b"container\0", &[document.as_bytes(), b"\0"].concat()] {
        lengths.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
        data.extend_from_slice(bytes);
    }
    let id = EventId::ASYNCEVENT_E;
    let params = Params::new(id, &lengths, &data).unwrap_or(Params::NONE);
    // It is no act of anybody: -D shows it.
    then(&Event { id, cpu: 0, flags: flag::STATE_ONLY, ts_ns, tid: -1, params })
}

/// The container of nabe's own that a list of cgroups lies in.
pub(super) fn own_name(cgroups: &[u8]) -> Option<&[u8]> {
    cgroups.split(|byte| *byte == 0).find_map(|entry| {
        let path = entry.splitn(2, |byte| *byte == b'=').nth(1)?;
        let identity = identify(path).filter(|identity| identity.engine == Engine::Nabe)?;
        let name = path.strip_prefix(b"/nabe/")?.split(|byte| *byte == b'/').next()?;
        (*identity.id.as_bytes() == *name).then_some(name)
    })
}

impl Watch {
    fn look(&self, thread: Option<&Thread>) {
        let Some(thread) = thread.filter(|thread| !thread.container.is_empty()) else { return };
        if self.known.borrow().contains(&*thread.container) {
            return;
        }
        self.known.borrow_mut().insert((&*thread.container).into());
        let lists = thread.cgroups.split(|byte| *byte == 0);
        let mut cgroups: Vec<Vec<u8>> = lists
            .filter_map(|entry| {
                let at = entry.iter().position(|byte| *byte == b'=')?;
                entry.get(at + 1..).map(<[u8]>::to_vec)
            })
            .collect();
        cgroups.sort();
        cgroups.dedup();
        let pid = u32::try_from(thread.pid).unwrap_or(0);
        let short = String::from_utf8_lossy(&thread.container).into_owned();
        // Nobody answers once the program ends.
        let _ = self.questions.send(Question { cgroups, pid, short });
    }
}

impl Sink for Watch {
    fn wants(&self) -> Wants {
        Wants::All
    }
    fn item(&mut self, item: &Item<'_>, stream: &Stream) -> Result<()> {
        if let Item::Thread(found) = item {
            self.look(stream.thread(found.tid));
        }
        Ok(())
    }
    fn seen(&mut self, seen: &Seen<'_>) -> Result<()> {
        self.look(seen.thread());
        Ok(())
    }
    fn other(&mut self, seen: &Seen<'_>, _: bool) -> Result<()> {
        self.look(seen.thread());
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
