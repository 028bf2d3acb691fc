//! Snapshots that fuzzing broke: numbers at the end of their range.

use nabe_event::field::all;
use nabe_event::record::{Args, Kind, Task, write};
use nabe_event::{Fields, Value};
use nabe_state::Snapshot;

/// Reads every field of every row.
fn read(bytes: Vec<u8>) -> usize {
    let snapshot = Snapshot::new(bytes).expect("whole records");
    let mut values = 0;
    for process in snapshot.processes() {
        let row = process.alone();
        values += all().filter(|field| !matches!(row.get(field.id, None), Value::Missing(_))).count();
    }
    values
}

#[test]
fn times_that_do_not_add_up() {
    for (utime_ns, stime_ns, runtime_ns) in
        [(u64::MAX, u64::MAX, 1), (u64::MAX, 1, u64::MAX), (0, 0, 5), (1, u64::MAX, 0)]
    {
        let mut bytes = Vec::new();
        let task = Task { pid: 7, tid: 7, utime_ns, stime_ns, runtime_ns, ..Task::default() };
        write(&mut bytes, Kind::Task, 0, &task, &[]);
        assert!(read(bytes) > 0);
    }
}

#[test]
fn an_argument_length_beyond_everything() {
    let mut bytes = Vec::new();
    write(&mut bytes, Kind::Task, 0, &Task { pid: 7, tid: 7, ..Task::default() }, &[]);
    let args = Args { pid: 7, argv_len: u32::MAX, env_len: u32::MAX, ..Args::default() };
    write(&mut bytes, Kind::Args, 0, &args, &[b"sleep\0"]);
    assert!(read(bytes) > 0);
}
