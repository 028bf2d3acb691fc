//! Databases made by hand: read whole, and damaged in every way.

use std::io::Write;
use std::os::unix::fs::FileExt;

use super::*;

#[path = "../../../tests/bolt_writer/mod.rs"]
mod writer;
use writer::{Node, Tree, bucket, values, write};

fn sample() -> Tree {
    let mut many = Tree::new();
    for number in 0..40u32 {
        let key = format!("key{number:03}").into_bytes();
        many.insert(key, Node::Value(number.to_string().into_bytes()));
    }
    many.insert(b"long".to_vec(), Node::Value(vec![b'x'; 9000]));
    let tree = bucket([
        ("inline", values(&[("a", "1"), ("b", "2")])),
        ("nested", bucket([("deep", values(&[("c", "3"), ("d", "4"), ("e", "5")]))])),
        ("many", Node::Bucket(many)),
        ("empty", values(&[])),
    ]);
    match tree {
        Node::Bucket(tree) => tree,
        Node::Value(_) => unreachable!("a bucket"),
    }
}

fn file_with(bytes: &[u8]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().expect("temporary file");
    file.write_all(bytes).expect("write");
    file
}

/// Everything in the database as `path=value`, in order.
fn dump(db: &Db) -> Result<Vec<String>> {
    fn walk(db: &Db, bucket: &Bucket, at: &str, depth: u32, out: &mut Vec<String>) -> Result<()> {
        let depth = depth.checked_sub(1).ok_or(Unreadable)?;
        db.each(bucket, &mut |key, item| {
            let path = format!("{at}/{}", String::from_utf8_lossy(key));
            match item {
                Item::Value(value) => {
                    out.push(format!("{path}={} bytes", value.len()));
                    Ok(())
                }
                Item::Bucket(inner) => walk(db, &inner, &path, depth, out),
            }
        })
    }
    let mut out = Vec::new();
    if let Some(root) = db.bucket(&[])? {
        walk(db, &root, "", 8, &mut out)?;
    }
    Ok(out)
}

#[test]
fn values_are_found_by_their_path() {
    let file = file_with(&write(&sample()));
    let get = |path: &[&[u8]], key: &[u8]| {
        with(file.path(), |db| match db.bucket(path)? {
            Some(bucket) => db.value(&bucket, key),
            None => Ok(None),
        })
        .expect("readable")
        .map(|value| String::from_utf8_lossy(&value).into_owned())
    };
    assert_eq!(get(&[b"inline"], b"b").as_deref(), Some("2"));
    assert_eq!(get(&[b"nested", b"deep"], b"e").as_deref(), Some("5"));
    for number in 0..40 {
        let key = format!("key{number:03}");
        assert_eq!(get(&[b"many"], key.as_bytes()), Some(number.to_string()), "{key}");
    }
    assert_eq!(get(&[b"many"], b"long").map(|value| value.len()), Some(9000));
    for missing in ["", "a", "key", "key0000", "zzz"] {
        assert_eq!(get(&[b"many"], missing.as_bytes()), None, "{missing}");
    }
    assert_eq!(get(&[b"inline", b"a"], b"1"), None, "a value is no bucket");
    assert_eq!(get(&[b"none"], b"a"), None);
    let all = with(file.path(), dump).expect("readable");
    assert_eq!(all.len(), 2 + 3 + 41);
}

#[test]
fn a_damaged_first_meta_leaves_the_second() {
    let mut bytes = write(&sample());
    bytes[20] ^= 0xff;
    let file = file_with(&bytes);
    assert_eq!(with(file.path(), dump).expect("readable").len(), 46);
    bytes[4096 + 70] ^= 1;
    assert_eq!(with(file_with(&bytes).path(), dump), Err(Unreadable));
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let bytes = write(&sample());
    for len in (0..bytes.len()).step_by(97).chain([0, 1, 16, 79, 80, 4095, 4096, 4176]) {
        let result = with(file_with(&bytes[..len]).path(), dump);
        assert_eq!(result, Err(Unreadable), "cut at {len}");
    }
}

#[test]
fn damage_ends_in_an_answer_or_an_error() {
    let whole = write(&sample());
    let file = file_with(&whole);
    for at in 2 * 4096..whole.len().min(12 * 4096) {
        // Only the bytes that mean something: headers, elements, keys.
        if at % 4096 > 320 {
            continue;
        }
        for value in [0u8, 0xff, whole[at].wrapping_add(1), whole[at] ^ 0x80] {
            file.as_file().write_all_at(&[value], at as u64).expect("write");
            let _ = with(file.path(), dump);
            let _ = with(file.path(), |db| match db.bucket(&[b"many"])? {
                Some(bucket) => db.value(&bucket, b"key020"),
                None => Ok(None),
            });
        }
        file.as_file().write_all_at(&whole[at..=at], at as u64).expect("write");
    }
    assert_eq!(with(file.path(), dump).expect("mended").len(), 46);
}

#[test]
fn a_page_that_leads_to_itself_ends() {
    let tree = sample();
    let mut bytes = write(&tree);
    let page = (3..bytes.len() / 4096).find(|page| bytes[page * 4096 + 8] == 1).expect("a branch page");
    let count = usize::from(bytes[page * 4096 + 10]);
    for element in 0..count {
        let at = page * 4096 + 16 + element * 16 + 8;
        bytes[at..at + 8].copy_from_slice(&(page as u64).to_le_bytes());
    }
    assert_eq!(with(file_with(&bytes).path(), dump), Err(Unreadable));
}

#[test]
fn a_fifo_or_link_is_refused_at_once() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let fifo = directory.path().join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0)
        .expect("fifo");
    assert_eq!(with(&fifo, dump), Err(Unreadable));
    let link = directory.path().join("link");
    std::os::unix::fs::symlink(file_with(&write(&sample())).path(), &link).expect("link");
    assert_eq!(with(&link, dump), Err(Unreadable));
}
