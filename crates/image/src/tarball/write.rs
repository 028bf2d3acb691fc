//! Writing: ustar headers, with a pax header where ustar's fields are too small.

use std::io::{self, Read, Write};

use super::{BLOCK, Entry, Kind};

/// An archive being written.
#[derive(Debug)]
pub(crate) struct Writer<W: Write> {
    out: W,
}

impl<W: Write> Writer<W> {
    pub(crate) fn new(out: W) -> Self {
        Self { out }
    }

    /// A plain file of root's, last changed in 1970: for archives that must not depend on when they
    /// are made.
    pub(crate) fn file(&mut self, name: &str, size: u64, data: impl Read) -> io::Result<()> {
        let entry = Entry {
            name: name.as_bytes().to_vec(),
            kind: Kind::File,
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: (0, 0),
            size,
            link: Vec::new(),
            device: (0, 0),
            xattrs: Vec::new(),
            pieces: None,
        };
        self.entry(&entry, data)
    }

    /// Any entry; `data` must have `entry.size` bytes.
    pub(crate) fn entry(&mut self, entry: &Entry, data: impl Read) -> io::Result<()> {
        let records = extensions(entry);
        if !records.is_empty() {
            let mut header = [0; BLOCK];
            put(&mut header, 0, b"pax_header");
            octal(&mut header, 100, 8, 0o644);
            octal(&mut header, 124, 12, records.len() as u64);
            self.header(header, b'x')?;
            self.out.write_all(&records)?;
            self.pad(records.len() as u64)?;
        }
        let mut header = [0; BLOCK];
        put(&mut header, 0, entry.name.get(..entry.name.len().min(100)).unwrap_or_default());
        octal(&mut header, 100, 8, u64::from(entry.mode));
        octal(&mut header, 108, 8, entry.uid);
        octal(&mut header, 116, 8, entry.gid);
        octal(&mut header, 124, 12, entry.size);
        octal(&mut header, 136, 12, u64::try_from(entry.mtime.0).unwrap_or(0));
        put(&mut header, 157, entry.link.get(..entry.link.len().min(100)).unwrap_or_default());
        octal(&mut header, 329, 8, u64::from(entry.device.0));
        octal(&mut header, 337, 8, u64::from(entry.device.1));
        let flag = match entry.kind {
            Kind::File => b'0',
            Kind::HardLink => b'1',
            Kind::Symlink => b'2',
            Kind::Char => b'3',
            Kind::Block => b'4',
            Kind::Directory => b'5',
            Kind::Fifo => b'6',
        };
        self.header(header, flag)?;
        let copied = io::copy(&mut data.take(entry.size), &mut self.out)?;
        if copied != entry.size {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "a file became shorter while it was read",
            ));
        }
        self.pad(entry.size)
    }

    /// The two empty blocks at the end.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.out.write_all(&[0; 2 * BLOCK])?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn header(&mut self, mut header: [u8; BLOCK], flag: u8) -> io::Result<()> {
        put(&mut header, 156, &[flag]);
        put(&mut header, 257, b"ustar\x0000");
        put(&mut header, 148, b"        ");
        let sum: u64 = header.iter().map(|byte| u64::from(*byte)).sum();
        put(&mut header, 148, format!("{sum:06o}\0 ").as_bytes());
        self.out.write_all(&header)
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        let rest = usize::try_from(size % BLOCK as u64).unwrap_or(0);
        self.out.write_all([0; BLOCK].get(..(BLOCK - rest) % BLOCK).unwrap_or_default())
    }
}

fn put(header: &mut [u8; BLOCK], at: usize, bytes: &[u8]) {
    if let Some(field) = header.get_mut(at..at + bytes.len()) {
        field.copy_from_slice(bytes);
    }
}

/// A number in octal, or zero where it does not fit (a pax record has it then).
fn octal(header: &mut [u8; BLOCK], at: usize, width: usize, value: u64) {
    let value = if fits(value, width) { value } else { 0 };
    put(header, at, format!("{value:0width$o}", width = width - 1).as_bytes());
}

fn fits(value: u64, width: usize) -> bool {
    value < 1 << (3 * (width - 1))
}

/// Pax records for what a ustar header cannot hold.
fn extensions(entry: &Entry) -> Vec<u8> {
    let mut records = Vec::new();
    let mut add = |key: &[u8], value: &[u8]| {
        let rest = key.len() + value.len() + 3;
        // The length counts its own digits.
        let mut length = rest + 1;
        while length != rest + length.to_string().len() {
            length = rest + length.to_string().len();
        }
        records.extend_from_slice(length.to_string().as_bytes());
        records.extend_from_slice(&[b" ", key, b"=", value, b"\n"].concat());
    };
    if entry.name.len() > 100 {
        add(b"path", &entry.name);
    }
    if entry.link.len() > 100 {
        add(b"linkpath", &entry.link);
    }
    for (key, value, width) in
        [(&b"size"[..], entry.size, 12), (b"uid", entry.uid, 8), (b"gid", entry.gid, 8)]
    {
        if !fits(value, width) {
            add(key, value.to_string().as_bytes());
        }
    }
    let (seconds, nanoseconds) = entry.mtime;
    if nanoseconds != 0 || seconds < 0 || !fits(seconds.unsigned_abs(), 12) {
        add(b"mtime", pax_time(seconds, nanoseconds).as_bytes());
    }
    for (name, value) in &entry.xattrs {
        add(&[b"SCHILY.xattr.", name.as_slice()].concat(), value);
    }
    records
}

fn pax_time(seconds: i64, nanoseconds: u32) -> String {
    match (seconds < 0, nanoseconds) {
        (_, 0) => seconds.to_string(),
        (false, _) => format!("{seconds}.{nanoseconds:09}"),
        (true, _) => format!("-{}.{:09}", (seconds + 1).unsigned_abs(), 1_000_000_000 - nanoseconds),
    }
}
