//! Containers that come and go below a made-up root while it is watched: what they were called is known when
//! their files are gone.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use nabe_container::{Config, Engine, Metadata, Watcher};

mod bolt_writer;
use bolt_writer::{Node, bucket, values};

const ID: &str = "34dc0b5e626f2c5c4c5170e34b10e7654ce36f0fcd532739f4445baabea03376";
/// Patience, no measure: news of the kernel take microseconds.
const PATIENCE: Duration = Duration::from_secs(60);

struct Host(tempfile::TempDir);

impl Host {
    fn new() -> Host {
        Host(tempfile::tempdir().expect("temporary directory"))
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path.trim_start_matches('/'))
    }

    /// Writes a file as engines do: beside its place, then into it.
    fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().expect("parent")).expect("directory");
        let new = path.with_extension("new");
        std::fs::write(&new, text).expect("file");
        std::fs::rename(new, path).expect("its name");
    }

    fn remove(&self, path: &str) {
        std::fs::remove_dir_all(self.path(path)).expect("removed");
    }

    fn watch(&self) -> Watcher {
        let mut config = Config::default();
        config.root = self.0.path().to_path_buf();
        Watcher::start(config)
    }
}

#[track_caller]
fn awaited(watcher: &Watcher, path: &str, is: impl Fn(&Metadata) -> bool) -> Metadata {
    let start = Instant::now();
    loop {
        if let Some(found) = watcher.find(&[path.as_bytes()]).filter(&is) {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "{path}: {:?}", watcher.find(&[path.as_bytes()]));
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn named(watcher: &Watcher, path: &str) -> (Engine, Option<String>, Option<String>) {
    let found = awaited(watcher, path, |found| found.image.is_some());
    (found.engine, found.name, found.image)
}

fn some(engine: Engine, name: &str, image: &str) -> (Engine, Option<String>, Option<String>) {
    (engine, Some(name.to_owned()), Some(image.to_owned()))
}

#[test]
fn docker_comes_and_goes() {
    // Nothing of Docker is there when the watch begins.
    let host = Host::new();
    let watcher = host.watch();
    let directory = format!("/var/lib/docker/containers/{ID}");
    let config = |image: &str| {
        format!(
            r#"{{"ID":"{ID}","Name":"/web","Config":{{"Image":"{image}","Labels":{{"a":"b"}}}},"State":{{}}}}"#
        )
    };
    let path = format!("/docker/{ID}");
    assert_eq!(watcher.find(&[path.as_bytes()]), None);
    host.write(&format!("{directory}/config.v2.json"), config("nginx:1.27"));
    assert_eq!(named(&watcher, &path), some(Engine::Docker, "web", "nginx:1.27"));
    host.remove("/var/lib/docker");
    assert_eq!(named(&watcher, &format!("/x/docker-{ID}.scope")), some(Engine::Docker, "web", "nginx:1.27"));
    // And once more, after all of it was gone.
    host.write(&format!("{directory}/config.v2.json"), config("nginx:2"));
    let found = awaited(&watcher, &path, |found| found.image.as_deref() == Some("nginx:2"));
    assert_eq!(found.label("a"), Some("b"));
}

#[test]
fn what_is_there_already_is_known() {
    let host = Host::new();
    let entry = |id: &str, name: &str| {
        format!(r#"{{"id":"{id}","metadata":"{{\"image-name\":\"web:1\",\"name\":\"{name}\"}}"}}"#)
    };
    let list = "/var/lib/containers/storage/overlay-containers/volatile-containers.json";
    host.write(list, format!("[{}]", entry(ID, "first")));
    let watcher = host.watch();
    assert_eq!(
        named(&watcher, &format!("/machine.slice/libpod-{ID}.scope")),
        some(Engine::Podman, "first", "web:1")
    );
    let other = ID.replace('3', "4");
    host.write(list, format!("[{},{}]", entry(ID, "first"), entry(&other, "second")));
    let second = some(Engine::Podman, "second", "web:1");
    assert_eq!(named(&watcher, &format!("/libpod_parent/libpod-{other}")), second);
    host.write(list, "[]");
    assert_eq!(named(&watcher, &format!("/libpod_parent/libpod-{other}")), second);
}

#[test]
fn tasks_of_containerd_have_their_image_from_the_database() {
    let host = Host::new();
    let container = |image: &str| bucket([("image", Node::Value(image.as_bytes().to_vec()))]);
    let database = |image: &str| {
        let containers = bucket([("web", container(image)), (ID, container(image))]);
        let tree =
            bucket([("v1", bucket([("foo", bucket([("containers", containers), ("x", values(&[]))]))]))]);
        let Node::Bucket(tree) = tree else { unreachable!("a bucket") };
        bolt_writer::write(&tree)
    };
    let meta = "/var/lib/containerd/io.containerd.metadata.v1.bolt/meta.db";
    host.write(meta, database("img:1"));
    let watcher = host.watch();
    let tasks = "/run/containerd/io.containerd.runtime.v2.task";
    host.write(&format!("{tasks}/foo/{ID}/config.json"), "{}");
    assert_eq!(named(&watcher, &format!("/foo/{ID}")).2.as_deref(), Some("img:1"));
    // An id that is a name, in a cgroup that says nothing.
    let config = r#"{"linux":{"cgroupsPath":"/somewhere/else"}}"#;
    host.write(&format!("{tasks}/foo/web/config.json"), config);
    assert_eq!(named(&watcher, "/somewhere/else/inner"), some(Engine::Containerd, "web", "img:1"));
    host.remove(&format!("{tasks}/foo"));
    assert_eq!(named(&watcher, "/somewhere/else"), some(Engine::Containerd, "web", "img:1"));
    // The name goes to another container.
    host.write(meta, database("img:2"));
    host.write(&format!("{tasks}/foo/web/config.json"), config);
    let found = awaited(&watcher, "/somewhere/else", |found| found.image.as_deref() == Some("img:2"));
    assert_eq!(found.cgroups, ["/somewhere/else"]);
}

/// A state as runc writes it.
fn runc_state(cgroup: &str) -> String {
    format!(
        r#"{{"init_process_pid":4711,"created":"2024-02-29T12:30:46Z",
            "cgroup_paths":{{"pids":"/sys/fs/cgroup/pids{cgroup}"}},"config":{{"labels":["bundle=/b"]}}}}"#
    )
}

#[test]
fn plain_runtimes_keep_states_anywhere() {
    use std::os::unix::fs::PermissionsExt as _;
    let host = Host::new();
    let watcher = host.watch();
    host.write("/run/runc/known/state.json", runc_state("/one"));
    assert_eq!(awaited(&watcher, "/one/inner", |_| true).name.as_deref(), Some("known"));
    // Another root, told of before it is there.
    let root = host.path("/elsewhere/states");
    assert!(watcher.add_root(Engine::Runc, root.clone(), None));
    assert!(!watcher.add_root(Engine::Runc, root, None), "once is enough");
    host.write("/elsewhere/states/web/state.json", runc_state("/two"));
    let found = awaited(&watcher, "/two", |_| true);
    assert_eq!((found.engine, found.name.as_deref()), (Engine::Runc, Some("web")));
    assert_eq!(found.cgroups, ["/two"]);
    // One that anybody can write says nothing.
    let open = host.path("/open");
    std::fs::create_dir(&open).expect("a directory");
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).expect("its mode");
    host.write("/open/liar/state.json", runc_state("/three"));
    assert!(watcher.add_root(Engine::Runc, open, None));
    // What an engine's runtime keeps is described by the engine.
    host.write(&format!("/run/runc/{ID}/state.json"), runc_state("/four"));
    host.write("/run/runc/last/state.json", runc_state("/five"));
    awaited(&watcher, "/five", |_| true);
    for path in ["/three", "/four"] {
        assert_eq!(watcher.find(&[path.as_bytes()]), None, "{path}");
    }
    assert!(!watcher.add_root(Engine::Runc, PathBuf::from("relative"), None));
}

/// The state of one of nabe's own, and what the journal has of those that have ended.
#[test]
fn own_containers_are_known_when_they_have_ended() {
    let host = Host::new();
    let mut config = Config::default();
    config.root = host.0.path().to_path_buf();
    let state = |pid: u32, created: &str, image: &str| {
        format!(
            r#"{{"init_process_pid":{pid},"created":"{created}",
                "config":{{"labels":["org.opencontainers.image.ref.name={image}"]}}}}"#
        )
    };
    let second = 1_000_000_000;
    let at = |seconds: u64| (1_709_209_846 + seconds) * second;
    let image = |pid: Option<u32>, ts: u64| nabe_container::own(&config, "web", pid, ts).image;
    assert_eq!(image(Some(7), at(0)), None);
    assert_eq!(nabe_container::own(&config, "web", None, at(0)).name.as_deref(), Some("web"));

    // 2024-02-29T12:30:46Z is at(0).
    host.write("/run/nabe/.ended/web:7", state(7, "2024-02-29T12:30:46Z", "old:1"));
    host.write("/run/nabe/.ended/website:9", state(9, "2024-02-29T12:30:40Z", "other:1"));
    assert_eq!(image(Some(7), at(0)).as_deref(), Some("old:1"));
    assert_eq!(image(None, at(5)).as_deref(), Some("old:1"));
    // Before it was there it was nobody's.
    assert_eq!(image(None, at(0) - 1), None);
    // Another one of that name: each event is about the one that was there then.
    host.write("/run/nabe/web/state.json", state(8, "2024-02-29T12:31:46Z", "new:1"));
    assert_eq!(image(Some(7), at(1)).as_deref(), Some("old:1"));
    assert_eq!(image(None, at(1)).as_deref(), Some("old:1"));
    assert_eq!(image(Some(8), at(61)).as_deref(), Some("new:1"));
    assert_eq!(image(None, at(60)).as_deref(), Some("new:1"));
    for hostile in ["..", "a/b", "", "."] {
        assert_eq!(nabe_container::own(&config, hostile, Some(7), at(0)).image, None);
    }
}
