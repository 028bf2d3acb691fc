//! CPU times of all threads, now and then, as the events `procinfo` that views of CPU usage read.
//!
//! In: a walk over the threads. Out: an event for each, with its user and system time so far in
//! hundredths of a second, as the schema's other writers have them.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use nabe_event::raw::{Event, Params};
use nabe_event::record::{Fixed as _, Kind, Records, Task};
use nabe_event::table::EventId;
use nabe_event::{Interest, Needs};

/// The time between samples: readers take a difference of a hundred for a whole CPU.
const EVERY: Duration = Duration::from_secs(1);
/// Nanoseconds of one unit.
const TICK_NS: u64 = 10_000_000;
/// Two numbers of eight bytes.
const LENGTHS: [u8; 4] = [8, 0, 8, 0];

/// A thread's times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sample {
    tid: u32,
    data: [u8; 16],
}

/// Samples on their way into the stream.
#[derive(Debug)]
pub(crate) struct Samples {
    cache: Option<PathBuf>,
    due: Instant,
    records: Vec<u8>,
    taken: Vec<Sample>,
}

impl Samples {
    /// The first ones come at once.
    pub(crate) fn new(cache: Option<PathBuf>) -> Self {
        Self { cache, due: Instant::now(), records: Vec::new(), taken: Vec::new() }
    }

    /// Takes samples when it is time to.
    pub(crate) fn look(&mut self) {
        let now = Instant::now();
        if now < self.due {
            return;
        }
        // From now on, not from when it was due: there is no catching up.
        self.due = now + EVERY;
        self.records.clear();
        let interest = Interest::all(Needs::TASK.and(Needs::THREADS));
        let how = crate::Options { backend: None, cache: self.cache.clone() };
        // What cannot be read now is read the next time.
        if crate::snapshot(&interest, &how, &mut self.records).is_ok() {
            self.taken.extend(samples(&self.records));
        }
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.taken.len()
    }

    /// They were handed out.
    pub(crate) fn clear(&mut self) {
        self.taken.clear();
    }

    /// Their events, at a time in ns since the epoch.
    pub(crate) fn events(&self, ts_ns: u64) -> impl Iterator<Item = Event<'_>> {
        let id = EventId::PROCINFO_E;
        self.taken.iter().filter_map(move |sample| {
            let params = Params::new(id, &LENGTHS, &sample.data)?;
            Some(Event { id, cpu: 0, flags: 0, ts_ns, tid: sample.tid.into(), params })
        })
    }
}

fn samples(records: &[u8]) -> impl Iterator<Item = Sample> + '_ {
    Records::new(records).map_while(Result::ok).filter(|record| record.kind == Some(Kind::Task)).map(
        |record| {
            let task = Task::decode(record.body);
            let mut data = [0; 16];
            for (place, ns) in data.chunks_exact_mut(8).zip([task.utime_ns, task.stime_ns]) {
                place.copy_from_slice(&(ns / TICK_NS).to_le_bytes());
            }
            Sample { tid: task.tid, data }
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_hundredths_of_a_second() {
        let mut samples = Samples::new(None);
        let mut records = Vec::new();
        for (tid, utime_ns, stime_ns) in [(7, 1_239_999_999, 10_000_000), (8, 0, 9_999_999)] {
            let task = Task { pid: 7, tid, utime_ns, stime_ns, ..Task::default() };
            nabe_event::record::write(&mut records, Kind::Task, 0, &task, &[]);
        }
        samples.taken.extend(super::samples(&records));
        let told: Vec<_> =
            samples.events(5).map(|event| (event.tid, event.unsigned(0), event.unsigned(1))).collect();
        assert_eq!(told, [(7, Some(123), Some(1)), (8, Some(0), Some(0))]);
    }

    #[test]
    fn samples_are_taken_once_a_second() {
        let mut samples = Samples::new(None);
        samples.look();
        let own = i64::from(std::process::id());
        assert!(samples.events(0).any(|event| event.tid == own));
        samples.clear();
        samples.due = Instant::now() + EVERY;
        samples.look();
        assert_eq!(samples.len(), 0);
    }
}
