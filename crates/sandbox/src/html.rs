//! The report as one HTML page that needs nothing else: no script, no font, no picture from outside.

use std::fmt::Write as _;

use crate::behaviour::ProcessNode;
use crate::report::{Report, plain, span};

const STYLE: &str = "body{font:14px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:72rem;padding:0 1rem;\
color:#1b1f24;background:#fff}h1{font-size:1.4rem}h2{font-size:1.05rem;margin-top:2rem;border-bottom:1px solid #d0d7de}\
table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.25rem .6rem;border-bottom:1px solid #eaeef2;\
vertical-align:top;overflow-wrap:break-word}th{font-weight:600;color:#57606a;white-space:nowrap}\
td.n{text-align:right;white-space:nowrap}code{font:12.5px ui-monospace,monospace;overflow-wrap:anywhere}\
.v{display:inline-block;padding:.15rem .6rem;border-radius:.3rem;color:#fff}.clean{background:#1a7f37}\
.suspicious{background:#9a6700}.malicious{background:#cf222e}.critical,.high{color:#cf222e}.medium{color:#9a6700}\
.bar{height:.7rem;background:#eaeef2;position:relative;min-width:12rem}.bar i{position:absolute;top:0;bottom:0;\
background:#0969da;min-width:2px}@media(prefers-color-scheme:dark){body{background:#0d1117;color:#e6edf3}\
td,h2{border-color:#30363d}.bar{background:#30363d}}";

/// Text that is no markup and does not turn the page.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in plain(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// Rows of a table under a title; nothing without rows.
fn table(out: &mut String, title: &str, heads: &[&str], rows: &[Vec<String>]) {
    if rows.is_empty() {
        return;
    }
    let _ = write!(out, "<h2>{title}</h2><table><tr>");
    for head in heads {
        let _ = write!(out, "<th>{head}</th>");
    }
    out.push_str("</tr>\n");
    for row in rows {
        out.push_str("<tr>");
        for cell in row {
            let _ = write!(out, "<td>{cell}</td>");
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</table>\n");
}

fn code(text: &str) -> String {
    format!("<code>{}</code>", escape(text))
}

/// Names of the techniques that the built-in rules name (MITRE ATT&CK 16, enterprise).
static TECHNIQUES: &[(&str, &str)] = &[
    ("T1003.008", "OS Credential Dumping: /etc/passwd and /etc/shadow"),
    ("T1037.004", "Boot or Logon Initialization Scripts: RC Scripts"),
    ("T1053.003", "Scheduled Task/Job: Cron"),
    ("T1055", "Process Injection"),
    ("T1055.008", "Process Injection: Ptrace System Calls"),
    ("T1055.009", "Process Injection: Proc Memory"),
    ("T1059.004", "Command and Scripting Interpreter: Unix Shell"),
    ("T1068", "Exploitation for Privilege Escalation"),
    ("T1070.004", "Indicator Removal: File Deletion"),
    ("T1070.006", "Indicator Removal: Timestomp"),
    ("T1098.004", "Account Manipulation: SSH Authorized Keys"),
    ("T1485", "Data Destruction"),
    ("T1486", "Data Encrypted for Impact"),
    ("T1497.003", "Virtualization/Sandbox Evasion: Time Based Evasion"),
    ("T1499.001", "Endpoint Denial of Service: OS Exhaustion Flood"),
    ("T1499.004", "Endpoint Denial of Service: Application or System Exploitation"),
    ("T1543.002", "Create or Modify System Process: Systemd Service"),
    ("T1546.004", "Event Triggered Execution: Unix Shell Configuration Modification"),
    ("T1547.006", "Boot or Logon Autostart Execution: Kernel Modules and Extensions"),
    ("T1548.001", "Abuse Elevation Control Mechanism: Setuid and Setgid"),
    ("T1552.001", "Unsecured Credentials: Credentials In Files"),
    ("T1552.004", "Unsecured Credentials: Private Keys"),
    ("T1556.003", "Modify Authentication Process: Pluggable Authentication Modules"),
    ("T1561", "Disk Wipe"),
    ("T1571", "Non-Standard Port"),
    ("T1574.006", "Hijack Execution Flow: Dynamic Linker Hijacking"),
    ("T1611", "Escape to Host"),
    ("T1620", "Reflective Code Loading"),
    ("T1622", "Debugger Evasion"),
];

fn technique(id: &str) -> &'static str {
    TECHNIQUES.iter().find(|(known, _)| *known == id).map_or("", |(_, name)| name)
}

impl Report {
    /// As one HTML page.
    #[must_use]
    pub fn html(&self) -> String {
        let mut out = String::with_capacity(1 << 16);
        let name = self.specimen.as_ref().map_or("a capture", |specimen| &specimen.name);
        let _ = write!(
            out,
            "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
             content=\"width=device-width\"><meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
             style-src 'unsafe-inline'\"><title>{0}: {1}</title><style>{STYLE}</style></head><body>\n<h1>{0} \
             <span class=\"v {1}\">{1}</span> score {2} of 100</h1>\n",
            escape(name),
            self.verdict.name(),
            self.score
        );
        self.summary(&mut out);
        self.hits_table(&mut out);
        self.processes(&mut out);
        self.lists(&mut out);
        for note in &self.notes {
            let _ = writeln!(out, "<p>Note: {}</p>", escape(note));
        }
        out.push_str("</body></html>\n");
        out
    }

    fn summary(&self, out: &mut String) {
        let mut rows = Vec::new();
        if let Some(specimen) = &self.specimen {
            let words: Vec<&str> =
                std::iter::once(&specimen.name).chain(&specimen.args).map(String::as_str).collect();
            rows.push(vec!["Command".into(), code(&words.join(" "))]);
            rows.push(vec!["SHA-256".into(), code(&specimen.sha256)]);
            rows.push(vec!["Size".into(), format!("{} bytes", specimen.size)]);
            if !specimen.yara.is_empty() {
                rows.push(vec!["YARA".into(), escape(&specimen.yara.join(", "))]);
            }
        }
        if let Some(outcome) = &self.outcome {
            rows.push(vec!["Ended".into(), escape(&outcome.words())]);
        }
        for (name, limit) in &self.limits {
            rows.push(vec![escape(name), escape(limit)]);
        }
        let b = &self.behaviour;
        rows.push(vec!["Events".into(), format!("{} in {}", b.events, span(b.duration_ns))]);
        table(out, "Run", &["", ""], &rows);
    }

    fn hits_table(&self, out: &mut String) {
        let rows: Vec<Vec<String>> = self
            .hits
            .iter()
            .map(|hit| {
                let events: Vec<String> = hit.events.iter().map(u64::to_string).collect();
                vec![
                    format!("<b class=\"{0}\">{0}</b>", hit.severity.name()),
                    format!("<b>{}</b><br>{}", escape(&hit.rule), escape(&hit.desc)),
                    escape(&hit.message),
                    escape(&hit.attack.join(", ")),
                    events.join(", "),
                ]
            })
            .collect();
        table(out, "Rules", &["Severity", "Rule", "Why", "ATT&amp;CK", "Events"], &rows);
        let attack: Vec<Vec<String>> = self
            .attack
            .iter()
            .map(|(id, rules)| vec![escape(id), technique(id).to_owned(), escape(&rules.join(", "))])
            .collect();
        table(out, "ATT&amp;CK", &["Technique", "Name", "Rules"], &attack);
    }

    fn processes(&self, out: &mut String) {
        let b = &self.behaviour;
        let whole = b.duration_ns.max(1);
        let bar = |node: &ProcessNode| {
            // Hundredths of a per cent: no fractions, so that every machine writes the same.
            let part = |ns: u64| u128::from(ns) * 10_000 / u128::from(whole);
            let (left, width) = (part(node.start_ns), part(node.end_ns.saturating_sub(node.start_ns)));
            let percent = |n: u128| format!("{}.{:02}", n / 100, n % 100);
            format!(
                "<div class=\"bar\"><i style=\"left:{}%;width:{}%\"></i></div>",
                percent(left),
                percent(width)
            )
        };
        let mut rows = Vec::new();
        let mut stack: Vec<(usize, usize)> = b.children(None).into_iter().rev().map(|at| (at, 0)).collect();
        while let Some((at, depth)) = stack.pop() {
            let Some(node) = b.processes.get(at) else { continue };
            if rows.len() >= b.processes.len() {
                break;
            }
            let images: Vec<String> = node.images.iter().map(|image| code(&image.cmdline)).collect();
            rows.push(vec![
                format!("<span style=\"padding-left:{}em\">{}</span>", depth.min(16), node.pid),
                node.vpid.map(|vpid| vpid.to_string()).unwrap_or_default(),
                if images.is_empty() { escape(&node.name) } else { images.join("<br>") },
                escape(node.exit.as_deref().unwrap_or("still there")).replace(' ', "\u{a0}"),
                node.syscalls.to_string(),
                bar(node),
            ]);
            stack.extend(b.children(Some(node.pid)).into_iter().rev().map(|child| (child, depth + 1)));
        }
        table(out, "Processes", &["PID", "inside", "Programs", "End", "Calls", "Time"], &rows);
    }

    fn lists(&self, out: &mut String) {
        let b = &self.behaviour;
        let yes = |is: bool| if is { "yes".to_owned() } else { String::new() };
        let files: Vec<Vec<String>> = b
            .files
            .iter()
            .map(|file| {
                let renamed = file.renamed_to.as_deref().map(code).unwrap_or_default();
                let written = if file.written > 0 { file.written.to_string() } else { String::new() };
                let (created, deleted) = (yes(file.created), yes(file.deleted));
                vec![code(&file.path), created, yes(file.changed), deleted, written, renamed]
            })
            .collect();
        table(
            out,
            "Files",
            &["Path", "Created", "Changed", "Deleted", "Bytes written", "Renamed to"],
            &files,
        );
        let dropped: Vec<Vec<String>> = self
            .dropped
            .iter()
            .map(|file| {
                let kept = file.kept.as_deref().map(code).unwrap_or_default();
                let yara = escape(&file.yara.join(", "));
                vec![
                    escape(&file.change),
                    code(&file.path),
                    file.size.to_string(),
                    code(&file.sha256),
                    kept,
                    yara,
                ]
            })
            .collect();
        table(out, "Left behind", &["", "Path", "Bytes", "SHA-256", "Kept as", "YARA"], &dropped);
        let network: Vec<Vec<String>> = b
            .network
            .iter()
            .map(|entry| {
                let (kind, protocol) = (escape(&entry.kind), escape(&entry.protocol));
                vec![kind, code(&entry.endpoint), protocol, escape(&entry.result), entry.attempts.to_string()]
            })
            .collect();
        table(out, "Network", &["", "Endpoint", "Protocol", "Result", "Attempts"], &network);
        let signs: Vec<Vec<String>> = b
            .signs
            .iter()
            .map(|sign| {
                let (kind, what) = (escape(&sign.kind), escape(&sign.what));
                vec![kind, what, code(&sign.detail), escape(&sign.result), sign.times.to_string()]
            })
            .collect();
        table(out, "Signs", &["Kind", "What", "Detail", "Result", "Times"], &signs);
        let calls: Vec<Vec<String>> = b
            .syscalls
            .iter()
            .map(|(name, count)| vec![code(name), count.calls.to_string(), count.failed.to_string()])
            .collect();
        table(out, "System calls", &["Name", "Calls", "Failed"], &calls);
    }
}

#[cfg(test)]
mod tests {
    use crate::behaviour::{Behaviour, FileChange};
    use crate::report::{Report, tests::hit};
    use crate::rule::Severity;

    #[test]
    fn techniques_of_the_built_in_rules_have_names() {
        for rule in crate::Rule::built_in() {
            let all = rule.conditions.iter().flat_map(|named| &named.attack).chain(&rule.attack);
            for id in all {
                assert_ne!(super::technique(id), "", "{id} of {}", rule.name);
            }
        }
    }

    #[test]
    fn hostile_names_are_no_markup() {
        let mut behaviour = Behaviour::new();
        let path = "/tmp/<script>alert(1)</script>\u{202e}\"'&".to_owned();
        behaviour.files.push(FileChange { path, created: true, ..FileChange::default() });
        let report = Report::new(vec![hit("<b>", Severity::Critical)], behaviour);
        let page = report.html();
        assert!(!page.contains("<script") && !page.contains('\u{202e}'), "{page}");
        assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;\\u{202e}&quot;&#39;&amp;"));
        // The same again, byte for byte.
        assert_eq!(page, report.html());
    }
}
