//! Layers that are up to no good are refused by name, and nothing is written outside.

mod support;

use std::io::Write as _;
use std::path::Path;

use nabe_image::{Error, Settings, Store, import};
use support::{Tar, files, words};

/// Imports a root file system in a directory of its own; gives the error's words.
fn refused_with(layer: &[u8], settings: &Settings) -> String {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("outside")).unwrap();
    std::fs::write(directory.path().join("outside/keep"), "1").unwrap();
    std::fs::write(directory.path().join("layer.tar"), layer).unwrap();
    let store = Store::open(&directory.path().join("root")).unwrap();
    let source = directory.path().join("layer.tar");
    let name = "evil:1".parse().unwrap();
    let result = import(&store, &source, Some(&name), None, settings, &());
    let error = result.map(|_| ()).expect_err("the layer was taken");
    // Nothing of it is left but what prune takes away.
    assert_eq!(files(&directory.path().join("root/images/tmp")), 0);
    assert!(store.images().unwrap().is_empty());
    store.prune(true).unwrap();
    assert_eq!(files(&directory.path().join("root/images/blobs")), 0);
    let outside: Vec<_> = std::fs::read_dir(directory.path().join("outside")).unwrap().collect();
    assert_eq!(outside.len(), 1);
    let mut top: Vec<_> =
        std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    top.sort();
    assert_eq!(top, ["layer.tar", "outside", "root"]);
    words(&error)
}

fn refused(layer: Vec<u8>) -> String {
    refused_with(&layer, &Settings::default())
}

#[track_caller]
fn check(layer: Vec<u8>, entry: &str, reason: &str) {
    let text = refused(layer);
    assert!(text.starts_with("layer sha256:"), "{text}");
    assert!(text.contains(&format!("entry {entry:?}")) && text.contains(reason), "{text}");
}

#[test]
fn paths_that_leave_the_tree() {
    for name in ["../outside/x", "a/../../x", "/../x", ".."] {
        check(Tar::new().file(name, b"x").end(), name, "goes up");
    }
    let long = "n".repeat(300);
    let record = format!("{} path={long}\n", long.len() + 10);
    check(Tar::new().pax(record.as_bytes()).file("x", b"").end(), &format!("{}…", &long[..200]), "too long");
    let deep = "d/".repeat(1000);
    let record = format!("{} path={deep}x\n", deep.len() + 12);
    assert!(refused(Tar::new().pax(record.as_bytes()).file("x", b"").end()).contains("nested too deep"));
}

#[test]
fn links_that_leave_the_tree() {
    for target in ["/tmp", "../../..", "/"] {
        let layer = Tar::new().symlink("out", target).file("out/x", b"x").end();
        check(layer, "out/x", "leaves the tree");
    }
    // Through a second link, which is innocent by itself.
    let layer = Tar::new().symlink("a", "/tmp").symlink("b", "a").file("b/x", b"x").end();
    check(layer, "b/x", "leaves the tree");
    check(Tar::new().hard_link("x", "../outside/keep").end(), "x", "goes up");
    check(Tar::new().hard_link("x", "/etc/passwd").end(), "x", "not in the tree");
    check(Tar::new().symlink("s", "/etc").hard_link("x", "s/passwd").end(), "x", "leaves the tree");
    check(Tar::new().directory("d").hard_link("x", "d").end(), "x", "is a directory");
    check(Tar::new().symlink("l", "l").file("l/x", b"").end(), "l/x", "loop");
}

#[test]
fn a_file_is_not_written_through_a_link() {
    // The file replaces nothing: such entries of one name are refused before anything is opened.
    check(Tar::new().symlink("x", "/etc/passwd").file("x", b"evil").end(), "x", "two entries");
    check(Tar::new().file("x", b"1").symlink("./x", "/etc").end(), "./x", "two entries");
    check(Tar::new().file("x", b"1").directory("x").end(), "x", "two entries");
    check(Tar::new().file("y", b"1").hard_link("x", "y").file("x", b"2").end(), "x", "two entries");
    check(Tar::new().directory("d").symlink("d", "/etc").end(), "d", "two entries");
    check(Tar::new().file("f", b"1").file("f/x", b"2").end(), "f/x", "no directory");
}

#[test]
fn of_a_file_that_was_appended_again_the_last_one_counts() {
    let directory = tempfile::tempdir().unwrap();
    let layer = Tar::new().directory("d").file("d/x", b"first").directory("d").file("./d/x", b"2").end();
    std::fs::write(directory.path().join("layer.tar"), layer).unwrap();
    let store = Store::open(&directory.path().join("root")).unwrap();
    let name = "twice:1".parse().unwrap();
    let settings = support::settings();
    let source = directory.path().join("layer.tar");
    let image = import(&store, &source, Some(&name), None, &settings, &()).unwrap().remove(0);
    let bundle = directory.path().join("bundle");
    nabe_image::bundle(&image, &bundle, &settings, &None).unwrap();
    assert_eq!(std::fs::read(bundle.join("rootfs/d/x")).unwrap(), b"2");
}

#[test]
fn whiteouts_of_nothing() {
    for name in [".wh.", ".wh..", ".wh...", "d/.wh..."] {
        check(Tar::new().directory("d").file(name, b"").end(), name, "whiteout of no file");
    }
}

#[test]
fn device_bombs() {
    let mut tar = Tar::new();
    for number in 0..2000 {
        tar = tar.raw(format!("dev/{number}").as_bytes(), b'3', 0o666, b"", (1, 3), b"");
    }
    let text = refused(tar.end());
    assert!(text.contains("device nodes"), "{text}");
    check(Tar::new().raw(b"hide", b'3', 0o666, b"", (0, 0), b"").end(), "hide", "0:0");
}

#[test]
fn attributes_of_overlayfs() {
    let record = b"35 SCHILY.xattr.trusted.overlay.a=b";
    let record = [record.as_slice(), b"\n"].concat();
    let record = String::from_utf8(record).unwrap();
    let record = format!("{}{}", record.len(), &record[2..]);
    check(Tar::new().pax(record.as_bytes()).file("x", b"").end(), "x", "overlayfs");
}

#[test]
fn bombs_are_stopped_by_the_limits() {
    let mut settings = Settings::default();
    settings.set("max_layer_bytes", "1000").unwrap();
    let text = refused_with(&Tar::new().file("big", &[0; 2000]).end(), &settings);
    assert!(text.contains("more than 1000 bytes"), "{text}");
    let mut settings = Settings::default();
    settings.set("max_layer_entries", "3").unwrap();
    let many = Tar::new().file("1", b"").file("2", b"").file("3", b"").file("4", b"").end();
    let text = refused_with(&many, &settings);
    assert!(text.contains("entries"), "{text}");
    // The header says 8 GiB: refused before anything of it is written.
    let mut settings = Settings::default();
    settings.set("max_layer_bytes", "1000000").unwrap();
    let text = refused_with(&Tar::new().pax(b"19 size=8589934592\n").file("huge", b"").end(), &settings);
    assert!(text.contains("bytes") || text.contains("early"), "{text}");
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

#[test]
fn packed_bombs_are_stopped_while_they_unpack() {
    let mut settings = Settings::default();
    settings.set("max_layer_bytes", "1000000").unwrap();
    settings.set("max_layer_entries", "10").unwrap();
    // Behind the end mark, where no entry counts: 8 MB of zeros in 8 kB, also of zstd.
    let long = [Tar::new().file("f", b"1").end(), vec![0; 8 << 20]].concat();
    for packed in [gzip(&long), zstd::encode_all(long.as_slice(), 3).unwrap()] {
        assert!(packed.len() < 1 << 16);
        let text = refused_with(&packed, &settings);
        assert!(text.contains("unpacks to more than 1000000 bytes"), "{text}");
    }
    // In a file of the archive.
    let big = gzip(&Tar::new().file("big", &vec![0; 4 << 20]).end());
    let text = refused_with(&big, &settings);
    assert!(text.contains("more than 1000000 bytes"), "{text}");
    // In many members of gzip, each of which is harmless.
    let many: Vec<u8> = std::iter::repeat_n(gzip(&vec![0; 1 << 20]), 4).flatten().collect();
    let text = refused_with(&[gzip(&Tar::new().file("f", b"1").end()), many].concat(), &settings);
    assert!(text.contains("unpacks to more than 1000000 bytes"), "{text}");
    // A window of 2 GiB that zstd would have to keep.
    let mut wide = zstd::Encoder::new(Vec::new(), 1).unwrap();
    wide.window_log(30).unwrap();
    wide.write_all(&Tar::new().file("f", b"1").end()).unwrap();
    let text = refused(wide.finish().unwrap());
    assert!(text.starts_with("layer "), "{text}");
}

#[test]
fn sizes_that_no_file_has() {
    let negative = |block: &mut [u8]| block[124..136].copy_from_slice(&[0xff; 12]);
    let huge = |block: &mut [u8]| {
        block[124..136].copy_from_slice(&[0x80, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    };
    let changed = |change: &dyn Fn(&mut [u8])| {
        let mut bytes = Tar::new().file("f", b"1").end();
        change(&mut bytes[..512]);
        bytes[148..156].copy_from_slice(b"        ");
        let sum: u32 = bytes[..512].iter().map(|byte| u32::from(*byte)).sum();
        bytes[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        bytes
    };
    let text = refused(changed(&negative));
    assert!(text.contains("entry \"f\" refused: size: negative"), "{text}");
    // Far beyond what comes.
    let text = refused(changed(&huge));
    assert!(text.contains("ends early") || text.contains("bytes"), "{text}");
    for (record, reason) in [("11 size=-1\n", "number"), ("29 size=18446744073709551616\n", "number")] {
        let text = refused(Tar::new().pax(record.as_bytes()).file("x", b"").end());
        assert!(text.contains("\"x\"") || text.contains("\"pax\""), "{text}");
        assert!(text.contains(reason), "{text}");
    }
    // A device beyond what the kernel has, and owners that nobody is.
    let text = refused(Tar::new().pax(b"19 uid=99999999999\n").file("x", b"").end());
    assert!(text.contains("\"x\"") && text.contains("uid"), "{text}");
}

#[test]
fn headers_without_end() {
    // Two extended headers for one entry, one of two megabytes, names of names, and a million global ones.
    let two = Tar::new().pax(b"9 path=a\n").pax(b"9 path=b\n").file("x", b"").end();
    assert!(refused(two).contains("two pax headers"));
    let long = format!("{} comment={}\n", (2 << 20) + 17, "c".repeat(2 << 20));
    let text = refused(Tar::new().pax(long.as_bytes()).file("x", b"").end());
    assert!(text.contains("extended headers of more than"), "{text}");
    for flag in [b'L', b'K'] {
        let name = vec![b'n'; 2 << 20];
        let text =
            refused(Tar::new().raw(b"././@LongLink", flag, 0o644, b"", (0, 0), &name).file("x", b"").end());
        assert!(text.contains("extended headers of more than"), "{text}");
    }
    let path = format!("{} path={}\n", 8, "");
    assert!(refused(Tar::new().pax(path.as_bytes()).file("x", b"").end()).starts_with("layer"));
    let twice = Tar::new().pax(b"9 path=a\n9 path=b\n").file("x", b"").end();
    assert!(refused(twice).contains("twice"));
}

#[test]
fn whiteouts_do_not_reach_outside() {
    // Through a link of the same layer that leads out.
    check(Tar::new().symlink("out", "/tmp").file("out/.wh.x", b"").end(), "out/.wh.x", "leaves the tree");
    check(
        Tar::new().symlink("out", "..").file("out/.wh..wh..opq", b"").end(),
        "out/.wh..wh..opq",
        "leaves the tree",
    );
    check(Tar::new().file("../.wh.keep", b"").end(), "../.wh.keep", "goes up");
}

#[test]
fn what_is_cut_or_no_archive() {
    let whole = Tar::new().file("f", &[1; 5000]).end();
    assert!(refused(whole[..3000].to_vec()).contains("ends early"));
    assert!(refused(vec![7; 4096]).contains("checksum"));
    assert!(refused(Vec::new()).contains("empty"));
    assert!(refused(vec![0x1f, 0x8b, 8, 0, 1, 2, 3]).contains("layer.tar"));
}

#[test]
fn a_layer_is_what_its_config_says() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let mut made = support::image(&[Tar::new().file("a", b"1").end()]);
    // Another layer under the first one's diff id.
    let other = Tar::new().file("a", b"2").end();
    let manifest = String::from_utf8(made.manifest.clone()).unwrap();
    let (old, new) = (made.blobs[1].0.to_string(), nabe_image::Digest::of(&other));
    made.manifest = manifest.replace(&old, &new.to_string()).into_bytes();
    made.blobs[1] = (new, other);
    let server = support::Server::registry(made, |_| None);
    let error = support::pull(&store, &server.host).map(|_| ()).unwrap_err();
    assert!(matches!(error, Error::Mismatch { .. }), "{error}");
    assert!(store.images().unwrap().is_empty());
    assert_eq!(files(&Path::new(directory.path()).join("images/layers")), 0);
}
