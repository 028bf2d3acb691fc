//! Users who may run rootless engines.

use std::path::PathBuf;

use super::{file, subdirs};
use crate::{Config, User};

/// Rootless users of this host: those whose uid was seen in a cgroup path, those
/// with a runtime directory, and the caller; with the home directories that
/// `/etc/passwd` gives. A user of a directory service that is not in the file
/// is left out.
pub(crate) fn users(config: &Config, seen: &[u32]) -> Vec<User> {
    let mut uids = seen.to_vec();
    uids.extend(subdirs(&config.at("/run/user")).iter().filter_map(|name| name.parse::<u32>().ok()));
    if config.runtime_dir.is_some() {
        uids.push(rustix::process::geteuid().as_raw());
    }
    uids.retain(|uid| *uid != 0);
    uids.sort_unstable();
    uids.dedup();
    if uids.is_empty() {
        return Vec::new();
    }
    let passwd = file::read(&config.at("/etc/passwd")).unwrap_or_default();
    String::from_utf8_lossy(&passwd)
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(':').skip(2);
            let uid: u32 = fields.next()?.parse().ok()?;
            let home = PathBuf::from(fields.nth(2)?);
            (uids.contains(&uid) && home.is_absolute()).then(|| User { uid, home: config.at(home) })
        })
        .collect()
}
