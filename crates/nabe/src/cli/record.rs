//! `nabe record`: events into capture files.

use std::cell::RefCell;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;

use nabe_event::source::EventInterest;
use nabe_scap::Compression;
use nabe_state::stream::{Seen, Stream, Style};

use super::language::Language;
use super::replay::Captures;
use super::trace::Of;
use crate::config;
use crate::error::{CliError, Result};
use crate::stream::command::Traced;
use crate::stream::container::Containers;
use crate::stream::lookback::Lookback;
use crate::stream::record::copy::{self, Copy};
use crate::stream::record::name::Names;
use crate::stream::record::redact::{Redactor, Rule};
use crate::stream::record::{Limits, Options, Recorder, Scope};
use crate::stream::stop::Stop;
use crate::stream::stranger::Strangers;
use crate::stream::{Pipeline, Road, Sink, Step, Wants, live};

/// Write events into capture files.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  nabe record -o a.scap
  nabe record -o a.scap.gz -z 'proc.name = nginx'
  nabe record -o ring.scap -C 100 -W 10
  nabe record -o '%Y%m%d-%H%M.scap' -G 3600
  nabe record -o crash.scap --ring 64M --on 'evt.type = signaldeliver and evt.arg.sig = SIGSEGV' --after 5
  nabe record -o clean.scap --redact env --redact 'args=--password=\\S+' -r dirty.scap

With a filter a file holds only the threads that have events in it and those around them; the
arguments, environments and descriptors of others stay out (--all-state takes them in). SIGUSR1
begins a new file; Ctrl-C ends, and completes the file.

Exit status: 0 done, 1 failed, 2 wrong usage or expression.")]
pub struct Args {
    /// Which events, in CEL or sysdig's language; all without it
    #[arg(value_name = "FILTER")]
    filter: Option<String>,
    /// The file; - for standard output
    #[arg(short = 'o', short_alias = 'w', long, value_name = "FILE")]
    output: PathBuf,
    /// Read events from captures instead of the kernel; may be given several times
    #[arg(short = 'r', long = "read", value_name = "CAPTURE")]
    read: Vec<PathBuf>,
    #[command(flatten)]
    of: Of,
    /// Stop behind so many seconds
    #[arg(short = 'M', long = "duration", value_name = "SECONDS")]
    duration: Option<f64>,
    /// Language of the filters
    #[arg(long, value_enum, default_value_t)]
    lang: Language,
    #[command(flatten)]
    how: How,
    /// Stop after so many events
    #[arg(short = 'n', long = "limit", value_name = "N")]
    limit: Option<u64>,
    /// Keep the last events in so much memory (64M, 1G), and write them only when --on selects one
    #[arg(long, value_name = "BYTES", requires = "on", value_parser = size, help_heading = "Look-back")]
    ring: Option<usize>,
    /// The event at which what is in the ring is written
    #[arg(long, value_name = "FILTER", help_heading = "Look-back")]
    on: Option<String>,
    /// Go on writing for so many seconds behind the last event that --on selects
    #[arg(long, value_name = "SECONDS", default_value = "1", requires = "on", help_heading = "Look-back")]
    after: f64,
    /// A command to run and record, with its children, from its first instruction
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// How captures are written.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct How {
    /// Compress: gzip, which every reader opens, zstd or lz4
    #[arg(short = 'z', long, value_enum, value_name = "FORMAT", num_args = 0..=1, default_missing_value = "gzip", require_equals = true)]
    pub(super) compress: Option<Format>,
    /// New file behind so many million bytes
    #[arg(short = 'C', long = "file-size", value_name = "MB", help_heading = "Rotation")]
    pub(super) file_size: Option<u64>,
    /// New file every so many seconds of events; % in the name as in strftime(3)
    #[arg(short = 'G', long = "seconds", value_name = "SECONDS", help_heading = "Rotation")]
    pub(super) seconds: Option<u64>,
    /// New file every so many events
    #[arg(short = 'e', long = "events", value_name = "N", help_heading = "Rotation")]
    pub(super) events: Option<u64>,
    /// Keep so many files and begin again with the first; with -G: end behind so many
    #[arg(short = 'W', long = "files", value_name = "N", help_heading = "Rotation")]
    pub(super) files: Option<u32>,
    /// Keep, hidden, every event that changes the state, and the state of all
    #[arg(short = 'F', long)]
    pub(super) fatfile: bool,
    /// With a filter, too: keep the threads, descriptors and environments of all processes
    #[arg(long)]
    pub(super) all_state: bool,
    /// Take out: env (values of the environment), payload, args=PATTERN (what the regular expression matches in texts)
    #[arg(long, value_name = "WHAT", value_parser = rule)]
    pub(super) redact: Vec<Rule>,
    /// At most so many bytes of payload
    #[arg(short = 's', long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(0..=65_000))]
    pub(super) snaplen: Option<u32>,
    /// No enter events for readers of older schemas
    #[arg(long)]
    pub(super) exit_only: bool,
}

/// Formats of compression.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// RFC 1952
    Gzip,
    /// RFC 8878
    Zstd,
    /// LZ4 frames
    Lz4,
}

fn rule(text: &str) -> std::result::Result<Rule, String> {
    text.parse()
}

/// `64M`: bytes with a binary suffix.
pub(super) fn size(text: &str) -> std::result::Result<usize, String> {
    let (digits, factor) = match text.char_indices().last() {
        Some((at, 'k' | 'K')) => (&text[..at], 1usize << 10),
        Some((at, 'm' | 'M')) => (&text[..at], 1 << 20),
        Some((at, 'g' | 'G')) => (&text[..at], 1 << 30),
        _ => (text, 1),
    };
    let number: usize = digits.parse().map_err(|_| "a number with K, M or G behind it".to_owned())?;
    let bytes = number.checked_mul(factor).ok_or("too large")?;
    if bytes < 1 << 16 { Err("at least 64K".to_owned()) } else { Ok(bytes) }
}

impl How {
    /// A recorder into `output` of what a filter, or none (`all`), selects.
    pub(super) fn options(&self, output: &Path, all: bool) -> Options {
        let by_time = self.seconds.is_some() && self.file_size.is_none();
        let rotates = self.file_size.is_some() || self.seconds.is_some() || self.events.is_some();
        let names = if rotates { Names::rotated(output, by_time, self.files) } else { Names::one(output) };
        let compression = match self.compress {
            Some(Format::Gzip) => Compression::Gzip,
            Some(Format::Zstd) => Compression::Zstd,
            Some(Format::Lz4) => Compression::Lz4,
            None => Compression::None,
        };
        Options {
            names,
            compression,
            scope: if all || self.fatfile || self.all_state { Scope::All } else { Scope::Related },
            fat: self.fatfile,
            compatible: !self.exit_only,
            redactor: Redactor::new(&self.redact, self.snaplen.map(|len| len as usize)),
            limits: Limits {
                bytes: self.file_size.map(|size| size.saturating_mul(1_000_000)),
                span_ns: self.seconds.map(|seconds| seconds.saturating_mul(1_000_000_000)),
                events: self.events,
            },
        }
    }
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<ExitCode> {
    use nabe_filter::Program;
    let compile = |text: &str| Program::compile_of_events(text, args.lang.into());
    let program = args.of.narrowed(compile(args.filter.as_deref().unwrap_or(""))?)?;
    let trigger = args.on.as_deref().map(compile).transpose()?;
    if !args.read.is_empty() && !args.command.is_empty() {
        return Err(CliError::usage("a capture that is read has no command to run"));
    }
    let mut command = match args.command.as_slice() {
        [] => None,
        command => Some(Traced::hold(command)?),
    };
    let stop = if command.is_some() { Stop::default() } else { Stop::listen()? };
    if command.is_none() {
        stop.listen_rotate()?;
    }
    let mut interest = program.event_interest();
    if let Some(trigger) = &trigger {
        let on = trigger.event_interest();
        interest = EventInterest { events: interest.events.union(&on.events), ..EventInterest::default() };
    }
    interest.snaplen = args.how.snaplen.unwrap_or(EventInterest::default().snaplen);
    // Questions to a capture come later.
    args.of.narrow(&mut interest, command.as_ref().map(Traced::pid), &program, true);
    let containers = Containers::new(config::engines()?);
    let strangers = Strangers::default();
    // A trigger may be pulled by threads that are not recorded.
    let judge = if trigger.is_none() && args.read.is_empty() { strangers.judge(&program) } else { None };
    if args.read.is_empty() {
        // Before the file that is there already is begun anew.
        nabe_probe::live::permitted()?;
    }
    let captures = Captures::open(&args.read, Some(&args.output), false, true)?;
    let options = args.how.options(&args.output, program.selects_all());
    let as_it_is = trigger.is_none() && args.limit.is_none() && program.selects_all();
    if as_it_is
        && args.read.iter().all(|file| file.is_file())
        && !args.read.is_empty()
        && copy::is_plain(&options)
    {
        let mut copy = Copy::new(options, &stop)?;
        let result = super::replay::rewrite(captures, &mut copy, &stop);
        tell(args, copy.written(), result.is_ok());
        return result.map(|()| ExitCode::SUCCESS);
    }
    let recorder = match trigger {
        None => Recorder::new(options, Some(stop.clone()))?,
        Some(_) => Recorder::asleep(options, Some(stop.clone())),
    };
    let mut source = Origin {
        args,
        captures,
        stop: &stop,
        interest: &interest,
        containers: &containers,
        strangers: &strangers,
    };
    let recorder = Rc::new(RefCell::new(recorder));
    let mut pipeline = Pipeline::new(program, Style::default());
    pipeline.limit(args.limit);
    pipeline.add(Shared(Rc::clone(&recorder)));
    let result = match trigger {
        None => {
            pipeline.set_live(args.read.is_empty());
            if args.read.is_empty() {
                pipeline.add(containers.watch());
                if let Some(judge) = judge {
                    pipeline.add(judge);
                }
            }
            source.take(&mut pipeline, command.as_mut())
        }
        Some(trigger) => {
            let wake = Rc::clone(&recorder);
            let ring = args.ring.unwrap_or(64 << 20);
            let after = std::time::Duration::try_from_secs_f64(args.after)
                .map_err(|error| CliError::usage(format_args!("--after {}: {error}", args.after)))?;
            let mut lookback = Lookback::new(trigger, pipeline, ring, after, move |on| {
                let mut recorder = wake.borrow_mut();
                if on {
                    recorder.wake();
                    Ok(())
                } else {
                    recorder.sleep()
                }
            });
            if args.read.is_empty() {
                lookback.add_front(containers.watch());
            }
            source.take(&mut lookback, command.as_mut())
        }
    };
    tell(args, recorder.borrow().written(), result.is_ok());
    result?;
    let Some(mut command) = command else { return Ok(ExitCode::SUCCESS) };
    command.wait()?;
    Ok(command.code())
}

/// Says how much was written.
fn tell(args: &Args, (files, events, bytes): (u64, u64, u64), done: bool) {
    if args.output != Path::new("-") || done {
        let s = if files == 1 { "" } else { "s" };
        eprintln!("nabe: {events} events in {files} file{s}, {bytes} bytes");
    }
}

/// Where events come from.
struct Origin<'a> {
    args: &'a Args,
    captures: Captures<'a>,
    stop: &'a Stop,
    interest: &'a EventInterest,
    containers: &'a Containers,
    strangers: &'a Strangers,
}

impl Origin<'_> {
    /// Takes all there is down `road`.
    fn take(&mut self, road: &mut impl Road, command: Option<&mut Traced>) -> Result<()> {
        let Self { args, captures, stop, .. } = self;
        if args.read.is_empty() {
            let how = live::Run {
                interest: self.interest,
                ring_bytes: args.of.buffer,
                own: args.of.own,
                seconds: args.duration,
                stop,
                containers: self.containers,
                strangers: self.strangers,
            };
            let account = live::run(&how, road, command)?;
            live::tell(&account, account.delivered);
            return Ok(());
        }
        let mut result = Ok(Step::More);
        for capture in captures {
            if !matches!(result, Ok(Step::More | Step::Ended)) || stop.is_asked() {
                break;
            }
            result = capture.and_then(|mut capture| capture.read(road, stop));
        }
        // What was written until something failed is completed all the same.
        let finished = road.finish();
        result.map(|_| ()).and(finished)
    }
}

/// A recorder that somebody else wakes.
struct Shared(Rc<RefCell<Recorder>>);

impl Sink for Shared {
    fn wants(&self) -> Wants {
        self.0.borrow().wants()
    }
    fn item(&mut self, item: &nabe_event::Item<'_>, stream: &Stream) -> Result<()> {
        self.0.borrow_mut().item(item, stream)
    }
    fn seen(&mut self, seen: &Seen<'_>) -> Result<()> {
        self.0.borrow_mut().seen(seen)
    }
    fn other(&mut self, seen: &Seen<'_>, selected: bool) -> Result<()> {
        self.0.borrow_mut().other(seen, selected)
    }
    fn idle(&mut self, live: bool, stream: &Stream) -> Result<()> {
        self.0.borrow_mut().idle(live, stream)
    }
    fn is_done(&self) -> bool {
        self.0.borrow().is_done()
    }
    fn finish(&mut self, stream: &Stream) -> Result<()> {
        self.0.borrow_mut().finish(stream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_suffixes() {
        assert_eq!(size("64M"), Ok(64 << 20));
        assert_eq!(size("65536"), Ok(65_536));
        for wrong in ["", "M", "1x", "1", "99999999999G"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }
}
