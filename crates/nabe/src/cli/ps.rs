//! `nabe ps`: processes, open files and sockets, with their containers.

mod diff;
mod hidden;
mod show;
mod tree;
mod watch;

use std::path::PathBuf;
use std::process::ExitCode;

use nabe_container::Config as Engines;
use nabe_event::field::{container as c, process as p};
use nabe_filter::Program;
use nabe_probe::{Backend, Options as ProbeOptions};
use nabe_ui::view::SortKey;
use nabe_ui::{Column, Format, Options, Palette};

use super::language::Language;
use crate::config;
use crate::error::Result;
use crate::output::{self, Color, Terminal};
use crate::query::{Containers, Origin, Query};

/// List processes, open files and sockets with their containers.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  nabe ps                                              every process, with its container
  nabe ps 'process.user == \"root\" && process.rss > 100MB' --sort -process.rss
  nabe ps 'process.name == \"nginx\"' -o files           what nginx has open
  nabe ps 'socket.state == listen' -o sockets          who listens, in every network namespace
  nabe ps 'socket.dstAddr in cidr(\"10.0.0.0/8\")' -o process.name,network
  nabe ps 'container.name == \"web\"' --tree             a container with its ancestors
  nabe ps 'container.labels[\"app\"] == \"web\"' -o containers
  nabe ps 'process.files.exists(f, f.path.startsWith(\"/etc\"))'
  nabe ps 'proc.name = nginx and fd.num > 3'           sysdig's language does too
  nabe ps --group-by container.name --sort -count      processes per container
  nabe ps --suspicious                                 what deserves a look, and why
  nabe ps --watch 2 'process.cpu > 5000'               more than 50 % of a CPU, every two seconds
  nabe ps --save monday.nabe; nabe ps --diff monday.nabe tuesday.nabe

`nabe fields` lists fields, constants and presets. psc's commands work unchanged.
An expression about file.* or socket.* is asked of each descriptor; with process.files.exists(...)
and all(...) it is asked of all of them together.

Exit status: 0 done (also when nothing matches), 1 failed, 2 wrong usage or expression.
Environment: NO_COLOR, NABE_PAGER, PAGER, NABE_CACHE, NABE_CONFIG, NABE_ENGINE_SOCKETS,
NABE_ENGINE_ROOTS, NABE_ENGINE_DEADLINE, DOCKER_HOST, CONTAINERD_ADDRESS, CONTAINER_HOST.")]
pub struct Args {
    /// Expression in CEL or in sysdig's language; of several, all must hold
    #[arg(value_name = "EXPR")]
    expressions: Vec<String>,
    /// Language of the expressions
    #[arg(long, value_enum, default_value_t)]
    lang: Language,
    /// Show a tree with containers, pods and units; ancestors of matches are kept
    #[arg(short, long)]
    tree: bool,
    /// Columns: presets and fields, comma-separated, mixed
    #[arg(short, long, value_name = "LIST")]
    output: Option<String>,
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    format: TextFormat,
    /// Same as --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// Sort by these columns or fields, comma-separated; a leading - reverses
    #[arg(long, value_name = "KEYS", allow_hyphen_values = true)]
    sort: Option<String>,
    /// Show at most this many rows
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Print only the number of rows
    #[arg(long, conflicts_with_all = ["tree", "group_by", "watch"])]
    count: bool,
    /// Count rows by these fields, and sum what can be summed
    #[arg(long, value_name = "FIELDS", conflicts_with = "tree")]
    group_by: Option<String>,
    /// Repeat every so many seconds and mark what changed; machine formats print events
    #[arg(short, long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2", require_equals = false)]
    watch: Option<f64>,
    /// Show threads as rows of their own
    #[arg(short = 'H', long)]
    threads: bool,
    /// Leave out the column titles
    #[arg(long)]
    no_header: bool,
    /// Only processes that deserve a look, with the reasons
    #[arg(long, conflicts_with = "hidden")]
    suspicious: bool,
    /// Compare who sees which process, and name what hides and how
    #[arg(long, conflicts_with_all = ["expressions", "tree", "watch", "save", "load", "diff"])]
    hidden: bool,
    /// Write the snapshot to a file (without environments, unless the query asks for them)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["load", "diff", "watch"])]
    save: Option<PathBuf>,
    /// Ask a snapshot file instead of this machine
    #[arg(long, value_name = "FILE", conflicts_with_all = ["diff", "watch", "source"])]
    load: Option<PathBuf>,
    /// Compare two snapshot files
    #[arg(long, num_args = 2, value_names = ["A", "B"], conflicts_with_all = ["watch", "source", "tree"])]
    diff: Option<Vec<PathBuf>>,
    /// Where facts come from
    #[arg(long, value_enum, default_value_t)]
    source: Source,
    /// Ask this engine here as well: ENGINE=/path/to.sock
    #[arg(long, value_name = "ENGINE=PATH")]
    engine_socket: Vec<String>,
    /// Look for this engine's files here as well: ENGINE=/path
    #[arg(long, value_name = "ENGINE=PATH")]
    engine_root: Vec<String>,
    /// Do not wait longer than this for engines, such as 250ms
    #[arg(long, value_name = "TIME")]
    engine_deadline: Option<String>,
    /// Say how the expression is understood and what it costs, then stop
    #[arg(long)]
    explain: bool,
    /// Say on stderr how long each step took
    #[arg(long)]
    stats: bool,
    /// When to use colour
    #[arg(long, value_enum, default_value_t, value_name = "WHEN")]
    color: Color,
    /// Same as --color never
    #[arg(long)]
    no_color: bool,
    /// Do not use a pager
    #[arg(long)]
    no_pager: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum TextFormat {
    /// Aligned columns for people
    #[default]
    Table,
    /// One JSON array
    Json,
    /// One JSON object a line
    Ndjson,
    /// Comma-separated values (RFC 4180)
    Csv,
    /// Tab-separated values
    Tsv,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Source {
    /// BPF, or /proc where BPF cannot be had
    #[default]
    Auto,
    /// BPF iterators only
    Bpf,
    /// /proc only
    Proc,
}

/// What is asked, ready to be answered.
struct Request<'a> {
    args: &'a Args,
    query: Query,
    columns: Vec<Column>,
    sort: Vec<SortKey>,
    /// Columns to group by; empty when rows are shown as they are.
    groups: Vec<Column>,
    terminal: Terminal,
    format: Format,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<ExitCode> {
    let request = Request::new(args)?;
    if args.explain {
        crate::output::write(request.query.program.explain().as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some([before, after]) = args.diff.as_deref() {
        return diff::run(&request, before, after);
    }
    if args.hidden {
        return hidden::run(&request, &mut origin(args)?);
    }
    if args.watch.is_some() {
        return watch::run(&request, &mut origin(args)?);
    }
    show::run(&request)
}

impl<'a> Request<'a> {
    fn new(args: &'a Args) -> Result<Self> {
        let mut program = Program::all();
        for expression in &args.expressions {
            program = program.both(&Program::compile(expression, args.lang.into())?);
        }
        if args.suspicious {
            program = program.both(&Program::cel("size(process.suspicious) > 0")?);
        }
        let color = if args.no_color { Color::Never } else { args.color };
        let terminal = Terminal::detect(color);
        let format = if args.json { Format::Json } else { args.format.into() };
        let groups = args.group_by.as_deref().map(Column::parse_list).transpose()?.unwrap_or_default();
        let columns = match args.output.as_deref() {
            Some(list) => Column::parse_list(list)?,
            None if args.tree && !format.is_machine() => Vec::new(),
            None => default_columns(args, format, &terminal),
        };
        let sort = match (args.sort.as_deref(), groups.is_empty()) {
            (Some(spec), true) => SortKey::parse_list(spec, &columns)?,
            _ => Vec::new(),
        };
        let read = columns.iter().chain(&groups).chain(sort.iter().map(|key| &key.column));
        let mut query = Query::new(program, read);
        query.threads = args.threads;
        if args.tree {
            query.ancestors = true;
            query.also(tree::needs());
        }
        Ok(Self { args, query, columns, sort, groups, terminal, format })
    }

    /// How rows are printed.
    fn options(&self) -> Options {
        let text = self.format == Format::Text;
        Options {
            format: self.format,
            width: self.terminal.width.filter(|_| text),
            header: !self.args.no_header,
            palette: if self.terminal.color { Palette::ANSI } else { Palette::NONE },
            ascii: !output::utf8(),
            terminal: self.terminal.height.is_some(),
        }
    }
}

/// What is shown when nobody says what: for machines also what people see in parentheses.
fn default_columns(args: &Args, format: Format, terminal: &Terminal) -> Vec<Column> {
    if args.suspicious {
        return Column::list(&[p::USER, p::PID, p::PPID, p::NAME, c::NAME, p::EXE, p::SUSPICIOUS]);
    }
    let mut columns = Column::default_table();
    // psc's scripts count on TID; people have better use for its place, as it repeats the PID.
    if terminal.width.is_some() && !args.threads && !format.is_machine() {
        columns.retain(|column| column.field().is_none_or(|field| field.id != p::TID));
    }
    if format.is_machine() {
        columns.extend(Column::list(&[c::ID, c::NAME, c::IMAGE, c::RUNTIME]));
    } else {
        columns.push(Column::container());
    }
    columns
}

/// Where facts come from, as the flags say.
fn origin(args: &Args) -> Result<Origin> {
    let mut engines: Engines = config::engines()?;
    for (key, values) in [("sockets", &args.engine_socket), ("roots", &args.engine_root)] {
        for value in values {
            engines.set(key, value)?;
        }
    }
    if let Some(deadline) = &args.engine_deadline {
        engines.set("deadline", deadline)?;
    }
    let backend = match args.source {
        Source::Auto => None,
        Source::Bpf => Some(Backend::Bpf),
        Source::Proc => Some(Backend::Proc),
    };
    let options = ProbeOptions { backend, cache: config::cache() };
    Ok(Origin { options, containers: Containers::new(engines) })
}

impl From<TextFormat> for Format {
    fn from(format: TextFormat) -> Self {
        match format {
            TextFormat::Table => Self::Text,
            TextFormat::Json => Self::Json,
            TextFormat::Ndjson => Self::NdJson,
            TextFormat::Csv => Self::Csv,
            TextFormat::Tsv => Self::Tsv,
        }
    }
}
