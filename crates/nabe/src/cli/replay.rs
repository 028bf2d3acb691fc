//! `nabe replay`: events of captures, filtered and printed.

use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use nabe_event::raw::Event;
use nabe_filter::Program;
use nabe_scap::item::{Class, Item, L4, Target};
use nabe_scap::{Converter, Ending, Enters, Reader};
use nabe_state::stream::descriptor::{Kind, Role, Transport};
use nabe_state::stream::{Account, Clock, Descriptor, Seen, Stream, Style, Thread};
use nabe_ui::print::event::{self as preset, EventFormat, FormatError};

use super::language::Language;
use crate::error::{CliError, Result};
use crate::output;

/// Print what captures hold.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  nabe replay a.scap
  nabe replay a.scap 'evt.type == \"openat\" && fd.name.contains(\"etc\")'
  nabe replay a.scap 'evt.type = openat and fd.name contains etc'
  nabe replay a.scap -p '%evt.time %proc.name %fd.name'
  nabe replay a.scap --json -p '%evt.num %evt.type' | jq .
  nabe replay a.scap --count 'evt.failed'
  curl -s https://example.org/a.scap.gz | nabe replay -

Enter and exit events are shown as the file has them; times are UTC.
`nabe fields` lists the fields.

Exit status: 0 done (also when nothing matches), 1 failed, 2 wrong usage or expression.")]
pub struct Args {
    /// Captures (.scap, plain or compressed; - for standard input), then the filter, in CEL or sysdig's language
    #[arg(value_name = "FILE… [FILTER]", required = true)]
    words: Vec<String>,
    /// Language of the filter
    #[arg(long, value_enum, default_value_t)]
    lang: Language,
    /// Format of a line, or a preset: c (with containers), k (with pods)
    #[arg(short = 'p', long = "print", value_name = "FORMAT", allow_hyphen_values = true)]
    print: Option<String>,
    /// How evt.outputtime reads: h time of day, a epoch, r since the first event, d since enter, D since the event before
    #[arg(short = 't', long = "time", value_name = "h|a|r|d|D", default_value = "h")]
    time: TimeFormat,
    /// Stop after so many events
    #[arg(short = 'n', long = "limit", value_name = "N")]
    limit: Option<u64>,
    /// Print a table of events and their numbers at the end
    #[arg(short = 'S', long)]
    summary: bool,
    /// Print no events
    #[arg(short = 'q', long)]
    quiet: bool,
    /// One JSON object a line, with the fields of the format
    #[arg(short = 'j', long)]
    json: bool,
    /// Print only the number of events that match
    #[arg(long, conflicts_with_all = ["print", "json", "summary"])]
    count: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
#[allow(non_camel_case_types, reason = "the letters are what the user types")]
enum TimeFormat {
    #[value(name = "h")]
    h,
    #[value(name = "a")]
    a,
    #[value(name = "r")]
    r,
    #[value(name = "d")]
    d,
    #[value(name = "D")]
    D,
}

impl From<TimeFormat> for Clock {
    fn from(format: TimeFormat) -> Self {
        match format {
            TimeFormat::h => Self::TimeOfDay,
            TimeFormat::a => Self::Epoch,
            TimeFormat::r => Self::Relative,
            TimeFormat::d => Self::Latency,
            TimeFormat::D => Self::Delta,
        }
    }
}

impl From<FormatError> for CliError {
    fn from(error: FormatError) -> Self {
        let wrong = Self::usage(&error);
        match error.nearest() {
            Some(near) => wrong.hint(format_args!("did you mean {near}?")),
            None => wrong.hint("`nabe fields` lists the fields"),
        }
    }
}

/// A capture that cannot be read, by its name.
fn unreadable(path: &Path, error: &nabe_scap::Error) -> CliError {
    let name = if path == Path::new("-") { "standard input".into() } else { path.display().to_string() };
    CliError::failed(format_args!("cannot read the capture {}", output::plain(name.as_bytes())))
        .because(error)
}

/// Bytes of output that are gathered before they are written.
const CHUNK: usize = 1 << 16;

/// Where events go.
struct Output<'a> {
    args: &'a Args,
    format: EventFormat,
    program: Program,
    /// Whether the filter selects everything.
    all: bool,
    buffer: Vec<u8>,
    matched: u64,
    counts: HashMap<(&'static str, bool), u64>,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<ExitCode> {
    let (files, filter) = split(&args.words);
    let format = match args.print.as_deref() {
        None => preset::DEFAULT,
        Some("c" | "container") => preset::CONTAINER,
        Some("k" | "kubernetes") => preset::KUBERNETES,
        Some(format) => format,
    };
    let program = Program::compile_of_events(filter, args.lang.into())?;
    let mut output = Output {
        args,
        format: EventFormat::parse(format)?,
        all: program.selects_all(),
        program,
        buffer: Vec::with_capacity(2 * CHUNK),
        matched: 0,
        counts: HashMap::new(),
    };
    let mut stream = Stream::new();
    stream.style = Style {
        clock: args.time.into(),
        // A program reads all of it.
        buffer_limit: if args.json { 0 } else { Style::default().buffer_limit },
        ..Style::default()
    };
    for file in files {
        if !output.file(&mut stream, &file)? {
            break;
        }
    }
    output.finish(&stream)
}

/// The words that are files, and the filter behind them: a word that is no file begins it.
fn split(words: &[String]) -> (Vec<PathBuf>, &str) {
    match words {
        [files @ .., last] if !files.is_empty() && last != "-" && !Path::new(last).exists() => {
            (files.iter().map(PathBuf::from).collect(), last)
        }
        _ => (words.iter().map(PathBuf::from).collect(), ""),
    }
}

impl Output<'_> {
    /// Reads one capture; returns whether to go on.
    fn file(&mut self, stream: &mut Stream, path: &Path) -> Result<bool> {
        let about = |error: nabe_scap::Error| unreadable(path, &error);
        let opened = if path == Path::new("-") { Reader::new(std::io::stdin()) } else { Reader::open(path) };
        let mut reader = opened.map_err(about)?;
        let mut converter = Converter::new(Enters::Drop);
        let mut first = true;
        while let Some(batch) = reader.batch().map_err(about)? {
            for item in batch {
                match item {
                    Item::Event(event) => {
                        if !self.event(stream, &mut converter, &event)? {
                            return Ok(false);
                        }
                    }
                    Item::Section(_) => {
                        // The first section of the first file has nothing before it.
                        if !core::mem::take(&mut first) || stream.events() > 0 {
                            stream.section();
                        }
                        converter.reset();
                    }
                    item => state(stream, &item),
                }
            }
        }
        self.tell(path, &reader);
        Ok(true)
    }

    /// What was wrong with a file.
    fn tell(&self, path: &Path, reader: &Reader) {
        let path = path.display();
        match reader.ending() {
            Ending::Cut { offset, have } => {
                eprintln!(
                    "nabe: warning: {path}: cut at byte {}, {have} bytes of its last block are there",
                    offset + have
                );
            }
            Ending::Undecodable { offset, source } => {
                eprintln!("nabe: warning: {path}: cannot be decompressed beyond byte {offset}: {source}");
            }
            _ => {}
        }
        let stats = reader.stats();
        if !stats.is_clean() {
            eprintln!(
                "nabe: warning: {path}: skipped {} events, {} entries and {} bytes that cannot be read",
                stats.broken_events, stats.broken_entries, stats.damaged_bytes
            );
        }
    }

    /// Takes an event in; returns whether to go on.
    #[inline]
    fn event(&mut self, stream: &mut Stream, converter: &mut Converter, event: &Event<'_>) -> Result<bool> {
        let current = if Stream::wants(event.id) { converter.convert(event) } else { None };
        let seen = stream.apply(event, current.as_ref());
        if self.args.summary && !seen.is_prologue() && (self.all || self.program.matches(&seen)) {
            *self.counts.entry((seen.name(), event.id.is_enter())).or_default() += 1;
        }
        if seen.is_shown() && (self.all || self.program.matches(&seen)) {
            self.shown(&seen)?;
        }
        // The limit counts hidden events too, as sysdig's does.
        Ok(self.args.limit.is_none_or(|limit| seen.number() < limit))
    }

    fn shown(&mut self, seen: &Seen<'_>) -> Result<()> {
        self.matched += 1;
        if self.args.count || self.args.quiet {
            return Ok(());
        }
        let printed = if self.args.json {
            self.format.json(seen, &mut self.buffer)
        } else {
            self.format.line(seen, &mut self.buffer)
        };
        if printed {
            self.buffer.push(b'\n');
        }
        if self.buffer.len() >= CHUNK { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        let mut out = std::io::stdout().lock();
        let written = out.write_all(&self.buffer).and_then(|()| out.flush());
        self.buffer.clear();
        written.map_err(|error| CliError::output(&error))
    }

    fn finish(mut self, stream: &Stream) -> Result<ExitCode> {
        if self.args.count {
            self.buffer.extend_from_slice(format!("{}\n", self.matched).as_bytes());
        }
        if self.args.summary {
            self.summary();
        }
        self.flush()?;
        let losses = stream.losses();
        if losses != nabe_state::stream::Losses::default() {
            eprintln!(
                "nabe: note: no room for {} threads, {} descriptors, {} accounts, {} containers",
                losses.threads, losses.descriptors, losses.accounts, losses.containers
            );
        }
        Ok(ExitCode::SUCCESS)
    }

    fn summary(&mut self) {
        let rule = "----------------------\n";
        let mut text = format!("{rule}{:<16}#Calls\n{rule}", "Event");
        let mut counts: Vec<_> = self.counts.iter().collect();
        counts.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
        for ((name, enter), count) in counts {
            let direction = if *enter { '>' } else { '<' };
            text.push_str(&format!("{direction} {name:<16}{count}\n"));
        }
        self.buffer.extend_from_slice(text.as_bytes());
    }
}

/// Takes in what was there when the capture began.
fn state(stream: &mut Stream, item: &Item<'_>) {
    match item {
        Item::Machine(machine) => stream.machine(machine.hostname),
        Item::Interface(interface) => stream.add_address(interface.address),
        Item::User(user) => {
            let account = Account {
                gid: Some(user.gid),
                name: user.name.into(),
                home: user.home.into(),
                shell: user.shell.into(),
            };
            stream.add_user(user.uid, account);
        }
        Item::Group(group) => stream.add_group(group.gid, group.name),
        Item::Thread(thread) => stream.add_thread(thread_of(thread)),
        Item::Descriptor(found) => {
            stream.add_descriptor(found.tid, found.fd, descriptor_of(found));
        }
        Item::Section(_) | Item::Event(_) => {}
    }
}

fn thread_of(from: &nabe_scap::item::Thread<'_>) -> Thread {
    let mut thread = Thread::new(from.tid);
    thread.pid = from.pid;
    thread.ptid = from.ptid;
    thread.sid = from.sid;
    thread.vpgid = from.vpgid;
    thread.pgid = from.pgid.unwrap_or(-1);
    thread.vtid = from.vtid;
    thread.vpid = from.vpid;
    thread.comm = from.comm.into();
    thread.exe = from.exe.into();
    thread.exe_path = from.exe_path.into();
    thread.args = from.args.into();
    thread.env = from.env.into();
    thread.cwd = from.cwd.into();
    thread.root = from.root.into();
    thread.cgroups = from.cgroups.into();
    thread.fd_limit = from.fd_limit;
    thread.flags = from.flags;
    thread.uid = from.uid;
    thread.gid = from.gid;
    thread.login_uid = from.login_uid.unwrap_or(u32::MAX);
    thread.vm_size_kib = from.vm_size_kib.into();
    thread.vm_rss_kib = from.vm_rss_kib.into();
    thread.vm_swap_kib = from.vm_swap_kib.into();
    thread.major_faults = from.major_faults;
    thread.minor_faults = from.minor_faults;
    thread.tty = from.tty.unwrap_or(0);
    thread.pid_namespace_start_ns = from.pid_namespace_start_ns;
    thread.capabilities = [from.cap_permitted, from.cap_inheritable, from.cap_effective];
    thread.exe_writable = from.exe_writable;
    thread.exe_upper_layer = from.exe_upper_layer;
    thread.exe_lower_layer = from.exe_lower_layer;
    thread.exe_from_memfd = from.exe_from_memfd;
    thread.exe_inode = from.exe_inode;
    thread.exe_ctime_ns = from.exe_ctime_ns;
    thread.exe_mtime_ns = from.exe_mtime_ns;
    thread
}

fn descriptor_of(from: &nabe_scap::item::Descriptor<'_>) -> Descriptor {
    let transport = |l4: L4| Transport::from_number(l4.0);
    let mut descriptor = match from.target {
        Target::Unknown | Target::Other { .. } => Descriptor::default(),
        Target::Connection { source, destination, protocol } => {
            let kind = if source.is_ipv4() { Kind::Ipv4 } else { Kind::Ipv6 };
            let mut found = Descriptor {
                kind,
                source,
                destination,
                transport: transport(protocol),
                role: Role::Client,
                connected: true,
                ..Descriptor::default()
            };
            found.name_connection();
            found
        }
        Target::Listener { local, protocol } => Descriptor {
            kind: if local.is_ipv4() { Kind::Ipv4Server } else { Kind::Ipv6Server },
            name: format!("{}:{}", local.ip(), local.port()).into_bytes().into(),
            source: local,
            destination: local,
            transport: transport(protocol),
            role: Role::Server,
            ..Descriptor::default()
        },
        Target::Unix { path, .. } => Descriptor::named(Kind::Unix, path),
        Target::File { open_flags, path, device } => {
            Descriptor { open_flags, device: device.unwrap_or(0), ..Descriptor::named(Kind::File, path) }
        }
        Target::Named { class, name } => Descriptor::named(kind_of(class), name),
    };
    descriptor.inode = from.inode;
    descriptor
}

fn kind_of(class: Class) -> Kind {
    match class {
        Class::File => Kind::File,
        Class::Directory => Kind::Directory,
        Class::Fifo => Kind::Fifo,
        Class::Event => Kind::Event,
        Class::Unsupported => Kind::Unsupported,
        Class::Signal => Kind::Signal,
        Class::EventPoll => Kind::EventPoll,
        Class::Inotify => Kind::Inotify,
        Class::Timer => Kind::Timer,
        Class::Netlink => Kind::Netlink,
        Class::Bpf => Kind::Bpf,
        Class::UserFault => Kind::UserFault,
        Class::IoUring => Kind::IoUring,
        Class::Memfd => Kind::Memfd,
        Class::Pidfd => Kind::Pidfd,
    }
}
