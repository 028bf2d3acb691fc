//! The BPF ring buffer, read in place.
//!
//! The kernel's layout: a page whose first word is the consumer's position (ours to write), a page
//! with the producer's, then the data, mapped twice in a row so that no record is ever split. A
//! record is `u32` length (bit 31 while it is being written, bit 30 when it was given up), `u32`,
//! then its bytes, padded to 8. Positions only grow.

use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;

use super::record;
use super::sys::Shared;

const BUSY: u32 = 1 << 31;
const DISCARDED: u32 = 1 << 30;
/// Bytes before a record.
const HEADER: usize = 8;
/// Records that one look holds at most; two processors overtake each other by far less.
const WINDOW: usize = 8192;

/// A record that waits: its time, where its bytes are and how many.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    pub(crate) ts: u64,
    at: u32,
    len: u32,
    /// Position behind it.
    end: u64,
    /// Which ring it is in.
    ring: u32,
}

impl Slot {
    /// Whether it was given up by its writer.
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// The reading side.
#[derive(Debug)]
struct Ring {
    consumer: Shared,
    producer: Shared,
    page: usize,
    size: usize,
    /// Position up to which everything was handed out.
    read: u64,
    /// What the last look handed out, in the order of time.
    slots: Vec<Slot>,
}

impl Ring {
    /// Maps the ring of `size` bytes.
    fn open(map: impl AsFd, size: usize) -> io::Result<Self> {
        let page = rustix::param::page_size();
        let consumer = Shared::map(&map, 0, page, true)?;
        let producer = Shared::map(&map, page, page + 2 * size, false)?;
        Ok(Self { consumer, producer, page, size, read: 0, slots: Vec::with_capacity(WINDOW) })
    }

    /// Gives back what the last look handed out.
    fn release(&mut self) {
        self.read = self.position();
        self.slots.clear();
        if let Some(position) = self.consumer.u64(0) {
            position.store(self.read, Ordering::Release);
        }
    }

    /// Reads on, as far as a window goes. A record that is being written ends the look. Returns the
    /// time up to which it goes when there is more behind it.
    fn look(&mut self, ring: u32) -> Option<u64> {
        let end = self.end();
        let mut position = self.read;
        while position < end && self.slots.len() < WINDOW {
            let at = (position as usize) & (self.size - 1);
            let Some(header) = self.producer.u32(self.page + at) else { break };
            let header = header.load(Ordering::Acquire);
            if header & BUSY != 0 {
                break;
            }
            let len = (header & !DISCARDED) as usize;
            position += (HEADER + len.next_multiple_of(8)) as u64;
            let bytes = self.producer.bytes(self.page + at + HEADER, len).unwrap_or_default();
            // What was given up has no time: it goes with what stands before it.
            let ts = if header & DISCARDED == 0 { record::time(bytes) } else { None };
            let ts = ts.or_else(|| self.slots.last().map(|slot| slot.ts)).unwrap_or(0);
            let len = if header & DISCARDED == 0 { len as u32 } else { 0 };
            self.slots.push(Slot { ts, at: at as u32, len, end: position, ring });
        }
        (self.slots.len() == WINDOW).then(|| self.slots.iter().map(|slot| slot.ts).max().unwrap_or(0))
    }

    /// Keeps what is not younger than `horizon`, in the order of time; `alone` when no other ring has
    /// events of the same time.
    fn settle(&mut self, horizon: u64, alone: bool) {
        self.cut(horizon, alone);
        if !self.slots.is_sorted_by_key(|slot| slot.ts) {
            self.slots.sort_by_key(|slot| slot.ts);
        }
    }

    /// Keeps the longest beginning that nothing behind it can come before.
    fn cut(&mut self, horizon: u64, alone: bool) {
        let mut least = horizon;
        let mut keep = self.slots.len();
        // Seen from the end: every record from `keep` on is later than every one before.
        let mut most: Vec<u64> = Vec::new();
        if self.slots.is_sorted_by_key(|slot| slot.ts) {
            keep = self.slots.partition_point(|slot| slot.ts <= horizon);
        } else {
            most.extend(self.slots.iter().scan(0, |most, slot| {
                *most = slot.ts.max(*most);
                Some(*most)
            }));
            while let Some((slot, most)) =
                keep.checked_sub(1).and_then(|at| self.slots.get(at).zip(most.get(at)))
            {
                if *most <= least {
                    break;
                }
                least = least.min(slot.ts);
                keep -= 1;
            }
        }
        // A processor that stood still between its clock and the ring may come last of a whole
        // window: the window goes out all the same.
        if alone && keep == 0 && self.slots.len() == WINDOW {
            return;
        }
        self.slots.truncate(keep);
    }

    /// The bytes of a record; empty for one that was given up.
    #[inline]
    fn record(&self, slot: &Slot) -> &[u8] {
        self.producer.bytes(self.page + slot.at as usize + HEADER, slot.len as usize).unwrap_or_default()
    }

    /// The producer's position.
    fn end(&self) -> u64 {
        self.producer.u64(0).map_or(self.read, |position| position.load(Ordering::Acquire))
    }

    /// Position up to which the slots go.
    fn position(&self) -> u64 {
        self.slots.iter().map(|slot| slot.end).max().unwrap_or(self.read)
    }

    /// Bytes that wait.
    fn waiting(&self) -> usize {
        usize::try_from(self.end().saturating_sub(self.read)).unwrap_or(usize::MAX)
    }
}

/// The reading side of all rings, as if they were one.
#[derive(Debug)]
pub(crate) struct Rings {
    rings: Vec<Ring>,
    /// What the last look found in several rings, in the order of time.
    merged: Vec<Slot>,
}

impl Rings {
    /// Maps rings of `size` bytes each.
    pub(crate) fn open(maps: &[impl AsFd], size: usize) -> io::Result<Self> {
        let rings = maps.iter().map(|map| Ring::open(map, size)).collect::<io::Result<_>>()?;
        Ok(Self { rings, merged: Vec::new() })
    }

    /// Gives back what the last look handed out.
    pub(crate) fn release(&mut self) {
        self.rings.iter_mut().for_each(Ring::release);
        self.merged.clear();
    }

    /// Gives back what the last look handed out, then looks again: what follows is in
    /// [`Self::slots`], in the order of time, up to `horizon` on the boot clock.
    pub(crate) fn look(&mut self, horizon: u64) {
        self.release();
        let mut until = horizon;
        for (number, ring) in (0..).zip(&mut self.rings) {
            // What another ring has of later goes with what is still in this one.
            until = until.min(ring.look(number).unwrap_or(u64::MAX));
        }
        if let [only] = self.rings.as_mut_slice() {
            return only.settle(horizon, true);
        }
        for ring in &mut self.rings {
            ring.settle(until, false);
            self.merged.extend_from_slice(&ring.slots);
        }
        // Each ring is a run in order already: the sort merges them.
        self.merged.sort_by_key(|slot| slot.ts);
    }

    /// What the last look handed out.
    pub(crate) fn slots(&self) -> &[Slot] {
        match self.rings.as_slice() {
            [only] => &only.slots,
            _ => &self.merged,
        }
    }

    /// The bytes of a record; empty for one that was given up.
    #[inline]
    pub(crate) fn record(&self, slot: &Slot) -> &[u8] {
        self.rings.get(slot.ring as usize).map_or(&[], |ring| ring.record(slot))
    }

    /// Where the producers are, all together: it only grows.
    pub(crate) fn end(&self) -> u64 {
        self.rings.iter().map(Ring::end).sum()
    }

    /// Where the slots end, all together.
    pub(crate) fn position(&self) -> u64 {
        self.rings.iter().map(Ring::position).sum()
    }

    /// Bytes that wait in the fullest.
    pub(crate) fn waiting(&self) -> usize {
        self.rings.iter().map(Ring::waiting).max().unwrap_or(0)
    }
}
