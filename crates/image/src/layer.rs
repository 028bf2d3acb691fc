//! A layer's way from its blob to a directory: decompress and hash in one thread, write in another.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};

use crate::apply::{Applied, Rules, apply};
use crate::digest::{Digest, Hashing};
use crate::error::{Error, Result};
use crate::manifest::Compression;
use crate::settings::Limits;
use crate::tarball::Archive;

/// Bytes handed from thread to thread at once.
const CHUNK: usize = 256 << 10;
/// Chunks that may wait.
const WAITING: usize = 16;
/// Unpacked bytes that are never too many for the packed ones.
const RATIO_FREE: u64 = 1 << 30;

/// Opens a packed file for reading what is inside.
pub(crate) fn decoder<'a>(
    mut packed: impl Read + Send + 'a,
) -> io::Result<(Compression, Box<dyn Read + Send + 'a>)> {
    let mut head = [0; 4];
    let mut filled = 0;
    while let Some(rest) = head.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match packed.read(rest)? {
            0 => break,
            count => filled += count,
        }
    }
    let compression = Compression::sniff(head.get(..filled).unwrap_or_default());
    let start = io::Cursor::new(head).take(filled as u64);
    let packed = BufReader::with_capacity(128 << 10, start.chain(packed));
    Ok((
        compression,
        match compression {
            Compression::None => Box::new(packed),
            Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(packed)),
            Compression::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(packed)?;
                // 128 MiB: what the zstd program takes without being asked for more.
                decoder.window_log_max(27)?;
                Box::new(decoder)
            }
        },
    ))
}

/// Applies the layer in `blob` to `root`; gives what was done and the digest of the archive.
///
/// A digest other than `diff_id` is an error, found when everything is written: the caller must throw
/// the tree away.
pub(crate) fn apply_blob(
    blob: &Path,
    diff_id: Option<&Digest>,
    root: &OwnedFd,
    rules: &Rules<'_>,
    cancel: &AtomicBool,
) -> Result<(Applied, Digest)> {
    let file = File::open(blob).map_err(Error::file("open", blob))?;
    let packed = file.metadata().map_err(Error::file("read", blob))?.len();
    let (send, receive) = sync_channel(WAITING);
    std::thread::scope(|scope| {
        let decoding =
            scope.spawn(move || decode(file, packed, rules.limits, cancel, |chunk| send.send(chunk).is_ok()));
        let mut archive = Archive::new(Chunks { receive, chunk: Vec::new(), at: 0 });
        let applied = apply(&mut archive, root, rules);
        let mut rest = archive.into_inner();
        let drained = match &applied {
            // Zeros behind the end mark belong to what the digest is of.
            Ok(_) => io::copy(&mut rest, &mut io::sink()).map(drop),
            Err(_) => Ok(()),
        };
        drop(rest);
        let decoded = decoding.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        if cancel.load(Ordering::Relaxed) && applied.is_err() {
            return Err(Error::Cancelled);
        }
        let fault =
            |error: io::Error| Error::Layer { layer: rules.layer.to_owned(), reason: error.to_string() };
        let applied = applied?;
        drained.map_err(fault)?;
        let found = decoded.map_err(fault)?;
        match diff_id {
            Some(expected) if *expected != found => Err(Error::Mismatch {
                what: format!("layer {} unpacked", rules.layer),
                expected: *expected,
                found,
            }),
            _ => Ok((applied, found)),
        }
    })
}

/// Decompresses, hashes and hands out chunks until there are no more or nobody wants them.
fn decode(
    file: File,
    packed: u64,
    limits: &Limits,
    cancel: &AtomicBool,
    mut hand_out: impl FnMut(io::Result<Vec<u8>>) -> bool,
) -> io::Result<Digest> {
    let result = (|| {
        let mut reader = Hashing::new(decoder(file)?.1);
        // Headers are more than data, but not without end.
        let most = limits.bytes.saturating_add(limits.entries.saturating_mul(2048));
        loop {
            let mut chunk = vec![0; CHUNK];
            let mut filled = 0;
            while let Some(rest) = chunk.get_mut(filled..).filter(|rest| !rest.is_empty()) {
                match reader.read(rest)? {
                    0 => break,
                    count => filled += count,
                }
            }
            chunk.truncate(filled);
            let bytes = reader.passed_bytes();
            if bytes > most || (bytes > RATIO_FREE && bytes > packed.saturating_mul(limits.ratio)) {
                let text = format!("{packed} bytes unpack to more than {bytes}: a decompression bomb");
                return Err(io::Error::new(io::ErrorKind::InvalidData, text));
            }
            if cancel.load(Ordering::Relaxed) {
                return Err(io::Error::other("cancelled"));
            }
            if chunk.is_empty() {
                return Ok(reader.finish().1);
            }
            if !hand_out(Ok(chunk)) {
                return Err(io::Error::other("nobody reads any more"));
            }
        }
    })();
    if let Err(error) = &result {
        hand_out(Err(io::Error::new(error.kind(), error.to_string())));
    }
    result
}

/// The chunks as a reader.
struct Chunks {
    receive: Receiver<io::Result<Vec<u8>>>,
    chunk: Vec<u8>,
    at: usize,
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at >= self.chunk.len() {
            match self.receive.recv() {
                Ok(chunk) => (self.chunk, self.at) = (chunk?, 0),
                Err(_) => return Ok(0),
            }
        }
        let rest = self.chunk.get(self.at..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..count), rest.get(..count)) {
            to.copy_from_slice(from);
        }
        self.at += count;
        Ok(count)
    }
}
