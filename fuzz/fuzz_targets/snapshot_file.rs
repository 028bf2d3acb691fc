//! A snapshot from a file: whatever is in it, it is refused, or every field of every row can be read.

#![no_main]

use libfuzzer_sys::fuzz_target;
use nabe_event::field::all;
use nabe_event::record::{Kind, Records};
use nabe_event::{Fields, Value};
use nabe_state::{Snapshot, file};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(records) = file::read(bytes) {
        rows(records);
    }
    // Past the checksum, which a fuzzer does not guess: the same bytes as the records of a good file.
    let mut kinds = Records::new(bytes).map(|record| record.map(|record| record.kind));
    if kinds.all(|kind| kind.is_ok_and(|kind| kind != Some(Kind::End))) {
        assert_eq!(file::read(&file::write(bytes)), Ok(bytes));
        rows(bytes);
    }
});

fn rows(records: &[u8]) {
    let Ok(snapshot) = Snapshot::new(records.to_vec()) else { return };
    assert_eq!(snapshot.bytes(), records);
    assert_eq!(snapshot.processes().count(), snapshot.len());
    for process in snapshot.processes() {
        read(&process.alone());
        process.descriptors().for_each(|row| read(&row));
    }
    snapshot.ownerless().for_each(|row| read(&row));
}

fn read(row: &dyn Fields) {
    for field in all() {
        match row.get(field.id, None) {
            Value::List(list) => {
                for i in 0..list.len() {
                    let _ = list.get(i);
                }
            }
            Value::Map(map) => {
                for (key, _) in (0..map.len()).filter_map(|i| map.entry(i)) {
                    let _ = row.get(field.id, Some(key));
                }
            }
            _ => {}
        }
        let mut seen = 0;
        let count = row.related(field.id, &mut |_| {
            seen += 1;
            seen < 100
        });
        assert!(count.is_none_or(|count| count == seen));
    }
}
