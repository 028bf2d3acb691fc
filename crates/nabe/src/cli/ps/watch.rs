//! `nabe ps --watch`: the answer again and again, with what changed marked.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nabe_ui::print::{Printer, print};
use nabe_ui::view::Diff;
use nabe_ui::{Format, Table};

use super::{Request, show};
use crate::error::{CliError, Result};
use crate::output;
use crate::query::{Origin, take};

/// Answers until Ctrl-C, which is the normal end.
pub fn run(request: &Request<'_>, origin: &mut Origin) -> Result<ExitCode> {
    let seconds = request.args.watch.unwrap_or(2.0);
    if !(0.1..=86_400.0).contains(&seconds) {
        return Err(
            CliError::usage(format_args!("--watch {seconds} is out of range")).hint("0.1 to 86400 seconds")
        );
    }
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop))
            .map_err(|error| CliError::failed("cannot handle signals").because(&error))?;
    }
    let interval = Duration::from_secs_f64(seconds);
    let mut before: Option<(Table, nabe_state::Usage)> = None;
    let mut said = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let next = Instant::now() + interval;
        let taken = take(&request.query, origin)?;
        let mut snapshot = taken.snapshot;
        for note in taken.notes {
            if !said.contains(&note) {
                eprintln!("nabe: note: {note}");
                said.push(note);
            }
        }
        if let Some((_, usage)) = &before {
            snapshot.since(usage);
        }
        let table = show::table(request, &snapshot)?;
        let mut out = Vec::new();
        let (context, mut options) = (show::context(&snapshot), request.options());
        let screen = request.format == Format::Text && request.terminal.height.is_some();
        if screen {
            // Home, and clear what was there: no flicker of a full erase.
            out.extend_from_slice(b"\x1b[H\x1b[2J");
        }
        match &before {
            Some((old, _)) => {
                let diff = Diff::between(old, &table);
                options.header &= screen || request.format == Format::Text;
                if screen || !diff.is_empty() {
                    Printer::with_changes(&table, old, &diff, &context, &options).fill(&mut out, usize::MAX);
                }
            }
            None if request.format.is_machine() => {
                // The first round tells what is there as new, so that a reader needs no other source.
                let nothing = Table::new(table.columns().to_vec());
                let diff = Diff::between(&nothing, &table);
                Printer::with_changes(&table, &nothing, &diff, &context, &options).fill(&mut out, usize::MAX);
            }
            None => print(&table, &context, &options, &mut out),
        }
        if screen {
            fit(&mut out, request.terminal.height.unwrap_or(24));
        }
        output::write(&out)?;
        before = Some((table, snapshot.usage()));
        sleep_until(next, &stop);
    }
    Ok(ExitCode::SUCCESS)
}

/// Keeps the lines that the screen has room for.
fn fit(out: &mut Vec<u8>, rows: usize) {
    let mut ends = out.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at);
    if let Some(end) = ends.nth(rows.saturating_sub(2)) {
        out.truncate(end + 1);
    }
}

fn sleep_until(next: Instant, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let left = next.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        // Short steps: a signal interrupts the thread that it finds, which need not be this one.
        std::thread::sleep(left.min(Duration::from_millis(50)));
    }
}
