//! The state of real captures: taken out as items and taken in again, it is the same.

#[path = "../../scap/tests/shared/mod.rs"]
mod shared;

use std::collections::HashMap;

use nabe_event::field::{descriptor as d, event as e, process as p, thread as t};
use nabe_event::{FieldId, Fields, Item, Value};
use nabe_scap::{Compression, Reader, Writer};
use nabe_state::stream::{Stream, is_of_image};

/// The state as the bytes of a capture.
fn written(stream: &Stream) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), Compression::None).expect("a writer");
    stream.items(|_| true, &mut |item| writer.item(&item).expect("an item"));
    writer.finish().expect("the end").0
}

fn read(bytes: Vec<u8>, stream: &mut Stream) {
    each(Reader::new(std::io::Cursor::new(bytes)).expect("a capture"), |item| {
        stream.item(item);
    });
}

fn each(mut reader: Reader, mut take: impl FnMut(&Item<'_>)) {
    while let Some(batch) = reader.batch().expect("a batch") {
        for item in batch {
            take(&item);
        }
    }
}

#[test]
fn a_state_is_the_same_after_a_file() {
    let Some(data) = shared::data("a_state_is_the_same_after_a_file") else { return };
    for capture in shared::captures(&data) {
        let mut stream = Stream::new();
        each(Reader::open(&capture.path).expect("a capture"), |item| {
            stream.item(item);
        });
        let first = written(&stream);
        let mut again = Stream::new();
        read(first.clone(), &mut again);
        let second = written(&again);
        // The kernel's addresses of unix sockets are part of a name that events make, not of one
        // that a snapshot tells.
        assert_eq!(first.len(), second.len(), "{}", capture.name);
        let mut once_more = Stream::new();
        read(second.clone(), &mut once_more);
        assert!(second == written(&once_more), "{}", capture.name);
        assert!(stream.thread_count() >= again.thread_count(), "{}", capture.name);
    }
}

fn shown(value: &Value<'_>) -> String {
    match value {
        Value::Text(text) => String::from_utf8_lossy(text).into_owned(),
        other => format!("{other:?}"),
    }
}

/// Fields that depend on the state.
const FIELDS: &[FieldId] =
    &[p::NAME, p::PID, p::PPID, p::CMDLINE, p::CWD, p::USER, d::TYPECHAR, d::NAME, t::PNAME, e::ARGS];

#[test]
fn the_second_half_reads_the_same_from_a_dump() {
    let Some(data) = shared::data("the_second_half_reads_the_same_from_a_dump") else { return };
    let (mut values, mut different) = (0u64, 0u64);
    for capture in shared::captures(&data) {
        let (mut whole, mut half) = (Stream::new(), Stream::new());
        let middle = capture.events / 2;
        each(Reader::open(&capture.path).expect("a capture"), |item| {
            if whole.events() < middle || !matches!(item, Item::Event(_)) {
                whole.item(item);
                return;
            }
            if half.events() == 0 {
                read(written(&whole), &mut half);
            }
            let (Some(one), Some(two)) = (whole.item(item), half.item(item)) else { return };
            for field in FIELDS {
                values += 1;
                let (one, two) = (shown(&one.get(*field, None)), shown(&two.get(*field, None)));
                different += u64::from(one != two);
                if one != two && std::env::var_os("NABE_SHOW").is_some() {
                    eprintln!("{} {}: {one:?} {two:?}", capture.name, field.field().name);
                }
            }
        });
    }
    assert!(values > 100_000, "{values}");
    assert!(different * 500 < values, "{different} of {values} values differ");
}

#[test]
fn an_image_says_the_same_for_as_long_as_it_is() {
    let Some(data) = shared::data("an_image_says_the_same_for_as_long_as_it_is") else { return };
    let fields: Vec<FieldId> =
        nabe_event::field::all().map(|field| field.id).filter(|field| is_of_image(*field)).collect();
    assert!(fields.len() > 80, "{}", fields.len());
    let (mut events, mut images) = (0usize, 0usize);
    for capture in shared::captures(&data) {
        let mut stream = Stream::new();
        let mut said: HashMap<u64, String> = HashMap::new();
        let mut counts: HashMap<u64, u64> = HashMap::new();
        each(Reader::open(&capture.path).expect("a capture"), |item| {
            let Some(seen) = stream.item(item).filter(|seen| seen.image() != 0) else { return };
            // The first events of an image are looked at, then one in a hundred.
            let count = counts.entry(seen.image()).or_default();
            *count += 1;
            if *count > 5 && !count.is_multiple_of(100) {
                return;
            }
            let mut text = String::new();
            for field in &fields {
                for arg in [None, Some(&b"1"[..]), Some(b"2")] {
                    text.push_str(&shown(&seen.get(*field, arg)));
                    text.push('\t');
                }
            }
            events += 1;
            let before = said.entry(seen.image()).or_insert_with(|| text.clone());
            let differs = before.split('\t').zip(text.split('\t')).position(|(a, b)| a != b);
            if let Some(at) = differs {
                let field = fields.get(at / 3).expect("a field").field().name;
                panic!("{} {} {:?}: {field}", capture.name, seen.number(), seen.event());
            }
        });
        images += said.len();
    }
    assert!(images > 200 && events > 2 * images, "{images} images of {events} events");
}

/// Fields that show what threads have used.
const USED: &[FieldId] = &[
    t::VMSIZE,
    t::VMRSS,
    t::VMSWAP,
    t::PFMAJOR,
    t::PFMINOR,
    t::THREAD_VMSIZE,
    t::THREAD_VMRSS,
    t::THREAD_VMSIZE_B,
    t::THREAD_VMRSS_B,
    t::EXECTIME,
    t::TOTEXECTIME,
    t::CPU,
    t::CPU_USER,
    t::CPU_SYSTEM,
];

#[test]
fn what_is_read_is_the_same_when_nothing_else_is() {
    let Some(data) = shared::data("what_is_read_is_the_same_when_nothing_else_is") else { return };
    // A count of its own reads.
    let others: Vec<FieldId> = nabe_event::field::all()
        .map(|field| field.id)
        .filter(|field| !USED.contains(field) && *field != e::CNT)
        .collect();
    assert!(others.len() > 200, "{}", others.len());
    let (mut values, mut left_out) = (0usize, 0usize);
    for (nth, capture) in shared::captures(&data).into_iter().enumerate() {
        let used = USED[nth % USED.len()];
        let [mut full, mut without, mut with] = [(); 3].map(|()| Stream::new());
        without.reads(&others);
        with.reads(&[used]);
        let step = (capture.events / 300) | 1;
        each(Reader::open(&capture.path).expect("a capture"), |item| {
            let (full, without) = (full.item(item), without.item(item));
            let (Some(full), Some(without), Some(with)) = (full, without, with.item(item)) else { return };
            let value = |seen: &dyn Fields, field| shown(&seen.get(field, None));
            assert_eq!(value(&full, used), value(&with, used), "{} {}", capture.name, full.number());
            assert_eq!(
                (full.is_shown(), full.image(), full.descriptor_generation()),
                (without.is_shown(), without.image(), without.descriptor_generation()),
                "{} {}",
                capture.name,
                full.number()
            );
            if full.number() % step != 0 {
                return;
            }
            for field in &others {
                for arg in [None, Some(&b"1"[..])] {
                    let [one, two] = [&full, &without].map(|seen| shown(&seen.get(*field, arg)));
                    let name = field.field().name;
                    assert_eq!(one, two, "{} {} {name} {arg:?}", capture.name, full.number());
                    values += 1;
                }
            }
            left_out += usize::from(USED.iter().any(|field| value(&full, *field) != value(&without, *field)));
        });
        assert_eq!(full.thread_count(), without.thread_count(), "{}", capture.name);
    }
    assert!(values > 1_000_000 && left_out > 100, "{values} {left_out}");
}
