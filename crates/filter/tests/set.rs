//! A set judges as its programs do one by one, whatever is remembered.

use core::ops::ControlFlow;

use nabe_event::field::image::is_of_image;
use nabe_event::field::process as p;
use nabe_event::table::EventId;
use nabe_filter::Program;
use nabe_filter::sample::Sample;
use nabe_filter::set::{Cache, Keys, Set, is_of_path};
use proptest::prelude::*;

mod happening;

use happening::{Choice, bytes};

fn compile(source: &str) -> Program {
    Program::sysdig(source).unwrap_or_else(|error| panic!("{source}\n{error}"))
}

fn set(sources: &[&str]) -> Set {
    Set::new(&sources.iter().map(|source| compile(source)).collect::<Vec<_>>())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_set_agrees_with_its_programs(sources in proptest::collection::vec(bytes(40), 1..6), events in bytes(1200)) {
        let sources: Vec<String> = sources.iter().map(|source| Choice::new(source).filter(4)).collect();
        let programs: Vec<Program> = sources.iter().map(|source| compile(source)).collect();
        let set = Set::new(&programs);
        let (mut warm, mut without) = (Cache::new(), Cache::new());
        let mut choice = Choice::new(&events);
        while !choice.is_spent() {
            let event = choice.happening();
            let naive: Vec<usize> = (0..programs.len()).filter(|at| programs[*at].matches(&event)).collect();
            prop_assert_eq!(set.selected(&event, event.id, Keys { image: event.image() }, &mut warm), &naive[..], "{:?} {:?}", &sources, event);
            prop_assert_eq!(set.selected(&event, event.id, Keys::default(), &mut without), &naive[..], "{:?} {:?}", &sources, event);
            prop_assert!(naive.is_empty() || set.events().contains(event.id));
        }
        for program in 0..programs.len() {
            prop_assert!(set.explain(program).is_some_and(|text| text.contains("filter ")));
        }
        prop_assert!(set.explain(programs.len()).is_none());
    }
}

#[test]
fn what_a_key_names_is_judged_once() {
    let set = set(&["proc.name = cat", "proc.name = sh and evt.type = open"]);
    let of = |name: &str| Sample::default().with(p::NAME, name);
    let (cat, sh) = (of("cat"), of("sh"));
    let mut cache = Cache::new();
    let open = EventId::SYSCALL_OPEN_X;
    // A wrong key shows that nothing is read again.
    assert_eq!(set.selected(&cat, open, Keys { image: 7 }, &mut cache), [0]);
    assert_eq!(set.selected(&sh, open, Keys { image: 7 }, &mut cache), [0]);
    assert_eq!(set.selected(&sh, open, Keys { image: 8 }, &mut cache), [1]);
    assert_eq!(set.selected(&sh, open, Keys::default(), &mut cache), [1]);
    assert_eq!(set.selected(&sh, EventId::SYSCALL_CLOSE_X, Keys { image: 8 }, &mut cache), []);
    // A cache of another set is of no use.
    let other = Set::new(set.programs());
    assert_eq!(other.selected(&sh, open, Keys { image: 7 }, &mut cache), [1]);
    cache.clear();
    assert_eq!(set.selected(&sh, open, Keys { image: 7 }, &mut cache), [1]);
}

#[test]
fn whoever_wants_the_first_stops_there() {
    let set = set(&["evt.type = close", "proc.name = cat", "proc.name startswith c"]);
    let cat = Sample::default().with(p::NAME, "cat");
    let mut seen = Vec::new();
    set.judge(&cat, EventId::SYSCALL_OPEN_X, Keys { image: 1 }, &mut Cache::new(), &mut |at| {
        seen.push(at);
        ControlFlow::Break(())
    });
    assert_eq!(seen, [1]);
}

#[test]
fn many_rules_have_masks_of_many_words() {
    let sources: Vec<String> =
        (0..200).map(|n| format!("proc.name = p{n} or user.uid = {}", n % 7)).collect();
    let sources: Vec<&str> = sources.iter().map(String::as_str).collect();
    let set = set(&sources);
    let mut cache = Cache::new();
    for image in 1..50_i64 {
        let subject = Sample::default().with(p::NAME, format!("p{image}").as_str()).with(p::EUID, image);
        let naive: Vec<usize> = (0..200).filter(|at| set.programs()[*at].matches(&subject)).collect();
        for _ in 0..2 {
            let keys = Keys { image: image.unsigned_abs() };
            assert_eq!(set.selected(&subject, EventId::SYSCALL_READ_X, keys, &mut cache), naive);
        }
    }
}

#[test]
fn no_programs_select_nothing() {
    let set = Set::new(&[]);
    assert!(set.events().is_empty() && set.event_interest().is_none());
    assert_eq!(
        set.selected(&Sample::default(), EventId::SYSCALL_READ_X, Keys::default(), &mut Cache::new()),
        []
    );
}

#[test]
fn interests_of_all_programs_are_joined() {
    let interest = set(&[
        "evt.type = open and proc.pid = 3",
        "evt.type = close and proc.pid in (1, 3) and evt.failed = true",
    ])
    .event_interest()
    .unwrap();
    assert_eq!((interest.pids, interest.only_failed), (Some(vec![1, 3]), false));
    assert!(
        interest.events.contains(EventId::SYSCALL_OPEN_X)
            && interest.events.contains(EventId::SYSCALL_CLOSE_X)
    );
    let all = set(&["evt.type = open and proc.pid = 3", "evt.type = close"]).event_interest().unwrap();
    assert_eq!(all.pids, None);
}

#[test]
fn fields_of_images_and_paths_are_told_apart() {
    for field in nabe_event::field::all() {
        assert!(!is_of_image(field.id) || !is_of_path(field.id), "{}", field.name);
    }
    for (name, of_image) in [
        ("proc.name", true),
        ("proc.cmdline", true),
        ("proc.duration", false),
        ("container.name", true),
        ("evt.type", false),
    ] {
        assert_eq!(is_of_image(nabe_event::field::find(name).unwrap().id), of_image, "{name}");
    }
}

#[test]
fn plans_of_rules_say_what_is_judged_when() {
    let set = set(&[
        "evt.type in (open, openat) and proc.name = cat and fd.name startswith /etc and evt.arg.flags contains O_RDONLY",
    ]);
    let explained = set.explain(0).unwrap();
    for line in [
        "judged of  open openat\n",
        "  once per image process.name == \"cat\"\n",
        "  once per path  fd.name.startsWith(\"/etc\")\n",
    ] {
        assert!(explained.contains(line), "{explained}");
    }
}
