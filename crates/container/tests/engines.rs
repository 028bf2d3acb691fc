//! Real engines, started privately by `tests/engines/engines.sh`: every container
//! gets its name, with the engine alive, hanging and dead.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use nabe_container::{Config, Engine, Metadata, Resolution, Resolver, Wanted, identify_any};

/// The engines of one test; ends with it.
struct Engines {
    directory: tempfile::TempDir,
}

enum Outcome {
    Done(String),
    Skip(String),
}

impl Engines {
    fn run(&self, arguments: &[&str]) -> Outcome {
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/engines/engines.sh");
        let output = Command::new(script)
            .args(arguments)
            .env("NABE_ENGINES_DIR", self.directory.path().join("e"))
            .output()
            .expect("engines.sh runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        match output.status.code() {
            Some(0) => Outcome::Done(text(&output.stdout)),
            Some(77) => Outcome::Skip(text(&output.stderr)),
            _ => panic!("engines.sh {arguments:?}: {}", text(&output.stderr)),
        }
    }

    fn done(&self, arguments: &[&str]) -> String {
        match self.run(arguments) {
            Outcome::Done(text) => text,
            Outcome::Skip(why) => panic!("engines.sh {arguments:?}: {why}"),
        }
    }

    /// Starts a container and returns its first process; `None` with the reason
    /// printed when its engine is not installed.
    fn start(&self, run: &[&str], pid: &[&str]) -> Option<Running> {
        if let Outcome::Skip(why) = self.run(run) {
            eprintln!("{why}");
            return None;
        }
        let mut arguments = vec!["pid"];
        arguments.extend(pid);
        let pid = self.done(&arguments).parse().expect("a pid");
        let cgroups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("cgroups");
        let mut paths: Vec<String> = cgroups
            .lines()
            .filter_map(|line| line.splitn(3, ':').nth(2))
            .filter(|path| path.len() > 1)
            .map(str::to_owned)
            .collect();
        paths.sort();
        paths.dedup();
        Some(Running { pid, paths })
    }

    /// The configuration that `engines.sh env` describes.
    fn config(&self) -> Config {
        let vars: HashMap<String, String> = self
            .done(&["env"])
            .lines()
            .filter_map(|line| line.strip_prefix("export ")?.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        Config::from_vars(|name| vars.get(name).cloned()).expect("understood")
    }
}

impl Drop for Engines {
    fn drop(&mut self) {
        self.run(&["down"]);
    }
}

struct Running {
    pid: u32,
    paths: Vec<String>,
}

fn resolve(config: Config, running: &Running, with_pid: bool) -> (Option<Metadata>, Vec<String>) {
    let paths: Vec<&[u8]> = running.paths.iter().map(|path| path.as_bytes()).collect();
    let pids = [running.pid];
    let wanted = [Wanted {
        cgroup_paths: &paths,
        pids: if with_pid { &pids } else { &[] },
        identity: identify_any(&paths),
    }];
    let Resolution { mut found, notes } = Resolver::new(config).resolve(&wanted);
    (found.pop().flatten(), notes.into_iter().map(|note| note.message).collect())
}

/// Nothing but sockets: no files, and no process to find files by.
fn sockets_only(mut config: Config) -> Config {
    config.roots.clear();
    config.root = PathBuf::from("/nonexistent");
    config
}

fn check(found: &Option<Metadata>, engine: Engine, name: &str, running: &Running) {
    let found = found.as_ref().unwrap_or_else(|| panic!("{name} is not found"));
    assert_eq!(found.engine, engine, "{name}");
    assert_eq!(found.name.as_deref(), Some(name));
    assert!(matches!(found.init_pid, None | Some(_) if found.init_pid.is_none_or(|p| p == running.pid)));
}

#[test]
fn every_engine_alive_hanging_and_dead() {
    let engines = Engines { directory: tempfile::tempdir().expect("temporary directory") };
    if let Outcome::Skip(why) = engines.run(&["up"]) {
        eprintln!("{why}");
        return;
    }
    let mut config = engines.config();
    // Generous, for a busy machine: what waits for it is measured apart.
    config.deadline = Duration::from_secs(20);
    config.ping = Duration::from_millis(50);

    let mut others = Vec::new();
    let mut add = |engine, name, running: Option<Running>| {
        others.extend(running.map(|running| (engine, name, running)));
    };
    add(
        Engine::Containerd,
        "svc",
        engines.start(
            &["ctr-run", "foo", "ctr1", "--label", "com.docker.compose.service=svc"],
            &["ctr", "ctr1", "foo"],
        ),
    );
    add(
        Engine::Podman,
        "pod1",
        engines.start(&["podman-run", "pod1", "--label", "app=x"], &["podman", "pod1"]),
    );
    add(Engine::Runc, "rc1", engines.start(&["runc-run", "rc1", "/nabe-any"], &["runc", "rc1"]));
    add(Engine::Crun, "cc1", engines.start(&["crun-run", "cc1"], &["crun", "cc1"]));
    for (engine, name, running) in &others {
        let (found, notes) = resolve(config.clone(), running, false);
        check(&found, *engine, name, running);
        assert_eq!(notes, [] as [&str; 0], "{name}");
        let found = found.expect("checked");
        match engine {
            Engine::Containerd => {
                assert_eq!(found.namespace.as_deref(), Some("foo"));
                assert_eq!(found.image.as_deref(), Some("docker.io/library/nabe-test:1"));
                assert!(found.upper_dir.is_some_and(|path| path.is_dir()));
            }
            Engine::Podman => {
                assert_eq!(found.label("app"), Some("x"));
                assert_eq!(found.image.as_deref(), Some("docker.io/library/nabe-test:1"));
                assert!(found.upper_dir.is_some_and(|path| path.is_dir()));
            }
            _ => assert_eq!(found.label("org.example.team"), Some(*name)),
        }
        // Without a word about where its files are: the shim and conmon lead there.
        if matches!(engine, Engine::Containerd | Engine::Podman) {
            let (found, _) = resolve(Config::default(), running, true);
            check(&found, *engine, name, running);
        }
    }
    podman_api(&engines, &config, &others);
    docker(&engines, &config);
    containerd_hangs(&engines, &config, &others);
}

fn podman_api(engines: &Engines, config: &Config, others: &[(Engine, &str, Running)]) {
    let Some((_, name, running)) = others.iter().find(|other| other.0 == Engine::Podman) else {
        return;
    };
    engines.done(&["podman-api"]);
    let mut config = sockets_only(config.clone());
    config.sockets = vec![(Engine::Podman, engines.directory.path().join("e/podman.sock"))];
    let (found, notes) = resolve(config, running, false);
    assert_eq!(notes, [] as [&str; 0]);
    check(&found, Engine::Podman, name, running);
    let found = found.expect("checked");
    assert_eq!((found.source, found.label("app")), ("podman API", Some("x")));
}

fn docker(engines: &Engines, config: &Config) {
    let Some(web) = engines.start(&["docker-compose", "web1", "shop", "web"], &["docker", "web1"]) else {
        return;
    };
    let parent = engines
        .start(&["docker-run", "par", "--cgroup-parent", "/nabe-parent"], &["docker", "par"])
        .expect("docker is there");
    let uid = "0d08203e-255a-11e9-8cd9-0007cb0b2cc8";
    let pod_name = format!("k8s_nginx_web-0_prod_{uid}_0");
    let pod = engines
        .start(&["docker-pod", "nginx", "web-0", "prod", uid], &["docker", pod_name.as_str()])
        .expect("docker is there");
    let all = [("web1", &web), ("par", &parent), (pod_name.as_str(), &pod)];
    let names_come = |expect_note: Option<&str>| {
        for (name, running) in all {
            let (found, notes) = resolve(config.clone(), running, false);
            check(&found, Engine::Docker, name, running);
            let found = found.expect("checked");
            assert_eq!(found.image.as_deref(), Some("nabe-test:1"));
            assert!(found.upper_dir.is_some_and(|path| path.is_dir()));
            // Under a parent of its own the path does not say that it is Docker's.
            let silent = expect_note.filter(|_| running.paths[0].starts_with("/docker/"));
            assert_eq!(notes.len(), usize::from(silent.is_some()), "{notes:?}");
            if let Some(expect) = silent {
                assert!(notes[0].contains(expect), "{notes:?}");
            }
            // Unconfigured: by the shim.
            let (found, _) = resolve(Config::default(), running, true);
            check(&found, Engine::Docker, name, running);
        }
    };
    names_come(None);
    let (found, _) = resolve(config.clone(), &web, false);
    let found = found.expect("found");
    assert_eq!(found.label("com.docker.compose.project"), Some("shop"));
    assert_eq!(found.label("com.docker.compose.service"), Some("web"));
    let (found, _) = resolve(config.clone(), &pod, false);
    let pod_of = found.and_then(|found| found.pod).expect("a pod");
    assert_eq!((pod_of.name.as_deref(), pod_of.uid.as_deref()), (Some("web-0"), Some(uid)));

    // The API alone.
    let (found, notes) = resolve(sockets_only(config.clone()), &parent, false);
    assert_eq!(notes, [] as [&str; 0]);
    check(&found, Engine::Docker, "par", &parent);
    assert_eq!(found.expect("checked").source, "docker API");

    engines.done(&["dockerd-hang"]);
    names_come(Some("did not answer within 50 ms; what is shown of it comes from its files"));
    let mut hasty = sockets_only(config.clone());
    hasty.deadline = Duration::from_millis(250);
    let start = Instant::now();
    let (found, notes) = resolve(hasty, &web, false);
    // A hang would be for ever; a busy machine may be slow.
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    assert_eq!(found, None);
    assert!(notes[0].ends_with("docker.sock did not answer within 250 ms"), "{notes:?}");

    engines.done(&["dockerd-resume"]);
    engines.done(&["dockerd-kill"]);
    let gone = Instant::now();
    while resolve(sockets_only(config.clone()), &web, false).0.is_some() {
        assert!(gone.elapsed() < Duration::from_secs(10), "dockerd still answers");
    }
    names_come(Some("refused the connection: the daemon does not run"));
}

fn containerd_hangs(engines: &Engines, config: &Config, others: &[(Engine, &str, Running)]) {
    let Some((_, name, running)) = others.iter().find(|other| other.0 == Engine::Containerd) else {
        return;
    };
    engines.done(&["containerd-hang"]);
    let (found, _) = resolve(config.clone(), running, false);
    check(&found, Engine::Containerd, name, running);
    engines.done(&["containerd-resume"]);
}
