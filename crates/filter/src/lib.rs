//! Filter languages lowered to one typed form, and that form run, pushed down and explained.
//!
//! In: the text of an expression; subjects behind `nabe_event::Fields`. Out: verdicts, the fields
//! and collectors that an expression reads ([`Program::needs`]), the processes and sockets it can
//! select at all ([`Program::interest`]), or a [`Diagnostic`] that says where the text is wrong.
//!
//! **Invariants.** No input panics, recurses without bound or runs without bound. Names and types
//! are checked before anything is evaluated; evaluation cannot fail, it can only stay undecided.
//! An interest and a pre-filter accept a superset of what the filter accepts. Field names,
//! constants and types come from the catalogue of `nabe-event`; there is no second list.
//!
//! **Not here.** How subjects are made (`state`), what is printed about them (`ui`), and rules,
//! which judge rather than select.

#![forbid(unsafe_code)]

mod cel;
mod classes;
mod compile;
mod diagnostic;
mod eval;
pub mod format;
mod interest;
mod ir;
mod lang;
mod passes;
mod possible;
mod program;
#[cfg(test)]
mod properties;
mod resolve;
#[doc(hidden)]
pub mod sample;
pub mod set;
mod span;
pub mod sysdig;
mod trace;
mod types;
mod weaken;

pub use classes::Classes;
pub use diagnostic::Diagnostic;
pub use lang::Lang;
pub use program::Program;
pub use set::Set;
pub use span::Span;
pub use trace::Trace;

/// The work of a fuzz target: compiles the bytes as sysdig's language and as CEL and does with the
/// result whatever can be done, on a fixed subject.
#[doc(hidden)]
pub fn exercise(bytes: &[u8]) {
    let source = String::from_utf8_lossy(bytes);
    exercise_sysdig(&source);
    let program = match Program::cel(&source) {
        Ok(program) => program,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    let canonical = program.canonical();
    let again = Program::cel(&canonical);
    assert!(again.is_ok_and(|again| again.canonical() == canonical), "{source} is {canonical}");
    let subject = sample::fixed();
    let selected = program.matches(&subject);
    let weaker = program.prefilter(nabe_event::Needs::TASK);
    assert!(!selected || weaker.matches(&subject), "{source} is not weakened by {}", weaker.canonical());
    assert!(!selected || program.process_part().matches(&subject), "{source}");
    let _ = (program.interest(), program.explain());
}

fn exercise_sysdig(source: &str) {
    let Ok(tree) = sysdig::parse(source) else { return };
    let canonical = tree.to_string();
    // Brackets that precedence had made needless may add depth.
    let again = sysdig::parse_within(&canonical, sysdig::RULE_DEPTH);
    assert!(again.is_ok_and(|again| again == tree), "{source} is {canonical}");
    let Ok(program) = Program::of_sysdig(&tree, source, &()) else { return };
    let subject = sample::fixed();
    let selected = program.matches(&subject);
    let weaker = program.prefilter(nabe_event::Needs::TASK);
    assert!(!selected || weaker.matches(&subject), "{source} is not weakened by {}", weaker.canonical());
    assert!(!selected || program.process_part().matches(&subject), "{source}");
    let _ = (program.interest(), program.explain(), program.event_interest());
    assert_eq!(program.trace(&subject).verdict, program.verdict(&subject), "{source}");
    // What the number of an event says of this subject is true of it.
    let id = nabe_event::table::EventId::SYSCALL_OPENAT_2_X;
    if program.classes() == Classes::SYSCALL
        && !program.fields().iter().any(|field| possible::is_fixed(*field))
    {
        let set = Set::new(&[program.clone(), weaker]);
        let found = set.selected(&subject, id, set::Keys { image: 1 }, &mut set::Cache::new());
        assert_eq!(found.contains(&0), selected, "{source}");
    }
}
