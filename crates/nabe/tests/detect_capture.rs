//! Captures that alerts ask for: `capture` of rules and falco.yaml, look-back, the action; what cannot
//! be written, and that judging goes on.

#[path = "../../scap/tests/shared/mod.rs"]
mod shared;
mod support;

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nabe_event::raw::{Event, Params};
use nabe_event::table::EventId;
use nabe_scap::{Compression, Writer};
use serde_json::Value;
use support::{Need, Run, Running, directory, nabe, nabe_command, skip};

/// One rule, with further lines.
fn rule(name: &str, condition: &str, more: &str) -> String {
    format!(
        "- rule: {name}\n  desc: d\n  condition: {condition}\n  output: o %fd.name\n  priority: WARNING\n{more}"
    )
}

/// `nabe detect` of these rules, with captures called `cap` in `folder`.
fn detect(folder: &Path, rules: &str, arguments: &[&str]) -> Command {
    let file = folder.join("rules.yaml");
    std::fs::write(&file, rules).unwrap();
    let mut command = nabe_command(["detect", "-o", "capture.enabled=true", "-r"]);
    command.arg(file).arg("-o").arg(format!("capture.path_prefix={}", folder.join("cap").display()));
    command.args(arguments);
    command
}

/// The captures in `folder`, in order of their names.
fn captures(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "scap"))
        .collect();
    found.sort();
    found
}

/// What `nabe` reads in a capture, a line an event.
fn events(capture: &Path) -> Vec<String> {
    read(capture).ok().lines()
}

fn read(capture: &Path) -> Run {
    let shown = ["-p", "*%evt.rawtime %evt.type %evt.dir %proc.name %fd.name"];
    Run::of(nabe_command(["replay"]).args(shown).arg(capture))
}

/// The last open of `cat /dev/null`, and what it takes.
const OPEN: &str = "evt.type = open and fd.name = /usr/lib/locale/locale-archive";
/// The name of its capture: time and number of the event.
const NAME: &str = "cap_01470327477882008208_00000000000000000187.scap";

#[test]
fn a_rule_that_asks_gets_what_follows() {
    let Some(data) = shared::data("a_rule_that_asks_gets_what_follows") else { return };
    let source = data.join("scap/falco-0.34.1/cat_write.scap");
    let folder = directory();
    let all = events(&source);
    let at = all.iter().position(|line| line.contains("open < cat /usr/lib/locale/locale-archive")).unwrap();
    assert!(at > 0 && at + 20 < all.len());

    // Without `capture`, and with it, for as long as the rule says.
    let run =
        |rules: &str, arguments: &[&str]| Run::of(detect(folder.path(), rules, arguments).arg(&source)).ok();
    run(&rule("R", OPEN, ""), &[]);
    assert_eq!(captures(folder.path()), Vec::<PathBuf>::new());
    let told = run(&rule("R", OPEN, "  capture: true\n  capture_duration: 10000\n"), &[]);
    let found = captures(folder.path());
    assert_eq!(found, [folder.path().join(NAME)]);
    assert_eq!(events(&found[0]), all[at..]);
    assert!(told.stderr.contains(&format!("{NAME}: ")), "{}", told.stderr);
    assert_eq!(found[0].metadata().unwrap().permissions().mode() & 0o777, 0o600);
    // Who was there before is there in the file.
    let process =
        nabe_command(["replay", "-p", "%proc.name %proc.pname %proc.aname[2]"]).arg(&found[0]).output();
    assert!(String::from_utf8_lossy(&process.unwrap().stdout).starts_with("cat bash emacs\n"));
    if support::program("sysdig").is_some() {
        let sysdig = Run::of(support::command("sysdig").arg("-r").arg(&found[0])).ok();
        assert_eq!(sysdig.lines().len(), all[at..].len());
    } else {
        skip("a_rule_that_asks_gets_what_follows", "sysdig is not installed");
    }

    // A time that is over: the event itself, and those of the same moment.
    std::fs::remove_file(&found[0]).unwrap();
    run(&rule("R", OPEN, ""), &["-o", "capture.mode=all_rules", "-o", "capture.default_duration=0"]);
    assert_eq!(events(&captures(folder.path())[0]), [all[at].clone()]);
    std::fs::remove_file(&found[0]).unwrap();

    // Not enabled: said, and nothing else.
    let asks = rule("R", OPEN, "  capture: true\n");
    let told = run(&asks, &["-o", "capture.enabled=false"]);
    assert!(told.stderr.contains("1 rule asks for a capture"), "{}", told.stderr);
    assert_eq!(captures(folder.path()), Vec::<PathBuf>::new());
    let wrong = Run::of(detect(folder.path(), &asks, &["-o", "capture.mode=some"]).arg(&source));
    assert_eq!(wrong.status, Some(1));
    assert!(wrong.stderr.contains("capture.mode: expected rules or all_rules"), "{}", wrong.stderr);
}

#[test]
fn look_back_saves_what_came_before() {
    let Some(data) = shared::data("look_back_saves_what_came_before") else { return };
    let source = data.join("scap/falco-0.34.1/cat_write.scap");
    let folder = directory();
    let all = events(&source);
    let time = |line: &str| line.split(' ').next().unwrap().parse::<u64>().unwrap();
    let at = 1_470_327_477_882_008_208;
    // (keys of the rule, arguments, nanoseconds before)
    for (keys, arguments, before_ns) in [
        ("  nabe: {capture_before: 1h}\n", vec![], 3_600_000_000_000),
        (
            "  nabe:\n    actions: [{capture: 1m}]\n",
            vec!["--actions", "-o", "capture.enabled=false"],
            60_000_000_000,
        ),
    ] {
        let run =
            Run::of(detect(folder.path(), &rule("R", OPEN, keys), &arguments).arg("--json").arg(&source));
        let alert: Value = serde_json::from_str(&run.ok().text()).unwrap();
        let found = captures(folder.path());
        assert_eq!(alert["output_fields"]["nabe.capture"], found[0].to_str().unwrap(), "{keys}");
        let wanted: Vec<String> = all.iter().filter(|line| time(line) + before_ns >= at).cloned().collect();
        assert_eq!(events(&found[0]), wanted, "{keys}");
        std::fs::remove_file(&found[0]).unwrap();
    }
    // An action that nobody allowed.
    let keys = "  nabe:\n    actions: [{capture: 1m}]\n";
    let arguments = ["-o", "capture.enabled=false"];
    Run::of(detect(folder.path(), &rule("R", OPEN, keys), &arguments).arg(&source)).ok();
    assert_eq!(captures(folder.path()), Vec::<PathBuf>::new());
    // Part of what came before: from a moment on.
    let rules = rule("R", "evt.type = procexit", "  nabe: {capture_before: 1ms}\n");
    Run::of(detect(folder.path(), &rules, &[]).arg(&source)).ok();
    let found = captures(folder.path());
    let exit = time(all.iter().find(|line| line.contains("procexit")).unwrap());
    let wanted: Vec<String> = all.iter().filter(|line| time(line) + 1_000_000 >= exit).cloned().collect();
    assert_eq!(events(&found[0]), wanted);
}

/// `cat`'s reads of 60,000 bytes that no compressor makes smaller, a millisecond apart.
fn noise(path: &Path, number: u64) {
    let mut writer = Writer::new(std::fs::File::create(path).unwrap(), Compression::None).unwrap();
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    for n in 0..number {
        let mut data = 60_000i64.to_le_bytes().to_vec();
        data.extend((0..7_500).flat_map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        }));
        let [low, high] = 60_000u16.to_le_bytes();
        let lengths = [8, 0, low, high];
        let params = Params::new(EventId::SYSCALL_READ_X, &lengths, &data).unwrap();
        let ts_ns = 1_000_000_000_000 + n * 1_000_000;
        let event = Event { id: EventId::SYSCALL_READ_X, cpu: 0, flags: 0, ts_ns, tid: 7, params };
        writer.event(&event).unwrap();
    }
    writer.finish().unwrap();
}

#[test]
fn a_file_ends_at_its_size_and_the_next_alert_begins_another() {
    let folder = directory();
    let source = folder.path().join("noise");
    noise(&source, 60);
    let arguments =
        ["-o", "capture.mode=all_rules", "-o", "capture.max_file_size_mb=1", "-o", "buffered_outputs=true"];
    let rules = rule("R", "evt.type = read", "");
    let run = Run::of(detect(folder.path(), &rules, &arguments).arg(&source)).ok();
    assert_eq!(run.lines().len(), 60);
    let found = captures(folder.path());
    let sizes: Vec<u64> = found.iter().map(|path| path.metadata().unwrap().len()).collect();
    assert!(found.len() >= 3, "{found:?}");
    assert!(sizes.iter().all(|size| *size < 1_300_000), "{sizes:?}");
    let sum: usize =
        found.iter().map(|path| events(path).iter().filter(|line| line.contains(" < ")).count()).sum();
    // The event that found the file full is in none; its alert was given all the same.
    assert_eq!(sum + found.len() - 1, 60);
}

#[test]
fn what_cannot_be_written_is_told_and_judging_goes_on() {
    let test = "what_cannot_be_written_is_told_and_judging_goes_on";
    let folder = directory();
    let source = folder.path().join("noise");
    noise(&source, 10);
    let rules = rule("R", "evt.type = read", "  capture: true\n  capture_duration: 1\n");
    let nowhere = format!("capture.path_prefix={}", folder.path().join("not/there").display());
    let run = Run::of(detect(folder.path(), &rules, &["-o", &nowhere]).arg(&source)).ok();
    assert_eq!(run.lines().len(), 10);
    assert!(run.stderr.contains("no capture: cannot create"), "{}", run.stderr);
    assert!(run.stderr.contains("No such file or directory"), "{}", run.stderr);
    assert!(run.stderr.contains("captures in all could not be written"), "{}", run.stderr);
    // A link that somebody has laid is not followed.
    let victim = folder.path().join("victim");
    std::os::unix::fs::symlink(
        &victim,
        folder.path().join("cap_00000001000000000000_00000000000000000001.scap"),
    )
    .unwrap();
    let run = Run::of(detect(folder.path(), &rules, &[]).arg(&source)).ok();
    assert!(run.stderr.contains("File exists") && !victim.exists(), "{}", run.stderr);

    if !support::has(test, &[Need::Root, Need::Program("mount")]) {
        return;
    }
    let disk = folder.path().join("disk");
    std::fs::create_dir(&disk).unwrap();
    // In a mount namespace of its own, so that nothing is left of it.
    let script = "mount -t tmpfs -o size=32k none \"$1\" && shift && \"$@\"";
    let full = format!("capture.path_prefix={}", disk.join("cap").display());
    let judged = detect(folder.path(), &rules, &["-o", &full]);
    let mut command = support::command("unshare");
    command.args(["-m", "sh", "-c", script, "sh"]).arg(&disk).arg(judged.get_program());
    command.args(judged.get_args()).arg(&source);
    let run = Run::of(&mut command).ok();
    assert_eq!(run.lines().len(), 10);
    assert!(run.stderr.contains("No space left on device"), "{}", run.stderr);
    assert!(
        run.stderr.contains("10 events judged") || run.stderr.contains("Events detected: 10"),
        "{}",
        run.stderr
    );
}

#[test]
fn live_alerts_are_captured_with_what_led_to_them() {
    let test = "live_alerts_are_captured_with_what_led_to_them";
    if !support::has(test, &[Need::Root]) {
        return;
    }
    let probe = nabe(["trace", "-q", "-M", "0.05"]);
    if probe.status != Some(0) {
        return skip(test, probe.stderr.lines().next().unwrap_or("no live events"));
    }
    let folder = directory();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (before, trigger) = (path("led-to-it"), path("trigger"));
    let opens = "evt.type in (open, openat, openat2, creat) and fd.name =";
    let rules = rule("Ready", &format!("{opens} {}", path("ready")), "")
        + &rule(
            "Trigger",
            &format!("{opens} {trigger}"),
            "  capture_duration: 300\n  nabe: {capture_before: 1m}\n",
        );
    let mut command = detect(folder.path(), &rules, &["--json"]);
    let mut detector = Running::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
    let stream = std::io::BufReader::new(detector.child.stdout.take().unwrap());
    let (sender, alerts) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        use std::io::BufRead as _;
        for line in stream.lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    support::wait_for("a first alert", || {
        std::fs::write(path("ready"), "").unwrap();
        alerts.recv_timeout(std::time::Duration::from_millis(200)).is_ok()
    });
    for _ in 0..7 {
        std::fs::write(&before, "").unwrap();
    }
    std::fs::write(&trigger, "").unwrap();
    // The file is closed although nothing else of ours happens.
    let found = || captures(folder.path()).into_iter().next().filter(|path| read(path).status == Some(0));
    support::wait_for("a complete capture", || found().is_some());
    detector.signal(rustix::process::Signal::INT);
    let (_, told, status) = detector.finish();
    assert_eq!(status, Some(0), "{told}");
    let found = found().unwrap();
    let all = events(&found);
    let ends = |name: &str| {
        all.iter()
            .filter(|line| line.contains("open") && line.contains(" < ") && line.ends_with(name))
            .count()
    };
    assert_eq!((ends(&before), ends(&trigger)), (7, 1), "{told}");
}
