//! The layouts of old files, of which no captures are at hand: built here byte by byte from the
//! description in `decode.rs`.

use std::io::Cursor;

use nabe_event::table::EventId;
use nabe_scap::item::{Class, Descriptor, Group, Interface, L4, Target, Thread, User};
use nabe_scap::{Compression, Ending, Item, Reader, Writer};

/// Bytes under construction.
#[derive(Clone, Default)]
struct Body(Vec<u8>);

impl Body {
    fn put(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }
    fn i64(self, value: i64) -> Self {
        self.put(&value.to_le_bytes())
    }
    fn u32(self, value: u32) -> Self {
        self.put(&value.to_le_bytes())
    }
    fn u16(self, value: u16) -> Self {
        self.put(&value.to_le_bytes())
    }
    fn text(self, text: &[u8]) -> Self {
        self.u16(u16::try_from(text.len()).unwrap()).put(text)
    }
    /// With its length, itself included, before it.
    fn sized(self, excluded: u32) -> Self {
        Self::default().u32(u32::try_from(self.0.len()).unwrap() + 4 - excluded).put(&self.0)
    }
    fn when(self, condition: bool, then: impl FnOnce(Self) -> Self) -> Self {
        if condition { then(self) } else { self }
    }
    /// As a block.
    fn block(mut self, number: u32) -> Vec<u8> {
        while !self.0.len().is_multiple_of(4) {
            self.0.push(0);
        }
        let len = u32::try_from(self.0.len()).unwrap() + 12;
        Self::default().u32(number).u32(len).put(&self.0).u32(len).0
    }
}

fn section() -> Vec<u8> {
    Body::default().u32(0x1A2B_3C4D).u16(1).u16(0).i64(-1).block(0x0A0D_0D0A)
}

/// Everything after the section, as text; and the same after it was written in today's layouts.
fn read(blocks: &[Vec<u8>]) -> Vec<String> {
    let once = |bytes: Vec<u8>| {
        let mut reader = Reader::new(Cursor::new(bytes)).unwrap();
        let mut writer = Writer::new(Vec::new(), Compression::None).unwrap();
        let mut items = Vec::new();
        while let Some(batch) = reader.batch().unwrap() {
            for item in batch {
                writer.item(&item).unwrap();
                items.push(format!("{item:?}"));
            }
        }
        assert!(reader.stats().is_clean(), "{:?}", reader.stats());
        assert!(matches!(reader.ending(), Ending::Complete));
        (items, writer.finish().unwrap().0)
    };
    let (items, written) = once([section(), blocks.concat()].concat());
    let (again, _) = once(written);
    assert_eq!(again, items);
    items[1..].to_vec()
}

fn texts(items: &[Item<'_>]) -> Vec<String> {
    items.iter().map(|item| format!("{item:?}")).collect()
}

/// An entry of the list of threads in layout `layout`, without what was appended to layout 9.
fn thread(layout: u8, tid: i64) -> Body {
    Body::default()
        .i64(tid)
        .i64(2)
        .i64(3)
        .when(layout >= 6, |body| body.i64(4))
        .when(layout >= 8, |body| body.i64(5))
        .text(b"comm")
        .text(b"exe")
        .when(layout >= 7, |body| body.text(b"/bin/exe"))
        .text(b"a\0b\0")
        .text(b"/cwd")
        .i64(6)
        .u32(7)
        .u32(8)
        .u32(9)
        .when(layout >= 2, |body| body.u32(10).u32(11).u32(12).i64(13).i64(14))
        .when(layout >= 3, |body| body.text(b"E=1\0"))
        .when(layout >= 4, |body| body.i64(15).i64(16).text(b"cpu=/\0"))
        .when(layout >= 5, |body| body.text(b"/root"))
}

fn expected_thread(layout: u8, tid: i64) -> Thread<'static> {
    let mut thread = Thread {
        tid,
        pid: 2,
        ptid: 3,
        comm: b"comm",
        exe: b"exe",
        args: b"a\0b\0",
        cwd: b"/cwd",
        fd_limit: 6,
        flags: 7,
        uid: 8,
        gid: 9,
        ..Thread::UNKNOWN
    };
    if layout >= 2 {
        (thread.vm_size_kib, thread.vm_rss_kib, thread.vm_swap_kib) = (10, 11, 12);
        (thread.major_faults, thread.minor_faults) = (13, 14);
    }
    if layout >= 3 {
        thread.env = b"E=1\0";
    }
    if layout >= 4 {
        (thread.vtid, thread.vpid, thread.cgroups) = (15, 16, b"cpu=/\0");
    }
    if layout >= 5 {
        thread.root = b"/root";
    }
    if layout >= 6 {
        thread.sid = 4;
    }
    if layout >= 7 {
        thread.exe_path = b"/bin/exe";
    }
    if layout >= 8 {
        thread.vpgid = 5;
    }
    thread
}

#[test]
fn threads_of_every_layout() {
    let numbers = [0x202, 0x207, 0x209, 0x210, 0x211, 0x212, 0x213, 0x214];
    for (layout, number) in (1..).zip(numbers) {
        let body = thread(layout, 1).put(&thread(layout, 20).0);
        let expected = [1, 20].map(|tid| Item::Thread(Box::new(expected_thread(layout, tid))));
        assert_eq!(read(&[body.block(number)]), texts(&expected), "{layout}");
    }
    for (layout, number) in [(1, 0x8000_ABCD), (2, 0x8013_ABCD), (3, 0x8014_ABCD)] {
        let expected = Item::Thread(Box::new(expected_thread(layout, 1)));
        assert_eq!(read(&[thread(layout, 1).block(number)]), texts(&[expected]), "{layout}");
    }
}

#[test]
fn threads_of_layout_9_end_where_their_writer_did() {
    // As libs before 0.10 wrote them, field after field.
    let early = |fields: usize| {
        let tail = Body::default().u32(1).put(&[1]).i64(2).i64(3).i64(4);
        let ends = [0, 4, 5, 13, 21, 29];
        thread(9, 1).put(&tail.0[..ends[fields]]).sized(0)
    };
    for fields in 0..=5 {
        let mut thread = expected_thread(9, 1);
        thread.login_uid = (fields >= 1).then_some(1);
        thread.exe_writable = (fields >= 2).then_some(true);
        thread.cap_inheritable = (fields >= 3).then_some(2);
        thread.cap_permitted = (fields >= 4).then_some(3);
        thread.cap_effective = (fields >= 5).then_some(4);
        let expected = [Item::Thread(Box::new(thread))];
        assert_eq!(read(&[early(fields).block(0x215)]), texts(&expected), "{fields}");
    }
    // As later ones did; a field that nobody knows yet is skipped.
    let late = |end: usize| {
        let tail = Body::default().i64(1).u32(2).u32(3).put(&[1]).i64(4).i64(5).i64(6);
        let tail = tail.put(&[0]).i64(7).i64(8).i64(9).put(&[1, 0]).i64(10).put(b"future");
        thread(9, 1).put(&tail.0[..end]).sized(0)
    };
    let mut thread = Thread {
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
        exe_from_memfd: Some(true),
        exe_lower_layer: Some(false),
        pgid: Some(10),
        ..expected_thread(9, 1)
    };
    let whole = 41 + 1 + 24 + 2 + 8;
    for end in [whole, whole + 6] {
        assert_eq!(read(&[late(end).block(0x215)]), texts(&[Item::Thread(Box::new(thread))]), "{end}");
    }
    thread.pgid = None;
    assert_eq!(read(&[late(whole - 8).block(0x215)]), texts(&[Item::Thread(Box::new(thread))]));
    (thread.exe_lower_layer, thread.exe_from_memfd) = (None, None);
    assert_eq!(read(&[late(whole - 10).block(0x215)]), texts(&[Item::Thread(Box::new(thread))]));
}

#[test]
fn descriptors_of_both_layouts() {
    let entry = |number: u8, payload: Body| {
        Body::default().i64(i64::from(number) + 3).i64(99).put(&[number]).put(&payload.0)
    };
    let v4 = || Body::default().put(&[10, 0, 0, 1]);
    let v6 = || Body::default().put(&[0; 15]).put(&[1]);
    let file = || Body::default().u32(3).text(b"/f");
    let mut cases = vec![
        (0, Body::default(), Target::Unknown),
        (
            3,
            v4().put(&[10, 0, 0, 2]).u16(80).u16(443).put(&[2]),
            Target::Connection {
                source: "10.0.0.1:80".parse().unwrap(),
                destination: "10.0.0.2:443".parse().unwrap(),
                protocol: L4::TCP,
            },
        ),
        (
            4,
            v6().put(&v6().0).u16(80).u16(443).put(&[3]),
            Target::Connection {
                source: "[::1]:80".parse().unwrap(),
                destination: "[::1]:443".parse().unwrap(),
                protocol: L4::UDP,
            },
        ),
        (
            5,
            v4().u16(22).put(&[2]),
            Target::Listener { local: "10.0.0.1:22".parse().unwrap(), protocol: L4::TCP },
        ),
        (
            6,
            v6().u16(22).put(&[2]),
            Target::Listener { local: "[::1]:22".parse().unwrap(), protocol: L4::TCP },
        ),
        (
            8,
            Body::default().i64(1).i64(2).text(b"/run/s"),
            Target::Unix { source: 1, destination: 2, path: b"/run/s" },
        ),
        (16, file(), Target::File { open_flags: 3, path: b"/f", device: None }),
    ];
    for number in 0..=21 {
        if let Some(class) = Class::from_number(number) {
            cases.push((number, Body::default().text(b"name"), Target::Named { class, name: b"name" }));
        }
    }
    assert_eq!(cases.len(), 22);
    let expect = |number: u8, target| {
        Item::Descriptor(Descriptor { tid: 7, fd: i64::from(number) + 3, inode: 99, target })
    };
    let expected: Vec<Item<'_>> = cases.iter().map(|(number, _, target)| expect(*number, *target)).collect();
    let list = |sized: bool| {
        cases.iter().fold(Body::default().i64(7), |body, (number, payload, _)| {
            let entry = entry(*number, payload.clone());
            body.put(&if sized { entry.sized(0) } else { entry }.0)
        })
    };
    // Threads come first, so that there is something before the descriptors.
    for (number, sized) in [(0x203, false), (0x8001_ABCD, false), (0x218, true)] {
        assert_eq!(read(&[list(sized).block(number)]), texts(&expected), "{number:#x}");
    }
    // Since 2022 files have a device; a type of the future has only its length.
    let body =
        Body::default().i64(7).put(&entry(16, file().u32(8)).sized(0).0).put(&entry(30, v4()).sized(0).0);
    let expected = [
        expect(16, Target::File { open_flags: 3, path: b"/f", device: Some(8) }),
        expect(30, Target::Other { number: 30, payload: &[10, 0, 0, 1] }),
    ];
    assert_eq!(read(&[body.block(0x218)]), texts(&expected));
}

#[test]
fn interfaces_and_users_of_both_layouts() {
    let v6: std::net::IpAddr = "::1".parse().unwrap();
    let v4: std::net::IpAddr = "127.0.0.1".parse().unwrap();
    let entry = |family: u16, speed: bool| {
        let address: Vec<u8> =
            if family % 2 == 1 { vec![127, 0, 0, 1] } else { [vec![0; 15], vec![1]].concat() };
        let body = Body::default().u16(family).u16(2).put(&address).put(&address).put(&address);
        body.when(speed, |body| body.i64(1000)).put(b"lo")
    };
    let expect = |address, link_speed| {
        Item::Interface(Interface { name: b"lo", address, netmask: address, broadcast: address, link_speed })
    };
    let expected = [expect(v4, Some(1000)), expect(v6, Some(1000)), expect(v4, None), expect(v6, None)];
    let list = |sized: bool| {
        [(1, true), (2, true), (3, false), (4, false)].into_iter().fold(
            Body::default(),
            |body, (family, speed)| {
                let entry = entry(family, speed);
                body.put(&if sized { entry.sized(4) } else { entry }.0)
            },
        )
    };
    let user = Body::default().put(&[0]).u32(1).u32(2).text(b"daemon").text(b"/").text(b"/bin/sh");
    let group = Body::default().put(&[1]).u32(2).text(b"bin");
    let people = [
        Item::User(User { uid: 1, gid: 2, name: b"daemon", home: b"/", shell: b"/bin/sh" }),
        Item::Group(Group { gid: 2, name: b"bin" }),
    ];
    let expected = [texts(&expected), texts(&people)].concat();
    let unsized_users = user.clone().put(&group.0);
    let sized_users = user.sized(0).put(&group.sized(0).0);
    for (interfaces, users) in [(0x205, 0x206), (0x8011_ABCD, 0x8012_ABCD)] {
        let blocks = [list(false).block(interfaces), unsized_users.clone().block(users)];
        assert_eq!(read(&blocks), expected);
    }
    assert_eq!(read(&[list(true).block(0x219), sized_users.block(0x220)]), expected);
}

#[test]
fn events_of_layout_1_are_counted_by_their_length() {
    let event = |number: u16, excess: u32, values: &[&[u8]]| {
        let lengths =
            values.iter().fold(Body::default(), |body, value| body.u16(u16::try_from(value.len()).unwrap()));
        let rest = lengths.put(&values.concat());
        let len = 22 + u32::try_from(rest.0.len()).unwrap() + excess;
        Body::default().i64(77).i64(42).u32(len).u16(number).put(&rest.0)
    };
    let cpu = || Body::default().u16(3);
    // openat of 2014 had one parameter, fstat had one where two are now, nothing has none.
    let cases: [(EventId, u32, &[&[u8]]); 5] = [
        (EventId::SYSCALL_OPENAT_X, 0, &[&[1; 8]]),
        (EventId::SYSCALL_FSTAT_X, 0, &[&[0; 8]]),
        (EventId::SYSCALL_FSTAT_X, 0, &[]),
        (EventId::NOTIFICATION_E, 3, &[b"id\0", b"text\0"]),
        (EventId::SYSCALL_READ_X, 0, &[&[5; 8], b"hello"]),
    ];
    for (id, excess, values) in cases {
        let body = event(id.number(), excess, values);
        for (number, flags) in [(0x204, None), (0x8010_ABCD, None), (0x208, Some(1))] {
            // The excess is claimed, not there; there is padding behind it.
            let block =
                cpu().when(flags.is_some(), |block| block.u32(1)).put(&body.0).put(&vec![0; excess as usize]);
            let bytes = [section(), block.block(number)].concat();
            let mut reader = Reader::new(Cursor::new(bytes)).unwrap();
            let mut seen = 0;
            while let Some(batch) = reader.batch().unwrap() {
                for item in batch {
                    let Item::Event(event) = item else { continue };
                    seen += 1;
                    assert_eq!((event.id, event.cpu, event.flags), (id, 3, flags.unwrap_or(0)));
                    assert_eq!((event.ts_ns, event.tid), (77, 42));
                    assert_eq!(event.params.iter().collect::<Vec<_>>(), values, "{id:?}");
                }
            }
            assert_eq!((seen, reader.stats().broken_events), (1, 0), "{id:?} {number:#x}");
        }
    }
}
