//! The record decoder: any bytes from a ring or a file end, in order, within their bounds; what is
//! decoded and encoded again decodes to the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use nabe_event::record::{
    Args, Cgroup, Fd, Fixed, HEADER, Host, Kind, MAX_LEN, Record, Records, Socket, Task, ThreadTimes, User,
    write,
};

fuzz_target!(|bytes: &[u8]| {
    let mut records = Records::new(bytes);
    let mut before = 0;
    while let Some(record) = records.next() {
        let Ok(record) = record else {
            assert!(records.next().is_none(), "nothing comes after a broken record");
            return;
        };
        let len = HEADER + record.body.len();
        assert!(len <= MAX_LEN && len.is_multiple_of(8));
        assert_eq!(records.offset(), before + len);
        before = records.offset();
        decode(&record);
    }
    assert_eq!(before, bytes.len(), "whole records fill the bytes");
});

fn decode(record: &Record<'_>) {
    match record.kind {
        Some(kind @ Kind::Host) => again::<Host>(kind, record),
        Some(kind @ Kind::Task) => again::<Task>(kind, record),
        Some(kind @ Kind::ThreadTimes) => again::<ThreadTimes>(kind, record),
        Some(kind @ Kind::Args) => again::<Args>(kind, record),
        Some(kind @ Kind::Fd) => {
            again::<Fd>(kind, record);
            again::<Socket>(kind, record);
        }
        Some(kind @ Kind::Cgroup) => again::<Cgroup>(kind, record),
        Some(kind @ Kind::User) => again::<User>(kind, record),
        _ => {}
    }
}

fn again<F: Fixed + PartialEq + std::fmt::Debug>(kind: Kind, record: &Record<'_>) {
    let fixed = F::decode(record.body);
    // A text that claims more than there is is cut, never read from elsewhere.
    assert!(record.text(F::SIZE, 1, usize::MAX).len() <= record.body.len());
    let mut bytes = Vec::new();
    write(&mut bytes, kind, record.flags, &fixed, &[b"text"]);
    let back = Records::new(&bytes).next().expect("one record").expect("a whole record");
    assert_eq!((back.kind, back.flags), (Some(kind), record.flags));
    assert_eq!(F::decode(back.body), fixed);
    assert_eq!(back.text(F::SIZE, 0, 4), b"text");
}
