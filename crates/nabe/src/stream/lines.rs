//! Events as lines of text or of JSON on stdout.

use std::io::Write;

use nabe_event::FieldId;
use nabe_state::stream::{Seen, Stream};
use nabe_ui::print::event::EventFormat;

use super::Sink;
use crate::error::{CliError, Result};

/// Bytes of output that are gathered before they are written.
const CHUNK: usize = 1 << 16;

/// Stdout with one buffer in front of it.
pub struct Stdout {
    buffer: Vec<u8>,
    /// Every line is written at once.
    unbuffered: bool,
}

impl Stdout {
    /// Gathers lines, unless they are to be written one by one.
    pub fn new(unbuffered: bool) -> Self {
        Self { buffer: Vec::with_capacity(2 * CHUNK), unbuffered }
    }

    /// Where text is appended; [`Self::line`] ends it.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// What was appended is whole: it is written when there is enough.
    #[inline]
    pub fn line(&mut self) -> Result<()> {
        if self.buffer.len() >= CHUNK || self.unbuffered { self.flush() } else { Ok(()) }
    }

    /// Writes what there is.
    pub fn flush(&mut self) -> Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let mut out = std::io::stdout().lock();
        let written = out.write_all(&self.buffer).and_then(|()| out.flush());
        self.buffer.clear();
        written.map_err(|error| CliError::output(&error))
    }
}

/// Prints each event in a format.
pub struct Lines {
    format: EventFormat,
    json: bool,
    out: Stdout,
}

impl Lines {
    /// Lines of `format`, or JSON objects with its fields.
    pub fn new(format: EventFormat, json: bool, unbuffered: bool) -> Self {
        Self { format, json, out: Stdout::new(unbuffered) }
    }
}

impl Sink for Lines {
    fn reads(&self) -> Option<Vec<FieldId>> {
        Some(self.format.fields().collect())
    }

    #[inline]
    fn seen(&mut self, seen: &Seen<'_>) -> Result<()> {
        let printed = if self.json {
            self.format.json(seen, self.out.buffer())
        } else {
            self.format.line(seen, self.out.buffer())
        };
        if !printed {
            return Ok(());
        }
        self.out.buffer().push(b'\n');
        self.out.line()
    }

    fn idle(&mut self, live: bool, _: &Stream) -> Result<()> {
        if live { self.out.flush() } else { Ok(()) }
    }

    fn finish(&mut self, _: &Stream) -> Result<()> {
        self.out.flush()
    }
}
