//! Flows of the network against what SysFlow made of the same captures: each thread's connections, with
//! the bytes and operations of either direction.

#[path = "../../scap/tests/shared/mod.rs"]
mod shared;
mod support;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use support::nabe;

/// A thread and the name of a connection.
type Flow = (i64, String);

/// Bytes and operations, received and sent.
type Traffic = [i64; 4];

/// A datagram socket that is connected again keeps its first peer here, as in libsinsp; SysFlow names a
/// flow after each connect. See docs/differences.md.
const RECONNECTED: [&str; 2] = ["127.0.0.1:44524->127.0.1.1:0", "0.0.0.0:0->0.0.0.0:0"];

fn expected(flows: &Value) -> BTreeMap<Flow, Traffic> {
    let mut expected: BTreeMap<Flow, Traffic> = BTreeMap::new();
    for flow in flows.as_array().unwrap() {
        let number = |key: &str| flow[key].as_i64().unwrap_or_else(|| panic!("{key} of {flow}"));
        let end = |ip: &str, port: &str| format!("{}:{}", flow[ip].as_str().unwrap(), number(port));
        let name = format!("{}->{}", end("sip", "sport"), end("dip", "dport"));
        let traffic = expected.entry((number("tid"), name)).or_default();
        for (sum, key) in traffic.iter_mut().zip(["recv_bytes", "send_bytes", "recv_ops", "send_ops"]) {
            *sum += number(key);
        }
    }
    expected
}

#[test]
fn flows_are_sysflows() {
    let Some(data) = shared::data("flows_are_sysflows") else { return };
    let flows = std::fs::read(data.join("expected/sf-collector/networkflows.json")).unwrap();
    let flows: Value = serde_json::from_slice(&flows).unwrap();
    let format = "*%thread.tid %evt.io_dir %evt.rawres %evt.is_io %fd.name";
    let filter = "evt.dir = < and fd.type in (ipv4, ipv6)";
    let mut compared = 0;
    for (capture, flows) in flows.as_object().unwrap() {
        let expected = expected(flows);
        let file = data.join("scap/sf-collector").join(format!("{capture}.scap"));
        let run = nabe(["replay", file.to_str().unwrap(), "-p", format, filter]).ok();
        let (mut seen, mut traffic) = (BTreeSet::new(), BTreeMap::<Flow, Traffic>::new());
        for line in run.lines() {
            let [tid, direction, result, is_io, name] = line.splitn(5, ' ').collect::<Vec<_>>()[..] else {
                panic!("{capture}: {line}");
            };
            let flow: Flow = (tid.parse().unwrap(), name.to_owned());
            if is_io == "true" {
                let at = usize::from(direction != "read");
                let sums = traffic.entry(flow.clone()).or_default();
                sums[at] += result.parse::<i64>().unwrap().max(0);
                sums[at + 2] += 1;
            }
            seen.insert(flow);
        }
        for (flow, want) in &expected {
            assert_eq!(traffic.remove(flow).unwrap_or_default(), *want, "{capture}: {flow:?}");
            let known = seen.contains(flow) || RECONNECTED.contains(&flow.1.as_str());
            assert!(known, "{capture}: {flow:?} is not there");
            compared += 1;
        }
        assert_eq!(traffic, BTreeMap::new(), "{capture}: SysFlow has none of these");
    }
    assert!(compared > 150, "{compared} flows");
}
