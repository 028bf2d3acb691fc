//! How far a capture is read, on stderr.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Reads shorter than this show nothing unless asked.
const PATIENCE: Duration = Duration::from_secs(2);
/// Time between two looks.
const PERIOD: Duration = Duration::from_millis(200);

/// A percentage that is redrawn in place. On a terminal a read that takes long shows it by itself,
/// as long as lines of events do not go to the same terminal.
pub struct Progress {
    total: Option<u64>,
    asked: bool,
    terminal: bool,
    started: Instant,
    next: Instant,
    shown: bool,
}

impl Progress {
    /// Of `total` stored bytes; `asked` for by the user or not, in which case `quiet` says that stdout
    /// is free.
    pub fn new(total: Option<u64>, asked: bool, quiet: bool) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let wanted = asked || (terminal && (quiet || !std::io::stdout().is_terminal()));
        let now = Instant::now();
        Self {
            total: total.filter(|total| wanted && *total > 0),
            asked,
            terminal,
            started: now,
            next: if asked { now } else { now + PATIENCE },
            shown: false,
        }
    }

    /// So many bytes are read.
    pub fn at(&mut self, taken: u64) {
        let Some(total) = self.total else { return };
        let now = Instant::now();
        if now < self.next {
            return;
        }
        self.next = now + PERIOD;
        self.shown = true;
        let taken = taken.min(total);
        #[allow(clippy::cast_precision_loss, reason = "two digits are shown")]
        let percent = taken as f64 * 100.0 / total as f64;
        let mut err = std::io::stderr().lock();
        if self.terminal {
            let elapsed = now.duration_since(self.started).as_secs_f64();
            let left = if percent > 1.0 { elapsed * (100.0 - percent) / percent } else { f64::INFINITY };
            let left = if left.is_finite() { format!(", {left:.0} s left") } else { String::new() };
            let _ = write!(err, "\r\x1b[K{percent:5.2}%{left}");
        } else {
            // As sysdig writes it for programs that read it.
            let _ = writeln!(err, "{percent:.2}");
        }
        let _ = err.flush();
    }

    /// The end; the line is taken away.
    pub fn end(&mut self) {
        if !self.shown {
            return;
        }
        let mut err = std::io::stderr().lock();
        let _ = if self.terminal {
            write!(err, "\r\x1b[K")
        } else if self.asked {
            writeln!(err, "100.00")
        } else {
            Ok(())
        };
        let _ = err.flush();
        self.shown = false;
    }
}
