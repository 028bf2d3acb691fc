//! Times of events as texts.

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

/// `10.3ms`, as `evt.latency.human` has it.
pub(crate) fn human(span_ns: u64) -> String {
    let units: [(u64, &str); 4] = [(SECOND, "s"), (1_000_000, "ms"), (1_000, "us"), (1, "ns")];
    for (unit, name) in units {
        if span_ns >= unit {
            let hundredths = u128::from(span_ns) * 100 / u128::from(unit);
            let text = format!("{}.{:02}", hundredths / 100, hundredths % 100);
            let text = text.trim_end_matches('0').trim_end_matches('.');
            return format!("{text}{name}");
        }
    }
    "0ns".to_owned()
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
        assert_eq!((human(10_300_000), human(5)), ("10.3ms".to_owned(), "5ns".to_owned()));
    }
}
