//! The sandbox, with specimens of our own that behave badly in a small way (`support/specimen.c`): each is
//! contained, leaves the host as it was, and is judged as its rule says; ordinary programs are not flagged.

mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde_json::Value;
use support::{Need, PATIENCE, Run, has, nabe, nabe_command, program, skip};

/// One at a time: what is compared is the host's, and fork bombs are loud.
static ONE: Mutex<()> = Mutex::new(());

/// A folder with the specimens; `None` where they cannot be run.
struct Bench {
    folder: tempfile::TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl Bench {
    fn new(test: &str) -> Option<Self> {
        if !has(test, &[Need::Root]) {
            return None;
        }
        let Some(compiler) = program("cc") else {
            skip(test, "there is no C compiler");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/specimen.c");
        let made = Command::new(compiler)
            .args(["-O1", "-o"])
            .arg(folder.path().join("specimen"))
            .arg(source)
            .status();
        assert!(made.unwrap().success());
        let turn = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let probed = nabe(["sandbox", "--timeout", "20", "/bin/true"]);
        if probed.status == Some(1) {
            skip(test, &format!("no sandbox here: {}", probed.stderr.lines().next().unwrap_or_default()));
            return None;
        }
        Some(Self { folder, _turn: turn })
    }

    fn specimen(&self) -> PathBuf {
        self.folder.path().join("specimen")
    }

    /// Runs a specimen by name; its report.
    fn run(&self, options: &[&str], words: &[&str]) -> (Run, Value) {
        let mut command = nabe_command(["sandbox", "--json"]);
        command.args(options).arg(self.specimen()).args(words);
        let before = Host::now();
        let run = Run::of(&mut command);
        Host::now().is(&before, words);
        let report = run.json();
        (run, report)
    }
}

/// What a specimen could leave on the host.
#[derive(PartialEq, Eq, Debug)]
struct Host {
    mounts: BTreeSet<String>,
    cgroups: BTreeSet<PathBuf>,
    runs: BTreeSet<PathBuf>,
    processes: BTreeSet<PathBuf>,
    settings: Vec<String>,
    files: Vec<Option<String>>,
}

impl Host {
    fn now() -> Self {
        let lines = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let mut cgroups = BTreeSet::new();
        find(Path::new("/sys/fs/cgroup"), &mut cgroups, 0);
        // Ours by name only: other tests make theirs.
        let is_ours = |path: &Path| path.to_string_lossy().contains("sandbox-");
        cgroups.retain(|path| is_ours(path));
        let listed =
            |path: &str| std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
        let processes = listed("/proc").filter(|path| {
            let status = lines(&path.join("status").to_string_lossy());
            // An orphan that has ended is there until the machine's own init looks.
            !status.contains("State:\tZ") && status.lines().any(|line| line.starts_with("Uid:\t1879"))
        });
        let paths =
            ["/etc/crontab", "/etc/passwd", "/root/.ssh/authorized_keys", "/etc/cron.d/x", "/tmp/storm"];
        Self {
            mounts: lines("/proc/self/mountinfo")
                .lines()
                .filter(|line| line.contains("nabe-sandbox"))
                .map(str::to_owned)
                .collect(),
            cgroups,
            runs: listed("/run").chain(listed("/run/nabe")).filter(|path| is_ours(path)).collect(),
            processes: processes.collect(),
            settings: ["hostname", "core_pattern", "randomize_va_space"]
                .map(|name| lines(&format!("/proc/sys/kernel/{name}")))
                .to_vec(),
            files: paths.iter().map(|path| std::fs::read_to_string(path).ok()).collect(),
        }
    }

    #[track_caller]
    fn is(&self, before: &Self, what: &[&str]) {
        assert_eq!(self, before, "{what:?} left something on the host");
        assert!(Path::new("/usr/bin/env").exists() && Path::new("/etc/passwd").exists());
    }
}

fn find(folder: &Path, found: &mut BTreeSet<PathBuf>, depth: u32) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if depth < 4 && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            find(&entry.path(), found, depth + 1);
            found.insert(entry.path());
        }
    }
}

fn rules(report: &Value) -> Vec<&str> {
    report["hits"].as_array().into_iter().flatten().filter_map(|hit| hit["rule"].as_str()).collect()
}

#[test]
fn what_behaves_badly_is_contained_and_judged() {
    let Some(bench) = Bench::new("sandbox::bad") else { return };
    for (words, rule, verdict, limit) in [
        (&["wipe"][..], "Wipes files", 20, None),
        (&["bomb"], "Fork bomb", 20, Some("pids")),
        (&["hog"], "Takes all memory", 20, Some("memory")),
        (&["renames"], "Renames in a storm", 20, None),
        (&["storm"], "Writes in a storm", 10, Some("disk")),
        (&["clocks"], "Turns the clock", 20, None),
        (&["self"], "Deletes itself", 20, None),
        (&["memory"], "Runs a program from memory", 20, None),
        (&["reverse"], "Reverse shell", 20, None),
        (&["persists"], "Makes itself at home", 20, None),
        (&["escapes", "release_agent"], "Tries to leave its container", 20, None),
        (&["escapes", "proc_sys"], "Tries to leave its container", 20, None),
        (&["escapes", "core_pattern"], "Tries to leave its container", 20, None),
        (&["escapes", "mknod"], "Tries to leave its container", 20, None),
        (&["escapes", "mount"], "Tries to leave its container", 20, None),
        (&["escapes", "setns"], "Tries to leave its container", 20, None),
        (&["escapes", "exe"], "Tries to leave its container", 20, None),
    ] {
        let (run, report) = bench.run(&[], words);
        assert!(rules(&report).contains(&rule), "{words:?}: {}\n{}", run.text(), run.stderr);
        assert_eq!(run.status, Some(verdict), "{words:?}: {}", run.stderr);
        assert_eq!(report["outcome"]["limit"].as_str(), limit, "{words:?}");
        assert_eq!(report["outcome"]["lost"], 0, "{words:?}");
    }
}

#[test]
fn time_ends_what_does_not_end() {
    let Some(bench) = Bench::new("sandbox::time") else { return };
    for (words, rules_expected) in
        [(&["sleeps"][..], &[][..]), (&["traces"], &["Looks for a debugger", "Reaches into other processes"])]
    {
        let (_, report) = bench.run(&["--timeout", "1"], words);
        assert_eq!(report["outcome"]["limit"], "time", "{words:?}");
        assert_eq!(report["outcome"]["signal"], 9, "{words:?}");
        for rule in rules_expected {
            assert!(rules(&report).contains(rule), "{words:?}: {report}");
        }
    }
}

#[test]
fn ordinary_programs_are_clean() {
    let Some(bench) = Bench::new("sandbox::clean") else { return };
    let hello = bench.folder.path().join("hello.sh");
    let text = "#!/bin/sh\nset -e\ncd /tmp\necho 'int main(void){return 0;}' > a.c\ncc -O2 -o a a.c\n./a\nls -la / /usr/bin > /dev/null\n";
    std::fs::write(&hello, text).unwrap();
    for (specimen, words) in [
        (PathBuf::from("/bin/ls"), &["-la", "/"][..]),
        (hello, &[]),
        (bench.specimen(), &["serve"]),
        (bench.specimen(), &["daemonises"]),
    ] {
        let run = Run::of(nabe_command(["sandbox", "--json"]).arg(&specimen).args(words));
        let report = run.json();
        assert_eq!(run.status, Some(0), "{specimen:?} {words:?}: {:?}", report["hits"]);
        assert_eq!(report["outcome"]["exit_code"], 0, "{specimen:?}: {}", run.text());
    }
}

#[test]
fn evidence_is_kept_and_judged_again() {
    let Some(bench) = Bench::new("sandbox::evidence") else { return };
    let keep = bench.folder.path().join("keep");
    let (_, report) = bench.run(&["--keep", keep.to_str().unwrap()], &["persists"]);
    let dropped = report["dropped"].as_array().unwrap();
    let of = |path: &str| {
        dropped.iter().find(|file| file["path"] == path).unwrap_or_else(|| panic!("{path}: {report}"))
    };
    let key = of("/root/.ssh/authorized_keys");
    assert_eq!((&key["change"], &key["size"]), (&"created".into(), &22.into()));
    // printf 'ssh-ed25519 AAAA evil\n' | sha256sum
    assert_eq!(key["sha256"], "8b385c2d09ed95749a113d1938a4320ed6347dc35aae4ab7bc9a9ef12d2c4a6d");
    let kept = keep.join(key["kept"].as_str().unwrap());
    assert_eq!(std::fs::read_to_string(kept).unwrap(), "ssh-ed25519 AAAA evil\n");
    assert!(std::fs::read_to_string(keep.join("stdout")).unwrap().contains("/etc/cron.d/x: done"));
    assert!(std::fs::read_to_string(keep.join("report.html")).unwrap().contains("Makes itself at home"));
    let capture = keep.join("capture.scap");
    let again = || nabe(["sandbox", "--json", "--replay", capture.to_str().unwrap()]);
    let (first, second) = (again(), again());
    assert_eq!(first.stdout, second.stdout);
    assert_eq!(first.status, Some(20));
    for part in ["verdict", "score", "hits", "attack", "behaviour"] {
        assert_eq!(first.json()[part], report[part], "{part}");
    }
    // Nobody else is in it, and it begins with the specimen's own beginning.
    let lines =
        nabe(["replay", capture.to_str().unwrap(), "-p", "%evt.type %proc.name %proc.vpid"]).ok().lines();
    assert_eq!(lines.first().map(String::as_str), Some("execve specimen 2"));
    assert!(lines.iter().all(|line| line.ends_with(" specimen 2")), "{lines:?}");
}

#[test]
fn deleted_files_and_late_ones_are_evidence() {
    let Some(bench) = Bench::new("sandbox::deleted") else { return };
    let change = |report: &Value, path: &str| {
        let file = report["dropped"].as_array().into_iter().flatten().find(|file| file["path"] == path);
        file.map(|file| file["change"].as_str().unwrap_or_default().to_owned())
    };
    let (_, report) = bench.run(&[], &["self"]);
    assert_eq!(change(&report, "/specimen/specimen").as_deref(), Some("deleted"));
    let (_, report) = bench.run(&[], &["daemonises"]);
    assert_eq!(change(&report, "/tmp/late").as_deref(), Some("created"));
    let (_, report) = bench.run(&[], &["memory"]);
    let found = report["dropped"].as_array().unwrap();
    assert!(
        found.iter().any(|file| file["change"] == "memory" && file["size"].as_u64() > Some(0)),
        "{report}"
    );
}

#[test]
fn the_fake_network_answers() {
    let Some(bench) = Bench::new("sandbox::fake") else { return };
    let (_, report) = bench.run(&["--network", "fake"], &["reverse"]);
    let reached = report["behaviour"]["network"].as_array().unwrap();
    assert_eq!(reached[0]["result"], "SUCCESS");
    let notes = report["notes"].to_string();
    assert!(notes.contains("fake network: tcp 198.51.100.23:4444 connected"), "{notes}");
}

#[test]
fn secrets_of_the_host_are_not_there() {
    let Some(bench) = Bench::new("sandbox::secrets") else { return };
    let script = bench.folder.path().join("look.sh");
    let text = "#!/bin/sh\nid -u\ncat /etc/shadow\nls -A /root /home/user /opt\ngrep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status\nls /sys/class/net\n";
    std::fs::write(&script, text).unwrap();
    let keep = bench.folder.path().join("keep");
    let run = nabe(["sandbox", "--json", "--keep", keep.to_str().unwrap(), script.to_str().unwrap()]);
    let said = std::fs::read_to_string(keep.join("stdout")).unwrap();
    assert!(said.starts_with("0\nroot:*:"), "{said}\n{}", run.stderr);
    assert!(said.contains("/root:\nCapInh"), "{said}");
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert!(said.contains(&format!("{set}:\t0000000000000000")), "{said}");
    }
    assert!(said.contains("NoNewPrivs:\t1") && said.contains("Seccomp:\t2"), "{said}");
    assert!(said.ends_with("lo\n"), "{said}");
}

#[test]
fn archives_and_folders() {
    let Some(bench) = Bench::new("sandbox::archives") else { return };
    let folder = bench.folder.path().join("many");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("a-good.sh"), "#!/bin/sh\necho hello\n").unwrap();
    std::fs::write(folder.join("b-bad.sh"), "#!/bin/sh\necho x > /etc/cron.d/evil\n").unwrap();
    let table = nabe(["sandbox", folder.to_str().unwrap()]);
    assert_eq!(table.status, Some(20), "{}", table.stderr);
    let lines = table.lines();
    assert!(lines[1].starts_with("a-good.sh") && lines[1].contains(" clean "), "{lines:?}");
    assert!(lines[2].starts_with("b-bad.sh") && lines[2].contains("Makes itself at home"), "{lines:?}");
    let archive = bench.folder.path().join("b.tar.gz");
    let packed =
        Command::new("tar").arg("-czf").arg(&archive).arg("-C").arg(&folder).arg("b-bad.sh").status();
    assert!(packed.unwrap().success());
    let run = nabe(["sandbox", "--entry", "b-bad.sh", archive.to_str().unwrap()]);
    assert_eq!(run.status, Some(20), "{}", run.stderr);
    let wrong = nabe(["sandbox", archive.to_str().unwrap()]);
    assert_eq!(wrong.status, Some(2));
    assert!(wrong.stderr.contains("--entry"), "{}", wrong.stderr);
}

#[test]
fn wrong_words_are_told() {
    for (words, status, expected) in [
        (&["/no/such"][..], 1, "cannot read /no/such"),
        (&["--network", "bridge", "/bin/true"], 2, "fake"),
        (&["--timeout", "0", "/bin/true"], 2, "above 0"),
        (&["--user", "x", "/bin/true"], 2, "UID"),
        (&["--rules", "/no/such.toml", "/bin/true"], 1, "/no/such.toml"),
        (&[], 2, "SPECIMEN"),
    ] {
        if !has("sandbox::words", &[Need::Root]) {
            return;
        }
        let run = nabe([&["sandbox"], words].concat());
        assert_eq!(run.status, Some(status), "{words:?}: {}", run.stderr);
        assert!(run.stderr.contains(expected), "{words:?}: {}", run.stderr);
    }
}

/// Whoever runs the sandbox may be killed: the next one finds what is left.
#[test]
fn a_killed_sandbox_is_swept() {
    let Some(bench) = Bench::new("sandbox::swept") else { return };
    let before = Host::now();
    let mut command = nabe_command(["sandbox", "--timeout", "100"]);
    let mut child = command
        .arg(bench.specimen())
        .arg("sleeps")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let start = Instant::now();
    while Host::now().processes.len() == before.processes.len() {
        assert!(start.elapsed() < PATIENCE, "it does not begin");
    }
    child.kill().unwrap();
    child.wait().unwrap();
    nabe(["sandbox", "/bin/true"]).ok();
    Host::now().is(&before, &["killed"]);
}
