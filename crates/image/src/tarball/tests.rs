//! Reading gives back what was written, and any bytes are judged without harm.

use proptest::prelude::*;

use super::*;

fn entry(name: &[u8], kind: Kind) -> Entry {
    Entry {
        name: name.to_vec(),
        kind,
        mode: 0o4755,
        uid: 1000,
        gid: 5,
        mtime: (1_600_000_000, 5),
        size: 0,
        link: Vec::new(),
        device: (0, 0),
        xattrs: Vec::new(),
        pieces: None,
    }
}

fn pack(entries: &[(Entry, Vec<u8>)]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for (entry, data) in entries {
        writer.entry(entry, data.as_slice()).unwrap();
    }
    writer.finish().unwrap()
}

fn read_all(bytes: &[u8]) -> Result<Vec<(Entry, Vec<u8>)>, Fault> {
    let mut archive = Archive::new(bytes);
    let mut all = Vec::new();
    while let Some(entry) = archive.next()? {
        let mut data = Vec::new();
        archive.read_to_end(&mut data)?;
        all.push((entry, data));
    }
    Ok(all)
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        name in prop::collection::vec(1u8..=255, 1..300),
        link in prop::collection::vec(1u8..=255, 0..300),
        data in prop::collection::vec(any::<u8>(), 0..2000),
        seconds in -5_000_000_000i64..50_000_000_000,
        nanoseconds in 0u32..1_000_000_000,
        ids in any::<(u32, u32)>(),
        value in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let mut one = entry(&[b"a", name.as_slice(), b"a"].concat(), Kind::File);
        one.mtime = (seconds, nanoseconds);
        (one.uid, one.gid) = (ids.0.into(), ids.1.into());
        one.size = data.len() as u64;
        one.xattrs = vec![(b"user.x".to_vec(), value)];
        let mut two = entry(b"two", Kind::Symlink);
        two.link = link;
        let read = read_all(&pack(&[(one.clone(), data.clone()), (two.clone(), Vec::new())])).unwrap();
        prop_assert_eq!(read.len(), 2);
        prop_assert_eq!(format!("{:?}", read[0].0), format!("{one:?}"));
        prop_assert_eq!(&read[0].1, &data);
        prop_assert_eq!(&read[1].0.link, &two.link);
    }

    #[test]
    fn any_bytes_are_judged(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        let _ = read_all(&bytes);
    }

    #[test]
    fn a_flipped_byte_does_no_harm(at in 0usize..4096, byte in any::<u8>()) {
        let mut long = entry(&[b'n'; 200], Kind::File);
        long.size = 5;
        long.xattrs = vec![(b"user.a".to_vec(), b"b".to_vec())];
        let mut bytes = pack(&[(long, b"12345".to_vec()), (entry(b"d/", Kind::Directory), Vec::new())]);
        let at = at % bytes.len();
        bytes[at] = byte;
        let _ = read_all(&bytes);
    }
}

#[test]
fn every_cut_is_noticed_or_is_the_end() {
    let mut file = entry(b"f", Kind::File);
    file.size = 600;
    let bytes = pack(&[(file, vec![7; 600])]);
    for cut in 1..512 + 600 {
        assert!(read_all(&bytes[..cut]).is_err(), "{cut}");
    }
}

/// A raw header, for what the writer does not write.
fn header(name: &str, flag: u8, size: usize) -> Vec<u8> {
    let mut block = vec![0u8; BLOCK];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[100..107].copy_from_slice(b"0000644");
    block[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
    block[156] = flag;
    block[257..265].copy_from_slice(b"ustar\x0000");
    block[148..156].copy_from_slice(b"        ");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    block
}

fn padded(mut data: Vec<u8>) -> Vec<u8> {
    data.resize(data.len().next_multiple_of(BLOCK), 0);
    data
}

fn reason(bytes: &[u8]) -> String {
    match read_all(bytes) {
        Err(Fault::Entry { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn pax_trickery_is_refused() {
    let pax = |records: &str| {
        let head = header("x", b'x', records.len());
        [head, padded(records.as_bytes().to_vec()), header("f", b'0', 0)].concat()
    };
    for (records, part) in [
        ("8 path=a\n9 path=bb\n", "malformed"),
        ("99999999999999999999 path=a\n", "malformed"),
        ("-1 path=a\n", "number"),
        ("9 size=-\n", "number"),
        ("11 size=-1\n", "number"),
        ("10 path=aa\n10 path=bb\n", "malformed"),
        ("11 path=aa\n11 path=bb\n", "twice"),
        ("11 path=a\0\n", "NUL"),
    ] {
        let bytes = pax(records);
        let got = match read_all(&bytes) {
            Err(Fault::Entry { reason, .. }) => reason,
            other => panic!("{records:?}: {other:?}"),
        };
        assert!(got.contains(part), "{records:?}: {got}");
    }
    let twice = [header("x", b'x', 0), header("x", b'x', 0), header("f", b'0', 0)].concat();
    assert!(reason(&twice).contains("two pax headers"));
    let global = [header("g", b'g', 11), padded(b"11 path=aa\n".to_vec())].concat();
    assert!(reason(&global).contains("global"));
    assert!(reason(&header("x", b'x', 2 << 20)).contains("extended headers"));
    assert!(reason(&header("x", b'L', 2 << 20)).contains("extended headers"));
    assert!(reason(&header("v", b'V', 0)).contains("unknown entry type"));
}

#[test]
fn sparse_maps_are_checked() {
    for (pieces, real, stored, fine) in [
        (&[(0, 5), (10, 5)][..], 20, 10, true),
        (&[(0, 5), (4, 5)], 20, 10, false),
        (&[(10, 5), (0, 5)], 20, 10, false),
        (&[(18, 5)], 20, 5, false),
        (&[(u64::MAX, 5)], 20, 5, false),
        (&[(0, 5)], 20, 6, false),
    ] {
        let pieces: Vec<Piece> =
            pieces.iter().map(|(offset, length)| Piece { offset: *offset, length: *length }).collect();
        assert_eq!(check_pieces(&pieces, real, stored).is_ok(), fine, "{pieces:?}");
    }
}
