//! Old events become current ones: the cases that libs' own tests expect, and every event of every
//! capture.

mod shared;

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use nabe_event::raw::{Event, Params};
use nabe_event::table::{EventId, Flags, Param, ParamType};
use nabe_scap::{Converter, Enters, Item, Reader};
use serde_json::Value;

/// An event that owns its bytes.
#[derive(Clone, Debug, PartialEq)]
struct Owned {
    id: EventId,
    tid: i64,
    ts_ns: u64,
    values: Vec<Vec<u8>>,
}

impl Owned {
    fn of(event: &Event<'_>) -> Self {
        let values = event.params.iter().map(<[u8]>::to_vec).collect();
        Self { id: event.id, tid: event.tid, ts_ns: event.ts_ns, values }
    }

    /// Converts it.
    fn through(&self, converter: &mut Converter) -> Option<Self> {
        let large = self.id.row().flags.has(Flags::LARGE_PAYLOAD);
        let lengths: Vec<u8> = self
            .values
            .iter()
            .flat_map(|value| {
                let len = u32::try_from(value.len()).unwrap().to_le_bytes();
                len[..if large { 4 } else { 2 }].to_vec()
            })
            .collect();
        let data = self.values.concat();
        let params = Params::new(self.id, &lengths, &data).unwrap();
        let event = Event { id: self.id, cpu: 0, flags: 0, ts_ns: self.ts_ns, tid: self.tid, params };
        converter.convert(&event).map(|event| Self::of(&event))
    }
}

fn id(code: &str) -> EventId {
    let code = code.strip_prefix("PPME_").unwrap_or(code);
    EventId::all().find(|id| id.row().code == code).unwrap_or_else(|| panic!("{code}"))
}

fn expectations(data: &Path) -> Value {
    let path = data.join("expected/libs/scap_converter_expectations.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Bytes of what the expectation calls `text`, as `param`.
fn value(param: &Param, text: &str, constants: &Value) -> Vec<u8> {
    let text = constants.get(text).and_then(Value::as_str).unwrap_or(text);
    let text = constants.get(text).and_then(Value::as_str).unwrap_or(text);
    if text.starts_with("empty_value") || text.contains("nullptr") {
        return Vec::new();
    }
    if param.ty.is_text() {
        return format!("{}\0", text.trim_matches('"')).into_bytes();
    }
    if param.ty.width().is_none() {
        // The expectation's buffers are variables of the test; any bytes do, if they are kept.
        return format!("bytes of {} ({text})", param.name).into_bytes();
    }
    let number = match text {
        "AF_UNIX" => 1,
        "sizeof(data)" => 17,
        "static_cast<uint32_t>(-1)" => -1,
        _ => match text.strip_prefix("0x") {
            Some(hex) => u64::from_str_radix(hex, 16).unwrap().cast_signed(),
            None => text.parse::<i64>().unwrap_or_else(|_| panic!("{}: {text}", param.name)),
        },
    };
    number.to_le_bytes()[..param.ty.width().unwrap()].to_vec()
}

/// `a, b{c, d}, e` → `a`, `b{c, d}`, `e`.
fn arguments(text: &str) -> Vec<String> {
    let mut depth = 0;
    let mut found = vec![String::new()];
    for character in text.chars() {
        match character {
            '{' | '(' => depth += 1,
            '}' | ')' => depth -= 1,
            ',' if depth == 0 => {
                found.push(String::new());
                continue;
            }
            _ => {}
        }
        found.last_mut().unwrap().push(character);
    }
    found.into_iter().map(|argument| argument.trim().to_owned()).collect()
}

/// What the comment of an expectation says of the exit and the enter event: the code, and how many
/// parameters it prints.
fn described(comment: &str) -> Vec<(EventId, usize)> {
    let halves = comment.split("corresponding enter event").take(2);
    halves
        .map(|half| {
            let code = half.split("type=PPME_").nth(1).unwrap();
            let code = code.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap();
            let printed = half.split_once("args=").map_or("", |(_, printed)| printed);
            let row = id(code).row();
            let named = |param: &Param| {
                printed.starts_with(&format!("{}=", param.name))
                    || printed.contains(&format!(" {}=", param.name))
                    || printed.contains(&format!("\n{}=", param.name))
            };
            // A parameter is printed under its name; what follows the last printed one was not there.
            let count = row.params.iter().rposition(named).map_or(0, |last| last + 1);
            (id(code), count)
        })
        .collect()
}

#[test]
fn expected_events_come_out() {
    let Some(data) = shared::data("expected_events_come_out") else { return };
    let expectations = expectations(&data);
    let mut seen = 0;
    for case in expectations["converted_events"].as_array().unwrap() {
        let constants = &case["constants"];
        let Some(list) = case["event_args"].as_str() else { continue };
        let list = arguments(list);
        let target = id(&list[2]);
        let number = |name: &str| constants[name].as_str().unwrap().to_owned();
        let (ts_ns, tid) = (number("ts").parse().unwrap(), number("tid").parse().unwrap());
        let count: usize = list[3].parse().unwrap();
        let values: Vec<Vec<u8>> = list[4..]
            .iter()
            .zip(target.row().params)
            .map(|(text, param)| value(param, text, constants))
            .collect();
        assert_eq!(values.len(), count, "{}", case["test"]);

        let sides = described(case["comment"].as_str().unwrap());
        let [(exit, exit_count), (enter, enter_count)] = sides[..] else { panic!("{}", case["test"]) };
        assert_eq!(exit.other_side(), enter, "{}", case["test"]);
        // Only what the old event has may reach the converter, so that the rest must come from the enter.
        let side = |id: EventId, count: usize, ts_ns: u64| {
            let at = |param: &Param| target.row().param(param.name).map(|(at, _)| at);
            let values = id.row().params[..count]
                .iter()
                .map(|param| {
                    at(param)
                        .and_then(|at| values.get(at))
                        .cloned()
                        .unwrap_or_else(|| vec![7; param.ty.width().unwrap_or(3)])
                })
                .collect();
            Owned { id, tid, ts_ns, values }
        };
        let exit_count = if exit == EventId::GENERIC_X { 1 } else { exit_count };
        let enter_count = if enter == EventId::GENERIC_E { 2 } else { enter_count };
        assert!(exit_count < count || exit != target, "{}", case["test"]);
        let mut converter = Converter::new(Enters::Drop);
        assert_eq!(side(enter, enter_count, ts_ns - 1).through(&mut converter), None);
        let found = side(exit, exit_count, ts_ns).through(&mut converter).unwrap();
        assert_eq!((found.id, found.tid, found.ts_ns), (target, tid, ts_ns), "{}", case["test"]);
        // The table has grown since some of the expectations were written.
        assert_eq!(found.values[..count], values, "{}", case["test"]);
        assert!(found.values[count..].iter().all(Vec::is_empty), "{}", case["test"]);
        assert_eq!(found.values.len(), target.row().params.len());
        assert_eq!(converter.stats().lone_exits, 0, "{}", case["test"]);
        seen += 1;
    }
    assert_eq!(seen, 53);
}

#[test]
fn an_execve_takes_its_file_name_from_its_enter() {
    let Some(data) = shared::data("an_execve_takes_its_file_name_from_its_enter") else { return };
    let expectations = expectations(&data);
    let case = expectations["converted_events"]
        .as_array()
        .unwrap()
        .iter()
        .find(|case| case["test"] == "execve_x")
        .unwrap();
    let constants = &case["constants"];
    let target = EventId::SYSCALL_EXECVE_19_X;
    let expected: Vec<Vec<u8>> = target
        .row()
        .params
        .iter()
        .map(|param| match param.name {
            "args" => value(param, "args_data", constants),
            "cgroups" | "env" => b"A=1\0B=2\0".to_vec(),
            name => value(param, name, constants),
        })
        .collect();
    // 27 parameters, up to uid; then trusted_exepath, pgid and gid, which the file is too old for.
    let (old, rest) = expected.split_at(27);
    assert!(rest[..3].iter().all(Vec::is_empty));
    assert_eq!(rest[3], b"/usr/bin/cat\0");
    let mut converter = Converter::new(Enters::Drop);
    let enter = Owned { id: target.other_side(), tid: 141_707, ts_ns: 1, values: vec![rest[3].clone()] };
    assert_eq!(enter.through(&mut converter), None);
    let exit = Owned { id: target, tid: 141_707, ts_ns: 2, values: old.to_vec() };
    assert_eq!(exit.through(&mut converter).unwrap().values, expected);

    // An older one without enter event: everything moves, nothing is invented.
    let id = EventId::SYSCALL_EXECVE_8_X;
    let values: Vec<Vec<u8>> =
        (1..=8).map(|at| vec![at; id.row().params[usize::from(at) - 1].ty.width().unwrap_or(2)]).collect();
    let found = Owned { id, tid: 1, ts_ns: 3, values: values.clone() }.through(&mut converter).unwrap();
    assert_eq!((found.id, found.values.len()), (target, 31));
    assert_eq!(found.values[..8], values);
    assert!(found.values[8..].iter().all(Vec::is_empty));
}

/// All events of a capture, converted.
fn convert(path: &Path, enters: Enters, mut each: impl FnMut(&Event<'_>)) -> nabe_scap::convert::Stats {
    let mut converter = Converter::new(enters);
    let mut reader = Reader::open(path).unwrap();
    while let Some(batch) = reader.batch().unwrap() {
        for item in batch {
            if let Item::Event(event) = item
                && let Some(event) = converter.convert(&event)
            {
                each(&event);
            }
        }
    }
    *converter.stats()
}

#[test]
fn the_sample_has_the_expected_events() {
    let Some(data) = shared::data("the_sample_has_the_expected_events") else { return };
    let path = data.join("scap/libs/sample.scap");
    let mut counts = BTreeMap::new();
    let mut events = Vec::new();
    convert(&path, Enters::Drop, |event| {
        *counts.entry(event.id.row().code).or_insert(0) += 1;
        events.push(Owned::of(event));
    });
    for (code, count) in expectations(&data)["counts_after_conversion"]["sample.scap"].as_object().unwrap() {
        assert_eq!(counts.get(code.as_str()).copied().unwrap_or(0), count.as_i64().unwrap(), "{code}");
    }
    for case in expectations(&data)["converted_events"].as_array().unwrap() {
        if case["file"] != "sample.scap" {
            continue;
        }
        let constants = &case["constants"];
        let list = arguments(case["event_args"].as_str().unwrap());
        let target = id(&list[2]);
        let expected = Owned {
            id: target,
            tid: constants["tid"].as_str().unwrap().parse().unwrap(),
            ts_ns: constants["ts"].as_str().unwrap().parse().unwrap(),
            values: list[4..]
                .iter()
                .zip(target.row().params)
                .map(|(text, param)| value(param, text, constants))
                .collect(),
        };
        let at = |event: &&Owned| event.ts_ns == expected.ts_ns && event.id == target;
        assert_eq!(events.iter().find(at), Some(&expected), "{}", case["test"]);
    }
}

#[test]
fn every_event_comes_out_current() {
    let Some(data) = shared::data("every_event_comes_out_current") else { return };
    for capture in shared::captures(&data) {
        let (mut exits, mut kept, mut lone) = (0_u64, 0_u64, 0_u64);
        let mut inside = HashSet::new();
        let mut reader = Reader::open(&capture.path).unwrap();
        while let Some(batch) = reader.batch().unwrap() {
            for item in batch {
                let Item::Event(event) = item else { continue };
                if event.id.is_enter() {
                    inside.insert((event.tid, event.id));
                    kept += u64::from(event.id.row().flags.has(Flags::UNUSED));
                } else {
                    exits += 1;
                    lone += u64::from(!inside.contains(&(event.tid, event.id.other_side())));
                }
            }
        }
        let mut found = 0;
        let stats = convert(&capture.path, Enters::Drop, |event| {
            let row = event.id.row();
            assert!(!row.flags.has(Flags::OLD_VERSION) && !row.flags.has(Flags::UNUSED), "{event:?}");
            assert!(
                !event.id.is_enter()
                    || !event.id.is_syscall()
                    || event.id.other_side().row().flags.has(Flags::UNUSED),
                "{event:?}"
            );
            if row.flags.has(Flags::CONVERTER_MANAGED) {
                assert_eq!(event.params.len(), row.params.len(), "{event:?}");
            }
            for (param, value) in event.described() {
                let fits = value.is_empty() || param.ty.width().is_none_or(|width| width == value.len());
                assert!(fits, "{}: {:?} {} {value:?}", capture.name, event.id, param.name);
                assert!(
                    param.ty != ParamType::CharBuf || value.is_empty() || value.ends_with(b"\0"),
                    "{event:?}"
                );
            }
            found += u64::from(!event.id.is_enter());
        });
        assert_eq!(found, exits, "{}", capture.name);
        assert_eq!((stats.unused, stats.forgotten), (kept, 0), "{}", capture.name);
        assert!(stats.lone_exits <= lone, "{}: {stats:?}, {lone}", capture.name);
        assert_eq!(stats.current + stats.converted + stats.dropped_enters + stats.unused, capture.events);
        let stats = convert(&capture.path, Enters::Keep, |_| {});
        assert_eq!(stats.current + stats.converted + stats.unused, capture.events, "{}", capture.name);
    }
}

#[test]
fn what_nobody_recorded_stays_absent() {
    let mut converter = Converter::new(Enters::Drop);
    let close = |values| Owned { id: EventId::SYSCALL_CLOSE_X, tid: 5, ts_ns: 2, values };
    let found = close(vec![0_i64.to_le_bytes().to_vec()]).through(&mut converter).unwrap();
    assert_eq!(found.values, [0_i64.to_le_bytes().to_vec(), Vec::new()]);
    assert_eq!(converter.stats().lone_exits, 1);
    // Another thread's enter event, another call's enter event.
    let enter = |id, tid| Owned { id, tid, ts_ns: 1, values: vec![3_i64.to_le_bytes().to_vec()] };
    for (id, tid) in [(EventId::SYSCALL_CLOSE_E, 6), (EventId::SYSCALL_FSTAT_E, 5)] {
        assert_eq!(enter(id, tid).through(&mut converter), None);
        let found = close(vec![0_i64.to_le_bytes().to_vec()]).through(&mut converter).unwrap();
        assert!(found.values[1].is_empty());
    }
    // And the right one, once.
    assert_eq!(enter(EventId::SYSCALL_CLOSE_E, 5).through(&mut converter), None);
    let exit = close(vec![0_i64.to_le_bytes().to_vec()]);
    assert_eq!(exit.through(&mut converter).unwrap().values[1], 3_i64.to_le_bytes());
    assert!(exit.through(&mut converter).unwrap().values[1].is_empty());
}

#[test]
fn numbers_change_their_width_and_variants_are_taken_out() {
    let mut converter = Converter::new(Enters::Drop);
    // bpf: the command had 64 bits, the result was one of two kinds.
    let enter =
        Owned { id: EventId::SYSCALL_BPF_E, tid: 1, ts_ns: 1, values: vec![5_i64.to_le_bytes().to_vec()] };
    assert_eq!(enter.through(&mut converter), None);
    let mut result = vec![0];
    result.extend_from_slice(&9_i64.to_le_bytes());
    let found = Owned { id: EventId::SYSCALL_BPF_X, tid: 1, ts_ns: 2, values: vec![result] }
        .through(&mut converter)
        .unwrap();
    assert_eq!(found.id, EventId::SYSCALL_BPF_2_X);
    assert_eq!(found.values, [9_i64.to_le_bytes().to_vec(), 5_i32.to_le_bytes().to_vec()]);
}

#[test]
fn old_container_events_become_documents() {
    let mut converter = Converter::new(Enters::Drop);
    let texts =
        [b"abc\0".to_vec(), 2_u32.to_le_bytes().to_vec(), b"a \"name\"\n\0".to_vec(), b"img:1\0".to_vec()];
    let found = Owned { id: EventId::CONTAINER_E, tid: -1, ts_ns: 1, values: texts.to_vec() }
        .through(&mut converter)
        .unwrap();
    assert_eq!(found.id, EventId::CONTAINER_JSON_2_E);
    let document: Value = serde_json::from_slice(found.values[0].strip_suffix(b"\0").unwrap()).unwrap();
    let expected =
        serde_json::json!({"container": {"id": "abc", "name": "a \"name\"\n", "image": "img:1", "type": 2}});
    assert_eq!(document, expected);
    let old = Owned { id: EventId::CONTAINER_JSON_E, tid: -1, ts_ns: 1, values: vec![b"{}\0".to_vec()] };
    assert_eq!(old.through(&mut converter).unwrap(), Owned { id: EventId::CONTAINER_JSON_2_E, ..old });
}

#[test]
fn threads_that_never_return_are_forgotten() {
    let mut converter = Converter::new(Enters::Drop);
    let count = 3 << 18;
    for tid in 0..count {
        let values = vec![3_i64.to_le_bytes().to_vec()];
        assert_eq!(
            Owned { id: EventId::SYSCALL_CLOSE_E, tid, ts_ns: 1, values }.through(&mut converter),
            None
        );
    }
    assert!(converter.stats().forgotten >= 2 << 18);
    let exit = |tid| Owned { id: EventId::SYSCALL_CLOSE_X, tid, ts_ns: 2, values: vec![vec![0; 8]] };
    assert_eq!(exit(count - 1).through(&mut converter).unwrap().values[1], 3_i64.to_le_bytes());
    assert!(exit(0).through(&mut converter).unwrap().values[1].is_empty());
}
