//! The way of outside bytes through everything in this crate, for fuzzing and property tests.

use std::io::Cursor;

use crate::{Compression, Converter, Ending, Enters, Error, Item, Reader, Writer};

/// Reads `bytes`, converts and writes what was read, reads that again.
///
/// # Panics
/// When what was written does not read as what was read: an error of this crate, whatever the bytes.
#[doc(hidden)]
pub fn exercise(bytes: &[u8]) {
    let Ok(mut reader) = Reader::new(Cursor::new(bytes.to_vec())) else { return };
    let Ok(mut writer) = Writer::new(Vec::new(), Compression::None) else { return };
    let mut converters = [Enters::Drop, Enters::Current, Enters::Keep].map(Converter::new);
    let mut written = Vec::new();
    while let Ok(Some(batch)) = reader.batch() {
        for item in batch {
            if let Item::Event(event) = &item {
                for (position, (param, _)) in event.described().enumerate() {
                    let _ =
                        (param.ty, event.signed(position), event.unsigned(position), event.text(position));
                }
                for converter in &mut converters {
                    let _ = converter.convert(event);
                }
            }
            match writer.item(&item) {
                Ok(()) => written.push(format!("{item:?}")),
                Err(Error::Order { .. } | Error::TooLong { .. }) => {}
                Err(error) => panic!("{error:?}"),
            }
        }
    }
    assert!(!matches!(reader.ending(), Ending::Unread), "the end was not reached");
    let (rewritten, size) = match writer.finish() {
        Ok(finished) => finished,
        Err(error) => panic!("{error:?}"),
    };
    let mut reader = match Reader::new(Cursor::new(rewritten)) {
        Ok(reader) => reader,
        Err(error) => panic!("{error:?}"),
    };
    let mut again = Vec::new();
    while let Ok(Some(batch)) = reader.batch() {
        again.extend(batch.map(|item| format!("{item:?}")));
    }
    assert!(reader.stats().is_clean() && matches!(reader.ending(), Ending::Complete), "{:?}", reader.stats());
    // Texts that other readers would refuse were cut; a section is put before items that have none.
    if size.cut_texts == 0 && written.first().is_some_and(|first| first.starts_with("Section")) {
        let same = |text: &String| !text.contains("Thread(");
        assert!(again.len() == written.len(), "{} {}", again.len(), written.len());
        for (again, written) in again.iter().zip(&written) {
            // Whether the end of a thread is in the early layout is told by its length alone.
            assert!(again == written || !same(written), "{again} {written}");
        }
    }
}
