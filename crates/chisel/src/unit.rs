//! How numbers are written for people: bytes, times and shares as sysdig's chisels write them.

use crate::cell::Cell;

const SECOND: f64 = 1e9;

/// What a number counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unit {
    /// Nothing in particular.
    #[default]
    None,
    /// Bytes: `1.23KB`, `4.00M`.
    Bytes,
    /// Nanoseconds: `3.07us`, `1.20s`.
    Time,
    /// Nanoseconds of the time that the table is about: `12.50%`.
    Share,
    /// Hundredths of a second of CPU, as a share of the time that the table is about: `12.50%`.
    Cpu,
    /// Hundredths: `12.50`.
    Percent,
    /// Nanoseconds, as whole milliseconds.
    Milliseconds,
}

impl Unit {
    /// Every unit and its name in view files.
    pub const ALL: [(&'static str, Self); 7] = [
        ("none", Self::None),
        ("bytes", Self::Bytes),
        ("time", Self::Time),
        ("share", Self::Share),
        ("cpu", Self::Cpu),
        ("percent", Self::Percent),
        ("ms", Self::Milliseconds),
    ];

    /// Its name in view files.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, unit)| *unit == self).map_or("none", |(name, _)| name)
    }

    /// Appends `cell` in this unit; `span_ns` is the time that the table is about.
    pub fn write(self, cell: &Cell, span_ns: u64, out: &mut Vec<u8>) {
        let Some(number) = cell.number().filter(|_| self != Self::None) else {
            if let Cell::Float(number) = cell {
                out.extend_from_slice(format!("{number:.2}").as_bytes());
                return;
            }
            cell.write(out);
            return;
        };
        let text = match self {
            Self::None => String::new(),
            Self::Bytes => bytes(number),
            Self::Time => time(number),
            Self::Share | Self::Cpu if span_ns == 0 => "0.00%".to_owned(),
            Self::Share => format!("{:.2}%", hundredths(number / span_ns as f64 * 100.0)),
            Self::Cpu => format!("{:.2}%", hundredths(number * 1e7 / span_ns as f64 * 100.0)),
            Self::Percent => format!("{number:.2}"),
            Self::Milliseconds => format!("{}", (number / 1e6).trunc()),
        };
        out.extend_from_slice(text.as_bytes());
    }
}

/// Bytes, in units of 1024.
#[must_use]
pub(crate) fn bytes(number: f64) -> String {
    const STEPS: [(i32, &str); 5] = [(5, "P"), (4, "T"), (3, "G"), (2, "M"), (1, "KB")];
    for (power, unit) in STEPS {
        let step = 1024f64.powi(power);
        if number > step {
            return format!("{:.2}{unit}", hundredths(number / step));
        }
    }
    format!("{}B", number.trunc())
}

/// Halves go up, as LuaJIT's `%.2f` has it; that of Rust and C goes to the even one.
fn hundredths(number: f64) -> f64 {
    let hundred = number * 100.0;
    if hundred.fract() == 0.5 { hundred.round() / 100.0 } else { number }
}

/// A span of time. What is cut off is not rounded.
#[must_use]
pub(crate) fn time(ns: f64) -> String {
    let parts = |unit: f64, name: &str| {
        format!("{}.{:02}{name}", (ns / unit).floor(), ((ns % unit) / (unit / 100.0)).trunc())
    };
    if ns >= SECOND {
        parts(SECOND, "s")
    } else if ns >= SECOND / 100.0 {
        format!("{}ms", (ns / 1e6).floor())
    } else if ns >= SECOND / 1e3 {
        parts(1e6, "ms")
    } else if ns >= SECOND / 1e5 {
        format!("{}us", (ns / 1e3).floor())
    } else if ns >= SECOND / 1e6 {
        parts(1e3, "us")
    } else {
        format!("{}ns", ns.trunc())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_sysdig_writes_them() {
        for (number, text) in [
            (0.0, "0B"),
            (1024.0, "1024B"),
            (1025.0, "1.00KB"),
            (32114.0, "31.36KB"),
            (38_883_328.0, "37.08M"),
            (95_027_200.0, "90.63M"),
            (5e9, "4.66G"),
        ] {
            assert_eq!(bytes(number), text);
        }
        for (ns, text) in [
            (0.0, "0ns"),
            (999.0, "999ns"),
            (3070.0, "3.07us"),
            (21_999.0, "21us"),
            (1_080_000.0, "1.08ms"),
            (80_999_999.0, "80ms"),
            (1_100_000_000.0, "1.10s"),
        ] {
            assert_eq!(time(ns), text);
        }
    }
}
