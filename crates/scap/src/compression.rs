//! Compressed captures: recognised by their first bytes, written on request.
//!
//! gzip is what sysdig writes with `-z` and all readers open; zstd and lz4 frames are opened by
//! Stratoshark and by us. Any of them may consist of several members or frames.

use std::io::{self, BufRead, BufReader, Cursor, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};

/// How a capture is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// gzip, RFC 1952.
    Gzip,
    /// Zstandard, RFC 8878.
    Zstd,
    /// LZ4 frames.
    Lz4,
}

impl Compression {
    /// What the first bytes of a file tell.
    #[must_use]
    pub fn detect(head: &[u8]) -> Self {
        match head {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            [0x04, 0x22, 0x4d, 0x18, ..] => Self::Lz4,
            _ => Self::None,
        }
    }
}

/// Bytes of compressed input that are taken at once.
const INPUT_BUFFER: usize = 128 << 10;

/// Where bytes come from, and how many compressed ones have come.
pub(crate) struct Input {
    reader: Box<dyn Read + Send>,
    pub(crate) compression: Compression,
    taken: Arc<AtomicU64>,
}

impl Input {
    /// Looks at the first bytes of `source` and puts a decoder before it when it needs one.
    pub(crate) fn new(mut source: impl Read + Send + 'static) -> io::Result<Self> {
        let mut head = Vec::with_capacity(4);
        (&mut source).take(4).read_to_end(&mut head)?;
        let compression = Compression::detect(&head);
        let taken = Arc::new(AtomicU64::new(0));
        let source = Counted { source: Cursor::new(head).chain(source), taken: Arc::clone(&taken) };
        let buffered = |source| BufReader::with_capacity(INPUT_BUFFER, source);
        let reader: Box<dyn Read + Send> = match compression {
            Compression::None => Box::new(source),
            Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(buffered(source))),
            Compression::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(buffered(source))?),
            Compression::Lz4 => Box::new(Frames(FrameDecoder::new(buffered(source)))),
        };
        Ok(Self { reader, compression, taken })
    }

    /// Bytes taken from the file or pipe so far, as they are stored there.
    pub(crate) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buffer)
    }
}

/// LZ4 frames in a row; the decoder itself ends with the first.
struct Frames<R: BufRead>(FrameDecoder<R>);

impl<R: BufRead> Read for Frames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = self.0.read(buffer)?;
            if count > 0 || buffer.is_empty() || self.0.get_mut().fill_buf()?.is_empty() {
                return Ok(count);
            }
        }
    }
}

struct Counted<R> {
    source: R,
    taken: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        self.taken.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// Counts what reaches the file.
pub(crate) struct Counting<W> {
    pub(crate) sink: W,
    pub(crate) written: u64,
}

impl<W: Write> Write for Counting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.sink.write(bytes)?;
        self.written += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}

/// Where bytes go to.
pub(crate) enum Output<W: Write> {
    Plain(Counting<W>),
    Gzip(flate2::write::GzEncoder<Counting<W>>),
    Zstd(zstd::stream::write::Encoder<'static, Counting<W>>),
    Lz4(Box<FrameEncoder<Counting<W>>>),
}

impl<W: Write> Output<W> {
    pub(crate) fn new(sink: W, compression: Compression) -> io::Result<Self> {
        let sink = Counting { sink, written: 0 };
        Ok(match compression {
            Compression::None => Self::Plain(sink),
            Compression::Gzip => {
                Self::Gzip(flate2::write::GzEncoder::new(sink, flate2::Compression::default()))
            }
            Compression::Zstd => Self::Zstd(zstd::stream::write::Encoder::new(sink, 0)?),
            Compression::Lz4 => {
                // What a killed recorder loses is at most a block.
                let frame = FrameInfo::new().block_size(BlockSize::Max256KB).block_mode(BlockMode::Linked);
                Self::Lz4(Box::new(FrameEncoder::with_frame_info(frame, sink)))
            }
        })
    }

    /// Bytes that have reached the sink; what the encoder still holds is not among them.
    pub(crate) fn written(&self) -> u64 {
        match self {
            Self::Plain(sink) => sink.written,
            Self::Gzip(encoder) => encoder.get_ref().written,
            Self::Zstd(encoder) => encoder.get_ref().written,
            Self::Lz4(encoder) => encoder.get_ref().written,
        }
    }

    /// Ends the stream; gives the sink and what it got.
    pub(crate) fn finish(self) -> io::Result<(W, u64)> {
        let mut sink = match self {
            Self::Plain(sink) => sink,
            Self::Gzip(encoder) => encoder.finish()?,
            Self::Zstd(encoder) => encoder.finish()?,
            Self::Lz4(encoder) => encoder.finish().map_err(io::Error::other)?,
        };
        sink.flush()?;
        Ok((sink.sink, sink.written))
    }
}

impl<W: Write> Write for Output<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(sink) => sink.write(bytes),
            Self::Gzip(encoder) => encoder.write(bytes),
            Self::Zstd(encoder) => encoder.write(bytes),
            Self::Lz4(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(sink) => sink.flush(),
            Self::Gzip(encoder) => encoder.flush(),
            Self::Zstd(encoder) => encoder.flush(),
            Self::Lz4(encoder) => encoder.flush(),
        }
    }
}
