//! How a pull gets on: a bar per layer on a terminal, lines elsewhere, nothing when quiet.

use std::collections::HashMap;
use std::io::IsTerminal as _;
use std::sync::Mutex;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use nabe_image::{Digest, Progress};

use super::size;
use crate::output::plain;

/// What is shown.
#[derive(Debug)]
pub(super) enum Shown {
    Nothing,
    Lines,
    Bars(MultiProgress, Mutex<HashMap<Digest, ProgressBar>>),
}

impl Shown {
    pub(super) fn new(quiet: bool) -> Self {
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        match (quiet, std::io::stderr().is_terminal() && !dumb) {
            (true, _) => Self::Nothing,
            (false, true) => {
                let bars = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10));
                Self::Bars(bars, Mutex::default())
            }
            (false, false) => Self::Lines,
        }
    }

    fn line(&self, text: &str) {
        let text = plain(text.as_bytes());
        match self {
            Self::Nothing => {}
            Self::Lines => eprintln!("{text}"),
            Self::Bars(bars, _) => {
                // It only fails where nothing is shown.
                let _ = bars.println(text);
            }
        }
    }

    fn bar(&self, blob: &Digest, change: impl FnOnce(&ProgressBar)) {
        if let Self::Bars(_, all) = self
            && let Some(bar) = all.lock().unwrap_or_else(|broken| broken.into_inner()).get(blob)
        {
            change(bar);
        }
    }

    fn say(&self, blob: &Digest, words: &'static str) {
        match self {
            Self::Lines => self.line(&format!("{}: {words}", blob.short())),
            _ => self.bar(blob, |bar| bar.set_message(words)),
        }
    }
}

impl Progress for Shown {
    fn resolved(&self, digest: &Digest, host: &str) {
        self.line(&format!("{digest} at {host}"));
    }

    fn planned(&self, blob: &Digest, bytes: u64, present: bool) {
        if let Self::Bars(bars, all) = self {
            let template = "{prefix} {msg:9} [{bar:30}] {bytes:>10}/{total_bytes:10} {bytes_per_sec}";
            let style =
                ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
            let bar = bars.add(ProgressBar::new(bytes).with_style(style.progress_chars("=> ")));
            bar.set_prefix(blob.short());
            bar.set_message(if present { "present" } else { "waiting" });
            if present {
                bar.set_position(bytes);
            }
            all.lock().unwrap_or_else(|broken| broken.into_inner()).insert(*blob, bar);
        } else if present {
            self.say(blob, "present");
        } else {
            self.line(&format!("{}: fetching {}", blob.short(), size(bytes)));
        }
    }

    fn fetched(&self, blob: &Digest, bytes: u64) {
        self.bar(blob, |bar| {
            bar.set_message("fetching");
            bar.set_position(bytes);
        });
    }

    fn verified(&self, blob: &Digest) {
        self.say(blob, "verified");
    }

    fn unpacked(&self, blob: &Digest) {
        match self {
            Self::Bars(..) => self.bar(blob, |bar| bar.finish_with_message("unpacked")),
            _ => self.say(blob, "unpacked"),
        }
    }

    fn note(&self, text: &str) {
        match self {
            Self::Nothing => {}
            _ => self.line(&format!("nabe: note: {text}")),
        }
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        if let Self::Bars(_, all) = self {
            for bar in all.get_mut().unwrap_or_else(|broken| broken.into_inner()).values() {
                bar.abandon();
            }
        }
    }
}
