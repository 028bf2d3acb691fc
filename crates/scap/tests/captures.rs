//! Real captures: what is in them, and that it comes back after writing.

mod shared;

use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::Path;
use std::process::Command;

use nabe_event::table::{self, EventId};
use nabe_scap::block::Kind;
use nabe_scap::{Compression, Ending, Item, Reader, Writer};

/// Everything in a capture as text, so that two can be compared.
fn read(mut reader: Reader) -> (Vec<String>, Reader) {
    let mut items = Vec::new();
    while let Some(batch) = reader.batch().unwrap() {
        items.extend(batch.map(|item| format!("{item:?}")));
    }
    (items, reader)
}

fn rewrite(path: &Path, compression: Compression) -> Vec<u8> {
    let mut reader = Reader::open(path).unwrap();
    let mut writer = Writer::new(Vec::new(), compression).unwrap();
    while let Some(batch) = reader.batch().unwrap() {
        for item in batch {
            writer.item(&item).unwrap();
        }
    }
    let events = reader.stats().events;
    let (bytes, size) = writer.finish().unwrap();
    assert_eq!((size.events, size.stored_bytes), (events, bytes.len() as u64));
    assert_eq!(size.cut_texts, 0, "{}", path.display());
    bytes
}

#[test]
fn captures_hold_what_the_index_says() {
    let Some(data) = shared::data("captures_hold_what_the_index_says") else { return };
    let captures = shared::captures(&data);
    assert_eq!(captures.len(), 16);
    for capture in captures {
        let mut reader = Reader::open(&capture.path).unwrap();
        assert_eq!(reader.compression() == Compression::Gzip, capture.gzip, "{}", capture.name);
        let (mut threads, mut descriptors, mut events) = (0, 0, 0);
        while let Some(batch) = reader.batch().unwrap() {
            for item in batch {
                match item {
                    Item::Thread(_) => threads += 1,
                    Item::Descriptor(_) => descriptors += 1,
                    Item::Event(_) => events += 1,
                    _ => {}
                }
            }
        }
        assert_eq!(
            (threads, descriptors, events),
            (capture.threads, capture.descriptors, capture.events),
            "{}",
            capture.name
        );
        assert!(matches!(reader.ending(), Ending::Complete), "{}: {:?}", capture.name, reader.ending());
        let stats = reader.stats();
        assert!(
            stats.is_clean() && stats.unknown_events == 0 && stats.unknown_blocks.is_empty(),
            "{stats:?}"
        );
        assert_eq!(stats.events, capture.events);
        assert_eq!(reader.taken_bytes(), std::fs::metadata(&capture.path).unwrap().len());
        for expected in capture.blocks.split_whitespace() {
            let found = match expected {
                "EV1" => stats.event_blocks[0] + stats.event_blocks[1] > 0,
                "EV2" => stats.event_blocks[2] + stats.event_blocks[3] > 0,
                "EV2L" => stats.event_blocks[6] + stats.event_blocks[7] > 0,
                _ => {
                    let (letters, layout) = expected.split_at(expected.len() - 1);
                    let layout = layout.parse().unwrap();
                    stats.blocks.contains_key(&match letters {
                        "IL" => Kind::Interfaces(layout),
                        "UL" => Kind::Users(layout),
                        "PL" => Kind::Threads(layout),
                        "FDL" => Kind::Descriptors(layout),
                        other => panic!("{other}"),
                    })
                }
            };
            assert!(found, "{}: {expected} in {stats:?}", capture.name);
        }
    }
}

/// The name under which sysdig counts an event.
fn counted_name(id: EventId, code: Option<u64>) -> String {
    let name = match (id, code) {
        (EventId::GENERIC_E | EventId::GENERIC_X, Some(code)) => {
            table::syscall_name(u16::try_from(code).unwrap()).unwrap_or("<unknown>")
        }
        _ => id.name(),
    };
    let name = if name == "unknown" { "<unknown>" } else { name };
    format!("{} {name}", if id.is_enter() { '>' } else { '<' })
}

#[test]
fn events_are_those_that_sysdig_counts() {
    let Some(data) = shared::data("events_are_those_that_sysdig_counts") else { return };
    for capture in shared::captures(&data) {
        let summary =
            data.join("expected/sysdig-0.29.3").join(capture.name.replace('/', "__")).join("summary.txt");
        let Ok(summary) = std::fs::read_to_string(&summary) else {
            panic!("{}", summary.display());
        };
        let mut expected = BTreeMap::new();
        for line in summary.lines().filter(|line| line.starts_with(['>', '<'])) {
            let (name, count) = line.rsplit_once(' ').unwrap();
            expected.insert(name.trim().to_owned(), count.parse::<u64>().unwrap());
        }
        let mut found = BTreeMap::new();
        let mut reader = Reader::open(&capture.path).unwrap();
        while let Some(batch) = reader.batch().unwrap() {
            for item in batch {
                if let Item::Event(event) = item {
                    *found.entry(counted_name(event.id, event.unsigned(0))).or_insert(0) += 1;
                }
            }
        }
        // It takes most of these off the stream before it counts.
        for name in ["> container", "> useradded", "> groupadded"] {
            found.remove(name);
            expected.remove(name);
        }
        // Renamed since.
        for (old, new) in [("> sysdigevent", "> scapevent"), ("> sigreturn", "> rt_sigreturn")] {
            if let Some(count) = expected.remove(old) {
                expected.insert(new.to_owned(), count);
            }
        }
        // Its table ends after a hundred lines.
        let least = if expected.len() < 90 { 0 } else { expected.values().copied().min().unwrap_or(0) };
        for (name, count) in &found {
            let listed = expected.remove(name);
            assert!(
                listed == Some(*count) || listed.is_none() && *count <= least,
                "{}: {name} {count}, not {listed:?}",
                capture.name
            );
        }
        assert!(expected.is_empty(), "{}: {expected:?}", capture.name);
    }
}

#[test]
fn what_is_written_reads_the_same() {
    let Some(data) = shared::data("what_is_written_reads_the_same") else { return };
    for capture in shared::captures(&data) {
        let (items, _) = read(Reader::open(&capture.path).unwrap());
        let bytes = rewrite(&capture.path, Compression::None);
        let (again, reader) = read(Reader::new(Cursor::new(bytes.clone())).unwrap());
        assert!(items == again, "{}", capture.name);
        assert!(matches!(reader.ending(), Ending::Complete));
        // The second time nothing is left to change, not even in the bytes.
        let mut writer = Writer::new(Vec::new(), Compression::None).unwrap();
        let mut reader = Reader::new(Cursor::new(bytes.clone())).unwrap();
        while let Some(batch) = reader.batch().unwrap() {
            for item in batch {
                writer.item(&item).unwrap();
            }
        }
        assert!(writer.finish().unwrap().0 == bytes, "{}", capture.name);
    }
}

#[test]
fn compressed_captures_read_the_same() {
    let Some(data) = shared::data("compressed_captures_read_the_same") else { return };
    for name in ["sf-collector/rename__rename", "sf-collector/files__files"] {
        let path = data.join("scap").join(format!("{name}.scap"));
        let (items, _) = read(Reader::open(&path).unwrap());
        for compression in [Compression::Gzip, Compression::Zstd, Compression::Lz4] {
            let bytes = rewrite(&path, compression);
            assert_eq!(Compression::detect(&bytes), compression);
            let (again, reader) = read(Reader::new(Cursor::new(bytes.clone())).unwrap());
            assert_eq!(reader.compression(), compression);
            assert!(items == again, "{name} {compression:?}");

            // Cut: what came before is there.
            let cut = bytes[..bytes.len() * 2 / 3].to_vec();
            let (some, reader) = read(Reader::new(Cursor::new(cut)).unwrap());
            assert!(!some.is_empty() && some.len() < items.len(), "{name} {compression:?} {}", some.len());
            assert!(items.starts_with(&some), "{name} {compression:?}");
            assert!(!matches!(reader.ending(), Ending::Complete | Ending::Unread), "{:?}", reader.ending());

            // Twice in a row, as `cat a b`.
            let (twice, reader) = read(Reader::new(Cursor::new([bytes.clone(), bytes].concat())).unwrap());
            assert!(matches!(reader.ending(), Ending::Complete), "{compression:?} {:?}", reader.ending());
            assert!(twice == [items.clone(), items.clone()].concat(), "{name} {compression:?}");
        }
    }
}

/// What sysdig prints of a capture.
fn sysdig(path: &Path, arguments: &[&str]) -> Option<(bool, String, String)> {
    let output = Command::new("sysdig").env("TZ", "UTC").arg("-r").arg(path).args(arguments).output().ok()?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Some((output.status.success(), text(output.stdout), text(output.stderr)))
}

#[test]
fn sysdig_reads_what_is_written() {
    let test = "sysdig_reads_what_is_written";
    let Some(data) = shared::data(test) else { return };
    if Command::new("sysdig").arg("--version").output().is_err() {
        eprintln!("SKIP {test}: sysdig is not installed");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    for capture in shared::captures(&data) {
        for (compression, ending) in [(Compression::None, "scap"), (Compression::Gzip, "scap.gz")] {
            let path = directory.path().join(format!("a.{ending}"));
            std::fs::write(&path, rewrite(&capture.path, compression)).unwrap();
            let format = "*%evt.num %evt.rawtime %evt.cpu %proc.name %thread.tid %evt.dir %evt.type %evt.args %fd.name %user.name %proc.cmdline %proc.cwd %container.id";
            let arguments = ["-p", format];
            let (before, after) = (sysdig(&capture.path, &arguments), sysdig(&path, &arguments));
            assert!(before.as_ref().is_some_and(|(success, ..)| *success), "{}: {before:?}", capture.name);
            assert!(
                before == after,
                "{} {compression:?}: {:?}",
                capture.name,
                after.map(|(.., stderr)| stderr)
            );
        }
    }
}
