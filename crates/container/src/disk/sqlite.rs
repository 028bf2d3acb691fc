//! A reader for whole tables of a small SQLite database (Podman 5's `db.sql`)
//! that takes no lock and trusts no byte.
//!
//! Layout, big-endian (sqlite.org/fileformat2.html): a header of 100 bytes with
//! the page size at 16, reserved bytes per page at 20, change counter at 24, text
//! encoding at 56 (1 is UTF-8). B-tree pages of tables: type (5 interior, 13
//! leaf), cell count at 3, cell pointers from 8 (leaf) or 12 (interior, whose last
//! child is at 8). An interior cell: child u32, varint. A leaf cell: payload
//! length and rowid as varints, payload, first overflow page. A record: header
//! length and serial types as varints, then the values.
//!
//! Why no lock is needed: Podman keeps SQLite's default rollback journal. Pages
//! are written only while the journal exists and the change counter moves with
//! each transaction, so what was read with no journal and the same counter before
//! and after is whole.

use std::cell::Cell;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::{Unreadable, file};

type Result<T> = std::result::Result<T, Unreadable>;

const MAGIC: &[u8; 16] = b"SQLite format 3\0";
const INTERIOR: u8 = 5;
const LEAF: u8 = 13;
const MAX_DEPTH: u32 = 20;
const MAX_PAYLOAD: usize = 8 << 20;
/// Bytes of pages read from one database in one go: no more than this, and no
/// more than a few times the file, whose pages are each read once for a table.
const MAX_BYTES: u64 = 64 << 20;
const MAX_READS: u64 = 8;
const TRIES: u32 = 5;

/// One consistent view of a database.
pub(crate) struct Db {
    file: File,
    page_size: usize,
    usable: usize,
    /// Bytes that may still be read.
    budget: Cell<u64>,
}

/// Runs `read` on a consistent view of the database, again when a writer came
/// between.
pub(crate) fn with<T>(path: &Path, read: impl Fn(&Db) -> Result<T>) -> Result<T> {
    let mut journal = path.as_os_str().to_owned();
    journal.push("-journal");
    let writing = || std::fs::symlink_metadata(&journal).is_ok_and(|meta| meta.len() > 0);
    for _ in 0..TRIES {
        if writing() {
            std::thread::sleep(std::time::Duration::from_millis(1));
            continue;
        }
        let (db, before) = Db::open(path)?;
        let result = read(&db);
        if !writing() && header(&db.file)?.change_counter == before {
            return result;
        }
    }
    Err(Unreadable)
}

struct Header {
    page_size: usize,
    reserved: usize,
    change_counter: u32,
}

fn header(file: &File) -> Result<Header> {
    let mut bytes = [0u8; 100];
    file.read_exact_at(&mut bytes, 0).map_err(|_| Unreadable)?;
    let page_size = match u16_at(&bytes, 16)? {
        1 => 65536,
        size => size,
    };
    let reserved = usize::from(*bytes.get(20).ok_or(Unreadable)?);
    let valid = bytes.starts_with(MAGIC)
        && page_size.is_power_of_two()
        && page_size >= 512
        && page_size - reserved >= 480
        && u32_at(&bytes, 56)? == 1;
    if !valid {
        return Err(Unreadable);
    }
    Ok(Header { page_size, reserved, change_counter: u32_at(&bytes, 24)? })
}

impl Db {
    fn open(path: &Path) -> Result<(Db, u32)> {
        let file = file::open(path).map_err(|_| Unreadable)?;
        let Header { page_size, reserved, change_counter } = header(&file)?;
        let len = file.metadata().map_err(|_| Unreadable)?.len();
        let budget = Cell::new(len.saturating_mul(MAX_READS).min(MAX_BYTES));
        let db = Db { file, page_size, usable: page_size - reserved, budget };
        Ok((db, change_counter))
    }

    /// Calls `visit` with the columns of every row of a table; numbers and NULL
    /// are `None`. A table that does not exist has no rows.
    pub(crate) fn rows(
        &self,
        table: &str,
        visit: &mut dyn FnMut(&[Option<&str>]) -> Result<()>,
    ) -> Result<()> {
        let mut root = None;
        self.walk(1, MAX_DEPTH, &mut |record| {
            let columns = columns(record)?;
            let text = |at: usize| columns.get(at).copied().and_then(Column::text);
            if text(0) == Some("table") && text(1) == Some(table) {
                root = columns.get(3).copied().and_then(Column::number);
            }
            Ok(())
        })?;
        let Some(root) = root else { return Ok(()) };
        self.walk(root, MAX_DEPTH, &mut |record| {
            let columns: Vec<Option<&str>> = columns(record)?.into_iter().map(Column::text).collect();
            visit(&columns)
        })
    }

    fn walk(&self, number: u32, depth: u32, visit: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let depth = depth.checked_sub(1).ok_or(Unreadable)?;
        let page = self.page(number)?;
        let start = if number == 1 { 100 } else { 0 };
        let kind = *page.get(start).ok_or(Unreadable)?;
        let count = u16_at(&page, start + 3)?;
        let pointers = start + if kind == INTERIOR { 12 } else { 8 };
        for cell in 0..count {
            let at = u16_at(&page, pointers + cell * 2)?;
            match kind {
                INTERIOR => self.walk(u32_at(&page, at)?, depth, visit)?,
                LEAF => visit(&self.payload(&page, at)?)?,
                _ => return Err(Unreadable),
            }
        }
        if kind == INTERIOR {
            self.walk(u32_at(&page, start + 8)?, depth, visit)?;
        }
        Ok(())
    }

    fn payload(&self, page: &[u8], at: usize) -> Result<Vec<u8>> {
        let (length, at) = varint(page, at)?;
        let (_rowid, at) = varint(page, at)?;
        let length = usize::try_from(length).map_err(|_| Unreadable)?;
        if length > MAX_PAYLOAD {
            return Err(Unreadable);
        }
        let most = self.usable - 35;
        let local = if length <= most {
            length
        } else {
            let least = (self.usable - 12) * 32 / 255 - 23;
            let part = least + (length - least) % (self.usable - 4);
            if part <= most { part } else { least }
        };
        let mut payload = page.get(at..at + local).ok_or(Unreadable)?.to_vec();
        if length > local {
            let mut next = u32_at(page, at + local)?;
            while payload.len() < length {
                let page = self.page(next)?;
                next = u32_at(&page, 0)?;
                let want = (length - payload.len()).min(self.usable - 4);
                payload.extend_from_slice(page.get(4..4 + want).ok_or(Unreadable)?);
            }
        }
        Ok(payload)
    }

    /// Every read is charged, so that a damaged file's cycles end.
    fn page(&self, number: u32) -> Result<Vec<u8>> {
        let size = u64::try_from(self.page_size).map_err(|_| Unreadable)?;
        let left = self.budget.get().checked_sub(size).ok_or(Unreadable)?;
        self.budget.set(left);
        let index = number.checked_sub(1).ok_or(Unreadable)?;
        let mut bytes = vec![0u8; self.page_size];
        self.file.read_exact_at(&mut bytes, u64::from(index) * size).map_err(|_| Unreadable)?;
        Ok(bytes)
    }
}

#[derive(Clone, Copy)]
enum Column<'a> {
    Text(&'a str),
    Number(i64),
    Other,
}

impl<'a> Column<'a> {
    fn text(self) -> Option<&'a str> {
        match self {
            Column::Text(text) => Some(text),
            _ => None,
        }
    }

    fn number(self) -> Option<u32> {
        match self {
            Column::Number(number) => u32::try_from(number).ok(),
            _ => None,
        }
    }
}

fn columns(record: &[u8]) -> Result<Vec<Column<'_>>> {
    let (header_len, mut at) = varint(record, 0)?;
    let header_len = usize::try_from(header_len).map_err(|_| Unreadable)?;
    let mut body = header_len;
    let mut columns = Vec::new();
    while at < header_len {
        let (kind, next) = varint(record, at)?;
        at = next;
        let len = match kind {
            0 | 8 | 9 => 0,
            1..=4 => usize::try_from(kind).map_err(|_| Unreadable)?,
            5 => 6,
            6 | 7 => 8,
            10 | 11 => return Err(Unreadable),
            _ => usize::try_from((kind - 12) / 2).map_err(|_| Unreadable)?,
        };
        let end = body.checked_add(len).ok_or(Unreadable)?;
        let bytes = record.get(body..end).ok_or(Unreadable)?;
        body = end;
        columns.push(match kind {
            1..=6 => Column::Number(bytes.iter().fold(0i64, |number, byte| (number << 8) | i64::from(*byte))),
            8 => Column::Number(0),
            9 => Column::Number(1),
            kind if kind >= 13 && kind % 2 == 1 => {
                std::str::from_utf8(bytes).map_or(Column::Other, Column::Text)
            }
            _ => Column::Other,
        });
    }
    Ok(columns)
}

/// A number of one to nine bytes, and where it ends.
fn varint(bytes: &[u8], at: usize) -> Result<(u64, usize)> {
    let mut value = 0u64;
    for step in 0..9 {
        let byte = *bytes.get(at + step).ok_or(Unreadable)?;
        if step == 8 {
            return Ok(((value << 8) | u64::from(byte), at + 9));
        }
        value = (value << 7) | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Ok((value, at + step + 1));
        }
    }
    Err(Unreadable)
}

fn u16_at(bytes: &[u8], at: usize) -> Result<usize> {
    let part = bytes.get(at..at + 2).and_then(|part| part.try_into().ok()).ok_or(Unreadable)?;
    Ok(usize::from(u16::from_be_bytes(part)))
}

fn u32_at(bytes: &[u8], at: usize) -> Result<u32> {
    let part = bytes.get(at..at + 4).and_then(|part| part.try_into().ok()).ok_or(Unreadable)?;
    Ok(u32::from_be_bytes(part))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    /// Pages of 512 bytes, 20 containers with JSON of 0 to 1,900 bytes, as
    /// SQLite 3.40 wrote them.
    const SAMPLE: &[u8] = include_bytes!("../../tests/fixtures/podman5-db.sql");

    fn names(db: &Db) -> Result<Vec<(String, usize)>> {
        let mut names = Vec::new();
        db.rows("ContainerConfig", &mut |row| {
            let text = |at: usize| row.get(at).copied().flatten().ok_or(Unreadable);
            names.push((text(1)?.to_owned(), text(3)?.len()));
            Ok(())
        })?;
        Ok(names)
    }

    fn file_with(bytes: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().expect("temporary file");
        file.as_file().write_all_at(bytes, 0).expect("write");
        file
    }

    #[test]
    fn tables_are_read() {
        let file = file_with(SAMPLE);
        let found = with(file.path(), names).expect("readable");
        let expect: Vec<String> = (0..20).map(|number| format!("name{number}")).collect();
        assert_eq!(found.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>(), expect);
        assert!(found.last().is_some_and(|(_, len)| *len > 1900));
        let none = with(file.path(), |db| db.rows("Nothing", &mut |_| Err(Unreadable)));
        assert_eq!(none, Ok(()));
    }

    #[test]
    fn a_file_cut_anywhere_is_refused_or_short() {
        for len in (0..SAMPLE.len()).step_by(101) {
            let cut = with(file_with(&SAMPLE[..len]).path(), names);
            assert!(cut != with(file_with(SAMPLE).path(), names), "cut at {len}");
        }
    }

    #[test]
    fn damage_ends_in_an_answer_or_an_error() {
        let file = file_with(SAMPLE);
        // The bytes that mean something: the file's header, the pages' heads,
        // and the beginnings of cells at the pages' ends.
        for at in (0..SAMPLE.len()).filter(|at| *at < 512 || at % 512 < 24 || at % 97 == 0) {
            for value in [0u8, 0xff, SAMPLE[at] ^ 0x04] {
                file.as_file().write_all_at(&[value], at as u64).expect("write");
                let _ = with(file.path(), names);
            }
            file.as_file().write_all_at(&SAMPLE[at..=at], at as u64).expect("write");
        }
    }

    #[test]
    fn a_transaction_under_way_is_not_read_into() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("db.sql");
        std::fs::write(&path, SAMPLE).expect("write");
        std::fs::write(directory.path().join("db.sql-journal"), b"x").expect("write");
        assert_eq!(with(&path, names), Err(Unreadable));
    }
}
