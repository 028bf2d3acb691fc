//! What each view makes the probe collect: switches of processors, of which there are more than of all
//! other events, only where it shows them.

use nabe_chisel::{Output, Runner, Setup, all, make};
use nabe_event::source::EventSet;
use nabe_event::table::EventId;

/// These show something of them: how many there were, on which processor, how long they took, and what they
/// tell of memory.
const OF_ALL: [&str; 4] = ["subsecoffset", "topscalls_time", "v_containers", "v_cpus"];

/// A view, started as one that watches the machine; `None` for one that does not.
fn started(name: &str) -> Option<Runner> {
    let view = all().into_iter().find(|view| view.name == name)?;
    let needed = view.arguments.iter().filter(|argument| argument.default.is_none());
    let args = needed.map(|argument| match argument.name.as_str() {
        "key" => "fd.type".to_owned(),
        "host_ip" => "127.0.0.1".to_owned(),
        _ => "80".to_owned(),
    });
    let setup = Setup {
        args: args.collect(),
        live: true,
        terminal: Some((80, 24)),
        filter: "evt.failed".into(),
        ..Setup::default()
    };
    let mut out = Output::new(&setup);
    Runner::new(make(name, &setup)?.ok()?, &mut out).ok()
}

#[test]
fn switches_are_collected_where_they_show() {
    let names: Vec<String> = all().into_iter().map(|view| view.name).collect();
    let live: Vec<(String, Runner)> =
        names.into_iter().filter_map(|name| Some((name.clone(), started(&name)?))).collect();
    assert!(live.len() > 70, "{}", live.len());
    let mut with: Vec<&str> =
        live.iter().filter(|(_, view)| view.shows_switches()).map(|(name, _)| name.as_str()).collect();
    with.sort_unstable();
    assert_eq!(with, OF_ALL);
}

#[test]
fn a_view_of_few_events_collects_few() {
    let events = |name: &str| -> EventSet {
        started(name).unwrap().filter().map_or_else(EventSet::all, |filter| filter.event_interest().events)
    };
    let found = events("shellshock_detect");
    assert!(found.contains(EventId::SYSCALL_EXECVE_19_X));
    assert!(!found.contains(EventId::SYSCALL_READ_X) && !found.contains(EventId::GENERIC_X));
    assert!(!events("topprocs_net").contains(EventId::SYSCALL_CLOSE_X));
}
