//! Writes small bbolt databases, so that tests need none of the engines that do.
//! Layout: `src/disk/bolt.rs`.

use std::collections::BTreeMap;

const PAGE: usize = 4096;
/// Elements on one leaf: few, so that small databases have branches.
const PER_LEAF: usize = 3;

/// What a key leads to.
pub(crate) enum Node {
    Value(Vec<u8>),
    Bucket(Tree),
}

pub(crate) type Tree = BTreeMap<Vec<u8>, Node>;

/// A bucket of values.
pub(crate) fn values(pairs: &[(&str, &str)]) -> Node {
    let pairs = pairs.iter().map(|(k, v)| (k.as_bytes().to_vec(), Node::Value(v.as_bytes().to_vec())));
    Node::Bucket(pairs.collect())
}

/// A bucket of anything.
pub(crate) fn bucket<const N: usize>(nodes: [(&str, Node); N]) -> Node {
    Node::Bucket(nodes.into_iter().map(|(key, node)| (key.as_bytes().to_vec(), node)).collect())
}

/// The bytes of a database with this root bucket.
pub(crate) fn write(tree: &Tree) -> Vec<u8> {
    // Two metas and an empty freelist come first.
    let mut file = vec![0u8; 3 * PAGE];
    let root = write_bucket(&mut file, tree);
    file[2 * PAGE..2 * PAGE + 8].copy_from_slice(&2u64.to_le_bytes());
    file[2 * PAGE + 8..2 * PAGE + 10].copy_from_slice(&0x10u16.to_le_bytes());
    let pages = (file.len() / PAGE) as u64;
    for number in 0..2u64 {
        let mut meta = Vec::new();
        meta.extend(0xED0C_DAEDu32.to_le_bytes());
        meta.extend(2u32.to_le_bytes());
        meta.extend((PAGE as u32).to_le_bytes());
        meta.extend(0u32.to_le_bytes());
        meta.extend(root.to_le_bytes());
        meta.extend(0u64.to_le_bytes());
        meta.extend(2u64.to_le_bytes());
        meta.extend(pages.to_le_bytes());
        meta.extend((7 + number).to_le_bytes());
        let sum = meta.iter().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        meta.extend(sum.to_le_bytes());
        let at = number as usize * PAGE;
        file[at..at + 16].copy_from_slice(&header(number, 4, 0, 0));
        file[at + 16..at + 16 + meta.len()].copy_from_slice(&meta);
    }
    file
}

fn header(number: u64, flags: u16, count: usize, overflow: u32) -> [u8; 16] {
    let mut bytes = [0u8; 16];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    bytes[8..10].copy_from_slice(&flags.to_le_bytes());
    bytes[10..12].copy_from_slice(&(count as u16).to_le_bytes());
    bytes[12..].copy_from_slice(&overflow.to_le_bytes());
    bytes
}

/// Writes a bucket's pages and returns its root page.
fn write_bucket(file: &mut Vec<u8>, tree: &Tree) -> u64 {
    let elements: Vec<(u32, &[u8], Vec<u8>)> = tree
        .iter()
        .map(|(key, node)| match node {
            Node::Value(value) => (0, key.as_slice(), value.clone()),
            Node::Bucket(inner) => (1, key.as_slice(), bucket_value(file, inner)),
        })
        .collect();
    if elements.len() <= PER_LEAF {
        return add_page(file, |number| leaf(number, &elements));
    }
    let children: Vec<(&[u8], u64)> = elements
        .chunks(PER_LEAF)
        .map(|chunk| (chunk[0].1, add_page(file, |number| leaf(number, chunk))))
        .collect();
    add_page(file, |number| branch(number, &children))
}

/// Small buckets of values stand in place, others have pages.
fn bucket_value(file: &mut Vec<u8>, tree: &Tree) -> Vec<u8> {
    let plain = tree.values().all(|node| matches!(node, Node::Value(_)));
    let mut value;
    if plain && tree.len() <= 2 {
        let elements: Vec<(u32, &[u8], Vec<u8>)> = tree
            .iter()
            .map(|(key, node)| match node {
                Node::Value(value) => (0, key.as_slice(), value.clone()),
                Node::Bucket(_) => unreachable!("plain"),
            })
            .collect();
        value = vec![0u8; 16];
        value.extend(leaf(0, &elements));
    } else {
        value = write_bucket(file, tree).to_le_bytes().to_vec();
        value.extend([0u8; 8]);
    }
    value
}

fn add_page(file: &mut Vec<u8>, make: impl Fn(u64) -> Vec<u8>) -> u64 {
    let number = (file.len() / PAGE) as u64;
    let mut page = make(number);
    let pages = page.len().div_ceil(PAGE);
    page.resize(pages * PAGE, 0);
    page[12..16].copy_from_slice(&(pages as u32 - 1).to_le_bytes());
    file.extend(page);
    number
}

fn leaf(number: u64, elements: &[(u32, &[u8], Vec<u8>)]) -> Vec<u8> {
    let mut page = header(number, 2, elements.len(), 0).to_vec();
    let mut data = Vec::new();
    for (at, (flags, key, value)) in elements.iter().enumerate() {
        let pos = (elements.len() - at) * 16 + data.len();
        page.extend(flags.to_le_bytes());
        for number in [pos, key.len(), value.len()] {
            page.extend((number as u32).to_le_bytes());
        }
        data.extend_from_slice(key);
        data.extend_from_slice(value);
    }
    page.extend(data);
    page
}

fn branch(number: u64, children: &[(&[u8], u64)]) -> Vec<u8> {
    let mut page = header(number, 1, children.len(), 0).to_vec();
    let mut data = Vec::new();
    for (at, (key, child)) in children.iter().enumerate() {
        let pos = (children.len() - at) * 16 + data.len();
        page.extend((pos as u32).to_le_bytes());
        page.extend((key.len() as u32).to_le_bytes());
        page.extend(child.to_le_bytes());
        data.extend_from_slice(key);
    }
    page.extend(data);
    page
}
