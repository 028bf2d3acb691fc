//! A view as a sink of the pipeline: what it yields is printed, and its wishes are granted.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};

use nabe_chisel::{Event, Flow, Output, Piece, Runner, Setup, Table};
use nabe_event::source::EventInterest;
use nabe_event::table::EventId;
use nabe_filter::Program;
use nabe_scap::Compression;
use nabe_state::stream::{Seen, Stream, Style};

use super::{Choice, load, machine::State};
use crate::cli::replay::Capture;
use crate::error::{CliError, Result};
use crate::output::{Color, Terminal};
use crate::stream::lines::Stdout;
use crate::stream::record::name::Names;
use crate::stream::record::redact::Redactor;
use crate::stream::record::{Limits, Options, Recorder, Scope};
use crate::stream::stop::Stop;
use crate::stream::{Pipeline, Road as _, Sink, Wants};

/// Text that is gathered before it is written.
const CHUNK: usize = 1 << 16;
/// Where payload of flows goes.
const FOLDER: &str = "udp_dump_files";

/// A run of a view.
pub(in crate::cli) struct Shown {
    runner: Runner,
    out: Output,
    stdout: Stdout,
    json: bool,
    safe: bool,
    /// Whether a table takes the place of the one before, on the terminal.
    redraw: bool,
    done: bool,
    socket: Option<UdpSocket>,
    /// The capture that is read.
    source: String,
}

/// How events are selected and shown.
pub(in crate::cli) struct Run<'a> {
    /// The user's own filter.
    pub(in crate::cli) filter: &'a str,
    /// The capture, or empty.
    pub(in crate::cli) source: String,
    /// Whether the machine is watched.
    pub(in crate::cli) live: bool,
    /// Whether the answer is JSON.
    pub(in crate::cli) json: bool,
    /// Whether containers are shown.
    pub(in crate::cli) containers: bool,
}

/// Makes the view that was chosen, ready for its first event.
pub(in crate::cli) fn sink(choice: &Choice, run: Run<'_>, stop: &Stop) -> Result<Shown> {
    let Some((name, args)) = choice.view.split_first() else {
        return Err(CliError::usage("no view was chosen"));
    };
    if !(choice.interval.is_finite() && choice.interval >= 0.01) {
        return Err(CliError::usage(format_args!("an interval of {} seconds is too short", choice.interval)));
    }
    let terminal = Terminal::detect(Color::Auto);
    let size = terminal.height.zip(terminal.width);
    let short = |number: usize| u16::try_from(number).unwrap_or(u16::MAX);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked above; saturates")]
    let interval_ns = (choice.interval * 1e9) as u64;
    let setup = Setup {
        args: args.to_vec(),
        live: run.live,
        terminal: size.map(|(rows, columns)| (short(columns), short(rows))),
        color: terminal.color && !run.json,
        safe: size.is_some(),
        containers: run.containers,
        json: run.json,
        filter: run.filter.to_owned(),
        interval_ns: run.live.then_some(interval_ns),
        source: run.source,
    };
    let view = load::make(name, &setup, stop)?;
    let mut out = Output::new(&setup);
    let runner = Runner::new(view, &mut out)?;
    Ok(Shown {
        runner,
        out,
        stdout: Stdout::new(false),
        json: run.json,
        safe: setup.safe,
        redraw: run.live && size.is_some() && !run.json,
        done: false,
        socket: None,
        source: setup.source,
    })
}

impl Shown {
    /// Bytes of payload that the view wants to see.
    pub(in crate::cli) fn snaplen(&self) -> u32 {
        self.runner.snaplen()
    }

    /// Asks for the samples that the view shows, and narrows what is collected to what it takes, unless
    /// others want the rest (`alone`).
    pub(in crate::cli) fn narrow(&self, interest: &mut EventInterest, alone: bool) {
        interest.samples = self.runner.is_sampled();
        if !alone {
            return;
        }
        if !self.runner.shows_switches() {
            interest.events.remove(EventId::SCHEDSWITCH_6_E);
        }
        if let Some(filter) = self.runner.filter() {
            let events = core::mem::take(&mut interest.events);
            interest.events = events.intersection(&filter.event_interest().events);
        }
    }

    fn event(&mut self, seen: &Seen<'_>) -> Result<()> {
        if self.done {
            return Ok(());
        }
        let state = State::new(seen.state());
        let event = Event { fields: seen, ts_ns: seen.event().ts_ns, machine: &state };
        let flow = self.runner.event(&event, &mut self.out);
        if flow.is_err() || self.out.waiting() >= CHUNK {
            self.print()?;
        }
        if flow? == Flow::Stop {
            self.done = true;
            // The view speaks of this moment, not of the end of the batch.
            self.end(seen.state())?;
        }
        Ok(())
    }

    fn end(&mut self, stream: &Stream) -> Result<()> {
        let ended = self.runner.end(&State::new(stream), &mut self.out);
        self.print()?;
        self.stdout.flush()?;
        Ok(ended?)
    }

    fn print(&mut self) -> Result<()> {
        for piece in self.out.take() {
            match piece {
                Piece::Text(text) => self.stdout.buffer().extend_from_slice(&text),
                Piece::Table(table) => self.table(&table),
                Piece::Append { name, bytes } => append(&name, &bytes)?,
                Piece::Datagram { to, bytes } => self.send(&to, &bytes)?,
                Piece::Save { file, range_ms, around } => self.save(&file, range_ms, &around)?,
            }
            self.stdout.line()?;
        }
        Ok(())
    }

    fn table(&mut self, table: &Table) {
        let buffer = self.stdout.buffer();
        if self.json {
            table.json(buffer);
            buffer.push(b'\n');
            return;
        }
        if self.redraw {
            buffer.extend_from_slice(b"\x1b[H\x1b[2J");
        }
        table.text(self.safe, buffer);
        let dropped = &table.dropped;
        if dropped.any() {
            eprintln!(
                "nabe: note: {} groups and {} different values were dropped; numbers may be too small by {}",
                dropped.groups, dropped.distinct, dropped.error
            );
        }
    }

    fn send(&mut self, to: &str, bytes: &[u8]) -> Result<()> {
        let about =
            |error: std::io::Error| CliError::failed(format_args!("cannot send to {to}")).because(&error);
        let socket = match self.socket.take() {
            Some(socket) => socket,
            None => {
                UdpSocket::bind(if to.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" }).map_err(about)?
            }
        };
        // Nobody may listen: that is no reason to stop.
        let sent = socket.send_to(bytes, to);
        self.socket = Some(socket);
        match sent {
            Err(error) if error.kind() != std::io::ErrorKind::ConnectionRefused => Err(about(error)),
            _ => Ok(()),
        }
    }

    /// Saves the events of the same thread around each moment, out of the capture that was read.
    fn save(&mut self, file: &str, range_ms: u64, around: &[(u64, i64)]) -> Result<()> {
        if around.is_empty() {
            return Ok(());
        }
        self.stdout.flush()?;
        let mut moments: HashMap<i64, Vec<u64>> = HashMap::new();
        around.iter().for_each(|(ts_ns, tid)| moments.entry(*tid).or_default().push(*ts_ns));
        let options = Options {
            names: Names::one(Path::new(file)),
            compression: Compression::None,
            scope: Scope::All,
            fat: true,
            compatible: true,
            redactor: Redactor::new(&[], None),
            limits: Limits::default(),
        };
        let recorder = Recorder::new(options, None)?;
        let range_ns = range_ms.saturating_mul(1_000_000);
        let mut pipeline = Pipeline::new(Program::all(), Style::default());
        pipeline.add(Around { recorder, moments, range_ns });
        let source = PathBuf::from(&self.source);
        let read = Capture::open(&source, false, true)
            .and_then(|mut capture| capture.read(&mut pipeline, &Stop::default()).map(drop));
        // What was written until something failed is completed all the same.
        let finished = pipeline.finish();
        read.and(finished)
    }
}

/// Records the events around moments of their threads.
struct Around {
    recorder: Recorder,
    /// By thread, in order.
    moments: HashMap<i64, Vec<u64>>,
    range_ns: u64,
}

impl Around {
    fn is_near(&self, seen: &Seen<'_>) -> bool {
        let event = seen.event();
        let Some(moments) = self.moments.get(&event.tid) else { return false };
        let from = event.ts_ns.saturating_sub(self.range_ns);
        let next = moments.partition_point(|moment| *moment < from);
        moments.get(next).is_some_and(|moment| *moment <= event.ts_ns.saturating_add(self.range_ns))
    }
}

impl Sink for Around {
    fn wants(&self) -> Wants {
        Wants::All
    }
    fn item(&mut self, item: &nabe_event::Item<'_>, stream: &Stream) -> Result<()> {
        self.recorder.item(item, stream)
    }
    fn seen(&mut self, seen: &Seen<'_>) -> Result<()> {
        if self.is_near(seen) { self.recorder.seen(seen) } else { self.recorder.other(seen, false) }
    }
    fn other(&mut self, seen: &Seen<'_>, selected: bool) -> Result<()> {
        let near = self.is_near(seen);
        self.recorder.other(seen, selected && near)
    }
    fn idle(&mut self, live: bool, stream: &Stream) -> Result<()> {
        self.recorder.idle(live, stream)
    }
    fn finish(&mut self, stream: &Stream) -> Result<()> {
        self.recorder.finish(stream)
    }
}

/// Appends to a file of a flow.
fn append(name: &str, bytes: &[u8]) -> Result<()> {
    let folder = Path::new(FOLDER);
    std::fs::create_dir_all(folder).map_err(|error| CliError::file("make the folder", folder, &error))?;
    let path = folder.join(name);
    let about = |error: std::io::Error| CliError::file("write", &path, &error);
    let mut file: File = OpenOptions::new().append(true).create(true).open(&path).map_err(about)?;
    file.write_all(bytes).map_err(about)
}

impl Sink for Shown {
    fn wants(&self) -> Wants {
        Wants::All
    }

    fn seen(&mut self, seen: &Seen<'_>) -> Result<()> {
        self.event(seen)
    }

    fn other(&mut self, seen: &Seen<'_>, selected: bool) -> Result<()> {
        // Samples of processes, and what else is internal; not what was told before the first event.
        if selected && !seen.is_prologue() { self.event(seen) } else { Ok(()) }
    }

    fn idle(&mut self, live: bool, _: &Stream) -> Result<()> {
        if live {
            self.print()?;
            self.stdout.flush()?;
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.done
    }

    fn finish(&mut self, stream: &Stream) -> Result<()> {
        if self.done { Ok(()) } else { self.end(stream) }
    }
}
