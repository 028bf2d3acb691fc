//! Memory of `nabe detect` while containers come and go: each with a name, a few processes and files,
//! none of which comes again.

mod support;

use std::io::{BufRead as _, BufReader, Write};
use std::process::{ChildStdin, Stdio};

use nabe_event::raw::{Event, Params};
use nabe_event::table::EventId;
use nabe_scap::{Compression, Writer};
use support::{Running, directory, nabe_command};

/// An event whose parameters have these values, by name; the others have none.
fn event(writer: &mut Writer<impl Write>, id: EventId, ts_ns: u64, tid: i64, values: &[(&str, &[u8])]) {
    let (mut lengths, mut data) = (Vec::new(), Vec::new());
    let large = id.row().flags.has(nabe_event::table::Flags::LARGE_PAYLOAD);
    for param in id.row().params {
        let bytes = values.iter().find(|(name, _)| *name == param.name).map_or(&b""[..], |(_, bytes)| bytes);
        let length = (bytes.len() as u32).to_le_bytes();
        lengths.extend_from_slice(if large { &length } else { &length[..2] });
        data.extend_from_slice(bytes);
    }
    let params = Params::new(id, &lengths, &data).unwrap();
    writer.event(&Event { id, cpu: 0, flags: 0, ts_ns, tid, params }).unwrap();
}

/// The life of container `number`: told of, a process is born, executes, opens files, ends.
fn container(writer: &mut Writer<impl Write>, number: u64) {
    let tid = 10_000 + number.cast_signed();
    let short = format!("{number:012x}");
    let full = format!("{short}{}", "0".repeat(52));
    let document = format!(
        "{{\"container\":{{\"id\":\"{short}\",\"full_id\":\"{full}\",\"name\":\"job-{number}\",\"image\":\"registry.example/job:{number}\",\
         \"imagerepo\":\"registry.example/job\",\"type\":0,\"labels\":{{\"run\":\"{number}\",\"team\":\"batch\"}}}}}}\0"
    );
    let cgroups = format!("cpu=/docker/{full}\0memory=/docker/{full}\0");
    let path = format!("/data/{number}/result\0");
    let at = |step: u64| 1_600_000_000_000_000_000 + number * 60_000_000 + step * 1_000_000;
    let word = |value: i64| value.to_le_bytes();
    event(
        writer,
        EventId::ASYNCEVENT_E,
        at(0),
        -1,
        &[("plugin_id", &[0; 4]), ("name", b"container\0"), ("data", document.as_bytes())],
    );
    let of_thread = |res: i64| {
        vec![
            ("res", word(res).to_vec()),
            ("exe", b"/bin/job\0".to_vec()),
            ("args", format!("--number={number}\0").into_bytes()),
            ("tid", word(tid).to_vec()),
            ("pid", word(tid).to_vec()),
            ("ptid", word(1).to_vec()),
            ("cwd", b"/\0".to_vec()),
            ("comm", b"job\0".to_vec()),
            ("cgroups", cgroups.clone().into_bytes()),
            ("env", format!("NUMBER={number}\0").into_bytes()),
        ]
    };
    for (id, res, step) in [(EventId::SYSCALL_CLONE_20_X, 0, 1), (EventId::SYSCALL_EXECVE_19_X, 0, 2)] {
        let values = of_thread(res);
        let values: Vec<(&str, &[u8])> =
            values.iter().map(|(name, bytes)| (*name, bytes.as_slice())).collect();
        event(writer, id, at(step), tid, &values);
    }
    for step in 3..6u64 {
        let fd = word(step.cast_signed());
        let values: [(&str, &[u8]); 5] = [
            ("fd", &fd),
            ("dirfd", &word(-100)),
            ("name", path.as_bytes()),
            ("flags", &[2, 0, 0, 0]),
            ("mode", &[0; 4]),
        ];
        event(writer, EventId::SYSCALL_OPENAT_2_X, at(step), tid, &values);
    }
    event(writer, EventId::PROCEXIT_1_E, at(7), tid, &[("status", &word(0))]);
}

/// Kilobytes of memory that a process has.
fn resident(pid: u32) -> u64 {
    let line = support::status_of(pid, "VmRSS");
    line.trim_end_matches(" kB").trim().parse().unwrap()
}

#[test]
fn containers_that_are_gone_take_no_memory() {
    let folder = directory();
    let rules = folder.path().join("rules.yaml");
    let text = "
- rule: Job
  desc: d
  condition: evt.type = openat and container.name startswith job- and fd.num = 3
  output: \"%container.name %container.id %fd.name %proc.args\"
  priority: INFO
  nabe: {throttle: {every: 1h, by: [container.id]}}
";
    std::fs::write(&rules, text).unwrap();
    let mut command = nabe_command(["detect", "-r"]);
    command.arg(&rules).arg("-").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let input: ChildStdin = child.stdin.take().unwrap();
    let mut alerts = BufReader::new(child.stdout.take().unwrap()).lines();
    let running = Running { child };
    let pid = running.child.id();
    let mut writer = Writer::new(input, Compression::None).unwrap();
    let mut sizes = Vec::new();
    let mut number = 0;
    for goal in [1_000, 10_000, 20_000, 40_000] {
        // In turn, so that neither waits for the other's full pipe.
        while number < goal {
            for _ in 0..100 {
                number += 1;
                container(&mut writer, number);
            }
            writer.flush().unwrap();
            for at in number - 99..=number {
                let alert = alerts.next().unwrap().unwrap();
                assert!(
                    alert.contains(&format!("job-{at} ")) && alert.contains(&format!("/data/{at}/result")),
                    "{alert}"
                );
            }
        }
        sizes.push((goal, resident(pid)));
    }
    drop(writer.finish().unwrap());
    let (_, told, status) = running.finish();
    eprintln!("containers and kB: {sizes:?}");
    assert_eq!(status, Some(0), "{told}");
    assert!(told.contains("Events detected: 40000"), "{told}");
    // What is kept of the last ones has its bound; twice as many take no more.
    assert!(sizes[3].1 < sizes[2].1 + 16_384, "{sizes:?}");
    assert!(sizes[3].1 < 262_144, "{sizes:?}");
}
