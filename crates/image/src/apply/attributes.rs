//! Owners, modes, times and extended attributes.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{self, AtFlags, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::{Applier, Stop};
use crate::tarball::{Entry, Kind};

/// Whom files shall belong to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ownership {
    /// As the layer says.
    Keep,
    /// To us, because we may not give files away. Directories stay writable for us.
    Ours,
    /// As the layer says, through these maps.
    Mapped(Vec<crate::IdMap>, Vec<crate::IdMap>),
}

impl Ownership {
    /// What ids become on this machine; `None` leaves the file ours.
    fn of(&self, uid: u64, gid: u64) -> Result<Option<(Uid, Gid)>, String> {
        let small = |what: &str, id: u64| match u32::try_from(id) {
            // The last is "no change" to chown.
            Ok(id) if id != u32::MAX => Ok(id),
            _ => Err(format!("{what} {id} does not exist")),
        };
        let (uid, gid) = (small("uid", uid)?, small("gid", gid)?);
        match self {
            Self::Ours => Ok(None),
            Self::Keep => Ok(Some((Uid::from_raw(uid), Gid::from_raw(gid)))),
            Self::Mapped(uids, gids) => {
                let find = |what: &str, maps: &[crate::IdMap], id| {
                    let mapped = maps.iter().find_map(|map| map.to_host(id));
                    mapped.ok_or_else(|| format!("{what} {id} is not in the id map"))
                };
                let uid = find("uid", uids, uid)?;
                Ok(Some((Uid::from_raw(uid), Gid::from_raw(find("gid", gids, gid)?))))
            }
        }
    }

    /// Gives an open file to whom it belongs.
    pub(super) fn own(&self, file: &OwnedFd, uid: u64, gid: u64) -> Result<(), String> {
        match self.of(uid, gid)? {
            None => Ok(()),
            Some((uid, gid)) => fs::fchown(file, Some(uid), Some(gid)).map_err(|error| error.to_string()),
        }
    }
}

/// When the entry changed; access time is the same, so that nothing depends on when it was unpacked.
pub(super) fn times(entry: &Entry) -> Timestamps {
    let time = Timespec { tv_sec: entry.mtime.0, tv_nsec: entry.mtime.1.into() };
    Timestamps { last_access: time, last_modification: time }
}

impl Applier<'_> {
    /// Owner, then mode (chown clears set-id bits), then attributes (it clears capabilities, too).
    pub(super) fn attributes_of(&mut self, entry: &Entry, file: &OwnedFd) -> Result<(), Stop> {
        if let Some((uid, gid)) = self.rules.ownership.of(entry.uid, entry.gid).map_err(Stop::Refused)? {
            fs::fchown(file, Some(uid), Some(gid))?;
        }
        let keep_writable = *self.rules.ownership == Ownership::Ours && entry.kind == Kind::Directory;
        let mode = if keep_writable { entry.mode | 0o700 } else { entry.mode };
        fs::fchmod(file, Mode::from_raw_mode(mode))?;
        for (name, value) in allowed(entry)? {
            let set = fs::fsetxattr(file, name, value, XattrFlags::empty());
            self.judge_xattr(set)?;
        }
        Ok(())
    }

    /// The same for what cannot be opened; it was just made, so that `name` leads nowhere else.
    pub(super) fn attributes_at(&mut self, entry: &Entry, parent: &OwnedFd, name: &[u8]) -> Result<(), Stop> {
        if let Some((uid, gid)) = self.rules.ownership.of(entry.uid, entry.gid).map_err(Stop::Refused)? {
            fs::chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        }
        if entry.kind != Kind::Symlink {
            fs::chmodat(parent, name, Mode::from_raw_mode(entry.mode), AtFlags::empty())?;
        }
        let path = [format!("/proc/self/fd/{}/", parent.as_raw_fd()).as_bytes(), name].concat();
        for (attribute, value) in allowed(entry)? {
            let set = fs::lsetxattr(path.as_slice(), attribute, value, XattrFlags::empty());
            self.judge_xattr(set)?;
        }
        fs::utimensat(parent, name, &times(entry), AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(())
    }

    /// What the file system or our privileges do not allow is left out and counted.
    fn judge_xattr(&mut self, set: rustix::io::Result<()>) -> Result<(), Stop> {
        match set {
            Err(Errno::OPNOTSUPP | Errno::PERM | Errno::ACCESS) => self.done.xattrs_left_out += 1,
            other => other?,
        }
        Ok(())
    }
}

/// A name and a value.
type Xattr<'a> = (&'a [u8], &'a [u8]);

/// The extended attributes that a layer may set: not those by which overlayfs finds its way, and not the
/// labels of another machine.
fn allowed(entry: &Entry) -> Result<Vec<Xattr<'_>>, Stop> {
    let mut all = Vec::new();
    for (name, value) in &entry.xattrs {
        let name = name.as_slice();
        if name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.") {
            let reason = format!("it sets overlayfs' own attribute {}", String::from_utf8_lossy(name));
            return Err(Stop::Refused(reason));
        }
        if name.len() > 255 || value.len() > 65536 {
            return Err(Stop::Refused("an extended attribute is too large".into()));
        }
        let local = matches!(name, b"security.selinux" | b"system.nfs4_acl");
        if !local {
            all.push((name, value.as_slice()));
        }
    }
    Ok(all)
}

/// Makes directory `to` like `from`: owner, mode, attributes, times.
pub(crate) fn copy_attributes(from: impl AsFd, to: impl AsFd) -> rustix::io::Result<()> {
    let (from, to) = (from.as_fd(), to.as_fd());
    let stat = fs::fstat(from)?;
    match fs::fchown(to, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid))) {
        Err(Errno::PERM) => {}
        other => other?,
    }
    fs::fchmod(to, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    for (name, value) in read_xattrs(from)? {
        if !name.ends_with(b".overlay.opaque") {
            match fs::fsetxattr(to, name.as_slice(), &value, XattrFlags::empty()) {
                Err(Errno::OPNOTSUPP | Errno::PERM) => {}
                other => other?,
            }
        }
    }
    let time = |seconds, nanoseconds: u64| Timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds.try_into().unwrap_or_default(),
    };
    let modified = time(stat.st_mtime, stat.st_mtime_nsec);
    fs::futimens(to, &Timestamps { last_access: modified, last_modification: modified })
}

/// The extended attributes of an open file.
pub(crate) fn read_xattrs(file: impl AsFd) -> rustix::io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let file = file.as_fd();
    let mut list = vec![0u8; 65536];
    let length = match fs::flistxattr(file, list.as_mut_slice()) {
        Err(Errno::OPNOTSUPP) => 0,
        other => other?,
    };
    let mut all = Vec::new();
    for name in
        list.get(..length).unwrap_or_default().split(|byte| *byte == 0).filter(|name| !name.is_empty())
    {
        let mut value = vec![0u8; 65536];
        match fs::fgetxattr(file, name, value.as_mut_slice()) {
            Ok(length) => {
                value.truncate(length);
                all.push((name.to_vec(), value));
            }
            Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
            Err(error) => return Err(error),
        }
    }
    all.sort();
    Ok(all)
}
