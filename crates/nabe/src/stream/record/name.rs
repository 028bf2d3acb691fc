//! Names of capture files: one, numbered, in a ring, or by the time.

use std::collections::VecDeque;
use std::fmt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::output;

/// Where a capture goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A file.
    File(PathBuf),
    /// Standard output.
    Stdout,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.write_str(&output::plain(path.display().to_string().as_bytes())),
            Self::Stdout => f.write_str("to standard output"),
        }
    }
}

/// What files are called, one after the other; sysdig's rules.
#[derive(Debug)]
pub struct Names {
    base: PathBuf,
    /// Files get a number behind their name.
    numbered: bool,
    /// The name holds `strftime` directives.
    timed: bool,
    /// So many files are kept, or written.
    most: Option<u32>,
    /// With `most`: the run ends instead of beginning again.
    ends: bool,
    given: u64,
    /// Names with a time, as many as are kept.
    kept: VecDeque<PathBuf>,
}

impl Names {
    /// One file.
    pub fn one(base: &Path) -> Self {
        Self {
            base: base.to_owned(),
            numbered: false,
            timed: false,
            most: None,
            ends: false,
            given: 0,
            kept: VecDeque::new(),
        }
    }

    /// Files that begin anew by size or number of events (`by_time` false) or by time: then a name
    /// with `%` is one of `strftime`, and `most` ends the run.
    pub fn rotated(base: &Path, by_time: bool, most: Option<u32>) -> Self {
        let timed = by_time && base.as_os_str().as_encoded_bytes().contains(&b'%');
        Self { numbered: !timed, timed, most, ends: by_time, ..Self::one(base) }
    }

    /// Whether a name needs the time of the file's first event.
    pub fn are_timed(&self) -> bool {
        self.timed
    }

    /// The next name; `None` when there are enough. A file that falls out of a ring of timed names is
    /// removed.
    pub fn next(&mut self, now_ns: u64) -> Option<Place> {
        let given = self.given;
        if self.ends && self.most.is_some_and(|most| given >= u64::from(most)) {
            return None;
        }
        self.given += 1;
        if self.base == Path::new("-") {
            return Some(Place::Stdout);
        }
        if self.timed {
            return Some(Place::File(self.by_time(now_ns)));
        }
        let number = match self.most.filter(|_| !self.ends) {
            Some(most) => given % u64::from(most.max(1)),
            None => given,
        };
        // The second file of a run that was to have one (SIGUSR1, another trigger) is numbered.
        if !self.numbered && given == 0 {
            return Some(Place::File(self.base.clone()));
        }
        let width = self.most.map_or(0, |most| most.to_string().len());
        let mut name = self.base.clone().into_os_string();
        name.push(format!("{number:0width$}"));
        Some(Place::File(name.into()))
    }

    fn by_time(&mut self, now_ns: u64) -> PathBuf {
        let time =
            Timestamp::from_nanosecond(i128::from(now_ns)).unwrap_or_default().to_zoned(TimeZone::system());
        let text = self.base.to_string_lossy().into_owned();
        let name = jiff::fmt::strtime::format(&text, &time).unwrap_or(text);
        let mut path = PathBuf::from(&name);
        // Two files of the same second must not be one.
        let mut again = 1;
        while self.kept.contains(&path) {
            path = PathBuf::from(format!("{name}.{again}"));
            again += 1;
        }
        self.kept.push_back(path.clone());
        if self.kept.len() > 4096 {
            self.kept.pop_front();
        }
        path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &mut Names, count: usize) -> Vec<String> {
        (0..count)
            .map(|_| names.next(1_470_327_477_881_730_713).map_or("-".into(), |place| place.to_string()))
            .collect()
    }

    #[test]
    fn names_follow_sysdigs_rules() {
        let base = Path::new("/t/a.scap");
        assert_eq!(names(&mut Names::one(base), 3), ["/t/a.scap", "/t/a.scap1", "/t/a.scap2"]);
        assert_eq!(names(&mut Names::rotated(base, false, None), 2), ["/t/a.scap0", "/t/a.scap1"]);
        assert_eq!(
            names(&mut Names::rotated(base, false, Some(10)), 11)[8..],
            ["/t/a.scap08", "/t/a.scap09", "/t/a.scap00"]
        );
        assert_eq!(names(&mut Names::rotated(base, true, Some(2)), 3), ["/t/a.scap0", "/t/a.scap1", "-"]);
    }

    #[test]
    fn times_make_names() {
        let mut timed = Names::rotated(Path::new("/t/%Y.scap"), true, None);
        assert!(timed.are_timed());
        assert_eq!(names(&mut timed, 2), ["/t/2016.scap", "/t/2016.scap.1"]);
    }
}
