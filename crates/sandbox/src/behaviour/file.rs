//! What became of files: from the calls that make, write, change, rename and delete them, and what is left.

use nabe_event::field::{descriptor as d, event as e};
use serde::Serialize;

use super::{Behaviour, MAX_ENTRIES, number, text};
use crate::Seen;

/// What happened to a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FileChange {
    /// Its path as the specimen sees it.
    pub path: String,
    /// Created.
    pub created: bool,
    /// Bytes that were written to it.
    pub written: u64,
    /// Deleted.
    pub deleted: bool,
    /// Its owner, permissions or attributes were changed.
    pub changed: bool,
    /// Where it was renamed to.
    pub renamed_to: Option<String>,
    /// The first event about it.
    pub event: u64,
}

/// A file that the specimen left, with what the caller found out about it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Dropped {
    /// Its path as the specimen sees it.
    pub path: String,
    /// `created`, `changed`, `deleted`, or `memory` for a program that was only there.
    pub change: String,
    /// Its size in bytes.
    pub size: u64,
    /// SHA-256 of its content, in hexadecimal digits.
    pub sha256: String,
    /// Where it is kept, relative to the folder of evidence.
    pub kept: Option<String>,
    /// Names of YARA rules that match it.
    pub yara: Vec<String>,
}

impl Behaviour {
    pub(super) fn file(&mut self, seen: &Seen<'_>, name: &str, failed: bool) {
        let fields = seen.fields;
        if failed {
            return;
        }
        let path = || text(fields, e::FS_PATH_NAME, None);
        match name {
            "open" | "openat" | "openat2" | "creat" => {
                let flags = text(fields, e::ARG, Some(b"flags"));
                // F_CREATED says that the file was not there; without it O_CREAT may have opened it.
                let created = flags.contains("F_CREATED") || name == "creat";
                let emptied = flags.contains("O_TRUNC");
                if created || emptied {
                    let change = self.change(path(), seen.number);
                    if let Some(change) = change {
                        change.created |= created;
                        change.changed |= emptied;
                    }
                }
            }
            "write" | "pwrite" | "pwritev" | "writev" | "pwrite64" | "sendfile" | "copy_file_range" => {
                let is_file = text(fields, d::TYPE, None) == "file";
                let bytes =
                    number(fields, e::RAWRES).and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0);
                if is_file
                    && bytes > 0
                    && let Some(change) = self.change(text(fields, d::NAME, None), seen.number)
                {
                    change.written = change.written.saturating_add(bytes);
                }
            }
            "unlink" | "unlinkat" | "rmdir" => {
                if let Some(change) = self.change(path(), seen.number) {
                    change.deleted = true;
                }
            }
            "mkdir" | "mkdirat" | "mknod" | "mknodat" => {
                if let Some(change) = self.change(path(), seen.number) {
                    change.created = true;
                }
            }
            "chmod" | "fchmodat" | "fchmod" | "chown" | "lchown" | "fchownat" | "fchown" | "truncate"
            | "ftruncate" => {
                let by_path = path();
                let path = if by_path.is_empty() { text(fields, d::NAME, None) } else { by_path };
                if let Some(change) = self.change(path, seen.number) {
                    change.changed = true;
                }
            }
            "rename" | "renameat" | "renameat2" | "link" | "linkat" | "symlink" | "symlinkat" => {
                let (from, to) =
                    (text(fields, e::FS_PATH_SOURCE, None), text(fields, e::FS_PATH_TARGET, None));
                if name.starts_with("rename")
                    && let Some(change) = self.change(from, seen.number)
                {
                    change.renamed_to = Some(to.clone());
                }
                if let Some(change) = self.change(to, seen.number) {
                    change.created = true;
                }
            }
            _ => {}
        }
    }

    /// What is known of a file; `None` without a path or without room.
    fn change(&mut self, path: String, event: u64) -> Option<&mut FileChange> {
        // What is written to devices is no file.
        let device = path.starts_with("/dev/") && !path.starts_with("/dev/shm/");
        if path.is_empty() || path == "<NA>" || device || is_output(&path) {
            return None;
        }
        let at = match self.index.files.get(&path) {
            Some(at) => *at,
            None if self.files.len() >= MAX_ENTRIES => {
                self.left_out += 1;
                return None;
            }
            None => {
                self.index.files.insert(path.clone(), self.files.len());
                self.files.push(FileChange { path, event, ..FileChange::default() });
                self.files.len() - 1
            }
        };
        self.files.get_mut(at)
    }
}

/// Whether a path is where the sandbox keeps what a specimen prints.
fn is_output(path: &str) -> bool {
    path.strip_prefix("/run/nabe-sandbox-").is_some_and(|rest| rest.contains("/disk/out/"))
}
