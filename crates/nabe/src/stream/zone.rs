//! The local time zone, as far as it is needed: how far it is ahead of UTC at a time.

use std::path::{Component, Path, PathBuf};

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// A time zone, with the span of time in which its last answer holds.
pub(super) struct Zone {
    zone: TimeZone,
    from_ns: u64,
    until_ns: u64,
}

impl Zone {
    /// That of `$TZ`, else of the machine.
    pub(super) fn local() -> Self {
        let name = std::env::var_os("TZ");
        let zone = Self::from_file(name.as_deref().map(Path::new)).unwrap_or_else(TimeZone::system);
        Self { zone, from_ns: 1, until_ns: 0 }
    }

    /// The zone of a plain name, or the machine's, out of its file. Whatever else `$TZ` may say is left
    /// to a library that first goes through the whole folder of zones.
    fn from_file(name: Option<&Path>) -> Option<TimeZone> {
        let path = match name {
            None => PathBuf::from("/etc/localtime"),
            Some(name) => {
                let is_plain = |part| matches!(part, Component::Normal(_));
                if name == "UTC" {
                    return Some(TimeZone::UTC);
                }
                if name.as_os_str().is_empty() || !name.components().all(is_plain) {
                    return None;
                }
                Path::new("/usr/share/zoneinfo").join(name)
            }
        };
        TimeZone::tzif("", &std::fs::read(path).ok()?).ok()
    }

    /// Whether the last answer holds at this time.
    #[inline]
    pub(super) fn covers(&self, ts_ns: u64) -> bool {
        (self.from_ns..self.until_ns).contains(&ts_ns)
    }

    /// Seconds ahead of UTC at this time; 0 where it has no meaning.
    pub(super) fn at(&mut self, ts_ns: u64) -> i64 {
        let ns = |time: Timestamp| u64::try_from(time.as_nanosecond()).unwrap_or(0);
        let Ok(time) = Timestamp::from_nanosecond(i128::from(ts_ns)) else {
            (self.from_ns, self.until_ns) = (ts_ns, ts_ns.saturating_add(1));
            return 0;
        };
        // A transition at this very time is in force already.
        let behind = time.checked_add(jiff::Span::new().nanoseconds(1)).unwrap_or(time);
        self.from_ns = self.zone.preceding(behind).next().map_or(0, |change| ns(change.timestamp()));
        self.until_ns = self.zone.following(time).next().map_or(u64::MAX, |change| ns(change.timestamp()));
        i64::from(self.zone.to_offset(time).seconds())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUMMER: u64 = 1_690_000_000_000_000_000;
    const WINTER: u64 = 1_700_000_000_000_000_000;

    #[test]
    fn summer_and_winter_differ() {
        let Ok(zone) = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3") else { panic!("a zone") };
        let mut zone = Zone { zone, from_ns: 1, until_ns: 0 };
        assert!(!zone.covers(SUMMER));
        assert_eq!(zone.at(SUMMER), 7200);
        assert!(zone.covers(SUMMER) && zone.covers(SUMMER + 1) && !zone.covers(WINTER));
        assert_eq!(zone.at(WINTER), 3600);
        assert!(zone.covers(WINTER) && !zone.covers(SUMMER));
    }

    #[test]
    fn names_lead_to_files() {
        let offset = |name: &str, ts| {
            Zone::from_file(Some(Path::new(name))).map(|zone| Zone { zone, from_ns: 1, until_ns: 0 }.at(ts))
        };
        assert_eq!(offset("UTC", SUMMER), Some(0));
        for name in ["", "CET-1CEST,M3.5.0,M10.5.0/3", "/etc/localtime", "../zoneinfo/UTC", ":UTC"] {
            assert_eq!(offset(name, SUMMER), None, "{name}");
        }
        // Where the machine has zones at all.
        if let Some(summer) = offset("Europe/Berlin", SUMMER) {
            assert_eq!((summer, offset("Europe/Berlin", WINTER)), (7200, Some(3600)));
        }
    }

    #[test]
    fn utc_holds_for_ever() {
        let mut zone = Zone { zone: TimeZone::UTC, from_ns: 1, until_ns: 0 };
        assert_eq!(zone.at(SUMMER), 0);
        assert!(zone.covers(0) && zone.covers(WINTER));
    }
}
