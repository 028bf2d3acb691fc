//! Applies one layer's tar archive to a directory, as a tree of its own for overlayfs or on top of what
//! is there.
//!
//! Every path is resolved by the kernel below the target directory (openat2 with `RESOLVE_BENEATH` or
//! `RESOLVE_IN_ROOT`), every entry is made new (`O_EXCL`, `O_NOFOLLOW`), and nothing that an archive
//! brought is followed out of the tree; strings are never trusted to say where a path leads.
//! Whiteouts: image-spec v1.1 layer.md; overlayfs: Documentation/filesystems/overlayfs.rst.

mod attributes;
mod remove;
mod tree;

use std::collections::{HashMap, HashSet};
use std::io::{self, Read};
use std::os::fd::OwnedFd;

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

pub(crate) use attributes::{Ownership, copy_attributes, read_xattrs};
pub(crate) use remove::remove_tree;
pub(crate) use tree::{Components, components, open_below};

use crate::error::{Error, Result};
use crate::settings::Limits;
use crate::tarball::{Archive, Entry, Fault, Kind};

/// Levels that a path may have; every level costs a descriptor when a tree is removed.
pub(crate) const MAX_DEPTH: usize = 200;
/// Bytes that a path may have (PATH_MAX without its NUL).
pub(crate) const MAX_PATH: usize = 4095;
/// Device nodes that one layer may have.
const MAX_DEVICES: u64 = 1024;

/// What the tree is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// On top of the layers below: whiteouts remove.
    Flat,
    /// A lower directory of overlayfs: whiteouts become 0:0 devices and this attribute.
    Overlay(&'static str),
}

/// How a layer is applied.
#[derive(Clone, Debug)]
pub(crate) struct Rules<'a> {
    /// The layer's name for errors.
    pub(crate) layer: &'a str,
    pub(crate) form: Form,
    pub(crate) ownership: &'a Ownership,
    /// Whether device nodes can be made.
    pub(crate) devices: bool,
    pub(crate) limits: &'a Limits,
}

/// What was done.
#[derive(Clone, Debug, Default)]
pub(crate) struct Applied {
    pub(crate) entries: u64,
    /// Bytes of data written.
    pub(crate) bytes: u64,
    /// Device nodes below /dev that were left out because we may not make them.
    pub(crate) devices_left_out: u64,
    /// Extended attributes that the file system or our privileges did not allow.
    pub(crate) xattrs_left_out: u64,
    /// Directories that no entry describes; the layers below may.
    pub(crate) implied: Vec<Vec<u8>>,
}

/// Why an entry was not applied.
#[derive(Debug)]
enum Stop {
    /// It is hostile or malformed.
    Refused(String),
    /// The system said no.
    Io(io::Error),
}

impl From<Errno> for Stop {
    fn from(error: Errno) -> Self {
        match error {
            Errno::NAMETOOLONG => Self::Refused("its name is too long".into()),
            Errno::LOOP => Self::Refused("its path goes through a loop of links".into()),
            error => Self::Io(error.into()),
        }
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn refused<T>(reason: impl Into<String>) -> std::result::Result<T, Stop> {
    Err(Stop::Refused(reason.into()))
}

/// Applies the archive to `root`. The reader is drained up to the archive's end mark only.
pub(crate) fn apply<R: Read>(archive: &mut Archive<R>, root: &OwnedFd, rules: &Rules<'_>) -> Result<Applied> {
    let mut applier = Applier {
        root,
        rules,
        done: Applied::default(),
        devices: 0,
        seen: HashMap::new(),
        whited: HashSet::new(),
        climbing: HashSet::new(),
        times: HashMap::new(),
        parent: None,
        buffer: vec![0; 256 << 10],
    };
    loop {
        let entry = match archive.next() {
            Ok(Some(entry)) => entry,
            Ok(None) => break,
            Err(fault) => return Err(from_fault(rules.layer, fault)),
        };
        applier.entry(&entry, archive).map_err(|stop| from_stop(rules.layer, &entry.name, stop))?;
    }
    applier.finish()
}

/// An archive's fault as an error about this layer.
pub(crate) fn from_fault(layer: &str, fault: Fault) -> Error {
    match fault {
        Fault::Entry { name, reason } => from_stop(layer, &name, Stop::Refused(reason)),
        Fault::Io(error) => Error::Layer { layer: layer.to_owned(), reason: error.to_string() },
    }
}

fn from_stop(layer: &str, name: &[u8], stop: Stop) -> Error {
    let (layer, entry) = (layer.to_owned(), shown(name));
    match stop {
        Stop::Refused(reason) => Error::Entry { layer, entry, reason },
        Stop::Io(source) => Error::Unpack { layer, entry, source },
    }
}

/// A name for people: cut when very long.
fn shown(name: &[u8]) -> String {
    let text = String::from_utf8_lossy(name);
    if text.chars().count() <= 200 {
        return text.into_owned();
    }
    format!("{}…", text.chars().take(200).collect::<String>())
}

/// What this layer made at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Made {
    Directory,
    /// A directory that no entry described yet.
    Implied,
    /// A regular file.
    File,
    Other,
}

impl Made {
    /// Whether an entry may stand where this layer already made something. Archives that were appended to
    /// name directories and files again, and the last one counts (as tar has it); a link or a device in
    /// place of a file, or the other way round, is how a layer tries to get written through.
    fn may_become(self, kind: Kind) -> bool {
        match self {
            Self::Directory | Self::Implied => kind == Kind::Directory,
            Self::File => kind == Kind::File,
            Self::Other => false,
        }
    }
}

struct Applier<'a> {
    root: &'a OwnedFd,
    rules: &'a Rules<'a>,
    done: Applied,
    devices: u64,
    /// What this layer made, by path.
    seen: HashMap<Vec<u8>, Made>,
    /// Whiteouts that this layer made in an overlay tree.
    whited: HashSet<Vec<u8>>,
    /// Links of this layer that are absolute or go up.
    climbing: HashSet<Vec<u8>>,
    /// Times that directories get in the end.
    times: HashMap<Vec<u8>, rustix::fs::Timestamps>,
    /// The directory of the entry before, as entries come in groups.
    parent: Option<(Vec<u8>, OwnedFd)>,
    buffer: Vec<u8>,
}

impl Applier<'_> {
    fn entry<R: Read>(&mut self, entry: &Entry, archive: &mut Archive<R>) -> std::result::Result<(), Stop> {
        self.done.entries += 1;
        if self.done.entries > self.rules.limits.entries {
            return refused(format!("the layer has more than {} entries", self.rules.limits.entries));
        }
        let path = components(&entry.name).map_err(|reason| Stop::Refused(reason.into()))?;
        let Some((name, above)) = path.split_last() else {
            if entry.kind != Kind::Directory {
                return refused("the root can only be a directory");
            }
            return self.root_attributes(entry);
        };
        let key = path.join(&b'/');
        if let Some(hidden) = name.strip_prefix(b".wh.") {
            return self.whiteout(above, hidden);
        }
        if self.seen.get(&key).is_some_and(|made| !made.may_become(entry.kind)) {
            return refused("there are two entries of this name, and one is no regular file");
        }
        self.check(entry, &path)?;
        if self.leave_out(entry, &path)? {
            return Ok(());
        }
        let parent = self.open_parent(above)?;
        let result = self.make(entry, archive, &parent, name, &key);
        self.parent = Some((above.join(&b'/'), parent));
        result?;
        let made = match entry.kind {
            Kind::Directory => Made::Directory,
            Kind::File => Made::File,
            _ => Made::Other,
        };
        self.seen.insert(key, made);
        Ok(())
    }

    /// What can be judged by the header alone.
    fn check(&mut self, entry: &Entry, path: &Components<'_>) -> std::result::Result<(), Stop> {
        let limits = self.rules.limits;
        let stored = match &entry.pieces {
            Some(pieces) => pieces.iter().map(|piece| piece.length).sum(),
            None => entry.size,
        };
        if self.done.bytes.saturating_add(stored) > limits.bytes {
            return refused(format!("the layer unpacks to more than {} bytes", limits.bytes));
        }
        if entry.size > limits.bytes.max(1 << 40) {
            return refused(format!("a file of {} bytes", entry.size));
        }
        if entry.kind == Kind::Symlink {
            if entry.link.is_empty() || entry.link.contains(&0) || entry.link.len() > MAX_PATH {
                return refused("its link has no possible target");
            }
            let up = entry.link.split(|byte| *byte == b'/').any(|part| part == b"..");
            if entry.link.starts_with(b"/") || up {
                self.climbing.insert(path.join(&b'/'));
            }
        }
        if matches!(entry.kind, Kind::Char | Kind::Block) {
            self.devices += 1;
            if self.devices > MAX_DEVICES {
                return refused(format!("the layer has more than {MAX_DEVICES} device nodes"));
            }
            if entry.kind == Kind::Char && entry.device == (0, 0) {
                return refused("device 0:0 is how overlayfs hides files; layers hide with .wh.");
            }
        }
        Ok(())
    }

    /// Whether this is a device node that we may not make and a container does not miss: its runtime
    /// fills /dev.
    fn leave_out(&mut self, entry: &Entry, path: &Components<'_>) -> std::result::Result<bool, Stop> {
        if self.rules.devices || !matches!(entry.kind, Kind::Char | Kind::Block) {
            return Ok(false);
        }
        if path.first().is_some_and(|first| *first == b"dev") {
            self.done.devices_left_out += 1;
            return Ok(true);
        }
        let (major, minor) = entry.device;
        refused(format!("device node {major}:{minor} outside /dev cannot be made without privileges"))
    }

    fn make<R: Read>(
        &mut self,
        entry: &Entry,
        archive: &mut Archive<R>,
        parent: &OwnedFd,
        name: &[u8],
        key: &[u8],
    ) -> std::result::Result<(), Stop> {
        match entry.kind {
            Kind::Directory => self.directory(entry, parent, name, key),
            Kind::File => self.file(entry, archive, parent, name),
            Kind::HardLink => self.hard_link(entry, parent, name, key),
            Kind::Symlink => {
                self.replacing(parent, name, || fs::symlinkat(entry.link.as_slice(), parent, name))?;
                self.attributes_at(entry, parent, name)
            }
            Kind::Char | Kind::Block | Kind::Fifo => {
                let (kind, device) = match entry.kind {
                    Kind::Char => (FileType::CharacterDevice, entry.device),
                    Kind::Block => (FileType::BlockDevice, entry.device),
                    _ => (FileType::Fifo, (0, 0)),
                };
                let device = fs::makedev(device.0, device.1);
                let mode = Mode::from_raw_mode(0o600);
                self.replacing(parent, name, || fs::mknodat(parent, name, kind, mode, device))?;
                self.attributes_at(entry, parent, name)
            }
        }
    }

    /// Makes something new where perhaps something else is.
    fn replacing<T>(
        &mut self,
        parent: &OwnedFd,
        name: &[u8],
        mut make: impl FnMut() -> rustix::io::Result<T>,
    ) -> std::result::Result<T, Stop> {
        match make() {
            Err(Errno::EXIST) => {
                remove_tree(parent, name)?;
                Ok(make()?)
            }
            other => Ok(other?),
        }
    }

    fn directory(
        &mut self,
        entry: &Entry,
        parent: &OwnedFd,
        name: &[u8],
        key: &[u8],
    ) -> std::result::Result<(), Stop> {
        let mode = Mode::from_raw_mode(0o700);
        match fs::mkdirat(parent, name, mode) {
            Err(Errno::EXIST) => {
                let there = fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
                if FileType::from_raw_mode(there.st_mode) != FileType::Directory {
                    remove_tree(parent, name)?;
                    fs::mkdirat(parent, name, mode)?;
                }
            }
            other => other?,
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = fs::openat(parent, name, flags, Mode::empty())?;
        if self.whited.remove(key) {
            self.opaque(&opened)?;
        }
        self.attributes_of(entry, &opened)?;
        self.times.insert(key.to_vec(), attributes::times(entry));
        Ok(())
    }

    fn root_attributes(&mut self, entry: &Entry) -> std::result::Result<(), Stop> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = fs::openat(self.root, c".", flags, Mode::empty())?;
        self.attributes_of(entry, &root)?;
        self.times.insert(Vec::new(), attributes::times(entry));
        Ok(())
    }

    fn file<R: Read>(
        &mut self,
        entry: &Entry,
        archive: &mut Archive<R>,
        parent: &OwnedFd,
        name: &[u8],
    ) -> std::result::Result<(), Stop> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o600);
        let file = self.replacing(parent, name, || fs::openat(parent, name, flags, mode))?;
        match &entry.pieces {
            None => self.copy(archive, &file, 0, entry.size)?,
            Some(pieces) => {
                for piece in pieces {
                    self.copy(archive, &file, piece.offset, piece.length)?;
                }
                fs::ftruncate(&file, entry.size)?;
            }
        }
        self.attributes_of(entry, &file)?;
        fs::futimens(&file, &attributes::times(entry))?;
        Ok(())
    }

    fn copy<R: Read>(
        &mut self,
        archive: &mut Archive<R>,
        file: &OwnedFd,
        mut offset: u64,
        length: u64,
    ) -> std::result::Result<(), Stop> {
        let end = offset + length;
        while offset < end {
            let most = usize::try_from(end - offset).unwrap_or(usize::MAX).min(self.buffer.len());
            let count = archive.read(self.buffer.get_mut(..most).unwrap_or_default())?;
            let mut rest = self.buffer.get(..count).unwrap_or_default();
            if rest.is_empty() {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            while !rest.is_empty() {
                let written = rustix::io::pwrite(file, rest, offset)?;
                rest = rest.get(written..).unwrap_or_default();
                offset += written as u64;
            }
            self.done.bytes += count as u64;
        }
        Ok(())
    }

    fn hard_link(
        &mut self,
        entry: &Entry,
        parent: &OwnedFd,
        name: &[u8],
        key: &[u8],
    ) -> std::result::Result<(), Stop> {
        let shown_target = shown(&entry.link);
        let target = components(&entry.link)
            .map_err(|reason| Stop::Refused(format!("hard link to {shown_target:?}: {reason}")))?;
        let Some((target_name, above)) = target.split_last() else {
            return refused("a hard link to the root");
        };
        if target.join(&b'/') == key {
            return refused("a hard link to itself");
        }
        let missing = || Stop::Refused(format!("hard link to {shown_target:?}, which is not in the tree"));
        let directory = self.open_existing(above)?.ok_or_else(missing)?;
        // Without AT_SYMLINK_FOLLOW: a link to a link is a link, and leads nowhere else.
        let made = self
            .replacing(parent, name, || fs::linkat(&directory, *target_name, parent, name, AtFlags::empty()));
        match made {
            Err(Stop::Io(error)) if error.raw_os_error() == Some(Errno::NOENT.raw_os_error()) => {
                Err(missing())
            }
            Err(Stop::Io(error)) if error.raw_os_error() == Some(Errno::PERM.raw_os_error()) => {
                refused(format!("hard link to {shown_target:?}, which is a directory"))
            }
            other => other,
        }
    }

    fn whiteout(&mut self, above: &[&[u8]], hidden: &[u8]) -> std::result::Result<(), Stop> {
        let parent = self.open_parent(above)?;
        if hidden == b".wh..opq" {
            return match self.rules.form {
                Form::Overlay(_) => {
                    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
                    let directory = fs::openat(&parent, c".", flags, Mode::empty())?;
                    self.opaque(&directory)
                }
                Form::Flat => self.remove_lower_children(&parent, &above.join(&b'/')),
            };
        }
        if hidden.starts_with(b".wh.") {
            // aufs kept its own books in layers; nobody else reads them.
            return Ok(());
        }
        if matches!(hidden, b"" | b"." | b"..") {
            return refused("a whiteout of no file");
        }
        let mut path = above.to_vec();
        path.push(hidden);
        let key = path.join(&b'/');
        match (self.rules.form, self.seen.get(&key).copied()) {
            (_, Some(Made::File | Made::Other)) => {}
            (Form::Flat, None) => remove_tree(&parent, hidden)?,
            (Form::Flat, Some(_)) => {
                let directory = self.open_existing(&path)?;
                if let Some(directory) = directory {
                    self.remove_lower_children(&directory, &key)?;
                }
            }
            (Form::Overlay(_), None) => {
                let mode = Mode::from_raw_mode(0);
                fs::mknodat(&parent, hidden, FileType::CharacterDevice, mode, 0).or_else(
                    |error| match error {
                        Errno::EXIST => Ok(()),
                        error => Err(error),
                    },
                )?;
                self.whited.insert(key);
            }
            (Form::Overlay(_), Some(_)) => {
                if let Some(directory) = self.open_existing(&path)? {
                    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
                    self.opaque(&fs::openat(&directory, c".", flags, Mode::empty())?)?;
                }
            }
        }
        self.parent = Some((above.join(&b'/'), parent));
        Ok(())
    }

    /// Hides what the layers below have in this directory.
    fn opaque(&self, directory: &OwnedFd) -> std::result::Result<(), Stop> {
        if let Form::Overlay(attribute) = self.rules.form {
            fs::fsetxattr(directory, attribute, b"y", fs::XattrFlags::empty())?;
        }
        Ok(())
    }

    /// Removes what this layer did not make in a directory.
    fn remove_lower_children(&mut self, directory: &OwnedFd, key: &[u8]) -> std::result::Result<(), Stop> {
        for name in remove::names(directory)? {
            let path = if key.is_empty() { name.clone() } else { [key, b"/", name.as_slice()].concat() };
            match self.seen.get(&path) {
                None => remove_tree(directory, &name)?,
                Some(Made::File | Made::Other) => {}
                Some(_) => {
                    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                    match fs::openat(directory, name.as_slice(), flags, Mode::empty()) {
                        Ok(child) => self.remove_lower_children(&child, &path)?,
                        Err(Errno::NOTDIR | Errno::LOOP | Errno::NOENT) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
            }
        }
        Ok(())
    }

    /// Sets the directories' times, which every entry in them changed.
    fn finish(mut self) -> Result<Applied> {
        for (key, times) in &self.times {
            let path = key.as_slice();
            let result = match tree::open_beneath(self.root, path) {
                Ok(directory) => fs::openat(
                    &directory,
                    c".",
                    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
                    Mode::empty(),
                )
                .and_then(|directory| fs::futimens(&directory, times)),
                // It was removed or replaced meanwhile.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => Ok(()),
                Err(error) => Err(error),
            };
            result.map_err(|error| from_stop(self.rules.layer, key, error.into()))?;
        }
        let implied = self.seen.iter().filter(|(_, made)| **made == Made::Implied);
        self.done.implied = implied.map(|(path, _)| path.clone()).collect();
        // A directory before what is in it.
        self.done.implied.sort();
        Ok(self.done)
    }
}
