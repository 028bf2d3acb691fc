//! Words of the runtime's command lines: signals, users, times, sizes.

use std::time::Duration;

/// Names by number, from 1.
const SIGNALS: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// A signal by number or name, with or without `SIG`.
pub(in crate::cli) fn signal(word: &str) -> Result<i32, String> {
    let upper = word.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let known = SIGNALS.iter().position(|known| *known == name).and_then(|at| i32::try_from(at + 1).ok());
    let real_time = || {
        let by = |start: &str, base: i32, sign: i32| {
            let rest = name.strip_prefix(start)?;
            if rest.is_empty() { Some(base) } else { Some(base + sign * rest.get(1..)?.parse::<i32>().ok()?) }
        };
        by("RTMIN", 34, 1).or_else(|| by("RTMAX", 64, -1))
    };
    let number = known.or_else(|| word.parse().ok()).or_else(real_time);
    number.filter(|number| (0..=64).contains(number)).ok_or_else(|| format!("\"{word}\" is no signal"))
}

/// `UID[:GID]`.
pub(super) fn user(word: &str) -> Result<(u32, Option<u32>), String> {
    let wrong = |_| format!("\"{word}\" is not of the form UID or UID:GID");
    match word.split_once(':') {
        Some((uid, gid)) => Ok((uid.parse().map_err(wrong)?, Some(gid.parse().map_err(wrong)?))),
        None => Ok((word.parse().map_err(wrong)?, None)),
    }
}

/// `5s`, `250ms`, `1m`.
pub(super) fn duration(word: &str) -> Result<Duration, String> {
    let wrong = || format!("\"{word}\" is not a duration such as 250ms or 5s");
    let digits = word.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = word.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        _ => return Err(wrong()),
    };
    number.checked_mul(millis).filter(|millis| *millis > 0).map(Duration::from_millis).ok_or_else(wrong)
}

/// Bytes: `-1`, `4096`, `64m`, `1G`.
pub(in crate::cli) fn bytes(word: &str) -> Result<i64, String> {
    let wrong = || format!("\"{word}\" is not a number of bytes such as 4096, 64m or -1");
    let lower = word.to_ascii_lowercase();
    let plain = lower.trim_end_matches('b');
    let (number, shift) = match plain.char_indices().last() {
        Some((at, 'k')) => (plain.get(..at), 10),
        Some((at, 'm')) => (plain.get(..at), 20),
        Some((at, 'g')) => (plain.get(..at), 30),
        Some((at, 't')) => (plain.get(..at), 40),
        _ => (Some(plain), 0),
    };
    let number: i64 = number.and_then(|number| number.parse().ok()).ok_or_else(wrong)?;
    number.checked_mul(1 << shift).filter(|bytes| *bytes >= -1).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals() {
        for (word, number) in
            [("KILL", 9), ("SIGTERM", 15), ("9", 9), ("sigrtmin+3", 37), ("RTMAX-1", 63), ("0", 0)]
        {
            assert_eq!(signal(word), Ok(number), "{word}");
        }
        for word in ["", "SIG", "65", "-1", "RTMIN+99", "NOPE"] {
            assert!(signal(word).is_err(), "{word}");
        }
    }

    #[test]
    fn users_times_and_sizes() {
        assert_eq!(user("1000"), Ok((1000, None)));
        assert_eq!(user("1:2"), Ok((1, Some(2))));
        assert!(user("root").is_err() && user("1:").is_err());
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert!(duration("5").is_err() && duration("0s").is_err() && duration("s").is_err());
        for (word, number) in [("-1", -1), ("4096", 4096), ("64m", 64 << 20), ("1G", 1 << 30), ("2kb", 2048)]
        {
            assert_eq!(bytes(word), Ok(number), "{word}");
        }
        for word in ["", "m", "-2", "9999999999g"] {
            assert!(bytes(word).is_err(), "{word}");
        }
    }
}
