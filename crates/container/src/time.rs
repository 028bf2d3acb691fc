//! RFC 3339 times, as the engines' JSON has them.

/// Nanoseconds since the Unix epoch; `None` for nonsense and for Go's zero time.
pub(crate) fn parse_rfc3339(text: &str) -> Option<i64> {
    let number = |from: usize, len: usize| -> Option<i64> {
        let digits = text.get(from..from + len)?;
        digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
    };
    let (year, month, day) = (number(0, 4)?, number(5, 2)?, number(8, 2)?);
    let (hour, minute, second) = (number(11, 2)?, number(14, 2)?, number(17, 2)?);
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let mut rest = text.get(19..)?;
    let mut nanos = 0i64;
    if let Some(fraction) = rest.strip_prefix('.') {
        let len = fraction.bytes().take_while(u8::is_ascii_digit).count();
        for (i, digit) in fraction.bytes().take(len.min(9)).enumerate() {
            nanos += i64::from(digit - b'0') * 10i64.pow(8 - u32::try_from(i).ok()?);
        }
        rest = fraction.get(len..)?;
    }
    let offset = offset_seconds(rest)?;
    // Days from civil: Howard Hinnant's algorithm, for years from 1970 on.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, of_era) = (y / 400, y % 400);
    let of_year = (153 * m + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    let seconds = days * 86_400 + hour * 3600 + minute * 60 + second - offset;
    seconds.checked_mul(1_000_000_000)?.checked_add(nanos)
}

fn offset_seconds(zone: &str) -> Option<i64> {
    // Go's time.String() puts a space and a name after the offset.
    let zone = zone.trim_start();
    if zone.starts_with('Z') {
        return Some(0);
    }
    let sign = match zone.bytes().next()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let digits = |from: usize| zone.get(from..from + 2)?.parse::<i64>().ok();
    let hours = digits(1)?;
    let minutes = if zone.get(3..4) == Some(":") { digits(4)? } else { digits(3)? };
    Some(sign * (hours * 3600 + minutes * 60))
}

#[cfg(test)]
mod tests {
    use super::parse_rfc3339;

    #[test]
    fn known_times() {
        let cases = [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2024-02-29T12:30:45.5Z", Some(1_709_209_845_500_000_000)),
            ("2024-02-29T14:30:45.000000001+02:00", Some(1_709_209_845_000_000_001)),
            ("0001-01-01T00:00:00Z", None),
            ("2024-13-01T00:00:00Z", None),
            ("2024-02-29", None),
            ("", None),
            ("99999999999999999999", None),
        ];
        for (text, expect) in cases {
            assert_eq!(parse_rfc3339(text), expect, "{text}");
        }
    }
}
