//! Why a filter selects a subject or does not.

use nabe_event::Missing;
use nabe_event::field::{descriptor as d, event as e, process as p, thread as t};
use nabe_filter::sample::Sample;
use nabe_filter::sysdig::{self, Ast, Definitions};
use nabe_filter::{Classes, Program, Trace};

fn opened() -> Sample {
    Sample::default()
        .with(e::TYPE, "openat")
        .with(d::NAME, "/etc/shadow\u{1b}")
        .with(p::NAME, "cat")
        .with(t::PNAME, Missing::Unset)
        .with(p::EXE, Missing::Unread(13))
}

struct Names(Ast);

impl Definitions for Names {
    fn macro_named(&self, name: &str) -> Option<&Ast> {
        (name == "reads").then_some(&self.0)
    }

    fn list_named(&self, _: &str) -> Option<&[Vec<u8>]> {
        None
    }
}

#[test]
fn each_part_has_its_verdict_and_its_values() {
    let program = Program::sysdig(
        "evt.type in (open, openat) and (proc.name = sh or not fd.name startswith /tmp) and not proc.pname exists and proc.exepath != a",
    )
    .unwrap();
    let trace = program.trace(&opened());
    assert_eq!(
        trace.to_string(),
        "no      and\n\
         yes       evt.type in (open, openat)   # evt.type = openat\n\
         yes       or\n\
         no          proc.name = sh   # process.name = cat\n\
         yes         not\n\
         no            fd.name startswith /tmp   # fd.name = /etc/shadow\\u{1b}\n\
         yes       not\n\
         no          proc.pname exists   # proc.pname = (no value)\n\
         no        proc.exepath != a   # process.exe = (not read)\n"
    );
    assert_eq!(trace.verdict, program.verdict(&opened()));
    let cel = Program::cel_of_events("evt.type == \"open\" || process.exe == \"x\"").unwrap();
    assert_eq!(cel.trace(&opened()).verdict, None);
    assert_eq!(cel.trace(&opened()).text, "||");
}

#[test]
fn macros_keep_their_names() {
    let names = Names(sysdig::parse("evt.type = openat and fd.name contains etc").unwrap());
    let ast = sysdig::parse("reads and proc.name = cat").unwrap();
    let trace = sysdig::trace(&ast, &names, Classes::SYSCALL, &opened()).unwrap();
    let Trace { text, verdict, parts, .. } = &trace.parts[0];
    assert_eq!((text.as_str(), *verdict, parts[0].parts.len()), ("reads", Some(true), 2));
    assert_eq!(trace.verdict, Some(true));
    // A program has them put in.
    let program = Program::of_sysdig(&ast, "", &names).unwrap();
    assert_eq!(program.trace(&opened()).verdict, Some(true));
    assert!(sysdig::trace(&ast, &(), Classes::SYSCALL, &opened()).is_err());
}
