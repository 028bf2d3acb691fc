//! `nabe detect` among hostile files, dead receivers, storms of signals: a clear error, the old rules
//! kept, and nothing lost that was accepted.

#[path = "../../scap/tests/shared/mod.rs"]
mod shared;
mod support;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use support::{PATIENCE, Run, directory, nabe_command, program, skip};

/// A folder with files.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(directory())
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

fn rule(condition: &str, output: &str) -> String {
    format!("- rule: r\n  desc: d\n  condition: {condition}\n  output: {output}\n  priority: WARNING\n")
}

#[test]
fn rules_that_cannot_be_are_told() {
    let folder = Folder::new();
    let chain = |of: &dyn Fn(usize) -> String| (0..40).map(of).collect::<String>();
    let bomb = "- &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned()
        + &chain(&|n| format!("- &a{} [{}]\n", n + 1, vec![format!("*a{n}"); 10].join(",")));
    let macros = "- macro: m0\n  condition: proc.name=a\n".to_owned()
        + &chain(&|n| {
            format!("- macro: m{}\n  condition: ({})\n", n + 1, vec![format!("m{n}"); 10].join(" or "))
        })
        + &rule("evt.type=open and m40", "o");
    let nested = "(".repeat(20_000) + "evt.type=open" + &")".repeat(20_000);
    for (name, text, code, words) in [
        ("bomb", bomb, "LOAD_ERR_YAML_PARSE", "nodes"),
        ("macros", macros, "LOAD_ERR_VALIDATE", "parts"),
        ("brackets", "[".repeat(100_000), "LOAD_ERR_YAML_PARSE", "recursion limit"),
        ("parentheses", rule(&nested, "o"), "LOAD_ERR_COMPILE_CONDITION", "depth"),
        (
            "itself",
            "- macro: m\n  condition: m or proc.name=x\n".to_owned() + &rule("evt.type=open and m", "o"),
            "LOAD_ERR_VALIDATE",
            "`m` includes itself",
        ),
        (
            "one-another",
            "- macro: a\n  condition: not b\n- macro: b\n  condition: (c or proc.name=x)\n- macro: c\n  condition: a\n"
                .to_owned()
                + &rule("evt.type=open and a", "o"),
            "LOAD_ERR_VALIDATE",
            "`a` includes itself: a → b → c → a",
        ),
        (
            "field",
            rule("evt.type=open", "o %proc.nmae"),
            "LOAD_ERR_COMPILE_OUTPUT",
            "did you mean `%proc.name`",
        ),
        ("bytes", "\u{0}\u{1}\u{202e}".to_owned(), "LOAD_ERR_YAML", ""),
    ] {
        let path = folder.file(name, &text);
        let run =
            Run::of(nabe_command(["detect", "--no-kernel", "--k8s-audit", "/dev/null", "-r"]).arg(&path));
        assert_eq!(run.status, Some(1), "{name}: {}", run.stderr);
        assert!(run.stderr.contains(code) && run.stderr.contains(words), "{name}: {}", run.stderr);
        assert!(
            run.stderr.contains(&format!("cannot load rules from {}", path.display())),
            "{name}: {}",
            run.stderr
        );
    }
    let run = Run::of(nabe_command(["detect", "-r"]).arg(folder.0.path().join("not-there")));
    assert_eq!(run.status, Some(1), "{}", run.stderr);
    assert!(run.stderr.contains("LOAD_ERR_FILE_READ"), "{}", run.stderr);
}

/// `cat /dev/null`, four opens, judged by `rules`.
fn judged(data: &Path, rules: &Path, arguments: &[&str]) -> Command {
    let mut command = nabe_command(["detect", "-r"]);
    command.arg(rules).arg(data.join("scap/falco-0.34.1/cat_write.scap")).args(arguments);
    command
}

const OPENS: &str = "evt.type in (open, openat) and evt.dir=< and proc.name=cat";

#[test]
fn a_list_of_a_hundred_thousand() {
    let Some(data) = shared::data("a_list_of_a_hundred_thousand") else { return };
    let items: Vec<String> = (0..100_000).map(|n| format!("/f{n}")).collect();
    let text = format!("- list: big\n  items: [{}, /dev/null]\n", items.join(","));
    let folder = Folder::new();
    let rules =
        folder.file("r.yaml", &(text + &rule(&format!("{OPENS} and fd.name in (big)"), "o %fd.name")));
    let run = Run::of(&mut judged(&data, &rules, &[])).ok();
    assert_eq!(run.text(), "16:17:57.882054739: Warning o /dev/null\n");
}

#[test]
fn dead_receivers_cost_alerts_that_are_counted() {
    let Some(data) = shared::data("dead_receivers_cost_alerts_that_are_counted") else { return };
    let folder = Folder::new();
    let rules = folder.file("r.yaml", &rule(OPENS, "o %fd.name"));
    // One that takes connections and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    // One that is gone: nobody else is given its port so soon.
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (what, options) in [
        (
            "http",
            vec![
                "http_output.enabled=true".to_owned(),
                format!("http_output.url=http://{}/", silent.local_addr().unwrap()),
            ],
        ),
        ("http", vec!["http_output.enabled=true".to_owned(), format!("http_output.url=http://{gone}/")]),
        ("file", vec!["file_output.enabled=true".to_owned(), "file_output.filename=/dev/full".to_owned()]),
        (
            "program",
            vec!["program_output.enabled=true".to_owned(), "program_output.program=exit 1".to_owned()],
        ),
    ] {
        let arguments: Vec<&str> = options.iter().flat_map(|option| ["-o", option]).collect();
        let run = Run::of(&mut judged(&data, &rules, &arguments));
        // What was to be written here and is not is our failure, a receiver elsewhere is not ours.
        assert_eq!(run.status, Some(i32::from(what == "file")), "{options:?}: {}", run.stderr);
        assert_eq!(run.lines().len(), 4, "standard output has all of them: {}", run.stderr);
        if what != "program" {
            let told = format!("output {what}: 4 alerts not delivered: ");
            assert!(run.stderr.contains(&told), "{options:?}: {}", run.stderr);
        }
    }
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = judged(&data, &rules, &[]).stdout(full).stderr(Stdio::piped()).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(stderr.contains("output stdout: 4 alerts not delivered: "), "{stderr}");
    assert_eq!(output.status.code(), Some(1), "{stderr}");
}

/// A detector of Kubernetes audit events at work.
struct Detector {
    child: Child,
    address: SocketAddr,
    alerts: Receiver<String>,
    said: Receiver<String>,
}

impl Detector {
    fn start(rules: &Path, place: &str, arguments: &[&str]) -> Self {
        let mut command = nabe_command(["detect", "--no-kernel", "--k8s-audit", place, "-r"]);
        command.arg(rules).args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let alerts = lines(child.stdout.take().unwrap());
        let said = lines(child.stderr.take().unwrap());
        let mut detector = Self { child, address: SocketAddr::from(([127, 0, 0, 1], 0)), alerts, said };
        let line = detector.until("listening on ");
        let place = line.split("listening on ").nth(1).unwrap();
        detector.address = place.split('/').next().unwrap().parse().unwrap();
        detector
    }

    /// The next line of stderr with `words` in it.
    #[track_caller]
    fn until(&self, words: &str) -> String {
        let start = Instant::now();
        let mut before = Vec::new();
        while start.elapsed() < PATIENCE {
            match self.said.recv_timeout(PATIENCE) {
                Ok(line) if line.contains(words) => return line,
                Ok(line) => before.push(line),
                Err(_) => break,
            }
        }
        panic!("no {words} in {before:#?}");
    }

    #[track_caller]
    fn alert(&self) -> String {
        self.alerts.recv_timeout(PATIENCE).expect("an alert")
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Ends it: the alerts that are left.
    fn end(mut self) -> Vec<String> {
        self.signal(rustix::process::Signal::TERM);
        let status = self.child.wait().unwrap();
        let left: Vec<String> = self.alerts.iter().collect();
        let said: Vec<String> = self.said.iter().collect();
        assert!(status.success(), "{status}: {said:#?}");
        assert!(!said.iter().any(|line| line.contains("not delivered")), "{said:#?}");
        left
    }
}

impl Drop for Detector {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lines(stream: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

fn post(address: SocketAddr, body: &str) -> u16 {
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!(
        "POST /k8s-audit HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes())).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{answer}"))
}

fn event(name: &str) -> String {
    format!(
        r#"{{"kind":"Event","apiVersion":"audit.k8s.io/v1","auditID":"1","stage":"ResponseComplete","verb":"create","user":{{"username":"{name}"}},"stageTimestamp":"2018-10-26T19:28:10Z"}}"#
    )
}

fn audit(rule: &str) -> String {
    format!(
        "- rule: {rule}\n  desc: d\n  condition: ka.verb = create\n  output: {rule} %ka.user.name\n  priority: WARNING\n  source: k8s_audit\n"
    )
}

const ANY: &str = "http://127.0.0.1:0/k8s-audit";

#[test]
fn rules_change_while_it_runs_and_broken_ones_leave_the_old() {
    use rustix::process::Signal;
    let folder = Folder::new();
    let rules = folder.file("r.yaml", &audit("first"));
    let detector = Detector::start(&rules, ANY, &[]);
    assert_eq!(post(detector.address, &event("a")), 200);
    assert!(detector.alert().ends_with("Warning first a"));
    folder.file("r.yaml", "- rule: broken\n  desc: [\n");
    detector.until("not reloaded, the old rules stay");
    assert_eq!(post(detector.address, &event("b")), 200);
    assert!(detector.alert().ends_with("Warning first b"));
    // Made beside and renamed, as editors do.
    let beside = folder.file("beside", &audit("second"));
    std::fs::rename(beside, &rules).unwrap();
    detector.until("rules reloaded: 1 are switched on");
    assert_eq!(post(detector.address, &event("c")), 200);
    let alert = detector.alert();
    // It was left for the source, which takes it before the next payload but one.
    assert!(alert.ends_with("Warning second c") || alert.ends_with("Warning first c"), "{alert}");
    assert_eq!(post(detector.address, &event("d")), 200);
    assert!(detector.alert().ends_with("Warning second d"));
    std::fs::remove_file(&rules).unwrap();
    detector.signal(Signal::HUP);
    detector.until("SIGHUP received, restarting...");
    detector.until("not reloaded, the old rules stay");
    assert_eq!(post(detector.address, &event("e")), 200);
    assert!(detector.alert().ends_with("Warning second e"));
    assert_eq!(detector.end(), [] as [&str; 0]);
}

#[test]
fn a_storm_of_signals_loses_nothing() {
    use rustix::process::Signal;
    let folder = Folder::new();
    let rules = folder.file("r.yaml", &audit("first"));
    let file = folder.0.path().join("alerts");
    let option = format!("file_output.filename={}", file.display());
    let detector = Detector::start(&rules, ANY, &["-o", "file_output.enabled=true", "-o", &option]);
    const POSTS: usize = 211;
    let mut accepted = 0;
    for number in 0..POSTS {
        detector.signal(Signal::HUP);
        detector.signal(Signal::USR1);
        accepted += usize::from(post(detector.address, &event(&number.to_string())) == 200);
    }
    // At once: what was accepted is judged all the same.
    let alerts = detector.end();
    let written = std::fs::read_to_string(&file).unwrap().lines().count();
    assert_eq!((alerts.len(), written), (accepted, accepted));
    assert!(accepted > 0);
}

#[test]
fn lists_batches_and_busy_hours_add_up() {
    let folder = Folder::new();
    let rules = folder.file("r.yaml", &audit("first"));
    let detector = Detector::start(&rules, ANY, &[]);
    let list = format!(
        r#"{{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":[{}]}}"#,
        vec![event("l"); 7].join(",")
    );
    let batch = format!("[{}]", vec![event("b"); 5].join(","));
    assert_eq!((post(detector.address, &list), post(detector.address, &batch)), (200, 200));
    for _ in 0..12 {
        detector.alert();
    }
    assert_eq!(post(detector.address, "rubbish"), 200);
    detector.until("nabe: warning: k8s_audit: ");
    // More at once than can wait: each is taken or refused with 503, and what is taken is judged.
    const EACH: usize = 200;
    let many = format!("[{}]", vec![event("m"); EACH].join(","));
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let (address, many) = (detector.address, many.clone());
            std::thread::spawn(move || (0..25).map(|_| post(address, &many)).collect::<Vec<u16>>())
        })
        .collect();
    let answers: Vec<u16> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    assert!(answers.iter().all(|answer| [200, 503].contains(answer)), "{answers:?}");
    let accepted = answers.iter().filter(|answer| **answer == 200).count();
    assert_eq!(detector.end().len(), accepted * EACH, "{} busy", answers.len() - accepted);
}

#[test]
fn audit_events_over_tls() {
    let test = "audit_events_over_tls";
    if program("openssl").is_none() {
        return skip(test, "openssl is not installed");
    }
    let folder = Folder::new();
    let rules = folder.file("r.yaml", &audit("first"));
    let (key, certificate) = (folder.0.path().join("key"), folder.0.path().join("certificate"));
    let mut command = support::command("openssl");
    command.args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
    ]);
    command.args(["-subj", "/CN=localhost", "-keyout"]).arg(&key).arg("-out").arg(&certificate);
    Run::of(&mut command).ok();
    let both = std::fs::read_to_string(&certificate).unwrap() + &std::fs::read_to_string(&key).unwrap();
    let pem = folder.file("pem", &both);
    let detector =
        Detector::start(&rules, "https://127.0.0.1:0/k8s-audit", &["--certificate", pem.to_str().unwrap()]);
    let tls = ureq::tls::TlsConfig::builder().disable_verification(true).build();
    let agent: ureq::Agent = ureq::Agent::config_builder().tls_config(tls).build().into();
    let url = format!("https://{}/k8s-audit", detector.address);
    let answer = agent.post(&url).content_type("application/json").send(event("t")).unwrap();
    assert_eq!(answer.status().as_u16(), 200);
    assert!(detector.alert().ends_with("Warning first t"));
    detector.end();
    let run = Run::of(
        nabe_command([
            "detect",
            "--no-kernel",
            "--k8s-audit",
            "https://127.0.0.1:0/x",
            "--certificate",
            "/nonexistent",
            "-r",
        ])
        .arg(&rules),
    );
    assert_eq!(run.status, Some(1), "{}", run.stderr);
    assert!(run.stderr.contains("/nonexistent"), "{}", run.stderr);
}

/// `nabe falco` without a kernel until TERM; its stderr.
struct Idle(Child);

impl Idle {
    fn start(folder: &Folder, arguments: &[&str]) -> (Self, Receiver<String>) {
        let rules = folder.file("r.yaml", &rule("evt.type=open", "o"));
        let mut command = nabe_command(["falco", "-o", "engine.kind=nodriver", "-r"]);
        command.arg(rules).args(arguments).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let said = lines(child.stderr.take().unwrap());
        (Self(child), said)
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn hot_reload_and_metrics_without_a_driver() {
    let folder = Folder::new();
    let options = [
        "-o",
        "webserver.enabled=true",
        "-o",
        "webserver.listen_address=127.0.0.1",
        "-o",
        "webserver.listen_port=0",
        "-o",
        "webserver.prometheus_metrics_enabled=true",
        "-o",
        "metrics.enabled=true",
        "-o",
        "metrics.output_rule=false",
    ];
    let (mut idle, said) = Idle::start(&folder, &options);
    let wait = |words: &str| loop {
        let line = said.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no {words}"));
        if line.contains(words) {
            return line;
        }
    };
    let line = wait("serving on ");
    let address: SocketAddr = line.split("serving on ").nth(1).unwrap().trim().parse().unwrap();
    let get = |path: &str| {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    assert!(get("/healthz").contains("{\"status\": \"ok\"}"));
    assert!(get("/versions").contains("\"falco_version\""));
    let metrics = get("/metrics");
    for name in [
        "falcosecurity_falco_version_info",
        "falcosecurity_falco_sha256_rules_files_info",
        "falcosecurity_falco_outputs_queue_num_drops_total",
    ] {
        assert!(metrics.contains(name), "{name}: {metrics}");
    }
    assert!(get("/nothing").starts_with("HTTP/1.1 404"));
    let pid = rustix::process::Pid::from_raw(i32::try_from(idle.0.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
    wait("SIGHUP received, restarting...");
    wait("rules reloaded: 1 are switched on");
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(idle.0.wait().unwrap().success());
}
