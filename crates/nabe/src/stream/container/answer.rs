//! The thread that asks engines: all questions that are open at once, again a little later what nobody knows
//! yet, and the kernel about privileges.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use nabe_container::{Config, Engine, Metadata, Resolver, Wanted, identify_any};

use super::{Message, document};

/// Between two looks at what is open.
const PAUSE: Duration = Duration::from_millis(25);
/// How often a container is looked for that nobody knows: an engine writes its files just behind its birth.
const LOOKS: u32 = 8;
/// How often a process is looked at in which a runtime is at work.
const LOOKS_AT_RUNTIME: u32 = 20;

/// A container that somebody is to be asked about.
pub(in crate::stream) struct Question {
    pub(super) cgroups: Vec<Vec<u8>>,
    pub(super) pid: u32,
    /// Its short id; empty when the cgroups name none.
    pub(super) short: String,
    pub(super) number: u64,
    /// What was told of it already.
    pub(super) told: Option<Metadata>,
}

/// What became of a question.
pub(super) struct Answer {
    pub(super) short: String,
    pub(super) number: u64,
    pub(super) document: String,
}

/// A question that is open.
struct Open {
    question: Question,
    known: Option<Metadata>,
    /// Whether engines are still to be asked.
    asks: bool,
    looks: u32,
}

/// What the kernel says of a container's privileges.
enum Privilege {
    Known(bool),
    /// A runtime is at work before the container's program.
    Later,
    /// The process is gone.
    Never,
}

/// Answers until nobody asks any more.
pub(super) fn run(config: Config, asked: &Receiver<Message>, answers: &Sender<Answer>) {
    let mut resolver = Resolver::new(config);
    let mut open: Vec<Open> = Vec::new();
    loop {
        let first = match open.is_empty() {
            true => asked.recv().map_err(|_| RecvTimeoutError::Disconnected),
            false => asked.recv_timeout(PAUSE),
        };
        if matches!(first, Err(RecvTimeoutError::Disconnected)) {
            return;
        }
        for message in first.into_iter().chain(asked.try_iter()) {
            match message {
                Message::Root(engine, path) => resolver.add_root(engine, path),
                Message::Ask(question) => open.push(Open::new(*question)),
            }
        }
        ask(&mut resolver, &mut open);
        let mut gone = false;
        open.retain_mut(|one| {
            let (document, stays) = one.settle();
            let number = one.question.number;
            let send =
                |document| answers.send(Answer { short: one.question.short.clone(), number, document });
            gone |= document.is_some_and(|document| send(document).is_err());
            stays
        });
        if gone {
            return;
        }
    }
}

/// Asks engines about all that nobody knows.
fn ask(resolver: &mut Resolver, open: &mut [Open]) {
    let mut asking: Vec<&mut Open> = open.iter_mut().filter(|one| one.asks).collect();
    if asking.is_empty() {
        return;
    }
    resolver.retry();
    let found = {
        let paths: Vec<Vec<&[u8]>> =
            asking.iter().map(|one| one.question.cgroups.iter().map(Vec::as_slice).collect()).collect();
        let pids: Vec<[u32; 1]> = asking.iter().map(|one| [one.question.pid]).collect();
        let wanted = paths.iter().zip(&pids).map(|(paths, pids)| Wanted {
            cgroup_paths: paths,
            pids,
            identity: identify_any(paths),
        });
        resolver.resolve(&wanted.collect::<Vec<_>>()).found
    };
    for (one, found) in asking.iter_mut().zip(found) {
        one.looks += 1;
        let Some(found) = found else {
            one.asks = one.looks < LOOKS;
            continue;
        };
        one.asks = false;
        one.looks = 0;
        match &mut one.known {
            Some(known) => known.fill_from(found),
            None => one.known = Some(found),
        }
    }
}

impl Open {
    fn new(question: Question) -> Self {
        let known = question.told.clone();
        // What engines leave behind when they announce a container is all that they say, but for Podman's labels.
        let is_poor =
            |of: &Metadata| matches!(of.engine, Engine::Podman | Engine::CriO) && of.labels.is_empty();
        let asks = known.as_ref().is_none_or(is_poor);
        Self { question, known, asks, looks: 0 }
    }

    /// What there is to be told now, and whether there will be more.
    fn settle(&mut self) -> (Option<String>, bool) {
        let Some(known) = &mut self.known else { return (None, self.asks) };
        let pid = known.init_pid.unwrap_or(self.question.pid);
        let privilege = privilege(pid).unwrap_or(Privilege::Never);
        let is_later = matches!(privilege, Privilege::Later) && self.looks < LOOKS_AT_RUNTIME;
        self.looks += 1;
        let privileged = match privilege {
            Privilege::Known(known) => Some(known),
            Privilege::Later | Privilege::Never => None,
        };
        if self.asks {
            return (None, true);
        }
        let short = match self.question.short.as_str() {
            "" => known.short_id(),
            short => short,
        };
        let is_new = privileged.is_some() || self.question.told.as_ref() != Some(known);
        let told = is_new.then(|| document(short, known, privileged));
        self.question.told = Some(known.clone());
        (told, is_later)
    }
}

/// Whether the container of a process is what engines call privileged: its processes may have every
/// capability that the host's first process may have, in our own user namespace. Said by the kernel, so
/// it is the same for all engines; `None` when the process is gone.
fn privilege(pid: u32) -> Option<Privilege> {
    /// Runtimes, as they call themselves before they execute the container's program with less.
    const RUNTIMES: [&str; 5] = ["runc:[", "runc", "crun", "youki", "nabe"];
    /// Capabilities until Linux 5.7; those of later were parts of SYS_ADMIN, and not every engine
    /// knows them.
    const OLD: u64 = (1 << 38) - 1;
    let line =
        |text: &str, key: &str| text.lines().find_map(|line| Some(line.strip_prefix(key)?.trim().to_owned()));
    let namespace = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/user")).ok();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let name = line(&status, "Name:")?;
    if RUNTIMES.iter().any(|runtime| name.starts_with(runtime)) {
        return Some(Privilege::Later);
    }
    let bounding = |status: &str| u64::from_str_radix(&line(status, "CapBnd:")?, 16).ok();
    let all = bounding(&std::fs::read_to_string("/proc/1/status").ok()?)? & OLD;
    let has_all = bounding(&status)? & all == all;
    Some(Privilege::Known(has_all && namespace(&pid.to_string())? == namespace("self")?))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Hundreds of containers that were there before, and an engine that never answers: all are known by its
    /// files, in the time of one question, not of hundreds.
    #[test]
    fn many_are_asked_about_at_once() {
        const COUNT: u64 = 307;
        let root = tempfile::tempdir().expect("a directory");
        let socket = root.path().join("mute.sock");
        let _mute = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
        let id = |number: u64| format!("{number:064x}");
        for number in 0..COUNT {
            let directory = root.path().join("var/lib/docker/containers").join(id(number));
            std::fs::create_dir_all(&directory).expect("a directory");
            let text = format!(
                r#"{{"ID":"{}","Name":"/c{number}","Config":{{"Image":"img:{number}"}}}}"#,
                id(number)
            );
            std::fs::write(directory.join("config.v2.json"), text).expect("a file");
        }
        let mut config = Config::default();
        config.root = root.path().to_owned();
        config.sockets.push((Engine::Docker, socket));
        let ((messages, asked), (answer, answers)) = (std::sync::mpsc::channel(), std::sync::mpsc::channel());
        // One more is nobody's: it is looked for a few times, and holds up none of the others.
        for number in 0..=COUNT {
            let question = Question {
                cgroups: vec![format!("/docker/{}", id(number)).into_bytes()],
                pid: 0,
                short: id(number).get(..12).unwrap_or_default().to_owned(),
                number,
                told: None,
            };
            assert!(messages.send(Message::Ask(Box::new(question))).is_ok());
        }
        std::thread::spawn(move || run(config, &asked, &answer));
        let mut named = BTreeSet::new();
        while named.len() < usize::try_from(COUNT).unwrap_or(0) {
            let answer = answers.recv_timeout(Duration::from_secs(60)).expect("an answer");
            assert!(
                answer.document.contains(&format!("\"name\":\"c{}\"", answer.number)),
                "{}",
                answer.document
            );
            named.insert(answer.number);
        }
        assert!(!named.contains(&COUNT));
    }
}
