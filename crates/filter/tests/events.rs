//! Which events a filter can select, and what of it the kernel decides: no match is lost.

use nabe_event::field::Class;
use nabe_event::source::{EventInterest, EventSet};
use nabe_event::table::{EventId, syscall_name};
use nabe_filter::{Classes, Lang, Program};
use proptest::prelude::*;

mod happening;

use happening::{Choice, Happening, bytes};

fn compile(source: &str) -> Program {
    Program::sysdig(source).unwrap_or_else(|error| panic!("{source}\n{error}"))
}

fn names(set: &EventSet) -> Vec<&'static str> {
    let mut names: Vec<_> = set.iter().map(EventId::name).collect();
    names.sort_unstable();
    names.dedup();
    names
}

#[test]
fn events_that_can_match() {
    for (filter, expected) in [
        ("evt.type = openat", &["openat"][..]),
        ("evt.type in (open, openat) and fd.name contains etc", &["open", "openat"]),
        ("evt.type = open or (evt.type = close and evt.failed = true)", &["close", "open"]),
        ("evt.type = open and evt.type = close", &[]),
        ("not evt.type exists", &[]),
        ("evt.is_open_write = true", &["creat", "open", "open_by_handle_at", "openat", "openat2"]),
        (
            "evt.is_open_write = true and fd.name = /x and evt.type != open and not evt.type startswith creat",
            &["open_by_handle_at", "openat", "openat2"],
        ),
        ("evt.asynctype = container", &["asyncevent"]),
        ("evt.arg.oldpath = /x and evt.arg.flags exists and evt.rawres < 0", &["linkat", "renameat2"]),
        ("proc.name = x and evt.type = kill", &["kill"]),
        // A system call without an event of its own.
        ("evt.type = mincore", &["syscall"]),
        ("syscall.type in (mincore, close)", &["close", "syscall"]),
        ("evt.category = memory and evt.type startswith mm", &["mmap", "mmap2"]),
    ] {
        let interest = compile(filter).event_interest();
        assert_eq!(names(&interest.events), expected, "{filter}");
        assert!(compile(filter).events().clone().intersection(&interest.events) == interest.events);
    }
    // An old capture may have any system call as a generic event.
    assert!(compile("evt.type = openat2").events().contains(EventId::GENERIC_X));
    assert!(!compile("evt.type = switch").events().contains(EventId::GENERIC_X));
    assert_eq!(*compile("proc.name = x").events(), EventSet::all());
    let exits = compile("evt.dir = <");
    assert!(exits.events().iter().all(|id| !id.is_enter()) && !exits.events().is_empty());
}

#[test]
fn what_is_pushed_down() {
    let of = |filter: &str| compile(filter).event_interest();
    let interest = of("evt.type = read and proc.pid in (3, 1) and proc.name in (a, b) and user.uid = 0");
    assert_eq!(interest.pids, Some(vec![1, 3]));
    assert_eq!(interest.names, Some(vec![b"a".to_vec(), b"b".to_vec()]));
    assert_eq!((interest.euids, interest.only_failed, interest.snaplen), (Some(vec![0]), false, 0));
    for (filter, only_failed) in [
        ("evt.failed = true", true),
        ("evt.rawres < 0", true),
        ("evt.rawres = -13 or evt.res = EACCES", true),
        ("evt.res != SUCCESS", true),
        ("not evt.res = SUCCESS", false),
        ("evt.rawres <= 0", false),
        ("evt.failed = true or proc.name = x", false),
        ("evt.type = openat and evt.res = ENOENT", true),
    ] {
        assert_eq!(of(filter).only_failed, only_failed, "{filter}");
    }
    for (filter, reads) in [
        ("evt.buffer contains x", true),
        ("evt.arg.data contains x", true),
        ("evt.arg[1] contains x", true),
        ("evt.args contains x", true),
        ("evt.arg.flags contains x and evt.buflen > 3", false),
        ("fd.name contains x", false),
    ] {
        assert_eq!(of(filter).snaplen, if reads { 80 } else { 0 }, "{filter}");
    }
    let ids = |filter: &str| compile(filter).containers();
    assert_eq!(ids("container.id = a or (container.id in (b, c) and evt.type = open)"), {
        Some(vec![b"a".to_vec(), b"b".to_vec(), b"c".to_vec()])
    });
    assert_eq!(ids("container.id = host"), Some(vec![b"host".to_vec()]));
    assert_eq!(ids("container.id != a"), None);
    assert_eq!(ids("container.id = a or proc.name = b"), None);
}

#[test]
fn what_a_filter_says_of_containers_stands_alone() {
    let part = |filter: &str| compile(filter).container_part().map(|part| part.canonical());
    let web = Some("container.name == \"web\"".to_owned());
    assert_eq!(part("container.name = web and evt.type = openat"), web);
    assert_eq!(part("proc.name = x and (container.name = web and fd.name contains y)"), web);
    for everything in [
        "proc.name = x",
        "container.name = web or proc.name = x",
        "container.image = nginx",
        "evt.type = open",
    ] {
        assert_eq!(part(everything), None, "{everything}");
    }
}

#[test]
fn plans_say_what_is_pushed_down() {
    let explained =
        compile("evt.type = openat and proc.name = cat and container.id = abc and evt.failed = true")
            .explain();
    for line in [
        "events     openat (1 name)\n",
        "payload    none\n",
        "pushed     name cat; only what failed; containers by their cgroups: container.id == \"abc\"\n",
    ] {
        assert!(explained.contains(line), "{explained}");
    }
    assert!(compile("evt.buffer contains x").explain().contains("payload    read\n"));
}

#[test]
fn filters_are_about_the_fields_of_their_source() {
    let audit = Classes::of_source("k8s_audit", &[Class::Container]);
    for lang in [Lang::Sysdig, Lang::Auto, Lang::Cel] {
        let compile = |source: &str| Program::compile_for(source, lang, audit);
        assert!(compile("container.name != \"x\"").is_ok());
        assert!(compile("evt.source != \"x\"").is_ok());
        let error = compile("proc.name != \"x\"").unwrap_err().to_string();
        assert!(error.contains("is no field of k8s_audit"), "{error}");
        assert!(error.contains("a field of system calls' events"), "{error}");
        let error = compile("evt.typo != \"x\"").unwrap_err().to_string();
        assert!(!error.contains("evt.type"), "{error}");
        assert_eq!(compile("container.name != \"x\"").unwrap().classes(), audit);
    }
    let error = Program::compile("evt.num = 1", Lang::Sysdig).unwrap_err().to_string();
    assert!(error.contains("is a field of events"), "{error}");
}

/// Whether a probe that is configured so hands out this event.
fn admits(interest: &EventInterest, event: &Happening) -> bool {
    fn within<T: PartialEq>(allowed: &Option<Vec<T>>, value: &T) -> bool {
        allowed.as_ref().is_none_or(|allowed| allowed.contains(value))
    }
    // A generic event has the name of a call that has no event of its own.
    let current = event.id.name() != "syscall" || EventId::named(event.name).next().is_none();
    (interest.events.contains(event.id) || !current)
        && within(&interest.pids, &u32::try_from(event.pid).unwrap())
        && within(&interest.euids, &u32::try_from(event.uid).unwrap())
        && within(&interest.names, &event.comm.as_bytes().to_vec())
        && (!interest.only_failed || event.result().is_some_and(|result| result < 0))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_match_is_lost(source in bytes(40), events in bytes(400)) {
        let source = Choice::new(&source).filter(4);
        let program = compile(&source);
        let interest = program.event_interest();
        let containers = program.containers();
        let mut choice = Choice::new(&events);
        while !choice.is_spent() {
            let event = choice.happening();
            prop_assert_eq!(program.trace(&event).verdict, program.verdict(&event), "{} {:?}", source, event);
            if program.matches(&event) {
                prop_assert!(program.events().contains(event.id), "{} {:?}", source, event);
                prop_assert!(admits(&interest, &event), "{} {:?} {:?}", source, event, interest);
                let id = event.container.as_bytes();
                prop_assert!(containers.as_ref().is_none_or(|ids| ids.iter().any(|known| known == id)));
            }
        }
    }
}

#[test]
fn generic_events_have_names_of_calls() {
    assert!((0..1024).filter_map(syscall_name).any(|name| name == "mincore"));
    assert!(EventId::named("mincore").next().is_none());
}
