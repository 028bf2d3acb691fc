//! Metadata from engines' files below a made-up root: every engine in the form
//! its own version writes, broken forms, and files of the wrong owner.

use std::path::{Path, PathBuf};
use std::time::Duration;

use nabe_container::{Config, Engine, Metadata, Resolution, Resolver, Wanted, identify_any};

mod bolt_writer;
use bolt_writer::{Node, bucket, values};

const ID: &str = "34dc0b5e626f2c5c4c5170e34b10e7654ce36f0fcd532739f4445baabea03376";
const OTHER: &str = "7e9139716d9e5d762d22f9f877b87d1be8b1449ac912c025a984750c5dbff157";

struct Host(tempfile::TempDir);

impl Host {
    fn new() -> Host {
        Host(tempfile::tempdir().expect("temporary directory"))
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path.trim_start_matches('/'))
    }

    fn write(&self, path: &str, text: impl AsRef<[u8]>) -> &Host {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().expect("parent")).expect("directory");
        std::fs::write(path, text).expect("file");
        self
    }

    fn config(&self) -> Config {
        let mut config = Config::default();
        config.root = self.0.path().to_path_buf();
        config.deadline = Duration::from_secs(10);
        config
    }

    fn resolve(&self, paths: &[&str]) -> Resolution {
        let paths: Vec<&[u8]> = paths.iter().map(|path| path.as_bytes()).collect();
        let identity = identify_any(&paths);
        let wanted = [Wanted { cgroup_paths: &paths, pids: &[], identity }];
        Resolver::new(self.config()).resolve(&wanted)
    }

    fn find(&self, path: &str) -> Option<Metadata> {
        self.resolve(&[path]).found.pop().flatten()
    }
}

fn text(value: &Option<String>) -> &str {
    value.as_deref().unwrap_or("-")
}

fn docker_config(id: &str, name: &str) -> String {
    format!(
        r#"{{"ID":"{id}","Name":"/{name}","Image":"sha256:1234","Driver":"overlay2",
        "State":{{"Running":true,"Pid":4242,"StartedAt":"2024-02-29T12:30:45.5Z"}},
        "Config":{{"Image":"nginx:1.27","Labels":{{"com.docker.compose.service":"web","a":"b"}}}},
        "Path":"sh","Unknown":{{"x":[1,2]}}}}"#
    )
}

#[test]
fn docker() {
    let host = Host::new();
    host.write(&format!("/var/lib/docker/containers/{ID}/config.v2.json"), docker_config(ID, "web"))
        .write(&format!("/var/lib/docker/image/overlay2/layerdb/mounts/{ID}/mount-id"), "abc123");
    for path in [format!("/docker/{ID}"), format!("/my/parent/{ID}")] {
        let found = host.find(&path).expect("found");
        assert_eq!(found.engine, Engine::Docker);
        assert_eq!(text(&found.name), "web");
        assert_eq!(text(&found.image), "nginx:1.27");
        assert_eq!(text(&found.image_id), "sha256:1234");
        assert_eq!(found.label("com.docker.compose.service"), Some("web"));
        assert_eq!(found.labels.first().map(|(key, _)| key.as_str()), Some("a"));
        assert_eq!(found.init_pid, Some(4242));
        assert_eq!(found.started_at, Some(1_709_209_845_500_000_000));
        assert_eq!(found.upper_dir, Some(host.path("/var/lib/docker/overlay2/abc123/diff")));
        assert_eq!(found.short_id(), "34dc0b5e626f");
        assert_eq!(found.source, "docker config.v2.json");
    }
}

#[test]
fn docker_with_another_data_root() {
    let host = Host::new();
    host.write("/etc/docker/daemon.json", r#"{"data-root":"/data/docker","log-driver":"x"}"#)
        .write(&format!("/data/docker/containers/{ID}/config.v2.json"), docker_config(ID, "far"));
    let found = host.find(&format!("/system.slice/docker-{ID}.scope")).expect("found");
    assert_eq!(text(&found.name), "far");
    assert_eq!(found.upper_dir, None, "no mount-id file");
}

#[test]
fn docker_files_that_lie_or_are_broken() {
    let file = format!("/var/lib/docker/containers/{ID}/config.v2.json");
    for text in [
        docker_config(OTHER, "liar"),
        String::new(),
        "{".to_owned(),
        "[1,2,3]".to_owned(),
        "null".to_owned(),
        "[".repeat(200_000),
        docker_config(ID, "cut").chars().take(100).collect(),
    ] {
        let host = Host::new();
        host.write(&file, &text);
        let resolution = host.resolve(&[&format!("/docker/{ID}")]);
        assert_eq!(resolution.found, [None], "{}", text.get(..20).unwrap_or(&text));
        assert_eq!(resolution.notes.len(), 1, "{:?}", resolution.notes);
        let message = &resolution.notes[0].message;
        assert!(message.starts_with("docker: container 34dc0b5e626f has no name: "), "{message}");
    }
}

#[test]
fn a_fifo_in_place_of_a_file_delays_nothing() {
    let host = Host::new();
    let file = format!("/var/lib/docker/containers/{ID}/config.v2.json");
    host.write(&file, "");
    std::fs::remove_file(host.path(&file)).expect("remove");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        host.path(&file),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .expect("fifo");
    // Blocking would last until the deadline of ten seconds and be noted so.
    let resolution = host.resolve(&[&format!("/docker/{ID}")]);
    assert_eq!(resolution.found, [None]);
    assert!(!resolution.notes[0].message.contains("did not answer"), "{:?}", resolution.notes);
}

#[test]
fn a_pod_of_dockershim() {
    let host = Host::new();
    let config = format!(
        r#"{{"ID":"{ID}","Name":"/k8s_nginx_web-0_prod_u_0","Config":{{"Image":"nginx@sha256:1",
        "Labels":{{"io.kubernetes.container.name":"nginx","io.kubernetes.pod.name":"web-0",
        "io.kubernetes.pod.namespace":"prod","io.kubernetes.pod.uid":"u",
        "io.kubernetes.docker.type":"podsandbox"}}}}}}"#
    );
    host.write(&format!("/var/lib/docker/containers/{ID}/config.v2.json"), config);
    let path = format!("/kubepods/besteffort/pod01042b28-179d-446a-954a-7266557e12cd/{ID}");
    let found = host.find(&path).expect("found");
    let pod = found.pod.expect("a pod");
    assert_eq!(text(&pod.name), "web-0");
    assert_eq!(text(&pod.namespace), "prod");
    assert_eq!(text(&pod.container_name), "nginx");
    assert!(found.infra);
}

fn containerd_db(namespace: &str, containers: Vec<(&str, Node)>) -> Vec<u8> {
    let containers = containers.into_iter().map(|(id, node)| (id.as_bytes().to_vec(), node));
    let tree = bucket([(
        "v1",
        bucket([
            ("version", Node::Value(vec![4])),
            ("default", bucket([("images", values(&[]))])),
            (namespace, bucket([("containers", Node::Bucket(containers.collect()))])),
        ]),
    )]);
    match tree {
        Node::Bucket(tree) => bolt_writer::write(&tree),
        Node::Value(_) => unreachable!("a bucket"),
    }
}

fn containerd_container(image: &str, labels: &[(&str, &str)]) -> Node {
    bucket([
        ("createdat", Node::Value(vec![1; 15])),
        ("image", Node::Value(image.as_bytes().to_vec())),
        ("labels", values(labels)),
        ("runtime", bucket([("name", Node::Value(b"io.containerd.runc.v2".to_vec()))])),
        ("spec", Node::Value(vec![b'{'; 6000])),
    ])
}

#[test]
fn containerd_of_kubernetes_in_any_place() {
    let labels = [
        ("io.cri-containerd.kind", "container"),
        ("io.kubernetes.container.name", "app"),
        ("io.kubernetes.pod.name", "shop-7d9f"),
        ("io.kubernetes.pod.namespace", "prod"),
        ("io.kubernetes.pod.uid", "01042b28-179d-446a-954a-7266557e12cd"),
    ];
    let pause = [
        ("io.cri-containerd.kind", "sandbox"),
        ("io.kubernetes.pod.name", "shop-7d9f"),
        ("io.kubernetes.pod.namespace", "prod"),
        ("io.kubernetes.pod.uid", "01042b28-179d-446a-954a-7266557e12cd"),
    ];
    let database = containerd_db(
        "k8s.io",
        vec![
            (ID, containerd_container("docker.io/library/shop:2", &labels)),
            (OTHER, containerd_container("registry.k8s.io/pause:3.9", &pause)),
        ],
    );
    for root in ["/var/lib/containerd", "/var/lib/rancher/k3s/agent/containerd"] {
        let host = Host::new();
        host.write(&format!("{root}/io.containerd.metadata.v1.bolt/meta.db"), &database);
        let pod = "kubepods-burstable-pod01042b28_179d_446a_954a_7266557e12cd.slice";
        let path = format!("/kubepods.slice/{pod}/cri-containerd-{ID}.scope");
        let found = host.find(&path).expect("found");
        assert_eq!(found.engine, Engine::Containerd);
        assert_eq!(text(&found.namespace), "k8s.io");
        assert_eq!(text(&found.name), "app");
        assert_eq!(text(&found.image), "docker.io/library/shop:2");
        assert_eq!(found.labels.len(), 5);
        assert!(!found.infra);
        let pod = found.pod.expect("a pod");
        assert_eq!((text(&pod.name), text(&pod.namespace)), ("shop-7d9f", "prod"));
        // cgroupfs driver: the path does not say whose it is.
        let found = host.find(&format!("/kubepods/burstable/podx/{OTHER}")).expect("found");
        assert_eq!(found.engine, Engine::Containerd);
        assert!(found.infra);
        assert_eq!(text(&found.name), "shop-7d9f");
    }
}

#[test]
fn containerd_names() {
    let cases: [(&[(&str, &str)], &str); 3] = [
        (&[("nerdctl/name", "web"), ("com.docker.compose.service", "s")], "web"),
        (&[("com.docker.compose.service", "svc")], "svc"),
        (&[], ID),
    ];
    for (labels, expect) in cases {
        let host = Host::new();
        let database = containerd_db("build", vec![(ID, containerd_container("img", labels))]);
        host.write("/var/lib/containerd/io.containerd.metadata.v1.bolt/meta.db", database);
        let found = host.find(&format!("/build/{ID}")).expect("found");
        assert_eq!(text(&found.name), expect);
    }
}

#[test]
fn containerd_container_of_a_free_name_by_its_cgroup() {
    let host = Host::new();
    let database = containerd_db("foo", vec![("mine", containerd_container("busybox", &[]))]);
    let bundle = "/run/containerd/io.containerd.runtime.v2.task/foo/mine";
    host.write("/var/lib/containerd/io.containerd.metadata.v1.bolt/meta.db", database)
        .write(&format!("{bundle}/init.pid"), "77\n")
        .write(&format!("{bundle}/config.json"), r#"{"linux":{"cgroupsPath":"/foo/mine"}}"#);
    for path in ["/foo/mine", "/foo/mine/below"] {
        let found = host.find(path).expect("found");
        assert_eq!((found.engine, found.id.as_str()), (Engine::Containerd, "mine"));
        assert_eq!(text(&found.image), "busybox");
        assert_eq!(found.init_pid, Some(77));
    }
    assert_eq!(host.find("/foo/mine2"), None);
    assert_eq!(host.find("/foo"), None);
}

fn storage_entry(id: &str, metadata: &str) -> String {
    let metadata = metadata.replace('"', "\\\"");
    format!(
        r#"[{{"id":"{id}","names":["first","second"],"image":"9da0","layer":"5832",
        "metadata":"{metadata}","created":"2024-02-29T12:30:45.5Z","flags":{{"a":""}}}}]"#
    )
}

#[test]
fn podman() {
    let host = Host::new();
    let storage = "/var/lib/containers/storage";
    let entry = storage_entry(ID, r#"{"image-name":"docker.io/library/web:1","name":"web"}"#);
    let config =
        format!(r#"{{"id":"{ID}","name":"web","labels":{{"app":"x"}},"pod":"{OTHER}","spec":{{}}}}"#);
    let database = bucket([
        (
            "ctr",
            bucket([(
                ID,
                bucket([
                    ("config", Node::Value(config.into_bytes())),
                    ("state", Node::Value(br#"{"startedTime":"2024-02-29T12:30:46Z"}"#.to_vec())),
                ]),
            )]),
        ),
        ("pod", bucket([(OTHER, values(&[("config", r#"{"id":"x","name":"mypod"}"#)]))])),
    ]);
    let Node::Bucket(database) = database else { unreachable!("a bucket") };
    host.write(&format!("{storage}/overlay-containers/containers.json"), entry)
        .write(&format!("{storage}/libpod/bolt_state.db"), bolt_writer::write(&database))
        .write(&format!("/run/containers/storage/overlay-containers/{ID}/userdata/pidfile"), "4711");
    let found = host.find(&format!("/machine.slice/libpod-{ID}.scope/container")).expect("found");
    assert_eq!(found.engine, Engine::Podman);
    assert_eq!(text(&found.name), "web");
    assert_eq!(text(&found.image), "docker.io/library/web:1");
    assert_eq!(found.label("app"), Some("x"));
    assert_eq!(found.init_pid, Some(4711));
    assert_eq!(found.started_at, Some(1_709_209_846_000_000_000));
    assert_eq!(found.upper_dir, Some(host.path(&format!("{storage}/overlay/5832/diff"))));
    let pod = found.pod.expect("a pod");
    assert_eq!((text(&pod.name), text(&pod.uid)), ("mypod", OTHER));
}

/// The database holds containers `…abc0` to `…abd3`, numbered in a label; number 3
/// is in a pod, number 4 is a pod's own.
#[test]
fn podman_5() {
    let storage = "/var/lib/containers/storage";
    for number in 0..20u32 {
        let host = Host::new();
        let id = format!("{:064x}", 0xabc0 + number);
        let entry = storage_entry(&id, r#"{"image-name":"web:1","name":"web"}"#);
        host.write(&format!("{storage}/overlay-containers/containers.json"), entry)
            .write(&format!("{storage}/db.sql"), include_bytes!("fixtures/podman5-db.sql"));
        let found = host.find(&format!("/machine.slice/libpod-{id}.scope")).expect("found");
        assert_eq!(found.label("number"), Some(number.to_string().as_str()));
        assert_eq!(found.started_at, Some(1_709_209_846_000_000_000));
        assert_eq!(found.infra, number == 4);
        let pod = found.pod.map(|pod| pod.name.unwrap_or_default());
        assert_eq!(pod.as_deref(), (number == 3).then_some("mypod"));
    }
}

#[test]
fn podman_of_a_user_speaks_for_that_user_only() {
    let host = Host::new();
    let entry = storage_entry(ID, r#"{"image-name":"web:1","name":"mine"}"#);
    host.write("/etc/passwd", "root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\n")
        .write("/home/ann/.local/share/containers/storage/overlay-containers/containers.json", entry)
        .write("/run/user/1000/x", "");
    let scope = format!("user.slice/libpod-{ID}.scope");
    let own = format!("/user.slice/user-1000.slice/user@1000.service/{scope}");
    assert_eq!(text(&host.find(&own).expect("found").name), "mine");
    for path in [
        format!("/user.slice/user-1001.slice/user@1001.service/{scope}"),
        format!("/machine.slice/libpod-{ID}.scope"),
        format!("/docker/{ID}"),
    ] {
        assert_eq!(host.find(&path), None, "{path}");
    }
}

#[test]
fn crio() {
    let host = Host::new();
    let entry = storage_entry(
        ID,
        r#"{"image-name":"quay.io/app:1","name":"k8s_app_web-0_prod_u-1_0","pod-name":"k8s_web-0_prod_u-1_0","metadata-name":"app"}"#,
    );
    let annotations = r#"{"annotations":{"io.kubernetes.pod.name":"web-0",
        "io.kubernetes.pod.namespace":"prod","io.kubernetes.pod.uid":"u-1",
        "io.kubernetes.container.name":"app","io.kubernetes.cri-o.ContainerType":"container",
        "io.kubernetes.cri-o.Labels":"{\"tier\":\"front\"}"}}"#;
    let run = "/run/containers/storage/overlay-containers";
    host.write(&format!("{run}/volatile-containers.json"), entry);
    let path = format!("/kubepods.slice/kubepods-podu1.slice/crio-{ID}.scope");
    for bundle in [false, true] {
        if bundle {
            host.write(&format!("{run}/{ID}/userdata/config.json"), annotations);
        }
        let found = host.find(&path).expect("found");
        assert_eq!(found.engine, Engine::CriO);
        assert_eq!(text(&found.name), "app");
        assert_eq!(text(&found.image), "quay.io/app:1");
        let pod = found.pod.clone().expect("a pod");
        assert_eq!((text(&pod.name), text(&pod.namespace)), ("web-0", "prod"));
        assert_eq!((text(&pod.uid), text(&pod.container_name)), ("u-1", "app"));
        assert_eq!(found.label("tier"), bundle.then_some("front"));
    }
}

#[test]
fn plain_runtimes_by_their_recorded_cgroup() {
    let host = Host::new();
    host.write(
        "/run/runc/one/state.json",
        r#"{"id":"one","init_process_pid":11,"created":"2024-02-29T12:30:45.5Z",
        "cgroup_paths":{"pids":"/sys/fs/cgroup/pids/any/where","name=systemd":"/sys/fs/cgroup/systemd/any/where"},
        "config":{"rootfs":"/r","labels":["team=core","bundle=/b/one"]}}"#,
    )
    .write(
        "/run/crun/two/status",
        r#"{"pid":12,"cgroup-path":"/else","rootfs":"/r2","bundle":"/b/two","created":"2024-02-29T12:30:45Z"}"#,
    )
    .write("/run/youki/three/state.json", r#"{"id":"three","pid":13,"bundle":"/b/three"}"#)
    .write("/run/youki/three/youki_config.json", r#"{"cgroup_path":":youki:three"}"#)
    .write("/run/runc/broken/state.json", "{{{");
    let cases = [
        ("/any/where", Engine::Runc, "one", 11),
        ("/any/where/inner", Engine::Runc, "one", 11),
        ("/else", Engine::Crun, "two", 12),
        ("/system.slice/youki-three.scope", Engine::Youki, "three", 13),
    ];
    for (path, engine, id, pid) in cases {
        let found = host.find(path).unwrap_or_else(|| panic!("nothing for {path}"));
        assert_eq!((found.engine, found.id.as_str(), found.init_pid), (engine, id, Some(pid)));
        assert_eq!(found.bundle.as_deref(), Some(Path::new(&format!("/b/{id}"))));
        assert_eq!(text(&found.name), id);
    }
    let found = host.find("/any/where").expect("found");
    assert_eq!(found.label("team"), Some("core"));
    assert_eq!(found.label("bundle"), None);
    for path in ["/any", "/any/wherever", "/", "/system.slice/cron.service"] {
        let resolution = host.resolve(&[path]);
        assert_eq!(resolution.found, [None], "{path}");
        assert_eq!(resolution.notes, [], "{path}");
    }
}

#[test]
fn machines_and_system_containers() {
    let host = Host::new();
    host.write(
        "/run/systemd/machines/fedora",
        "# This is private data. Do not parse.\nNAME=fedora\nSERVICE=systemd-nspawn\nROOT=/var/lib/machines/fedora\nLEADER=99\nREALTIME=1709209845500000\n",
    )
    .write("/var/lib/incus/containers/web/x", "")
    .write("/var/snap/lxd/common/lxd/containers/proj_db/x", "");
    let found = host.find("/machine.slice/systemd-nspawn@fedora.service/payload").expect("found");
    assert_eq!((found.engine, found.init_pid), (Engine::Nspawn, Some(99)));
    assert_eq!(found.started_at, Some(1_709_209_845_500_000_000));
    assert_eq!(found.rootfs.as_deref(), Some(Path::new("/var/lib/machines/fedora")));
    let cases = [
        ("/lxc.payload.web", Engine::Incus, "web"),
        ("/lxc.payload.proj_db/system.slice/x.service", Engine::Lxd, "db"),
        ("/lxc/plain", Engine::Lxc, "plain"),
    ];
    for (path, engine, name) in cases {
        let found = host.find(path).expect("found");
        assert_eq!((found.engine, text(&found.name)), (engine, name), "{path}");
    }
    let found = host.find("/lxc.payload.proj_db").expect("found");
    assert_eq!(text(&found.namespace), "proj");
}

#[test]
fn a_container_inside_a_known_one() {
    let host = Host::new();
    host.write(
        &format!("/var/lib/docker/containers/{ID}/config.v2.json"),
        docker_config(ID, "kind-control-plane"),
    );
    let path = format!("/docker/{ID}/kubelet/kubepods/burstable/podabcdef01-11/{OTHER}");
    let resolution = host.resolve(&[&path]);
    let found = resolution.found[0].as_ref().expect("found");
    assert_eq!((found.id.as_str(), found.engine, &found.name), (OTHER, Engine::Unknown, &None));
    let within = found.within.as_ref().expect("the outer container");
    assert_eq!(text(&within.name), "kind-control-plane");
    assert_eq!(resolution.notes, []);
}

#[test]
fn answers_are_remembered_and_notes_given_once() {
    let host = Host::new();
    let file = format!("/var/lib/docker/containers/{ID}/config.v2.json");
    host.write(&file, docker_config(ID, "web"));
    let (known, unknown) = (format!("/docker/{ID}"), format!("/docker/{OTHER}"));
    let paths: [[&[u8]; 1]; 2] = [[known.as_bytes()], [unknown.as_bytes()]];
    let wanted: Vec<Wanted<'_>> = paths
        .iter()
        .map(|paths| Wanted { cgroup_paths: paths, pids: &[], identity: identify_any(paths) })
        .collect();
    let mut resolver = Resolver::new(host.config());
    let first = resolver.resolve(&wanted);
    std::fs::remove_file(host.path(&file)).expect("remove");
    let second = resolver.resolve(&wanted);
    assert_eq!(first.found, second.found);
    assert_eq!(first.found.iter().filter(|found| found.is_some()).count(), 1);
    assert_eq!((first.notes.len(), second.notes.len()), (1, 0));
}

#[test]
fn settings() {
    let vars = |name: &str| {
        let value = match name {
            "NABE_ENGINE_SOCKETS" => "docker=/a/docker.sock, cri-o=unix:///b/crio.sock",
            "NABE_ENGINE_ROOTS" => "containerd=/state:/root",
            "NABE_ENGINE_DEADLINE" => "1.5s",
            "DOCKER_HOST" => "unix:///ignored",
            "CONTAINER_HOST" => "unix:///run/p.sock",
            "CONTAINERD_ADDRESS" => "/run/c.sock",
            _ => return None,
        };
        Some(value.to_owned())
    };
    let config = Config::from_vars(vars).expect("understood");
    let path = |path: &str| PathBuf::from(path);
    assert_eq!(
        config.sockets,
        [
            (Engine::Docker, path("/a/docker.sock")),
            (Engine::CriO, path("/b/crio.sock")),
            (Engine::Podman, path("/run/p.sock")),
            (Engine::Containerd, path("/run/c.sock")),
        ]
    );
    assert_eq!(config.roots, [(Engine::Containerd, path("/state")), (Engine::Containerd, path("/root"))]);
    assert_eq!(config.deadline, Duration::from_millis(1500));
    let remote = Config::from_vars(|n| (n == "DOCKER_HOST").then(|| "tcp://h:1".to_owned()));
    assert_eq!(remote.expect("passed over").sockets, []);
    for (key, value, expect) in [
        ("sockets", "docker", "\"docker\" is not of the form engine=/path"),
        ("sockets", "dockr=/x", "unknown engine \"dockr\""),
        ("sockets", "docker=x.sock", "\"x.sock\" is not an absolute path"),
        ("sockets", "docker=tcp://h:1", "\"tcp://h:1\" is not a unix socket"),
        ("deadline", "250", "\"250\" is not a duration"),
        ("deadline", "-1s", "\"-1s\" is not a duration"),
        ("deadline", "1e9s", "\"1e9s\" is not a duration"),
        ("api", "maybe", "\"maybe\" is neither true nor false"),
        ("socket", "", "unknown engine setting \"socket\""),
    ] {
        let error = Config::default().set(key, value).expect_err(value).to_string();
        assert!(error.starts_with(expect), "{error}");
    }
}

/// `runc --root ELSEWHERE run web` waits for its container: its arguments say where the state is.
#[test]
fn a_runtime_that_waits_names_its_states() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIP a_runtime_that_waits_names_its_states: only root's word counts");
        return;
    }
    let host = Host::new();
    let states = host.path("elsewhere/states");
    let state = r#"{"init_process_pid":100,"cgroup_paths":{"pids":"/sys/fs/cgroup/pids/mine/web"}}"#;
    host.write("/elsewhere/states/web/state.json", state)
        .write("/proc/100/stat", "100 (sleep) S 99 1 1")
        .write("/proc/99/stat", "99 (runc) S 1 1 1")
        .write("/proc/99/cgroup", "0::/session\n")
        .write("/proc/99/cmdline", format!("runc\0--root\0{}\0run\0web\0", states.display()));
    let find = |path: &str| {
        let paths = [path.as_bytes()];
        let wanted = [Wanted { cgroup_paths: &paths, pids: &[100], identity: identify_any(&paths) }];
        Resolver::new(host.config()).resolve(&wanted).found.pop().flatten()
    };
    let found = find("/mine/web/inner").expect("found");
    assert_eq!((found.engine, text(&found.name)), (Engine::Runc, "web"));
    assert_eq!(found.cgroups, ["/mine/web"]);
    assert_eq!(find("/mine/other"), None, "not this one's");
    // A directory that others can write says nothing.
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(&states, std::fs::Permissions::from_mode(0o777)).expect("its mode");
    assert_eq!(find("/mine/web/inner"), None);
}
