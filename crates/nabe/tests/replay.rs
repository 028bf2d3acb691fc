//! `nabe replay` against sysdig 0.29.3 on real captures: every line, every field, every summary. Where
//! they differ, the difference is one of those in `docs/differences.md`, and nothing else.

#[path = "../../scap/tests/shared/mod.rs"]
mod shared;
mod support;

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;

use serde_json::Value;
use support::nabe;

/// A capture and what sysdig said about it.
struct Golden {
    name: String,
    capture: String,
    folder: std::path::PathBuf,
}

impl Golden {
    fn read(&self, file: &str) -> String {
        let packed = std::fs::File::open(self.folder.join(file)).unwrap();
        let mut bytes = Vec::new();
        flate2::read::GzDecoder::new(packed).read_to_end(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

fn goldens(data: &Path) -> Vec<Golden> {
    let folder = data.join("expected/sysdig-0.29.3");
    let mut goldens = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let name = entry.file_name().unwrap().to_string_lossy().into_owned();
        let Some((group, rest)) = name.split_once("__") else { continue };
        let capture = data.join("scap").join(group).join(format!("{rest}.scap"));
        if capture.exists() {
            goldens.push(Golden { name, capture: capture.to_string_lossy().into_owned(), folder: entry });
        }
    }
    assert!(goldens.len() >= 10, "{} captures", goldens.len());
    goldens
}

/// Captures that open with events of users and groups, which sysdig 0.29.3 does not know and does
/// not count: its numbers are that much smaller.
fn unknown_events(name: &str) -> u64 {
    match name {
        "libs__sample" => 95,
        "sf-collector__rename__rename" => 20,
        _ => 0,
    }
}

/// Lines; what follows a newline inside a value belongs to the line before.
fn lines(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines() {
        let numbered = line.split(' ').next().is_some_and(|word| word.parse::<u64>().is_ok());
        match lines.last_mut() {
            Some(last) if !numbered => *last = format!("{last}.{line}"),
            _ => lines.push(line.to_owned()),
        }
    }
    lines
}

type Change = fn(&str, &str) -> (String, String);

fn both(a: &str, b: &str) -> (String, String) {
    (a.to_owned(), b.to_owned())
}

fn cut(text: &str, from: &str) -> String {
    text.split(from).next().unwrap_or_default().to_owned()
}

/// Without the name in parentheses behind the number of a parameter.
fn without_name(text: &str, parameter: &str) -> String {
    let Some((before, value)) = text.split_once(parameter) else { return text.to_owned() };
    match (value.split_once('('), value.split_once(')')) {
        (Some((number, _)), Some((_, after))) if !number.contains(' ') => {
            format!("{before}{parameter}{number}{after}")
        }
        _ => text.to_owned(),
    }
}

/// Why lines differ: sysdig's line and ours are equal after the change.
const REASONS: &[(&str, Change)] = &[
    ("execve's process group is called vpgid today", |want, got| {
        (want.replace(" pgid=", " vpgid="), got.to_owned())
    }),
    ("a login user has a name today", |want, got| (want.to_owned(), without_name(got, " loginuid="))),
    ("execve's capabilities were not shown", |want, got| {
        if got.contains(" cap_inheritable=") {
            (want.to_owned(), format!("{} ", cut(got, " cap_inheritable=")))
        } else {
            both(want, got)
        }
    }),
    ("system call 0 is called unknown today", |want, got| {
        (want.replace("<unknown>", "unknown"), got.to_owned())
    }),
    ("sigreturn is called rt_sigreturn today", |want, got| {
        (want.replace("> sigreturn", "> rt_sigreturn"), got.to_owned())
    }),
    ("a flag had no name", |want, got| {
        (want.to_owned(), got.replace("536870912(CLONE_CHILD_IN_PIDNS)", "536870912"))
    }),
    ("the inode of an open file was not shown", |want, got| {
        if got.contains(" ino=") {
            (want.to_owned(), format!("{} ", cut(got, " ino=")))
        } else {
            both(want, got)
        }
    }),
    ("syslog messages were decoded", |want, got| {
        if want.contains(" syslog sev=") && got.contains(" data=<") {
            (cut(want, " syslog "), cut(got, " res="))
        } else {
            both(want, got)
        }
    }),
    ("the thread of a container's event was not initialised", |want, got| {
        if want.contains("> container json=") {
            (want.replace(" (0) > ", " (-1) > "), got.to_owned())
        } else {
            both(want, got)
        }
    }),
];

/// Which reasons make the lines equal; `None` when they do not.
fn explain(want: &str, got: &str) -> Option<Vec<&'static str>> {
    let (mut a, mut b) = both(want, got);
    let mut used = Vec::new();
    for (reason, change) in REASONS {
        if a == b {
            break;
        }
        let (x, y) = change(&a, &b);
        if (&x, &y) != (&a, &b) {
            used.push(*reason);
            (a, b) = (x, y);
        }
    }
    (a == b).then_some(used)
}

#[test]
fn lines_are_sysdigs() {
    let Some(data) = shared::data("lines_are_sysdigs") else { return };
    let mut reasons: BTreeMap<&str, u64> = BTreeMap::new();
    let (mut equal, mut all) = (0u64, 0u64);
    for golden in goldens(&data) {
        let want = lines(&golden.read("events_default.txt.gz"));
        let got = lines(&nabe(["replay", &golden.capture]).ok().text());
        assert_eq!(want.len(), got.len(), "{}", golden.name);
        for (want, got) in want.iter().zip(&got) {
            let (number, rest) = want.split_once(' ').unwrap();
            let number = number.parse::<u64>().unwrap() + unknown_events(&golden.name);
            let want = format!("{number} {rest}");
            all += 1;
            if want == *got {
                equal += 1;
                continue;
            }
            let why = explain(&want, got).unwrap_or_else(|| panic!("{}\n{want}\n{got}", golden.name));
            why.into_iter().for_each(|reason| *reasons.entry(reason).or_default() += 1);
        }
    }
    println!("{equal} of {all} lines are equal; {reasons:#?}");
    // More captures may stand beside these; no more than one line in 200 may differ.
    assert!(all > 50_000 && (all - equal) * 200 < all, "{equal} of {all}");
}

/// Why a field differs.
fn field_reason(name: &str, event: &str, want: &Value, got: &Value) -> Option<&'static str> {
    let mapped = matches!(event, "mmap" | "mmap2");
    Some(match name {
        "user.loginuid" | "group.gid" | "proc.tty" => {
            "read beyond what is initialised, or from the wrong place of a newer thread entry"
        }
        _ if name.starts_with("fd.") && mapped => "mmap works on a descriptor today",
        "fd.is_server" if *want == true => "an unbound socket was taken for a server's",
        "fd.name" | "fd.containername" | "fd.directory" if got.is_null() => {
            "a name was made up for an unknown descriptor"
        }
        "fd.name" | "fd.containername" | "fd.directory" | "fd.filename"
            if want.is_null() && event.starts_with("open") =>
        {
            "the file that an open asks for was not always told"
        }
        "fd.cport" if *want == 0 => "a unix socket was given a port",
        "evt.args" | "evt.type" => {
            let (want, got) = (want.as_str()?, got.as_str()?);
            explain(want, got).filter(|why| !why.is_empty()).map(|_| "as in lines")?
        }
        "evt.category" if *want == "unknown" => "the descriptor's kind was not known",
        _ if event == "container" => "the thread of a container's event was not initialised",
        _ => return None,
    })
}

#[test]
fn fields_are_sysdigs() {
    let Some(data) = shared::data("fields_are_sysdigs") else { return };
    let meta: Value =
        serde_json::from_slice(&std::fs::read(data.join("expected/sysdig-0.29.3/meta.json")).unwrap())
            .unwrap();
    let names: Vec<_> =
        meta["fields"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    let format = format!("*%{}", names.join(" %"));
    let mut reasons: BTreeMap<&str, u64> = BTreeMap::new();
    let mut unexplained = Vec::new();
    let (mut equal, mut all) = (0u64, 0u64);
    for golden in goldens(&data) {
        let got = nabe(["replay", "-j", "-p", &format, &golden.capture]).ok().text();
        let want = golden.read("fields_first2500.jsonl.gz");
        for (want, got) in want.lines().zip(got.lines()) {
            let want: Value = serde_json::from_str(want).unwrap();
            let got: Value = serde_json::from_str(got).unwrap();
            let event = want["evt.type"].as_str().unwrap();
            assert_eq!(want["evt.rawtime"], got["evt.rawtime"], "{}: {got}", golden.name);
            for (name, want) in want.as_object().unwrap() {
                let (got, mut want) = (&got[name], want.clone());
                if name == "evt.num" {
                    want = Value::from(want.as_u64().unwrap() + unknown_events(&golden.name));
                }
                all += 1;
                if want == *got {
                    equal += 1;
                } else if let Some(reason) = field_reason(name, event, &want, got) {
                    *reasons.entry(reason).or_default() += 1;
                } else {
                    unexplained.push(format!("{}: {event} {name}: {want} is {got}", golden.name));
                }
            }
        }
    }
    println!("{equal} of {all} fields are equal; {reasons:#?}");
    println!("{} unexplained: {:#?}", unexplained.len(), &unexplained[..unexplained.len().min(40)]);
    assert!(unexplained.len() as u64 * 1000 < all, "{} of {all}", unexplained.len());
    assert!((all - equal) * 50 < all, "{equal} of {all}");
}

#[test]
fn summaries_are_sysdigs() {
    let Some(data) = shared::data("summaries_are_sysdigs") else { return };
    for golden in goldens(&data) {
        let rows = |text: &str| -> BTreeMap<String, u64> {
            let rows = text.lines().filter(|line| line.starts_with(['<', '>']));
            rows.map(|row| {
                // A long name leaves no space before the number.
                let digits = row.bytes().rev().take_while(u8::is_ascii_digit).count();
                let (name, count) = row.split_at(row.len() - digits);
                let name =
                    name.trim_end().replace("<unknown>", "unknown").replace("> sigreturn", "> rt_sigreturn");
                (name, count.parse().unwrap())
            })
            .collect()
        };
        let mut got = rows(&nabe(["replay", "-S", "-q", &golden.capture]).ok().text());
        let mut want = rows(&std::fs::read_to_string(golden.folder.join("summary.txt")).unwrap());
        // Names of the same internal event.
        for (ours, theirs) in [("> scapevent", "> sysdigevent")] {
            if let (Some(count), None) = (want.remove(theirs), want.get(ours)) {
                want.insert(ours.to_owned(), count);
            }
        }
        got.retain(|name, _| !name.starts_with("> user") && !name.starts_with("> group"));
        // sysdig prints only so many rows.
        let fewest = want.values().min().copied().unwrap_or(0);
        for (name, count) in &got {
            match want.remove(name) {
                Some(wanted) => assert_eq!(wanted, *count, "{}: {name}", golden.name),
                None => assert!(*count <= fewest, "{}: {name} is missing there", golden.name),
            }
        }
        assert!(want.is_empty(), "{}: {want:?}", golden.name);
    }
}

#[test]
fn filters_select_what_sysdigs_do() {
    let Some(data) = shared::data("filters_select_what_sysdigs_do") else { return };
    let counts = std::fs::read(data.join("expected/sysdig-0.29.3/filter_counts.json")).unwrap();
    let counts: Value = serde_json::from_slice(&counts).unwrap();
    let twins = [
        ("evt.type=openat", "evt.type == \"openat\""),
        ("evt.dir=<", "evt.dir == \"<\""),
        ("evt.failed=true", "evt.failed"),
        ("fd.name contains etc", "fd.name.contains(\"etc\")"),
        ("proc.name=httpd", "proc.name == \"httpd\""),
        ("container.id!=host", "container.id != \"host\""),
        ("evt.is_io=true", "evt.is_io"),
        ("fd.type=ipv4", "fd.type == \"ipv4\""),
        ("evt.type=execve", "evt.type == \"execve\""),
        ("evt.type=clone", "evt.type == \"clone\""),
    ];
    let mut compared = 0;
    for golden in goldens(&data) {
        for (theirs, ours) in twins {
            let Some(want) = counts.get(theirs).and_then(|of| of.get(&golden.name)).and_then(Value::as_u64)
            else {
                continue;
            };
            // In either language.
            for filter in [ours, theirs] {
                let got = nabe(["replay", "--count", &golden.capture, filter]).ok().text();
                assert_eq!(got.trim(), want.to_string(), "{} {filter}", golden.name);
            }
            compared += 1;
        }
    }
    println!("{compared} counts are equal");
    assert!(compared > 0);
}

#[test]
fn every_field_of_sysdig_is_known() {
    let Some(data) = shared::data("every_field_of_sysdig_is_known") else { return };
    let listed = std::fs::read(data.join("expected/libs/filter_fields.json")).unwrap();
    let listed: Value = serde_json::from_slice(&listed).unwrap();
    let known = nabe(["fields", "--json"]).ok().json();
    let known: std::collections::HashSet<&str> = known["fields"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|field| {
            let aliases = field["aliases"].as_array().unwrap().iter();
            aliases.chain([&field["name"]]).map(|name| name.as_str().unwrap())
        })
        .collect();
    let fields = listed["fields"].as_array().unwrap();
    assert_eq!(fields.len(), 233);
    for field in fields {
        assert!(known.contains(field["name"].as_str().unwrap()), "{field}");
    }
}

#[test]
fn snapshots_have_no_events() {
    let run = nabe(["ps", "evt.type == \"openat\""]);
    assert_eq!(run.status, Some(2));
    assert!(run.stderr.contains("`evt.type` is a field of events"), "{}", run.stderr);
    let run = nabe(["ps", "-o", "proc.exe"]);
    assert_eq!(run.status, Some(2), "{}", run.stderr);
}

#[test]
fn wrong_words_are_told() {
    let scratch = tempfile::tempdir().unwrap();
    let broken = scratch.path().join("a.scap");
    std::fs::write(&broken, b"no capture").unwrap();
    let broken = broken.to_str().unwrap();
    for (arguments, status, said) in [
        (vec![broken], 1, "a.scap"),
        (vec![broken, "proc.nmae == 1"], 2, "proc.name"),
        (vec![broken, "-p", "%proc.nmae"], 2, "did you mean proc.name?"),
        (vec![broken, "-p", "%"], 2, "cannot end"),
    ] {
        let run = nabe(["replay"].into_iter().chain(arguments.clone()));
        assert_eq!(run.status, Some(status), "{arguments:?}: {}", run.stderr);
        if status == 2 {
            assert!(run.stderr.contains(said), "{arguments:?}: {}", run.stderr);
        }
    }
}

#[test]
fn a_limit_counts_hidden_events() {
    let Some(data) = shared::data("a_limit_counts_hidden_events") else { return };
    let capture = data.join("scap/falco-0.34.1/cat_write.scap");
    let run = nabe(["replay", "-n", "133", capture.to_str().unwrap()]).ok();
    assert_eq!(run.lines().len(), 3, "{}", run.text());
    assert!(run.text().starts_with("131 16:17:57.881730713 0 cat (20072) < execve res=0 exe=cat "));
}

/// A filter that rules processes out before it looks at their events selects what it does when it looks
/// at every event, which the summary makes it do.
#[test]
fn what_a_process_rules_out_is_not_selected() {
    let Some(data) = shared::data("what_a_process_rules_out_is_not_selected") else { return };
    let filters = [
        "proc.name=bash",
        "proc.name=nobody and fd.name contains nothing",
        "not proc.name in (bash, sshd) and fd.name contains lib",
        "proc.pname exists and evt.type in (open, openat, execve)",
        "container.id != host and (fd.name contains etc or proc.cmdline contains sh)",
        "(proc.name startswith s and evt.dir=<) or (user.uid=0 and evt.failed=true)",
        "thread.tid > 1000 and thread.cap_effective exists or proc.name=ls and evt.num < 5000",
        "proc.vpid=1 and not (fd.type=file or proc.exe contains usr)",
        "process.name == \"python\" && evt.type == \"read\" || proc.pname == \"init\"",
    ];
    for capture in shared::captures(&data) {
        let file = capture.path.to_str().unwrap();
        for filter in filters {
            let words = ["replay", file, filter, "-p", "%evt.num %evt.type"];
            let plain = nabe(words).ok();
            let looked = nabe(words.into_iter().chain(["-S"])).ok();
            assert_eq!(plain.stderr, looked.stderr, "{filter}");
            let rest = looked.stdout.strip_prefix(&plain.stdout[..]);
            assert!(rest.is_some_and(|rest| rest.starts_with(b"-----")), "{} {filter}", capture.name);
        }
    }
}
