//! The specimen's root: a copy-on-write view of the host's programs (or of an image), with the specimen in
//! it and without what the host keeps to itself.
//!
//! Layers, from the top: `upper`, on a tmpfs as large as the disk allowance, which keeps what the specimen
//! writes; `front`, which hides and adds; the host's own root or the layers of an image, with their ids
//! mapped to those of the specimen. All of it is mounted in a mount namespace of this process.

use std::fs::{self, DirBuilder};
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use nabe_runtime::stage;
use rustix::fs::{CWD, FileType, Mode, XattrFlags};

use super::archive;
use super::spec::IDS;
use crate::error::{CliError, Result};

/// Folders of the host's root that the specimen may see. Nothing else of it is there.
const SHOWN: &[&str] = &["bin", "etc", "lib", "lib32", "lib64", "libx32", "sbin", "usr"];

/// Folders that are there and empty.
const EMPTY: &[(&str, u32)] = &[
    ("dev", 0o755),
    ("home", 0o755),
    ("home/user", 0o755),
    ("media", 0o755),
    ("mnt", 0o755),
    ("opt", 0o755),
    ("proc", 0o555),
    ("root", 0o700),
    ("run", 0o755),
    ("srv", 0o755),
    ("sys", 0o555),
    ("tmp", 0o1777),
    ("var", 0o755),
    ("var/cache", 0o755),
    ("var/lib", 0o755),
    ("var/log", 0o755),
    ("var/spool", 0o755),
    ("var/spool/cron", 0o755),
    ("var/spool/cron/crontabs", 0o1730),
    ("var/tmp", 0o1777),
];

/// Files that say who the host is, or are secret: what stands there instead.
const REPLACED: &[(&str, u32, &str)] = &[
    ("etc/hostname", 0o644, "desktop\n"),
    ("etc/hosts", 0o644, "127.0.0.1 localhost desktop\n::1 localhost\n"),
    ("etc/machine-id", 0o444, "5f1c9f0bd25b4b0f8bd1ed3c6a4a9d71\n"),
    ("etc/resolv.conf", 0o644, "nameserver 127.0.0.1\n"),
    ("etc/shadow", 0o640, "root:*:19700:0:99999:7:::\nuser:*:19700:0:99999:7:::\n"),
    ("etc/gshadow", 0o640, "root:*::\nuser:!::\n"),
];

/// Where the specimen is, inside.
pub const PLACE: &str = "specimen";

/// The root, ready to be used.
pub struct Staged {
    base: PathBuf,
    /// What the specimen is to run, inside.
    pub program: String,
    /// What could not be done, in sentences.
    pub notes: Vec<String>,
}

fn fail(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CliError {
    move |error| CliError::file(what, path, &error)
}

impl Staged {
    /// The folder of the run, on the host.
    pub fn base(&self) -> &Path {
        &self.base
    }
    /// The merged root.
    pub fn root(&self) -> PathBuf {
        self.base.join("stage/root")
    }
    /// The root as it was before.
    pub fn before(&self) -> PathBuf {
        self.base.join("stage/before")
    }
    /// What the specimen wrote.
    pub fn upper(&self) -> PathBuf {
        self.base.join("disk/upper")
    }
    /// What it printed, by `stdout` and `stderr`.
    pub fn output(&self, name: &str) -> PathBuf {
        self.base.join("disk/out").join(name)
    }
    /// A folder for what this program keeps while the specimen runs.
    pub fn own(&self) -> PathBuf {
        self.base.join("stage/own")
    }
    /// Whether the disk allowance is used up.
    pub fn is_full(&self) -> bool {
        rustix::fs::statvfs(self.base.join("disk")).is_ok_and(|stat| stat.f_bavail == 0 || stat.f_favail == 0)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // What stays busy goes with our mount namespace.
        for part in ["stage/root", "stage/before", "disk", "stage"] {
            let _ = stage::unmount(&self.base.join(part));
        }
        for part in ["disk", "stage"] {
            let _ = fs::remove_dir(self.base.join(part));
        }
        let _ = fs::remove_dir(&self.base);
    }
}

/// What goes into a root.
pub struct Plan<'a> {
    /// The file on the host; `None` for a program of the image.
    pub specimen: Option<&'a Path>,
    /// As the user wrote it.
    pub name: &'a Path,
    /// What to start in an archive.
    pub entry: Option<&'a str>,
    /// Layers of an image, the topmost first; none for the host's own root.
    pub layers: &'a [PathBuf],
    /// Bytes that may be written.
    pub disk: u64,
    /// Name servers, where the specimen reaches some.
    pub names: Option<Vec<Ipv4Addr>>,
}

/// Puts a root together. Leaves for a mount namespace of our own.
pub fn build(plan: &Plan<'_>) -> Result<Staged> {
    let base = PathBuf::from(format!("/run/nabe-sandbox-{}", std::process::id()));
    fs::create_dir_all(&base).map_err(fail("make", &base))?;
    fs::set_permissions(&base, fs::Permissions::from_mode(0o711)).map_err(fail("protect", &base))?;
    let mut staged = Staged { base: base.clone(), program: String::new(), notes: Vec::new() };
    stage::private()?;
    for (part, bytes, inodes) in
        [("stage", 2 << 30, 1 << 20), ("disk", plan.disk, (plan.disk / 4096).max(4096))]
    {
        let path = base.join(part);
        fs::create_dir_all(&path).map_err(fail("make", &path))?;
        stage::tmpfs(&path, bytes, inodes)?;
    }
    for part in
        ["stage/front", "stage/root", "stage/before", "stage/own", "disk/upper", "disk/work", "disk/out"]
    {
        let path = base.join(part);
        DirBuilder::new().mode(0o755).create(&path).map_err(fail("make", &path))?;
    }
    let front = base.join("stage/front");
    let host = [PathBuf::from("/")];
    let layers = if plan.layers.is_empty() { &host } else { plan.layers };
    if plan.layers.is_empty() {
        hide(&front).map_err(fail("hide the host's files in", &front))?;
    }
    if let Some(names) = &plan.names {
        let text: String = names.iter().map(|server| format!("nameserver {server}\n")).collect();
        write(&front, "etc/resolv.conf", 0o644, &text).map_err(fail("write in", &front))?;
    }
    staged.program = place(plan, &front, &mut staged.notes)?;
    own(&front).map_err(fail("give away", &front))?;
    own(&base.join("disk/upper")).map_err(fail("give away", &front))?;
    let mut lower = vec![front];
    for (at, layer) in layers.iter().enumerate() {
        let target = base.join(format!("stage/layer{at}"));
        DirBuilder::new().mode(0o755).create(&target).map_err(fail("make", &target))?;
        match stage::idmapped(layer, &target, &[IDS]) {
            Ok(()) => lower.push(target),
            Err(error) => {
                staged.notes.push(format!(
                    "files of {} belong to nobody inside: {}",
                    layer.display(),
                    error.line()
                ));
                lower.push(layer.clone());
            }
        }
    }
    let lower: Vec<&Path> = lower.iter().map(PathBuf::as_path).collect();
    stage::overlay(&lower, None, &staged.before())?;
    let (upper, work) = (staged.upper(), base.join("disk/work"));
    stage::overlay(&lower, Some((&upper, &work)), &staged.root())?;
    Ok(staged)
}

/// Makes the specimen's owner the one of everything below.
fn own(path: &Path) -> io::Result<()> {
    let metadata = fs::symlink_metadata(path)?;
    std::os::unix::fs::lchown(path, Some(IDS.host_id), Some(IDS.host_id))?;
    if metadata.is_dir() {
        for entry in fs::read_dir(path)? {
            own(&entry?.path())?;
        }
    } else if metadata.is_file() {
        // Changing the owner takes these bits away.
        fs::set_permissions(path, fs::Permissions::from_mode(metadata.mode() & 0o777))?;
    }
    Ok(())
}

/// A folder below which no lower layer is seen.
fn opaque(path: &Path, mode: u32) -> io::Result<()> {
    if !path.exists() {
        DirBuilder::new().mode(0o755).recursive(true).create(path)?;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    rustix::fs::setxattr(path, "trusted.overlay.opaque", b"y", XattrFlags::empty())?;
    Ok(())
}

/// A file that is not there although a lower layer has it.
fn whiteout(path: &Path) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    rustix::fs::mknodat(CWD, path, FileType::CharacterDevice, Mode::empty(), 0)?;
    Ok(())
}

/// What of the host is not shown.
fn hide(front: &Path) -> io::Result<()> {
    for entry in fs::read_dir("/")? {
        let entry = entry?;
        let name = entry.file_name();
        if SHOWN.iter().any(|shown| name == *shown) {
            continue;
        }
        let path = front.join(&name);
        if entry.file_type()?.is_dir() {
            if EMPTY.iter().any(|(empty, _)| name == *empty) {
                continue;
            }
            // Even its name says something of the host.
            whiteout(&path)?;
        } else {
            whiteout(&path)?;
        }
    }
    for (name, mode) in EMPTY {
        opaque(&front.join(name), *mode)?;
    }
    for place in ["etc", "usr/local"] {
        let from = Path::new("/").join(place);
        if from.is_dir() {
            hide_secrets(&from, &front.join(place), 0)?;
        }
    }
    for (name, mode, text) in REPLACED {
        write(front, name, *mode, text)?;
    }
    Ok(())
}

/// Puts a file there instead of a lower layer's.
fn write(front: &Path, name: &str, mode: u32, text: &str) -> io::Result<()> {
    let path = front.join(name);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let _ = fs::remove_file(&path);
    fs::write(&path, text)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(mode))
}

/// Hides what not everybody on the host may read: the specimen is root of its own.
fn hide_secrets(from: &Path, to: &Path, depth: u32) -> io::Result<()> {
    if depth > 16 {
        return opaque(to, 0o755);
    }
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        // It may have gone since it was listed.
        let Ok(metadata) = entry.metadata() else { continue };
        let path = to.join(entry.file_name());
        if metadata.is_dir() {
            if metadata.mode() & 0o005 != 0o005 {
                opaque(&path, metadata.mode() & 0o777)?;
            } else {
                hide_secrets(&entry.path(), &path, depth + 1)?;
            }
        } else if metadata.is_file() && metadata.mode() & 0o004 == 0 {
            whiteout(&path)?;
        }
    }
    Ok(())
}

/// Puts the specimen into the front layer; gives what to run.
fn place(plan: &Plan<'_>, front: &Path, notes: &mut Vec<String>) -> Result<String> {
    let folder = front.join(PLACE);
    DirBuilder::new().mode(0o755).create(&folder).map_err(fail("make", &folder))?;
    let Some(file) = plan.specimen else { return Ok(plan.name.to_string_lossy().into_owned()) };
    if archive::is_archive(file) {
        notes.extend(archive::unpack(file, &folder)?);
        let entry = entry(plan, file, &folder)?;
        let path = folder.join(&entry);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).map_err(fail("protect", &path))?;
        return Ok(format!("/{PLACE}/{entry}"));
    }
    if plan.entry.is_some() {
        return Err(CliError::usage(format_args!("{} is no archive: --entry names nothing", file.display())));
    }
    let metadata = fs::metadata(file).map_err(fail("read", file))?;
    if metadata.mode() & 0o111 == 0 {
        notes.push("the file is not marked as executable: inside it is".into());
    }
    let name = file.file_name().unwrap_or_default();
    let path = folder.join(name);
    fs::copy(file, &path).map_err(fail("copy", file))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).map_err(fail("protect", &path))?;
    Ok(format!("/{PLACE}/{}", name.to_string_lossy()))
}

/// Which of an archive's files is started.
fn entry(plan: &Plan<'_>, file: &Path, folder: &Path) -> Result<String> {
    let names = archive::files(folder).map_err(fail("read", folder))?;
    let shown = file.display();
    if names.is_empty() {
        return Err(CliError::failed(format_args!("{shown} is an archive without a file")));
    }
    let some: Vec<String> =
        names.iter().take(8).map(|name| crate::output::plain(name.as_os_str().as_encoded_bytes())).collect();
    let more = if names.len() > some.len() { ", …" } else { "" };
    let list = format!("{}{more}", some.join(", "));
    let Some(entry) = plan.entry else {
        return Err(CliError::usage(format_args!("{shown} is an archive"))
            .hint(format_args!("--entry PATH says what to start in it: {list}")));
    };
    let entry = entry.trim_start_matches("./");
    match names.iter().any(|name| name.as_path() == Path::new(entry)) {
        true => Ok(entry.to_owned()),
        false => {
            Err(CliError::usage(format_args!("{shown} has no file {entry}"))
                .hint(format_args!("it has {list}")))
        }
    }
}
