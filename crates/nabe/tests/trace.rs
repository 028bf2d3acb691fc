//! `nabe trace` on the live kernel: commands and their exit codes, counts, live beside replay.

mod support;

use std::process::Command;

use support::{NABE, Run, is_live, nabe};

#[test]
fn the_status_is_the_commands() {
    if !is_live("the_status_is_the_commands") {
        return;
    }
    for (command, status) in [
        (&["true"][..], 0),
        (&["sh", "-c", "exit 7"], 7),
        (&["sh", "-c", "kill -TERM $$"], 143),
        (&["/nonexistent/program"], 127),
        (&["/"], 126),
    ] {
        let run = nabe(["trace", "-q", "--"].into_iter().chain(command.iter().copied()));
        assert_eq!(run.status, Some(status), "{command:?}: {}", run.stderr);
    }
}

#[test]
fn a_command_is_seen_from_its_first_instruction_and_counted() {
    if !is_live("a_command_is_seen_from_its_first_instruction_and_counted") {
        return;
    }
    const FILES: usize = 23;
    let scratch = tempfile::tempdir().unwrap();
    let names: Vec<String> = (0..FILES)
        .map(|n| {
            let path = scratch.path().join(format!("f{n}"));
            std::fs::write(&path, b"").unwrap();
            path.to_str().unwrap().to_owned()
        })
        .collect();
    let filter =
        format!("evt.type = openat and evt.dir = < and fd.name startswith {}/f", scratch.path().display());
    let run = nabe(
        ["trace", "-p", "%fd.name", &filter, "--", "cat"].into_iter().chain(names.iter().map(String::as_str)),
    )
    .ok();
    let mut opened = run.lines();
    opened.sort();
    opened.dedup();
    assert_eq!((run.lines().len(), opened.len()), (FILES, FILES), "{}", run.text());
    let run = nabe(["trace", "-n", "1", "-p", "%evt.type %proc.name", "--", "cat", "/dev/null"]).ok();
    assert_eq!(run.text(), "execve cat\n");
    let run = nabe(["trace", "--style", "strace", "--", "cat", "/dev/null"]).ok();
    assert!(run.text().contains("] openat(AT_FDCWD, \"/dev/null\", O_RDONLY"), "{}", run.text());
    assert!(run.text().contains("+++ exited with 0 +++"), "{}", run.text());
}

/// The number behind `before` as the place at which it first came: ports and processes differ between
/// two runs.
fn numbered(line: &str, before: &str, known: &mut Vec<String>) -> String {
    let Some((head, rest)) = line.split_once(before) else { return line.to_owned() };
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (number, rest) = rest.split_at(digits);
    let at = known.iter().position(|known| known == number).unwrap_or_else(|| {
        known.push(number.to_owned());
        known.len() - 1
    });
    format!("{head}{before}#{at}{rest}")
}

/// Lines without what differs between two runs: processes, addresses, names behind descriptors, padding.
fn bare(text: &str, calls: &[&str]) -> Vec<String> {
    let mut lines = Vec::new();
    let (mut ports, mut numbers) = (Vec::new(), Vec::new());
    for line in text.lines() {
        let line = line.split_once("] ").filter(|_| line.starts_with("[pid ")).map_or(line, |(_, line)| line);
        if !calls.iter().any(|call| line.strip_prefix(call).is_some_and(|rest| rest.starts_with('('))) {
            continue;
        }
        let mut bare = String::new();
        let mut rest = line;
        while let Some(c) = rest.chars().next() {
            rest = &rest[c.len_utf8()..];
            match c {
                // The arrow of a connection's name is no end.
                '<' => {
                    let end = rest.match_indices('>').find(|(at, _)| !rest[..*at].ends_with('-'));
                    rest = end.map_or("", |(at, _)| &rest[at + 1..]);
                }
                ' ' if bare.ends_with(' ') => {}
                // Offsets in files are shorter than addresses.
                'x' if bare.ends_with('0') => {
                    let digits = rest.bytes().take_while(u8::is_ascii_hexdigit).count();
                    bare.push('x');
                    bare.push_str(if digits > 8 { "ADDRESS" } else { &rest[..digits] });
                    rest = &rest[digits..];
                }
                c => bare.push(c),
            }
        }
        // Lengths of addresses, and the descriptor that connections come from, are not in events.
        if let Some((before, after)) = bare.split_once("}, ").filter(|_| bare.contains("sa_family=")) {
            let (_, result) = after.rsplit_once(" = ").unwrap_or((after, ""));
            bare = format!("{before}}}, ...) = {result}");
        }
        if let Some((_, after)) = bare.split_once("(").filter(|_| bare.starts_with("accept")) {
            let after = after.split_once(", {").map_or("", |(_, after)| after);
            bare = format!("accept({{{after}");
        }
        bare = numbered(&bare, "htons(", &mut ports);
        bare = numbered(&bare, "kill(", &mut numbers);
        lines.push(bare);
    }
    lines
}

/// Sockets of each kind, in one process; a port that nobody listens at.
const NETWORK: &str = r#"
    socket(my $s, PF_INET, SOCK_STREAM, 6); bind($s, sockaddr_in(0, INADDR_LOOPBACK)); listen($s, 3);
    my ($port) = sockaddr_in(getsockname($s));
    socket(my $c, PF_INET, SOCK_STREAM, 6); connect($c, sockaddr_in($port, INADDR_LOOPBACK)); accept(my $a, $s);
    syswrite($c, "\x01\x027\x80 text"); sysread($a, my $b, 100); shutdown($c, 1); close($a); close($c);
    socket($c, PF_INET, SOCK_STREAM, 6); connect($c, sockaddr_in(1, INADDR_LOOPBACK));
    socket($c, PF_UNIX, SOCK_STREAM, 0); connect($c, sockaddr_un("/nonexistent"));
    kill 0, $$; kill "CONT", $$;
"#;

#[test]
fn lines_are_straces() {
    if !is_live("lines_are_straces") {
        return;
    }
    if support::program("strace").is_none() {
        return support::skip("lines_are_straces", "strace is not installed");
    }
    const CALLS: [&str; 14] = [
        "openat", "access", "close", "mmap", "munmap", "mprotect", "brk", "rmdir", "mkdir", "dup2", "read",
        "write", "pread64", "lseek",
    ];
    // What else an interpreter does, and when, is chance.
    const OF_SOCKETS: [&str; 9] =
        ["socket", "bind", "listen", "connect", "accept", "accept4", "write", "shutdown", "kill"];
    let scratch = tempfile::tempdir().unwrap();
    let made = scratch.path().join("made");
    let made = made.to_str().unwrap();
    for command in [
        &["cat", "/etc/hostname"][..],
        &["cat", "/nonexistent"],
        &["sh", "-c", "read line </etc/passwd; echo $line >/dev/null"],
        &["mkdir", made],
        &["rmdir", made],
        &["mkdir", made],
        // Of Debian's base system, with sockets.
        &["perl", "-MSocket", "-e", NETWORK],
    ] {
        if support::program(command[0]).is_none() {
            support::skip("lines_are_straces", &format!("{} is not installed", command[0]));
            continue;
        }
        let redo = || match command[0] {
            "rmdir" => std::fs::create_dir(made).unwrap(),
            "mkdir" => std::fs::remove_dir(made).unwrap(),
            _ => {}
        };
        let out = scratch.path().join("strace");
        let before = ["-o", out.to_str().unwrap()].into_iter();
        let status = support::command("strace").args(before.chain(command.iter().copied())).output().unwrap();
        if status.stderr.starts_with(b"strace: ") {
            return support::skip("lines_are_straces", "strace may not trace here");
        }
        redo();
        let own = nabe(["trace", "--style", "strace", "--"].into_iter().chain(command.iter().copied()));
        let calls = if command[0] == "perl" { &OF_SOCKETS[..] } else { &CALLS };
        let theirs = bare(&std::fs::read_to_string(&out).unwrap(), calls);
        assert!(theirs.len() > 5, "{command:?}");
        let own: Vec<String> = bare(&own.text(), calls);
        assert_eq!(own, theirs, "{command:?}");
    }
}

#[test]
fn live_is_replay() {
    if !is_live("live_is_replay") {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("l.scap");
    let file = file.to_str().unwrap();
    let format =
        "*%evt.rawtime %evt.cpu %proc.name %thread.tid %evt.dir %evt.type %evt.args %fd.name %user.uid";
    let live = nabe([
        "trace",
        "--all-state",
        "-w",
        file,
        "-p",
        format,
        "--",
        "sh",
        "-c",
        "ls / >/dev/null; cat /etc/hosts >/dev/null",
    ])
    .ok();
    let stored = nabe(["replay", file, "-p", format]).ok();
    let (live, stored) = (live.lines(), stored.lines());
    assert!(live.len() > 50, "{}", live.len());
    assert_eq!(live.len(), stored.len());
    for (live, stored) in live.iter().zip(&stored) {
        assert_eq!(live, stored);
    }
}

#[test]
fn the_end_tells_what_became_of_events() {
    if !is_live("the_end_tells_what_became_of_events") {
        return;
    }
    let run = nabe(["trace", "-q", "-M", "0.2"]).ok();
    let line = run.stderr.lines().find(|line| line.contains(" events seen, ")).expect("a summary").to_owned();
    let numbers: Vec<u64> =
        line.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse().ok()).collect();
    let [seen, delivered, filtered, lost, _] = numbers[..] else { panic!("{line}") };
    assert_eq!(seen, delivered + filtered + lost, "{line}");
}

#[test]
fn wrong_words_are_told() {
    for (arguments, status) in [
        (&["trace", "proc.nmae = 1"][..], 2),
        (&["trace", "-p", "%proc.nmae"], 2),
        (&["trace", "--follow"], 2),
        (&["trace", "--pid", "1", "--", "true"], 2),
        (&["record"], 2),
        (&["record", "-o", "/nonexistent/a.scap"], 1),
    ] {
        let run = Run::of(Command::new(NABE).args(arguments));
        assert_eq!(run.status, Some(status), "{arguments:?}: {}", run.stderr);
    }
}

/// Processes in seeming containers of docker, by their cgroups and its files.
struct Seeming {
    children: Vec<std::process::Child>,
    folders: Vec<std::path::PathBuf>,
    engine: tempfile::TempDir,
}

impl Seeming {
    /// A busy process in each; `None` where there is no place for their cgroups.
    fn start(names: &[&str]) -> Option<Self> {
        let roots = ["/sys/fs/cgroup/memory", "/sys/fs/cgroup"].map(std::path::Path::new);
        let root = roots.into_iter().find(|root| root.join("cgroup.procs").exists())?;
        let mut out =
            Self { children: Vec::new(), folders: Vec::new(), engine: tempfile::tempdir().unwrap() };
        let mut folder = root.to_owned();
        for part in [&format!("nabe-test-trace-{}", std::process::id()), "docker"] {
            folder.push(part);
            std::fs::create_dir(&folder).ok()?;
            out.folders.push(folder.clone());
        }
        for (name, digit) in names.iter().zip(["a", "b", "c"]) {
            let id = digit.repeat(64);
            let place = folder.join(&id);
            std::fs::create_dir(&place).ok()?;
            out.folders.push(place.clone());
            let busy = "while :; do : < /dev/null; done";
            let child = Command::new("sh").args(["-c", busy]).spawn().unwrap();
            let pid = child.id();
            out.children.push(child);
            std::fs::write(place.join("cgroup.procs"), pid.to_string()).ok()?;
            let home = out.engine.path().join("containers").join(&id);
            std::fs::create_dir_all(&home).unwrap();
            let text = format!(
                r#"{{"ID":"{id}","Name":"/{name}","State":{{"Running":true,"Pid":{pid}}},"Config":{{"Image":"{name}:1","Labels":{{}}}}}}"#
            );
            std::fs::write(home.join("config.v2.json"), text).unwrap();
        }
        Some(out)
    }
}

impl Drop for Seeming {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
        // A process that has ended leaves its cgroup a little later.
        for folder in self.folders.iter().rev() {
            for _ in 0..100 {
                if std::fs::remove_dir(folder).is_ok() {
                    break;
                }
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
        }
    }
}

#[test]
fn other_containers_are_left_out_in_the_kernel() {
    let test = "other_containers_are_left_out_in_the_kernel";
    if !is_live(test) {
        return;
    }
    let Some(seeming) = Seeming::start(&["web", "shop"]) else {
        eprintln!("SKIP {test}: no cgroups can be made here");
        return;
    };
    let mut command = support::nabe_command(["trace", "-M", "3", "-p", "%container.name %proc.pid"]);
    command.args(["--container", "web", "evt.type = openat"]);
    command.env("NABE_ENGINE_ROOTS", format!("docker={}", seeming.engine.path().display()));
    let run = Run::of(&mut command).ok();
    let mut lines = run.lines();
    lines.sort_unstable();
    lines.dedup();
    assert_eq!(lines, [format!("web {}", seeming.children[0].id())], "{}", run.stderr);
    let numbers: Vec<u64> =
        run.stderr.split_ascii_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [seen, delivered, filtered, lost, ..] = numbers[..] else { panic!("{}", run.stderr) };
    assert_eq!(seen, delivered + filtered + lost);
    assert!(filtered > 100, "{}", run.stderr);
}

#[test]
fn plans_tell_the_options_that_the_kernel_decides() {
    let run = nabe(["trace", "--explain", "--pid", "7", "--follow", "--container", "web"]).ok();
    assert!(
        run.text()
            .contains("containers by their cgroups: container.id == \"web\" || container.name == \"web\""),
        "{}",
        run.text()
    );
    assert!(run.text().contains("pid 7 and children; of other processes"), "{}", run.text());
}
