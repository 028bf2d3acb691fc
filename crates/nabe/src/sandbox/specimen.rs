//! Whether a file can be run at all, and why not: told in a sentence before anything is made, where the
//! kernel would say `exec format error`.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, FileTypeExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};

use crate::error::{CliError, Result};

/// Bytes of a script's first line that the kernel reads (`BINPRM_BUF_SIZE`).
const FIRST_LINE: usize = 256;

/// Program headers that are looked at, and the bytes of a loader's name.
const HEADERS: (u16, u64) = (128, 4096);

/// `e_machine` of what runs here, and of what people have (elf.h).
const MACHINE: u16 = 62;
static MACHINES: &[(u16, &str)] = &[
    (2, "sparc"),
    (3, "i386, 32 bits"),
    (8, "mips"),
    (20, "ppc"),
    (21, "ppc64"),
    (22, "s390x"),
    (40, "arm, 32 bits"),
    (43, "sparc64"),
    (50, "ia64"),
    (MACHINE, "x86_64"),
    (183, "arm64"),
    (243, "riscv"),
    (258, "loongarch"),
];

/// The specimen's file on the host; `None` when it is to be found in an image.
///
/// # Errors
/// When it is not there, or neither a file nor a folder.
pub fn find(specimen: &Path, in_image: bool) -> Result<Option<PathBuf>> {
    // Inside an image a path that is there, and a program of its `PATH`, are the image's own.
    let bare = specimen.components().count() == 1 && specimen.is_relative();
    if in_image && (specimen.is_absolute() || (bare && !specimen.exists())) {
        return Ok(None);
    }
    let metadata = fs::metadata(specimen).map_err(|error| {
        let failed = CliError::file("read", specimen, &error);
        match on_path(specimen).filter(|_| bare) {
            Some(found) => failed.hint(format_args!("{} is a program of that name", found.display())),
            None if error.kind() == io::ErrorKind::NotFound => {
                failed.hint("SPECIMEN is the path of a program, an archive or a folder of them")
            }
            None => failed,
        }
    })?;
    let kind = metadata.file_type();
    let refuse = |what: &str| Err(CliError::failed(format_args!("{} {what}", specimen.display())));
    if kind.is_fifo() || kind.is_socket() || kind.is_block_device() || kind.is_char_device() {
        return refuse("is neither a file nor a folder: nothing of it can be run");
    }
    if metadata.len() == 0 {
        return refuse("is empty: there is nothing to run");
    }
    let path = specimen.canonicalize().map_err(|error| CliError::file("read", specimen, &error))?;
    Ok(Some(path))
}

/// Where a shell would find a program of this name.
fn on_path(name: &Path) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|place| place.join(name)).find(|file| file.is_file())
}

/// Where a specimen is to run.
pub struct Inside {
    top: File,
    /// What is mounted there only when it runs.
    mounted: Vec<PathBuf>,
}

impl Inside {
    /// A root, with what will be mounted in it.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(root: &Path, mounted: Vec<PathBuf>) -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let top = openat2(CWD, root, flags, Mode::empty(), ResolveFlags::empty());
        let top = File::from(top.map_err(|error| CliError::file("open", root, &error.into()))?);
        Ok(Self { top, mounted })
    }

    /// A file, links followed as they are there.
    fn file(&self, path: &Path) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        Ok(openat2(&self.top, path, flags, Mode::empty(), ResolveFlags::IN_ROOT)?.into())
    }

    fn is_mounted(&self, path: &Path) -> bool {
        self.mounted.iter().any(|place| path.starts_with(place))
    }

    fn has(&self, path: &[u8]) -> bool {
        let path = Path::new(std::ffi::OsStr::from_bytes(path));
        self.is_mounted(path) || self.file(path).is_ok()
    }
}

/// Holds a program against where it is to run; its path there. `path` are the places of a bare name,
/// `shown` is what messages call it.
///
/// # Errors
/// When it cannot be run, with the reason.
pub fn check(inside: &Inside, program: &str, path: &str, shown: &str) -> Result<String> {
    if inside.is_mounted(Path::new(program)) {
        return Ok(program.to_owned());
    }
    let places: Vec<PathBuf> = match program.contains('/') {
        true => vec![PathBuf::from(program)],
        false => path.split(':').map(|place| Path::new(place).join(program)).collect(),
    };
    let found = places.iter().find_map(|place| Some((inside.file(place).ok()?, place)));
    let Some((file, place)) = found else {
        return Err(CliError::failed(format_args!("{shown} is not in the image: No such file or directory")));
    };
    match unfit(inside, &file) {
        Ok(None) => Ok(place.to_string_lossy().into_owned()),
        Ok(Some(Unfit { why, hint })) => {
            let failed = CliError::failed(format_args!("{shown} {why}"));
            Err(hint.iter().fold(failed, |failed, hint| failed.hint(hint)))
        }
        Err(error) => Err(CliError::failed(format_args!("cannot read {shown}")).because(&error)),
    }
}

/// Why something cannot be run.
struct Unfit {
    why: String,
    hint: Option<String>,
}

impl Unfit {
    fn new(why: impl Into<String>) -> Option<Self> {
        Some(Self { why: why.into(), hint: None })
    }

    fn hint(hint: &str, why: impl Into<String>) -> Option<Self> {
        Some(Self { why: why.into(), hint: Some(hint.to_owned()) })
    }
}

/// What the kernel would not run.
fn unfit(inside: &Inside, file: &File) -> io::Result<Option<Unfit>> {
    if !file.metadata()?.is_file() {
        return Ok(Unfit::new("is no file: it cannot be run"));
    }
    let mut head = Vec::new();
    file.take(FIRST_LINE as u64).read_to_end(&mut head)?;
    Ok(match head.as_slice() {
        [] => Unfit::new("is empty: there is nothing to run"),
        [0x7f, b'E', b'L', b'F', ..] => elf(inside, file, &head),
        [b'#', b'!', line @ ..] => script(inside, line),
        [b'M', b'Z', ..] => Unfit::new("is a program for Windows: only Linux programs are run"),
        [0xcf | 0xce, 0xfa, 0xed, 0xfe, ..] => {
            Unfit::new("is a program for macOS: only Linux programs are run")
        }
        _ => Unfit::hint(
            "a script says in its first line what runs it, such as #!/bin/sh",
            "is no program: neither ELF, nor a script that begins with #!, nor an archive",
        ),
    })
}

/// The interpreter of `#!` must be there.
fn script(inside: &Inside, line: &[u8]) -> Option<Unfit> {
    let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let mut words = line.split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty());
    let Some(word) = words.next() else {
        return Unfit::new("is a script whose first line (#!) names no interpreter");
    };
    let shown = crate::output::plain(word);
    if word.ends_with(b"\r") {
        return Unfit::hint(
            "its lines end as Windows ends them: tr -d '\\r' mends that",
            format!("is a script for the interpreter {shown}, which is not inside"),
        );
    }
    if !inside.has(word) {
        return Unfit::hint(
            "--image IMAGE runs it in an image that has it, --mount HOST:INSIDE shows it inside",
            format!("is a script for the interpreter {shown}, which is not inside"),
        );
    }
    None
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// An ELF file must be a whole program for this machine, and its loader must be there (elf(5)).
fn elf(inside: &Inside, file: &File, head: &[u8]) -> Option<Unfit> {
    let broken = || Unfit::new("is a broken ELF file: it ends too early");
    let (Some(class), Some(order)) = (head.get(4), head.get(5)) else { return broken() };
    let machine = match order {
        2 => half(head, 18).map(u16::swap_bytes),
        _ => half(head, 18),
    };
    let (Some(machine), Some(kind)) = (machine, half(head, 16)) else { return broken() };
    if machine != MACHINE || *class != 2 || *order != 1 {
        let known = MACHINES.iter().find(|(number, _)| *number == machine);
        let name = match known {
            Some(_) if machine == MACHINE => "x32".to_owned(),
            Some((_, name)) => (*name).to_owned(),
            None => format!("machine {machine}"),
        };
        return Unfit::new(format!("is a program for another architecture ({name}): this one is x86_64"));
    }
    let entry = long(head, 24);
    match (kind, entry) {
        (2 | 3, Some(1..)) => {}
        (1, _) => return Unfit::new("is an object file, not a program: it is not linked"),
        (4, _) => return Unfit::new("is a core dump, not a program"),
        (3, Some(0)) => return Unfit::new("is a library, not a program: it has no entry"),
        (_, None) => return broken(),
        _ => return Unfit::new("is an ELF file that is no program"),
    }
    let (Some(table), Some(size), Some(count)) = (long(head, 32), half(head, 54), half(head, 56)) else {
        return broken();
    };
    if size != 56 || count == 0 {
        return Unfit::new("is a broken ELF file: it has no program headers");
    }
    for at in 0..count.min(HEADERS.0) {
        let mut header = [0; 56];
        let offset = table.saturating_add(u64::from(at) * 56);
        if file.read_exact_at(&mut header, offset).is_err() {
            return broken();
        }
        // PT_INTERP.
        if header.first_chunk() != Some(&3_u32.to_le_bytes()) {
            continue;
        }
        let (Some(from), Some(length)) = (long(&header, 8), long(&header, 32)) else { return broken() };
        let mut name = vec![0; usize::try_from(length.min(HEADERS.1)).unwrap_or(0)];
        if file.read_exact_at(&mut name, from).is_err() {
            return broken();
        }
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        if !inside.has(name) {
            return Unfit::hint(
                "--image IMAGE runs it in an image that has it",
                format!("needs the loader {}, which is not inside", crate::output::plain(name)),
            );
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Why a file of these bytes is not run, in a root with nothing but `/bin/sh`.
    fn why(bytes: &[u8]) -> Option<String> {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("bin")).unwrap();
        fs::write(root.path().join("bin/sh"), "x").unwrap();
        fs::write(root.path().join("program"), bytes).unwrap();
        let inside = Inside::open(root.path(), vec!["/mounted".into()]).unwrap();
        let checked = check(&inside, "/program", "", "program");
        checked.err().map(|error| error.to_string())
    }

    #[test]
    fn programs_and_scripts_can_be_run() {
        let own = fs::read("/bin/true").unwrap();
        let told = why(&own).unwrap_or_default();
        assert!(told.is_empty() || told.starts_with("program needs the loader /lib"), "{told}");
        assert_eq!(why(b"#!/bin/sh\n"), None);
        assert_eq!(why(b"#! /bin/sh -e\n"), None);
        assert_eq!(why(b"#!/mounted/python\n"), None);
    }

    #[test]
    fn what_cannot_be_run_is_told() {
        let own = fs::read("/bin/true").unwrap();
        let with = |at: usize, byte: u8| {
            let mut bytes = own.clone();
            bytes[at] = byte;
            bytes
        };
        for (bytes, expected) in [
            (Vec::new(), "is empty"),
            (b"hello\n".to_vec(), "neither ELF, nor a script"),
            (b"#!\n".to_vec(), "names no interpreter"),
            (b"#!/no/such\n".to_vec(), "the interpreter /no/such, which is not inside"),
            (b"#!/bin/sh\r\n".to_vec(), "which is not inside"),
            (b"MZ\x90".to_vec(), "for Windows"),
            (with(18, 183), "another architecture (arm64)"),
            (with(18, 3), "another architecture (i386, 32 bits)"),
            (with(4, 1), "another architecture (x32)"),
            (with(18, 200), "another architecture (machine 200)"),
            (with(16, 1), "object file"),
            (with(16, 4), "core dump"),
            (own[..5].to_vec(), "ends too early"),
            (own[..40].to_vec(), "ends too early"),
            (own[..100].to_vec(), "ends too early"),
            (with(56, 0), "no program headers"),
        ] {
            let told = why(&bytes).unwrap_or_default();
            assert!(told.contains(expected), "{expected}: {told}");
        }
        // No byte of the header makes it fail otherwise than with a word.
        for at in 4..128 {
            for byte in [0, 0x7f, 0xff] {
                let _ = why(&with(at, byte));
            }
        }
    }

    #[test]
    fn links_stay_inside() {
        let root = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc/passwd", root.path().join("program")).unwrap();
        let inside = Inside::open(root.path(), Vec::new()).unwrap();
        let told = check(&inside, "/program", "", "program").unwrap_err().to_string();
        assert!(told.contains("is not in the image"), "{told}");
        fs::write(root.path().join("sh"), "#!/sh\n").unwrap();
        assert_eq!(check(&inside, "sh", "/bin:/", "sh").unwrap(), "/sh");
    }
}
