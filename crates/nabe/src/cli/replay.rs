//! `nabe replay`: events of captures, filtered and printed.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use nabe_scap::{Ending, Reader};

use super::events::{Show, tell_numbers};
use super::record::How;
use crate::error::{CliError, Result};
use crate::output;
use crate::stream::progress::Progress;
use crate::stream::record::Recorder;
use crate::stream::record::copy::{self, Copy};
use crate::stream::stop::Stop;
use crate::stream::{Pipeline, Road, Step};

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

Enter and exit events are shown as the file has them; times are local ($TZ).
`nabe fields` lists the fields. Ctrl-C ends with what was read so far.

Exit status: 0 done (also when nothing matches), 1 failed, 2 wrong usage or expression.")]
pub struct Args {
    /// Captures (.scap, plain or compressed; - for standard input), then the filter, in CEL or sysdig's language
    #[arg(value_name = "FILE… [FILTER]", required = true)]
    words: Vec<String>,
    #[command(flatten)]
    show: Show,
    /// Write the events that are selected into this capture, too
    #[arg(short = 'w', long = "write", value_name = "FILE")]
    write: Option<PathBuf>,
    #[command(flatten)]
    how: How,
    /// Show how much is read, on stderr; on a terminal a long read shows it by itself
    #[arg(short = 'P', long)]
    progress: bool,
    /// Filter behind the state: sysdig's option, which is always so here
    #[arg(short = 'd', long = "displayflt", hide = true)]
    display_filter: bool,
}

/// A capture that cannot be read, by its name.
fn unreadable(path: &Path, error: &nabe_scap::Error) -> CliError {
    let name = if path == Path::new("-") { "standard input".into() } else { path.display().to_string() };
    CliError::failed(format_args!("cannot read the capture {}", output::plain(name.as_bytes())))
        .because(error)
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<ExitCode> {
    let (files, filter) = split(&args.words);
    let program = args.show.program(filter)?;
    let format = args.show.format()?;
    if args.show.explain {
        output::write(program.explain().as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    let all = program.selects_all();
    let mut pipeline = args.show.pipeline(program)?;
    let stop = Stop::listen()?;
    let quiet = args.show.quiet || args.show.count;
    let captures = Captures::open(&files, args.write.as_deref(), args.progress, quiet)?;
    if let Some(path) = &args.write
        && all
        && args.show.is_silent()
        && files.iter().all(|file| file.is_file())
    {
        let options = args.how.options(path, all);
        if copy::is_plain(&options) {
            stop.listen_rotate()?;
            let mut copy = Copy::new(options, &stop)?;
            return rewrite(captures, &mut copy, &stop).map(|()| ExitCode::SUCCESS);
        }
    }
    if args.show.view.is_some() {
        let run = super::views::Run {
            filter,
            source: files.first().map(|file| file.to_string_lossy().into_owned()).unwrap_or_default(),
            live: false,
            json: args.show.json,
            containers: matches!(args.show.print.as_deref(), Some("c" | "container")),
        };
        pipeline.add(super::views::sink(&args.show.view, run, &stop)?);
    } else {
        args.show.add_output(&mut pipeline, format)?;
    }
    if let Some(path) = &args.write {
        stop.listen_rotate()?;
        pipeline.add(Recorder::new(args.how.options(path, all), Some(stop.clone()))?);
    }
    read(args, captures, &mut pipeline, &stop)?;
    Ok(ExitCode::SUCCESS)
}

/// Writes all files as they are, behind each other.
pub(super) fn rewrite(mut captures: Captures<'_>, copy: &mut Copy<'_>, stop: &Stop) -> Result<()> {
    let result = captures.try_fold((), |(), capture| {
        let mut capture = capture?;
        let path = capture.path;
        while !stop.is_asked() && copy.step(&mut capture.reader, path, |error| unreadable(path, error))? {
            capture.progress.at(capture.reader.taken_bytes());
        }
        capture.progress.end();
        capture.tell();
        Ok(())
    });
    // What was written until something failed is completed all the same.
    result.and(copy.finish())
}

/// Takes all files through.
fn read(args: &Args, mut captures: Captures<'_>, pipeline: &mut Pipeline<'_>, stop: &Stop) -> Result<()> {
    let started = Instant::now();
    let mut all = nabe_event::source::Account::default();
    let result = captures.try_fold(Step::Ended, |step, capture| {
        if step == Step::Enough {
            return Ok(step);
        }
        let mut capture = capture?;
        let step = capture.read(pipeline, stop)?;
        let account = nabe_event::Source::account(&capture.reader);
        all.seen += account.seen;
        all.lost.extend(account.lost);
        Ok(step)
    });
    let finished = pipeline.finish();
    if args.show.verbose {
        tell_numbers(pipeline, &all, started.elapsed());
    }
    result.and(finished)
}

/// Captures that are read behind each other. The first is opened at once, so that one that cannot be
/// read is told before what is written because of it takes a file's place.
pub(super) struct Captures<'a> {
    first: Option<Capture<'a>>,
    rest: std::slice::Iter<'a, PathBuf>,
    progress: bool,
    quiet: bool,
}

impl<'a> Captures<'a> {
    /// Opens the first of `files`; `output` is what will be written, and must be none of them.
    pub(super) fn open(
        files: &'a [PathBuf],
        output: Option<&Path>,
        progress: bool,
        quiet: bool,
    ) -> Result<Self> {
        if let Some(output) = output
            && files.iter().any(|file| is_same(file, output))
        {
            let name = output.display().to_string();
            let name = output::plain(name.as_bytes());
            return Err(CliError::usage(format_args!("{name} is read: it cannot be written, too")));
        }
        let mut rest = files.iter();
        let first = rest.next().map(|path| Capture::open(path, progress, quiet)).transpose()?;
        Ok(Self { first, rest, progress, quiet })
    }
}

impl<'a> Iterator for Captures<'a> {
    type Item = Result<Capture<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.first.take() {
            Some(first) => Some(Ok(first)),
            None => self.rest.next().map(|path| Capture::open(path, self.progress, self.quiet)),
        }
    }
}

/// Whether two names lead to one and the same regular file.
fn is_same(one: &Path, other: &Path) -> bool {
    let place = |path: &Path| {
        let found = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?;
        Some((found.dev(), found.ino()))
    };
    place(one).is_some_and(|one| place(other) == Some(one))
}

/// A capture that is being read.
pub struct Capture<'a> {
    path: &'a Path,
    pub reader: Reader,
    progress: Progress,
}

impl<'a> Capture<'a> {
    /// Opens a file; `-` is standard input.
    pub fn open(path: &'a Path, progress: bool, quiet: bool) -> Result<Self> {
        let is_stdin = path == Path::new("-");
        let opened = if is_stdin { Reader::new(std::io::stdin()) } else { Reader::open(path) };
        let total = std::fs::metadata(path).ok().filter(|_| !is_stdin).map(|found| found.len());
        let reader = opened.map_err(|error| unreadable(path, &error))?;
        Ok(Self { path, reader, progress: Progress::new(total, progress, quiet) })
    }

    /// Takes it through to its end.
    pub fn read(&mut self, road: &mut impl Road, stop: &Stop) -> Result<Step> {
        let path = self.path;
        let step = loop {
            let step = road.step(&mut self.reader, |error| unreadable(path, error))?;
            if step != Step::More || stop.is_asked() {
                break if step == Step::More { Step::Enough } else { step };
            }
            self.progress.at(self.reader.taken_bytes());
        };
        self.progress.end();
        self.tell();
        Ok(step)
    }

    /// What was wrong with it.
    fn tell(&self) {
        let path = output::plain(self.path.display().to_string().as_bytes());
        match self.reader.ending() {
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
        let stats = self.reader.stats();
        if !stats.is_clean() {
            eprintln!(
                "nabe: warning: {path}: skipped {} events, {} entries and {} bytes that cannot be read",
                stats.broken_events, stats.broken_entries, stats.damaged_bytes
            );
        }
    }
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
