//! Extended headers: pax records, GNU long names, GNU sparse maps.

use super::{Entry, Fault, Kind, MAX_PIECES, Piece};

/// What extended headers say about the entry that follows.
#[derive(Debug, Default)]
pub(super) struct Extended {
    /// Bytes taken so far.
    pub(super) bytes: u64,
    /// Stored size.
    pub(super) size: Option<u64>,
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    uid: Option<u64>,
    gid: Option<u64>,
    mtime: Option<(i64, u32)>,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    seen_pax: bool,
    sparse_name: Option<Vec<u8>>,
    sparse_size: Option<u64>,
    sparse_major: Option<u64>,
    sparse_minor: Option<u64>,
    sparse_numbers: Option<Vec<u64>>,
}

/// Where the map of a sparse file is.
#[derive(Debug)]
pub(super) enum Sparse {
    No,
    /// Here, with the real size.
    Map(Vec<Piece>, u64),
    /// In front of the data; the real size.
    InData(u64),
}

impl Extended {
    pub(super) fn is_empty(&self) -> bool {
        !self.seen_pax && self.long_name.is_none() && self.long_link.is_none()
    }

    pub(super) fn fault(&self, reason: &str) -> Fault {
        let name = self.path.clone().or(self.long_name.clone()).unwrap_or_default();
        Fault::Entry { name, reason: reason.to_owned() }
    }

    /// Takes one extended header of type `flag`.
    pub(super) fn take(&mut self, flag: u8, data: &[u8]) -> Result<(), String> {
        let long = |slot: &mut Option<Vec<u8>>| {
            let text = data.split(|byte| *byte == 0).next().unwrap_or_default();
            match slot.replace(text.to_vec()) {
                None => Ok(()),
                Some(_) => Err("two long names for one entry".to_owned()),
            }
        };
        match flag {
            b'L' => long(&mut self.long_name),
            b'K' => long(&mut self.long_link),
            b'g' => Self::records(data, |key, _| match key {
                // They would rename every entry that follows.
                b"path" | b"linkpath" | b"size" | b"uid" | b"gid" => {
                    Err(format!("a global header sets {}", String::from_utf8_lossy(key)))
                }
                _ => Ok(()),
            }),
            _ if self.seen_pax => Err("two pax headers for one entry".into()),
            _ => {
                self.seen_pax = true;
                Self::records(data, |key, value| self.record(key, value))
            }
        }
    }

    /// Walks over `"%d %s=%s\n"` records.
    fn records(
        mut data: &[u8],
        mut each: impl FnMut(&[u8], &[u8]) -> Result<(), String>,
    ) -> Result<(), String> {
        let malformed = || "a malformed pax record".to_owned();
        while !data.is_empty() {
            let space = data.iter().take(20).position(|byte| *byte == b' ').ok_or_else(malformed)?;
            let (digits, _) = data.split_at(space);
            let length = usize::try_from(decimal(digits)?).map_err(|_| malformed())?;
            let record = data.get(space + 1..length).ok_or_else(malformed)?;
            let [body @ .., b'\n'] = record else { return Err(malformed()) };
            let equals = body.iter().position(|byte| *byte == b'=').ok_or_else(malformed)?;
            let (key, value) = body.split_at(equals);
            each(key, value.get(1..).unwrap_or_default())?;
            data = data.get(length..).ok_or_else(malformed)?;
        }
        Ok(())
    }

    fn record(&mut self, key: &[u8], value: &[u8]) -> Result<(), String> {
        fn once<T>(slot: &mut Option<T>, value: T, key: &[u8]) -> Result<(), String> {
            match slot.replace(value) {
                None => Ok(()),
                Some(_) => Err(format!("pax {} is given twice", String::from_utf8_lossy(key))),
            }
        }
        let path = |value: &[u8]| match value.contains(&0) {
            false => Ok(value.to_vec()),
            true => Err(format!("pax {} has a NUL", String::from_utf8_lossy(key))),
        };
        if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
            self.xattrs.push((path(name)?, value.to_vec()));
            return Ok(());
        }
        match key {
            b"path" => once(&mut self.path, path(value)?, key),
            b"linkpath" => once(&mut self.link, path(value)?, key),
            b"size" => once(&mut self.size, decimal(value)?, key),
            b"uid" => once(&mut self.uid, decimal(value)?, key),
            b"gid" => once(&mut self.gid, decimal(value)?, key),
            b"mtime" => once(&mut self.mtime, time(value)?, key),
            b"GNU.sparse.name" => once(&mut self.sparse_name, path(value)?, key),
            b"GNU.sparse.size" | b"GNU.sparse.realsize" => once(&mut self.sparse_size, decimal(value)?, key),
            b"GNU.sparse.major" => once(&mut self.sparse_major, decimal(value)?, key),
            b"GNU.sparse.minor" => once(&mut self.sparse_minor, decimal(value)?, key),
            b"GNU.sparse.map" => {
                let numbers = value.split(|byte| *byte == b',').map(decimal).collect::<Result<_, _>>()?;
                once(&mut self.sparse_numbers, numbers, key)
            }
            b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => {
                let numbers = self.sparse_numbers.get_or_insert_default();
                let wants_offset = numbers.len().is_multiple_of(2);
                if wants_offset != (key == b"GNU.sparse.offset") || numbers.len() > 2 * MAX_PIECES {
                    return Err("a malformed sparse map".into());
                }
                numbers.push(decimal(value)?);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Puts what was said into `entry`.
    pub(super) fn apply(self, entry: &mut Entry) -> Sparse {
        let sparse_file = self.sparse_size.is_some() && entry.kind == Kind::File;
        let name = if sparse_file { self.sparse_name } else { None };
        if let Some(name) = name.or(self.path).or(self.long_name) {
            entry.name = name;
        }
        if let Some(link) = self.link.or(self.long_link) {
            entry.link = link;
        }
        entry.uid = self.uid.unwrap_or(entry.uid);
        entry.gid = self.gid.unwrap_or(entry.gid);
        entry.mtime = self.mtime.unwrap_or(entry.mtime);
        entry.xattrs = self.xattrs;
        match (self.sparse_size, self.sparse_major, self.sparse_numbers) {
            (Some(real), Some(1), _) if sparse_file => Sparse::InData(real),
            (Some(real), _, Some(numbers)) if sparse_file => {
                let pairs = numbers.as_chunks::<2>().0;
                let pieces = pairs.iter().map(|[offset, length]| Piece { offset: *offset, length: *length });
                Sparse::Map(pieces.collect(), real)
            }
            _ => Sparse::No,
        }
    }
}

fn decimal(text: &[u8]) -> Result<u64, String> {
    let digits = |text: &[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let number = std::str::from_utf8(text).ok().filter(|_| digits(text)).and_then(|text| text.parse().ok());
    number.ok_or_else(|| "a pax record has no number where one must be".to_owned())
}

/// Seconds with a fraction, perhaps negative.
fn time(text: &[u8]) -> Result<(i64, u32), String> {
    let wrong = || "a pax record has no time where one must be".to_owned();
    let (negative, text) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    let mut parts = text.splitn(2, |byte| *byte == b'.');
    let seconds = i64::try_from(decimal(parts.next().unwrap_or_default())?).map_err(|_| wrong())?;
    let fraction = parts.next().unwrap_or_default();
    if !fraction.iter().all(u8::is_ascii_digit) {
        return Err(wrong());
    }
    let digit = |at: usize| fraction.get(at).map_or(0, |byte| u32::from(byte - b'0'));
    let nanoseconds = (0..9).fold(0, |value, at| value * 10 + digit(at));
    Ok(match (negative, nanoseconds) {
        (false, _) => (seconds, nanoseconds),
        (true, 0) => (-seconds, 0),
        (true, _) => (-seconds - 1, 1_000_000_000 - nanoseconds),
    })
}
