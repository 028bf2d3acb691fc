//! How a value reads: sizes, times, shares and lists for people.

use core::cell::Cell as Slot;
use std::io::Write as _;

use nabe_event::Missing;
use nabe_event::field::Show;

use crate::view::cell::{Cell, Cells};
use crate::view::column::{Column, Role};
use crate::view::escape;

const SECOND: i64 = 1_000_000_000;
const DAY: i64 = 86_400;

/// What must be known of the moment to show times.
#[derive(Debug)]
pub struct Context {
    now_ns: i64,
    boot_ns: i64,
    offset: fn(i64) -> i32,
    /// The last quarter of an hour asked about and its offset: rows come with times close together.
    last: Slot<Option<(i64, i32)>>,
}

impl Context {
    /// `now_ns` and `boot_ns` are the wall clock now and at boot, in ns since the epoch; `offset`
    /// gives what is to be added to a time in seconds since the epoch to get local time, in seconds.
    #[must_use]
    pub const fn new(now_ns: i64, boot_ns: i64, offset: fn(i64) -> i32) -> Self {
        Self { now_ns, boot_ns, offset, last: Slot::new(None) }
    }

    /// Everything in UTC.
    #[must_use]
    pub fn utc(now_ns: i64, boot_ns: i64) -> Self {
        Self::new(now_ns, boot_ns, |_| 0)
    }

    /// Local time in seconds. Offsets change at a full quarter of an hour only.
    fn local(&self, ns: i64) -> i64 {
        let seconds = ns.div_euclid(SECOND);
        let quarter = seconds.div_euclid(900);
        let offset = match self.last.get() {
            Some((last, offset)) if last == quarter => offset,
            _ => {
                let offset = (self.offset)(seconds);
                self.last.set(Some((quarter, offset)));
                offset
            }
        };
        seconds.saturating_add(offset.into())
    }
}

/// Appends what people read for `cell` of `column` and returns the columns it fills. Nothing that a
/// terminal would act on is in it, and no line break.
#[inline]
pub fn write(out: &mut Vec<u8>, cell: &Cell<'_>, column: &Column, context: &Context) -> usize {
    match cell {
        Cell::Text(text) => escape::write(out, text),
        Cell::Uint(number) => write_number(out, (*number).into(), column, context),
        Cell::Int(number) => write_number(out, (*number).into(), column, context),
        Cell::Missing(Missing::Unread(_)) => ascii(out, b"?"),
        Cell::Missing(_) => 0,
        Cell::Bool(true) => ascii(out, b"yes"),
        Cell::Bool(false) => ascii(out, b"no"),
        Cell::Cut(text) => escape::write(out, text),
        Cell::Ip(ip) => formatted(out, format_args!("{ip}")),
        Cell::List(items) => write_items(out, *items, |_| b","),
        Cell::Map(items) => write_items(out, *items, |index| if index % 2 == 0 { b"," } else { b"=" }),
    }
}

/// As [`write()`], in at most `room` columns, with `more` at the end of what is cut.
pub fn write_cut(
    out: &mut Vec<u8>,
    cell: &Cell<'_>,
    column: &Column,
    context: &Context,
    room: usize,
    more: &str,
) -> usize {
    match cell {
        Cell::Text(text) => escape::write_cut(out, text, room, more, false),
        Cell::Cut(text) => escape::write_cut(out, text, room, more, true),
        _ => {
            let start = out.len();
            let width = write(out, cell, column, context);
            if width <= room {
                return width;
            }
            // Escaped text stays as it is when it is escaped again.
            let text = out.split_off(start);
            escape::write_cut(out, &text, room, more, false)
        }
    }
}

/// Columns that [`write()`] fills. `scratch` is any buffer; it is used and left empty.
#[inline]
pub fn width(cell: &Cell<'_>, column: &Column, context: &Context, scratch: &mut Vec<u8>) -> usize {
    match cell {
        Cell::Text(text) => escape::width(text),
        // One more, for the mark that says so.
        Cell::Cut(text) => escape::width(text) + 1,
        Cell::Uint(number) if is_bare(column) => number.checked_ilog10().unwrap_or(0) as usize + 1,
        Cell::Missing(Missing::Unread(_)) => 1,
        Cell::Missing(_) => 0,
        _ => {
            scratch.clear();
            let width = write(scratch, cell, column, context);
            scratch.clear();
            width
        }
    }
}

/// Whether a number of this column is printed as its digits.
pub(crate) fn is_bare(column: &Column) -> bool {
    column.role != Role::SocketState && column.show == Show::Plain
}

fn write_number(out: &mut Vec<u8>, number: i128, column: &Column, context: &Context) -> usize {
    match column.show {
        Show::Plain => {
            let mark = if column.role == Role::SocketState { ascii(out, b"STATE_") } else { 0 };
            mark + ascii(out, itoa::Buffer::new().format(number).as_bytes())
        }
        Show::Size => write_size(out, number),
        Show::BootTime => write_boot_time(out, number, context),
        Show::Span => write_span(out, number),
        Show::Percent => {
            let tenths = (number.saturating_abs() + 5) / 10;
            let sign = if number < 0 && tenths > 0 { "-" } else { "" };
            formatted(out, format_args!("{sign}{}.{}", tenths / 10, tenths % 10))
        }
        Show::Hex => formatted(out, format_args!("{:016x}", number as u64)),
        Show::Octal => formatted(out, format_args!("0{:o}", number as u64)),
    }
}

#[inline]
fn ascii(out: &mut Vec<u8>, text: &[u8]) -> usize {
    out.extend_from_slice(text);
    text.len()
}

fn formatted(out: &mut Vec<u8>, text: core::fmt::Arguments<'_>) -> usize {
    let start = out.len();
    // A vector takes everything.
    let _ = out.write_fmt(text);
    out.len() - start
}

/// As psc prints sizes: bytes below 1K, whole K, then M, G, T… with one digit behind the point.
pub(crate) fn write_size(out: &mut Vec<u8>, bytes: i128) -> usize {
    let start = out.len();
    if bytes < 0 {
        out.push(b'-');
    }
    let bytes = bytes.saturating_abs();
    let mut digits = itoa::Buffer::new();
    if bytes < 1 << 10 {
        out.extend_from_slice(digits.format(bytes).as_bytes());
        return out.len() - start;
    }
    if bytes < 1 << 20 {
        out.extend_from_slice(digits.format(bytes >> 10).as_bytes());
        out.push(b'K');
        return out.len() - start;
    }
    let units = *b"MGTPEZY";
    let mut unit = 0;
    // Tenths, rounded half up: 1023.96M is 1.0G.
    let tenths = |unit: usize| {
        let shift = 20 + 10 * unit as u32;
        bytes.saturating_mul(10).saturating_add(1 << (shift - 1)) >> shift
    };
    while tenths(unit) >= 10_240 && unit + 1 < units.len() {
        unit += 1;
    }
    out.extend_from_slice(digits.format(tenths(unit) / 10).as_bytes());
    out.extend_from_slice(&[b'.', b'0' + (tenths(unit) % 10) as u8]);
    out.push(units.get(unit).copied().unwrap_or(b'?'));
    out.len() - start
}

/// `250us`, `120ms`, `3.2s`, `5m07s`, `3h05m`, `1d02h`.
fn write_span(out: &mut Vec<u8>, ns: i128) -> usize {
    let start = out.len();
    if ns < 0 {
        out.push(b'-');
    }
    let ns = ns.saturating_abs();
    let second = i128::from(SECOND);
    let seconds = ns / second;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match seconds {
        0 if ns == 0 => formatted(out, format_args!("0")),
        0 if ns < 1_000 => formatted(out, format_args!("{ns}ns")),
        0 if ns < 1_000_000 => formatted(out, format_args!("{}us", ns / 1_000)),
        0 => formatted(out, format_args!("{}ms", ns / 1_000_000)),
        1..60 => formatted(out, format_args!("{seconds}.{}s", ns / (second / 10) % 10)),
        60..3_600 => formatted(out, format_args!("{minutes}m{:02}s", seconds % 60)),
        3_600..86_400 => formatted(out, format_args!("{hours}h{minutes:02}m")),
        _ => formatted(out, format_args!("{days}d{hours:02}h")),
    };
    out.len() - start
}

/// `22:40:23` today, `Jan02 15:04` this year, `Jan02 2024` otherwise.
fn write_boot_time(out: &mut Vec<u8>, since_boot_ns: i128, context: &Context) -> usize {
    let since_boot_ns = i64::try_from(since_boot_ns).unwrap_or(i64::MAX);
    let then = context.local(context.boot_ns.saturating_add(since_boot_ns));
    let now = context.local(context.now_ns);
    let (day, second) = (then.div_euclid(DAY), then.rem_euclid(DAY));
    let two = |number: i64| [b'0' + (number / 10 % 10) as u8, b'0' + (number % 10) as u8];
    let ([h1, h2], [m1, m2], [s1, s2]) = (two(second / 3_600), two(second / 60 % 60), two(second % 60));
    if day == now.div_euclid(DAY) {
        return ascii(out, &[h1, h2, b':', m1, m2, b':', s1, s2]);
    }
    let (year, month, day) = civil(day);
    let [d1, d2] = two(day);
    let [j, a, n] = month_name(month);
    ascii(out, &[j, a, n, d1, d2, b' ']);
    if year == civil(now.div_euclid(DAY)).0 {
        6 + ascii(out, &[h1, h2, b':', m1, m2])
    } else {
        6 + formatted(out, format_args!("{year}"))
    }
}

fn month_name(month: i64) -> [u8; 3] {
    let names = b"JanFebMarAprMayJunJulAugSepOctNovDec";
    let at = usize::try_from(month - 1).unwrap_or(0) * 3;
    names.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or(*b"???")
}

/// Year, month and day of a number of days since 1970-01-01 (proleptic Gregorian). The year is
/// counted from March, so that the leap day is its last.
const fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400;
    (if month <= 2 { year + 1 } else { year }, month, day)
}

/// Items with what `between` puts before all but the first.
fn write_items(out: &mut Vec<u8>, items: Cells<'_>, between: fn(usize) -> &'static [u8]) -> usize {
    let mut width = 0;
    for (index, item) in items.enumerate() {
        if index > 0 {
            width += ascii(out, between(index));
        }
        width += match item {
            Cell::Text(text) | Cell::Cut(text) => escape::write(out, text),
            Cell::Uint(number) => ascii(out, itoa::Buffer::new().format(number).as_bytes()),
            Cell::Int(number) => ascii(out, itoa::Buffer::new().format(number).as_bytes()),
            _ => 0,
        };
    }
    width
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::context;
    use nabe_event::field::process;

    fn shown(column: &Column, cell: Cell<'_>, context: &Context) -> String {
        let (mut out, mut scratch) = (Vec::new(), Vec::new());
        let filled = write(&mut out, &cell, column, context);
        assert_eq!(filled, width(&cell, column, context, &mut scratch));
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.len(), filled);
        text
    }

    fn number(id: nabe_event::FieldId, number: u64) -> String {
        shown(&Column::new(id), Cell::Uint(number), &context())
    }

    #[test]
    fn sizes_read_as_psc_prints_them() {
        for (bytes, expected) in [
            (0, "0"),
            (1023, "1023"),
            (1024, "1K"),
            (796 * 1024, "796K"),
            ((1 << 20) - 1, "1023K"),
            (1 << 20, "1.0M"),
            (1_677_722, "1.6M"),
            (1023 * (1 << 20), "1023.0M"),
            ((1 << 30) - 1, "1.0G"),
            (1 << 40, "1.0T"),
            (u64::MAX, "16.0E"),
        ] {
            assert_eq!(number(process::RSS, bytes), expected, "{bytes}");
        }
    }

    #[test]
    fn spans_read_in_two_units() {
        for (ns, expected) in [
            (0, "0"),
            (999, "999ns"),
            (250_000, "250us"),
            (120_000_000, "120ms"),
            (3_290_000_000, "3.2s"),
            (59_999_999_999, "59.9s"),
            (307_000_000_000, "5m07s"),
            (11_100_000_000_000, "3h05m"),
            (93_600_000_000_000, "1d02h"),
            (u64::MAX, "213503d23h"),
        ] {
            assert_eq!(number(process::UTIME, ns), expected, "{ns}");
        }
        assert_eq!(shown(&Column::new(process::AGE), Cell::Int(-5_000_000_000), &context()), "-5.0s");
    }

    #[test]
    fn other_numbers() {
        assert_eq!(number(process::CPU, 1250), "12.5");
        assert_eq!(number(process::CPU, 4), "0.0");
        assert_eq!(number(process::CPU, 9_995), "100.0");
        assert_eq!(number(process::CAP_EFFECTIVE, 0x1_ffff_ffff), "00000001ffffffff");
        assert_eq!(number(nabe_event::field::file::MODE, 0o100_644), "0100644");
        assert_eq!(number(nabe_event::field::file::STATE, 77), "STATE_77");
        for value in [0, 1, 9, 10, 99, 100, u64::MAX] {
            assert_eq!(number(process::MINFLT, value), value.to_string());
        }
    }

    #[test]
    fn times_are_local_and_short_today() {
        // 2026-11-22 01:00:00 UTC, two hours east.
        let now = 1_795_309_200;
        let context = Context::new(now * SECOND, 0, |_| 7_200);
        let at = |seconds: i64| {
            shown(&Column::new(process::START_TIME), Cell::Uint((seconds * SECOND) as u64), &context)
        };
        assert_eq!(at(now), "03:00:00");
        assert_eq!(at(now - 3 * 3_600), "00:00:00");
        assert_eq!(at(now - 3 * 3_600 - 1), "Nov21 23:59");
        assert_eq!(at(now - 300 * DAY), "Jan26 03:00");
        assert_eq!(at(now - 400 * DAY), "Oct18 2025");
        assert_eq!(at(951_782_400), "Feb29 2000");
        // A start that no clock can have had.
        let far = shown(&Column::new(process::START_TIME), Cell::Uint(u64::MAX), &context);
        assert_eq!(far, "Apr12 2262");
    }
}
