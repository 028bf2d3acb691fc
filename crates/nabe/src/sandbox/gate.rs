//! What stands before the recorder of a run: it lets through what is the specimen's, and copies programs
//! that are in memory only while they are there.

use std::cell::{Cell, RefCell};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::rc::Rc;

use nabe_event::field::process as p;
use nabe_event::{Fields as _, Item, Value};
use nabe_state::stream::{Seen, Stream};

use crate::error::Result;
use crate::stream::record::Recorder;
use crate::stream::{Sink, Wants};

/// Programs from memory that are copied, and the bytes of each.
pub const MAX_MEMORY: (usize, u64) = (16, 64 << 20);

/// Stands before the recorder: nothing passes before the specimen's first instruction, and nothing of the
/// container's init ever.
pub struct Gate {
    recorder: Recorder,
    /// The container's first process.
    init: i64,
    open: bool,
    /// Programs from memory that were gone before they could be copied.
    pub missed: Rc<Cell<u64>>,
    /// Where programs from memory are copied to.
    memory: PathBuf,
    copied: RefCell<usize>,
}

impl Gate {
    /// Before `recorder`, for the container with this first process; programs from memory go to `memory`.
    pub fn new(recorder: Recorder, init: i32, memory: PathBuf) -> Self {
        let copied = RefCell::new(0);
        Self { recorder, init: i64::from(init), open: false, missed: Rc::default(), memory, copied }
    }

    /// Copies a program that is in memory only while the process is there; whether it was.
    fn copy(&self, seen: &Seen<'_>) -> bool {
        let number = |field| match seen.get(field, None) {
            Value::Int(number) => Some(number),
            _ => None,
        };
        let mut copied = self.copied.borrow_mut();
        let (Some(pid), true) = (number(p::PID), *copied < MAX_MEMORY.0) else { return false };
        let exe = PathBuf::from(format!("/proc/{pid}/exe"));
        let Ok(file) = File::open(&exe) else { return false };
        // Only what no directory has.
        let name = fs::read_link(&exe).unwrap_or_default().to_string_lossy().into_owned();
        if !name.starts_with("/memfd:") || file.metadata().map_or(0, |m| m.size()) > MAX_MEMORY.1 {
            return false;
        }
        let path = self.memory.join(copied.to_string());
        let done = fs::create_dir_all(&self.memory)
            .and_then(|()| File::create(&path))
            .and_then(|mut to| io::copy(&mut &file, &mut to))
            .and_then(|_| fs::write(path.with_extension("name"), format!("{name} of process {pid}")));
        *copied += usize::from(done.is_ok());
        done.is_ok()
    }
}

impl Sink for Gate {
    fn wants(&self) -> Wants {
        Wants::All
    }
    fn item(&mut self, item: &Item<'_>, stream: &Stream) -> Result<()> {
        self.recorder.item(item, stream)
    }
    fn seen(&mut self, seen: &Seen<'_>) -> Result<()> {
        let event = seen.event();
        if event.tid == self.init {
            return self.recorder.other(seen, false);
        }
        let executes = matches!(event.id.name(), "execve" | "execveat") && event.signed(0) == Some(0);
        if executes && !event.id.is_enter() {
            self.open = true;
            let from_memory = matches!(seen.get(p::EXE_MEMFD, None), Value::Bool(true));
            if from_memory && !self.copy(seen) {
                self.missed.set(self.missed.get() + 1);
            }
        }
        if self.open { self.recorder.seen(seen) } else { self.recorder.other(seen, false) }
    }
    fn other(&mut self, seen: &Seen<'_>, selected: bool) -> Result<()> {
        self.recorder.other(seen, selected)
    }
    fn idle(&mut self, live: bool, stream: &Stream) -> Result<()> {
        self.recorder.idle(live, stream)
    }
    fn finish(&mut self, stream: &Stream) -> Result<()> {
        self.recorder.finish(stream)
    }
}
