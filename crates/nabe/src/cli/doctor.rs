//! `nabe doctor`: what this kernel, these privileges and these engines allow, found by trying.

use std::fmt::Write as _;
use std::process::ExitCode;

use nabe_container::{EngineStatus, Liveness};
use nabe_event::symbol;
use nabe_probe::iter::{self, Feature};
use nabe_probe::live;
use serde_json::{Value, json};

use crate::error::Result;
use crate::output::{self, Color, Terminal};
use crate::{config, query};

/// Say what this kernel, these privileges and these engines allow.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Every line is found by trying: a program is loaded, a socket is asked.
Exit status: 0 nabe works here (perhaps from /proc only), 1 nothing can be seen.")]
pub struct Args {
    /// As JSON
    #[arg(long)]
    json: bool,
    /// When to use colour
    #[arg(long, value_enum, default_value_t, value_name = "WHEN")]
    color: Color,
}

/// What was found.
struct Findings {
    kernel: String,
    capabilities: Vec<&'static str>,
    btf: bool,
    features: Vec<Feature>,
    events: std::result::Result<Vec<live::Tried>, String>,
    proc_notes: std::result::Result<Vec<String>, String>,
    engines: Vec<EngineStatus>,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<ExitCode> {
    let findings = Findings {
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        capabilities: capabilities(),
        btf: std::path::Path::new("/sys/kernel/btf/vmlinux").exists(),
        features: iter::features(),
        events: live::programs().map_err(|error| full(&error)),
        proc_notes: query::proc_works(),
        engines: nabe_container::engines(&config::engines()?),
    };
    if args.json {
        let mut text = serde_json::to_vec_pretty(&findings.json()).unwrap_or_default();
        text.push(b'\n');
        output::write(&text)?;
    } else {
        output::write(findings.text(&Terminal::detect(args.color)).as_bytes())?;
    }
    let works = findings.proc_notes.is_ok() || findings.features.iter().any(|feature| feature.ok.is_ok());
    Ok(if works { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// An error with its causes.
fn full(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        words.push_str(&format!(": {source}"));
        cause = source.source();
    }
    words
}

/// Effective capabilities that matter here.
fn capabilities() -> Vec<&'static str> {
    let effective = rustix::thread::capabilities(None).map(|sets| sets.effective.bits()).unwrap_or_default();
    symbol::CAPABILITY
        .entries
        .iter()
        .filter(|(bit, _)| effective & (1 << bit) != 0)
        .map(|(_, name)| *name)
        .collect()
}

/// What each of these is for, when it is missing.
const WANTED: [(&str, &str); 4] = [
    ("BPF", "load BPF programs"),
    ("PERFMON", "read the kernel's memory from BPF"),
    ("SYS_PTRACE", "read other users' descriptors from /proc"),
    ("SYS_ADMIN", "enter other network namespaces for sockets without a descriptor"),
];

impl Findings {
    fn text(&self, terminal: &Terminal) -> String {
        let (good, bad, off) =
            if terminal.color { ("\x1b[32m", "\x1b[33m", "\x1b[0m") } else { ("", "", "") };
        let mut out = String::new();
        let mut line = |ok: bool, name: &str, words: &str| {
            let (ink, mark) = if ok { (good, "ok") } else { (bad, "no") };
            let _ = writeln!(out, "  {ink}{mark}{off}  {name:<28} {words}");
        };
        line(self.btf, "kernel BTF", &format!("kernel {}", self.kernel));
        for (name, purpose) in WANTED {
            let held = self.capabilities.contains(&name)
                || (name != "SYS_ADMIN" && name != "SYS_PTRACE" && self.capabilities.contains(&"SYS_ADMIN"));
            line(held, &format!("CAP_{name}"), if held { "" } else { purpose });
        }
        for feature in &self.features {
            let words = match &feature.ok {
                Ok(()) => feature.purpose.to_owned(),
                Err(why) => format!("{why} (since kernel {})", feature.minimum),
            };
            line(feature.ok.is_ok(), feature.name, &words);
        }
        match &self.events {
            Ok(tried) => {
                let refused: Vec<_> =
                    tried.iter().filter(|(_, ok)| ok.is_err()).map(|(name, _)| name.as_str()).collect();
                let words = match refused.is_empty() {
                    true => format!("{} programs, for trace, record, detect and sandbox", tried.len()),
                    false => format!(
                        "{} of {} programs are refused: {}",
                        refused.len(),
                        tried.len(),
                        refused.join(", ")
                    ),
                };
                line(refused.is_empty(), "live events", &words);
            }
            Err(why) => line(false, "live events", why),
        }
        match &self.proc_notes {
            Ok(notes) => line(true, "/proc", &notes.join("; ")),
            Err(why) => line(false, "/proc", why),
        }
        for engine in &self.engines {
            let (ok, words) = engine_words(engine);
            line(ok, engine.engine.as_str(), &words);
        }
        out
    }

    fn json(&self) -> Value {
        let features: Vec<_> = self
            .features
            .iter()
            .map(|feature| {
                json!({
                    "name": feature.name,
                    "ok": feature.ok.is_ok(),
                    "error": feature.ok.as_ref().err(),
                    "purpose": feature.purpose,
                    "minimum": feature.minimum,
                })
            })
            .collect();
        let engines: Vec<_> = self
            .engines
            .iter()
            .map(|engine| {
                let (ok, words) = engine_words(engine);
                json!({
                    "engine": engine.engine.as_str(),
                    "ok": ok,
                    "status": words,
                    "program": engine.program,
                    "socket": engine.socket,
                    "version": engine.version,
                    "state": engine.state,
                })
            })
            .collect();
        let events = match &self.events {
            Ok(tried) => {
                let one = |(name, ok): &live::Tried| json!({"name": name, "ok": ok.is_ok(), "error": ok.as_ref().err().map(|error| full(error))});
                json!({"ok": tried.iter().all(|(_, ok)| ok.is_ok()), "programs": tried.iter().map(one).collect::<Vec<_>>()})
            }
            Err(why) => json!({"ok": false, "error": why}),
        };
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "kernel": self.kernel,
            "btf": self.btf,
            "capabilities": self.capabilities,
            "features": features,
            "live_events": events,
            "proc": {"ok": self.proc_notes.is_ok(), "notes": self.proc_notes.as_ref().ok(), "error": self.proc_notes.as_ref().err()},
            "engines": engines,
        })
    }
}

/// Whether containers of this engine get their names here, and how.
fn engine_words(engine: &EngineStatus) -> (bool, String) {
    let mut words = Vec::new();
    if let Some(version) = &engine.version {
        words.push(version.clone());
    }
    let socket = engine.socket.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
    let answers = match &engine.liveness {
        Liveness::Answers => {
            words.push(format!("answers on {socket}"));
            true
        }
        Liveness::Fails(why) => {
            words.push(why.clone());
            false
        }
        Liveness::NoDaemon => true,
        _ => {
            words.push("no socket".to_owned());
            false
        }
    };
    if !engine.state.is_empty() {
        let places: Vec<_> = engine.state.iter().map(|path| path.display().to_string()).collect();
        words.push(format!("files in {}", places.join(", ")));
    }
    if engine.program.is_none() && engine.state.is_empty() && !answers {
        return (false, "not installed".to_owned());
    }
    (answers || !engine.state.is_empty(), words.join("; "))
}
