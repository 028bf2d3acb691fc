//! `nabe record` from captures: round trips, rotation, look-back, what stays out of a file.

#[path = "../../scap/tests/shared/mod.rs"]
mod shared;
mod support;

use std::path::Path;
use std::process::Command;

use nabe_event::item::Thread;
use nabe_event::raw::{Event, Params};
use nabe_event::table::EventId;
use nabe_event::{Item, convert};
use nabe_scap::{Compression, Reader, Writer};
use support::{NABE, Need, Run, command, directory, has, nabe};

/// What sysdig makes of a capture; `None`, with a line that says so, when it is not installed.
fn sysdig(test: &str, arguments: &[&str]) -> Option<Run> {
    if Command::new("sysdig").arg("--version").output().is_err() {
        eprintln!("SKIP {test}: sysdig is not installed");
        return None;
    }
    Some(Run::of(Command::new("sysdig").env("TZ", "UTC").args(arguments)))
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn captures_are_rewritten_as_they_were() {
    let Some(data) = shared::data("captures_are_rewritten_as_they_were") else { return };
    let scratch = tempfile::tempdir().unwrap();
    let copy = scratch.path().join("copy.scap");
    for capture in shared::captures(&data) {
        let original = text(&capture.path);
        nabe(["record", "-r", original, "-o", text(&copy)]).ok();
        let (want, got) = (nabe(["replay", original]), nabe(["replay", text(&copy)]));
        assert_eq!(
            (want.status, &want.stdout, &want.stderr.replace(original, text(&copy))),
            (got.status, &got.stdout, &got.stderr),
            "{}",
            capture.name
        );
        let Some(want) = sysdig("captures_are_rewritten_as_they_were", &["-r", original]) else { return };
        let got = sysdig("captures_are_rewritten_as_they_were", &["-r", text(&copy)]).unwrap();
        assert!(want.stdout == got.stdout && want.stderr == got.stderr, "{}: {}", capture.name, got.stderr);
    }
}

#[test]
fn what_cannot_be_read_leaves_nothing() {
    let scratch = tempfile::tempdir().unwrap();
    let at = |name: &str| scratch.path().join(name);
    std::fs::write(at("empty"), "").unwrap();
    std::fs::write(at("other"), "root:x:0:0:no capture at all\n").unwrap();
    for name in ["missing", "empty", "other"] {
        let (read, output) = (at(name), at("output"));
        let run = |arguments: &[&str]| {
            let run = nabe(arguments);
            assert_eq!((run.status, run.lines().len()), (Some(1), 0), "{arguments:?}: {}", run.stderr);
            assert!(
                run.stderr.contains(&format!("cannot read the capture {}", text(&read))),
                "{}",
                run.stderr
            );
            assert!(!run.stderr.contains("events in"), "{}", run.stderr);
        };
        let every: [&[&str]; 4] = [
            &["record", "-r", text(&read), "-o", text(&output)],
            &["record", "-r", text(&read), "-o", text(&output), "evt.type = open"],
            &["replay", text(&read), "-q", "-w", text(&output)],
            &["replay", text(&read), "-w", text(&output), "evt.type = open"],
        ];
        for arguments in every {
            run(arguments);
            let left: Vec<_> =
                scratch.path().read_dir().unwrap().map(|found| found.unwrap().file_name()).collect();
            assert_eq!(left.len(), 2, "{arguments:?}: {left:?}");
        }
        // What was there before is as it was.
        std::fs::write(&output, "precious").unwrap();
        every.iter().for_each(|arguments| run(arguments));
        assert_eq!(std::fs::read(&output).unwrap(), b"precious", "{name}");
        std::fs::remove_file(&output).unwrap();
    }
}

#[test]
fn what_is_read_is_not_written() {
    let scratch = tempfile::tempdir().unwrap();
    let (capture, link) = (scratch.path().join("one.scap"), scratch.path().join("two.scap"));
    let mut writer = Writer::new(Vec::new(), Compression::None).unwrap();
    writer.flush().unwrap();
    let bytes = writer.finish().unwrap().0;
    std::fs::write(&capture, &bytes).unwrap();
    std::fs::hard_link(&capture, &link).unwrap();
    for output in [&capture, &link] {
        for run in [
            nabe(["record", "-r", text(&capture), "-o", text(output)]),
            nabe(["replay", text(&capture), "-w", text(output)]),
        ] {
            assert_eq!(run.status, Some(2), "{}", run.stderr);
            assert!(run.stderr.contains("is read: it cannot be written, too"), "{}", run.stderr);
        }
        assert_eq!(std::fs::read(&capture).unwrap(), bytes);
    }
}

/// A capture with whatever may keep its events from being copied as they are.
fn odd_capture(from: &Path, to: &Path) {
    let mut bytes = std::fs::read(from).unwrap();
    let numbers: Vec<usize> = (0..bytes.len() - 8)
        .step_by(4)
        .filter(|at| bytes[*at..*at + 4] == 0x216_u32.to_le_bytes() && bytes[*at + 7] == 0)
        .collect();
    for (nth, at) in numbers.into_iter().enumerate() {
        match nth % 97 {
            // Padding that is no zeros, where there is any.
            3 => {
                let len = u32::from_le_bytes(bytes[at + 4..at + 8].try_into().unwrap()) as usize;
                let used = 10 + u32::from_le_bytes(bytes[at + 26..at + 30].try_into().unwrap()) as usize;
                if len < 4096 && used + 4 < len {
                    bytes[at + used] = 7;
                }
            }
            // An event that does not say its length, one whose lengths do not fit, one that nobody knows.
            23 => bytes[at + 4] ^= 4,
            41 => bytes[at + 36] ^= 0x40,
            71 => bytes[at + 31] = 0xff,
            _ => {}
        }
    }
    // And a second section behind the first, cut.
    let more = std::fs::read(from).unwrap();
    bytes.extend_from_slice(&more[..more.len() - 5]);
    std::fs::write(to, bytes).unwrap();
}

#[test]
fn what_is_copied_is_what_would_be_written() {
    let Some(data) = shared::data("what_is_copied_is_what_would_be_written") else { return };
    let scratch = tempfile::tempdir().unwrap();
    let [copied, written, odd] = ["copied", "written", "odd"].map(|name| scratch.path().join(name));
    for capture in shared::captures(&data) {
        odd_capture(&capture.path, &odd);
        for (original, options) in [
            (&capture.path, &[][..]),
            (&capture.path, &["--exit-only"]),
            (&capture.path, &["--compress=zstd"]),
            (&capture.path, &["-E"]),
            (&odd, &[]),
        ] {
            let original = text(original);
            let with = |more: &[&str], to: &Path| {
                let words = ["replay", original, "-w", text(to)];
                nabe(words.iter().chain(options).chain(more).copied().collect::<Vec<_>>())
            };
            // Counting looks at every event.
            let (fast, slow) = (with(&["-q"], &copied), with(&["--count"], &written));
            assert_eq!(
                (fast.status, &fast.stderr),
                (slow.status, &slow.stderr),
                "{} {options:?}",
                capture.name
            );
            let same = std::fs::read(&copied).unwrap() == std::fs::read(&written).unwrap();
            assert!(same, "{} {original} {options:?}", capture.name);
            if options.contains(&"-E") {
                continue;
            }
            let record = |more: &[&str], to: &Path| {
                let words = ["record", "-r", original, "-o", text(to)];
                nabe(words.iter().chain(options).chain(more).copied().collect::<Vec<_>>())
            };
            // A limit is looked at with every event.
            let (fast, slow) = (record(&[], &copied), record(&["-n", "1000000000"], &written));
            assert_eq!(
                (fast.status, &fast.stderr),
                (slow.status, &slow.stderr),
                "{} {options:?}",
                capture.name
            );
            let same = std::fs::read(&copied).unwrap() == std::fs::read(&written).unwrap();
            assert!(same, "record {} {original} {options:?}", capture.name);
        }
    }
    // Two captures in one file.
    let both = data.join("scap/falco-0.34.1");
    let both = [both.join("cat_write.scap"), both.join("ping_sendto.scap")];
    nabe(["replay", text(&both[0]), text(&both[1]), "-q", "-w", text(&copied)]).ok();
    nabe(["replay", text(&both[0]), text(&both[1]), "--count", "-w", text(&written)]).ok();
    assert!(std::fs::read(&copied).unwrap() == std::fs::read(&written).unwrap());
}

#[test]
fn compressed_files_are_read_back() {
    let Some(data) = shared::data("compressed_files_are_read_back") else { return };
    let original = data.join("scap/falco-0.34.1/cat_write.scap");
    let want = nabe(["replay", text(&original)]).ok().stdout;
    let scratch = tempfile::tempdir().unwrap();
    let copy = scratch.path().join("copy.scap");
    for (format, magic) in [("gzip", &[0x1f, 0x8b][..]), ("zstd", &[0x28, 0xb5]), ("lz4", &[0x04, 0x22])] {
        nabe(["record", "-r", text(&original), "-o", text(&copy), &format!("--compress={format}")]).ok();
        assert!(std::fs::read(&copy).unwrap().starts_with(magic), "{format}");
        assert_eq!(nabe(["replay", text(&copy)]).ok().stdout, want, "{format}");
    }
    let piped = nabe(["record", "-r", text(&original), "-o", "-"]).ok().stdout;
    std::fs::write(&copy, piped).unwrap();
    assert_eq!(nabe(["replay", text(&copy)]).ok().stdout, want);
}

#[test]
fn files_rotate_and_each_stands_alone() {
    let Some(data) = shared::data("files_rotate_and_each_stands_alone") else { return };
    let original = data.join("scap/sf-collector/mpm-event__cold_start_capture.scap");
    let format = "*%evt.rawtime %proc.name %evt.type %fd.name";
    let want = nabe(["replay", text(&original), "-p", format]).ok().lines();
    let scratch = tempfile::tempdir().unwrap();
    let base = scratch.path().join("r.scap");
    nabe(["record", "-r", text(&original), "-o", text(&base), "-e", "1000"]).ok();
    let mut got = Vec::new();
    let files = std::fs::read_dir(scratch.path()).unwrap().count();
    for number in 0..files {
        let file = format!("{}{number}", text(&base));
        got.extend(nabe(["replay", &file, "-p", format]).ok().lines());
    }
    assert!(files >= 4, "{files}");
    assert_eq!(got.len(), want.len());
    // State that a source told is dumped again; what differs must be rare.
    let differ = want.iter().zip(&got).filter(|(want, got)| want != got).count();
    assert!(differ * 100 < want.len(), "{differ} of {}", want.len());

    let ring = scratch.path().join("ring");
    nabe(["record", "-r", text(&original), "-o", text(&ring), "-e", "1000", "-W", "2"]).ok();
    let mut names: Vec<_> = std::fs::read_dir(scratch.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("ring"))
        .collect();
    names.sort();
    assert_eq!(names, ["ring0", "ring1"]);

    let timed = scratch.path().join("%s.t");
    nabe(["record", "-r", text(&original), "-o", text(&timed), "-G", "1"]).ok();
    let timed = std::fs::read_dir(scratch.path())
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_str().unwrap().ends_with(".t"))
        .count();
    assert!(timed >= 2, "{timed}");
}

#[test]
fn files_rotate_by_size() {
    let Some(data) = shared::data("files_rotate_by_size") else { return };
    let original = data.join("scap/sf-collector/mpm-event__full_capture.scap");
    let scratch = tempfile::tempdir().unwrap();
    let base = scratch.path().join("s.scap");
    nabe(["record", "-r", text(&original), "-o", text(&base), "-C", "1"]).ok();
    let events = |file: &str| -> u64 {
        nabe(["replay", file, "--count"]).ok().text().trim().parse().expect("a number")
    };
    let files = std::fs::read_dir(scratch.path()).unwrap().count();
    assert!(files >= 3, "{files}");
    let mut all = 0;
    for number in 0..files {
        let file = format!("{}{number}", text(&base));
        let bytes = std::fs::metadata(&file).unwrap().len();
        // A file is ended by the event that makes it too long; the last one may be short.
        assert!(bytes < 1_300_000 && (bytes > 900_000 || number + 1 == files), "{file}: {bytes}");
        all += events(&file);
    }
    assert_eq!(all, events(text(&original)));
}

#[test]
fn fat_files_keep_what_changes_the_state() {
    let Some(data) = shared::data("fat_files_keep_what_changes_the_state") else { return };
    let original = data.join("scap/sf-collector/mpm-event__full_capture.scap");
    let scratch = tempfile::tempdir().unwrap();
    let [fat, lean] = ["fat", "lean"].map(|name| scratch.path().join(format!("{name}.scap")));
    let filter = "evt.type = read and fd.type = file";
    let format = "*%evt.rawtime %proc.name %thread.tid %fd.name %proc.cmdline";
    let want = nabe(["replay", text(&original), "-p", format, filter]).ok().lines();
    assert!(want.len() > 50, "{}", want.len());
    nabe(["record", "-r", text(&original), "-o", text(&fat), "-F", filter]).ok();
    nabe(["record", "-r", text(&original), "-o", text(&lean), filter]).ok();
    // Shown is what was selected; what is hidden keeps the names of descriptors that were opened later.
    let lines = |file: &Path| nabe(["replay", text(file), "-p", format]).ok().lines();
    assert_eq!(lines(&fat), want);
    assert_ne!(lines(&lean), want, "without -F names of files are lost");
    let all = |file: &Path| nabe(["replay", text(file), "-D", "--count"]).ok().text();
    assert_ne!(all(&fat), all(&lean));
    let Some(theirs) =
        sysdig("fat_files_keep_what_changes_the_state", &["-r", text(&fat), "-p", "%evt.rawtime"])
    else {
        return;
    };
    assert_eq!(theirs.lines().len(), want.len());
}

#[test]
fn look_back_has_what_came_before() {
    let Some(data) = shared::data("look_back_has_what_came_before") else { return };
    let original = data.join("scap/sf-collector/namespaces__setns.scap");
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("l.scap");
    let on = "evt.num = 8000";
    nabe(["record", "-r", text(&original), "-o", text(&file), "--ring", "256K", "--on", on, "--after", "0"])
        .ok();
    let all =
        nabe(["replay", text(&original), "-p", "*%evt.rawtime %proc.name %evt.type %fd.name"]).ok().lines();
    let kept =
        nabe(["replay", text(&file), "-p", "*%evt.rawtime %proc.name %evt.type %fd.name"]).ok().lines();
    assert!(kept.len() > 100 && kept.len() < all.len(), "{} of {}", kept.len(), all.len());
    let at = all.iter().position(|line| *line == kept[0]).expect("the first line is one of the original");
    assert!(at > 0);
    // The order is the same; a name that only an event before the ring told may be missing.
    let same = all[at..].iter().zip(&kept).filter(|(all, kept)| all == kept).count();
    assert!(same * 20 > kept.len() * 19, "{same} of {}", kept.len());
    // Nothing that matters: no file.
    let none = scratch.path().join("none.scap");
    let run = nabe([
        "record",
        "-r",
        text(&original),
        "-o",
        text(&none),
        "--ring",
        "1M",
        "--on",
        "evt.type = reboot",
    ])
    .ok();
    assert!(!none.exists() && run.stderr.contains("no file was written"), "{}", run.stderr);
}

/// A capture with two processes that have secrets, and a write of each.
fn secrets(path: &Path) {
    let file = std::fs::File::create(path).unwrap();
    let mut writer = Writer::new(file, Compression::None).unwrap();
    for (tid, comm, env, args) in [
        (10, &b"web"[..], &b"TOKEN=hunter2-env\0"[..], &b"--password=hunter2-arg\0-v\0"[..]),
        (20, b"other", b"KEY=stranger-env\0", b"stranger-arg\0"),
    ] {
        let thread = Thread { tid, pid: tid, comm, exe: comm, env, args, ..Thread::UNKNOWN };
        writer.item(&Item::Thread(Box::new(thread))).unwrap();
    }
    for (ts_ns, tid, payload) in [(1_000, 10, &b"hunter2-payload"[..]), (2_000, 20, b"stranger-payload")] {
        let id = EventId::SYSCALL_WRITE_X;
        let mut data = (payload.len() as i64).to_le_bytes().to_vec();
        data.extend_from_slice(payload);
        data.extend_from_slice(&1i64.to_le_bytes());
        data.extend_from_slice(&(payload.len() as u32).to_le_bytes());
        let lengths: Vec<u8> =
            [8, payload.len() as u16, 8, 4].into_iter().flat_map(u16::to_le_bytes).collect();
        let params = Params::new(id, &lengths, &data).unwrap();
        writer.item(&Item::Event(Event { id, cpu: 0, flags: 0, ts_ns, tid, params })).unwrap();
    }
    writer.finish().unwrap();
}

fn holds(path: &Path, text: &str) -> bool {
    std::fs::read(path).unwrap().windows(text.len()).any(|window| window == text.as_bytes())
}

#[test]
fn what_is_redacted_is_not_in_the_file() {
    let scratch = tempfile::tempdir().unwrap();
    let (dirty, clean) = (scratch.path().join("dirty.scap"), scratch.path().join("clean.scap"));
    secrets(&dirty);
    assert!(holds(&dirty, "hunter2"));
    let rules = ["--redact", "env", "--redact", "payload", "--redact", "args=hunter2-\\w+"];
    nabe(["record", "-r", text(&dirty), "-o", text(&clean)].into_iter().chain(rules)).ok();
    assert!(!holds(&clean, "hunter2") && !holds(&clean, "stranger-env"));
    assert!(holds(&clean, "TOKEN=***") && holds(&clean, "--password=***"));
    let shown = nabe(["replay", text(&clean), "-p", "%proc.name %evt.rawarg.res"]).ok();
    assert_eq!(shown.text(), "web 15\nother 16\n");
    let run = nabe(["record", "-r", text(&dirty), "-o", text(&clean), "--redact", "secrets"]);
    assert_eq!(run.status, Some(2), "{}", run.stderr);
}

#[test]
fn a_filtered_file_has_no_strangers() {
    let scratch = tempfile::tempdir().unwrap();
    let (all, some) = (scratch.path().join("all.scap"), scratch.path().join("some.scap"));
    secrets(&all);
    nabe(["record", "-r", text(&all), "-o", text(&some), "proc.name = web"]).ok();
    assert!(holds(&some, "TOKEN=") && !holds(&some, "stranger"));
    assert!(!scratch.path().join("some.scap.part").exists());
    assert_eq!(
        nabe(["replay", text(&some), "-p", "%proc.name %proc.args"]).ok().text(),
        "web --password=hunter2-arg -v\n"
    );
    nabe(["record", "-r", text(&all), "-o", text(&some), "--all-state", "proc.name = web"]).ok();
    assert!(holds(&some, "stranger-env") && !holds(&some, "stranger-payload"));
}

#[test]
fn old_readers_see_descriptors_of_exit_only_events() {
    let Some(data) = shared::data("old_readers_see_descriptors_of_exit_only_events") else { return };
    let original = data.join("scap/sf-collector/namespaces__setns.scap");
    let scratch = tempfile::tempdir().unwrap();
    let (exits, both) = (scratch.path().join("exits.scap"), scratch.path().join("both.scap"));
    // As a source of today tells it.
    let mut writer = Writer::new(std::fs::File::create(&exits).unwrap(), Compression::None).unwrap();
    let mut converter = convert::Converter::new(convert::Enters::Drop);
    let mut reader = Reader::open(&original).unwrap();
    while let Some(batch) = reader.batch().unwrap() {
        for item in batch {
            match item {
                Item::Event(event) => {
                    if let Some(current) = converter.convert(&event) {
                        writer.event(&current).unwrap();
                    }
                }
                item => writer.item(&item).unwrap(),
            }
        }
    }
    writer.finish().unwrap();
    nabe(["record", "-r", text(&exits), "-o", text(&both)]).ok();
    // The made events are not ours.
    assert_eq!(nabe(["replay", text(&both)]).ok().text(), nabe(["replay", text(&exits)]).ok().text());
    let filter = "evt.type=read and evt.dir=< and fd.type=file";
    let format = "%evt.rawtime %proc.name %fd.name";
    let ask = |file: &Path| {
        sysdig(
            "old_readers_see_descriptors_of_exit_only_events",
            &["-d", "-r", text(file), "-p", format, filter],
        )
    };
    let (Some(with), Some(without)) = (ask(&both), ask(&exits)) else { return };
    let want = nabe(["replay", text(&both), "-p", format, filter]).ok();
    assert!(want.lines().len() > 10, "{}", want.lines().len());
    // sysdig's table of descriptors is older in other ways, too.
    let common = |theirs: &Run| {
        let theirs = theirs.lines();
        want.lines().iter().filter(|line| theirs.contains(line)).count()
    };
    let (all, helped, alone) = (want.lines().len(), common(&with), common(&without));
    assert!(helped * 100 > all * 95 && alone < helped, "{all}: {helped} with enter events, {alone} without");
}

/// Who may not record loses nothing by trying.
#[test]
fn what_is_there_stays_without_privileges() {
    let test = "what_is_there_stays_without_privileges";
    if !has(test, &[Need::Root, Need::Program("setpriv")]) {
        return;
    }
    let folder = directory();
    std::fs::copy(NABE, folder.path().join("program")).expect("a copy of the program");
    std::fs::write(folder.path().join("kept.scap"), "kept").expect("a file");
    Run::of(command("chown").args(["-R", "65534:65534"]).arg(folder.path())).ok();
    for arguments in
        [&["record", "-o", "kept.scap"][..], &["trace", "-q", "-w", "kept.scap"], &["record", "-o", "new"]]
    {
        let mut nabe = command("setpriv");
        nabe.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "./program"]).args(arguments);
        let run = Run::of(nabe.current_dir(folder.path()));
        assert_eq!(run.status, Some(1), "{}", run.stderr);
        assert!(run.stderr.contains("bpf() is refused without"), "{}", run.stderr);
    }
    assert_eq!(std::fs::read(folder.path().join("kept.scap")).expect("the file"), b"kept");
    assert!(!folder.path().join("new").exists());
}
