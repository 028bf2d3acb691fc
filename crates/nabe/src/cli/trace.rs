//! `nabe trace`: events while they happen, filtered and printed.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use nabe_event::FieldId;
use nabe_event::source::EventInterest;
use nabe_event::table::EventId;
use nabe_filter::{Lang, Program};

use super::events::{Show, tell_numbers};
use super::record::{How, size};
use crate::config;
use crate::error::{CliError, Result};
use crate::output;
use crate::stream::command::Traced;
use crate::stream::container::{self, Containers};
use crate::stream::live;
use crate::stream::record::Recorder;
use crate::stream::stop::Stop;
use crate::stream::stranger::Strangers;

/// Show events while they happen.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  nabe trace
  nabe trace 'evt.type = openat and fd.name contains etc'
  nabe trace --container web -p '%evt.time %proc.name %evt.type %fd.name'
  nabe trace --pid 4711 --follow --style strace
  nabe trace --style strace -- curl -s https://example.org
  nabe trace -M 10 -q -S
  nabe trace -w a.scap 'proc.name = nginx'

Ctrl-C is the normal end: what is in the ring is shown, then how much was seen, filtered and lost.
`nabe fields` lists the fields.

Exit status: 0 done, 1 failed, 2 wrong usage or expression. With -- COMMAND that of the command; 126
when it cannot be run, 127 when there is none, 128 and the signal's number when a signal ended it.")]
pub struct Args {
    /// Which events, in CEL or sysdig's language; all without it
    #[arg(value_name = "FILTER")]
    filter: Option<String>,
    #[command(flatten)]
    show: Show,
    #[command(flatten)]
    pub(super) of: Of,
    /// Switches of processors from thread to thread, too; views, captures and filters that name them ask for them as well
    #[arg(long, help_heading = "Of whom")]
    switches: bool,
    /// Stop behind so many seconds
    #[arg(short = 'M', long = "duration", value_name = "SECONDS")]
    duration: Option<f64>,
    /// Write the events that are shown into this capture, too
    #[arg(short = 'w', long = "write", value_name = "FILE")]
    write: Option<PathBuf>,
    #[command(flatten)]
    how: How,
    /// A command to run and trace, with its children, from its first instruction
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Of whom events are collected.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct Of {
    /// Only this container, by name or id; may be given several times
    #[arg(long, value_name = "NAME|ID", help_heading = "Of whom")]
    container: Vec<String>,
    /// Only this pod, by name; may be given several times
    #[arg(long, value_name = "NAME", help_heading = "Of whom")]
    pod: Vec<String>,
    /// Only this process; may be given several times
    #[arg(long, value_name = "PID", help_heading = "Of whom")]
    pid: Vec<u32>,
    /// With --pid: the children that it has from now on, too
    #[arg(long, requires = "pid", help_heading = "Of whom")]
    follow: bool,
    /// The starts of open, openat, openat2, creat and connect, too, before another thread may change what they name
    #[arg(long, help_heading = "Of whom")]
    enters: bool,
    /// Page faults, too; a filter that names them asks for them as well
    #[arg(long, help_heading = "Of whom")]
    pub(super) page_faults: bool,
    /// nabe's own events, too
    #[arg(long, help_heading = "Of whom")]
    pub(super) own: bool,
    /// Memory between the kernel and the reader (64M)
    #[arg(long = "buffer", value_name = "BYTES", value_parser = size)]
    pub(super) buffer: Option<usize>,
}

impl Of {
    /// What `program` becomes for these containers and pods.
    pub(super) fn narrowed(&self, program: Program) -> Result<Program> {
        let of = container::filter(&self.container, &self.pod);
        if of.is_empty() {
            return Ok(program);
        }
        Ok(program.both(&Program::compile_of_events(&of, Lang::Cel)?))
    }

    /// What the kernel decides of these options, a line in the style of [`Program::explain`].
    fn explain(&self) -> String {
        if self.pid.is_empty() {
            return String::new();
        }
        let pids: Vec<String> = self.pid.iter().map(u32::to_string).collect();
        let children = if self.follow { " and children" } else { "" };
        format!(
            "           pid {}{children}; of other processes births, executions and ends\n",
            pids.join(" ")
        )
    }

    /// Narrows what the probe collects for `program`; `switches` when switches of processors are
    /// wanted whatever it says.
    pub(super) fn narrow(
        &self,
        interest: &mut EventInterest,
        command: Option<u32>,
        program: &Program,
        switches: bool,
    ) {
        // Who says nothing of types does not mean these: there are more of them than of all others.
        if interest.events.contains(EventId::GENERIC_X) {
            if !self.page_faults {
                interest.events.remove(EventId::PAGE_FAULT_E);
            }
            if !switches && !program.fields().into_iter().any(is_processor_time) {
                interest.events.remove(EventId::SCHEDSWITCH_6_E);
            }
        }
        // Ends say all that starts say; both are shown only to who asks which is which.
        if !self.enters && !program.fields().contains(&nabe_event::field::event::DIR) {
            interest.events = interest.events.ends();
        }
        if let Some(pid) = command {
            interest.pids = Some(vec![pid]);
            interest.follow = true;
        } else if !self.pid.is_empty() {
            interest.pids = Some(self.pid.clone());
            interest.follow = self.follow;
        }
    }
}

/// Whether only switches tell of a field.
fn is_processor_time(field: FieldId) -> bool {
    use nabe_event::field::thread as t;
    [t::EXECTIME, t::TOTEXECTIME].contains(&field)
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<ExitCode> {
    let program = args.of.narrowed(args.show.program(args.filter.as_deref().unwrap_or(""))?)?;
    if args.show.explain {
        output::write(format!("{}{}", program.explain(), args.of.explain()).as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    let format = args.show.format()?;
    if !args.command.is_empty() && !args.of.pid.is_empty() {
        return Err(CliError::usage("--pid and a command exclude each other"));
    }
    let mut interest = program.event_interest();
    // What is printed or written may hold payload whatever the filter reads.
    let writes = args.write.is_some();
    let shows = !args.show.quiet && !args.show.count && args.show.reads_payload(&format);
    interest.snaplen = match args.how.snaplen {
        Some(snaplen) => snaplen,
        None if writes || shows => EventInterest::default().snaplen,
        None => interest.snaplen,
    };
    let mut command = match args.command.as_slice() {
        [] => None,
        command => Some(Traced::hold(command)?),
    };
    let stop = if command.is_some() { Stop::default() } else { Stop::listen()? };
    if writes && command.is_none() {
        stop.listen_rotate()?;
    }
    let switches =
        args.switches || args.show.view.is_some() || writes || format.fields().any(is_processor_time);
    args.of.narrow(&mut interest, command.as_ref().map(Traced::pid), &program, switches);
    let all = program.selects_all() && interest.pids.is_none();
    let strangers = Strangers::default();
    let judge = strangers.judge(&program);
    let mut pipeline = args.show.pipeline(program)?;
    pipeline.set_live(true);
    let containers = Containers::new(config::engines()?);
    pipeline.add(containers.watch());
    if let Some(judge) = judge {
        pipeline.add(judge);
    }
    if args.show.view.is_some() {
        let run = super::views::Run {
            filter: args.filter.as_deref().unwrap_or(""),
            source: String::new(),
            live: true,
            json: args.show.json,
            containers: matches!(args.show.print.as_deref(), Some("c" | "container")),
        };
        let view = super::views::sink(&args.show.view, run, &stop)?;
        if args.how.snaplen.is_none() {
            interest.snaplen = interest.snaplen.max(view.snaplen());
        }
        view.narrow(&mut interest, args.write.is_none());
        pipeline.add(view);
    } else {
        args.show.add_output(&mut pipeline, format)?;
    }
    if let Some(path) = &args.write {
        // Before the file that is there already is begun anew.
        nabe_probe::live::permitted()?;
        pipeline.add(Recorder::new(args.how.options(path, all), Some(stop.clone()))?);
    }
    let how = live::Run {
        interest: &interest,
        ring_bytes: args.of.buffer,
        own: args.of.own,
        seconds: args.duration,
        stop: &stop,
        containers: &containers,
        strangers: &strangers,
    };
    let started = Instant::now();
    let account = live::run(&how, &mut pipeline, command.as_mut())?;
    if args.show.verbose {
        tell_numbers(&pipeline, &account, started.elapsed());
    }
    if command.is_none() || account.lost() > 0 {
        live::tell(&account, pipeline.passed().selected);
    }
    let Some(mut command) = command else { return Ok(ExitCode::SUCCESS) };
    // A limit may have ended the trace before the command ended.
    command.wait()?;
    Ok(command.code())
}
