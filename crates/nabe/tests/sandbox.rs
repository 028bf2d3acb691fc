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
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let before = Host::now();
        let child = command.spawn().unwrap();
        let pid = child.id();
        let output = child.wait_with_output().unwrap();
        assert_eq!(Host::now(), before, "{words:?} changed the host");
        assert_eq!(remains(pid), BTreeSet::new(), "{words:?} left something");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        let run = Run { status: output.status.code(), stdout: output.stdout, stderr };
        let report = run.json();
        (run, report)
    }
}

/// What a specimen could change on the host.
#[derive(PartialEq, Eq, Debug)]
struct Host {
    mounts: usize,
    settings: Vec<(PathBuf, String)>,
    files: Vec<(PathBuf, Option<u64>)>,
    folders: Vec<(PathBuf, BTreeSet<PathBuf>)>,
    /// Where the clock stands beside the one that nobody can set, in tens of seconds.
    clock: i64,
}

fn text(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn listed(path: &Path) -> BTreeSet<PathBuf> {
    std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

fn sum(path: &Path) -> Option<u64> {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let mut hash = DefaultHasher::new();
    std::fs::read(path).ok()?.hash(&mut hash);
    Some(hash.finish())
}

impl Host {
    fn now() -> Self {
        // Settings that stand still by themselves, and programs that the kernel would start for a specimen.
        let mut settings: Vec<PathBuf> = [
            "hostname",
            "domainname",
            "core_pattern",
            "core_uses_pid",
            "randomize_va_space",
            "modprobe",
            "sysrq",
            "hotplug",
            "kptr_restrict",
            "dmesg_restrict",
            "unprivileged_bpf_disabled",
            "modules_disabled",
        ]
        .map(|name| Path::new("/proc/sys/kernel").join(name))
        .to_vec();
        settings
            .extend(["/proc/sys/net/ipv4/ip_forward", "/proc/sys/vm/overcommit_memory"].map(PathBuf::from));
        settings.push("/sys/kernel/uevent_helper".into());
        settings
            .extend(listed(Path::new("/sys/fs/cgroup")).into_iter().map(|path| path.join("release_agent")));
        let files = [
            "/etc/crontab",
            "/etc/passwd",
            "/etc/shadow",
            "/etc/hosts",
            "/etc/ld.so.preload",
            "/root/.ssh/authorized_keys",
            "/root/.bashrc",
            "/tmp/storm",
            "/tmp/disk",
            "/bin/sh",
            support::NABE,
        ];
        let folders = ["/", "/etc", "/etc/cron.d", "/root/.ssh", "/usr/bin", "/etc/systemd/system"];
        let clock = |id| rustix::time::clock_gettime(id).tv_sec;
        Self {
            mounts: text("/proc/self/mountinfo").lines().filter(|line| line.contains("nabe-sandbox")).count(),
            settings: settings.into_iter().map(|path| (path.clone(), text(path))).collect(),
            files: files.map(PathBuf::from).map(|path| (path.clone(), sum(&path))).to_vec(),
            folders: folders.map(PathBuf::from).map(|path| (path.clone(), listed(&path))).to_vec(),
            clock: (clock(rustix::time::ClockId::Realtime) - clock(rustix::time::ClockId::Boottime)) / 10,
        }
    }
}

/// What is left of a run: cgroups, folders, processes. Others may run sandboxes meanwhile.
fn remains(pid: u32) -> BTreeSet<PathBuf> {
    let name = format!("sandbox-{pid}");
    let mut found = BTreeSet::new();
    find(Path::new("/sys/fs/cgroup"), &mut found, 0);
    found.extend(listed(Path::new("/run")));
    found.extend(listed(Path::new("/run/nabe")));
    found.retain(|path| path.file_name().is_some_and(|last| last.to_string_lossy().ends_with(&name)));
    // An orphan that has ended is there until the machine's own init looks.
    let lives = |path: &PathBuf| {
        text(path.join("cgroup")).contains(&name) && !text(path.join("status")).contains("State:\tZ")
    };
    found.extend(listed(Path::new("/proc")).into_iter().filter(|path| lives(path)));
    found
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
    let escape = "Tries to leave its container";
    for (words, rule, technique, verdict, limit) in [
        (&["wipe", "/etc"][..], "Wipes files", "T1485", 20, None),
        (&["bomb"], "Fork bomb", "T1499.001", 20, Some("pids")),
        (&["hog"], "Takes all memory", "T1499.004", 20, Some("memory")),
        (&["renames"], "Renames in a storm", "T1486", 20, None),
        (&["storm"], "Writes in a storm", "T1499.004", 10, Some("disk")),
        (&["clocks"], "Turns the clock", "T1070.006", 20, None),
        (&["self"], "Deletes itself", "T1070.004", 20, None),
        (&["memory"], "Runs a program from memory", "T1620", 20, None),
        (&["reverse"], "Reverse shell", "T1059.004", 20, None),
        (&["listens"], "Reverse shell", "T1059.004", 20, None),
        (&["persists"], "Makes itself at home", "T1053.003", 20, None),
        (&["persists"], "Makes itself at home", "T1098.004", 20, None),
        (&["escapes", "release_agent"], escape, "T1611", 20, None),
        (&["escapes", "proc_sys"], escape, "T1611", 20, None),
        (&["escapes", "core_pattern"], escape, "T1611", 20, None),
        (&["escapes", "mknod"], escape, "T1611", 20, None),
        (&["escapes", "mount"], escape, "T1611", 20, None),
        (&["escapes", "setns"], escape, "T1611", 20, None),
        (&["escapes", "exe"], escape, "T1611", 20, None),
        (&["escapes", "sockets"], escape, "T1611", 20, None),
        (&["escapes", "namespaces"], "Asks for more privileges", "T1068", 10, None),
        (&["escapes", "modules"], "Asks for more privileges", "T1547.006", 10, None),
    ] {
        let (run, report) = bench.run(&[], words);
        assert!(rules(&report).contains(&rule), "{words:?}: {}\n{}", run.text(), run.stderr);
        let named = report["attack"][technique].as_array().into_iter().flatten();
        assert!(named.clone().any(|name| name == rule), "{words:?}: {}", report["attack"]);
        let hit = report["hits"].as_array().unwrap().iter().find(|hit| hit["rule"] == rule).unwrap();
        assert!(!hit["events"].as_array().unwrap().is_empty(), "{words:?}: {hit}");
        assert_eq!(run.status, Some(verdict), "{words:?}: {}", run.stderr);
        assert_eq!(report["outcome"]["limit"].as_str(), limit, "{words:?}");
        assert_eq!(report["outcome"]["lost"], 0, "{words:?}");
    }
}

/// The whole tree takes its time; how far it comes is not what counts.
#[test]
fn the_root_tree_is_the_specimens_own() {
    let Some(bench) = Bench::new("sandbox::root") else { return };
    let (run, report) = bench.run(&["--timeout", "5"], &["wipe", "/"]);
    assert_eq!(run.status, Some(20), "{}", run.stderr);
    assert!(rules(&report).contains(&"Wipes files"), "{:?}", rules(&report));
    assert_eq!(report["outcome"]["lost"], 0);
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

/// A web server that is somebody else's, asked ten times; `none` where there is none.
const SERVER: &str = "cd /tmp; echo hello > index.html
    if busybox httpd --help 2>&1 | grep -q PORT; then busybox httpd -p 8000
    elif python3 -c 1; then python3 -m http.server 8000 > /dev/null 2>&1 & sleep 3
    else echo none; exit 0; fi
    for i in 1 2 3 4 5 6 7 8 9 10; do busybox wget -q -O - http://127.0.0.1:8000/index.html; done
    kill $(pidof busybox python3) 2> /dev/null; exit 0";

#[test]
fn a_web_server_is_clean() {
    let Some(bench) = Bench::new("sandbox::server") else { return };
    if !has("sandbox::server", &[Need::Program("busybox")]) {
        return;
    }
    let keep = bench.folder.path().join("keep");
    let run = nabe(["sandbox", "--json", "--keep", keep.to_str().unwrap(), "/bin/sh", "-c", SERVER]);
    let said = text(keep.join("stdout"));
    if said.starts_with("none") {
        return skip("sandbox::server", "neither busybox httpd nor python3 is here");
    }
    assert_eq!(said, "hello\n".repeat(10));
    assert_eq!(run.status, Some(0), "{}", run.json()["hits"]);
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
    let nobody = nabe(["sandbox", "--container", "nobody", "--replay", capture.to_str().unwrap()]);
    assert_eq!(nobody.status, Some(1));
    assert!(nobody.stderr.contains("no event of a container nobody"), "{}", nobody.stderr);
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

/// Every port of every address, but for the specimen's own loopback.
#[test]
fn the_fake_network_answers_on_every_port() {
    let test = "sandbox::ports";
    let Some(bench) = Bench::new(test) else { return };
    if !has(test, &["bash", "nft"].map(Need::Program)) {
        return;
    }
    let script = bench.folder.path().join("ports.sh");
    let text = "#!/bin/bash\n\
                for port in 1 443 12345 65535; do\n\
                  exec 3<>/dev/tcp/9.9.9.9/$port && echo hello >&3 && echo reached $port; exec 3>&-\n\
                done\n\
                (exec 3<>/dev/tcp/127.0.0.1/4444) 2>/dev/null || echo own\n";
    std::fs::write(&script, text).unwrap();
    let run = nabe(["sandbox", "--json", "--network", "fake", script.to_str().unwrap()]);
    let notes = run.json()["notes"].to_string();
    for port in [1, 443, 12345, 65535] {
        assert!(notes.contains(&format!("fake network: tcp 9.9.9.9:{port} connected")), "{port}: {notes}");
        assert!(notes.contains(&format!("tcp 9.9.9.9:{port} closed, 6 bytes received")), "{port}: {notes}");
    }
    assert!(!notes.contains("127.0.0.1") && !notes.contains("TCP ports answer"), "{notes}");
}

/// Whom a specimen wants to reach is told whatever came of it.
#[test]
fn attempts_are_told_with_their_ends() {
    let Some(bench) = Bench::new("sandbox::attempts") else { return };
    let attempts = |report: &Value| -> Vec<String> {
        let all = report["behaviour"]["network"].as_array().into_iter().flatten();
        let word = |of: &Value| of.as_str().unwrap_or_default().to_owned();
        all.map(|one| format!("{} {} {}", word(&one["kind"]), word(&one["endpoint"]), word(&one["result"])))
            .collect()
    };
    let (_, report) = bench.run(&[], &["asks"]);
    let told = attempts(&report);
    for expected in ["dns c2.evil.test SUCCESS", "connect 198.51.100.23:443 ENETUNREACH"] {
        assert!(told.iter().any(|line| line == expected), "{expected}: {told:?}");
    }
    let (_, report) = bench.run(&["--network", "fake"], &["asks"]);
    let told = attempts(&report);
    // Without nft, 54 ports answer.
    let seventh = ["connect 198.51.100.23:7 ECONNREFUSED", "connect 198.51.100.23:7 SUCCESS"]
        [usize::from(program("nft").is_some())];
    for expected in [
        "dns c2.evil.test SUCCESS",
        "connect 198.51.100.23:443 SUCCESS",
        "connect 198.51.100.23:80 SUCCESS",
        seventh,
    ] {
        assert!(told.iter().any(|line| line == expected), "{expected}: {told:?}");
    }
    let notes = report["notes"].to_string();
    for expected in [
        "fake network: dns c2.evil.test",
        "fake network: tls 198.51.100.23:443 begins for c2.evil.test",
        "fake network: tcp 198.51.100.23:80 sent \\\"GET /gate.php HTTP/1.1\\\" to c2.evil.test",
    ] {
        assert!(notes.contains(expected), "{expected}: {notes}");
    }
}

/// Two network namespaces with a cable between them; gone on drop.
struct Nets {
    host: String,
    remote: String,
}

impl Nets {
    fn make() -> Option<Self> {
        let (host, remote) =
            (format!("nabe-h{}", std::process::id()), format!("nabe-r{}", std::process::id()));
        let nets = Self { host, remote };
        let (host, remote) = (&*nets.host, &*nets.remote);
        for words in [
            &["netns", "add", host][..],
            &["netns", "add", remote],
            &["-n", host, "link", "set", "lo", "up"],
            &["-n", host, "link", "add", "near", "type", "veth", "peer", "name", "far", "netns", remote],
            &["-n", host, "addr", "add", "198.51.100.1/24", "dev", "near"],
            &["-n", remote, "addr", "add", "198.51.100.23/24", "dev", "far"],
            &["-n", host, "link", "set", "near", "up"],
            &["-n", remote, "link", "set", "far", "up"],
        ] {
            let run = Run::of(support::command("ip").args(words));
            if run.status != Some(0) {
                skip("sandbox::bridge", &format!("ip {}: {}", words.join(" "), run.stderr));
                return None;
            }
        }
        Some(nets)
    }

    fn listen(&self, name: &str, port: u16) -> std::net::TcpListener {
        let file = std::fs::File::open(format!("/run/netns/{name}")).unwrap();
        let there = std::thread::spawn(move || {
            use std::os::fd::AsFd as _;
            let network = Some(rustix::thread::LinkNameSpaceType::Network);
            rustix::thread::move_into_link_name_space(file.as_fd(), network).unwrap();
            std::net::TcpListener::bind(("0.0.0.0", port)).unwrap()
        });
        there.join().unwrap()
    }

    fn state(&self) -> String {
        let links = Run::of(support::command("ip").args(["-n", &self.host, "-o", "link"])).text();
        let names: Vec<&str> = links.lines().filter_map(|line| line.split(": ").nth(1)).collect();
        let tables = Run::of(support::command("nsenter").args([
            &format!("--net=/run/netns/{}", self.host),
            "nft",
            "list",
            "ruleset",
        ]));
        format!("{names:?}\n{}", tables.text())
    }
}

impl Drop for Nets {
    fn drop(&mut self) {
        for name in [&self.host, &self.remote] {
            Run::of(support::command("ip").args(["netns", "del", name]));
        }
    }
}

/// The real network: what is far is reached, the host and its neighbours are not, and nothing is left.
#[test]
fn the_bridge_leads_out_and_not_back() {
    let needs = [Need::Program("nft"), Need::Program("ip"), Need::Program("nsenter")];
    if !has("sandbox::bridge", &needs) {
        return;
    }
    let Some(bench) = Bench::new("sandbox::bridge") else { return };
    let Some(nets) = Nets::make() else { return };
    let before = nets.state();
    let (far, near) = (nets.listen(&nets.remote, 4444), nets.listen(&nets.host, 4444));
    let run = |words: &[&str]| {
        let mut command = support::command("nsenter");
        command.arg(format!("--net=/run/netns/{}", nets.host)).arg(support::NABE);
        command.args(["sandbox", "--json", "--timeout", "3", "--network", "bridge"]);
        Run::of(command.arg(bench.specimen()).args(words))
    };
    let reached = run(&["reaches", "198.51.100.23", "4444"]);
    assert!(reached.stderr.contains("warning: --network bridge"), "{}", reached.stderr);
    assert!(reached.json()["notes"].to_string().contains("had the real network"), "{}", reached.text());
    let (mut connection, from) = far.accept().unwrap();
    assert_eq!(from.ip().to_string(), "198.51.100.1");
    let mut said = String::new();
    std::io::Read::read_to_string(&mut connection, &mut said).unwrap();
    assert_eq!(said, "hello\n");
    assert_eq!(nets.state(), before);
    let report = run(&["reaches", "198.51.100.1", "4444"]).json();
    assert_eq!(report["outcome"]["limit"], "time", "{report}");
    assert_eq!(report["behaviour"]["network"][0]["endpoint"], "198.51.100.1:4444");
    near.set_nonblocking(true).unwrap();
    assert!(near.accept().is_err());
    assert_eq!(nets.state(), before);
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
    std::fs::write(folder.join("c-none"), "no program\n").unwrap();
    let all = bench.folder.path().join("all");
    let table = nabe(["sandbox", &format!("--keep={}", all.display()), folder.to_str().unwrap()]);
    assert_eq!(table.status, Some(20), "{}", table.stderr);
    let lines = table.lines();
    assert!(lines[3].starts_with("c-none") && lines[3].contains("neither ELF"), "{lines:?}");
    assert_eq!(lines[5], "3 files: 1 malicious, 1 clean, 1 failed");
    assert!(all.join("a-good.sh/capture.scap").is_file() && all.join("b-bad.sh/report.html").is_file());
    let json = nabe(["sandbox", "--json", folder.to_str().unwrap()]).json();
    assert_eq!((&json[1]["name"], &json[1]["report"]["verdict"]), (&"b-bad.sh".into(), &"malicious".into()));
    assert!(json[0]["error"].is_null() && json[2]["error"].as_str().is_some(), "{}", json[2]);
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

/// Nothing that a specimen names is markup, steers a terminal, or keeps the report from being made.
#[test]
fn hostile_names_are_only_names() {
    let Some(bench) = Bench::new("sandbox::names") else { return };
    let keep = bench.folder.path().join("keep");
    let (run, report) = bench.run(&["--keep", keep.to_str().unwrap()], &["hides"]);
    assert_eq!(run.status, Some(0), "{}", run.stderr);
    let page = std::fs::read_to_string(keep.join("report.html")).unwrap();
    assert!(page.contains("&lt;script&gt;alert(1)") && !page.contains("<script"), "{page}");
    assert!(!page.contains("src=") && !page.contains("href=") && !page.contains("url("), "{page}");
    let capture = keep.join("capture.scap");
    let text = nabe(["sandbox", "--replay", capture.to_str().unwrap()]).text() + &page;
    let steers = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
    assert!(!text.contains(steers), "{text:?}");
    let dropped = report["dropped"].as_array().unwrap();
    let paths: Vec<&str> = dropped.iter().filter_map(|file| file["path"].as_str()).collect();
    assert!(paths.contains(&"/tmp/link -> /etc/shadow") && paths.contains(&"/tmp/pipe"), "{paths:?}");
    // 40 folders of 200 bytes are more than a path has room for.
    assert!(report["notes"].to_string().contains("could not be looked at"), "{}", report["notes"]);
}

/// What cannot be run is told in a sentence, before anything is made.
#[test]
fn what_is_no_program_is_told() {
    let Some(bench) = Bench::new("sandbox::programs") else { return };
    let elf = std::fs::read(bench.specimen()).unwrap();
    let with = |at: usize, byte: u8| {
        let mut bytes = elf.clone();
        bytes[at] = byte;
        bytes
    };
    let place = |name: &str| bench.folder.path().join(name);
    for (name, bytes) in [
        ("empty", Vec::new()),
        ("text", b"hello\n".to_vec()),
        ("script", b"#!/no/such/interpreter\n".to_vec()),
        ("nameless", b"#!\n".to_vec()),
        ("windows", b"MZ\x90\0".to_vec()),
        ("arm64", with(18, 183)),
        ("object", with(16, 1)),
        ("cut", elf[..100].to_vec()),
    ] {
        std::fs::write(place(name), bytes).unwrap();
    }
    std::fs::create_dir(place("folder")).unwrap();
    std::fs::create_dir(place("things")).unwrap();
    std::fs::write(place("things/run.sh"), "#!/no/such/shell\n").unwrap();
    let tar = |name: &str, of: &str| {
        let mut tar = Command::new("tar");
        tar.arg("-cf").arg(place(name)).arg("-C").arg(bench.folder.path()).arg(of);
        assert!(tar.status().unwrap().success());
    };
    tar("hollow.tar", "folder");
    tar("things.tar", "things");
    let socket = std::os::unix::net::UnixListener::bind(place("socket")).unwrap();
    for (words, status, expected) in [
        (&["nope"][..], 1, "No such file or directory"),
        (&["folder"], 1, "no file is in"),
        (&["socket"], 1, "neither a file nor a folder"),
        (&["empty"], 1, "is empty: there is nothing to run"),
        (&["text"], 1, "neither ELF, nor a script that begins with #!, nor an archive"),
        (&["script"], 1, "the interpreter /no/such/interpreter, which is not inside"),
        (&["nameless"], 1, "names no interpreter"),
        (&["windows"], 1, "a program for Windows"),
        (&["arm64"], 1, "another architecture (arm64): this one is x86_64"),
        (&["object"], 1, "an object file, not a program"),
        (&["cut"], 1, "a broken ELF file: it ends too early"),
        (&["hollow.tar"], 1, "an archive without a file"),
        (&["things.tar"], 2, "--entry PATH says what to start in it: things/run.sh"),
        (&["--entry", "no", "things.tar"], 2, "has no file no"),
        (&["--entry", "../empty", "things.tar"], 2, "has no file ../empty"),
        (&["--entry", "things/run.sh", "things.tar"], 1, "things/run.sh of things.tar is a script for"),
        (&["--entry", "x", "specimen"], 2, "is no archive"),
    ] {
        let mut command = nabe_command(["sandbox"]);
        let run = Run::of(command.current_dir(bench.folder.path()).args(words));
        assert_eq!(run.status, Some(status), "{words:?}: {}", run.stderr);
        assert!(run.stderr.contains(expected), "{words:?}: {}", run.stderr);
    }
    drop(socket);
    // What is no file of ours is one of the machine's.
    let run = nabe(["sandbox", "true"]);
    assert!(
        run.stderr.contains("hint: /") && run.stderr.contains("is a program of that name"),
        "{}",
        run.stderr
    );
}

#[test]
fn wrong_words_are_told() {
    for (words, status, expected) in [
        (&["/no/such"][..], 1, "cannot read /no/such"),
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

#[test]
fn falco_judges_the_same_run() {
    let Some(bench) = Bench::new("sandbox::falco") else { return };
    let rules_file = bench.folder.path().join("rules.yaml");
    let text = "- rule: cron\n  desc: d\n  condition: evt.type in (open, openat) and fd.name startswith /etc/cron\n  \
                output: wrote %fd.name\n  priority: CRITICAL\n  tags: [T1053.003]\n";
    std::fs::write(&rules_file, text).unwrap();
    let (run, report) = bench.run(&["--no-built-in", "--falco", rules_file.to_str().unwrap()], &["persists"]);
    assert_eq!(rules(&report), ["cron"], "{}", run.stderr);
    assert_eq!(run.status, Some(20));
    assert_eq!(report["attack"]["T1053.003"][0], "cron");
    assert!(report["hits"][0]["message"].as_str().unwrap().contains("wrote /etc/crontab"), "{report}");
}

#[test]
fn yara_looks_at_the_specimen_and_at_what_it_leaves() {
    let Some(bench) = Bench::new("sandbox::yara") else { return };
    let file = bench.folder.path().join("rules.yar");
    let text = "rule dropper { strings: $a = \"/etc/cron.d/x\" condition: $a }\n\
                rule job { strings: $a = \"* * * * * root\" condition: $a at 0 }\n";
    std::fs::write(&file, text).unwrap();
    let probed = nabe(["sandbox", "--yara", file.to_str().unwrap(), "/bin/true"]);
    if probed.stderr.contains("built without YARA") {
        return skip("sandbox::yara", "built without the feature yara");
    }
    let (_, report) = bench.run(&["--no-built-in", "--yara", file.to_str().unwrap()], &["persists"]);
    assert_eq!(rules(&report), ["dropper", "job"]);
    assert_eq!(report["specimen"]["yara"], serde_json::json!(["dropper"]));
    assert_eq!(report["hits"][1]["message"], "matches /etc/cron.d/x, /etc/crontab");
    // A program that is in memory only.
    let text =
        "rule sleeper { strings: $a = \"NUMBER[SUFFIX]\" condition: uint32(0) == 0x464c457f and $a }\n";
    std::fs::write(&file, text).unwrap();
    let (_, report) = bench.run(&["--no-built-in", "--yara", file.to_str().unwrap()], &["memory"]);
    assert_eq!(rules(&report), ["sleeper"], "{report}");
    let found = report["dropped"].as_array().unwrap();
    let memory = found.iter().find(|file| file["change"] == "memory").unwrap();
    assert_eq!(memory["yara"], serde_json::json!(["sleeper"]));
    assert_eq!(report["specimen"]["yara"], serde_json::json!([]));
    std::fs::write(&file, "rule x { condition: nothing }\n").unwrap();
    let wrong = nabe(["sandbox", "--yara", file.to_str().unwrap(), "/bin/true"]);
    assert_eq!(wrong.status, Some(2));
    assert!(wrong.stderr.contains("rules.yar"), "{}", wrong.stderr);
}

/// Memory, tasks, disk and time are held above; processors only slow a specimen down.
#[test]
fn processors_are_limited_and_told() {
    let Some(bench) = Bench::new("sandbox::cpus") else { return };
    let (run, report) = bench.run(&["--cpus", "0.1"], &["spins"]);
    assert_eq!(run.status, Some(0), "{}", run.stderr);
    let notes = report["notes"].to_string();
    assert!(notes.contains("the limit of 0.1 processors held it back"), "{notes}");
    assert_eq!(report["limits"]["cpus"], "0.1");
}

/// Nobody else is in the record, however alike: the host's own process of the same name is not.
#[test]
fn a_neighbour_of_the_same_name_is_not_recorded() {
    let Some(bench) = Bench::new("sandbox::neighbour") else { return };
    let noise = support::Running::start(Command::new(bench.specimen()).arg("noise"));
    let keep = bench.folder.path().join("keep");
    let (_, report) = bench.run(&["--keep", keep.to_str().unwrap()], &["persists"]);
    assert!(text(format!("/proc/{}/comm", noise.child.id())).starts_with("specimen"));
    let processes = report["behaviour"]["processes"].as_array().unwrap();
    assert_eq!(processes.len(), 1, "{processes:?}");
    let pid = processes[0]["pid"].as_u64().unwrap();
    assert_ne!(pid, u64::from(noise.child.id()));
    assert_eq!(processes[0]["vpid"], 2);
    let capture = keep.join("capture.scap");
    let lines = nabe(["replay", capture.to_str().unwrap(), "-p", "%proc.pid %proc.vpid"]).ok().lines();
    assert!(lines.len() > 30 && lines.iter().all(|line| *line == format!("{pid} 2")), "{lines:?}");
}

/// Where it runs, as whom, and with what, is the user's choice.
#[test]
fn image_mounts_environment_and_user_are_chosen() {
    let Some(bench) = Bench::new("sandbox::chosen") else { return };
    let place = |name: &str| bench.folder.path().join(name);
    std::fs::create_dir(place("shown")).unwrap();
    std::fs::write(place("shown/word"), "shown\n").unwrap();
    let script = place("look.sh");
    let look =
        "#!/bin/sh\nid -u; id -g; echo $WORD; cat /shown/word; echo x > /shown/new || echo refused; pwd\n";
    std::fs::write(&script, look).unwrap();
    let keep = place("keep");
    let (keep, mount) = (keep.to_str().unwrap(), format!("{}:/shown", place("shown").display()));
    let run = |words: &[&str]| {
        let all = ["sandbox", "--json", "--keep", keep, "--env", "WORD=said", "--user", "7:8"];
        let run = Run::of(nabe_command(all).args(words));
        (run.status, run.stderr, text(place("keep/stdout")))
    };
    let (status, stderr, said) = run(&["--mount", &mount, script.to_str().unwrap()]);
    assert_eq!((status, &*said), (Some(0), "7\n8\nsaid\nshown\nrefused\n/specimen\n"), "{stderr}");
    assert!(!place("shown/new").exists());
    // In an image its programs are the image's own.
    let Some(busybox) = program("busybox") else {
        return skip("sandbox::chosen", "busybox is not installed");
    };
    std::fs::create_dir_all(place("rootfs/bin")).unwrap();
    support::copy_program(busybox, &place("rootfs/bin/busybox"));
    for name in ["sh", "cat", "id"] {
        std::os::unix::fs::symlink("busybox", place("rootfs/bin").join(name)).unwrap();
    }
    std::fs::write(place("rootfs/word"), "the image's\n").unwrap();
    let tar =
        Command::new("tar").arg("-cf").arg(place("i.tar")).arg("-C").arg(place("rootfs")).arg(".").status();
    assert!(tar.unwrap().success());
    let store = place("store");
    let store = store.to_str().unwrap();
    nabe(["import", "-q", "--root", store, place("i.tar").to_str().unwrap(), "bb:1"]).ok();
    let image = ["--root", store, "--image", "bb:1"];
    let (status, stderr, said) =
        run(&[&image[..], &["sh", "-c", "cat /word; id -u; ls /usr 2>&1 | cat"]].concat());
    assert_eq!(status, Some(0), "{stderr}");
    assert!(said.starts_with("the image's\n7\n"), "{said}");
    let (status, stderr, _) = run(&[&image[..], &["/bin/nothing"]].concat());
    assert_eq!(status, Some(1));
    assert!(stderr.contains("/bin/nothing is not in the image"), "{stderr}");
}

/// Without root: judging works, running is refused with what it needs.
#[test]
fn an_ordinary_user_judges_and_is_told_why_not_more() {
    if !has("sandbox::user", &[Need::Root, Need::Program("setpriv")]) {
        return;
    }
    let Some(bench) = Bench::new("sandbox::user") else { return };
    let folder = support::directory();
    let own = folder.path().join("nabe");
    support::copy_program(support::NABE, &own);
    let capture = folder.path().join("c.scap");
    let (_, report) = bench.run(&["--capture", capture.to_str().unwrap()], &["persists"]);
    let readable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(&capture, readable).unwrap();
    let user = |words: &[&str]| {
        let mut command = support::command("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--"]).arg(&own);
        Run::of(command.arg("sandbox").args(words))
    };
    let judged = user(&["--json", "--replay", capture.to_str().unwrap()]);
    assert_eq!(judged.status, Some(20), "{}", judged.stderr);
    assert_eq!(judged.json()["hits"], report["hits"]);
    let refused = user(&["/bin/true"]);
    assert_eq!(refused.status, Some(1));
    assert!(
        refused.stderr.contains("needs root") && refused.stderr.contains("CAP_BPF"),
        "{}",
        refused.stderr
    );
    assert!(refused.stderr.contains("--replay FILE"), "{}", refused.stderr);
}

/// Starts a specimen that does not end, and waits until it runs.
fn sleeper(bench: &Bench, options: &[&str]) -> support::Running {
    let mut command = nabe_command(["sandbox", "--json", "--timeout", "100"]);
    command.args(options).arg(bench.specimen()).arg("sleeps").stdout(Stdio::piped()).stderr(Stdio::piped());
    let running = support::Running::start(&mut command);
    let pid = running.child.id();
    // Its container's init and the specimen.
    support::wait_for("the specimen", || {
        remains(pid).iter().filter(|path| path.starts_with("/proc")).count() >= 2
    });
    running
}

/// Ctrl-C ends a run as its time would: with a report, and with nothing left.
#[test]
fn a_stopped_sandbox_reports_and_leaves_nothing() {
    let Some(bench) = Bench::new("sandbox::stopped") else { return };
    let before = Host::now();
    for options in [&[][..], &["--network", "fake"]] {
        let running = sleeper(&bench, options);
        let pid = running.child.id();
        running.signal(rustix::process::Signal::INT);
        let (stdout, stderr, status) = running.finish();
        assert_eq!(status, Some(0), "{stderr}");
        let report: Value = serde_json::from_slice(&stdout).unwrap();
        assert_eq!(report["outcome"]["signal"], 9);
        assert!(report["notes"].to_string().contains("stopped before its end"), "{report}");
        assert_eq!(remains(pid), BTreeSet::new());
    }
    assert_eq!(Host::now(), before);
}

/// A killed run is swept by `nabe prune`, too.
#[test]
fn prune_sweeps_a_killed_sandbox() {
    let Some(bench) = Bench::new("sandbox::pruned") else { return };
    let mut running = sleeper(&bench, &[]);
    let pid = running.child.id();
    running.child.kill().unwrap();
    running.child.wait().unwrap();
    // Unwatched, the specimen does not live on.
    support::wait_for("its end", || !remains(pid).iter().any(|path| path.starts_with("/proc")));
    let store = bench.folder.path().join("store");
    let run = nabe(["prune", "--root", store.to_str().unwrap()]).ok();
    assert!(run.text().contains(&format!("Deleted: sandbox-{pid}")), "{}", run.text());
    assert_eq!(remains(pid), BTreeSet::new());
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
    let pid = child.id();
    let start = Instant::now();
    // Its container's init and the specimen.
    while remains(pid).iter().filter(|path| path.starts_with("/proc")).count() < 2 {
        assert!(start.elapsed() < PATIENCE, "it does not begin");
    }
    child.kill().unwrap();
    child.wait().unwrap();
    nabe(["sandbox", "/bin/true"]).ok();
    assert_eq!(remains(pid), BTreeSet::new());
    assert_eq!(Host::now(), before);
}
