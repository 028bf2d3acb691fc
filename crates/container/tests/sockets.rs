//! Engines' sockets, good and bad: what they say is taken, what they do wrong is
//! told in one sentence, and nothing lasts longer than the deadline.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nabe_container::{Config, Engine, Liveness, Resolution, Resolver, Wanted, engines, identify_any};

const ID: &str = "34dc0b5e626f2c5c4c5170e34b10e7654ce36f0fcd532739f4445baabea03376";
/// Far above the deadline, far below a hang: what a busy machine may add.
const PATIENCE: Duration = Duration::from_secs(20);

struct Engines {
    directory: tempfile::TempDir,
    config: Config,
}

impl Engines {
    fn new() -> Engines {
        let directory = tempfile::tempdir().expect("temporary directory");
        let mut config = Config::default();
        config.root = directory.path().join("root");
        config.deadline = Duration::from_millis(250);
        Engines { directory, config }
    }

    fn socket(&mut self, engine: Engine) -> PathBuf {
        let path = self.directory.path().join(format!("{engine}.sock"));
        self.config.sockets.push((engine, path.clone()));
        path
    }

    /// A server that treats every connection so, in a thread that ends with
    /// the test program.
    fn serve(
        &mut self,
        engine: Engine,
        treat: impl Fn(UnixStream) + Send + Sync + Clone + 'static,
    ) -> PathBuf {
        let path = self.socket(engine);
        let listener = UnixListener::bind(&path).expect("socket");
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let treat = treat.clone();
                std::thread::spawn(move || treat(stream));
            }
        });
        path
    }

    fn resolve(&self, path: &str) -> Resolution {
        let paths = [path.as_bytes()];
        let wanted = [Wanted { cgroup_paths: &paths, pids: &[], identity: identify_any(&paths) }];
        let start = Instant::now();
        let resolution = Resolver::new(self.config.clone()).resolve(&wanted);
        assert!(start.elapsed() < PATIENCE, "took {:?}", start.elapsed());
        resolution
    }
}

/// Reads the request's head and returns its first line.
fn request(stream: &mut UnixStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0u8];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
        head.push(byte[0]);
    }
    String::from_utf8_lossy(&head).lines().next().unwrap_or_default().to_owned()
}

fn answer(mut stream: UnixStream, status: &str, body: &str) {
    let _ = write!(stream, "HTTP/1.0 {status}\r\nContent-Type: application/json\r\n\r\n{body}");
}

fn json(routes: &'static [(&'static str, &'static str)]) -> impl Fn(UnixStream) + Send + Sync + Clone {
    move |mut stream| {
        let line = request(&mut stream);
        match routes.iter().find(|(route, _)| line.starts_with(route)) {
            Some((_, body)) => answer(stream, "200 OK", body),
            None => answer(stream, "404 Not Found", "{}"),
        }
    }
}

#[test]
fn docker_answers() {
    let mut engines = Engines::new();
    engines.serve(
        Engine::Docker,
        json(&[
            ("GET /_ping ", "OK"),
            (
                "GET /containers/json?all=1 ",
                r#"[{"Id":"other","Names":["/no"]},{"Id":"34dc0b5e626f2c5c4c5170e34b10e7654ce36f0fcd532739f4445baabea03376",
                "Names":["/web"],"Image":"nginx","ImageID":"sha256:1","Labels":{"b":"2","a":"1"}}]"#,
            ),
        ]),
    );
    for path in [format!("/docker/{ID}"), format!("/any/{ID}")] {
        let resolution = engines.resolve(&path);
        let found = resolution.found[0].as_ref().expect("found");
        assert_eq!((found.engine, found.name.as_deref()), (Engine::Docker, Some("web")));
        assert_eq!(found.image.as_deref(), Some("nginx"));
        assert_eq!(found.labels, [("a".into(), "1".into()), ("b".into(), "2".into())]);
        assert_eq!(found.source, "docker API");
        assert_eq!(resolution.notes, []);
    }
}

#[test]
fn podman_and_crio_answer() {
    let mut engines = Engines::new();
    engines.serve(
        Engine::Podman,
        json(&[(
            "GET /v4.0.0/libpod/containers/json?all=true&pod=true ",
            r#"[{"Id":"34dc0b5e626f2c5c4c5170e34b10e7654ce36f0fcd532739f4445baabea03376","Names":["db"],
            "Image":"pg:16","Labels":null,"Pid":31,"IsInfra":false,"Pod":"p1","PodName":"pod","StartedAt":1709209845}]"#,
        )]),
    );
    engines.serve(
        Engine::CriO,
        json(&[(
            "GET /containers/34dc0b5e626f2c5c4c5170e34b10e7654ce36f0fcd532739f4445baabea03376 ",
            r#"{"name":"k8s_app","pid":32,"image":"quay.io/app","image_ref":"r","root":"/r","labels":{
            "io.kubernetes.container.name":"app","io.kubernetes.pod.name":"web-0","io.kubernetes.pod.namespace":"prod"}}"#,
        )]),
    );
    let found = engines.resolve(&format!("/machine.slice/libpod-{ID}.scope")).found.remove(0);
    let found = found.expect("found");
    assert_eq!((found.engine, found.name.as_deref()), (Engine::Podman, Some("db")));
    assert_eq!(found.init_pid, Some(31));
    assert_eq!(found.started_at, Some(1_709_209_845_000_000_000));
    assert_eq!(found.pod.and_then(|pod| pod.name).as_deref(), Some("pod"));
    let found = engines.resolve(&format!("/kubepods/x/crio-{ID}")).found.remove(0);
    let found = found.expect("found");
    assert_eq!((found.engine, found.name.as_deref()), (Engine::CriO, Some("app")));
    assert_eq!(found.init_pid, Some(32));
    assert_eq!(found.pod.and_then(|pod| pod.namespace).as_deref(), Some("prod"));
}

/// How a server goes wrong.
type Treat = fn(UnixStream);

/// What an engine does wrong, and the end of the sentence that says so.
fn wrongs() -> Vec<(&'static str, Treat)> {
    fn endless(mut stream: UnixStream, head: &[u8], data: &[u8]) {
        let _ = stream.write_all(head);
        while stream.write_all(data).is_ok() {}
    }
    vec![
        ("did not answer within 250 ms", |_stream| std::thread::sleep(PATIENCE)),
        ("did not answer within 250 ms", |mut stream| {
            let _ = stream.write_all(b"HTTP/1.0 200 OK\r\n\r\n[");
            std::thread::sleep(PATIENCE);
        }),
        ("did not answer within 250 ms", |mut stream| {
            // A byte now and then must not renew the deadline.
            let _ = stream.write_all(b"HTTP/1.0 200 OK\r\n\r\n");
            while stream.write_all(b" ").is_ok() {
                std::thread::sleep(Duration::from_millis(20));
            }
        }),
        ("answered with something that is not HTTP", |mut stream| {
            request(&mut stream);
            let _ = stream.write_all(b"\x00\x01garbage\xff\r\n\r\n");
        }),
        ("answered with something that is not HTTP", |mut stream| drop(request(&mut stream))),
        ("answered with something that is not HTTP", |mut stream| {
            request(&mut stream);
            endless(stream, b"HTTP/1.0 200 OK\r\n", b"X-Fill: 0123456789\r\n")
        }),
        ("answered with something that is not a list of containers", |mut stream| {
            request(&mut stream);
            answer(stream, "200 OK", "{\"x\":");
        }),
        ("answered with something that is not whole", |mut stream| {
            request(&mut stream);
            let _ = stream.write_all(b"HTTP/1.0 200 OK\r\nContent-Length: 900\r\n\r\n[]");
        }),
        ("answered with status 500", |mut stream| {
            request(&mut stream);
            answer(stream, "500 Internal Server Error", "[]");
        }),
    ]
}

#[test]
fn a_bad_engine_is_told_and_not_waited_for() {
    for (expect, treat) in wrongs() {
        let mut engines = Engines::new();
        engines.config.ping = Duration::ZERO;
        let socket = engines.serve(Engine::Docker, treat);
        let resolution = engines.resolve(&format!("/docker/{ID}"));
        assert_eq!(resolution.found, [None]);
        let notes: Vec<&str> = resolution.notes.iter().map(|n| n.message.as_str()).collect();
        assert_eq!(notes, [format!("docker: {} {expect}", socket.display())]);
    }
}

#[test]
fn endless_data_ends_at_the_deadline_or_the_limit() {
    let mut engines = Engines::new();
    engines.config.ping = Duration::ZERO;
    engines.serve(Engine::Docker, |mut stream| {
        let _ = stream.write_all(b"HTTP/1.0 200 OK\r\n\r\n");
        while stream.write_all(&[b' '; 65536]).is_ok() {}
    });
    let message = engines.resolve(&format!("/docker/{ID}")).notes.remove(0).message;
    let ends = ["answered with more than 64 MiB", "did not answer within 250 ms"];
    assert!(ends.iter().any(|end| message.ends_with(end)), "{message}");
}

#[test]
fn sockets_that_cannot_be_opened() {
    let mut engines = Engines::new();
    let missing = engines.socket(Engine::Docker);
    let message = engines.resolve(&format!("/docker/{ID}")).notes.remove(0).message;
    assert_eq!(message, format!("docker: {} does not exist", missing.display()));

    let mut engines = Engines::new();
    let dead = engines.socket(Engine::Docker);
    drop(UnixListener::bind(&dead).expect("socket"));
    let message = engines.resolve(&format!("/docker/{ID}")).notes.remove(0).message;
    let refused = "refused the connection: the daemon does not run";
    assert!(message.starts_with(&format!("docker: {} {refused}", dead.display())), "{message}");

    if rustix::process::geteuid().is_root() {
        eprintln!("SKIP sockets: root may open every socket");
        return;
    }
    use std::os::unix::fs::PermissionsExt;
    let mut engines = Engines::new();
    let closed = engines.socket(Engine::Docker);
    let _listener = UnixListener::bind(&closed).expect("socket");
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o000)).expect("chmod");
    let message = engines.resolve(&format!("/docker/{ID}")).notes.remove(0).message;
    let expect = format!("docker: {} cannot be opened: permission denied", closed.display());
    assert_eq!(message, expect);
}

#[test]
fn a_full_queue_is_not_waited_for() {
    let mut engines = Engines::new();
    engines.config.ping = Duration::ZERO;
    let path = engines.socket(Engine::Docker);
    let _listener = UnixListener::bind(&path).expect("socket");
    // Nobody accepts: the queue fills, then a blocking connect would hang.
    let mut queued = Vec::new();
    loop {
        let fd = rustix::net::socket_with(
            rustix::net::AddressFamily::UNIX,
            rustix::net::SocketType::STREAM,
            rustix::net::SocketFlags::NONBLOCK,
            None,
        )
        .expect("socket");
        let address = rustix::net::SocketAddrUnix::new(&path).expect("address");
        if rustix::net::connect(&fd, &address).is_err() || queued.len() > 10_000 {
            break;
        }
        queued.push(fd);
    }
    let message = engines.resolve(&format!("/docker/{ID}")).notes.remove(0).message;
    assert_eq!(message, format!("docker: {} did not answer within 250 ms", path.display()));
}

#[test]
fn one_bad_engine_does_not_hide_a_good_one() {
    let mut engines = Engines::new();
    engines.serve(Engine::Docker, |_stream| std::thread::sleep(PATIENCE));
    engines.serve(
        Engine::Podman,
        json(&[(
            "GET /v4.0.0/libpod/containers/json",
            r#"[{"Id":"34dc0b5e626f2c5c4c5170e34b10e7654ce36f0fcd532739f4445baabea03376","Names":["db"]}]"#,
        )]),
    );
    let resolution = engines.resolve(&format!("/any/{ID}"));
    let found = resolution.found[0].as_ref().expect("found");
    assert_eq!((found.engine, found.name.as_deref()), (Engine::Podman, Some("db")));
    assert!(resolution.notes[0].message.starts_with("docker: "), "{:?}", resolution.notes);
}

#[test]
fn a_silent_engine_with_good_files_is_only_noted() {
    let mut engines = Engines::new();
    engines.config.deadline = PATIENCE;
    let socket = engines.serve(Engine::Docker, |_stream| std::thread::sleep(PATIENCE * 3));
    let file = engines.config.root.join("var/lib/docker/containers").join(ID);
    std::fs::create_dir_all(&file).expect("directory");
    let config = format!(r#"{{"ID":"{ID}","Name":"/web","Config":{{"Image":"nginx"}}}}"#);
    std::fs::write(file.join("config.v2.json"), config).expect("file");
    let resolution = engines.resolve(&format!("/docker/{ID}"));
    let found = resolution.found[0].as_ref().expect("found");
    assert_eq!(found.name.as_deref(), Some("web"));
    let notes: Vec<&str> = resolution.notes.iter().map(|n| n.message.as_str()).collect();
    let expect = "did not answer within 100 ms; what is shown of it comes from its files";
    assert_eq!(notes, [format!("docker: {} {expect}", socket.display())]);
}

#[test]
fn the_doctor_tries_each_engine() {
    let mut all = Engines::new();
    all.serve(Engine::Docker, json(&[("GET /version ", r#"{"Version":"27.1"}"#)]));
    all.serve(Engine::CriO, |_stream| std::thread::sleep(PATIENCE));
    all.serve(Engine::Containerd, |mut stream| {
        let _ = stream.write_all(b"\x00\x00\x00\x04\x00\x00\x00\x00\x00");
        let _ = stream.read(&mut [0u8; 64]);
    });
    let start = Instant::now();
    let statuses = engines(&all.config);
    assert!(start.elapsed() < PATIENCE);
    let of = |engine| statuses.iter().find(|status| status.engine == engine).expect("listed");
    assert_eq!(of(Engine::Docker).liveness, Liveness::Answers);
    assert_eq!(of(Engine::Docker).version.as_deref(), Some("27.1"));
    assert_eq!(of(Engine::Containerd).liveness, Liveness::Answers);
    let hangs = Liveness::Fails("did not answer within 250 ms".to_owned());
    assert_eq!(of(Engine::CriO).liveness, hangs);
    assert_eq!(of(Engine::Podman).liveness, Liveness::NoSocket);
    assert_eq!(of(Engine::Runc).liveness, Liveness::NoDaemon);
}
