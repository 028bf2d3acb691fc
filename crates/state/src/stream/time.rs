//! Times of events as texts.

use core::sync::atomic::{AtomicU64, Ordering};

/// How `evt.outputtime` is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Clock {
    /// Time of day, `h`.
    #[default]
    TimeOfDay,
    /// Seconds since the epoch, `a`.
    Epoch,
    /// Seconds since the first event, `r`.
    Relative,
    /// Seconds between enter and exit, `d`.
    Latency,
    /// Seconds since the event before, `D`.
    Delta,
}

/// The time between the events of which it was asked, and no others.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// Number and time of the last one, and the time of the one before it.
    number: AtomicU64,
    last_ns: AtomicU64,
    before_ns: AtomicU64,
}

impl Pace {
    /// Nanoseconds between the event with this number and the one before it; 0 for the first.
    pub(crate) fn since(&self, number: u64, ts_ns: u64) -> u64 {
        if self.number.swap(number, Ordering::Relaxed) != number {
            let last_ns = self.last_ns.swap(ts_ns, Ordering::Relaxed);
            self.before_ns.store(if last_ns == 0 { ts_ns } else { last_ns }, Ordering::Relaxed);
        }
        ts_ns.saturating_sub(self.before_ns.load(Ordering::Relaxed))
    }
}

const SECOND: u64 = 1_000_000_000;

fn two(out: &mut Vec<u8>, number: u64) {
    padded(out, number, 2);
}

/// The last `width` digits of a number, 20 at most.
fn padded(out: &mut Vec<u8>, mut number: u64, width: usize) {
    const MOST: usize = 20;
    let mut digits = [b'0'; MOST];
    let (pairs, _) = digits.as_chunks_mut::<2>();
    for pair in pairs.iter_mut().rev().take(width.div_ceil(2)) {
        let two = u8::try_from(number % 100).unwrap_or(0);
        *pair = [b'0' + two / 10, b'0' + two % 10];
        number /= 100;
    }
    out.extend_from_slice(digits.get(MOST - width.min(MOST)..).unwrap_or_default());
}

/// Appends a whole number.
pub(crate) fn decimal(out: &mut Vec<u8>, number: u64) {
    let digits = number.checked_ilog10().map_or(1, |log| log as usize + 1);
    padded(out, number, digits);
}

/// Appends a whole number that may be negative.
pub(crate) fn signed(out: &mut Vec<u8>, number: i64) {
    if number < 0 {
        out.push(b'-');
    }
    decimal(out, number.unsigned_abs());
}

fn local(ts_ns: u64, offset_s: i64) -> (u64, u64) {
    let seconds = (ts_ns / SECOND).saturating_add_signed(offset_s);
    (seconds, ts_ns % SECOND)
}

/// `16:17:57.881730713`
pub(crate) fn time_of_day(out: &mut Vec<u8>, ts_ns: u64, offset_s: i64, fraction: bool) {
    let (seconds, nanos) = local(ts_ns, offset_s);
    two(out, seconds / 3600 % 24);
    out.push(b':');
    two(out, seconds / 60 % 60);
    out.push(b':');
    two(out, seconds % 60);
    if fraction {
        out.push(b'.');
        padded(out, nanos, 9);
    }
}

/// `2016-08-04`
pub(crate) fn date(out: &mut Vec<u8>, ts_ns: u64, offset_s: i64) {
    let (seconds, _) = local(ts_ns, offset_s);
    let (year, month, day) = civil(seconds / 86_400);
    padded(out, year, 4);
    out.push(b'-');
    two(out, month);
    out.push(b'-');
    two(out, day);
}

/// The date of a day since the epoch: the year begins in March so that leap days come last
/// (H. Hinnant, "chrono-compatible low-level date algorithms").
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day = day_of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (year + era * 400 + next, month, day)
}

/// `1.881730714`
pub(crate) fn seconds(out: &mut Vec<u8>, span_ns: u64) {
    decimal(out, span_ns / SECOND);
    out.push(b'.');
    padded(out, span_ns % SECOND, 9);
}

/// `2.20us`, `115us`, `1.50s`, `2:3` (minutes), `01:00:07` (hours), as `evt.latency.human` has it.
pub(crate) fn human(span_ns: u64) -> String {
    let seconds = span_ns / SECOND;
    let hundredths = |unit: u64| span_ns % unit / (unit / 100);
    match span_ns {
        _ if seconds >= 3600 => {
            format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
        }
        _ if seconds >= 60 => format!("{}:{}", seconds / 60, seconds % 60),
        SECOND.. => format!("{seconds}.{:02}s", hundredths(SECOND)),
        10_000_000.. => format!("{}ms", span_ns / 1_000_000),
        1_000_000.. => format!("{}.{:02}ms", span_ns / 1_000_000, hundredths(1_000_000)),
        10_000.. => format!("{}us", span_ns / 1_000),
        1_000.. => format!("{}.{:02}us", span_ns / 1_000, hundredths(1_000)),
        _ => format!("{span_ns}ns"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written() {
        let ts = 1_470_327_477_881_730_713;
        let mut out = Vec::new();
        date(&mut out, ts, 0);
        out.push(b' ');
        time_of_day(&mut out, ts, 0, true);
        assert_eq!(out, b"2016-08-04 16:17:57.881730713");
        out.clear();
        seconds(&mut out, 1_881_730_714);
        assert_eq!(out, b"1.881730714");
        for number in [0, 7, -7, 10, 99, 100, -101, i64::MAX, i64::MIN] {
            out.clear();
            signed(&mut out, number);
            assert_eq!(out, number.to_string().as_bytes());
        }
        out.clear();
        decimal(&mut out, u64::MAX);
        assert_eq!(out, u64::MAX.to_string().as_bytes());
        assert_eq!((civil(0), civil(11_016)), ((1970, 1, 1), (2000, 2, 29)));
    }

    #[test]
    fn spans_are_sysdigs() {
        for (span_ns, text) in [
            (0, "0ns"),
            (999, "999ns"),
            (2_209, "2.20us"),
            (115_620, "115us"),
            (1_050_000, "1.05ms"),
            (10_300_000, "10ms"),
            (1_509_999_999, "1.50s"),
            (123_000_000_000, "2:3"),
            (3_607_000_000_000, "01:00:07"),
        ] {
            assert_eq!(human(span_ns), text);
        }
    }

    #[test]
    fn pace_is_between_those_that_were_asked_of() {
        let pace = Pace::default();
        assert_eq!((pace.since(3, 100), pace.since(3, 100)), (0, 0));
        assert_eq!((pace.since(7, 150), pace.since(7, 150)), (50, 50));
        assert_eq!((pace.since(8, 150), pace.since(9, 140)), (0, 0));
    }
}
