//! Records in the ring, as the event programs write them (`bpf/event.h`).
//!
//! Layout, in the order of the machine's bytes: `u64` boot clock, `u32` thread, `u32` process, `u16`
//! event, `u16` processor, `u16` count of parameters, `u16` flags; then a `u16` length for each
//! parameter; then the parameters back to back. Read as hostile: what does not fit is `None`.

use nabe_event::raw::{Event, Params};
use nabe_event::table::EventId;

/// Bytes before the lengths.
pub const HEAD: usize = 24;

/// The boot clock's time of a record.
#[must_use]
#[inline]
pub fn time(record: &[u8]) -> Option<u64> {
    record.first_chunk().map(|bytes| u64::from_ne_bytes(*bytes))
}

/// The event of a record, borrowed; `epoch_ns` is when the boot clock stood at 0.
#[must_use]
#[inline]
pub fn decode(record: &[u8], epoch_ns: u64) -> Option<Event<'_>> {
    let (head, rest) = record.split_first_chunk::<HEAD>()?;
    let u16_at =
        |at: usize| head.get(at..at + 2).and_then(<[u8]>::first_chunk).map(|b| u16::from_ne_bytes(*b));
    let ts = time(record)?;
    let tid = head.get(8..).and_then(<[u8]>::first_chunk).map(|bytes| u32::from_ne_bytes(*bytes))?;
    let id = EventId::new(u16_at(16)?)?;
    let (lengths, data) = rest.split_at_checked(2 * usize::from(u16_at(20)?))?;
    let params = Params::new(id, lengths, data)?;
    Some(Event {
        id,
        cpu: u16_at(18)?,
        flags: u32::from(u16_at(22)?),
        ts_ns: epoch_ns.wrapping_add(ts),
        tid: i64::from(tid),
        params,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(event: u16, count: u16, lengths: &[u16], data: &[u8]) -> Vec<u8> {
        let mut out = 7_u64.to_ne_bytes().to_vec();
        out.extend_from_slice(&42_u32.to_ne_bytes());
        out.extend_from_slice(&41_u32.to_ne_bytes());
        for number in [event, 3, count, 1].into_iter().chain(lengths.iter().copied()) {
            out.extend_from_slice(&number.to_ne_bytes());
        }
        out.extend_from_slice(data);
        out
    }

    #[test]
    fn a_record_becomes_its_event() {
        let mut data = (-9_i64).to_le_bytes().to_vec();
        data.extend_from_slice(&5_i64.to_le_bytes());
        let bytes = record(EventId::SYSCALL_CLOSE_X.number(), 2, &[8, 8], &data);
        let event = decode(&bytes, 1000).unwrap();
        assert_eq!((event.ts_ns, event.tid, event.cpu, event.flags), (1007, 42, 3, 1));
        assert_eq!((event.signed(0), event.signed(1)), (Some(-9), Some(5)));
    }

    #[test]
    fn what_does_not_fit_is_no_event() {
        let close = EventId::SYSCALL_CLOSE_X.number();
        assert_eq!(decode(&[0; HEAD - 1], 0), None);
        assert_eq!(decode(&record(EventId::COUNT, 0, &[], &[]), 0), None);
        assert_eq!(decode(&record(close, 3, &[8, 8], &[0; 1]), 0), None);
        assert_eq!(decode(&record(close, 2, &[8, 8], &[0; 15]), 0), None);
        assert!(decode(&record(close, 0, &[], &[]), 0).is_some());
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_an_event_within_them_or_none(
            event in 0..EventId::COUNT + 9,
            count in 0..40_u16,
            rest in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200),
        ) {
            let mut bytes = record(event, count, &[], &[]);
            // Short lengths, so that some fit.
            bytes.extend(rest.iter().enumerate().map(|(at, byte)| if at % 2 == 1 { 0 } else { byte % 16 }));
            if let Some(event) = decode(&bytes, 7) {
                let data: usize = event.params.iter().map(<[u8]>::len).sum();
                proptest::prop_assert!(HEAD + event.params.lengths().len() + data <= bytes.len());
            }
        }
    }
}
