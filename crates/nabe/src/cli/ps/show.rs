//! One answer: take or load a snapshot, print it, perhaps save it.

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use nabe_event::Needs;
use nabe_event::field::{file as f, process as p};
use nabe_event::record::{self, Kind};
use nabe_state::{Snapshot, file};
use nabe_ui::print::Printer;
use nabe_ui::view::{Groups, SortKey};
use nabe_ui::{Context, Format, Table};

use super::Request;
use crate::error::{CliError, Result};
use crate::output;
use crate::query::{Taken, take};

/// What tells one row from another over time.
pub const IDENTITY: [nabe_event::FieldId; 4] = [p::TID, p::START_TIME, f::FD, f::INODE];

/// Longest text that a table for people keeps: several times what a terminal can show.
const TEXT_LIMIT: usize = 4096;

/// Answers once.
pub fn run(request: &Request<'_>) -> Result<ExitCode> {
    let start = Instant::now();
    let args = request.args;
    let taken = match &args.load {
        Some(path) => {
            let snapshot = load(path)?;
            let notes = snapshot.notes().map(output::plain).collect();
            Taken { snapshot, notes }
        }
        None => {
            let mut query = request.query.clone();
            if args.save.is_some() {
                query.also(saved());
                query.keep_everything();
            }
            take(&query, &mut super::origin(args)?)?
        }
    };
    let taken_at = start.elapsed();
    if let Some(path) = &args.save {
        save(&taken, path)?;
    }
    output::notes(&taken.notes);
    // Who only saves does not want the table as well.
    if args.save.is_some() && args.expressions.is_empty() && args.output.is_none() && !args.count {
        eprintln!(
            "nabe: saved {} processes to {}",
            taken.snapshot.len(),
            args.save.as_deref().unwrap_or(Path::new("")).display()
        );
        return Ok(ExitCode::SUCCESS);
    }
    let answered = answer(request, &taken.snapshot);
    if args.stats {
        eprintln!(
            "nabe: stats: collected {} in {:.1} ms ({} bytes, {} tasks), answered in {:.1} ms",
            request.query.needs(),
            taken_at.as_secs_f64() * 1e3,
            taken.snapshot.bytes().len(),
            taken.snapshot.len(),
            (start.elapsed() - taken_at).as_secs_f64() * 1e3
        );
    }
    answered.map(|()| ExitCode::SUCCESS)
}

fn answer(request: &Request<'_>, snapshot: &Snapshot) -> Result<()> {
    let mut out = Vec::new();
    if request.args.count {
        let mut count = 0_u64;
        request.query.each(snapshot, &mut |_| count += 1);
        return output::write(format!("{count}\n").as_bytes());
    }
    if request.args.tree && !request.format.is_machine() {
        super::tree::print(request, snapshot, &mut out);
        return output::page(&out, &request.terminal, !request.args.no_pager);
    }
    let table = table(request, snapshot)?;
    let (context, options) = (context(snapshot), request.options());
    if request.format == Format::Text && request.terminal.height.is_some() {
        let mut printer = Printer::new(&table, &context, &options);
        printer.fill(&mut out, usize::MAX);
        let hidden = printer.hidden_columns();
        if hidden > 0 {
            eprintln!(
                "nabe: note: {hidden} columns do not fit into this width; -o chooses, a pipe shows all"
            );
        }
        return output::page(&out, &request.terminal, !request.args.no_pager);
    }
    // Long answers to a pipe or file go out in pieces, so that memory holds one.
    let mut printer = Printer::new(&table, &context, &options);
    loop {
        out.clear();
        let more = printer.fill(&mut out, 1 << 18);
        output::write(&out)?;
        if !more {
            return Ok(());
        }
    }
}

/// The rows of the answer.
pub fn table(request: &Request<'_>, snapshot: &Snapshot) -> Result<Table> {
    let limit = request.args.limit.unwrap_or(usize::MAX);
    if !request.groups.is_empty() {
        let mut groups = Groups::new(request.groups.clone(), request.columns.clone());
        let sort = match request.args.sort.as_deref() {
            Some(spec) => SortKey::parse_shown(spec, &groups.columns())?,
            None => Vec::new(),
        };
        request.query.each(snapshot, &mut |row| groups.push(row));
        let mut table = groups.into_table(&sort);
        table.limit(limit);
        return Ok(table);
    }
    let mut columns = request.columns.clone();
    if !snapshot.has_containers() {
        columns.retain(|column| column.source != nabe_ui::view::column::Source::Container);
    }
    let mut table = Table::new(columns).with_sort(&request.sort);
    if request.args.watch.is_some() || request.args.diff.is_some() {
        table = table.with_identity(&IDENTITY);
    }
    if request.format == Format::Text && request.terminal.width.is_some() {
        table = table.with_text_limit(TEXT_LIMIT);
    }
    request.query.each(snapshot, &mut |row| table.push(row));
    table.sort();
    table.limit(limit);
    Ok(table)
}

/// When it is, for times of day.
pub fn context(snapshot: &Snapshot) -> Context {
    let host = snapshot.host();
    let now = i64::try_from(host.taken_ns).unwrap_or(i64::MAX);
    let up = i64::try_from(host.uptime_ns).unwrap_or(i64::MAX);
    Context::new(now, now.saturating_sub(up), nabe_probe::own::local_offset)
}

/// What a saved snapshot holds: everything but environments, which are full of secrets.
fn saved() -> Needs {
    let all = Needs::ALL.iter().fold(Needs::NONE, |all, (need, ..)| all | *need);
    all.without(Needs::ENV)
}

/// Writes the snapshot with the notes about it: who loads it must know what could not be seen.
fn save(taken: &Taken, path: &Path) -> Result<()> {
    let wrong = |error: std::io::Error| CliError::file("write", path, &error);
    let mut records = taken.snapshot.bytes().to_vec();
    for note in &taken.notes {
        record::write(&mut records, Kind::Note, 0, &(), &[note.as_bytes()]);
    }
    let bytes = file::write(&records);
    if path == Path::new("/dev/stdout") {
        return output::write(&bytes);
    }
    // A snapshot holds command lines of every user: nobody else may read it.
    let beside = path.with_file_name(format!(
        ".{}.{}",
        path.file_name().unwrap_or_default().to_string_lossy(),
        std::process::id()
    ));
    let written = write_private(&beside, &bytes).and_then(|()| std::fs::rename(&beside, path));
    written.map_err(|error| {
        let _ = std::fs::remove_file(&beside);
        wrong(error)
    })
}

fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Reads a snapshot file.
pub fn load(path: &Path) -> Result<Snapshot> {
    let bytes = std::fs::read(path).map_err(|error| CliError::file("read", path, &error))?;
    let records = file::read(&bytes).map_err(|error| {
        let newer = matches!(error, file::Error::Newer { .. });
        let failed =
            CliError::failed(format_args!("cannot read the snapshot {}", path.display())).because(&error);
        if newer { failed.hint("read it with the nabe that wrote it, or a newer one") } else { failed }
    })?;
    Ok(Snapshot::new(records.to_vec())?)
}
