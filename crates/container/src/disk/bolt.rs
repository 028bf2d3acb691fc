//! A reader for bbolt databases (containerd's `meta.db`, Podman's
//! `bolt_state.db`) that takes no lock and trusts no byte.
//!
//! Layout, little-endian on every supported machine (go.etcd.io/bbolt,
//! `page.go`, `db.go`): pages of `page_size` bytes; a page begins with id u64,
//! flags u16 (1 branch, 2 leaf, 4 meta), count u16, overflow u32. Pages 0 and 1
//! are metas: magic u32, version u32 = 2, page size u32, flags u32, root bucket
//! (page u64, sequence u64), freelist u64, high water u64, txid u64, FNV-1a 64 of
//! what precedes. Branch elements: pos u32, ksize u32, page u64. Leaf elements:
//! flags u32 (1 = bucket), pos u32, ksize u32, vsize u32. `pos` counts from the
//! element. A bucket's value is root page u64 and sequence u64; root 0 means
//! that its only page follows in place.
//!
//! Why no lock is needed: pages of the tree that a meta names are written over
//! at the earliest by the second transaction after it, so a tree read while
//! the txid stayed the same is whole. [`with`] checks that and tries again.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::rc::Rc;

use super::{Unreadable, file};

const MAGIC: u32 = 0xED0C_DAED;
const PAGE_HEADER: usize = 16;
const META_LEN: usize = 64;
const BRANCH: u16 = 1;
const LEAF: u16 = 2;
const BUCKET: u32 = 1;
/// Deeper trees do not occur: 20 levels would hold 2^20 pages at least.
const MAX_DEPTH: u32 = 20;
/// Bytes of pages read from one database in one go.
const MAX_BYTES: usize = 64 << 20;
/// A database in constant use is given up after this many torn reads.
const TRIES: u32 = 5;

type Result<T> = std::result::Result<T, Unreadable>;

/// One consistent view of a database.
pub(crate) struct Db {
    file: File,
    len: u64,
    meta: Meta,
    pages: RefCell<HashMap<u64, Rc<[u8]>>>,
    bytes: Cell<usize>,
}

/// A bucket: where its root page is.
#[derive(Clone)]
pub(crate) struct Bucket(Page);

#[derive(Clone)]
enum Page {
    At(u64),
    Inline(Rc<[u8]>),
}

/// What a key leads to.
pub(crate) enum Item {
    Value(Vec<u8>),
    Bucket(Bucket),
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Meta {
    page_size: u32,
    root: u64,
    txid: u64,
}

/// Runs `read` on a consistent view of the database: again when a writer came
/// between, up to [`TRIES`] times.
pub(crate) fn with<T>(path: &Path, read: impl Fn(&Db) -> Result<T>) -> Result<T> {
    for _ in 0..TRIES {
        let db = Db::open(path)?;
        let result = read(&db);
        if read_meta(&db.file)? == db.meta {
            return result;
        }
    }
    Err(Unreadable)
}

impl Db {
    fn open(path: &Path) -> Result<Db> {
        let file = file::open(path).map_err(|_| Unreadable)?;
        let len = file.metadata().map_err(|_| Unreadable)?.len();
        let meta = read_meta(&file)?;
        Ok(Db { file, len, meta, pages: RefCell::default(), bytes: Cell::new(0) })
    }

    /// The bucket at this path of names from the root; `None` when it is not there.
    pub(crate) fn bucket(&self, names: &[&[u8]]) -> Result<Option<Bucket>> {
        let mut bucket = Bucket(Page::At(self.meta.root));
        for name in names {
            match self.get(&bucket, name)? {
                Some(Item::Bucket(inner)) => bucket = inner,
                _ => return Ok(None),
            }
        }
        Ok(Some(bucket))
    }

    /// The bucket of this name in another bucket.
    pub(crate) fn bucket_in(&self, bucket: &Bucket, name: &[u8]) -> Result<Option<Bucket>> {
        Ok(match self.get(bucket, name)? {
            Some(Item::Bucket(inner)) => Some(inner),
            _ => None,
        })
    }

    /// The value of this key in a bucket.
    pub(crate) fn value(&self, bucket: &Bucket, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(match self.get(bucket, key)? {
            Some(Item::Value(value)) => Some(value),
            _ => None,
        })
    }

    /// What a key of a bucket leads to.
    pub(crate) fn get(&self, bucket: &Bucket, key: &[u8]) -> Result<Option<Item>> {
        let mut page = self.load(&bucket.0)?;
        for _ in 0..MAX_DEPTH {
            if flags(&page)? & LEAF != 0 {
                return leaf_find(&page, key);
            }
            if flags(&page)? & BRANCH == 0 {
                return Err(Unreadable);
            }
            let next = branch_find(&page, key)?;
            page = self.load(&Page::At(next))?;
        }
        Err(Unreadable)
    }

    /// Calls `visit` with every key of a bucket in order.
    pub(crate) fn each(
        &self,
        bucket: &Bucket,
        visit: &mut dyn FnMut(&[u8], Item) -> Result<()>,
    ) -> Result<()> {
        self.each_page(&bucket.0, MAX_DEPTH, visit)
    }

    fn each_page(
        &self,
        page: &Page,
        depth: u32,
        visit: &mut dyn FnMut(&[u8], Item) -> Result<()>,
    ) -> Result<()> {
        let depth = depth.checked_sub(1).ok_or(Unreadable)?;
        let page = self.load(page)?;
        let count = count(&page)?;
        match flags(&page)? {
            f if f & LEAF != 0 => {
                for at in 0..count {
                    let (key, item) = leaf_element(&page, at)?;
                    visit(key, item)?;
                }
            }
            f if f & BRANCH != 0 => {
                for at in 0..count {
                    // A cycle in a damaged file is charged like new pages, so
                    // that the walk ends.
                    self.charge(usize::try_from(self.meta.page_size).map_err(|_| Unreadable)?)?;
                    let (_, next) = branch_element(&page, at)?;
                    self.each_page(&Page::At(next), depth, visit)?;
                }
            }
            _ => return Err(Unreadable),
        }
        Ok(())
    }

    fn charge(&self, bytes: usize) -> Result<()> {
        let total = self.bytes.get().saturating_add(bytes);
        self.bytes.set(total);
        if total > MAX_BYTES { Err(Unreadable) } else { Ok(()) }
    }

    fn load(&self, page: &Page) -> Result<Rc<[u8]>> {
        let number = match page {
            Page::Inline(bytes) => return Ok(Rc::clone(bytes)),
            Page::At(number) => *number,
        };
        if let Some(page) = self.pages.borrow().get(&number) {
            return Ok(Rc::clone(page));
        }
        let size = u64::from(self.meta.page_size);
        let offset = number.checked_mul(size).ok_or(Unreadable)?;
        let mut header = [0u8; PAGE_HEADER];
        self.file.read_exact_at(&mut header, offset).map_err(|_| Unreadable)?;
        if u64_at(&header, 0)? != number {
            return Err(Unreadable);
        }
        let pages = u64::from(u32_at(&header, 12)?) + 1;
        let len = pages.checked_mul(size).ok_or(Unreadable)?;
        if offset.checked_add(len).is_none_or(|end| end > self.len.max(offset + size)) {
            return Err(Unreadable);
        }
        let len = usize::try_from(len).map_err(|_| Unreadable)?;
        self.charge(len)?;
        let mut bytes = vec![0u8; len];
        self.file.read_exact_at(&mut bytes, offset).map_err(|_| Unreadable)?;
        let bytes: Rc<[u8]> = bytes.into();
        self.pages.borrow_mut().insert(number, Rc::clone(&bytes));
        Ok(bytes)
    }
}

/// The newer of the two valid meta pages.
fn read_meta(file: &File) -> Result<Meta> {
    let mut buffer = [0u8; PAGE_HEADER + META_LEN];
    let mut meta_at = |offset: u64| -> Option<Meta> {
        file.read_exact_at(&mut buffer, offset).ok()?;
        parse_meta(buffer.get(PAGE_HEADER..)?)
    };
    let first = meta_at(0);
    // With a damaged first meta the page size is not known: try those in use.
    let second = match first {
        Some(meta) => meta_at(u64::from(meta.page_size)),
        None => [4096, 16384, 65536].into_iter().find_map(meta_at),
    };
    match (first, second) {
        (Some(a), Some(b)) => Ok(if b.txid > a.txid { b } else { a }),
        (a, b) => a.or(b).ok_or(Unreadable),
    }
}

fn parse_meta(bytes: &[u8]) -> Option<Meta> {
    let (body, sum) = bytes.split_at_checked(META_LEN - 8)?;
    let page_size = u32_at(bytes, 8).ok()?;
    let valid = u32_at(bytes, 0).ok()? == MAGIC
        && u32_at(bytes, 4).ok()? == 2
        && u64_at(sum, 0).ok()? == fnv1a(body)
        && page_size.is_power_of_two()
        && (1024..=65536).contains(&page_size);
    valid.then_some(Meta { page_size, root: u64_at(bytes, 16).ok()?, txid: u64_at(bytes, 48).ok()? })
}

fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

fn branch_find(page: &[u8], key: &[u8]) -> Result<u64> {
    let count = count(page)?;
    if count == 0 {
        return Err(Unreadable);
    }
    // The last element whose key is not above ours.
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low + (high - low) / 2;
        if branch_element(page, middle)?.0 <= key {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(branch_element(page, low.saturating_sub(1))?.1)
}

fn leaf_find(page: &[u8], key: &[u8]) -> Result<Option<Item>> {
    let (mut low, mut high) = (0, count(page)?);
    while low < high {
        let middle = low + (high - low) / 2;
        match leaf_parts(page, middle)?.1.cmp(key) {
            std::cmp::Ordering::Less => low = middle + 1,
            std::cmp::Ordering::Greater => high = middle,
            std::cmp::Ordering::Equal => return Ok(Some(leaf_element(page, middle)?.1)),
        }
    }
    Ok(None)
}

fn branch_element(page: &[u8], at: usize) -> Result<(&[u8], u64)> {
    let start = PAGE_HEADER + at * 16;
    let (pos, ksize) = (u32_at(page, start)?, u32_at(page, start + 4)?);
    Ok((slice(page, start, pos, 0, ksize)?, u64_at(page, start + 8)?))
}

fn leaf_parts(page: &[u8], at: usize) -> Result<(u32, &[u8], &[u8])> {
    let start = PAGE_HEADER + at * 16;
    let flags = u32_at(page, start)?;
    let (pos, ksize) = (u32_at(page, start + 4)?, u32_at(page, start + 8)?);
    let vsize = u32_at(page, start + 12)?;
    let key = slice(page, start, pos, 0, ksize)?;
    let value = slice(page, start, pos, ksize, vsize)?;
    Ok((flags, key, value))
}

fn leaf_element(page: &[u8], at: usize) -> Result<(&[u8], Item)> {
    let (flags, key, value) = leaf_parts(page, at)?;
    if flags & BUCKET == 0 {
        return Ok((key, Item::Value(value.to_vec())));
    }
    let page = match u64_at(value, 0)? {
        0 => Page::Inline(value.get(16..).ok_or(Unreadable)?.into()),
        number => Page::At(number),
    };
    Ok((key, Item::Bucket(Bucket(page))))
}

fn slice(page: &[u8], start: usize, pos: u32, skip: u32, len: u32) -> Result<&[u8]> {
    let to = |n: u32| usize::try_from(n).map_err(|_| Unreadable);
    let from = start
        .checked_add(to(pos)?)
        .and_then(|at| at.checked_add(usize::try_from(skip).ok()?))
        .ok_or(Unreadable)?;
    let end = from.checked_add(to(len)?).ok_or(Unreadable)?;
    page.get(from..end).ok_or(Unreadable)
}

fn flags(page: &[u8]) -> Result<u16> {
    u16_at(page, 8)
}

fn count(page: &[u8]) -> Result<usize> {
    u16_at(page, 10).map(usize::from)
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N]> {
    let end = at.checked_add(N).ok_or(Unreadable)?;
    bytes.get(at..end).and_then(|part| part.try_into().ok()).ok_or(Unreadable)
}

fn u16_at(bytes: &[u8], at: usize) -> Result<u16> {
    array(bytes, at).map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Result<u32> {
    array(bytes, at).map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Result<u64> {
    array(bytes, at).map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests;
