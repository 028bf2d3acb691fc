//! spectrogram and subsecoffset: heat maps whose lines follow one another in time. The colours are
//! those of 256-colour terminals, from dark green over yellow to red, on a logarithmic scale.

use super::{number, parsed, reader};
use crate::field::Reader;
use crate::unit;
use crate::view::{Event, Flow, Machine, Moment, Output, Setup, View, ViewError};

const PALETTE: [u8; 20] =
    [22, 28, 64, 34, 2, 76, 46, 118, 154, 191, 227, 226, 11, 220, 209, 208, 202, 197, 9, 1];
/// Fills of a quarter each; three quarters are one quarter with the colours swapped.
const FILLS: [&str; 4] = [" ", "░", "▒", "░"];
/// Latencies from 1 ns to 100 s.
const DECADES: f64 = 11.0;

struct Heat {
    name: &'static str,
    field: Reader,
    width: usize,
    refresh_ns: u64,
    counts: Vec<u64>,
    lines: u64,
}

fn heat(name: &'static str, setup: &Setup, field: &str, default_ms: u64) -> Result<Box<dyn View>, ViewError> {
    let Some((width, _)) = setup.terminal else {
        return Err(ViewError::Unfit { view: name.to_owned(), problem: "needs a terminal".to_owned() });
    };
    let refresh_ms = parsed(name, setup, 0, "refresh_time")?.unwrap_or(default_ms).clamp(1, 1 << 32);
    let width = usize::from(width).max(20);
    Ok(Box::new(Heat {
        name,
        field: reader(field),
        width,
        refresh_ns: refresh_ms * 1_000_000,
        counts: vec![0; width],
        lines: 0,
    }))
}

/// spectrogram: how long system calls take.
pub(super) fn spectrogram(name: &'static str, setup: &Setup) -> Result<Box<dyn View>, ViewError> {
    heat(name, setup, "evt.latency", 500)
}

/// subsecoffset: when within an interval system calls begin.
pub(super) fn offset(name: &'static str, setup: &Setup) -> Result<Box<dyn View>, ViewError> {
    heat(name, setup, "evt.rawtime", 1000)
}

impl Heat {
    fn is_spectrogram(&self) -> bool {
        self.name == "spectrogram"
    }

    fn line(&mut self, out: &mut Output) {
        if self.lines > 0 {
            // Over the scale below the line before.
            out.put("\x1b[1F");
        }
        self.lines += 1;
        let per_second = 1e9 / self.refresh_ns as f64;
        for count in &mut self.counts {
            let (front, back, fill) = colors(core::mem::take(count), per_second);
            out.put(&format!("\x1b[38;5;{front}m\x1b[48;5;{back}m{fill}"));
        }
        out.put("\x1b[0m\n");
        let mut at = 0;
        while at < self.width {
            let steps = if self.is_spectrogram() { DECADES } else { 10.0 };
            let step = |at: f64| (at * steps / self.width as f64).floor();
            let label = if step(at as f64) == step(at as f64 - 1.0) {
                String::new()
            } else if self.is_spectrogram() {
                format!("|{}", unit::time(10f64.powf(step(at as f64))))
            } else {
                format!("|{}ms", step(at as f64) * self.refresh_ns as f64 / 1e7)
            };
            if label.is_empty() || at + label.len() > self.width {
                out.put(" ");
                at += 1;
            } else {
                out.put(&label);
                at += label.len();
            }
        }
        out.put("\n");
    }
}

/// Colours of front and back, and the fill, of a number of events.
fn colors(count: u64, per_second: f64) -> (u8, u8, &'static str) {
    if count == 0 {
        return (0, 0, " ");
    }
    let last = PALETTE.len() as f64;
    let heat = ((count as f64 * per_second + 1.0).log10() / 1.6f64.log10()).clamp(1.0, last);
    let color = |at: f64| PALETTE.get(at as usize - 1).copied().unwrap_or(1);
    let (low, high, rest) = (color(heat.floor()), color(heat.ceil()), heat.fract());
    let fill = FILLS.get((rest * 4.0) as usize).copied().unwrap_or(" ");
    if rest > 0.75 { (high, low, fill) } else { (low, high, fill) }
}

impl View for Heat {
    fn name(&self) -> &str {
        self.name
    }
    fn filter(&self) -> String {
        // A source may have no enter events: the exits are as many.
        if self.is_spectrogram() { "evt.dir=<".to_owned() } else { "evt.dir=>".to_owned() }
    }
    fn interval_ns(&self) -> Option<u64> {
        Some(self.refresh_ns)
    }
    fn start(&mut self, out: &mut Output) -> Result<(), ViewError> {
        out.put("\x1b[?25l");
        Ok(())
    }
    fn event(&mut self, event: &Event<'_>, _: &mut Output) -> Result<Flow, ViewError> {
        let Some(value) = number(&mut self.field, event).filter(|value| *value > 0) else {
            return Ok(Flow::Go);
        };
        let share = if self.is_spectrogram() {
            (value as f64).log10() / DECADES
        } else {
            (value as u64 % self.refresh_ns) as f64 / self.refresh_ns as f64
        };
        let at = ((share * self.width as f64) as usize).min(self.width - 1);
        if let Some(count) = self.counts.get_mut(at) {
            *count += 1;
        }
        Ok(Flow::Go)
    }
    fn tick(&mut self, _: Moment, _: &Event<'_>, out: &mut Output) -> Result<(), ViewError> {
        self.line(out);
        Ok(())
    }
    fn end(&mut self, _: Moment, _: &dyn Machine, out: &mut Output) -> Result<(), ViewError> {
        self.line(out);
        out.put("\x1b[0m\x1b[?25h\n");
        Ok(())
    }
}
