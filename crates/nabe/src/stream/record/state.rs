//! The state with which a file begins: what of it is written, and how.

use std::collections::HashSet;

use nabe_event::Item;
use nabe_event::item::Section;
use nabe_event::raw::{Event, flag};
use nabe_scap::Writer;
use nabe_state::stream::{Stream, Thread};

use super::{Destination, Options, compat};

/// What is told about the stream or the machine, not done by a thread.
pub(super) enum Told<'a> {
    /// A container, by its document.
    Container(&'a [u8]),
    /// A user or a group.
    Account,
    /// Events that were lost.
    Loss,
}

impl<'a> Told<'a> {
    pub(super) fn of(event: &Event<'a>) -> Option<Self> {
        let text =
            |name: &str| event.id.row().param(name).and_then(|(at, _)| event.text(at)).unwrap_or_default();
        match event.id.name() {
            "container" if event.id.row().param("json").is_some() => Some(Self::Container(text("json"))),
            "container" => Some(Self::Container(text("id"))),
            "asyncevent" if text("name").starts_with(b"container") => Some(Self::Container(text("data"))),
            "asyncevent" if text("name") == b"loss" => Some(Self::Loss),
            "useradded" | "userdeleted" | "groupadded" | "groupdeleted" => Some(Self::Account),
            _ => None,
        }
    }
}

/// The threads above it, as far as they are known.
pub(super) fn ancestors(stream: &Stream, thread: &Thread) -> HashSet<i64> {
    let mut found = HashSet::new();
    let mut next = thread.ptid;
    while next >= 0 && found.len() < 64 && found.insert(next) {
        let Some(parent) = stream.thread(next) else { break };
        found.insert(parent.pid);
        next = parent.ptid;
    }
    found
}

/// Writes the state with which a file begins.
pub(super) fn write_state(
    stream: &Stream,
    options: &Options,
    writer: &mut Writer<Destination>,
) -> std::result::Result<(), nabe_scap::Error> {
    let mut result = Ok(());
    stream.items(|_| true, &mut |item| {
        if result.is_ok() {
            result = write_item(&item, options, writer);
        }
    });
    result
}

/// Writes an item of that state, with what old readers and the redactor want.
pub(super) fn write_item(
    item: &Item<'_>,
    options: &Options,
    writer: &mut Writer<Destination>,
) -> std::result::Result<(), nabe_scap::Error> {
    let redactor = &options.redactor;
    match item {
        // Options name the machine and program, and old readers refuse files that have any.
        Item::Section(_) => writer.section(&Section::CURRENT),
        Item::Thread(thread) if !redactor.is_idle() => {
            redactor.thread(thread, |thread| writer.item(&Item::Thread(Box::new(*thread))))
        }
        Item::Descriptor(found) => {
            let found = if options.compatible { compat::descriptor(found) } else { *found };
            redactor.descriptor(&found, |found| writer.item(&Item::Descriptor(*found)))
        }
        // A file of its own begins with the containers that its section had told of.
        Item::Event(event) => {
            let hidden = Event { flags: event.flags | flag::STATE_ONLY, ..*event };
            let written = match Told::of(event) {
                Some(Told::Container(document)) if options.compatible => {
                    compat::container(event, document, |event| writer.event(event))
                }
                _ => None,
            };
            written.unwrap_or_else(|| writer.event(&hidden))
        }
        item => writer.item(item),
    }
}
