//! Options that verbs about events share: the filter's language, what a line looks like, what is told
//! at the end.

use std::path::Path;

use nabe_event::payload::Form;
use nabe_filter::Program;
use nabe_state::stream::{Clock, Services, Style as Texts};
use nabe_ui::print::event::{self as preset, EventFormat, FormatError};

use super::language::Language;
use crate::error::{CliError, Result};
use crate::stream::Pipeline;
use crate::stream::export::{Exports, Wish};
use crate::stream::lines::Lines;
use crate::stream::strace::Strace;
use crate::stream::tally::{Count, Summary};

/// How events are selected and shown.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct Show {
    /// Language of the filter
    #[arg(long, value_enum, default_value_t)]
    pub(super) lang: Language,
    /// Format of a line, or a preset: c (with containers), k (with pods)
    #[arg(short = 'p', long = "print", value_name = "FORMAT", allow_hyphen_values = true)]
    pub(super) print: Option<String>,
    /// How evt.outputtime reads: h time of day, a epoch, r since the first event, d since enter, D since the event before
    #[arg(short = 't', long = "time", value_name = "h|a|r|d|D", default_value = "h")]
    pub(super) time: TimeFormat,
    /// Stop after so many events
    #[arg(short = 'n', long = "limit", value_name = "N")]
    pub(super) limit: Option<u64>,
    /// Print a table of events and their numbers at the end
    #[arg(short = 'S', long)]
    pub(super) summary: bool,
    /// Print no events
    #[arg(short = 'q', long)]
    pub(super) quiet: bool,
    /// One JSON object a line, with the fields of the format
    #[arg(short = 'j', long)]
    pub(super) json: bool,
    /// Payload as text with its lines
    #[arg(short = 'A', long, group = "form", help_heading = "Payload")]
    pub(super) print_ascii: bool,
    /// Payload in base64
    #[arg(short = 'b', long, group = "form", help_heading = "Payload")]
    pub(super) print_base64: bool,
    /// Payload in hexadecimal
    #[arg(short = 'x', long, group = "form", help_heading = "Payload")]
    pub(super) print_hex: bool,
    /// Payload in hexadecimal and text
    #[arg(short = 'X', long, group = "form", help_heading = "Payload")]
    pub(super) print_hex_ascii: bool,
    /// Payload is not cut to 80 characters; numbers of the run at the end, on stderr
    #[arg(short = 'v', long)]
    pub(super) verbose: bool,
    /// Show internal events, and those that are there for their effect on the state, too
    #[arg(short = 'D', long)]
    pub(super) debug: bool,
    /// Ports under their names (services(5)): in names of descriptors and in parameters
    #[arg(short = 'R', long)]
    pub(super) resolve_ports: bool,
    /// Without names of users and groups
    #[arg(short = 'E', long)]
    pub(super) exclude_users: bool,
    /// Style of lines: sysdig's format language, or strace's
    #[arg(long, value_enum, default_value_t, conflicts_with_all = ["print", "json"])]
    pub(super) style: Style,
    /// Write events in another tool's format: ndjson, chrome, perfetto, pcapng, parquet or strace, then :FILE, if not stdout; or a file whose suffix tells; may be given several times
    #[arg(long, value_name = "FORMAT[:FILE]", value_parser = wish)]
    pub(super) export: Vec<Wish>,
    /// The file of an --export that names none
    #[arg(short = 'o', long, value_name = "FILE", requires = "export")]
    pub(super) output: Option<std::path::PathBuf>,
    /// Every line is written at once
    #[arg(long)]
    pub(super) unbuffered: bool,
    /// Print only the number of events that match
    #[arg(long, conflicts_with_all = ["print", "json", "summary"])]
    pub(super) count: bool,
    /// Print how the filter is decided instead of running it
    #[arg(long)]
    pub(super) explain: bool,
    #[command(flatten)]
    pub(super) view: super::views::Choice,
}

fn wish(text: &str) -> std::result::Result<Wish, String> {
    text.parse()
}

/// What lines look like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Style {
    /// sysdig's format language
    #[default]
    Sysdig,
    /// name(arguments) = result
    Strace,
}

/// How `evt.outputtime` reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
#[allow(non_camel_case_types, reason = "the letters are what the user types")]
pub(super) enum TimeFormat {
    #[default]
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

impl Show {
    /// The compiled filter.
    pub(super) fn program(&self, filter: &str) -> Result<Program> {
        Ok(Program::compile_of_events(filter, self.lang.into())?)
    }

    /// The form of payloads.
    pub(super) fn form(&self) -> Form {
        match () {
            () if self.print_ascii => Form::Ascii,
            () if self.print_base64 => Form::Base64,
            () if self.print_hex => Form::Hex,
            () if self.print_hex_ascii => Form::HexAscii,
            () => Form::Dots,
        }
    }

    /// The compiled format.
    pub(super) fn format(&self) -> Result<EventFormat> {
        let format = match self.print.as_deref() {
            None => preset::DEFAULT,
            Some("c" | "container") => preset::CONTAINER,
            Some("k" | "kubernetes") => preset::KUBERNETES,
            Some(format) => format,
        };
        Ok(EventFormat::parse(format)?.with_payload(self.form()))
    }

    /// Whether lines may hold payload.
    pub(super) fn reads_payload(&self, format: &EventFormat) -> bool {
        use nabe_event::field::event as e;
        let holds = |id| matches!(id, e::ARGS | e::INFO | e::ARG | e::RAWARG | e::BUFFER);
        self.style == Style::Strace || !self.export.is_empty() || format.fields().any(holds)
    }

    /// A pipeline that shows as these options say; whoever calls adds other sinks.
    pub(super) fn pipeline<'a>(&self, program: Program) -> Result<Pipeline<'a>> {
        let style = Texts {
            clock: self.time.into(),
            payload: self.form(),
            // A program reads all of it.
            buffer_limit: if self.json || self.verbose || self.view.is_some() {
                0
            } else {
                Texts::default().buffer_limit
            },
            ..Texts::default()
        };
        let mut pipeline = Pipeline::new(program, style);
        pipeline.limit(self.limit);
        pipeline.show_hidden(self.debug);
        pipeline.exclude_users(self.exclude_users);
        if self.resolve_ports {
            pipeline.name_ports(services()?);
        }
        if self.count {
            pipeline.add(Count::default());
        }
        Ok(pipeline)
    }

    /// Whether nothing is shown of events, counted or told about them, and nothing left out.
    pub(super) fn is_silent(&self) -> bool {
        self.quiet
            && !self.exclude_users
            && !(self.count || self.summary || self.verbose || self.view.is_some())
            && self.export.is_empty()
            && self.limit.is_none()
    }

    /// Adds what prints lines, and the summary that follows them.
    pub(super) fn add_output(&self, pipeline: &mut Pipeline<'_>, format: EventFormat) -> Result<()> {
        let open = self.export.iter().filter(|wish| wish.takes_stdout()).count();
        if self.output.is_some() && open != 1 {
            return Err(CliError::usage("-o is for one --export that names no file"));
        }
        let into = self.output.as_deref();
        let exports: Vec<Wish> = self.export.iter().map(|wish| wish.or_into(into)).collect();
        for wish in &exports {
            pipeline.add(Exports::new(wish)?);
        }
        let taken = exports.iter().any(Wish::takes_stdout);
        if !self.quiet && !self.count && !taken {
            match self.style {
                Style::Sysdig => pipeline.add(Lines::new(format, self.json, self.unbuffered)),
                Style::Strace => pipeline.add(Strace::new(self.unbuffered, self.verbose)),
            }
        }
        if self.summary {
            pipeline.add(Summary::default());
        }
        Ok(())
    }
}

/// The names of ports on this machine.
fn services() -> Result<Services> {
    let path = Path::new("/etc/services");
    // In some places it is no UTF-8.
    let text =
        std::fs::read(path).map_err(|error| CliError::file("read", path, &error).hint("-R asks for it"))?;
    Ok(Services::parse(&String::from_utf8_lossy(&text)))
}

/// The numbers of a run, as sysdig's `-v` words them.
pub(super) fn tell_numbers(
    pipeline: &Pipeline<'_>,
    account: &nabe_event::source::Account,
    elapsed: std::time::Duration,
) {
    let selected = pipeline.passed().selected;
    let seconds = elapsed.as_secs_f64();
    #[allow(clippy::cast_precision_loss, reason = "two digits are shown")]
    let rate = if seconds > 0.0 { selected as f64 / seconds } else { 0.0 };
    eprintln!("Driver Events:{}\nDriver Drops:{}", account.seen, account.lost());
    eprintln!("Elapsed time: {seconds:.3}, Captured Events: {selected}, {rate:.2} eps");
}
