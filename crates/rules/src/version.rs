//! Versions: what rule files may require, and what nabe stands for.

use core::fmt;

/// The version of Falco's rule engine that these rules are read as: Falco 0.44's.
pub const ENGINE: Version = Version { major: 0, minor: 62, patch: 0 };

/// What Falco has as plugins and nabe has of itself: name and the version that it stands for.
pub const PLUGINS: &[(&str, Version)] = &[
    ("container", Version { major: 0, minor: 7, patch: 0 }),
    ("json", Version { major: 0, minor: 7, patch: 4 }),
    ("k8saudit", Version { major: 0, minor: 18, patch: 0 }),
];

/// A version of three numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// The first number: others are not compatible.
    pub major: u64,
    /// The second.
    pub minor: u64,
    /// The third.
    pub patch: u64,
}

impl Version {
    /// Reads `1.2.3`, which `-rc1` or `+build` may follow.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.split(['-', '+']).next()?;
        let mut numbers = text.split('.').map(|number| {
            number.bytes().all(|byte| byte.is_ascii_digit()).then(|| number.parse::<u64>().ok()).flatten()
        });
        let version = Self { major: numbers.next()??, minor: numbers.next()??, patch: numbers.next()?? };
        numbers.next().is_none().then_some(version)
    }

    /// Whether what requires `required` is content with this version: the same first number, and
    /// not older.
    #[must_use]
    pub fn satisfies(self, required: Self) -> bool {
        self.major == required.major && self >= required
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        assert_eq!(Version::parse("0.57.0"), Some(Version { major: 0, minor: 57, patch: 0 }));
        assert_eq!(Version::parse("1.2.3-rc1"), Some(Version { major: 1, minor: 2, patch: 3 }));
        for wrong in ["", "7", "1.2", "a.b.c", "1.2.3.4", "-1.0.0", "1.2.99999999999999999999999"] {
            assert_eq!(Version::parse(wrong), None, "{wrong}");
        }
        let of = |text| Version::parse(text).unwrap();
        assert!(
            ENGINE.satisfies(of("0.57.0"))
                && !ENGINE.satisfies(of("0.63.0"))
                && !ENGINE.satisfies(of("1.0.0"))
        );
    }
}
