//! Names of users and groups: `User` records.
//!
//! The files are read first; only an id that is not in them is asked of the C library, which asks
//! whatever the host is configured for (LDAP, systemd, SSSD). That may take its time, so it happens
//! on a thread of its own, for at most [`MOST_ASKED`] ids and [`DEADLINE`]: a name is a comfort, no
//! answer is worth a hanging `ps`. Ids that a user namespace maps (100000 and up) have no names and
//! are many, which is what the bound is for.

use std::collections::BTreeSet;
use std::ffi::CStr;
use std::io::Read as _;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nabe_event::record::{self, Fixed as _, Kind, Records, Task, User};

use crate::proc::text::{lines, number32};

/// Ids that are asked of the C library.
pub const MOST_ASKED: usize = 64;
/// How long all its answers may take.
pub const DEADLINE: Duration = Duration::from_millis(300);
/// Bytes of a database that are read; a file that is longer is no `/etc/passwd`.
const MOST_BYTES: u64 = 64 << 20;
/// Bytes of a name that fit the record.
const MOST_NAME: usize = 0xffff;

/// Appends a record for each of these users and groups that has a name, each once.
pub fn users(uids: &[u32], gids: &[u32], out: &mut Vec<u8>) {
    let mut missing = Vec::new();
    for (ids, path, group) in [(uids, "/etc/passwd", false), (gids, "/etc/group", true)] {
        let mut wanted: BTreeSet<u32> = ids.iter().copied().collect();
        if wanted.is_empty() {
            continue;
        }
        let mut text = Vec::new();
        // A host without the file has no names there.
        if let Ok(file) = std::fs::File::open(path) {
            let _ = file.take(MOST_BYTES).read_to_end(&mut text);
        }
        for (id, name) in lines(&text).filter_map(entry) {
            if wanted.remove(&id) {
                write(id, group, name, out);
            }
        }
        missing.extend(wanted.into_iter().map(|id| (id, group)));
    }
    // All ones is "no id" (an unmapped or unset one).
    missing.retain(|(id, _)| *id != u32::MAX);
    missing.truncate(MOST_ASKED);
    ask(missing, out);
}

/// Appends the names of the effective users and groups of the tasks in `out`, from `start` on.
pub fn of_tasks(start: usize, out: &mut Vec<u8>) {
    let (mut uids, mut gids) = (BTreeSet::new(), BTreeSet::new());
    for record in Records::new(out.get(start..).unwrap_or_default()).map_while(Result::ok) {
        if record.kind == Some(Kind::Task) {
            let task = Task::decode(record.body);
            uids.insert(task.euid);
            gids.insert(task.egid);
        }
    }
    let list = |ids: BTreeSet<u32>| ids.into_iter().collect::<Vec<_>>();
    users(&list(uids), &list(gids), out);
}

/// `name:password:id:…`, the layout that passwd(5) and group(5) share. The first entry of an id
/// gives its name, as in the C library.
fn entry(line: &[u8]) -> Option<(u32, &[u8])> {
    let mut fields = line.split(|byte| *byte == b':');
    let name =
        fields.next().filter(|name| !name.is_empty() && !matches!(name.first(), Some(b'#' | b'+' | b'-')))?;
    let id = number32(fields.nth(1)?)?;
    fields.next().map(|_| (id, name))
}

fn write(id: u32, group: bool, name: &[u8], out: &mut Vec<u8>) {
    let name = name.get(..MOST_NAME).unwrap_or(name);
    let user = User { id, is_group: group.into(), name_len: name.len() as u16 };
    record::write(out, Kind::User, 0, &user, &[name]);
}

/// Asks the C library, on a thread that is left behind when it does not answer in time.
fn ask(ids: Vec<(u32, bool)>, out: &mut Vec<u8>) {
    if ids.is_empty() {
        return;
    }
    let (tell, told) = mpsc::channel();
    let thread = std::thread::Builder::new().name("user names".to_owned()).spawn(move || {
        let mut buffer = vec![0; 4 << 10];
        for (id, group) in ids {
            if let Some(name) = from_libc(id, group, &mut buffer)
                && tell.send((id, group, name)).is_err()
            {
                break;
            }
        }
    });
    if thread.is_err() {
        return;
    }
    let end = Instant::now() + DEADLINE;
    while let Ok((id, group, name)) = told.recv_timeout(end.saturating_duration_since(Instant::now())) {
        write(id, group, &name, out);
    }
}

/// One name by getpwuid_r(3) or getgrgid_r(3).
fn from_libc(id: u32, group: bool, buffer: &mut Vec<libc::c_char>) -> Option<Vec<u8>> {
    loop {
        let (error, name) = if group { group_name(id, buffer) } else { user_name(id, buffer) };
        // A group may have very many members.
        if error == libc::ERANGE && buffer.len() < 1 << 20 {
            let len = buffer.len() * 4;
            buffer.resize(len, 0);
            continue;
        }
        return name;
    }
}

fn user_name(id: u32, buffer: &mut [libc::c_char]) -> (libc::c_int, Option<Vec<u8>>) {
    let mut entry = std::mem::MaybeUninit::<libc::passwd>::uninit();
    let mut found = std::ptr::null_mut();
    // SAFETY: all pointers are to live memory of the given length; the function writes nothing else.
    let error = unsafe {
        libc::getpwuid_r(id, entry.as_mut_ptr(), buffer.as_mut_ptr(), buffer.len(), &raw mut found)
    };
    if error != 0 || found.is_null() {
        return (error, None);
    }
    // SAFETY: on success `found` points to `entry`, which is filled, and pw_name is null or a string
    // that lies in `buffer`; both are alive.
    (0, unsafe { name((*found).pw_name) })
}

fn group_name(id: u32, buffer: &mut [libc::c_char]) -> (libc::c_int, Option<Vec<u8>>) {
    let mut entry = std::mem::MaybeUninit::<libc::group>::uninit();
    let mut found = std::ptr::null_mut();
    // SAFETY: all pointers are to live memory of the given length; the function writes nothing else.
    let error = unsafe {
        libc::getgrgid_r(id, entry.as_mut_ptr(), buffer.as_mut_ptr(), buffer.len(), &raw mut found)
    };
    if error != 0 || found.is_null() {
        return (error, None);
    }
    // SAFETY: as in `user_name`.
    (0, unsafe { name((*found).gr_name) })
}

/// # Safety
/// `text` is null or points to a string that is alive.
unsafe fn name(text: *const libc::c_char) -> Option<Vec<u8>> {
    if text.is_null() {
        return None;
    }
    // SAFETY: the caller's promise.
    let name = unsafe { CStr::from_ptr(text) }.to_bytes();
    (!name.is_empty()).then(|| name.to_vec())
}

#[cfg(test)]
mod tests {
    use nabe_event::record::{Fixed, Records};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn entries() {
        for (line, want) in [
            (&b"root:x:0:0:root:/root:/bin/bash"[..], Some((0, &b"root"[..]))),
            (b"adm:x:4:syslog,me", Some((4, b"adm"))),
            (b"\xff:x:7:", Some((7, b"\xff"))),
            (b"# a:b:1:c", None),
            (b"+::1:", None),
            (b":x:1:", None),
            (b"a:x:-1:", None),
            (b"a:x:4294967296:", None),
            (b"a:x:1", None),
            (b"", None),
        ] {
            assert_eq!(entry(line), want, "{}", String::from_utf8_lossy(line));
        }
    }

    #[test]
    fn each_id_once() {
        let mut out = Vec::new();
        users(&[0, 0, 3_999_999_999, u32::MAX], &[0, 0], &mut out);
        let names: Vec<_> = Records::new(&out)
            .map(|record| {
                let record = record.unwrap();
                let user = User::decode(record.body);
                (user.is_group, user.id, record.text(User::SIZE, 0, user.name_len.into()).to_vec())
            })
            .collect();
        assert_eq!(names, [(0, 0, b"root".to_vec()), (1, 0, b"root".to_vec())]);
    }

    #[test]
    fn the_c_library_answers_too() {
        let mut buffer = vec![0; 16];
        assert_eq!(from_libc(0, false, &mut buffer).as_deref(), Some(&b"root"[..]));
        assert_eq!(from_libc(0, true, &mut buffer).as_deref(), Some(&b"root"[..]));
        assert_eq!(from_libc(3_999_999_999, false, &mut buffer), None);
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = lines(&bytes).filter_map(entry).count();
        }
    }
}
