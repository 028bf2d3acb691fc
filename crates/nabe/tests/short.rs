//! Containers of a twentieth of a second, on a machine that is busy: each event of theirs has their name and
//! image, by `trace`, in a capture, and by `detect`.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::Signal;
use support::engines::Engines;
use support::{Need, Run, Running, command, directory, has, is_live, nabe_command, skip, wait_for};

/// Containers of each engine.
const COUNT: usize = 7;
const FORMAT: &str = "*%container.id|%container.name|%container.image|%evt.type|%proc.name";

/// Two loops that never rest, until it is dropped.
struct Load(Arc<AtomicBool>);

impl Load {
    fn new() -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        for _ in 0..2 {
            let ends = Arc::clone(&ends);
            std::thread::spawn(move || {
                while !ends.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        Self(ends)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// `trace`, with a capture of what it shows, and `detect` at once, ready to see.
struct Observers {
    folder: tempfile::TempDir,
    running: Vec<Running>,
}

impl Observers {
    fn start(nabe: impl Fn(&[&str]) -> Command) -> Self {
        let folder = directory();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let rules = format!(
            "- rule: short\n  desc: a program in a container\n  condition: evt.type in (execve, execveat) and (container.id != host or proc.name = stat)\n  output: \"{}\"\n  priority: NOTICE\n",
            FORMAT.trim_start_matches('*')
        );
        std::fs::write(path("rules.yaml"), rules).expect("rules");
        let capture = path("capture.scap");
        let filter = "container.id != host or proc.name = stat";
        let mut running = Vec::new();
        for (name, arguments) in [
            ("trace", vec!["trace", filter, "-p", FORMAT, "-w", capture.as_str()]),
            ("detect", vec!["detect", "-r", &path("rules.yaml"), "--json"]),
        ] {
            let output = std::fs::File::create(folder.path().join(name)).expect("a file");
            running.push(Running::start(nabe(&arguments).stdout(output).stderr(Stdio::null())));
        }
        let this = Self { folder, running };
        wait_for("both of them see", || {
            Run::of(command("stat").arg("/")).ok();
            ["trace", "detect"].iter().all(|name| this.text(name).contains("stat"))
        });
        this
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        String::from_utf8_lossy(&std::fs::read(self.path(name)).unwrap_or_default()).into_owned()
    }

    /// Ends them; what each saw, in lines of the format.
    fn finish(mut self) -> (BTreeMap<&'static str, Vec<String>>, tempfile::TempDir) {
        for running in self.running.drain(..) {
            running.signal(Signal::INT);
            running.finish();
        }
        let lines = |text: String| text.lines().map(str::to_owned).collect::<Vec<_>>();
        let capture = self.path("capture.scap").display().to_string();
        let replayed = Run::of(&mut nabe_command(["replay", &capture, "-p", FORMAT])).ok().text();
        let alerts = self.text("detect");
        let outputs = alerts.lines().filter_map(|line| {
            let alert: serde_json::Value = serde_json::from_str(line).ok()?;
            Some(alert["output"].as_str()?.split("Notice ").last()?.to_owned())
        });
        let seen = BTreeMap::from([
            ("detect", outputs.collect()),
            ("record", lines(replayed)),
            ("trace", lines(self.text("trace"))),
        ]);
        (seen, self.folder)
    }
}

/// Every event of containers with such names has name and image, and every container was seen by all.
#[track_caller]
fn check(seen: &BTreeMap<&'static str, Vec<String>>, ids: &BTreeMap<String, String>, image: &str) {
    assert_eq!(ids.len(), COUNT);
    for (who, lines) in seen {
        let mut named = BTreeSet::new();
        for line in lines {
            let parts: Vec<&str> = line.split('|').collect();
            let [id, name, of, ..] = parts[..] else { continue };
            let Some(expect) = ids.get(id) else { continue };
            assert_eq!((name, of), (expect.as_str(), image), "{who}: {line}");
            named.insert(id);
        }
        assert_eq!(named.len(), COUNT, "{who} saw {named:?} of {ids:?}");
    }
}

fn may_run(test: &str) -> bool {
    has(test, &[Need::Root, Need::Program("stat")]) && is_live(test)
}

/// Runs short containers of an engine; their short ids and names. The engine writes down the whole id.
fn run_short(engines: &Engines, client: &str, folder: &Path) -> BTreeMap<String, String> {
    let _load = Load::new();
    let each = (0..COUNT).map(|number| {
        let (name, file) = (format!("short{number}"), folder.join(format!("{client}{number}")));
        let file = file.display().to_string();
        let mut arguments =
            vec![client, "run", "--rm", "--network", "none", "--name", &name, "--cidfile", &file];
        if client == "podman" {
            arguments.extend(["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"]);
        }
        arguments.extend(["nabe-test:1", "sleep", "0.05"]);
        engines.run(&arguments);
        let id = std::fs::read_to_string(&file).expect("an id");
        (id[..12].to_owned(), name)
    });
    each.collect()
}

/// What sysdig makes of a capture, by the time of each event; `None`, with a line that says so, without sysdig.
fn by_time(program: &mut Command, capture: &str) -> BTreeMap<String, String> {
    let format = "*%evt.rawtime|%thread.tid|%container.id|%container.name|%container.image|%container.image.repository|%container.image.tag|%container.type";
    let run = Run::of(program.args(["-r", capture, "-p", format])).ok();
    run.lines()
        .iter()
        .filter_map(|line| line.split_once('|').map(|(time, rest)| (time.to_owned(), rest.to_owned())))
        .collect()
}

#[test]
fn sysdig_reads_recorded_containers() {
    let test = "sysdig_reads_recorded_containers";
    if !may_run(test) {
        return;
    }
    let Some(engines) = Engines::up(test, &["docker"]) else { return };
    let observers = Observers::start(|arguments| engines.nabe(arguments));
    let folder = directory();
    let ids = run_short(&engines, "docker", folder.path());
    let (seen, captured) = observers.finish();
    check(&seen, &ids, "nabe-test:1");

    if !has(test, &[Need::Program("sysdig")]) {
        return;
    }
    let capture = captured.path().join("capture.scap").display().to_string();
    let theirs = by_time(&mut command("sysdig"), &capture);
    let ours = by_time(nabe_command(["sysdig"]).stdin(Stdio::null()), &capture);
    let of_containers = |line: &&String| ids.keys().any(|id| line.contains(id.as_str()));
    let theirs: BTreeMap<_, _> = theirs.iter().filter(|(_, line)| of_containers(line)).collect();
    // sysdig 0.29.3 shows no events of types that came after it.
    assert!(theirs.len() > 100, "{}", theirs.len());
    let wrong: Vec<_> = theirs.iter().filter(|(time, line)| ours.get(**time) != Some(**line)).collect();
    assert!(
        wrong.is_empty(),
        "{} of {}: {:?}",
        wrong.len(),
        theirs.len(),
        wrong.first().map(|(time, line)| (line, ours.get(**time)))
    );
}

#[test]
fn short_containers_of_podman() {
    let test = "short_containers_of_podman";
    if !may_run(test) {
        return;
    }
    let Some(engines) = Engines::up(test, &["podman"]) else { return };
    let observers = Observers::start(|arguments| engines.nabe(arguments));
    let folder = directory();
    let ids = run_short(&engines, "podman", folder.path());
    let (seen, _captured) = observers.finish();
    check(&seen, &ids, "docker.io/library/nabe-test:1");
}

/// Plain runc with states where nobody looks, in cgroups that do not show their containers.
#[test]
fn plain_runc_with_a_root_of_its_own() {
    let test = "plain_runc_with_a_root_of_its_own";
    if !may_run(test) || !has(test, &[Need::Program("runc"), Need::Program("busybox")]) {
        return;
    }
    let Some(engines) = Engines::up(test, &["runc-only"]) else { return };
    let there = format!("early-{}", std::process::id());
    let cgroup = format!("/nabe-short-{}", std::process::id());
    engines.run(&["runc-run", &there, &format!("{cgroup}/a")]);
    // Neither is in a root that nabe was told of: one is there already, its runtime long gone.
    let observers = Observers::start(|arguments| nabe_command(arguments));
    let name = format!("late-{}", std::process::id());
    engines.run(&["runc-run", &name, &format!("{cgroup}/b")]);
    wait_for("the name of a container in its events", || {
        Run::of(engines.command(&["runc-exec", &name]).stdin(Stdio::null())).ok();
        let of_it = format!("{name}|{name}|<NA>|execve|true");
        observers.text("trace").contains(&of_it) && observers.text("detect").contains(&of_it)
    });
    let (seen, captured) = observers.finish();
    for (who, lines) in &seen {
        let wrong = lines.iter().find(|line| line.starts_with(&name) && !line.contains(&format!("|{name}|")));
        assert_eq!(wrong, None, "{who}");
    }
    // In JSON none is not unknown.
    let capture = captured.path().join("capture.scap").display().to_string();
    let filter = format!("container.name = {name} and proc.name = true");
    let format = "*%container.id %container.name %container.image";
    let run = Run::of(&mut nabe_command(["replay", &capture, &filter, "--json", "-p", format])).ok();
    let line = run.lines().into_iter().next().expect("an event");
    let row: serde_json::Value =
        serde_json::from_str(line.trim_start_matches('[').trim_end_matches(',')).expect("JSON");
    assert_eq!((&row["container.id"], &row["container.image"]), (&name.as_str().into(), &"".into()));
}

/// A folder with a store of two images of nabe's own, `short:even` and `short:odd`, and nabe using it; `None`,
/// with the reason printed, where that cannot be.
fn images(test: &str) -> Option<(tempfile::TempDir, impl Fn(&[&str]) -> Command)> {
    if !may_run(test) || !has(test, &[Need::Program("busybox"), Need::Program("tar")]) {
        return None;
    }
    let folder = directory();
    let store = folder.path().join("store");
    let nabe = move |arguments: &[&str]| {
        let mut command = nabe_command(arguments);
        command.env("NABE_ROOT", &store).stdin(Stdio::null());
        command
    };
    for tag in ["even", "odd"] {
        let made = "mkdir -p $0/bin && cp \"$(command -v busybox)\" $0/bin/busybox && ln -s busybox $0/bin/sleep && touch $0/$0 && tar -C $0 -cf $0.tar .";
        let made = command("sh").args(["-ec", made, tag]).current_dir(folder.path()).status();
        assert!(made.expect("sh runs").success());
        let archive = folder.path().join(format!("{tag}.tar")).display().to_string();
        Run::of(&mut nabe(&["import", "-q", &archive, &format!("short:{tag}")])).ok();
    }
    Some((folder, nabe))
}

/// nabe's own, many of one name: each with its own image.
#[test]
fn short_containers_of_nabe() {
    let test = "short_containers_of_nabe";
    let Some((_folder, nabe)) = images(test) else { return };
    let name = format!("short-{}", std::process::id());
    let observers = Observers::start(|arguments| nabe_command(arguments));
    let load = Load::new();
    for number in 0..COUNT {
        let image = if number % 2 == 0 { "short:even" } else { "short:odd" };
        let command = ["run", "--rm", "--network", "none", "--name", &name, image, "/bin/sleep", "0.05"];
        let run = Run::of(&mut nabe(&command));
        if run.status != Some(0) {
            return skip(test, run.stderr.lines().next().unwrap_or("nabe cannot run containers here"));
        }
    }
    drop(load);
    let (seen, _captured) = observers.finish();
    for (who, lines) in &seen {
        let of_it: Vec<&String> = lines.iter().filter(|line| line.starts_with(&format!("{name}|"))).collect();
        let programs = of_it.iter().filter(|line| line.ends_with("|execve|sleep"));
        let images: Vec<&str> = programs.filter_map(|line| line.split('|').nth(2)).collect();
        let expect = |number| {
            if number % 2 == 0 { "docker.io/library/short:even" } else { "docker.io/library/short:odd" }
        };
        assert_eq!(images, (0..COUNT).map(expect).collect::<Vec<_>>(), "{who}");
        let wrong =
            of_it.iter().find(|line| !line.starts_with(&format!("{name}|{name}|docker.io/library/short:")));
        assert_eq!(wrong, None, "{who}");
    }
}

/// A name is selected whenever a container of it starts, and again; others are left out.
#[test]
fn containers_are_selected_by_name_when_they_come_later() {
    let test = "containers_are_selected_by_name_when_they_come_later";
    let Some((folder, nabe)) = images(test) else { return };
    let name = format!("later-{}", std::process::id());
    let other = format!("other-{}", std::process::id());
    let file = folder.path().join("out");
    let output = std::fs::File::create(&file).expect("a file");
    let format = "*%container.name|%container.image|%evt.type|%proc.args";
    let trace = nabe(&["trace", "--container", &name, "-p", format, "-v"])
        .stdout(output)
        .stderr(Stdio::piped())
        .spawn();
    let trace = Running { child: trace.expect("nabe runs") };
    let run = |name: &str, seconds: &str| {
        let command =
            ["run", "--rm", "--network", "none", "--name", name, "short:even", "/bin/sleep", seconds];
        Run::of(&mut nabe(&command)).status == Some(0)
    };
    if !run(&other, "0.01") {
        return skip(test, "nabe cannot run containers here");
    }
    let count = |seconds: &str| {
        let program = format!("{name}|docker.io/library/short:even|execve|{seconds}\n");
        std::fs::read_to_string(&file).unwrap_or_default().matches(&program).count()
    };
    wait_for("the first one is seen", || run(&name, "0.01") && count("0.01") > 0);
    for _ in 0..COUNT {
        assert!(run(&other, "0.05") && run(&name, "0.05"));
    }
    wait_for("all of them are seen", || count("0.05") >= COUNT);
    trace.signal(Signal::INT);
    let (_, said, status) = trace.finish();
    assert_eq!(status, Some(0), "{said}");
    assert_eq!(count("0.05"), COUNT);
    let text = std::fs::read_to_string(&file).expect("its output");
    assert!(text.lines().all(|line| line.starts_with(&format!("{name}|"))), "{text}");
    let left_out =
        said.split(" delivered, ").nth(1).and_then(|rest| rest.split(' ').next()?.parse::<u64>().ok());
    assert!(left_out.is_some_and(|events| events > 0), "the kernel leaves others out: {said}");
}

/// The same of pods, by the labels that a kubelet gives.
#[test]
fn pods_are_selected_by_name_when_they_come_later() {
    let test = "pods_are_selected_by_name_when_they_come_later";
    if !may_run(test) {
        return;
    }
    let Some(engines) = Engines::up(test, &["docker"]) else { return };
    let folder = directory();
    let file = folder.path().join("out");
    let output = std::fs::File::create(&file).expect("a file");
    let format = "*%k8s.pod.name|%k8s.ns.name|%k8s.pod.uid|%container.name|%proc.name";
    let mut trace = engines.nabe(&["trace", "--pod", "shop-6d4f", "evt.type = execve", "-p", format]);
    let trace = Running::start(trace.stdout(output).stderr(Stdio::null()));
    let run = |pod: &str| {
        let labels = [format!("name={pod}"), "namespace=prod".into(), "uid=1-2-3".into()];
        let labels = labels.map(|label| format!("io.kubernetes.pod.{label}"));
        let mut arguments = vec!["docker", "run", "--rm", "--network", "none"];
        labels.iter().for_each(|label| arguments.extend(["--label", label]));
        arguments.extend(["nabe-test:1", "sleep", "0.05"]);
        engines.run(&arguments);
    };
    run("cart-77");
    let lines = || std::fs::read_to_string(&file).unwrap_or_default();
    wait_for("an event of the pod", || {
        run("shop-6d4f");
        lines().contains("|sleep\n")
    });
    run("cart-77");
    trace.signal(Signal::INT);
    trace.finish();
    let wrong = lines().lines().find(|line| !line.starts_with("shop-6d4f|prod|1-2-3|")).map(str::to_owned);
    assert_eq!(wrong, None);
}
