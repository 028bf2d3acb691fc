//! An explanation as people read it.

use std::fmt::Write as _;

use super::subject::Explanation;
use crate::output::{self, Terminal};

/// Bold titles and yellow warnings, or nothing.
struct Ink {
    bold: &'static str,
    warn: &'static str,
    dim: &'static str,
    off: &'static str,
}

/// The explanations, one block each, under a headline when they are several.
pub fn text(explanations: &[Explanation], headline: &str, terminal: &Terminal) -> String {
    let ink = if terminal.color {
        Ink { bold: "\x1b[1m", warn: "\x1b[33m", dim: "\x1b[2m", off: "\x1b[0m" }
    } else {
        Ink { bold: "", warn: "", dim: "", off: "" }
    };
    let mut out = String::new();
    if !headline.is_empty() {
        let _ = writeln!(out, "{}\n", plain(headline));
    }
    for (index, explanation) in explanations.iter().enumerate() {
        if index > 0 {
            out.push('\n');
        }
        block(&mut out, explanation, &ink);
    }
    out
}

fn block(out: &mut String, e: &Explanation, ink: &Ink) {
    let inside = if e.vpid == e.pid { String::new() } else { format!(", {} inside its container", e.vpid) };
    let _ = writeln!(
        out,
        "{}{}{} (pid {}{inside}), user {}, state {}, running for {}",
        ink.bold,
        plain(&e.name),
        ink.off,
        e.pid,
        plain(&e.user),
        e.state,
        span(e.age_ns)
    );
    let mut line = |title: &str, value: &str| {
        if !value.is_empty() {
            let _ = writeln!(out, "  {}{title:<12}{} {value}", ink.dim, ink.off);
        }
    };
    line("command", &plain(&e.cmdline));
    line("program", &plain(&e.exe));
    line("directory", &plain(&e.cwd));
    let chain: Vec<_> = e.ancestors.iter().map(|a| format!("{}({})", plain(&a.name), a.pid)).collect();
    let arrow = if chain.is_empty() {
        String::new()
    } else {
        format!("{} → {}({})", chain.join(" → "), plain(&e.name), e.pid)
    };
    line("started by", &arrow);
    line("kept by", &plain(&e.supervisor));
    if let Some(container) = &e.container {
        let id = container.id.get(..12).unwrap_or(&container.id);
        let image =
            if container.image.is_empty() { String::new() } else { format!(" {}", plain(&container.image)) };
        line("container", &format!("{} {id} ({}){image}", plain(&container.name), container.runtime));
        if let (Some(pod), namespace) = (&container.pod, &container.namespace) {
            line("pod", &plain(&format!("{}/{pod}", namespace.as_deref().unwrap_or("?"))));
        }
    }
    line("unit", &plain(e.unit.as_deref().unwrap_or_default()));
    line("cgroup", &plain(&e.cgroup));
    list(out, ink, "listens", &e.listens);
    let peers = format!("connected ({})", e.connections);
    list(out, ink, if e.connections > 0 { &peers } else { "" }, &e.peers);
    list(out, ink, &format!("files ({} fds)", e.descriptors), &e.files);
    for warning in &e.warnings {
        let _ = writeln!(out, "  {}warning      {}{}", ink.warn, plain(warning), ink.off);
    }
}

fn list(out: &mut String, ink: &Ink, title: &str, items: &[String]) {
    for (index, item) in items.iter().enumerate() {
        let title = if index == 0 { title } else { "" };
        let _ = writeln!(out, "  {}{title:<12}{} {}", ink.dim, ink.off, plain(item));
    }
}

fn plain(text: &str) -> String {
    output::plain(text.as_bytes())
}

fn span(ns: i64) -> String {
    let seconds = ns / 1_000_000_000;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}
