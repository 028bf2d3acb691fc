//! The report of a run: verdict, reasons, behaviour; as JSON and as text.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use crate::behaviour::{Behaviour, Dropped};
use crate::judge::Hit;
use crate::rule::Severity;

/// What was run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Specimen {
    /// Its file name.
    pub name: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its size in bytes.
    pub size: u64,
    /// SHA-256 of its content, in hexadecimal digits.
    pub sha256: String,
    /// Names of YARA rules that match it.
    pub yara: Vec<String>,
}

/// How the run ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// Exit status of the specimen.
    pub exit_code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// A limit that ended it: `time`, `memory`, `pids`, `disk`.
    pub limit: Option<String>,
    /// Events that were lost.
    pub lost: u64,
}

/// Limits of the run, in words, by name.
pub type Limits = BTreeMap<String, String>;

/// What the specimen is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// No rule hits.
    Clean,
    /// Something unusual.
    Suspicious,
    /// A score of [`MALICIOUS`] or more.
    Malicious,
}

/// The score from which on a specimen is malicious: one grave hit, or two of medium weight.
pub const MALICIOUS: u32 = 60;

impl Verdict {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::Suspicious => "suspicious",
            Self::Malicious => "malicious",
        }
    }
}

/// A report.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// What the specimen is taken for.
    pub verdict: Verdict,
    /// From 0 to 100.
    pub score: u32,
    /// What was run; `None` when only its capture is there.
    pub specimen: Option<Specimen>,
    /// How the run ended.
    pub outcome: Option<Outcome>,
    /// Limits of the run.
    pub limits: Limits,
    /// Rules that hit, gravest first.
    pub hits: Vec<Hit>,
    /// ATT&CK techniques with the rules that name them.
    pub attack: BTreeMap<String, Vec<String>>,
    /// What it did.
    pub behaviour: Behaviour,
    /// Files that it left.
    pub dropped: Vec<Dropped>,
    /// What could not be seen or done.
    pub notes: Vec<String>,
}

impl Report {
    /// Puts a report together.
    #[must_use]
    pub fn new(mut hits: Vec<Hit>, behaviour: Behaviour) -> Self {
        hits.sort_by(|a, b| b.severity.cmp(&a.severity).then_with(|| a.rule.cmp(&b.rule)));
        let score = hits.iter().map(|hit| hit.severity.score()).sum::<u32>().min(100);
        let worst = hits.iter().map(|hit| hit.severity).max();
        let verdict = match worst {
            _ if score >= MALICIOUS => Verdict::Malicious,
            Some(worst) if worst > Severity::Info => Verdict::Suspicious,
            _ => Verdict::Clean,
        };
        let mut attack: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for hit in &hits {
            for id in &hit.attack {
                attack.entry(id.clone()).or_default().push(hit.rule.clone());
            }
        }
        Self {
            verdict,
            score,
            specimen: None,
            outcome: None,
            limits: Limits::new(),
            hits,
            attack,
            behaviour,
            dropped: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// As indented JSON.
    #[must_use]
    pub fn json(&self) -> String {
        // Everything in it is text, numbers and maps with text keys: it cannot fail.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// For a terminal; what the specimen named is escaped.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::new();
        let _ = writeln!(out, "verdict    {} (score {} of 100)", self.verdict.name(), self.score);
        if let Some(specimen) = &self.specimen {
            let words: Vec<String> =
                std::iter::once(&specimen.name).chain(&specimen.args).map(|word| plain(word)).collect();
            let _ = writeln!(
                out,
                "specimen   {} ({} bytes, sha256 {})",
                words.join(" "),
                specimen.size,
                specimen.sha256
            );
        }
        if let Some(outcome) = &self.outcome {
            let _ = writeln!(out, "ended      {}", outcome.words());
        }
        let b = &self.behaviour;
        let _ = writeln!(
            out,
            "events     {} in {}, {} processes, {} files, {} network attempts",
            b.events,
            span(b.duration_ns),
            b.processes.len(),
            b.files.len(),
            b.network.len()
        );
        self.hits_text(&mut out);
        self.behaviour_text(&mut out);
        for note in &self.notes {
            let _ = writeln!(out, "note       {}", plain(note));
        }
        out
    }

    fn hits_text(&self, out: &mut String) {
        if self.hits.is_empty() {
            return;
        }
        out.push_str("\nRULES\n");
        for hit in &self.hits {
            let attack =
                if hit.attack.is_empty() { String::new() } else { format!(" [{}]", hit.attack.join(", ")) };
            let _ = writeln!(out, "  {:<9} {}{attack}", hit.severity.name(), plain(&hit.rule));
            let _ = writeln!(out, "            {}", plain(&hit.desc));
            let events: Vec<String> = hit.events.iter().take(8).map(u64::to_string).collect();
            let more = if hit.events.len() > 8 { ", …" } else { "" };
            let events = if events.is_empty() {
                String::new()
            } else {
                format!(" (events {}{more})", events.join(", "))
            };
            let _ = writeln!(out, "            {}{events}", plain(&hit.message));
        }
    }

    fn behaviour_text(&self, out: &mut String) {
        let b = &self.behaviour;
        out.push_str("\nPROCESSES\n");
        let mut stack: Vec<(usize, usize)> = b.children(None).into_iter().rev().map(|at| (at, 0)).collect();
        let mut shown = 0;
        while let Some((at, depth)) = stack.pop() {
            let Some(node) = b.processes.get(at) else { continue };
            shown += 1;
            // A chain of parents cannot be longer than there are processes.
            if shown > b.processes.len() {
                break;
            }
            let image = node.images.last().map(|image| short(&image.cmdline)).filter(|line| !line.is_empty());
            let vpid = node.vpid.filter(|vpid| *vpid != node.pid).map(|vpid| format!(" ({vpid} inside)"));
            let _ = writeln!(
                out,
                "  {:indent$}{}{} {}  {}, {} calls",
                "",
                node.pid,
                vpid.unwrap_or_default(),
                image.unwrap_or_else(|| plain(&node.name)),
                node.exit.as_deref().unwrap_or("still there"),
                node.syscalls,
                indent = 2 * depth.min(16)
            );
            stack.extend(b.children(Some(node.pid)).into_iter().rev().map(|child| (child, depth + 1)));
        }
        let list = |out: &mut String, title: &str, lines: Vec<String>| {
            if lines.is_empty() {
                return;
            }
            let _ = writeln!(out, "\n{title}");
            for line in lines.iter().take(LINES) {
                let _ = writeln!(out, "  {line}");
            }
            if lines.len() > LINES {
                let _ = writeln!(out, "  … {} more in --json", lines.len() - LINES);
            }
        };
        list(out, "FILES", b.files.iter().map(file_line).collect());
        let network = b.network.iter().map(|entry| {
            let (times, result) = (entry.attempts, &entry.result);
            format!("{:<8} {} {} {result} ×{times}", entry.kind, plain(&entry.endpoint), entry.protocol)
        });
        list(out, "NETWORK", network.collect());
        let signs = b.signs.iter().map(|sign| {
            format!(
                "{:<14} {} {} {} ×{}",
                sign.kind,
                plain(&sign.what),
                plain(&sign.detail),
                sign.result,
                sign.times
            )
        });
        list(out, "SIGNS", signs.collect());
        let dropped = self.dropped.iter().map(|file| {
            let yara =
                if file.yara.is_empty() { String::new() } else { format!(" YARA: {}", file.yara.join(", ")) };
            if file.sha256.is_empty() {
                return format!("{:<8} {}{yara}", file.change, plain(&file.path));
            }
            format!(
                "{:<8} {} {} bytes sha256 {}{yara}",
                file.change,
                plain(&file.path),
                file.size,
                file.sha256
            )
        });
        list(out, "LEFT BEHIND", dropped.collect());
    }
}

/// Characters of a command line on a terminal.
const WORDS: usize = 120;

fn short(line: &str) -> String {
    let mut text: String = line.chars().take(WORDS).collect();
    if text.len() < line.len() {
        text.push('…');
    }
    plain(&text)
}

/// Lines of a list on a terminal.
const LINES: usize = 40;

fn file_line(file: &crate::behaviour::FileChange) -> String {
    let mut done = Vec::new();
    for (is, word) in [(file.created, "created"), (file.changed, "changed"), (file.deleted, "deleted")] {
        done.extend(is.then(|| word.to_owned()));
    }
    if file.written > 0 {
        done.push(format!("{} bytes written", file.written));
    }
    done.extend(file.renamed_to.as_ref().map(|to| format!("renamed to {}", plain(to))));
    format!("{}  {}", plain(&file.path), done.join(", "))
}

impl Outcome {
    pub(crate) fn words(&self) -> String {
        let mut words = match (self.exit_code, self.signal) {
            (Some(code), _) => format!("exit status {code}"),
            (_, Some(signal)) => format!("signal {signal}"),
            _ => "not known".to_owned(),
        };
        if let Some(limit) = &self.limit {
            let _ = write!(words, ", ended by the limit of {limit}");
        }
        if self.lost > 0 {
            let _ = write!(words, ", {} events lost", self.lost);
        }
        words
    }
}

/// A time for people.
pub(crate) fn span(ns: u64) -> String {
    match ns {
        0..1_000_000 => format!("{} µs", ns / 1000),
        1_000_000..1_000_000_000 => format!("{} ms", ns / 1_000_000),
        _ => format!("{}.{:02} s", ns / 1_000_000_000, ns / 10_000_000 % 100),
    }
}

/// Text without characters that steer a terminal or turn the direction of writing.
pub(crate) fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let turns = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
        if c.is_control() || turns {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn hit(rule: &str, severity: Severity) -> Hit {
        Hit {
            rule: rule.into(),
            desc: "what".into(),
            severity,
            attack: vec!["T1070".into()],
            message: "m".into(),
            events: vec![1, 2],
            ts_ns: 5,
        }
    }

    #[test]
    fn scores_make_verdicts() {
        let report = |severities: &[Severity]| {
            let hits = severities.iter().map(|severity| hit("r", *severity)).collect();
            let report = Report::new(hits, Behaviour::new());
            (report.verdict, report.score)
        };
        assert_eq!(report(&[]), (Verdict::Clean, 0));
        assert_eq!(report(&[Severity::Info]), (Verdict::Clean, 0));
        assert_eq!(report(&[Severity::Low]), (Verdict::Suspicious, 10));
        assert_eq!(report(&[Severity::Medium, Severity::Medium]), (Verdict::Malicious, 60));
        assert_eq!(report(&[Severity::Critical, Severity::High]), (Verdict::Malicious, 100));
    }

    #[test]
    fn hostile_names_do_not_steer_terminals() {
        let mut report = Report::new(vec![hit("a\u{1b}[2Jb\u{202e}", Severity::High)], Behaviour::new());
        report.notes.push("n\r".into());
        let text = report.text();
        assert!(!text.contains(['\u{1b}', '\u{202e}', '\r']), "{text}");
        assert!(text.contains("a\\u{1b}[2Jb\\u{202e}"));
    }

    #[test]
    fn reports_are_json() {
        let report = Report::new(vec![hit("r", Severity::Low)], Behaviour::new());
        let value: serde_json::Value = serde_json::from_str(&report.json()).unwrap();
        assert_eq!(value["verdict"], "suspicious");
        assert_eq!(value["attack"]["T1070"][0], "r");
    }
}
