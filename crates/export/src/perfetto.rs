//! Perfetto's trace: a protobuf `Trace` of `TracePacket`s.
//!
//! Each thread is a track; a system call whose beginning was seen is a slice on it, any other event a
//! moment. Numbers of fields stand in perfetto `protos/perfetto/trace/trace_packet.proto`,
//! `track_event/{track_event,track_descriptor,thread_descriptor,process_descriptor}.proto`; the few
//! that are needed are encoded here by hand, since varints and lengths are all there is to it. Packets
//! name no clock: one that is named needs snapshots that relate it to others.

use std::collections::HashMap;

use nabe_event::Fields;
use nabe_event::raw::Event;

use crate::field::{self, Who};
use crate::{Error, Export};

/// Threads that have a track.
const MAX_THREADS: usize = 1 << 18;
/// The one sequence of packets that there is.
const SEQUENCE: u64 = 1;

mod number {
    //! Numbers of fields.
    pub(super) const TRACE_PACKET: u64 = 1;
    pub(super) mod packet {
        pub(crate) const TIMESTAMP: u64 = 8;
        pub(crate) const SEQUENCE_ID: u64 = 10;
        pub(crate) const TRACK_EVENT: u64 = 11;
        pub(crate) const SEQUENCE_FLAGS: u64 = 13;
        pub(crate) const TRACK_DESCRIPTOR: u64 = 60;
    }
    pub(super) mod event {
        pub(crate) const ANNOTATIONS: u64 = 4;
        pub(crate) const TYPE: u64 = 9;
        pub(crate) const TRACK: u64 = 11;
        pub(crate) const NAME: u64 = 23;
    }
    pub(super) mod annotation {
        pub(crate) const STRING: u64 = 6;
        pub(crate) const NAME: u64 = 10;
    }
    pub(super) mod track {
        pub(crate) const UUID: u64 = 1;
        pub(crate) const PROCESS: u64 = 3;
        pub(crate) const THREAD: u64 = 4;
        pub(crate) const PARENT: u64 = 5;
    }
    pub(super) mod process {
        pub(crate) const PID: u64 = 1;
        pub(crate) const NAME: u64 = 6;
    }
    pub(super) mod thread {
        pub(crate) const PID: u64 = 1;
        pub(crate) const TID: u64 = 2;
        pub(crate) const NAME: u64 = 5;
    }
}

/// Kinds of a track event.
const SLICE_BEGIN: u64 = 1;
const SLICE_END: u64 = 2;
const INSTANT: u64 = 3;
/// `SEQ_INCREMENTAL_STATE_CLEARED`.
const CLEARED: u64 = 1;

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A number.
fn scalar(out: &mut Vec<u8>, field: u64, value: u64) {
    varint(out, field << 3);
    varint(out, value);
}

/// A text, or a message within a message.
fn bytes(out: &mut Vec<u8>, field: u64, value: &[u8]) {
    varint(out, field << 3 | 2);
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

/// A protobuf string is UTF-8.
fn text(out: &mut Vec<u8>, field: u64, value: &[u8]) {
    bytes(out, field, String::from_utf8_lossy(value).as_bytes());
}

#[derive(Debug, Default)]
pub(crate) struct Perfetto {
    begun: bool,
    /// The names under which tracks were told, by thread.
    tracks: HashMap<i64, Box<[u8]>>,
    processes: HashMap<i64, ()>,
    left_out: u64,
}

/// The track of a thread, and of a process.
fn uuid(id: i64, process: bool) -> u64 {
    id.cast_unsigned() << 1 | u64::from(process)
}

impl Perfetto {
    fn packet(&mut self, out: &mut Vec<u8>, ts_ns: Option<u64>, fill: impl FnOnce(&mut Vec<u8>)) {
        let mut packet = Vec::with_capacity(128);
        if let Some(ts_ns) = ts_ns {
            scalar(&mut packet, number::packet::TIMESTAMP, ts_ns);
        }
        scalar(&mut packet, number::packet::SEQUENCE_ID, SEQUENCE);
        if !core::mem::replace(&mut self.begun, true) {
            scalar(&mut packet, number::packet::SEQUENCE_FLAGS, CLEARED);
        }
        fill(&mut packet);
        bytes(out, number::TRACE_PACKET, &packet);
    }

    /// Tells of the thread's track; returns whether there is one.
    fn track(&mut self, who: &Who<'_>, out: &mut Vec<u8>) -> bool {
        if self.tracks.get(&who.tid).is_some_and(|name| **name == *who.name) {
            return true;
        }
        if self.tracks.len() >= MAX_THREADS && !self.tracks.contains_key(&who.tid) {
            return false;
        }
        self.tracks.insert(who.tid, (&*who.name).into());
        if self.processes.insert(who.pid, ()).is_none() || who.pid == who.tid {
            let mut process = Vec::new();
            scalar(&mut process, number::process::PID, who.pid.cast_unsigned());
            text(&mut process, number::process::NAME, &who.name);
            let mut track = Vec::new();
            scalar(&mut track, number::track::UUID, uuid(who.pid, true));
            bytes(&mut track, number::track::PROCESS, &process);
            self.packet(out, None, |packet| bytes(packet, number::packet::TRACK_DESCRIPTOR, &track));
        }
        let mut thread = Vec::new();
        scalar(&mut thread, number::thread::PID, who.pid.cast_unsigned());
        scalar(&mut thread, number::thread::TID, who.tid.cast_unsigned());
        text(&mut thread, number::thread::NAME, &who.name);
        let mut track = Vec::new();
        scalar(&mut track, number::track::UUID, uuid(who.tid, false));
        scalar(&mut track, number::track::PARENT, uuid(who.pid, true));
        bytes(&mut track, number::track::THREAD, &thread);
        self.packet(out, None, |packet| bytes(packet, number::packet::TRACK_DESCRIPTOR, &track));
        true
    }
}

impl Export for Perfetto {
    fn event(&mut self, event: &Event<'_>, fields: &dyn Fields, out: &mut Vec<u8>) -> Result<(), Error> {
        if field::is_beginning(event) {
            return Ok(());
        }
        let who = Who::of(event, fields);
        if !self.track(&who, out) {
            self.left_out += 1;
            return Ok(());
        }
        let latency = field::latency(event, fields);
        let name = field::text(fields, field::id("evt.type")).unwrap_or_default();
        let mut info = Vec::new();
        text(&mut info, number::annotation::NAME, b"args");
        text(
            &mut info,
            number::annotation::STRING,
            &field::text(fields, field::id("evt.args")).unwrap_or_default(),
        );
        let mut begin = Vec::new();
        scalar(&mut begin, number::event::TYPE, if latency.is_some() { SLICE_BEGIN } else { INSTANT });
        scalar(&mut begin, number::event::TRACK, uuid(who.tid, false));
        text(&mut begin, number::event::NAME, &name);
        bytes(&mut begin, number::event::ANNOTATIONS, &info);
        let started = event.ts_ns.saturating_sub(latency.unwrap_or(0));
        self.packet(out, Some(started), |packet| bytes(packet, number::packet::TRACK_EVENT, &begin));
        if latency.is_some() {
            let mut end = Vec::new();
            scalar(&mut end, number::event::TYPE, SLICE_END);
            scalar(&mut end, number::event::TRACK, uuid(who.tid, false));
            self.packet(out, Some(event.ts_ns), |packet| bytes(packet, number::packet::TRACK_EVENT, &end));
        }
        Ok(())
    }

    fn finish(&mut self, _: &mut Vec<u8>) -> Result<(), Error> {
        Ok(())
    }

    fn left_out(&self) -> u64 {
        self.left_out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_varints() {
        let mut out = Vec::new();
        scalar(&mut out, 11, 300);
        bytes(&mut out, 23, b"ab");
        assert_eq!(out, [0x58, 0xac, 0x02, 0xba, 0x01, 2, b'a', b'b']);
    }
}
