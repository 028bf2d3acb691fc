//! An event with what is known about it: it answers every field.

use std::cell::OnceCell;

use nabe_event::field::{Class, FieldId};
use nabe_event::raw::Event;
use nabe_event::table::Flags;
use nabe_event::{Fields, Missing, Value};

use super::descriptor::Descriptor;
use super::render::Renderer;
use super::scratch::Scratch;
use super::transition::Act;
use super::{Container, Stream, Thread};

#[rustfmt::skip]
mod category;
mod event;
mod fd;
mod list;
mod metadata;
mod process;

pub(crate) use process::shows_usage;

/// An event, its thread, its descriptor and its container.
pub struct Seen<'s> {
    pub(crate) stream: &'s Stream,
    pub(crate) event: Event<'s>,
    pub(crate) thread: Option<&'s Thread>,
    pub(crate) scratch: Scratch,
    types: OnceCell<list::AllTypes>,
}

/// No value.
const UNSET: Value<'static> = Value::Missing(Missing::Unset);

impl<'s> Seen<'s> {
    /// The event must be the one that the stream took in last.
    #[inline]
    pub(crate) fn new(stream: &'s Stream, event: Event<'s>) -> Self {
        let act = Act::of(event.id);
        let thread = match stream.current.slot() {
            Some(slot) => stream.threads.at(slot),
            None if act.is_container => Some(&stream.teller),
            None => None,
        };
        Self { stream, event, thread, scratch: Scratch::default(), types: OnceCell::new() }
    }

    /// The image of its thread: a number that is another one as soon as anything about the process
    /// or its ancestors, its container or its user may be different, and that is never given twice.
    /// Whoever judges by fields of [`super::is_of_image`] only may keep the verdict by it. 0 when the
    /// event has no thread; keep nothing by that.
    #[must_use]
    pub fn image(&self) -> u64 {
        self.stream.current.image()
    }

    /// The same for the name and the ends of the descriptor that it works on
    /// ([`Descriptor::generation`]); 0 for none.
    #[must_use]
    pub fn descriptor_generation(&self) -> u64 {
        self.descriptor().map_or(0, |found| found.generation)
    }

    /// Whether what is known of its descriptor is older than a gap in the stream: it may have been
    /// closed, and another one opened, by events that are lost.
    #[must_use]
    pub fn is_doubtful(&self) -> bool {
        self.descriptor().is_some_and(|found| found.generation <= self.stream.doubted)
    }

    /// The event as the source has it.
    #[must_use]
    pub fn event(&self) -> &Event<'s> {
        &self.event
    }

    /// The state just behind the event.
    #[must_use]
    pub fn state(&self) -> &'s Stream {
        self.stream
    }

    /// Its number, from 1.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.stream.number
    }

    /// The thread that it happened to.
    #[must_use]
    pub fn thread(&self) -> Option<&'s Thread> {
        self.thread
    }

    /// Whether people see it: it is neither internal nor there for its effect on the state only.
    #[must_use]
    pub fn is_shown(&self) -> bool {
        self.stream.current.is_shown()
    }

    /// Whether it only tells what was there when the capture began: captures open with events of
    /// containers, users and groups.
    #[must_use]
    pub fn is_prologue(&self) -> bool {
        self.stream.prologue
    }

    /// The container of the thread.
    #[must_use]
    pub fn container(&self) -> Option<&'s Container> {
        let id = &*self.thread?.container;
        self.stream.containers.get(id)
    }

    /// Whether it works on a descriptor at all.
    fn has_fd(&self) -> bool {
        let flags = self.event.id.row().flags;
        flags.has(Flags::USES_FD) || flags.has(Flags::CREATES_FD) || flags.has(Flags::DESTROYS_FD)
    }

    /// The descriptor that it works on: its number; -1 for none.
    fn fd(&self) -> i64 {
        self.thread.filter(|_| self.has_fd()).map_or(-1, |thread| thread.last_fd)
    }

    /// What is known of that descriptor.
    #[must_use]
    pub fn descriptor(&self) -> Option<&'s Descriptor> {
        let fd = self.fd();
        let found = self.stream.descriptor(self.event.tid, fd).filter(|_| fd >= 0)?;
        Some(found)
    }

    fn renderer(&self) -> Renderer<'_> {
        Renderer { stream: self.stream, event: &self.event }
    }

    fn keep(&self, text: impl Into<Vec<u8>>) -> Value<'_> {
        Value::Text(self.scratch.keep(text.into()))
    }

    /// A text made by `write`.
    fn made(&self, write: impl FnOnce(&mut Vec<u8>)) -> Value<'_> {
        // Most lines of parameters are shorter than this.
        let mut text = Vec::with_capacity(192);
        write(&mut text);
        self.keep(text)
    }

    /// A text that is there unless it is empty.
    fn some(text: &str) -> Value<'_> {
        if text.is_empty() { UNSET } else { Value::Text(text.as_bytes()) }
    }
}

fn flag_of(value: Option<bool>) -> Value<'static> {
    value.map_or(UNSET, Value::Bool)
}

fn unsigned(value: Option<u64>) -> Value<'static> {
    value.map_or(UNSET, Value::Uint)
}

fn text(value: Option<&[u8]>) -> Value<'_> {
    value.map_or(UNSET, Value::Text)
}

fn word(value: Option<&'static str>) -> Value<'static> {
    value.map_or(UNSET, |word| Value::Text(word.as_bytes()))
}

impl Fields for Seen<'_> {
    fn get(&self, field: FieldId, arg: Option<&[u8]>) -> Value<'_> {
        match field.class() {
            Class::Event => self.of_event(field, arg),
            Class::Thread | Class::Process => match self.thread {
                Some(thread) => self.of_thread(thread, field, arg),
                None if field == nabe_event::field::process::TID && self.event.tid >= 0 => {
                    Value::Int(self.event.tid)
                }
                None if field == nabe_event::field::thread::EXECTIME => self.exec_time(),
                None => UNSET,
            },
            Class::Descriptor | Class::File => self.of_descriptor(field, arg),
            Class::Container | Class::Metadata => self.of_container(field, arg),
            Class::Audit => UNSET,
        }
    }

    #[inline]
    fn append(&self, field: FieldId, _: Option<&[u8]>, out: &mut Vec<u8>) -> bool {
        self.append_of_event(field, out)
    }

    fn related(&self, _: FieldId, _: &mut dyn FnMut(&dyn Fields) -> bool) -> Option<usize> {
        None
    }
}
