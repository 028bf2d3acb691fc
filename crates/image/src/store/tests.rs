//! The store's books.
use super::*;

#[test]
fn an_empty_store_has_nothing() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(root.path()).unwrap();
    assert!(store.images().unwrap().is_empty());
    assert!(matches!(store.resolve("abc"), Err(Error::Unknown { .. })));
    assert_eq!(store.prune(true).unwrap().blobs, 0);
}
