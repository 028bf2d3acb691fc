//! `nabe detect` on any JSON: files, files that grow, standard input, a webhook, together with audit
//! events of Kubernetes in one process.

#[path = "../../scap/tests/shared/mod.rs"]
mod shared;
mod support;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use support::{Run, Running, directory, nabe_command};

const RULES: &str = "
- list: admins
  items: [root, ada]
- macro: is_login
  condition: json.value[/action] = login
- rule: Admin login
  desc: d
  condition: is_login and json.value[/user/name] in (admins)
  output: \"%json.value[/user/name] from %json.value[/from/0] (%evt.source %evt.pluginname)\"
  priority: WARNING
  source: json
- rule: Failed login
  desc: d
  condition: jevt.value[/action] = login and jevt.value[/ok] = false
  output: \"%jevt.obj\"
  priority: NOTICE
  source: json
  nabe: {threshold: 'count(2 in 10m by json.value[/user/name])'}
";

fn detect(folder: &Path, rules: &str, arguments: &[&str]) -> Command {
    let path = folder.join("rules.yaml");
    std::fs::write(&path, rules).unwrap();
    let mut command = nabe_command(["detect", "--json", "--no-kernel", "-r"]);
    command.arg(path).args(arguments);
    command
}

fn alerts(run: &Run) -> Vec<Value> {
    run.lines().iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

const LOGINS: &str = r#"{"action":"login","user":{"name":"ada"},"from":["10.0.0.1"],"ok":true}
{"action":"logout","user":{"name":"ada"}}
{
  "action": "login",
  "user": {"name": "bob"},
  "ok": false
}
rubbish
{"action":"login","user":{"name":"bob"},"ok":false}[{"action":"login","user":{"name":"root"},"from":["::1"]}]
"#;

/// What comes of `LOGINS`, from wherever they come.
fn check(run: &Run) {
    let alerts = alerts(run);
    let told: Vec<_> = alerts
        .iter()
        .map(|alert| (alert["rule"].as_str().unwrap(), alert["source"].as_str().unwrap()))
        .collect();
    assert_eq!(
        told,
        [("Admin login", "json"), ("Failed login", "json"), ("Admin login", "json")],
        "{}",
        run.stderr
    );
    let output = alerts[0]["output"].as_str().unwrap();
    assert!(output.ends_with("Warning ada from 10.0.0.1 (json json)"), "{output}");
    assert_eq!(alerts[2]["output_fields"]["json.value[/from/0]"], "::1");
    assert!(run.stderr.contains("json: not JSON"), "{}", run.stderr);
    assert!(run.stderr.contains("5 events judged"), "{}", run.stderr);
}

#[test]
fn documents_come_from_files_and_from_standard_input() {
    let folder = directory();
    let file = folder.path().join("events.json");
    std::fs::write(&file, LOGINS).unwrap();
    check(&Run::of(&mut detect(folder.path(), RULES, &["--json-events", file.to_str().unwrap()])).ok());

    let mut command = detect(folder.path(), RULES, &["--json-events", "-"]);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    // In pieces that end anywhere.
    for piece in LOGINS.as_bytes().chunks(7) {
        input.write_all(piece).unwrap();
    }
    drop(input);
    let output = child.wait_with_output().unwrap();
    check(&Run {
        status: output.status.code(),
        stdout: output.stdout,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    });

    // By the configuration, as the plugin that Falco has for the fields.
    let config = folder.path().join("falco.yaml");
    let text = format!(
        "load_plugins: [json]\nplugins:\n- {{name: json, library_path: libjson.so, open_params: {}}}\n\
         json_output: true\nstdout_output: {{enabled: true}}\nengine: {{kind: nodriver}}\n",
        file.display()
    );
    std::fs::write(&config, text).unwrap();
    let run =
        Run::of(nabe_command(["falco", "-c"]).arg(&config).arg("-r").arg(folder.path().join("rules.yaml")));
    let lines = run.lines();
    let alerts = lines.iter().filter(|line| line.starts_with('{')).count();
    assert_eq!((run.status, alerts), (Some(0), 3), "{}", run.stderr);
}

#[test]
fn fields_of_other_sources_are_refused() {
    let folder = directory();
    for (condition, near) in
        [("ka.verb = get", ""), ("proc.name = a", ""), ("json.valeu[/a] = b", "json.value")]
    {
        let rules = format!(
            "- rule: r\n  desc: d\n  condition: {condition}\n  output: o\n  priority: INFO\n  source: json\n"
        );
        let run = Run::of(&mut detect(folder.path(), &rules, &["--json-events", "/dev/null"]));
        assert_eq!(run.status, Some(1), "{condition}");
        assert!(
            run.stderr.contains("LOAD_ERR_COMPILE_CONDITION") && run.stderr.contains(near),
            "{}",
            run.stderr
        );
    }
}

#[test]
fn audit_events_are_documents_too() {
    let Some(data) = shared::data("audit_events_are_documents_too") else { return };
    let folder = directory();
    let rules = "
- rule: Pod
  desc: d
  condition: json.value[/objectRef/resource] = pods and json.value[/verb] = create
  output: \"%json.value[/user/username] %json.value[/requestObject/spec/containers/0/image]\"
  priority: NOTICE
  source: json
- rule: Privileged
  desc: d
  condition: ka.verb = create and ka.req.pod.containers.privileged intersects (true)
  output: \"%ka.user.name\"
  priority: WARNING
  source: k8s_audit
";
    let file = data.join("plugin-json/falco-0.34.1/k8s_audit/create_nginx_pod_privileged.json");
    let file = file.to_str().unwrap();
    let run = Run::of(&mut detect(folder.path(), rules, &["--json-events", file, "--k8s-audit", file])).ok();
    let mut told: Vec<_> = alerts(&run)
        .iter()
        .map(|alert| {
            (
                alert["source"].to_string(),
                alert["output"].as_str().unwrap().split_once(' ').unwrap().1.to_owned(),
            )
        })
        .collect();
    told.sort();
    let who = "system:serviceaccount:kube-system:replicaset-controller";
    assert_eq!(
        told,
        [
            ("\"json\"".to_owned(), format!("Notice {who} nginx")),
            ("\"k8s_audit\"".to_owned(), format!("Warning {who}")),
        ]
    );
}

/// Reads lines of stderr until one tells the address of the webhook.
fn address(errors: &mut impl std::io::BufRead) -> String {
    let mut line = String::new();
    while errors.read_line(&mut line).unwrap() > 0 {
        if let Some((_, address)) = line.trim_end().split_once("listening on ") {
            return address.trim_end_matches('/').to_owned();
        }
        line.clear();
    }
    panic!("no address");
}

#[test]
fn documents_come_from_a_webhook_and_a_file_that_grows_at_once() {
    let folder = directory();
    let file = folder.path().join("app.log");
    std::fs::write(&file, "{\"action\":\"login\",\"user\":{\"name\":\"before\"}}\n").unwrap();
    let follow = format!("file://{}", file.display());
    let arguments = ["--json-events", "http://127.0.0.1:0", "--json-events", &follow];
    let mut command = detect(folder.path(), RULES, &arguments);
    let mut detector = Running::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
    let mut errors = BufReader::new(detector.child.stderr.take().unwrap());
    let address = address(&mut errors);
    let mut lines = BufReader::new(detector.child.stdout.take().unwrap()).lines();

    let body = r#"[{"action":"login","user":{"name":"ada"},"from":["web"]},{"action":"login"}]"#;
    let mut stream = TcpStream::connect(&address).unwrap();
    let request = format!(
        "POST / HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(lines.next().unwrap().unwrap().contains("ada from web"));

    let mut log = std::fs::OpenOptions::new().append(true).open(&file).unwrap();
    log.write_all(b"{\"action\":\"login\",\"user\":{\"name\":\"root\"},\"from\":[\"log\"]}\n").unwrap();
    assert!(lines.next().unwrap().unwrap().contains("root from log"));

    detector.signal(rustix::process::Signal::INT);
    let mut told = String::new();
    errors.read_to_string(&mut told).unwrap();
    assert!(told.contains("3 events judged"), "{told}");
    assert_eq!(detector.finish().2, Some(0));
}
