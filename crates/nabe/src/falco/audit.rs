//! Events that are JSON, Kubernetes' audit events and any other documents: from a webhook, from a file
//! that grows, from files, from standard input, on a thread of their own.

use std::fs::File;
use std::io::Read as _;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nabe_audit::documents::Documents;
use nabe_audit::follow::{self, Follower, Lines};
use nabe_audit::webhook::{Options, Webhook};
use nabe_audit::{Context, Format, Limits, Seen, parse};
use nabe_event::table::EventId;
use nabe_rules::catalogue::{JSON, K8S_AUDIT};
use nabe_rules::engine::{Engine, Occurrence};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::config::{Plugin, Reader};
use super::judge::{Inbox, Shared};
use super::signals::Signals;
use super::tree::Tree;
use crate::error::{CliError, Result};

/// Where Falco has the key and the certificate of a webhook.
pub const FALCO_PEM: &str = "/etc/falco/falco.pem";

/// Bytes that are read from standard input at once.
const PIECE: usize = 64 << 10;

/// How long to wait before looking at a file again.
const LOOK: Duration = Duration::from_millis(200);

/// Where audit events come from.
#[derive(Clone, Debug)]
pub enum From {
    /// Posted to an address.
    Web(Options),
    /// Appended to a file.
    Growing(PathBuf),
    /// In a file, or in the files of a folder.
    Files(PathBuf),
    /// On standard input.
    Stdin,
}

/// A source of events that are JSON.
#[derive(Clone, Debug)]
pub struct Source {
    /// The name that rules have for it.
    pub name: String,
    /// Falco's plugin for it.
    pub plugin: String,
    pub format: Format,
    pub from: From,
    pub limits: Limits,
}

impl Source {
    /// Kubernetes' audit events or other documents, from where `place` says, with the limits that `init`
    /// (a plugin's `init_config`) sets and, for HTTPS, the key and certificate in a PEM file.
    pub fn new(format: Format, place: &str, init: Option<&Tree>, certificate: &Path) -> Result<Self> {
        let (name, plugin, path) = match format {
            Format::K8sAudit => (K8S_AUDIT, "k8saudit", "/k8s-audit"),
            Format::Json => (JSON, "json", "/"),
        };
        let mut limits = Limits::default();
        let mut certificate = certificate.to_path_buf();
        if let Some(init) = init {
            let reader = Reader::of(init);
            let bytes = |key: &str, default: usize| -> Result<usize> {
                Ok(usize::try_from(reader.number(key, default as u64)?).unwrap_or(usize::MAX))
            };
            limits.event_bytes = bytes("maxEventSize", limits.event_bytes)?;
            limits.payload_bytes = bytes("webhookMaxBatchSize", limits.payload_bytes)?;
            if let Some(path) = reader.filled("sslCertificate")? {
                certificate = path.into();
            }
        }
        let from = From::parse(place, path, certificate, limits.payload_bytes)?;
        Ok(Self { name: name.into(), plugin: plugin.into(), format, from, limits })
    }

    /// As Falco's plugin k8saudit reads its parameters: `http://host:port/path`, `https://…`,
    /// `file:///path` to follow, or a path. nabe reads those of the plugin json likewise.
    pub fn of_plugin(format: Format, plugin: &Plugin) -> Result<Self> {
        Self::new(format, &plugin.open_params, plugin.init.as_ref(), Path::new(FALCO_PEM))
    }
}

impl From {
    /// Reads a place; `path` is that of addresses without one.
    fn parse(text: &str, path: &str, certificate: PathBuf, payload_bytes: usize) -> Result<Self> {
        let text = text.trim();
        if text == "-" {
            return Ok(Self::Stdin);
        }
        if let Some(path) = text.strip_prefix("file://") {
            return Ok(Self::Growing(path.into()));
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            if text.is_empty() {
                return Err(CliError::failed("a source of JSON needs a place (open_params)")
                    .hint("http://:9765/k8s-audit, file:///var/log/audit.log or a path"));
            }
            return Ok(Self::Files(text.into()));
        };
        let tls = match scheme {
            "http" => None,
            "https" => Some((certificate.clone(), certificate)),
            _ => {
                return Err(CliError::failed(format_args!("{text}: scheme \"{scheme}\" is not supported"))
                    .hint("http://, https://, file:// or a path"));
            }
        };
        let (host, own) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let path = if own.is_empty() { path } else { own };
        Ok(Self::Web(Options { address: address(host)?, path: path.into(), tls, payload_bytes }))
    }
}

/// `host:port`, `:port` for every address of the host.
fn address(text: &str) -> Result<SocketAddr> {
    let full = match text.strip_prefix(':') {
        Some(port) => format!("0.0.0.0:{port}"),
        None if text.contains(':') => text.to_owned(),
        None => format!("{text}:9765"),
    };
    let mut found = full.to_socket_addrs().map_err(|error| {
        CliError::failed(format_args!("{text} is no address to listen on")).because(&error).hint("host:port")
    })?;
    found.next().ok_or_else(|| CliError::failed(format_args!("{text} is no address to listen on")))
}

/// A source at work.
pub struct Running {
    thread: JoinHandle<()>,
    inbox: Inbox,
}

impl Running {
    /// Where new engines are left.
    pub fn inbox(&self) -> &Inbox {
        &self.inbox
    }

    /// Whether it has come to its end by itself.
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits for its end.
    pub fn join(self) {
        // What it had to say it has said.
        let _ = self.thread.join();
    }
}

/// Judges the events of one source.
struct Judge {
    source: Source,
    engine: Engine,
    context: Context,
    shared: Arc<Shared>,
    inbox: Inbox,
    number: u64,
    first_ns: u64,
    refused: u64,
}

/// Starts a source on a thread of its own; what cannot be opened is told at once.
pub fn start(
    source: Source,
    engine: Engine,
    shared: Arc<Shared>,
    signals: Signals,
    hostname: &str,
) -> Result<Running> {
    let inbox = Inbox::default();
    let context = Context {
        source: source.name.clone(),
        plugin: source.plugin.clone(),
        hostname: hostname.into(),
        zone: jiff::tz::TimeZone::system(),
    };
    let from = source.from.clone();
    let mut judge =
        Judge { source, engine, context, shared, inbox: inbox.clone(), number: 0, first_ns: 0, refused: 0 };
    let opened = Opened::new(&from, &judge.source.name)?;
    let thread = std::thread::Builder::new()
        .name("audit".into())
        .spawn(move || {
            if let Err(error) = judge.run(opened, &signals) {
                eprintln!("nabe: warning: {}: {error}", judge.source.name);
            }
            if judge.refused > 0 {
                eprintln!(
                    "nabe: note: {}: {} payloads or events were none",
                    judge.source.name, judge.refused
                );
            }
        })
        .map_err(|error| CliError::failed("cannot start a thread").because(&error))?;
    Ok(Running { thread, inbox })
}

/// A place that is open.
enum Opened {
    Web(Webhook),
    Growing(Follower),
    Files(Vec<PathBuf>),
    Stdin,
}

impl Opened {
    fn new(from: &From, name: &str) -> Result<Self> {
        let failed = |error: &dyn std::error::Error| CliError::failed(name).because(error);
        match from {
            From::Web(options) => {
                let hook = Webhook::start(options).map_err(|error| failed(&error))?;
                eprintln!("nabe: listening on {}{}", hook.address(), options.path);
                Ok(Self::Web(hook))
            }
            From::Growing(path) => Ok(Self::Growing(Follower::new(path, 12 << 20))),
            From::Files(path) => follow::files(path).map(Self::Files).map_err(|error| failed(&error)),
            From::Stdin => Ok(Self::Stdin),
        }
    }
}

impl Judge {
    fn run(&mut self, opened: Opened, signals: &Signals) -> std::result::Result<(), follow::Error> {
        match opened {
            Opened::Web(mut hook) => {
                while !signals.is_stopped() {
                    if let Some(payload) = hook.next(LOOK) {
                        self.payload(&payload);
                    }
                    self.renew();
                }
                // What was accepted is judged.
                hook.close();
                while let Some(payload) = hook.next(Duration::ZERO) {
                    self.payload(&payload);
                }
            }
            Opened::Growing(mut follower) => {
                while !signals.is_stopped() {
                    follower.look(&mut |line| self.payload(line))?;
                    self.renew();
                    std::thread::sleep(LOOK);
                }
                self.refused += follower.cut();
            }
            Opened::Files(files) if self.source.format == Format::Json => {
                for path in files {
                    let about = |source| follow::Error::Open { path: path.clone(), source };
                    let file = File::open(&path).map_err(about)?;
                    self.documents(file, &path, signals)?;
                }
            }
            Opened::Files(files) => {
                for path in files {
                    let mut lines = Lines::open(&path, self.source.limits.payload_bytes)?;
                    while let Some(line) = lines.line()? {
                        self.payload(&line);
                        if signals.is_stopped() {
                            return Ok(());
                        }
                    }
                }
            }
            Opened::Stdin => {
                let input = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 0);
                let path = Path::new("standard input");
                let about = |source| follow::Error::Open { path: path.to_path_buf(), source };
                self.documents(File::from(input.map_err(|errno| about(errno.into()))?), path, signals)?;
            }
        }
        Ok(())
    }

    /// Judges the documents of a file that may be a pipe, until its end or ours.
    fn documents(
        &mut self,
        mut file: File,
        path: &Path,
        signals: &Signals,
    ) -> std::result::Result<(), follow::Error> {
        let wait = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
        let mut documents = Documents::new(self.source.limits.payload_bytes);
        let mut piece = vec![0; PIECE];
        while !signals.is_stopped() {
            self.renew();
            let mut polled = [PollFd::new(&file, PollFlags::IN)];
            // An interrupted or empty wait only looks at the signals.
            if !poll(&mut polled, Some(&wait)).is_ok_and(|ready| ready > 0) {
                continue;
            }
            let read = file.read(&mut piece);
            let read = read.map_err(|source| follow::Error::Read { path: path.to_path_buf(), source })?;
            if read == 0 {
                documents.end(&mut |document| self.payload(document));
                break;
            }
            documents.feed(piece.get(..read).unwrap_or_default(), &mut |document| self.payload(document));
        }
        self.refused += documents.cut();
        Ok(())
    }

    fn renew(&mut self) {
        if let Some(mut engine) = self.inbox.take() {
            engine.succeed(&mut self.engine);
            self.engine = engine;
        }
    }

    fn payload(&mut self, payload: &[u8]) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now_ns = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        let parsed = parse(payload, self.source.format, &self.source.limits, now_ns);
        for refusal in &parsed.refusals {
            self.refused += 1;
            // Whoever can post can post rubbish without end.
            if self.refused <= 10 {
                eprintln!("nabe: warning: {}: {refusal}", self.source.name);
            }
        }
        for event in &parsed.events {
            self.number += 1;
            if self.first_ns == 0 {
                self.first_ns = event.ts_ns;
            }
            let seen = Seen::new(event, &self.context, self.number, self.first_ns);
            let at = Occurrence {
                source: &self.source.name,
                id: EventId::PLUGINEVENT_E,
                ts_ns: event.ts_ns,
                image: 0,
            };
            let shared = &self.shared;
            self.engine.judge(&seen, &at, &mut |hit| shared.send(hit.alert));
        }
        self.shared.ledger.events(parsed.events.len() as u64, 0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_the_plugin_reads_them() {
        let parse = |text: &str| From::parse(text, "/k8s-audit", "/pem".into(), 100);
        assert!(
            matches!(parse("/var/log/audit.json"), Ok(From::Files(path)) if path.as_os_str() == "/var/log/audit.json")
        );
        assert!(
            matches!(parse("file:///var/log/a"), Ok(From::Growing(path)) if path.as_os_str() == "/var/log/a")
        );
        let Ok(From::Web(options)) = parse("http://:9765/k8s-audit") else { panic!("a webhook") };
        assert_eq!((options.address.port(), &*options.path, options.tls), (9765, "/k8s-audit", None));
        let Ok(From::Web(options)) = parse("https://127.0.0.1:1/x") else { panic!("a webhook") };
        assert!(options.tls.is_some());
        assert!(parse("ftp://x").is_err() && parse("").is_err());
        assert!(matches!(parse("-"), Ok(From::Stdin)));
        let json = Source::new(Format::Json, "http://127.0.0.1:1", None, Path::new("/pem")).unwrap();
        assert!(matches!(&json.from, From::Web(options) if options.path == "/"));
        assert_eq!((&*json.name, &*json.plugin), ("json", "json"));
    }
}
