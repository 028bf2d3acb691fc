//! The CEL front end: any text is refused with a place inside it, or becomes a filter that ends and
//! reads nothing that it did not declare.

#![no_main]

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use nabe_event::field::{container as c, file as f, process as p};
use nabe_event::{FieldId, Fields, Missing, Needs, Value};
use nabe_filter::{Diagnostic, Program};

/// Answers everything, and notes what it was asked.
struct Witness {
    /// False: the descriptor's and the container's fields have no subject.
    whole: bool,
    asked: RefCell<Vec<FieldId>>,
}

fuzz_target!(|source: &str| {
    match Program::cel(source) {
        Ok(program) => judge(&program),
        Err(diagnostic) => refused(source, &diagnostic),
    }
});

fn refused(source: &str, diagnostic: &Diagnostic) {
    assert!(diagnostic.line >= 1 && diagnostic.line <= source.split('\n').count());
    assert!(diagnostic.column >= 1 && diagnostic.column <= source.chars().count() + 1);
    assert!(!diagnostic.message.is_empty());
    let text = diagnostic.to_string();
    assert!(text.len() < 4096, "a message stays readable: {} bytes", text.len());
    assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "a message is harmless: {text:?}");
}

fn judge(program: &Program) {
    let (fields, needs) = (program.fields(), program.needs());
    assert!(program.interest().needs.contains(needs));
    assert!(!program.explain().is_empty());
    for whole in [true, false] {
        let witness = Witness { whole, asked: RefCell::default() };
        let verdict = program.verdict(&witness);
        assert_eq!(program.matches(&witness), verdict == Some(true));
        for id in witness.asked.into_inner() {
            assert!(fields.contains(&id), "{} was read and not declared", id.field().name);
            assert!(needs.contains(id.field().needs), "{} needs more", id.field().name);
        }
    }
    let _: Needs = needs;
}

impl Fields for Witness {
    fn get(&self, field: FieldId, _: Option<&[u8]>) -> Value<'_> {
        self.asked.borrow_mut().push(field);
        if !self.whole && field.class() != p::PID.class() {
            return Value::Missing(Missing::Subject);
        }
        match field {
            p::PID | f::PID => Value::Int(i64::MAX),
            p::PPID => Value::Int(-1),
            p::NAME | c::NAME => Value::Text(b"web \xff\0"),
            f::PATH => Value::Text("/etc/\u{202e}x".as_bytes()),
            f::STATE => Value::Uint(10),
            f::TYPE => Value::Uint(u64::MAX),
            f::SRC_ADDR => Value::Ip(std::net::Ipv6Addr::LOCALHOST.into()),
            _ => Value::Missing(Missing::Unset),
        }
    }

    fn related(&self, relation: FieldId, visit: &mut dyn FnMut(&dyn Fields) -> bool) -> Option<usize> {
        self.asked.borrow_mut().push(relation);
        if !self.whole {
            return None;
        }
        let visited = (0..3).take_while(|_| visit(self)).count();
        Some((visited + 1).min(3))
    }
}
