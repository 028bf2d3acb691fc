//! The OCI runtime: each case on Debian's runc first, so that the case itself is known to be right, then
//! on nabe; then what is nabe's own.

mod support;

use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};
use support::bundle::{Stage, remains, wait_until};
use support::engines::Engines;
use support::{NABE, Need, Run, command, has, nabe_command, program, skip};

/// Runs a case on each runtime.
fn each(test: &str, script: &str, case: impl Fn(&mut Stage)) {
    if !has(test, &[Need::Root]) {
        return;
    }
    for runtime in ["runc", "nabe"] {
        if runtime == "runc" && program("runc").is_none() {
            eprintln!("SKIP {test}: runc is not installed, so only nabe ran the case");
            continue;
        }
        let Some(mut stage) = Stage::new(test, runtime, script) else { return };
        eprintln!("{test} on {runtime}");
        case(&mut stage);
    }
}

const FOREVER: &str = "trap 'exit 5' TERM; while :; do sleep 0.05; done";

#[test]
fn lifecycle() {
    each("runtime::lifecycle", FOREVER, |stage| {
        stage.write();
        let id = stage.id();
        let pid_file = stage.path().join("pid");
        stage.call_apart(&["create", "--pid-file", "pid", &id]).ok();
        assert_eq!(stage.status(&id), "created");
        let pid = stage.state(&id)["pid"].as_i64();
        assert_eq!(std::fs::read_to_string(&pid_file).ok().and_then(|text| text.parse().ok()), pid);
        assert_ne!(stage.call_apart(&["create", &id]).status, Some(0), "the id is taken");
        stage.call(&["start", &id]).ok();
        assert_eq!(stage.status(&id), "running");
        assert_ne!(stage.call(&["start", &id]).status, Some(0), "started twice");
        assert_ne!(stage.call(&["delete", &id]).status, Some(0), "it runs");
        let listed = stage.call(&["list", "--format", "json"]).ok().json();
        assert_eq!(listed[0]["id"], id.as_str());
        stage.call(&["pause", &id]).ok();
        assert_eq!(stage.status(&id), "paused");
        stage.call(&["resume", &id]).ok();
        stage.call(&["kill", &id, "TERM"]).ok();
        stage.await_status(&id, "stopped");
        assert_ne!(stage.call(&["kill", &id]).status, Some(0), "it is stopped");
        stage.call(&["delete", &id]).ok();
        assert_ne!(stage.call(&["state", &id]).status, Some(0));
        stage.call(&["delete", "--force", &id]).ok();
        assert_eq!(remains(&id), Vec::<std::path::PathBuf>::new());
    });
}

/// Five sets as the payload sees them, and nothing more.
#[test]
fn capabilities_are_exactly_those_of_the_configuration() {
    const KILL: u64 = 1 << 5;
    const BIND: u64 = 1 << 10;
    const CHOWN: u64 = 1;
    let read = |text: &str, name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).expect(name);
        u64::from_str_radix(line.trim_start_matches(':').trim(), 16).expect("hexadecimal")
    };
    each("runtime::capabilities", "grep -E '^(Cap|NoNew)' /proc/self/status", |stage| {
        let cases = [
            (json!({}), [0; 5]),
            (json!({"bounding": ["CAP_KILL"]}), [0, 0, 0, KILL, 0]),
            (
                json!({"bounding": ["CAP_KILL", "CAP_CHOWN"], "effective": ["CAP_KILL"], "permitted": ["CAP_KILL", "CAP_CHOWN"]}),
                // Root's exec makes the whole bounding set effective and permitted.
                [0, KILL | CHOWN, KILL | CHOWN, KILL | CHOWN, 0],
            ),
            (
                json!({"bounding": ["CAP_KILL"], "effective": ["CAP_KILL"], "permitted": ["CAP_KILL"],
                    "inheritable": ["CAP_KILL"], "ambient": ["CAP_KILL"]}),
                [KILL, KILL, KILL, KILL, KILL],
            ),
        ];
        for (sets, expected) in cases {
            stage.config["process"]["capabilities"] = sets.clone();
            let text = stage.run().ok().text();
            let names = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];
            assert_eq!(names.map(|name| read(&text, name)), expected, "{sets}");
            assert!(text.contains("NoNewPrivs:\t1"), "{text}");
        }
        // An ordinary user keeps what is ambient, and nothing else.
        stage.config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
        let both = json!(["CAP_KILL", "CAP_NET_BIND_SERVICE"]);
        stage.config["process"]["capabilities"] = json!({"bounding": both, "effective": both, "permitted": both,
            "inheritable": ["CAP_KILL"], "ambient": ["CAP_KILL"]});
        let text = stage.run().ok().text();
        assert_eq!(
            ["CapPrm", "CapEff", "CapBnd"].map(|name| read(&text, name)),
            [KILL, KILL, KILL | BIND],
            "{text}"
        );
    });
}

#[test]
fn exit_codes_and_output() {
    each("runtime::exit", "", |stage| {
        for (script, code) in [("exit 7", 7), ("kill -9 $$", 137), ("true", 0)] {
            // Pid 1 cannot kill itself: let a child do it.
            stage.config["process"]["args"] = json!(["sh", "-c", format!("sh -c '{script}'; exit $?")]);
            assert_eq!(stage.run().status, Some(code), "{script}");
        }
        stage.config["process"]["args"] = json!(["sh", "-c", "echo out; echo err >&2"]);
        let run = stage.run().ok();
        assert_eq!((run.text().as_str(), run.stderr.as_str()), ("out\n", "err\n"));
        for args in [json!(["/no/such"]), json!(["nosuch"]), json!(["/bin"])] {
            stage.config["process"]["args"] = args;
            assert_ne!(stage.run().status, Some(0));
        }
    });
}

#[test]
fn file_system() {
    let script = "mount; test -c /dev/null && test -L /dev/fd && echo nodes; cat /proc/keys | grep -c . ; \
                  (echo x >/proc/sys/kernel/hostname) 2>/dev/null || echo protected; cat /given/file; \
                  (echo x >/given/file) 2>/dev/null || echo ro; touch /x 2>/dev/null || echo sealed; ls /up; hostname";
    each("runtime::file_system", script, |stage| {
        let given = stage.path().join("given");
        std::fs::create_dir(&given).expect("a directory");
        std::fs::write(given.join("file"), "inside\n").expect("a file");
        stage.config["root"]["readonly"] = json!(true);
        let mounts = stage.config["mounts"].as_array_mut().expect("mounts");
        mounts.push(json!({"destination": "/given", "type": "bind", "source": given, "options": ["rbind", "ro", "nosuid"]}));
        mounts.push(json!({"destination": "/up", "type": "tmpfs", "source": "tmpfs", "options": ["size=64k", "noexec"]}));
        std::fs::create_dir(stage.path().join("rootfs/up")).expect("a directory");
        let text = stage.run().ok().text();
        for line in ["nodes", "0", "protected", "inside", "ro", "sealed"] {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
        assert!(text.ends_with("inside\n"), "the host name: {text}");
        let mount =
            |place: &str| text.lines().find(|line| line.contains(&format!(" on {place} "))).expect(place);
        assert!(mount("/given").contains("ro,nosuid"), "{text}");
        assert!(mount("/up").contains("noexec") && mount("/up").contains("size=64k"), "{text}");
        assert!(mount("/proc/sys").contains("(ro"), "{text}");
    });
}

#[test]
fn a_link_of_the_image_leads_nowhere() {
    each("runtime::links", "ls /made", |stage| {
        let outside = stage.path().join("outside");
        std::fs::create_dir(&outside).expect("a directory");
        let rootfs = stage.path().join("rootfs");
        std::os::unix::fs::symlink("../../../../../../../../made", rootfs.join("link")).expect("a link");
        let mounts = stage.config["mounts"].as_array_mut().expect("mounts");
        mounts.push(json!({"destination": "/link/below", "type": "tmpfs", "source": "tmpfs"}));
        let text = stage.run().ok().text();
        assert_eq!(text, "below\n");
        assert!(!Path::new("/made").exists());
    });
    // A link in the place of /proc is refused.
    each("runtime::links", "true", |stage| {
        std::fs::remove_dir(stage.path().join("rootfs/proc")).expect("removed");
        std::fs::create_dir(stage.path().join("rootfs/elsewhere")).expect("a directory");
        std::os::unix::fs::symlink("/elsewhere", stage.path().join("rootfs/proc")).expect("a link");
        assert_ne!(stage.run().status, Some(0));
    });
}

#[test]
fn seccomp() {
    each(
        "runtime::seccomp",
        "mkdir /tmp/a 2>/dev/null || echo refused; grep ^Seccomp: /proc/self/status",
        |stage| {
            stage.config["linux"]["seccomp"] = json!({
                "defaultAction": "SCMP_ACT_ALLOW",
                "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_AARCH64"],
                "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}],
            });
            for no_new_privileges in [true, false] {
                stage.config["process"]["noNewPrivileges"] = json!(no_new_privileges);
                assert_eq!(stage.run().ok().text(), "refused\nSeccomp:\t2\n");
            }
            // By argument: kill(2) with signal 0 only.
            stage.config["process"]["args"] =
                json!(["sh", "-c", "kill -0 1 && echo zero; kill -CONT 1 2>/dev/null || echo refused"]);
            stage.config["linux"]["seccomp"]["syscalls"] = json!([
            {"names": ["kill"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 1, "value": 0, "op": "SCMP_CMP_NE"}]}]);
            assert_eq!(stage.run().ok().text(), "zero\nrefused\n");
        },
    );
}

#[test]
fn hooks_run_in_their_order() {
    each("runtime::hooks", "cat /inside", |stage| {
        let log = stage.path().join("log");
        let hook = |kind: &str| {
            let script = format!("read -r state; echo \"{kind} $state\" >>{}", log.display());
            json!([{"path": "/bin/sh", "args": ["sh", "-c", script]}])
        };
        let mut hooks = json!({});
        for kind in ["prestart", "createRuntime", "createContainer", "poststart", "poststop"] {
            hooks[kind] = hook(kind);
        }
        hooks["startContainer"] =
            json!([{"path": "/bin/sh", "args": ["sh", "-c", "cat >/inside"], "env": ["PATH=/bin"]}]);
        stage.config["hooks"] = hooks;
        let inside: Value = serde_json::from_str(stage.run().ok().text().trim()).expect("a state");
        assert_eq!(inside["status"], "created");
        let log = std::fs::read_to_string(&log).expect("the log");
        let lines: Vec<(&str, Value)> = log
            .lines()
            .map(|line| line.split_once(' ').expect("a kind"))
            .map(|(kind, state)| (kind, serde_json::from_str(state).expect("a state")))
            .collect();
        // runc 1.1 looks before the program has taken over.
        let started = if stage.runtime == "runc" { "created" } else { "running" };
        let seen: Vec<(&str, &str)> =
            lines.iter().map(|(kind, state)| (*kind, state["status"].as_str().unwrap_or(""))).collect();
        let expected = [
            ("prestart", "creating"),
            ("createRuntime", "creating"),
            ("createContainer", "creating"),
            ("poststart", started),
            ("poststop", "stopped"),
        ];
        assert_eq!(seen, expected);
        assert!(
            lines.iter().take(4).all(|(_, state)| state["pid"] == inside["pid"] || stage.runtime == "runc"),
            "{lines:?}"
        );

        stage.config["hooks"] = json!({"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", "cat >/dev/null; echo no >&2; exit 1"]}]});
        let run = stage.run();
        assert_ne!(run.status, Some(0));
        assert!(run.stderr.contains("no"), "{}", run.stderr);
    });
}

#[test]
fn limits_are_in_the_cgroups() {
    each("runtime::cgroups", FOREVER, |stage| {
        let at = format!("/nabe-test-{}-limits/{}", std::process::id(), stage.runtime);
        stage.config["linux"]["cgroupsPath"] = json!(at);
        let devices = stage.config["linux"]["resources"]["devices"].clone();
        stage.config["linux"]["resources"] = json!({"devices": devices, "pids": {"limit": 23},
            "memory": {"limit": 67_108_864, "swap": 67_108_864}, "cpu": {"shares": 512, "quota": 20000, "period": 100_000}});
        let read = |controller: &str, file: &str| {
            let v1 = format!("/sys/fs/cgroup/{controller}{at}/{file}");
            std::fs::read_to_string(v1).map(|text| text.trim().to_owned()).ok()
        };
        if !Path::new("/sys/fs/cgroup/pids").is_dir() {
            return unified_limits(stage, &at);
        }
        let id = stage.detached();
        let value = |controller: &str, file: &str| read(controller, file).unwrap_or_default();
        assert_eq!(value("pids", "pids.max"), "23");
        assert_eq!(value("memory", "memory.limit_in_bytes"), "67108864");
        assert_eq!(
            (value("cpu", "cpu.shares"), value("cpu", "cpu.cfs_quota_us")),
            ("512".into(), "20000".into())
        );
        let devices = value("devices", "devices.list");
        assert!(devices.contains("c 1:3 rwm") && !devices.contains("a *:*"), "{devices}");
        stage
            .call(&[
                "update",
                "--pids-limit",
                "29",
                "--memory",
                "134217728",
                "--memory-swap",
                "134217728",
                &id,
            ])
            .ok();
        assert_eq!(
            (value("pids", "pids.max"), value("memory", "memory.limit_in_bytes")),
            ("29".into(), "134217728".into())
        );
        let stats = stage.call(&["events", "--stats", &id]).ok().json();
        assert_eq!((&stats["type"], &stats["data"]["pids"]["limit"]), (&json!("stats"), &json!(29)));
        assert!(stats["data"]["cpu"]["usage"]["total"].as_u64().is_some_and(|total| total > 0), "{stats}");
        stage.call(&["delete", "--force", &id]).ok();
        assert_eq!(read("pids", "pids.max"), None, "the cgroup is gone");
        for top in std::fs::read_dir("/sys/fs/cgroup").expect("hierarchies").flatten() {
            std::fs::remove_dir(top.path().join(format!("nabe-test-{}-limits", std::process::id()))).ok();
        }
    });
}

/// The same where there is nothing but cgroup v2.
fn unified_limits(stage: &mut Stage, at: &str) {
    let directory = format!("/sys/fs/cgroup{at}");
    if !Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        return skip("runtime::cgroups", "no cgroup hierarchy here");
    }
    let read = |file: &str| {
        std::fs::read_to_string(format!("{directory}/{file}")).unwrap_or_default().trim().to_owned()
    };
    let id = stage.detached();
    let files = ["pids.max", "memory.max", "memory.swap.max", "cpu.max"];
    assert_eq!(files.map(read), ["23", "67108864", "0", "20000 100000"]);
    // Shares to weights: runc 1.1 on a straight line, later ones and nabe so that defaults meet.
    assert_eq!(read("cpu.weight"), if stage.runtime == "runc" { "20" } else { "59" });
    let update = ["update", "--pids-limit", "29", "--memory", "134217728", "--memory-swap", "134217728"];
    stage.call(&[&update[..], &[&id]].concat()).ok();
    assert_eq!((read("pids.max"), read("memory.max")), ("29".into(), "134217728".into()));
    let stats = stage.call(&["events", "--stats", &id]).ok().json();
    assert_eq!((&stats["type"], &stats["data"]["pids"]["limit"]), (&json!("stats"), &json!(29)));
    stage.call(&["pause", &id]).ok();
    assert_eq!((stage.status(&id), read("cgroup.freeze")), ("paused".into(), "1".into()));
    stage.call(&["delete", "--force", &id]).ok();
    assert!(!Path::new(&directory).exists(), "the cgroup is gone");
    std::fs::remove_dir(format!("/sys/fs/cgroup/nabe-test-{}-limits", std::process::id())).ok();
}

#[test]
fn user_namespaces_map_ids() {
    each(
        "runtime::userns",
        "id -u; cat /proc/self/uid_map; touch /tmp/mine && stat -c %u /tmp/mine",
        |stage| {
            let map = json!([{"containerID": 0, "hostID": 100_000, "size": 1000}]);
            stage.config["linux"]["uidMappings"] = map.clone();
            stage.config["linux"]["gidMappings"] = map;
            let namespaces = stage.config["linux"]["namespaces"].as_array_mut().expect("namespaces");
            namespaces.push(json!({"type": "user"}));
            let rootfs = stage.path().join("rootfs");
            Run::of(command("chown").arg("-R").arg("100000:100000").arg(&rootfs)).ok();
            let text = stage.run().ok().text();
            let words: Vec<&str> = text.split_whitespace().collect();
            assert_eq!(words, ["0", "0", "100000", "1000", "0"]);
            use std::os::unix::fs::MetadataExt as _;
            assert_eq!(rootfs.join("tmp/mine").metadata().expect("the file").uid(), 100_000);
        },
    );
}

#[test]
fn exec_joins() {
    each("runtime::exec", FOREVER, |stage| {
        let id = stage.detached();
        let cgroups = |text: String| text.lines().filter(|line| line.contains(&id)).count();
        assert!(cgroups(stage.call(&["exec", &id, "cat", "/proc/self/cgroup"]).ok().text()) > 0);
        assert_eq!(stage.call(&["exec", &id, "sh", "-c", "exit 9"]).status, Some(9));
        let run = stage.call(&[
            "exec",
            "-e",
            "A=b",
            "--cwd",
            "/tmp",
            "-u",
            "1000:1001",
            &id,
            "sh",
            "-c",
            "id -u; id -g; pwd; echo $A",
        ]);
        assert_eq!(run.ok().text(), "1000\n1001\n/tmp\nb\n");
        let capabilities = stage.call(&["exec", &id, "grep", "CapBnd", "/proc/self/status"]).ok().text();
        assert_eq!(capabilities, "CapBnd:\t0000000000000420\n");
        let capabilities = stage
            .call(&["exec", "--cap", "CAP_CHOWN", &id, "grep", "CapEff", "/proc/self/status"])
            .ok()
            .text();
        assert_eq!(capabilities, "CapEff:\t0000000000000421\n");
        std::fs::write(
            stage.path().join("process.json"),
            json!({"args": ["sh", "-c", "echo from a file"], "cwd": "/", "env": ["PATH=/bin"]}).to_string(),
        )
        .expect("process.json");
        assert_eq!(stage.call(&["exec", "--process", "process.json", &id]).ok().text(), "from a file\n");
        stage.call_apart(&["exec", "-d", "--pid-file", "exec.pid", &id, "sleep", "1000"]).ok();
        let pid = std::fs::read_to_string(stage.path().join("exec.pid")).expect("a pid");
        let mut ps = stage.call(&["ps", "--format", "json", &id]).ok().json().to_string();
        ps.retain(|c| c.is_ascii_digit() || c == ',');
        assert!(ps.split(',').any(|found| found == pid), "{pid} in {ps}");
        assert_ne!(stage.call(&["exec", &id, "nosuch"]).status, Some(0));
        stage.call(&["kill", &id, "KILL"]).ok();
        stage.await_status(&id, "stopped");
        assert_ne!(stage.call(&["exec", &id, "true"]).status, Some(0));
    });
}

/// What the conformance suites have shown: each case as runc has it.
#[test]
fn environment_and_mounts_as_runc_has_them() {
    each("runtime::suite", "", |stage| {
        let args = |script: &str| json!(["sh", "-c", script]);
        // Without a mode, a tmpfs takes that of the directory which it hides.
        stage.config["process"]["args"] = args("stat -c %a /tmp");
        stage.config["mounts"].as_array_mut().expect("mounts").push(json!({
            "destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid"]}));
        use std::os::unix::fs::PermissionsExt as _;
        let hidden = stage.path().join("rootfs/tmp");
        std::fs::set_permissions(&hidden, std::fs::Permissions::from_mode(0o1750)).expect("a mode");
        assert_eq!(stage.run().ok().text(), "1750\n");
        // /dev is made read-only once it is filled.
        stage.config["mounts"][1]["options"] = json!(["nosuid", "mode=755", "ro"]);
        stage.config["process"]["args"] =
            args("grep ' /dev tmpfs ro' /proc/mounts | grep -c .; touch /dev/x; true");
        assert_eq!(stage.run().ok().text(), "1\n");
        // A working directory that is not there is made.
        stage.config["process"]["cwd"] = json!("/made/here");
        stage.config["process"]["args"] = args("pwd");
        assert_eq!(stage.run().ok().text(), "/made/here\n");
        // An empty home is none.
        stage.config["process"]["env"] = json!(["PATH=/bin", "HOME="]);
        stage.config["process"]["args"] = args("echo $HOME");
        assert_eq!(stage.run().ok().text(), "/\n");
    });
}

#[test]
fn capabilities_in_effect_find_the_program() {
    each("runtime::suite_exec", "", |stage| {
        use std::os::unix::fs::PermissionsExt as _;
        let file = stage.path().join("rootfs/bin/busybox");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o700)).expect("a mode");
        stage.config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
        stage.config["process"]["args"] = json!(["echo", "ran"]);
        assert_ne!(stage.run().status, Some(0), "it may not be executed");
        let all = json!(["CAP_DAC_OVERRIDE"]);
        stage.config["process"]["capabilities"] = json!({"bounding": all, "effective": all, "permitted": all,
            "inheritable": all, "ambient": all});
        assert_eq!(stage.run().ok().text(), "ran\n");
    });
}

/// A frozen cgroup lets nobody run: to wait for it would be to hang.
#[test]
fn a_frozen_cgroup_is_refused() {
    const TEST: &str = "runtime::frozen";
    each(TEST, "true", |stage| {
        let at = format!("/nabe-test-{}-frozen/{}", std::process::id(), stage.runtime);
        let (directory, file, word) = match Path::new("/sys/fs/cgroup/freezer").is_dir() {
            true => (format!("/sys/fs/cgroup/freezer{at}"), "freezer.state", ["FROZEN", "THAWED"]),
            false => (format!("/sys/fs/cgroup{at}"), "cgroup.freeze", ["1", "0"]),
        };
        let directory = Path::new(&directory);
        if let Err(error) = std::fs::create_dir_all(directory) {
            return skip(TEST, &format!("no cgroup can be made: {error}"));
        }
        std::fs::write(directory.join(file), word[0]).expect("frozen");
        stage.config["linux"]["cgroupsPath"] = json!(at);
        let run = stage.run();
        std::fs::write(directory.join(file), word[1]).expect("thawed");
        std::fs::remove_dir(directory).ok();
        std::fs::remove_dir(directory.parent().expect("a parent")).ok();
        assert_ne!(run.status, Some(0));
        assert!(run.stderr.contains("unexpectedly frozen"), "{}", run.stderr);
    });
}

/// Hooks that do not read what they are told end nobody (SIGPIPE once did), and those inside the container
/// have its environment and no more than its system calls.
#[test]
fn hooks_inside_are_confined() {
    each("runtime::hooks_inside", "cat /told", |stage| {
        let hook = |script: &str| json!([{"path": "/bin/sh", "args": ["sh", "-c", script]}]);
        stage.config["process"]["env"] = json!(["PATH=/bin", "GIVEN=word"]);
        stage.config["annotations"] = json!({"long": "x".repeat(100_000)});
        stage.config["hooks"] = json!({"createRuntime": [{"path": "/bin/true"}, {"path": "/bin/true"}],
            "startContainer": hook("echo $GIVEN >/told")});
        assert_eq!(stage.run().ok().text(), "word\n");
        if stage.runtime == "nabe" {
            stage.config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}]});
            stage.config["hooks"]["startContainer"] = hook("mkdir /tmp/made 2>/dev/null || echo no >/told");
            assert_eq!(stage.run().ok().text(), "no\n");
        }
    });
}

/// runc 1.1 knows no time namespaces.
#[test]
fn every_namespace_can_be_joined() {
    const TEST: &str = "runtime::join_all";
    let Some(mut stage) = nabe_only(TEST, FOREVER) else { return };
    if !Path::new("/proc/self/ns/time").exists() {
        return skip(TEST, "this kernel has no time namespaces");
    }
    let map = json!([{"containerID": 0, "hostID": 100_000, "size": 1000}]);
    stage.config["linux"]["uidMappings"] = map.clone();
    stage.config["linux"]["gidMappings"] = map;
    stage.config["linux"]["timeOffsets"] = json!({"monotonic": {"secs": 7919, "nanosecs": 17}});
    let namespaces = stage.config["linux"]["namespaces"].as_array_mut().expect("namespaces");
    namespaces.extend([json!({"type": "user"}), json!({"type": "time"})]);
    let rootfs = stage.path().join("rootfs");
    Run::of(command("chown").arg("-R").arg("100000:100000").arg(&rootfs)).ok();
    let first = stage.detached();
    let offsets = ["cat", "/proc/self/timens_offsets"];
    let text = stage.call(&["exec", &first, offsets[0], offsets[1]]).ok().text();
    assert!(text.split_whitespace().any(|word| word == "7919"), "{text}");
    let pid = stage.state(&first)["pid"].as_i64().expect("a pid");
    let linux = &mut stage.config["linux"];
    for (key, value) in
        [("uidMappings", Value::Null), ("gidMappings", Value::Null), ("timeOffsets", Value::Null)]
    {
        linux[key] = value;
    }
    for namespace in linux["namespaces"].as_array_mut().expect("namespaces") {
        let file = match namespace["type"].as_str() {
            Some("mount") | None => continue,
            Some("network") => "net".to_owned(),
            Some(other) => other.to_owned(),
        };
        namespace["path"] = json!(format!("/proc/{pid}/ns/{file}"));
    }
    stage.config["process"]["args"] = json!(["cat", "/proc/self/uid_map", "/proc/self/timens_offsets"]);
    let text = stage.run().ok().text();
    let words: Vec<&str> = text.split_whitespace().collect();
    assert_eq!(words.get(..3), Some(&["0", "100000", "1000"][..]), "{text}");
    assert!(words.contains(&"7919"), "{text}");
}

#[test]
fn processors_are_the_cgroups_and_not_the_callers() {
    const TEST: &str = "runtime::affinity";
    let Some(mut stage) = nabe_only(TEST, "grep Cpus_allowed_list /proc/self/status") else { return };
    let own = std::fs::read_to_string("/proc/self/status").expect("our status");
    let list = own.lines().find(|line| line.starts_with("Cpus_allowed_list")).expect("a line").to_owned();
    if program("taskset").is_none() || list.ends_with(":\t0") {
        return skip(TEST, "needs taskset and two processors");
    }
    stage.write();
    let id = stage.id();
    let mut bound = command("taskset");
    bound.args(["-c", "0", NABE, "--root"]).arg(stage.root()).args(["run", &id]).current_dir(stage.path());
    assert_eq!(Run::of(&mut bound).ok().text().trim_end(), list);
    stage.config["process"]["args"] = json!(["sleep", "1000"]);
    let id = stage.detached();
    let process = json!({"args": ["grep", "Cpus_allowed_list", "/proc/self/status"], "cwd": "/",
        "env": ["PATH=/bin"], "execCPUAffinity": {"initial": "0", "final": "0"}});
    std::fs::write(stage.path().join("process.json"), process.to_string()).expect("process.json");
    let text = stage.call(&["exec", "--process", "process.json", &id]).ok().text();
    assert_eq!(text, "Cpus_allowed_list:\t0\n");
    std::fs::write(stage.path().join("process.json"), process.to_string().replace("\"0\"", "\"9-1\""))
        .expect("written");
    let run = stage.call(&["exec", "--process", "process.json", &id]);
    assert!(run.stderr.contains("process.execCPUAffinity.initial"), "{}", run.stderr);
}

/// A process that outlived the first one in the host's pid namespace is still reached (runc 1.1 does not).
#[test]
fn kill_reaches_those_who_are_left() {
    let script = "sleep 1000 & exec sleep 1000";
    let Some(mut stage) = nabe_only("runtime::outlived", script) else { return };
    let namespaces = stage.config["linux"]["namespaces"].as_array_mut().expect("namespaces");
    namespaces.retain(|namespace| namespace["type"] != "pid");
    let id = stage.detached();
    let processes = || stage.call(&["ps", "--format", "json", &id]).ok().json();
    wait_until("two processes", || processes().as_array().is_some_and(|pids| pids.len() == 2));
    let pid = i32::try_from(stage.state(&id)["pid"].as_i64().expect("a pid")).expect("a pid");
    let pid = rustix::process::Pid::from_raw(pid).expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("sent");
    stage.await_status(&id, "stopped");
    stage.call(&["kill", &id, "KILL"]).ok();
    wait_until("nobody", || processes().as_array().is_some_and(Vec::is_empty));
    let run = stage.call(&["kill", &id, "KILL"]);
    assert_ne!(run.status, Some(0));
    assert!(run.stderr.contains("container not running"), "containerd looks for it: {}", run.stderr);
}

/// The first process of a pid namespace hears of no signal that it does not ask for; runc's does.
#[test]
fn signals_end_what_is_not_started() {
    each("runtime::signal_created", "true", |stage| {
        stage.write();
        let id = stage.id();
        stage.call_apart(&["create", &id]).ok();
        stage.call(&["kill", &id, "TERM"]).ok();
        stage.await_status(&id, "stopped");
        stage.call(&["delete", &id]).ok();
    });
}

/// cgroup v2 lets nobody into a cgroup that hands controllers on: `exec` goes where the first process is.
#[test]
fn exec_follows_into_a_nested_cgroup() {
    const TEST: &str = "runtime::nested_cgroup";
    let Some(mut stage) = nabe_only(TEST, "exec sleep 1000") else { return };
    if !Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        return skip(TEST, "cgroup v2 is not all that there is here");
    }
    let namespaces = stage.config["linux"]["namespaces"].as_array_mut().expect("namespaces");
    namespaces.push(json!({"type": "cgroup"}));
    stage.config["mounts"].as_array_mut().expect("mounts").push(json!({
        "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["nosuid", "noexec", "nodev"]}));
    let id = stage.detached();
    let script = "cd /sys/fs/cgroup && mkdir below && echo 1 >below/cgroup.procs && \
        echo $$ >below/cgroup.procs && echo +pids >cgroup.subtree_control";
    stage.call(&["exec", &id, "sh", "-c", script]).ok();
    let text = stage.call(&["exec", &id, "cat", "/proc/self/cgroup"]).ok().text();
    assert_eq!(text, "0::/below\n");
}

#[test]
fn mounts_may_be_shared() {
    each("runtime::shared", "grep ' /given ' /proc/self/mountinfo", |stage| {
        let given = stage.path().join("given");
        std::fs::create_dir(&given).expect("a directory");
        let mounts = stage.config["mounts"].as_array_mut().expect("mounts");
        mounts.push(
            json!({"destination": "/given", "type": "bind", "source": given, "options": ["bind", "shared"]}),
        );
        let text = stage.run().ok().text();
        assert!(text.contains(" shared:"), "{text}");
    });
}

/// The v1 controller's files, or a BPF program on v2: what was not allowed is denied.
#[test]
fn devices_that_are_not_allowed_are_denied() {
    let script = "head -c 1 /dev/kmsg 2>/dev/null || echo denied; echo x >/dev/null && echo fine";
    each("runtime::devices", script, |stage| {
        stage.config["linux"]["devices"] =
            json!([{"path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11}]);
        let all = json!(["CAP_SYSLOG"]);
        stage.config["process"]["capabilities"] =
            json!({"bounding": all, "effective": all, "permitted": all});
        let fits = std::fs::symlink_metadata(stage.path().join("rootfs/bin/head")).is_ok();
        if !fits {
            std::os::unix::fs::symlink("busybox", stage.path().join("rootfs/bin/head")).expect("a link");
        }
        assert_eq!(stage.run().ok().text(), "denied\nfine\n");
    });
}

/// Receives one descriptor from a console socket.
fn console(listener: &std::os::unix::net::UnixListener) -> std::fs::File {
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
    let (stream, _) = listener.accept().expect("the runtime comes");
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = [0; 64];
    recvmsg(&stream, &mut [std::io::IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)
        .expect("a message");
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(mut fds) = message {
            return fds.next().expect("a descriptor").into();
        }
    }
    panic!("no descriptor came")
}

#[test]
fn terminals_are_handed_over() {
    each(
        "runtime::console",
        "tty; test -c /dev/console && echo console; read -r line; echo got $line",
        |stage| {
            stage.config["process"]["terminal"] = json!(true);
            stage.write();
            let id = stage.id();
            assert_ne!(
                stage.call_apart(&["create", &id]).status,
                Some(0),
                "a detached terminal needs a socket"
            );
            let path = stage.path().join("console.sock");
            let listener = std::os::unix::net::UnixListener::bind(&path).expect("a socket");
            let mut child = stage.command(&["run", "-d", "--console-socket", "console.sock", &id]);
            let mut child = child
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("it runs");
            let mut master = console(&listener);
            assert!(child.wait().expect("it ends").success());
            master.write_all(b"hello\n").expect("written");
            let mut text = String::new();
            let mut bytes = [0; 256];
            while let Ok(length @ 1..) = std::io::Read::read(&mut master, &mut bytes) {
                text.push_str(&String::from_utf8_lossy(&bytes[..length]));
            }
            for word in ["/dev/pts/0", "console", "got hello"] {
                assert!(text.contains(word), "{word}: {text}");
            }
        },
    );
}

#[test]
fn signals_are_handed_on() {
    each(
        "runtime::signals",
        "trap 'echo usr1; exit 11' USR1; echo ready; while :; do sleep 0.05; done",
        |stage| {
            stage.write();
            let id = stage.id();
            let mut child = stage
                .command(&["run", &id])
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .spawn()
                .expect("it runs");
            let mut out = child.stdout.take().expect("its output");
            let mut bytes = [0; 6];
            std::io::Read::read_exact(&mut out, &mut bytes).expect("a word");
            assert_eq!(&bytes, b"ready\n");
            let pid = rustix::process::Pid::from_child(&child);
            rustix::process::kill_process(pid, rustix::process::Signal::USR1).expect("sent");
            let mut rest = String::new();
            std::io::Read::read_to_string(&mut out, &mut rest).expect("the rest");
            assert_eq!((rest.as_str(), child.wait().expect("it ends").code()), ("usr1\n", Some(11)));
        },
    );
}

#[test]
fn descriptors_do_not_leak() {
    // readlink sees its own directory descriptor neither in busybox's ls nor here: count what is above 2.
    each(
        "runtime::descriptors",
        "cd /proc/self/fd; for fd in *; do test $fd -gt 9 || echo $fd; done; readlink /proc/self/cwd",
        |stage| {
            let text = stage.run().ok().text();
            let open: Vec<&str> =
                text.lines().filter(|line| line.chars().all(|c| c.is_ascii_digit())).collect();
            assert!(open.iter().all(|fd| ["0", "1", "2", "3"].contains(fd)), "{text}");
            // CVE-2024-21626: a working directory through a leaked descriptor.
            for fd in 3..16 {
                stage.config["process"]["cwd"] = json!(format!("/proc/self/fd/{fd}"));
                stage.config["process"]["args"] = json!(["sh", "-c", "pwd -P; ls ../../../etc/shadow"]);
                assert_ne!(stage.run().status, Some(0), "{fd}");
            }
        },
    );
}

/// One test needs the machine's own tools only.
fn nabe_only(test: &str, script: &str) -> Option<Stage> {
    if !has(test, &[Need::Root]) {
        return None;
    }
    Stage::new(test, "nabe", script)
}

#[test]
fn the_program_cannot_be_overwritten() {
    // CVE-2019-5736: the container makes the runtime execute itself, and writes to its file.
    let Some(stage) = nabe_only("runtime::overwrite", FOREVER) else { return };
    let id = stage.detached();
    std::fs::write(stage.path().join("rootfs/bin/trap"), "#!/proc/self/exe\n").expect("a script");
    Run::of(command("chmod").arg("755").arg(stage.path().join("rootfs/bin/trap"))).ok();
    let before = std::fs::metadata(NABE).expect("the program").modified().expect("a time");
    // Whatever it says, it is our own program in there.
    stage.call(&["exec", &id, "/bin/trap", "version"]);
    let script = "for p in /proc/[0-9]*; do (dd if=/dev/zero of=$p/exe bs=1 count=1 conv=notrunc) 2>/dev/null && \
                  case $(readlink $p/exe) in */busybox) ;; *) echo wrote;; esac; done; true";
    let run = stage.call(&["exec", &id, "sh", "-c", script]);
    assert_eq!(run.text(), "");
    assert_eq!(std::fs::metadata(NABE).expect("the program").modified().expect("a time"), before);
}

#[test]
fn the_first_process_is_of_a_file_that_nobody_can_write_to() {
    use std::os::unix::fs::MetadataExt as _;

    let Some(stage) = nabe_only("runtime::protected", FOREVER) else { return };
    stage.write();
    let id = stage.id();
    stage.call_apart(&["create", &id]).ok();
    let pid = stage.state(&id)["pid"].as_i64().expect("a pid");
    let program = std::fs::File::open(format!("/proc/{pid}/exe")).expect("its program");
    let (there, here) = (program.metadata().expect("its"), std::fs::metadata(NABE).expect("ours"));
    assert_eq!((there.dev(), there.ino()), (here.dev(), here.ino()));
    let mount = rustix::fs::fstatvfs(&program).expect("its mount").f_flag;
    assert!(mount.contains(rustix::fs::StatVfsMountFlags::RDONLY), "{mount:?}");
    // Who may mount may also change what it executes: it has not executed the program again for that.
    let environment = std::fs::read(format!("/proc/{pid}/environ")).expect("an environment");
    assert!(!String::from_utf8_lossy(&environment).contains("_NABE_PROTECTED="));
    // It goes on as what it was: its code, its data, its errors.
    stage.call(&["start", &id]).ok();
    assert_eq!(stage.call(&["exec", &id, "sh", "-c", "echo there"]).ok().text(), "there\n");
    let failed = stage.call(&["exec", &id, "/no/such"]);
    assert!(failed.stderr.contains("no such file"), "{}", failed.stderr);
    stage.call(&["kill", &id, "KILL"]).ok();
}

#[test]
fn init_reaps() {
    let script = "(sleep 0.1 & ) ; sleep 0.5; ls -d /proc/[0-9]*; grep -h State /proc/[0-9]*/status; exit 6";
    let Some(stage) = nabe_only("runtime::init", script) else { return };
    stage.write();
    let run = stage.call(&["run", "--init", &stage.id()]);
    assert_eq!(run.status, Some(6), "{}", run.stderr);
    assert!(run.text().contains("/proc/1\n") && !run.text().contains("zombie"), "{}", run.text());
}

#[test]
fn killed_at_any_moment_it_leaves_nothing() {
    let Some(stage) = nabe_only("runtime::sigkill", FOREVER) else { return };
    stage.write();
    for micros in (0..40).map(|step| step * 700) {
        let id = stage.id();
        let mut command = stage.command(&["create", &id]);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it runs");
        std::thread::sleep(std::time::Duration::from_micros(micros));
        child.kill().expect("killed");
        child.wait().expect("it ends");
        stage.call(&["delete", "--force", &id]).ok();
        assert_eq!(remains(&id), Vec::<std::path::PathBuf>::new(), "after {micros} µs");
        assert!(!stage.root().join(&id).exists(), "after {micros} µs");
    }
    let root = stage.path().join("rootfs").display().to_string();
    wait_until("gone", || {
        !std::fs::read_dir("/proc").expect("processes").flatten().any(|process| {
            std::fs::read_link(process.path().join("root"))
                .is_ok_and(|link| link.display().to_string() == root)
        })
    });
}

#[test]
fn errors_are_told_as_engines_want_them() {
    let Some(mut stage) = nabe_only("runtime::errors", "true") else { return };
    let id = stage.id();
    let none = stage.call(&["create", &id]);
    assert_eq!(none.status, Some(1));
    assert!(none.stderr.contains("config.json"), "{}", none.stderr);
    stage.config["linux"]["namespaces"][1]["type"] = json!("mind");
    stage.write();
    let log = stage.path().join("log");
    let mut command = command(NABE);
    command.arg("--root").arg(stage.root()).arg("--log").arg(&log).args([
        "--log-format",
        "json",
        "create",
        "--bundle",
    ]);
    let run = Run::of(command.arg(stage.path()).arg(&id));
    assert_eq!(run.status, Some(1));
    assert!(run.stderr.contains("linux.namespaces[1].type"), "{}", run.stderr);
    let line: Value =
        serde_json::from_str(std::fs::read_to_string(&log).expect("a log").trim()).expect("JSON");
    assert_eq!(line["level"], "error");
    assert!(
        line["msg"].as_str().is_some_and(|text| text.contains("linux.namespaces[1].type: unknown variant")),
        "{line}"
    );
    assert!(!stage.root().join(&id).exists());
    for (arguments, words) in [
        (&["start", "nosuch"][..], "does not exist"),
        (&["state", "a/b"], "is not a container id"),
        (&["checkpoint", "x"], "checkpoint and restore are not done"),
    ] {
        let run = stage.call(arguments);
        assert_eq!(run.status, Some(1), "{arguments:?}");
        assert!(run.stderr.contains(words), "{}", run.stderr);
    }
    let features = stage.call(&["features"]).ok().json();
    assert_eq!(features["ociVersionMax"], "1.2.0");
    assert!(features["linux"]["seccomp"]["enabled"] == true, "{features}");
}

#[test]
fn an_ordinary_user_may() {
    let Some(stage) = nabe_only("runtime::rootless", "") else { return };
    if program("setpriv").is_none() {
        return skip("runtime::rootless", "setpriv is not installed");
    }
    let home = stage.path().join("home");
    std::fs::create_dir(&home).expect("a directory");
    Run::of(command("chown").arg("65534:65534").arg(&home)).ok();
    let nabe = |arguments: &[&str]| {
        let mut run = command("setpriv");
        run.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", NABE]).args(arguments);
        Run::of(run.current_dir(&home).env("XDG_RUNTIME_DIR", &home))
    };
    if nabe(&["features"]).status != Some(0) {
        return skip("runtime::rootless", "the program is where only root may go");
    }
    nabe(&["spec", "--rootless"]).ok();
    let file = home.join("config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&file).expect("a config")).expect("JSON");
    config["process"]["terminal"] = json!(false);
    config["process"]["args"] = json!(["sh", "-c", "id -u; cat /proc/self/uid_map; hostname; exit 3"]);
    config["root"]["path"] = json!(stage.path().join("rootfs"));
    std::fs::write(&file, config.to_string()).expect("a config");
    let run = nabe(&["run", "--bundle", ".", "mine"]);
    let words: Vec<String> = run.text().split_whitespace().map(str::to_owned).collect();
    assert_eq!(
        (run.status, words),
        (Some(3), ["0", "0", "65534", "1", "nabe"].map(str::to_owned).to_vec()),
        "{}",
        run.stderr
    );
    assert!(!run.stderr.contains("left out"), "in its namespace it has every capability: {}", run.stderr);
    let states = std::fs::read_dir(home.join("nabe")).expect("states").flatten();
    assert_eq!(states.filter(|entry| entry.file_name() != ".ended").count(), 0);
    helpers_map_more_ids(&stage, &home);
}

/// More ids than one's own are mapped by newuidmap(1) and newgidmap(1), here with files of their own.
fn helpers_map_more_ids(stage: &Stage, home: &Path) {
    if program("newuidmap").is_none() || program("unshare").is_none() {
        return skip("runtime::newuidmap", "newuidmap or unshare is not installed");
    }
    let (file, granted) = (home.join("config.json"), stage.path().join("granted"));
    std::fs::write(&granted, "nobody:100000:65536\n").expect("a file");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&file).expect("a config")).expect("JSON");
    let map = json!([{"containerID": 0, "hostID": 65534, "size": 1}, {"containerID": 1, "hostID": 100_000, "size": 1009}]);
    config["linux"]["uidMappings"] = map.clone();
    config["linux"]["gidMappings"] = map;
    config["process"]["user"] = json!({"uid": 5, "gid": 6, "additionalGids": [7]});
    config["process"]["args"] =
        json!(["sh", "-c", "cat /proc/self/uid_map /proc/self/gid_map; id -u; id -G"]);
    std::fs::write(&file, config.to_string()).expect("a config");
    // In a mount namespace that goes with it.
    let script = "mount --bind \"$1\" /etc/subuid && mount --bind \"$1\" /etc/subgid && shift && \
        exec setpriv --reuid 65534 --regid 65534 --clear-groups \"$@\"";
    let mut run = command("unshare");
    run.args(["-m", "sh", "-c", script, "sh"]).arg(&granted).args([NABE, "run", "--bundle", ".", "more"]);
    if !Path::new("/etc/subuid").exists() || !Path::new("/etc/subgid").exists() {
        return skip("runtime::newuidmap", "there is no /etc/subuid and /etc/subgid here");
    }
    let run = Run::of(run.current_dir(home).env("XDG_RUNTIME_DIR", home));
    let words: Vec<String> = run.text().split_whitespace().map(str::to_owned).collect();
    let ids = ["0", "65534", "1", "1", "100000", "1009"];
    let expected: Vec<&str> = ids.iter().chain(&ids).chain(&["5", "6", "7"]).copied().collect();
    assert_eq!(
        (run.status, words),
        (Some(0), expected.iter().map(|w| (*w).to_owned()).collect()),
        "{}",
        run.stderr
    );
}

#[test]
fn nabe_ps_knows_its_own() {
    let Some(mut stage) = nabe_only("runtime::ps", FOREVER) else { return };
    stage.config["annotations"] = json!({"org.opencontainers.image.ref.name": "shop:7", "team": "blue"});
    let id = stage.detached();
    let pid = stage.state(&id)["pid"].to_string();
    let mut command = nabe_command(["ps", "--json", &format!("process.pid == {pid}"), "-o"]);
    command.arg("container.name,container.image,container.runtime,container.labels");
    command.env("NABE_ENGINE_ROOTS", format!("nabe={}", stage.root().display()));
    let row = Run::of(&mut command).ok().json()[0].clone();
    assert_eq!((&row["container.name"], &row["container.image"]), (&json!(id), &json!("shop:7")), "{row}");
    assert_eq!(
        (&row["container.runtime"], &row["container.labels"]["team"]),
        (&json!("nabe"), &json!("blue")),
        "{row}"
    );
}

/// The engines with nabe as their runtime.
fn engines(test: &str, wanted: &str) -> Option<Engines> {
    if !has(test, &[Need::Root]) {
        return None;
    }
    Engines::up_with(test, &[wanted], &[("NABE_ENGINES_RUNTIME", NABE)])
}

#[test]
fn docker_runs_it() {
    let test = "runtime::docker";
    let Some(engines) = engines(test, "docker") else { return };
    let id = engines.run(&["docker-run", "one", "--memory", "64m", "--pids-limit", "50"]);
    assert_eq!(
        engines.run(&["docker", "inspect", "-f", "{{.HostConfig.Runtime}} {{.State.Running}}", "one"]),
        "nabe true"
    );
    assert_eq!(engines.run(&["docker", "exec", "one", "id", "-u"]), "0");
    assert_eq!(
        engines.run(&["docker", "exec", "-u", "7", "-e", "A=b", "one", "sh", "-c", "id -u; echo $A"]),
        "7\nb"
    );
    assert!(engines.run(&["docker", "top", "one"]).contains("sleep 100000"));
    let script = "test -t 0 && echo a terminal";
    assert!(engines.run(&["docker", "exec", "-t", "one", "sh", "-c", script]).contains("a terminal"));
    engines.run(&["docker-run", "watched", "--health-cmd", "exit 0", "--health-interval", "1s", "-t"]);
    let health = ["docker", "inspect", "-f", "{{.State.Health.Status}}", "watched"];
    wait_until("healthy", || engines.run(&health) == "healthy");
    engines.run(&["docker", "rm", "-f", "watched"]);
    assert!(
        engines
            .run(&["docker", "stats", "--no-stream", "--format", "{{.MemUsage}} {{.PIDs}}", "one"])
            .contains("64MiB")
    );
    engines.run(&["docker", "pause", "one"]);
    engines.run(&["docker", "unpause", "one"]);
    engines.run(&["docker", "update", "--memory", "128m", "--memory-swap", "128m", "one"]);
    engines.run(&["docker", "kill", "one"]);
    assert_eq!(engines.run(&["docker", "wait", "one"]), "137");
    engines.run(&["docker", "rm", "one"]);
    let said = engines.run(&[
        "docker",
        "run",
        "--name",
        "two",
        "--network",
        "none",
        "nabe-test:1",
        "sh",
        "-c",
        "echo hello; grep -c . /proc/self/uid_map",
    ]);
    assert_eq!(said, "hello\n1");
    assert_eq!(engines.run(&["docker", "logs", "two"]), "hello\n1");
    engines.run(&["docker", "rm", "two"]);
    assert_eq!(remains(&id), Vec::<std::path::PathBuf>::new());
}

#[test]
fn podman_runs_it() {
    let test = "runtime::podman";
    let Some(engines) = engines(test, "podman") else { return };
    let id = engines.run(&["podman-run", "one"]);
    assert_eq!(engines.run(&["podman", "exec", "one", "id", "-u"]), "0");
    assert!(engines.run(&["podman", "top", "one"]).contains("sleep"));
    engines.run(&["podman", "kill", "one"]);
    engines.run(&["podman", "wait", "one"]);
    engines.run(&["podman", "rm", "one"]);
    let limits = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"];
    let mut arguments = vec!["podman", "run", "--name", "two", "--network", "none"];
    arguments.extend(limits);
    arguments.extend(["nabe-test:1", "sh", "-c", "echo hello"]);
    assert_eq!(engines.run(&arguments), "hello");
    assert_eq!(engines.run(&["podman", "logs", "two"]), "hello");
    engines.run(&["podman", "rm", "two"]);
    assert_eq!(remains(&id), Vec::<std::path::PathBuf>::new());
}

#[test]
fn containerd_runs_it() {
    let test = "runtime::containerd";
    let Some(engines) = engines(test, "containerd") else { return };
    engines.run(&["ctr-run", "nabetest", "one"]);
    let pid = engines.run(&["pid", "ctr", "one", "nabetest"]);
    assert!(!pid.is_empty());
    assert_eq!(
        engines.run(&["ctr", "-n", "nabetest", "task", "exec", "--exec-id", "e", "one", "id", "-u"]),
        "0"
    );
    assert!(engines.run(&["ctr", "-n", "nabetest", "task", "ps", "one"]).contains(&pid));
    engines.run(&["ctr", "-n", "nabetest", "task", "kill", "-s", "KILL", "one"]);
    wait_until("stopped", || engines.run(&["ctr", "-n", "nabetest", "task", "ls"]).contains("STOPPED"));
    engines.run(&["ctr", "-n", "nabetest", "task", "rm", "one"]);
    engines.run(&["ctr", "-n", "nabetest", "container", "rm", "one"]);
}
