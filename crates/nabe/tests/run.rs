//! `nabe run IMAGE` and its verbs as a user runs them, with an image of busybox made here. Networks are in a
//! namespace of each test's own; afterwards no mount, link, rule, cgroup or directory is left.

mod support;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use support::bundle::{remains, wait_until};
use support::{NABE, Need, Run, command, has, program, rows, skip};

/// A store with one image, a network namespace, and names that no other test has.
struct Ship {
    directory: tempfile::TempDir,
    /// A process that keeps the network namespace; it ends with its standard input.
    network: Child,
    names: std::cell::RefCell<Vec<String>>,
    mounts: usize,
}

const MAKE: &str = r#"mkdir -p "$1/bin" "$1/etc" "$1/tmp" "$1/root" && cp "$2" "$1/bin/busybox"
    for applet in $("$2" --list); do [ "$applet" = busybox ] || ln -s busybox "$1/bin/$applet"; done
    printf 'root:x:0:0::/root:/bin/sh\nweb:x:33:44::/srv:/bin/sh\n' > "$1/etc/passwd"
    printf 'root:x:0:\nlogs:x:50:web\n' > "$1/etc/group"
    chmod 1777 "$1/tmp" && tar -C "$1" -cf "$1.tar" ."#;

impl Ship {
    fn new(test: &str) -> Option<Self> {
        let programs = ["busybox", "tar", "unshare", "nsenter", "ip"].map(Need::Program);
        if !has(test, &[Need::Root]) || !has(test, &programs) {
            return None;
        }
        let directory = support::directory();
        let rootfs = directory.path().join("rootfs");
        let made = command("sh").args(["-ec", MAKE, "sh"]).arg(&rootfs).arg(program("busybox")?).status();
        assert!(made.expect("sh runs").success());
        let mut holder = command("unshare");
        holder.args(["-n", "sh", "-c", "ip link set lo up && echo up && exec cat"]);
        let mut network = holder.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("unshare runs");
        let mut line = String::new();
        let output = network.stdout.take().expect("a pipe");
        std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut line).expect("a line");
        let ship = Self { mounts: mounts(directory.path()), directory, network, names: Vec::new().into() };
        if line != "up\n" {
            skip(test, "no network namespace can be made here");
            return None;
        }
        ship.call(&["import", "-q", &format!("{}.tar", rootfs.display()), "bb:1"]).ok();
        Some(ship)
    }

    fn store(&self) -> PathBuf {
        self.directory.path().join("store")
    }

    fn name(&self) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("nabe-run-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        self.names.borrow_mut().push(name.clone());
        name
    }

    /// A program in the test's network.
    fn there(&self, program: &str) -> Command {
        let mut there = command("nsenter");
        there.arg(format!("--net=/proc/{}/ns/net", self.network.id())).arg(program);
        there.env("NABE_ROOT", self.store()).current_dir(self.directory.path());
        there
    }

    fn call(&self, arguments: &[&str]) -> Run {
        Run::of(self.there(NABE).args(arguments))
    }

    /// `nabe run --rm --network none OPTIONS bb:1 sh -c SCRIPT`.
    fn run(&self, options: &[&str], script: &str) -> Run {
        let name = self.name();
        let mut arguments = vec!["run", "--rm", "--network", "none", "--name", &name];
        arguments.extend(options);
        arguments.extend(["bb:1", "sh", "-c", script]);
        self.call(&arguments)
    }

    #[track_caller]
    fn says(&self, options: &[&str], script: &str) -> String {
        self.run(options, script).ok().text().trim_end().to_owned()
    }

    /// A container that stays until it is told to end.
    #[track_caller]
    fn detached(&self, options: &[&str], script: &str) -> String {
        let name = self.name();
        let mut arguments = vec!["run", "-d", "--name", &name];
        arguments.extend(options);
        arguments.extend(["bb:1", "sh", "-c", script]);
        assert_eq!(self.call(&arguments).ok().text(), format!("{name}\n"));
        name
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.directory.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path.display().to_string()
    }

    fn links(&self) -> String {
        Run::of(self.there("ip").args(["-o", "link"])).ok().text()
    }

    fn rules(&self) -> String {
        Run::of(self.there("nft").args(["list", "ruleset"])).ok().text()
    }

    /// Nothing of any container is there.
    #[track_caller]
    fn is_clean(&self) {
        let left = |path: &str| std::fs::read_dir(self.store().join(path)).map_or(0, Iterator::count);
        assert_eq!((left("containers"), left("network/leases"), left("images/leases")), (0, 0, 0));
        assert_eq!(self.links().lines().count(), 1, "{}", self.links());
        if program("nft").is_some() {
            assert_eq!(self.rules(), "");
        }
        assert_eq!(mounts(self.directory.path()), self.mounts);
        for name in self.names.borrow().iter() {
            assert_eq!(remains(name), Vec::<PathBuf>::new(), "cgroups of {name}");
            assert!(!Path::new("/run/nabe").join(name).exists(), "the state of {name}");
        }
    }
}

impl Drop for Ship {
    fn drop(&mut self) {
        for name in self.names.borrow().iter() {
            self.call(&["rm", "-f", name]);
        }
        if !std::thread::panicking() {
            self.is_clean();
        }
        drop(self.network.stdin.take());
        self.network.wait().expect("the holder ends");
    }
}

fn mounts(path: &Path) -> usize {
    let table = std::fs::read_to_string("/proc/self/mountinfo").expect("the mounts");
    table.matches(&path.display().to_string()).count()
}

const FOREVER: &str = "trap 'echo bye; exit 5' TERM; echo up; while :; do sleep 0.05; done";

#[test]
fn a_program_runs_and_its_status_is_ours() {
    let Some(ship) = Ship::new("run::status") else { return };
    assert_eq!(ship.says(&[], "echo hello"), "hello");
    assert_eq!(ship.run(&[], "exit 7").status, Some(7));
    assert_eq!(ship.run(&["--init"], "kill -9 $$").status, Some(137));
    let of = |words: &[&str]| ship.call(&[&["run", "--rm", "--network", "none"], words].concat()).status;
    assert_eq!(of(&["bb:1", "nosuchprogram"]), Some(127));
    assert_eq!(of(&["bb:1", "/etc/passwd"]), Some(126));
    assert_eq!(of(&["--name", "a/b", "bb:1", "true"]), Some(125));
    assert_eq!(of(&["-p", "80:80", "bb:1", "true"]), Some(125), "ports need the bridge");
    assert_eq!(of(&["--entrypoint", "/bin/echo", "bb:1"]), Some(0));
    ship.is_clean();
}

#[test]
fn the_defaults_are_strict() {
    let Some(ship) = Ship::new("run::strict") else { return };
    let status = ship.says(&[], "grep -E '^(Cap|Seccomp:)' /proc/self/status");
    for line in
        ["CapInh:\t0000000000000000", "CapBnd:\t00000000a80425fb", "CapEff:\t00000000a80425fb", "Seccomp:\t2"]
    {
        assert!(status.contains(line), "{line} in {status}");
    }
    assert!(!ship.says(&[], "ip -o link").contains("eth0"));
    assert_ne!(ship.run(&[], "unshare -m true").status, Some(0), "seccomp and capabilities");
    assert_ne!(ship.run(&[], "mount -t tmpfs x /tmp").status, Some(0));
    assert_ne!(ship.run(&[], "echo 1 > /proc/sys/kernel/panic").status, Some(0));
    assert_eq!(ship.says(&[], "wc -c < /proc/keys"), "0");
    // A user namespace needs no capability: only seccomp is between.
    assert_ne!(ship.run(&["--cap-drop", "ALL"], "unshare -U true").status, Some(0));
    ship.run(&["--security-opt", "seccomp=unconfined"], "unshare -U true").ok();
    ship.run(&["--cap-add", "SYS_ADMIN"], "unshare -m true").ok();
}

#[test]
fn capabilities_and_security_options() {
    let Some(ship) = Ship::new("run::security") else { return };
    let field = |options: &[&str], name: &str| {
        let text = ship.says(options, &format!("grep '^{name}:' /proc/self/status"));
        text.split_whitespace().last().unwrap_or_default().to_owned()
    };
    assert_eq!(field(&["--cap-drop", "ALL", "--cap-add", "chown"], "CapBnd"), "0000000000000001");
    assert_eq!(field(&["--cap-drop", "CAP_CHOWN"], "CapEff"), "00000000a80425fa");
    assert_eq!(field(&["-u", "web"], "CapEff"), "0000000000000000");
    assert_eq!(field(&[], "NoNewPrivs"), "0");
    assert_eq!(field(&["--security-opt", "no-new-privileges"], "NoNewPrivs"), "1");
    assert_eq!(field(&["--security-opt", "seccomp=unconfined"], "Seccomp"), "0");
    assert_eq!(field(&["--privileged"], "Seccomp"), "0");
    ship.run(&["--privileged"], "mount -t tmpfs x /tmp").ok();
    let profile = ship.write(
        "profile.json",
        r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}]}"#,
    );
    let refused = ship.run(&["--security-opt", &format!("seccomp={profile}")], "mkdir /tmp/x");
    assert_ne!(refused.status, Some(0));
    assert!(refused.stderr.contains("not supported"), "{}", refused.stderr);
    assert_eq!(ship.run(&["--security-opt", "label=off"], "true").status, Some(125));
    assert_eq!(ship.run(&["--cap-add", "NONSENSE"], "true").status, Some(125));
}

#[test]
fn files_and_variables() {
    let Some(ship) = Ship::new("run::files") else { return };
    let source = ship.directory.path().join("data");
    std::fs::create_dir(&source).expect("a directory");
    std::fs::write(source.join("in"), "in\n").expect("a file");
    let volume = format!("{}:/data", source.display());
    assert_eq!(ship.says(&["-v", &volume], "cat /data/in; echo out > /data/out"), "in");
    assert_eq!(std::fs::read_to_string(source.join("out")).expect("written"), "out\n");
    assert_ne!(ship.run(&["-v", &format!("{volume}:ro")], "touch /data/x").status, Some(0));
    assert_ne!(ship.run(&["--read-only"], "touch /x").status, Some(0));
    ship.run(&["--read-only", "--tmpfs", "/tmp"], "touch /tmp/x").ok();
    let file = ship.write("env", "# a comment\nA=1\nB=two words\n");
    let options = ["--env-file", &file, "-e", "A=3", "-e", "PATH=/bin"];
    assert_eq!(ship.says(&options, "echo $A,$B,$PATH"), "3,two words,/bin");
    assert_eq!(ship.says(&["-w", "/etc"], "pwd"), "/etc");
    assert_eq!(ship.says(&["-u", "web"], "id; echo $HOME"), "uid=33(web) gid=44 groups=50(logs)\n/srv");
    assert_eq!(ship.says(&["-u", "7:8"], "id -u; id -g"), "7\n8");
    assert_eq!(
        ship.says(&["--hostname", "inside"], "hostname; cat /etc/hostname; grep -c inside /etc/hosts"),
        "inside\ninside\n1"
    );
    assert_eq!(ship.says(&["--dns", "9.9.9.9"], "cat /etc/resolv.conf"), "nameserver 9.9.9.9");
    // Nothing of one run is seen by the next.
    ship.run(&[], "touch /bin/new").ok();
    assert_ne!(ship.run(&[], "test -e /bin/new").status, Some(0));
}

#[test]
fn volumes_have_names_and_stay() {
    let Some(ship) = Ship::new("run::volumes") else { return };
    let listed = || ship.call(&["volume", "ls", "-q"]).ok().text();
    assert_eq!(ship.says(&["-v", "data:/data"], "echo one > /data/f; ls /data"), "f");
    assert_eq!(ship.says(&["--mount", "source=data,target=/elsewhere,readonly"], "cat /elsewhere/f"), "one");
    assert_ne!(ship.run(&["-v", "data:/data:ro"], "touch /data/x").status, Some(0));
    assert_eq!(listed(), "data\n");
    // What the image has there comes with a new one, owners and links, too.
    let filled = ship.says(&["-v", "users:/etc"], "stat -c %u:%a /etc/passwd; wc -l < /etc/passwd");
    assert_eq!(filled, "0:644\n2");
    assert_eq!(ship.says(&["-v", "none:/etc:nocopy"], "test -e /etc/passwd || echo empty"), "empty");
    assert!(!ship.store().join("volumes/none/data/passwd").exists());
    // One that a container has stays, also when that has ended.
    let name = ship.detached(&["--network", "none", "-v", "data:/data"], "exec sleep 1000");
    let refused = ship.call(&["volume", "rm", "data"]);
    assert_eq!(refused.status, Some(1));
    assert!(refused.stderr.contains(&format!("in use by {name}")), "{}", refused.stderr);
    let shown = ship.call(&["volume", "ls", "--json"]).ok().json();
    assert_eq!((&shown[0]["name"], &shown[0]["containers"][0]), (&"data".into(), &name.clone().into()));
    ship.call(&["stop", "-t", "0", &name]).ok();
    assert_eq!(ship.call(&["volume", "prune"]).ok().text(), "Deleted: none\nDeleted: users\n");
    ship.call(&["rm", &name]).ok();
    assert_eq!(ship.call(&["volume", "rm", "data", "nothing"]).status, Some(1), "nothing is not there");
    assert_eq!(listed(), "");
    for wrong in ["/nowhere/at/all:/x", "a b:/x", "data:x", "data:/x:shared", "data"] {
        assert_eq!(ship.run(&["-v", wrong], "true").status, Some(125), "{wrong}");
    }
    assert_eq!(ship.run(&["-v", "a:/x", "--tmpfs", "/x"], "true").status, Some(125), "two at one place");
    // Parents come first, whatever the order of the words.
    let inner = ["--mount", "type=tmpfs,target=/t/in", "--tmpfs", "/t:size=1m"];
    assert_eq!(ship.says(&inner, "grep -c ' /t' /proc/mounts; mkdir /t/x /t/in/y"), "2");
}

#[test]
fn what_docker_users_type() {
    let Some(ship) = Ship::new("run::options") else { return };
    let files = ship.says(&[], "ulimit -n; ulimit -Hn");
    let (soft, hard) = files.split_once('\n').expect("two lines");
    assert!(soft == hard && soft.parse::<u64>().is_ok_and(|most| most <= 1 << 20), "{files}");
    let ours = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum.unwrap_or(u64::MAX);
    assert!(soft.parse::<u64>().is_ok_and(|most| most >= ours.min(1 << 20)), "{files}, {ours}");
    let limits = ["--ulimit", "nofile=100:200", "--ulimit", "core=0"];
    assert_eq!(ship.says(&limits, "ulimit -n; ulimit -Hn; ulimit -c"), "100\n200\n0");
    assert_eq!(ship.says(&["--group-add", "logs", "--group-add", "77"], "id -G"), "0 50 77");
    assert_eq!(ship.says(&["--shm-size", "1m"], "df /dev/shm | tail -1 | awk '{print $2}'"), "1024");
    assert_eq!(ship.says(&["--sysctl", "net.ipv4.ip_forward=1"], "cat /proc/sys/net/ipv4/ip_forward"), "1");
    assert_eq!(
        ship.says(
            &["--add-host", "db:10.0.0.7", "--dns", "9.9.9.9", "--dns-search", "lan"],
            "grep db /etc/hosts; cat /etc/resolv.conf"
        ),
        "10.0.0.7\tdb\nnameserver 9.9.9.9\nsearch lan"
    );
    assert_eq!(ship.says(&["--oom-score-adj", "500"], "cat /proc/self/oom_score_adj"), "500");
    let device = ["--device", "/dev/null:/dev/nothing:rw"];
    assert_eq!(
        ship.says(&device, "stat -c %F,%t,%T /dev/nothing; echo x > /dev/nothing"),
        "character special file,1,3"
    );
    let host = |kind: &str| {
        let path = format!("/proc/self/ns/{kind}");
        Run::of(ship.there("readlink").arg(path)).ok().text().trim().to_owned()
    };
    for kind in ["pid", "ipc", "uts"] {
        let option = format!("--{kind}");
        let inside = |options: &[&str]| ship.says(options, &format!("readlink /proc/self/ns/{kind}"));
        assert_eq!(inside(&[&option, "host"]), host(kind));
        assert_ne!(inside(&[]), host(kind));
    }
    assert_eq!(ship.run(&["--uts", "host", "--hostname", "x"], "true").status, Some(125));
    // A file with its name, which must be new.
    let file = ship.directory.path().join("cid").display().to_string();
    let name = ship.detached(
        &[
            "--network",
            "none",
            "--cidfile",
            &file,
            "-l",
            "team=blue",
            "--stop-signal",
            "USR1",
            "--stop-timeout",
            "60",
        ],
        "trap 'exit 4' USR1; echo up; while :; do sleep 0.05; done",
    );
    assert_eq!(std::fs::read_to_string(&file).expect("written"), name);
    assert_eq!(ship.run(&["--cidfile", &file], "true").status, Some(125));
    let seen = rows([format!("container.name == \"{name}\"").as_str(), "-o", "container.labels"]);
    assert_eq!(seen[0]["container.labels"]["team"], "blue");
    wait_until("up", || ship.call(&["logs", &name]).ok().text() == "up\n");
    ship.call(&["stop", &name]).ok();
    let code = std::fs::read_to_string(ship.store().join("containers").join(&name).join("exit"));
    assert_eq!(code.expect("an exit status"), "4\n");
    // Images are not pulled when that is forbidden.
    let never = ship.call(&["run", "--rm", "--pull", "never", "--network", "none", "127.0.0.1:1/x", "true"]);
    assert!(never.status == Some(125) && never.stderr.contains("no such image"), "{}", never.stderr);
    let other = ship.run(&["--pull", "never", "--platform", "linux/s390x"], "true");
    assert!(other.status == Some(125) && other.stderr.contains("is for linux/"), "{}", other.stderr);
    for (options, words) in [
        (&["--restart", "always"][..], "--restart is not there"),
        (&["--gpus", "all"], "--gpus is not there"),
        (&["--link", "x"], "--link is not there"),
        (&["-P"], "--publish-all is not there"),
        (&["--ulimit", "files=1"], "--ulimit files=1: there are as, core"),
        (&["--device", "/etc/passwd"], "it is no device"),
        (&["--stop-signal", "NOPE"], "is no signal"),
        (&["--group-add", "nobody-there"], "no group"),
        (&["--sysctl", "x"], "NAME=VALUE"),
        (&["--add-host", "x"], "NAME:IP"),
    ] {
        let run = ship.run(options, "true");
        assert_eq!(run.status, Some(125), "{options:?}");
        assert!(run.stderr.contains(words), "{options:?}: {}", run.stderr);
    }
    ship.run(&["--restart", "no", "--log-driver", "json-file"], "true").ok();
}

/// A user without privileges: `more` are lines of sh that change what he finds, in a mount namespace of its own.
struct Ordinary<'a> {
    ship: &'a Ship,
    home: PathBuf,
    more: String,
}

impl Ordinary<'_> {
    fn call(&self, arguments: &[&str]) -> Run {
        let script = format!(
            "mount --make-rprivate /; {}\nexec setpriv --reuid 65534 --regid 65534 --clear-groups \"$@\"",
            self.more
        );
        let mut run = self.ship.there("unshare");
        run.args(["-m", "sh", "-ec", &script, "sh", NABE]).args(arguments);
        run.env_remove("NABE_ROOT").env("HOME", &self.home).env("XDG_RUNTIME_DIR", self.home.join("run"));
        Run::of(run.current_dir(&self.home))
    }

    /// Runs, looks, copies and removes; the words say what `id` and the id map are inside.
    #[track_caller]
    fn uses(&self, identity: &str, map: &str, note: &str) {
        let tar = self.ship.directory.path().join("rootfs.tar").display().to_string();
        self.call(&["import", "-q", &tar, "bb:1"]).ok();
        let script = "id -u; cat /proc/self/uid_map; hostname; touch /x /tmp/y; exit 3";
        let run = self.call(&["run", "--rm", "--hostname", "mine", "bb:1", "sh", "-c", script]);
        let words: Vec<String> = run.text().split_whitespace().map(str::to_owned).collect();
        assert_eq!((run.status, words.join(" ")), (Some(3), format!("0 {map} mine")), "{}", run.stderr);
        assert!(run.stderr.contains("no network") && run.stderr.contains(note), "{}", run.stderr);
        let web = self.call(&["run", "--rm", "--network", "none", "-u", "web", "bb:1", "id"]);
        match identity {
            "" => assert!(web.status == Some(125) && web.stderr.contains("/etc/subuid"), "{}", web.stderr),
            _ => assert_eq!(web.ok().text().trim(), identity),
        }
        let script = "echo kept > /kept; echo up; exec sleep 1000";
        let started = self
            .call(&["run", "-d", "-q", "--name", "box", "-v", "vol:/etc", "bb:1", "sh", "-c", script])
            .ok();
        assert_eq!(started.text(), "box\n");
        wait_until("up", || self.call(&["logs", "box"]).ok().text() == "up\n");
        let inside = self.call(&["exec", "box", "sh", "-c", "id -u; cat /kept; head -n 1 /etc/passwd"]).ok();
        assert_eq!(
            (inside.text().as_str(), inside.stderr.as_str()),
            ("0\nkept\nroot:x:0:0::/root:/bin/sh\n", "")
        );
        assert_eq!(self.call(&["list", "-q"]).ok().text(), "box\n");
        self.call(&["cp", "box:/kept", "one"]).ok();
        self.call(&["stop", "-t", "0", "box"]).ok();
        self.call(&["cp", "box:/kept", "two"]).ok();
        for name in ["one", "two"] {
            assert_eq!(std::fs::read_to_string(self.home.join(name)).expect("copied"), "kept\n");
        }
        self.call(&["rm", "box"]).ok();
        assert_eq!(self.call(&["volume", "prune"]).ok().text(), "Deleted: vol\n");
        self.call(&["prune", "--all"]).ok();
        // States of ended containers stay for a while, for late readers.
        let is_left = |entry: &std::io::Result<std::fs::DirEntry>| {
            entry.as_ref().is_ok_and(|entry| entry.file_name() != ".ended")
        };
        let left = |path: &str| {
            std::fs::read_dir(self.home.join(path)).map_or(0, |entries| entries.filter(is_left).count())
        };
        let parts = [".local/share/nabe/containers", ".local/share/nabe/images/layers", "run/nabe"];
        assert_eq!(parts.map(left), [0, 0, 0]);
    }
}

#[test]
fn an_ordinary_user_runs_images() {
    let test = "run::ordinary";
    let Some(ship) = Ship::new(test) else { return };
    if !has(test, &["setpriv", "newuidmap"].map(Need::Program)) {
        return;
    }
    let make = |name: &str, more: &str| {
        let home = ship.directory.path().join(name);
        std::fs::create_dir_all(home.join("run")).expect("directories");
        Run::of(command("chown").args(["-R", "65534:65534"]).arg(&home)).ok();
        Ordinary { ship: &ship, more: more.replace("HERE", &home.display().to_string()), home }
    };
    let alone = make("alone", "");
    if alone.call(&["features"]).status != Some(0) {
        return skip(test, "the program is where only root may go");
    }
    if alone.call(&["import", "-q", "/nonexistent", "x"]).status != Some(1) {
        return skip(test, "no user namespace for ordinary users here");
    }
    let has_ids = ["/etc/subuid", "/etc/subgid"].iter().any(|path| {
        std::fs::read_to_string(path).is_ok_and(|text| {
            text.lines().any(|line| line.starts_with("nobody:") || line.starts_with("65534:"))
        })
    });
    match has_ids {
        true => skip(test, "nobody has ids of his own here"),
        false => alone.uses("", "0 65534 1", ""),
    }
    for (options, words) in [
        (&["--network", "bridge"][..], "a bridge network needs root"),
        (&["-p", "1:1"], "--publish needs --network bridge"),
        (&["--memory", "64m"], "memory"),
    ] {
        let tar = ship.directory.path().join("rootfs.tar").display().to_string();
        alone.call(&["import", "-q", &tar, "bb:1"]).ok();
        let run = alone.call(&[&["run", "--rm"], options, &["bb:1", "true"]].concat());
        assert_eq!(run.status, Some(125), "{options:?}: {}", run.stderr);
        assert!(run.stderr.contains(words), "{options:?}: {}", run.stderr);
    }
    let host =
        alone.call(&["run", "--rm", "--network", "host", "bb:1", "readlink", "/proc/self/ns/net"]).ok();
    assert_eq!(host.text(), Run::of(ship.there("readlink").arg("/proc/self/ns/net")).ok().text());
    // Ids of his own.
    if Path::new("/etc/subuid").exists() && Path::new("/etc/subgid").exists() {
        let ids = ship.write("ids", "65534:100000:65536\n");
        let bind = format!("mount --bind {ids} /etc/subuid; mount --bind {ids} /etc/subgid");
        make("many", &bind).uses("uid=33(web) gid=44 groups=50(logs)", "0 65534 1 1 100000 65536", "");
    }
    // Where overlayfs takes nothing from above: his home is one already. What is put there goes with the mounts.
    let over = "mount -t tmpfs over HERE; cd HERE; mkdir lower upper work home; chown 65534 upper;
        mount -t overlay over home -o lowerdir=lower,upperdir=upper,workdir=work; cd home; export HOME=$PWD/;
        mkdir run; chown 65534 . run; export XDG_RUNTIME_DIR=$PWD/run;
        as() { setpriv --reuid 65534 --regid 65534 --clear-groups \"$@\"; }; n=$1";
    let tar = ship.directory.path().join("rootfs.tar");
    let script = format!(
        "{over}; as $n import -q {} bb:1; as $n run --network none --name k bb:1 sh -c 'echo in > /z; ls /bin/busybox';
        as $n cp k:/z out; cat out; as $n rm k; ls .local/share/nabe/containers",
        tar.display()
    );
    let nested = make("nested", &script);
    let run = nested.call(&["version"]);
    assert!(
        run.stderr.contains("the image is copied, since overlayfs cannot be mounted here"),
        "{}",
        run.stderr
    );
    let lines = run.lines();
    assert_eq!(lines.get(1..4), Some(&["/bin/busybox", "in", "k"].map(str::to_owned)[..]), "{lines:?}");
}

#[test]
fn limits_and_an_init() {
    let Some(ship) = Ship::new("run::limits") else { return };
    let name = ship
        .detached(&["--network", "none", "--memory", "64m", "--cpus", "0.5", "--pids-limit", "20"], FOREVER);
    let read = |files: &[&str]| {
        let found =
            remains(&name).into_iter().flat_map(|cgroup| files.iter().map(move |file| cgroup.join(file)));
        found
            .filter_map(|path| std::fs::read_to_string(path).ok())
            .next()
            .unwrap_or_default()
            .trim()
            .to_owned()
    };
    assert_eq!(read(&["memory.limit_in_bytes", "memory.max"]), "67108864");
    assert_eq!(read(&["pids.max"]), "20");
    let quota = read(&["cpu.cfs_quota_us", "cpu.max"]);
    assert!(quota == "50000" || quota == "50000 100000", "{quota}");
    assert_eq!(ship.says(&["--init"], "echo $$"), "2");
    assert_eq!(ship.run(&["--init"], "exit 3").status, Some(3));
    assert_eq!(ship.run(&["--cpus", "0"], "true").status, Some(125));
}

#[test]
fn files_of_the_caller_stay_outside() {
    let Some(ship) = Ship::new("run::descriptors") else { return };
    let secret = ship.write("secret", "of the caller");
    let with_it = |options: &[&str], script: &str| {
        let name = ship.name();
        let mut sh = ship.there("sh");
        sh.args([
            "-c",
            "exec 9<secret; exec \"$0\" \"$@\"",
            NABE,
            "run",
            "--network",
            "none",
            "--name",
            &name,
        ]);
        Run::of(sh.args(options).args(["bb:1", "sh", "-c", script]))
    };
    // The init that nabe puts before the program stays, and the program may look at it.
    let text = with_it(&["--rm", "--init"], "for fd in /proc/1/fd/*; do readlink $fd; done").ok().text();
    let open: Vec<&str> = text.lines().collect();
    assert!(matches!(open[..], [_, _, _, "anon_inode:[signalfd]"]), "{text}");
    // Nor does the attendant of a detached one keep what may be a pipe that somebody reads to its end.
    with_it(&["-d"], FOREVER).ok();
    let links = |process: std::fs::DirEntry| std::fs::read_dir(process.path().join("fd"));
    let processes = std::fs::read_dir("/proc").expect("processes").flatten();
    let holders = processes
        .filter_map(|process| links(process).ok())
        .flat_map(|links| links.flatten().filter_map(|link| std::fs::read_link(link.path()).ok()));
    assert_eq!(holders.filter(|path| *path == Path::new(&secret)).count(), 0);
}

#[test]
fn standard_input_and_terminals() {
    let Some(ship) = Ship::new("run::input") else { return };
    let fed = |options: &[&str]| {
        let input = ship.write("input", "fed\n");
        let mut cat = ship.there(NABE);
        cat.args(["run", "--rm", "--network", "none"]).args(options).args(["bb:1", "cat"]);
        let output = cat.stdin(std::fs::File::open(input).expect("it is there")).output().expect("it runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert_eq!(fed(&["-i"]), "fed\n");
    assert_eq!(fed(&[]), "");
    let name = ship.detached(&["-t", "--network", "none"], "tty; exec sleep 1000");
    wait_until("a terminal in the log", || ship.call(&["logs", &name]).ok().text() == "/dev/pts/0\n");
    assert!(ship.call(&["exec", "-it", &name, "tty"]).ok().text().starts_with("/dev/pts/"));
}

#[test]
fn a_detached_container_is_seen_asked_and_removed() {
    let Some(ship) = Ship::new("run::detached") else { return };
    let name = ship.detached(&["--network", "none"], FOREVER);
    wait_until("up", || ship.call(&["logs", &name]).ok().text() == "up\n");
    let seen = rows([
        format!("container.name == \"{name}\"").as_str(),
        "-o",
        "process.name,container.name,container.image",
    ]);
    assert!(!seen.is_empty());
    for row in &seen {
        assert_eq!(
            (row["container.name"].as_str(), row["container.image"].as_str()),
            (Some(&*name), Some("docker.io/library/bb:1"))
        );
    }
    let listed = Run::of(support::command(NABE).args(["list", "-q"])).ok().text();
    assert!(listed.lines().any(|line| line == name), "{listed}");
    assert_eq!(ship.call(&["exec", &name, "sh", "-c", "exit 9"]).status, Some(9));
    let again = ship.call(&["run", "--name", &name, "--network", "none", "bb:1", "true"]);
    assert_eq!(again.status, Some(125));
    assert!(again.stderr.contains("in use"), "{}", again.stderr);
    assert_eq!(ship.call(&["rm", &name]).status, Some(1), "it runs");
    assert_eq!(ship.call(&["rmi", "bb:1"]).status, Some(1), "it is used");
    let mut follower = ship.there(NABE);
    let follower = follower.args(["logs", "-f", &name]).stdout(Stdio::piped()).spawn().expect("it runs");
    ship.call(&["stop", &name]).ok();
    let followed = follower.wait_with_output().expect("it ends with the container");
    assert_eq!(String::from_utf8_lossy(&followed.stdout), "up\nbye\n");
    let code = std::fs::read_to_string(ship.store().join("containers").join(&name).join("exit"));
    assert_eq!(code.expect("an exit status"), "5\n");
    ship.call(&["rm", &name]).ok();
    assert_eq!(ship.call(&["rm", &name]).status, Some(1));
    ship.call(&["rm", "-f", &name]).ok();
    // One that does not listen is killed.
    let deaf = ship.detached(&["--rm", "--network", "none"], "trap '' TERM; while :; do sleep 0.05; done");
    ship.call(&["stop", "-t", "0", &deaf]).ok();
    ship.is_clean();
}

#[test]
fn files_are_copied_and_links_lead_nowhere() {
    let Some(ship) = Ship::new("run::copy") else { return };
    let script = "mkdir /d; echo one > /d/one; ln -s one /d/link; ln -s /etc/shadow /evil; ln -s / /rootlink; chmod 640 /d/one; echo done; exec sleep 1000";
    let name = ship.detached(&["--network", "none"], script);
    wait_until("done", || ship.call(&["logs", &name]).ok().text() == "done\n");
    let here = |path: &str| ship.directory.path().join(path);
    let inside = |path: &str| format!("{name}:{path}");
    let check = || {
        ship.call(&["cp", &inside("/d"), "out"]).ok();
        assert_eq!(std::fs::read_to_string(here("out/one")).expect("copied"), "one\n");
        assert_eq!(std::fs::read_link(here("out/link")).expect("a link"), Path::new("one"));
        std::fs::remove_dir_all(here("out")).expect("removed");
        // A link of the container is one of the container, wherever it leads.
        ship.call(&["cp", &inside("/rootlink/../../../d/one"), "one"]).ok();
        ship.write("new", "new\n");
        ship.call(&["cp", "new", &inside("/rootlink/d/")]).ok();
        ship.call(&["cp", &inside("/d/new"), "back"]).ok();
        assert_eq!(std::fs::read_to_string(here("back")).expect("copied"), "new\n");
        assert!(!Path::new("/d/new").exists());
        ship.call(&["cp", &inside("/evil"), "evil"]).ok();
        assert!(std::fs::read_link(here("evil")).is_ok(), "the link itself");
    };
    check();
    assert_eq!(ship.call(&["cp", &inside("/nowhere"), "x"]).status, Some(1));
    assert_eq!(ship.call(&["cp", "a", "b"]).status, Some(2));
    ship.call(&["stop", "-t", "0", &name]).ok();
    check();
}

#[test]
fn the_bridge_leads_in_and_out_and_goes() {
    let Some(ship) = Ship::new("run::bridge") else { return };
    if !has("run::bridge", &[Need::Program("nft")]) {
        return;
    }
    let serve = "mkdir /www; hostname > /www/index.html; exec httpd -f -p 80 -h /www";
    let web = ship.detached(&["-p", "18080:80"], serve);
    let other = ship.detached(&["-p", "127.0.0.1:18081:80"], serve);
    let get = |url: &str| Run::of(ship.there("busybox").args(["wget", "-qO-", url])).text();
    wait_until("served", || get("http://127.0.0.1:18080/") == format!("{web}\n"));
    wait_until("served", || get("http://127.0.0.1:18081/") == format!("{other}\n"));
    let address = |name: &str| {
        let text = ship.call(&["exec", name, "sh", "-c", "ip -4 -o addr show eth0"]).ok().text();
        let found = text
            .split_whitespace()
            .find(|word| word.ends_with("/24"))
            .map(|word| word.trim_end_matches("/24").to_owned());
        found.expect("an address")
    };
    let (first, second) = (address(&web), address(&other));
    assert_ne!(first, second);
    let from_other = ship.call(&["exec", &other, "wget", "-qO-", &format!("http://{first}/")]).ok();
    assert_eq!(from_other.text(), format!("{web}\n"));
    let hosts = ship.call(&["exec", &web, "cat", "/etc/hosts"]).ok().text();
    assert!(hosts.contains(&format!("{first}\t{web}")), "{hosts}");
    let taken = ship.call(&["run", "--rm", "-p", "18080:81", "bb:1", "true"]);
    assert_eq!(taken.status, Some(125));
    assert!(taken.stderr.contains("port 18080"), "{}", taken.stderr);
    ship.call(&["stop", "-t", "0", &web]).ok();
    assert!(!ship.rules().contains("18080") && ship.rules().contains("18081"));
    ship.call(&["rm", "-f", &web, &other]).ok();
    ship.is_clean();
}

/// Containers of the bridge know each other by name, and no longer when they are gone, however that happened.
#[test]
fn the_bridge_has_names() {
    let test = "run::names";
    let Some(ship) = Ship::new(test) else { return };
    if !has(test, &[Need::Program("nft")]) {
        return;
    }
    let serve = "mkdir /www; hostname > /www/index.html; exec httpd -f -p 80 -h /www";
    let web = ship.detached(&["--network-alias", "front", "--hostname", "box"], serve);
    let other = ship.detached(&[], serve);
    let get = |from: &str, name: &str| {
        Run::of(ship.there(NABE).args(["exec", from, "wget", "-qO-", &format!("http://{name}/")]))
    };
    for name in [&web, "front", "box"] {
        wait_until("served", || get(&other, name).text() == "box\n");
        wait_until("known to itself", || get(&web, name).text() == "box\n");
    }
    // Known from the first instruction on; and what a container writes there stays.
    let third = ship.name();
    let script = format!("grep -c '\t{web} box front$' /etc/hosts; cat /etc/hosts | tail -1");
    let run = ship.call(&["run", "--rm", "--name", &third, "bb:1", "sh", "-c", &script]).ok();
    assert!(run.text().ends_with("\n# End.\n") && !run.text().starts_with('0'), "{}", run.text());
    ship.call(&["exec", &other, "sh", "-c", "echo 192.0.2.7 mine >> /etc/hosts"]).ok();
    let hosts = |of: &str| ship.call(&["exec", of, "cat", "/etc/hosts"]).ok().text();
    assert!(!hosts(&web).contains(&third), "it is gone: {}", hosts(&web));

    // The attendant is killed with its container: the next change takes the name away.
    let lock =
        std::fs::canonicalize(ship.store()).expect("the store").join("containers").join(&web).join("lock");
    let holds = |pid: &str| {
        let files = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        files.filter_map(|file| std::fs::read_link(file.path()).ok()).any(|file| file == lock)
    };
    let pids = std::fs::read_dir("/proc").expect("processes").flatten();
    let pids = pids.filter_map(|entry| entry.file_name().into_string().ok());
    let attendant =
        pids.filter(|name| name.parse::<u32>().is_ok()).find(|pid| holds(pid)).expect("an attendant");
    Run::of(command("kill").args(["-9", &attendant])).ok();
    ship.call(&["kill", &web, "KILL"]).ok();
    wait_until("stopped", || ship.call(&["state", &web]).text().contains("\"stopped\""));
    ship.call(&["prune"]).ok();
    let left = hosts(&other);
    assert!(!left.contains(&web) && left.ends_with("192.0.2.7 mine\n"), "{left}");
    assert_eq!(ship.call(&["run", "--hostname", "a b", "bb:1", "true"]).status, Some(2));
    ship.call(&["rm", "-f", &web, &other]).ok();
    ship.is_clean();
}

/// Packets, not rules: a published UDP port leads in, and its answer out again.
#[test]
fn a_published_udp_port_answers() {
    let test = "run::udp";
    let Some(ship) = Ship::new(test) else { return };
    if !has(test, &["nft", "python3"].map(Need::Program)) {
        return;
    }
    let echo = ship.detached(&["-p", "15353:53/udp"], FOREVER);
    // BusyBox has no server of UDP: Python's is in the container's network, with files of the host's.
    let serve = "import socket\n\
                 s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('0.0.0.0', 53))\n\
                 while True:\n  data, who = s.recvfrom(99); s.sendto(b'got ' + data, who)";
    let pid = ship.call(&["state", &echo]).ok().json()["pid"].to_string();
    let mut server = command("nsenter");
    server.arg(format!("--net=/proc/{pid}/ns/net")).args(["python3", "-c", serve]);
    let server = support::Running::start(&mut server);
    let ask = "import socket, sys\n\
               s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(1)\n\
               s.sendto(b'hello', (sys.argv[1], 15353)); print(s.recvfrom(99))";
    let from = |host: &str| Run::of(ship.there("python3").args(["-c", ask, host])).text();
    let answer = |host: &str| format!("(b'got hello', ('{host}', 15353))\n");
    wait_until("answered", || from("127.0.0.1") == answer("127.0.0.1"));
    // By the bridge's own address, as a neighbour would.
    let route = ship.call(&["exec", &echo, "sh", "-c", "ip route show default"]).ok().text();
    let gateway = route.split_whitespace().nth(2).expect("a gateway");
    assert_eq!(from(gateway), answer(gateway));
    drop(server);
    ship.call(&["rm", "-f", &echo]).ok();
    assert_eq!(from("127.0.0.1"), "");
    ship.is_clean();
}

#[test]
fn the_bridge_does_not_lead_to_the_loopback_of_the_host() {
    let test = "run::loopback";
    let Some(ship) = Ship::new(test) else { return };
    if !has(test, &[Need::Program("nft")]) {
        return;
    }
    // A service of the host that trusts who comes from its own loopback.
    let folder = ship.directory.path().to_str().expect("a path");
    let mut server = ship.there("busybox");
    server.args(["httpd", "-f", "-p", "127.0.0.9:18099", "-h", folder]);
    let server = support::Running::start(&mut server);
    ship.write("index.html", "secret\n");
    let own = || Run::of(ship.there("busybox").args(["wget", "-qO-", "http://127.0.0.9:18099/"])).text();
    wait_until("served", || own() == "secret\n");
    // A container that may route what should stay at home.
    let script = "ip route del table local local 127.0.0.0/8 dev lo; set -- $(ip route show default) && \
                  ip route add 127.0.0.0/8 via $3 dev eth0 && ip route get 127.0.0.9 && \
                  printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 2 127.0.0.9 18099; echo $?";
    let arguments = ["run", "--rm", "--network", "bridge", "--cap-add", "NET_ADMIN"];
    let reach = ["--sysctl", "net.ipv4.conf.default.route_localnet=1", "bb:1", "sh", "-c", script];
    let said = ship.call(&[&arguments[..], &reach[..]].concat()).ok().text();
    assert!(said.contains("127.0.0.9 via"), "the packet left by the bridge: {said}");
    assert!(!said.contains("secret") && said.ends_with("1\n"), "{said}");
    drop(server);
    ship.is_clean();
}

#[test]
fn the_bridge_has_ipv6_ranges_and_udp() {
    let test = "run::bridge6";
    let Some(ship) = Ship::new(test) else { return };
    if !has(test, &[Need::Program("nft")]) {
        return;
    }
    let disabled = std::fs::read_to_string("/proc/sys/net/ipv6/conf/all/disable_ipv6").unwrap_or_default();
    let six = disabled.trim() == "0";
    let serve =
        "mkdir /www; hostname > /www/index.html; httpd -p 80 -h /www; httpd -p 81 -h /www; exec sleep 1000";
    let options = ["-p", "18090-18091:80-81", "-p", "18053:53/udp", "--add-host", "here:host-gateway"];
    let web = ship.detached(&options, serve);
    let get = |url: &str| Run::of(ship.there("busybox").args(["wget", "-qO-", url])).text();
    for port in [18090, 18091] {
        wait_until("served", || get(&format!("http://127.0.0.1:{port}/")) == format!("{web}\n"));
    }
    assert!(ship.rules().contains("udp dport 18053 dnat to"), "{}", ship.rules());
    let hosts = ship.call(&["exec", &web, "cat", "/etc/hosts"]).ok().text();
    assert!(hosts.lines().any(|line| line.starts_with("10.89.") && line.ends_with(".1\there")), "{hosts}");
    if !six {
        return skip(test, "the kernel has no IPv6");
    }
    let shown = ship.call(&["exec", &web, "sh", "-c", "ip -6 -o addr show eth0 scope global"]).ok().text();
    let address = shown.split_whitespace().find_map(|word| word.strip_suffix("/64")).expect("an address");
    assert!(address.starts_with("fd") && hosts.contains(&format!("{address}\t{web}")), "{shown}{hosts}");
    wait_until("served by IPv6", || get(&format!("http://[{address}]/")) == format!("{web}\n"));
    let other = ship.detached(&[], "exec sleep 1000");
    let from_other = ship.call(&["exec", &other, "wget", "-qO-", &format!("http://[{address}]/")]).ok();
    assert_eq!(from_other.text(), format!("{web}\n"));
    // A published port, by an address of the host's that is not its loopback.
    let added = Run::of(ship.there("ip").args(["-6", "addr", "add", "fd99::1/128", "dev", "lo"]));
    added.ok();
    wait_until("led in by IPv6", || get("http://[fd99::1]:18090/") == format!("{web}\n"));
    assert_eq!(ship.call(&["run", "--rm", "-p", "[::1]:1:1", "bb:1", "true"]).status, Some(2));
    ship.call(&["rm", "-f", &web, &other]).ok();
    ship.is_clean();
}

#[test]
fn a_host_network_is_the_hosts() {
    let Some(ship) = Ship::new("run::host") else { return };
    let inside =
        ship.call(&["run", "--rm", "--network", "host", "bb:1", "readlink", "/proc/self/ns/net"]).ok();
    let outside = Run::of(ship.there("readlink").arg("/proc/self/ns/net")).ok();
    assert_eq!(inside.text(), outside.text());
}

/// Killed at any moment, whatever is left goes with `rm -f`; what the network kept goes with the next run.
#[test]
fn a_killed_nabe_leaves_nothing_that_rm_does_not_remove() {
    let Some(ship) = Ship::new("run::killed") else { return };
    let network = if program("nft").is_some() { "bridge" } else { "none" };
    for milliseconds in [0, 5, 10, 15, 20, 25, 30, 40, 50, 70, 100, 200] {
        let name = ship.name();
        let mut child = ship.there(NABE);
        child.args(["run", "--name", &name, "--network", network, "bb:1", "sleep", "1000"]);
        let mut child =
            child.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it runs");
        std::thread::sleep(std::time::Duration::from_millis(milliseconds));
        child.kill().expect("killed");
        child.wait().expect("gone");
        ship.call(&["rm", "-f", &name]).ok();
        ship.is_clean();
    }
    // The container lives on without its attendant until somebody ends it; then `prune` finds what is left.
    let name = ship.name();
    let mut child = ship.there(NABE);
    child.args(["run", "--rm", "--name", &name, "--network", network, "bb:1", "sleep", "1000"]);
    let mut child = child.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("it runs");
    wait_until("running", || ship.call(&["state", &name]).text().contains("\"running\""));
    child.kill().expect("killed");
    child.wait().expect("gone");
    ship.call(&["prune"]).ok();
    assert!(ship.call(&["state", &name]).text().contains("\"running\""), "what lives is not pruned");
    ship.call(&["kill", &name, "KILL"]).ok();
    wait_until("stopped", || ship.call(&["state", &name]).text().contains("\"stopped\""));
    assert!(ship.call(&["prune"]).ok().text().contains(&name));
    ship.is_clean();
}

/// Killed at any moment, the attendant leaves nobody waiting, and nothing that `rm -f` does not remove.
#[test]
fn a_killed_attendant_leaves_nobody_waiting() {
    let Some(ship) = Ship::new("run::attendant") else { return };
    for milliseconds in [0, 3, 6, 9, 12, 15, 20, 25, 30, 40, 60] {
        let name = ship.name();
        let mut caller = ship.there(NABE);
        caller.args(["run", "-d", "--name", &name, "--network", "none", "bb:1", "sleep", "1000"]);
        let mut caller =
            caller.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it runs");
        std::thread::sleep(std::time::Duration::from_millis(milliseconds));
        let pid = caller.id();
        let children =
            std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        for child in children.split_whitespace() {
            // The caller has not waited for it, so the number is still its own.
            Run::of(command("kill").args(["-9", child]));
        }
        caller.wait().expect("it ends");
        ship.call(&["rm", "-f", &name]).ok();
        ship.is_clean();
    }
}

#[test]
fn a_bundle_is_still_a_bundle() {
    let Some(ship) = Ship::new("run::bundle") else { return };
    ship.call(&["unpack", "-q", "bb:1", "bundle"]).ok();
    let name = ship.name();
    let run = Run::of(ship.there(NABE).args(["run", "--bundle", "bundle", &name]).stdin(Stdio::null()));
    assert_eq!(run.status, Some(0), "{}", run.stderr);
}

/// A container of 50 ms is named from its first instruction on: by `trace`, by `detect`, and by `ps` whenever it
/// sees it; also one of a bundle whose state is where nobody looks.
#[test]
fn short_containers_have_names_at_once() {
    let test = "run::short";
    let Some(ship) = Ship::new(test) else { return };
    let live = Run::of(support::command(NABE).args(["trace", "-q", "-M", "0.05"]));
    if live.status != Some(0) {
        return skip(test, live.stderr.lines().next().unwrap_or("no live events"));
    }
    let name = ship.name();
    let short = ["run", "--rm", "--network", "none", "--name", &name, "bb:1", "sh", "-c", "sleep 0.05"];
    let image = "docker.io/library/bb";

    let format = "*%evt.type %proc.cmdline|%container.name|%container.image.repository";
    let traced = |filter: &str, command: &[&str]| {
        let mut arguments = vec!["trace", filter, "-p", format, "--", NABE];
        arguments.extend(command);
        ship.call(&arguments).ok().lines()
    };
    let filter = format!("container.name == \"{name}\"");
    let lines = traced(&filter, &short);
    let first = lines.first().map(String::as_str).unwrap_or_default();
    assert!(first.starts_with(&format!("execve sh -c sleep 0.05|{name}|")), "{lines:?}");
    assert!(lines.iter().all(|line| line.ends_with(&format!("|{name}|{image}"))), "{lines:?}");

    let rule = format!(
        "- rule: short\n  desc: a container\n  condition: evt.type = execve and container.name = \"{name}\"\n  output: \"%container.name %container.image.repository\"\n  priority: NOTICE\n"
    );
    let (rules, alerts) = (ship.write("rules.yaml", &rule), ship.directory.path().join("alerts"));
    let mut detect = ship.there(NABE);
    detect.args(["detect", "-r", &rules, "--json"]).stdin(Stdio::null()).stderr(Stdio::null());
    let mut detect =
        detect.stdout(std::fs::File::create(&alerts).expect("a file")).spawn().expect("detect runs");
    let said = || std::fs::read_to_string(&alerts).unwrap_or_default();
    wait_until("an alert", || {
        ship.call(&short).ok();
        said().contains('\n')
    });
    detect.kill().expect("killed");
    detect.wait().expect("gone");
    assert!(said().lines().all(|line| line.contains(&format!("Notice {name} {image}"))), "{}", said());

    // One that has just been started, by `ps`: whoever looks needs longer than 50 ms.
    let stays = ship.detached(&["--network", "none"], "exec sleep 1000");
    let seen = rows([format!("container.name == \"{stays}\"").as_str(), "-o", "container.image"]);
    assert!(
        !seen.is_empty() && seen.iter().all(|row| row["container.image"] == format!("{image}:1")),
        "{seen:?}"
    );

    // A bundle, its state elsewhere.
    ship.call(&["unpack", "-q", "bb:1", "bundle"]).ok();
    let path = ship.directory.path().join("bundle/config.json");
    let text = std::fs::read_to_string(&path).expect("a configuration");
    let mut config: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    config["process"]["args"] = serde_json::json!(["sleep", "0.05"]);
    std::fs::write(&path, config.to_string()).expect("written");
    let states = ship.directory.path().join("states").display().to_string();
    let other = ship.name();
    let bundled = ["--root", &states, "run", "--bundle", "bundle", &other];
    let lines = traced(&format!("container.name == \"{other}\""), &bundled);
    assert!(
        lines.first().is_some_and(|line| line.starts_with(&format!("execve sleep 0.05|{other}|"))),
        "{lines:?}"
    );
    config["process"]["args"] = serde_json::json!(["sleep", "1000"]);
    std::fs::write(&path, config.to_string()).expect("written");
    let mut run = ship.there(NABE);
    run.args(["--root", &states, "run", "-d", "--bundle", "bundle", &other]);
    let status = run.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    assert!(status.expect("it runs").success());
    let seen = rows([format!("container.name == \"{other}\"").as_str(), "-o", "container.runtime"]);
    ship.call(&["--root", &states, "delete", "--force", &other]).ok();
    assert!(seen.iter().any(|row| row["container.runtime"] == "nabe"), "{seen:?}");
}
