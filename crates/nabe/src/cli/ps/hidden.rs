//! `nabe ps --hidden`: who sees which process, and what hides.

use std::fmt::Write as _;
use std::process::ExitCode;

use nabe_event::record::{Fixed as _, Kind, Records, Task};
use nabe_event::{Interest, Needs};
use nabe_probe::hidden::{self, Finding, view};
use nabe_probe::{Backend, Options};
use nabe_ui::Format;
use serde_json::json;

use super::Request;
use crate::error::{CliError, Result};
use crate::output;
use crate::query::Origin;

/// Compares the views twice and prints what they do not agree on.
pub fn run(request: &Request<'_>, origin: &mut Origin) -> Result<ExitCode> {
    let mut why_not = None;
    let options = Options { backend: Some(Backend::Bpf), ..origin.options.clone() };
    let use_bpf = origin.options.backend != Some(Backend::Proc);
    let mut iterate = || {
        let mut records = Vec::new();
        let taken =
            use_bpf.then(|| nabe_probe::snapshot(&Interest::all(Needs::TASK), &options, &mut records))?;
        match taken {
            Ok(_) => Some(pids(&records)),
            Err(error) => {
                why_not = Some(error);
                None
            }
        }
    };
    let mut findings = Vec::new();
    hidden::check(&mut iterate, &mut findings)
        .map_err(|error| CliError::failed("cannot look for hidden processes").because(&error))?;
    if let Some(error) = why_not {
        eprintln!(
            "nabe: note: the kernel's own list could not be read ({error}): /proc, signals and cgroups were compared"
        );
    }
    findings.sort_by_key(|finding| (!finding.hiding.is_hiding(), finding.pid));
    output::write(&print(request, &findings))?;
    if request.format == Format::Text {
        eprintln!("nabe: {}", summary(&findings));
    }
    Ok(ExitCode::SUCCESS)
}

fn pids(records: &[u8]) -> Vec<u32> {
    let tasks =
        Records::new(records).map_while(std::result::Result::ok).filter(|r| r.kind == Some(Kind::Task));
    tasks
        .map(|record| Task::decode(record.body))
        .filter(|task| task.pid == task.tid)
        .map(|task| task.pid)
        .collect()
}

fn summary(findings: &[Finding]) -> String {
    let hiding = findings.iter().filter(|finding| finding.hiding.is_hiding()).count();
    let known = findings.len() - hiding;
    let hidden = match hiding {
        0 => "no process hides".to_owned(),
        1 => "1 process hides".to_owned(),
        many => format!("{many} processes hide"),
    };
    match known {
        0 => hidden,
        known => format!("{hidden}; {known} only seem to, for the reason given"),
    }
}

/// Who sees it, and who was asked and does not.
fn views(finding: &Finding) -> (Vec<&'static str>, Vec<&'static str>) {
    const NAMES: [(u32, &str); 5] = [
        (view::ITERATOR, "iterator"),
        (view::LIST, "list of /proc"),
        (view::NAME, "/proc/PID"),
        (view::SIGNAL, "signal"),
        (view::CGROUP, "cgroup"),
    ];
    let of = |bits: u32| NAMES.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, name)| *name).collect();
    (of(finding.seen), of(finding.asked & !finding.seen))
}

fn print(request: &Request<'_>, findings: &[Finding]) -> Vec<u8> {
    let mut out = String::new();
    let rows = findings.iter().map(|finding| {
        let (seen, unseen) = views(finding);
        json!({
            "pid": finding.pid,
            "name": String::from_utf8_lossy(&finding.comm),
            "hides": finding.hiding.is_hiding(),
            "kind": finding.hiding.name(),
            "seen_by": seen,
            "not_seen_by": unseen,
            "text": finding.text,
        })
    });
    match request.format {
        Format::Json => {
            out = serde_json::to_string_pretty(&rows.collect::<Vec<_>>()).unwrap_or_default();
            out.push('\n');
        }
        Format::NdJson => rows.for_each(|row| {
            let _ = writeln!(out, "{row}");
        }),
        _ if findings.is_empty() => {}
        format => {
            let (gap, tsv) = if format == Format::Csv { (",", false) } else { ("\t", format == Format::Tsv) };
            let table = format == Format::Text && !tsv;
            if !request.args.no_header {
                out.push_str(&line(["PID", "NAME", "HIDES", "KIND", "WHY"].map(str::to_owned), gap, table));
            }
            for finding in findings {
                let hides = if finding.hiding.is_hiding() { "yes" } else { "no" };
                let cells = [
                    finding.pid.to_string(),
                    output::plain(&finding.comm),
                    hides.to_owned(),
                    finding.hiding.name().to_owned(),
                    output::plain(finding.text.as_bytes()),
                ];
                out.push_str(&line(cells, gap, table));
            }
        }
    }
    out.into_bytes()
}

fn line(cells: [String; 5], gap: &str, table: bool) -> String {
    if table {
        let [pid, name, hides, kind, why] = cells;
        return format!("{pid:>7}  {name:<15}  {hides:<5}  {kind:<14}  {why}\n");
    }
    let quoted = |cell: &String| {
        if gap == "," && cell.contains([',', '"', '\n']) {
            format!("\"{}\"", cell.replace('"', "\"\""))
        } else {
            cell.clone()
        }
    };
    format!("{}\n", cells.iter().map(quoted).collect::<Vec<_>>().join(gap))
}
