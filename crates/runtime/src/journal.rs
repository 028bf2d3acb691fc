//! States of containers that have ended, for whoever reads of them a moment later.
//!
//! Readers of events may see the first one of a container when it is already gone. Its `state.json`
//! therefore outlives it as `<root>/.ended/<id>:<pid of its first process>`: no id has a colon, and the
//! file's time of change is the container's end. Only the default root has such a journal: nobody looks
//! into others. It is bounded in time and number, and nothing fails for it.

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::state::{Directory, State, default_root};

/// The journal's name in a root.
const NAME: &str = ".ended";
/// Seconds that a state is kept.
const SPAN: i64 = 180;
/// States that are kept.
const MOST: usize = 256;
/// One in so many containers looks for what is too old.
const EVERY: i32 = 32;

/// Moves the state of a container that is about to be removed into the journal of its root.
pub(crate) fn keep(directory: &Directory, state: &State) {
    let Some(root) = directory.path.parent().filter(|root| *root == default_root()) else { return };
    if state.init_process_pid > 0 {
        keep_in(root, directory, state);
    }
}

fn keep_in(root: &Path, directory: &Directory, state: &State) {
    let (from, pid) = (directory.path.join("state.json"), state.init_process_pid);
    let journal = root.join(NAME);
    let to = journal.join(format!("{}:{pid}", state.id));
    let first = fs::rename(&from, &to).is_err();
    if first {
        fs::DirBuilder::new().mode(0o700).create(&journal).ok();
        fs::rename(&from, &to).ok();
    }
    if first || pid % EVERY == 0 {
        forget_in(root, SPAN);
    }
}

/// Removes from the default root's journal what nobody needs any more.
pub fn forget_ended() {
    forget_in(&default_root(), SPAN);
}

fn forget_in(root: &Path, span: i64) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    let mut kept: Vec<_> = fs::read_dir(root.join(NAME))
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.metadata().ok()?.ctime(), entry.path())))
        .collect();
    kept.sort();
    let most = kept.len().saturating_sub(MOST);
    for (at, (ended, path)) in kept.into_iter().enumerate() {
        // A clock that was set back makes nothing older.
        if at < most || now.saturating_sub(ended) > span {
            fs::remove_file(path).ok();
        }
    }
    fs::remove_dir(root.join(NAME)).ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_ended_is_kept_for_a_while() {
        let root = tempfile::tempdir().expect("a directory");
        let names = || {
            let entries = fs::read_dir(root.path().join(NAME)).into_iter().flatten().flatten();
            entries.filter_map(|entry| entry.file_name().into_string().ok()).collect::<Vec<_>>()
        };
        for pid in [7, 11] {
            let directory = Directory::make(root.path(), "a").expect("made");
            let state = State { id: "a".into(), init_process_pid: pid, ..State::default() };
            directory.write(&state).expect("written");
            keep_in(root.path(), &directory, &state);
            directory.remove().expect("removed");
        }
        let mut kept = names();
        kept.sort();
        assert_eq!(kept, ["a:11", "a:7"]);
        for number in 0..MOST {
            fs::write(root.path().join(NAME).join(format!("b:{number}")), "").expect("written");
        }
        forget_in(root.path(), SPAN);
        assert_eq!(names().len(), MOST);
        forget_in(root.path(), -1);
        assert!(!root.path().join(NAME).exists(), "an empty journal is none");
    }
}
