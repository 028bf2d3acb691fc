//! Captures that are cut, damaged, or no captures at all.

mod shared;

use std::io::Cursor;

use nabe_event::raw::{Event, Params};
use nabe_event::table::EventId;
use nabe_scap::item::{Class, Descriptor, Group, Interface, L4, Machine, Section, Target, Thread, User};
use nabe_scap::{Compression, Ending, Error, Item, Reader, Stats, Writer};
use proptest::prelude::*;

fn event(number: u16, ts_ns: u64, lengths: &'static [u8], data: &'static [u8]) -> Item<'static> {
    let id = EventId::new(number).unwrap();
    Item::Event(Event {
        id,
        cpu: 1,
        flags: u32::from(number == 5),
        ts_ns,
        tid: 42,
        params: Params::new(id, lengths, data).unwrap(),
    })
}

/// A capture with something of everything.
fn small() -> (Vec<u8>, Vec<String>) {
    let thread = Thread {
        tid: 42,
        pid: 42,
        comm: b"cat",
        exe: b"/bin/cat",
        args: b"a\0",
        cwd: b"/",
        env: b"A=1\0",
        ..Thread::UNKNOWN
    };
    let late = Thread {
        tid: 43,
        pid_namespace_start_ns: Some(1),
        tty: Some(2),
        login_uid: Some(3),
        exe_writable: Some(true),
        cap_inheritable: Some(4),
        cap_permitted: Some(5),
        cap_effective: Some(6),
        exe_upper_layer: Some(false),
        exe_inode: Some(7),
        exe_ctime_ns: Some(8),
        exe_mtime_ns: Some(9),
        exe_from_memfd: Some(false),
        exe_lower_layer: Some(true),
        pgid: Some(10),
        ..thread
    };
    let address = "10.0.0.1".parse().unwrap();
    let mut items = vec![
        Item::Section(Section { raw_options: b"\x04\0\x04\0nabe", ..Section::CURRENT }),
        Item::Machine(Machine { cpus: 2, hostname: b"host", ..Machine::default() }),
        Item::Interface(Interface {
            name: b"eth0",
            address,
            netmask: address,
            broadcast: address,
            link_speed: Some(9),
        }),
        Item::User(User { uid: 0, gid: 0, name: b"root", home: b"/root", shell: b"/bin/sh" }),
        Item::Group(Group { gid: 0, name: b"root" }),
        Item::Thread(Box::new(thread)),
        Item::Thread(Box::new(late)),
    ];
    let targets = [
        Target::File { open_flags: 1, path: b"/etc/passwd", device: Some(8) },
        Target::Connection {
            source: "1.2.3.4:5".parse().unwrap(),
            destination: "6.7.8.9:10".parse().unwrap(),
            protocol: L4::TCP,
        },
        Target::Listener { local: "[::1]:80".parse().unwrap(), protocol: L4::UDP },
        Target::Unix { source: 1, destination: 2, path: b"/run/x" },
        Target::Named { class: Class::Fifo, name: b"pipe:[1]" },
    ];
    let descriptor = |(fd, target)| Item::Descriptor(Descriptor { tid: 42, fd, inode: 7, target });
    items.extend((3..).zip(targets).map(descriptor));
    for round in 0..6 {
        items.push(event(4, 100 + 2 * round, &[8, 0], &[3, 0, 0, 0, 0, 0, 0, 0]));
        items.push(event(5, 101 + 2 * round, &[8, 0], &[0; 8]));
        items.push(event(324, 101 + 2 * round, &[3, 0, 0, 0], b"{}\0"));
    }
    let mut writer = Writer::new(Vec::new(), Compression::None).unwrap();
    for item in &items {
        writer.item(item).unwrap();
    }
    let texts = items.iter().map(|item| format!("{item:?}")).collect();
    (writer.finish().unwrap().0, texts)
}

/// Reads as far as possible.
fn read(bytes: &[u8]) -> Result<(Vec<String>, Stats, Reader), Error> {
    let mut reader = Reader::new(Cursor::new(bytes.to_vec()))?;
    let mut items = Vec::new();
    while let Some(batch) = reader.batch()? {
        items.extend(batch.map(|item| format!("{item:?}")));
        assert!(items.len() < 100_000, "it goes on for ever");
    }
    Ok((items, reader.stats().clone(), reader))
}

fn is_event(text: &&String) -> bool {
    text.starts_with("Event")
}

#[test]
fn a_small_capture_reads_back() {
    let (bytes, expected) = small();
    let (items, stats, reader) = read(&bytes).unwrap();
    assert_eq!(items, expected);
    assert!(stats.is_clean());
    assert!(matches!(reader.ending(), Ending::Complete));
}

#[test]
fn every_cut_gives_what_came_before_and_says_so() {
    let (bytes, expected) = small();
    let mut boundaries = 0;
    for end in 0..bytes.len() {
        match read(&bytes[..end]) {
            Err(Error::Empty) => assert_eq!(end, 0),
            Err(Error::CutHeader { have }) => assert!(have == end && end < 16, "{end}"),
            Err(error) => panic!("{end}: {error:?}"),
            Ok((items, stats, reader)) => {
                assert!(expected.starts_with(&items), "{end}: {items:?}");
                assert!(stats.is_clean(), "{end}: {stats:?}");
                match reader.ending() {
                    Ending::Complete => boundaries += 1,
                    Ending::Cut { offset, have } => assert_eq!(offset + have, end as u64),
                    other => panic!("{end}: {other:?}"),
                }
            }
        }
    }
    // A file that ends between two blocks is whole: section, machine, three lists, descriptors, events.
    assert_eq!(boundaries, 6 + 18 - 1);
}

#[test]
fn a_real_capture_cut_anywhere_gives_what_came_before() {
    let Some(data) = shared::data("a_real_capture_cut_anywhere_gives_what_came_before") else { return };
    let mut writer = Writer::new(Vec::new(), Compression::None).unwrap();
    let mut reader = Reader::open(&data.join("scap/falco-0.34.1/cat_write.scap")).unwrap();
    let (mut threads, mut descriptors, mut events) = (0, 0, 0);
    while let Some(batch) = reader.batch().unwrap() {
        for item in batch {
            let count = match &item {
                Item::Thread(_) => &mut threads,
                Item::Descriptor(_) => &mut descriptors,
                Item::Event(_) => &mut events,
                _ => &mut 0,
            };
            *count += 1;
            if *count <= 4 || matches!(item, Item::Event(_)) && *count > 310 {
                writer.item(&item).unwrap();
            }
        }
    }
    let bytes = writer.finish().unwrap().0;
    let (expected, ..) = read(&bytes).unwrap();
    for end in 16..bytes.len() {
        let (items, stats, _) = read(&bytes[..end]).unwrap();
        assert!(expected.starts_with(&items) && stats.is_clean(), "{end}");
    }
}

#[test]
fn a_flipped_byte_costs_no_more_than_its_surroundings() {
    let (bytes, expected) = small();
    let events = expected.iter().filter(is_event).count();
    let first_event = bytes.windows(4).position(|window| window == [0x16, 2, 0, 0]).unwrap();
    for at in 28..bytes.len() {
        for flip in [1, 0x10, 0x80, 0xff] {
            let mut damaged = bytes.clone();
            damaged[at] ^= flip;
            let (items, stats, reader) = read(&damaged).unwrap();
            let kept = items.iter().filter(is_event).filter(|text| expected.contains(text)).count();
            let least = if at < first_event { events } else { events - 1 };
            assert!(kept >= least, "{at} {flip:#x}: {kept} of {events}, {stats:?} {:?}", reader.ending());
            // Nothing is wrong in silence: either the damage was met, or it sits in a value.
            let noticed = !stats.is_clean()
                || stats.unknown_events + stats.unknown_blocks.len() as u64 > 0
                || matches!(reader.ending(), Ending::Cut { .. });
            assert!(
                noticed || items.len() == expected.len() || items.len() + 1 == expected.len(),
                "{at} {flip:#x} {stats:?}"
            );
            if flip == 0xff {
                nabe_scap::exercise(&damaged);
            }
        }
    }
}

#[test]
fn what_is_no_capture_is_refused() {
    assert!(matches!(read(b""), Err(Error::Empty)));
    assert!(matches!(read(b"\n\r\r\n"), Err(Error::CutHeader { have: 4 })));
    assert!(matches!(read(b"#!/bin/sh\necho hello\n"), Err(Error::NotACapture { found: 0x622f_2123 })));
    let (bytes, _) = small();
    let mut swapped = bytes.clone();
    swapped[8..12].reverse();
    assert!(matches!(read(&swapped), Err(Error::ByteOrder)));
    let mut other = bytes.clone();
    other[8] = 0;
    assert!(matches!(read(&other), Err(Error::Magic { found: 0x1A2B_3C00 })));
    let mut later = bytes;
    later[12] = 2;
    assert!(matches!(read(&later), Err(Error::Version { major: 2, minor: 2 })));
    // A gzip file that is none.
    assert!(matches!(read(&[0x1f, 0x8b, 8, 0, 1, 2, 3]), Err(Error::Read { .. })));
}

#[test]
fn blocks_and_events_of_later_versions_are_skipped() {
    let (bytes, expected) = small();
    let mut later = bytes.clone();
    let block = |number: u32, body: &[u8]| {
        let len = (body.len() as u32 + 12).to_le_bytes();
        [&number.to_le_bytes()[..], &len, body, &len].concat()
    };
    later.extend(block(0x223, &[1; 40]));
    later.extend(block(0x99, &vec![2; 3 << 20]));
    // Event 9999: cpu, time, thread, length, number, no parameters.
    let unknown = [&[0; 18][..], &26_u32.to_le_bytes(), &9999_u16.to_le_bytes(), &[0; 4]].concat();
    later.extend(block(0x216, &unknown));
    later.extend(&bytes);
    let (items, stats, reader) = read(&later).unwrap();
    assert_eq!(items, [expected.clone(), expected].concat());
    assert!(stats.is_clean() && matches!(reader.ending(), Ending::Complete));
    assert_eq!(stats.unknown_events, 1);
    assert_eq!(stats.unknown_blocks.into_iter().collect::<Vec<_>>(), [(0x99, 1), (0x223, 1)]);
}

#[test]
fn a_claimed_length_takes_no_memory() {
    let (bytes, expected) = small();
    for number in [0x216_u32, 0x221, 0x215, 0x218, 0x219, 0x220, 0x201, 0x0A0D_0D0A, 0x99] {
        for len in [0_u32, 8, 11, 1 << 20, 60 << 20, u32::MAX - 3, u32::MAX] {
            let mut claims = bytes.clone();
            claims.extend_from_slice(&number.to_le_bytes());
            claims.extend_from_slice(&len.to_le_bytes());
            claims.extend_from_slice(&[0xee; 4000]);
            let (items, ..) = read(&claims).unwrap();
            assert!(items.len() >= expected.len(), "{number:#x} {len}");
        }
    }
}

#[test]
fn headers_that_follow_each_other_do_not_make_a_search_without_end() {
    // A broken block, then headers of blocks that all reach beyond the end: each could begin a block.
    let (mut bytes, _) = small();
    bytes.extend_from_slice(&[0x16, 2, 0, 0, 1, 0, 0, 0]);
    let header = [0x16, 2, 0, 0, 0xfc, 0xff, 0x0f, 0];
    bytes.extend(header.iter().copied().cycle().take(6 << 20));
    let (_, stats, _) = read(&bytes).unwrap();
    assert_eq!(stats.damaged_places, 1);
}

#[test]
fn state_behind_events_is_refused_and_a_section_makes_it_possible() {
    let mut writer = Writer::new(Vec::new(), Compression::None).unwrap();
    let happens = event(4, 1, &[8, 0], &[0; 8]);
    let group = Item::Group(Group { gid: 1, name: b"one" });
    writer.item(&happens).unwrap();
    assert!(matches!(writer.item(&group), Err(Error::Order { what: "a group" })));
    let section = Item::Section(Section::CURRENT);
    for item in [&section, &group, &happens] {
        writer.item(item).unwrap();
    }
    let (items, ..) = read(&writer.finish().unwrap().0).unwrap();
    assert_eq!(items, [&section, &happens, &section, &group, &happens].map(|item| format!("{item:?}")));
}

#[test]
fn texts_that_others_refuse_are_cut_and_counted() {
    let long = vec![b'x'; 70_000];
    let thread = Thread { comm: &long, env: &long, root: b"/", ..Thread::UNKNOWN };
    let mut writer = Writer::new(Vec::new(), Compression::None).unwrap();
    writer.thread(&thread).unwrap();
    let (bytes, size) = writer.finish().unwrap();
    assert_eq!(size.cut_texts, 2);
    let cut = Thread { comm: &long[..1023], env: &long[..4096], ..thread };
    assert_eq!(read(&bytes).unwrap().0[1], format!("{:?}", Item::Thread(Box::new(cut))));
}

#[test]
fn a_slow_source_gives_events_as_they_come() {
    struct Dribble(Vec<u8>, usize);
    impl std::io::Read for Dribble {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let count = usize::from(self.1 < self.0.len() && !buffer.is_empty());
            if count == 1 {
                buffer[0] = self.0[self.1];
                self.1 += 1;
            }
            Ok(count)
        }
    }
    let (bytes, expected) = small();
    let mut reader = Reader::new(Dribble(bytes, 0)).unwrap();
    let mut items = Vec::new();
    while let Some(batch) = reader.batch().unwrap() {
        items.extend(batch.map(|item| format!("{item:?}")));
    }
    assert_eq!(items, expected);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_break_the_reader(noise in prop::collection::vec(any::<u8>(), 0..2000)) {
        nabe_scap::exercise(&noise);
        let (mut bytes, _) = small();
        bytes.truncate(28);
        bytes.extend(noise);
        nabe_scap::exercise(&bytes);
    }

    #[test]
    fn damage_anywhere_does_not_break_the_reader(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
        cut in any::<prop::sample::Index>(),
    ) {
        let (mut bytes, _) = small();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        nabe_scap::exercise(&bytes);
        bytes.truncate(cut.index(bytes.len()));
        nabe_scap::exercise(&bytes);
    }

    #[test]
    fn events_of_any_shape_read_back(
        number in 0..EventId::COUNT,
        (cpu, flags, ts_ns, tid) in (any::<u16>(), any::<u32>(), any::<u64>(), any::<i64>()),
        values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..40),
        compression in prop::sample::select(vec![Compression::None, Compression::Gzip, Compression::Zstd, Compression::Lz4]),
    ) {
        let id = EventId::new(number).unwrap();
        let large = id.row().flags.has(nabe_event::table::Flags::LARGE_PAYLOAD);
        let width = if large { 4 } else { 2 };
        let lengths: Vec<u8> = values.iter().flat_map(|value| (value.len() as u32).to_le_bytes()[..width].to_vec()).collect();
        let data = values.concat();
        let params = Params::new(id, &lengths, &data).unwrap();
        let event = Event { id, cpu, flags, ts_ns, tid, params };
        let mut writer = Writer::new(Vec::new(), compression).unwrap();
        for _ in 0..3 {
            writer.event(&event).unwrap();
        }
        let (items, stats, _) = read(&writer.finish().unwrap().0).unwrap();
        prop_assert_eq!(&items[1..], vec![format!("{:?}", Item::Event(event)); 3]);
        prop_assert!(stats.is_clean());
    }
}
