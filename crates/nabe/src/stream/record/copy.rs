//! Captures rewritten as they are: what neither a filter nor a redactor looks at goes from the buffer
//! of the reader to the file, many events at a time.
//!
//! The file is, byte by byte, the one that the whole road gives. An event is copied when it stands in
//! the capture as the writer would write it and old readers miss nothing before it; any other is
//! written as ever. Nothing is known of threads and descriptors here: a file that begins later than its
//! section (SIGUSR1) needs the state of that moment, for which the captures are read once more.

use std::path::{Path, PathBuf};

use nabe_event::Item;
use nabe_event::raw::{Event, flag};
use nabe_event::table::EventId;
use nabe_scap::Reader;
use nabe_state::stream::Stream;

use super::compat::Codes;
use super::{Options, Recorder, Scope, broken};
use crate::error::{CliError, Result};
use crate::stream::stop::Stop;

/// Whether a file with these options is made without looking at what events mean.
pub fn is_plain(options: &Options) -> bool {
    let limits = options.limits;
    options.scope == Scope::All
        && options.redactor.is_idle()
        && !options.names.are_timed()
        && limits.bytes.is_none()
        && limits.span_ns.is_none()
        && limits.events.is_none()
}

/// A capture that is written.
pub struct Copy<'a> {
    recorder: Recorder,
    codes: Codes,
    stop: &'a Stop,
    /// What has been read to its end.
    before: Vec<PathBuf>,
}

impl<'a> Copy<'a> {
    /// Opens the file that is written. `options` are [plain](is_plain).
    pub fn new(options: Options, stop: &'a Stop) -> Result<Self> {
        let recorder = Recorder::new(options, None)?;
        Ok(Self { recorder, codes: Codes::default(), stop, before: Vec::new() })
    }

    /// Copies what `reader` has in memory next; returns whether there may be more. `path` is the file
    /// that it reads, `about` puts its error into words.
    pub fn step(
        &mut self,
        reader: &mut Reader,
        path: &Path,
        about: impl Fn(&nabe_scap::Error) -> CliError,
    ) -> Result<bool> {
        if self.stop.take_rotate() {
            let stream = self.state(path, reader.stats().events, &about)?;
            self.recorder.rotate(&stream)?;
        }
        if self.recorder.done {
            return Ok(false);
        }
        let Some(mut batch) = reader.batch().map_err(|error| about(&error))? else {
            self.before.push(path.to_path_buf());
            return Ok(false);
        };
        loop {
            let run = batch.run(|event| self.recorder.may_copy(event));
            self.recorder.copy(&run)?;
            match batch.next() {
                Some(Item::Event(event)) => self.event(&event)?,
                Some(item) => self.recorder.told(&item)?,
                None => return Ok(true),
            }
        }
    }

    fn event(&mut self, event: &Event<'_>) -> Result<()> {
        if event.flags & flag::SYNTHESISED != 0 {
            // It is made anew, where it is wanted.
            return Ok(());
        }
        if is_generic(event.id) {
            return self.recorder.put(&self.codes.restored(event), false);
        }
        self.recorder.put(event, false)
    }

    /// What is known behind so many events of `path`, and all files before it.
    fn state(
        &self,
        path: &Path,
        mut events: u64,
        about: impl Fn(&nabe_scap::Error) -> CliError,
    ) -> Result<Stream> {
        let mut stream = Stream::new();
        for (nth, path) in self.before.iter().map(PathBuf::as_path).chain([path]).enumerate() {
            let is_last = nth == self.before.len();
            let mut reader = Reader::open(path).map_err(|error| about(&error))?;
            while let Some(batch) = reader.batch().map_err(|error| about(&error))? {
                for item in batch {
                    if is_last && matches!(item, Item::Event(_)) {
                        let Some(left) = events.checked_sub(1) else { return Ok(stream) };
                        events = left;
                    }
                    stream.item(&item);
                }
            }
        }
        Ok(stream)
    }

    /// Completes the file.
    pub fn finish(&mut self) -> Result<()> {
        self.recorder.close()
    }

    /// Files, events and bytes that were written.
    pub fn written(&self) -> (u64, u64, u64) {
        self.recorder.written()
    }
}

impl Recorder {
    /// Whether the bytes of an event are those that would be written, with nothing before them.
    #[inline]
    fn may_copy(&mut self, event: &Event<'_>) -> bool {
        // Codes of these are other ones for old readers.
        !(is_generic(event.id) || self.options.compatible && self.enters.is_missing(event))
    }

    /// Takes over events that stand in a capture.
    fn copy(&mut self, run: &nabe_scap::Run<'_>) -> Result<()> {
        let Some(output) = &mut self.output else { return Ok(()) };
        debug_assert!(output.spool.is_none() && self.awake);
        output.writer.run(run).map_err(|error| broken(&output.place, &error))
    }
}

const fn is_generic(id: EventId) -> bool {
    matches!(id, EventId::GENERIC_E | EventId::GENERIC_X)
}

#[cfg(test)]
mod tests {
    use nabe_event::raw::Params;
    use nabe_event::table::EventId as Id;
    use nabe_scap::{Compression, Ending, Writer};

    use super::super::{Limits, Names, Redactor};
    use super::*;

    fn write(path: &Path, openings: u32) {
        let file = std::fs::File::create(path).unwrap();
        let mut writer = Writer::new(file, Compression::None).unwrap();
        let thread =
            nabe_event::item::Thread { tid: 7, pid: 7, comm: b"seven", ..nabe_event::item::Thread::UNKNOWN };
        writer.thread(&thread).unwrap();
        for fd in 0..openings {
            let name = format!("/some/file/{fd}\0");
            let data = [&i64::from(fd).to_le_bytes()[..], name.as_bytes(), &[0; 8]].concat();
            let lengths = [8, u16::try_from(name.len()).unwrap(), 4, 4].map(u16::to_le_bytes).concat();
            let params = Params::new(Id::SYSCALL_OPEN_X, &lengths, &data).unwrap();
            let event =
                Event { id: Id::SYSCALL_OPEN_X, cpu: 0, flags: 0, ts_ns: 1 + u64::from(fd), tid: 7, params };
            writer.event(&event).unwrap();
        }
        writer.finish().unwrap();
    }

    /// The descriptors that a file says were there, and its events.
    fn counts(path: &Path) -> (u64, u64) {
        let mut reader = Reader::open(path).unwrap();
        let (mut there, mut events) = (0, 0);
        while let Some(batch) = reader.batch().unwrap() {
            for item in batch {
                there += u64::from(matches!(item, Item::Descriptor(_)));
                events += u64::from(matches!(item, Item::Event(_)));
            }
        }
        assert!(matches!(reader.ending(), Ending::Complete));
        (there, events)
    }

    #[test]
    fn a_file_that_begins_later_has_the_state_of_then() {
        const EVENTS: u32 = 20_011;
        let scratch = tempfile::tempdir().unwrap();
        let [from, to, next] = ["from", "to", "to1"].map(|name| scratch.path().join(name));
        write(&from, EVENTS);
        let options = Options {
            names: Names::one(&to),
            compression: Compression::None,
            scope: Scope::All,
            fat: false,
            compatible: true,
            redactor: Redactor::new(&[], None),
            limits: Limits::default(),
        };
        assert!(is_plain(&options));
        let stop = Stop::default();
        let mut copy = Copy::new(options, &stop).unwrap();
        let mut reader = Reader::open(&from).unwrap();
        let about = |error: &nabe_scap::Error| CliError::failed("read").because(error);
        assert!(copy.step(&mut reader, &from, about).unwrap());
        stop.ask_rotate();
        while copy.step(&mut reader, &from, about).unwrap() {}
        copy.finish().unwrap();
        let ((none, first), (there, second)) = (counts(&to), counts(&next));
        assert_eq!((none, first, first + second), (0, there, u64::from(EVENTS)));
        assert!(first > 100 && second > 100, "{first} {second}");
    }
}
