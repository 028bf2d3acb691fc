//! How far a capture is read, on stderr.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Reads shorter than this show nothing unless asked.
const PATIENCE: Duration = Duration::from_secs(2);
/// Time between two looks.
const PERIOD: Duration = Duration::from_millis(200);

/// A percentage that is redrawn in place. On a terminal a read that takes long shows it by itself,
/// as long as lines of events do not go to the same terminal. Programs get lines, as from sysdig.
pub struct Progress {
    /// Of all stored bytes; `None` when nothing is to be shown.
    bar: Option<ProgressBar>,
    terminal: bool,
    next: Instant,
}

impl Progress {
    /// Of `total` stored bytes; `asked` for by the user or not, in which case `quiet` says that stdout
    /// is free.
    pub fn new(total: Option<u64>, asked: bool, quiet: bool) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let wanted = asked || (terminal && (quiet || !std::io::stdout().is_terminal()));
        let style = ProgressStyle::with_template("{percent_precise}%, {eta} left");
        let bar = total.filter(|total| wanted && *total > 0).map(|total| {
            // Drawn from its first look on.
            let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::hidden());
            bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        let now = Instant::now();
        Self { bar, terminal, next: if asked { now } else { now + PATIENCE } }
    }

    /// So many bytes are read.
    pub fn at(&mut self, taken: u64) {
        let Some(bar) = &self.bar else { return };
        let now = Instant::now();
        if now < self.next {
            return;
        }
        self.next = now + PERIOD;
        let total = bar.length().unwrap_or(taken).max(1);
        bar.set_position(taken.min(total));
        if !self.terminal {
            #[allow(clippy::cast_precision_loss, reason = "two digits are shown")]
            let percent = bar.position() as f64 * 100.0 / total as f64;
            eprintln!("{percent:.2}");
        } else if bar.is_hidden() {
            bar.set_draw_target(ProgressDrawTarget::stderr());
        }
    }

    /// The end; the line is taken away.
    pub fn end(&mut self) {
        let Some(bar) = self.bar.take() else { return };
        if !self.terminal {
            eprintln!("100.00");
        }
        bar.finish_and_clear();
    }
}
