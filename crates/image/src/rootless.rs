//! A user namespace for somebody who is not root: with the ids that /etc/subuid and /etc/subgid give
//! him, files of a layer belong to whom they should (subuid(5), newuidmap(1), user_namespaces(7)).

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sched::{CloneFlags, unshare};

use crate::error::{Error, Result};

/// Ids that are worth a namespace: fewer would refuse ordinary images.
const FEWEST: u32 = 65536;

/// Makes this process root of a new user namespace, where it is somebody with further ids outside.
///
/// Gives false and changes nothing for root, for somebody without further ids, and where newuidmap is
/// missing: files then all belong to the caller. Must be called before any thread is started.
pub fn enter_user_namespace() -> Result<bool> {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    if uid == 0 || !there("newuidmap") || !there("newgidmap") {
        return Ok(false);
    }
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = name_of(&passwd, uid).unwrap_or_default();
    let find = |file: &str| first_range(&fs::read_to_string(file).unwrap_or_default(), name, uid);
    let (Some(uids), Some(gids)) = (find("/etc/subuid"), find("/etc/subgid")) else { return Ok(false) };
    let failed = |reason: String| Error::Setting { key: "user namespace".into(), reason };
    // The helpers must run outside of the namespace that they fill: they wait for its making.
    let script = "read go && newuidmap $1 0 $2 1 1 $3 $4 && newgidmap $1 0 $5 1 1 $6 $7";
    let numbers =
        [std::process::id(), uid, uids.0, uids.1, gid, gids.0, gids.1].map(|number| number.to_string());
    let mut helper = Command::new("/bin/sh")
        .args(["-c", script, "sh"])
        .args(numbers)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(Error::file("start", Path::new("/bin/sh")))?;
    let unshared = unshare(CloneFlags::CLONE_NEWUSER);
    if let Some(mut pipe) = helper.stdin.take()
        && unshared.is_ok()
    {
        // One that is gone says so by its status.
        let _ = pipe.write_all(b"go\n");
    }
    let output = helper.wait_with_output().map_err(Error::file("wait for", Path::new("newuidmap")))?;
    if unshared.is_err() {
        // Not allowed here: as if there were no further ids.
        return Ok(false);
    }
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    Ok(true)
}

/// Makes this process root of a new user namespace with the ids of /etc/subuid, or with its own alone; root
/// stays as he is. Must be called before any thread is started.
///
/// # Errors
/// [`Error::Setting`] where user namespaces are not for everybody.
pub fn become_root() -> Result<()> {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    if uid == 0 || enter_user_namespace()? {
        return Ok(());
    }
    unshare(CloneFlags::CLONE_NEWUSER).map_err(|error| Error::Setting {
        key: "user namespace".into(),
        reason: format!("the kernel lets an ordinary user make none ({})", error.desc()),
    })?;
    // Without the right to drop groups, one may take ids of one's own.
    for (file, text) in
        [("setgroups", "deny".into()), ("uid_map", format!("0 {uid} 1")), ("gid_map", format!("0 {gid} 1"))]
    {
        let path = Path::new("/proc/self").join(file);
        fs::write(&path, text).map_err(Error::file("write", &path))?;
    }
    Ok(())
}

fn there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

fn name_of(passwd: &str, uid: u32) -> Option<&str> {
    let lines = passwd.lines().map(|line| line.split(':'));
    lines.into_iter().find_map(|mut fields| {
        let name = fields.next()?;
        (fields.nth(1)?.parse::<u32>().ok()? == uid).then_some(name)
    })
}

/// The first range of this user, by name or number, that is large enough.
fn first_range(text: &str, name: &str, uid: u32) -> Option<(u32, u32)> {
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let who = fields.next()?;
        let (start, count) =
            (fields.next()?.parse::<u32>().ok()?, fields.next()?.trim().parse::<u32>().ok()?);
        let ours = (!name.is_empty() && who == name) || who.parse() == Ok(uid);
        (ours && count >= FEWEST && start.checked_add(count).is_some()).then_some((start, count))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_found_by_name_and_number() {
        let text = "a:1:5\nb:100000:65536\n1000:200000:65536\nc:4294967295:65536\nbroken\n";
        assert_eq!(first_range(text, "b", 5), Some((100_000, 65536)));
        assert_eq!(first_range(text, "", 1000), Some((200_000, 65536)));
        assert_eq!(first_range(text, "a", 5), None);
        assert_eq!(first_range(text, "c", 5), None);
        assert_eq!(name_of("root:x:0:0::/:\nweb:x:33:33::/:\n", 33), Some("web"));
    }
}
