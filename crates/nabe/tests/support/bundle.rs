//! Bundles with a busybox root, and a runtime to run them: Debian's runc first, then nabe.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::{NABE, Run, command, program};

/// A runtime with a state directory of its own, and a bundle. Goes with everything of its.
#[derive(Debug)]
pub(crate) struct Stage {
    directory: tempfile::TempDir,
    pub(crate) runtime: &'static str,
    pub(crate) config: Value,
    /// Ids that were used, to be removed.
    ids: std::cell::RefCell<Vec<String>>,
}

const APPLETS: [&str; 24] = [
    "sh", "true", "sleep", "cat", "ls", "id", "mount", "touch", "echo", "grep", "env", "pwd", "kill", "tty",
    "stty", "readlink", "dd", "mknod", "test", "rm", "mkdir", "hostname", "stat", "chroot",
];

impl Stage {
    /// A bundle of nabe's for root; `None`, with the reason printed, when that cannot be here.
    pub(crate) fn of_nabe(test: &str, script: &str) -> Option<Self> {
        super::has(test, &[super::Need::Root]).then(|| Self::new(test, "nabe", script)).flatten()
    }

    /// A bundle that runs this script; `None`, with the reason printed, when that cannot be here.
    pub(crate) fn new(test: &str, runtime: &'static str, script: &str) -> Option<Self> {
        let Some(busybox) = program("busybox") else {
            super::skip(test, "busybox is not installed");
            return None;
        };
        let directory = super::directory();
        let bin = directory.path().join("rootfs/bin");
        std::fs::create_dir_all(&bin).expect("the root");
        for name in ["tmp", "etc", "proc", "dev", "sys"] {
            std::fs::create_dir_all(directory.path().join("rootfs").join(name)).expect("a directory");
        }
        std::fs::copy(busybox, bin.join("busybox")).expect("a copy of busybox");
        for applet in APPLETS {
            std::os::unix::fs::symlink("busybox", bin.join(applet)).expect("a link");
        }
        let config = config(script, &directory.path().join("rootfs"));
        Some(Self { directory, runtime, config, ids: std::cell::RefCell::default() })
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.path().join("states")
    }

    /// A name that no other test has.
    pub(crate) fn id(&self) -> String {
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let id = format!("nabe-test-{}-{number}", std::process::id());
        self.ids.borrow_mut().push(id.clone());
        id
    }

    /// Writes `config.json` with what was changed.
    pub(crate) fn write(&self) {
        std::fs::write(self.path().join("config.json"), self.config.to_string()).expect("config.json");
    }

    /// `RUNTIME --root … ARGUMENTS`, to be run.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = command(if self.runtime == "nabe" { NABE } else { self.runtime });
        command.arg("--root").arg(self.root()).args(arguments).current_dir(self.path());
        command
    }

    pub(crate) fn call(&self, arguments: &[&str]) -> Run {
        Run::of(&mut self.command(arguments))
    }

    /// The same with the streams in files, for what leaves a process behind.
    pub(crate) fn call_apart(&self, arguments: &[&str]) -> Run {
        let (out, err) = (self.path().join("out"), self.path().join("err"));
        let open = |path: &Path| Stdio::from(std::fs::File::create(path).expect("a file"));
        let status = self
            .command(arguments)
            .stdin(Stdio::null())
            .stdout(open(&out))
            .stderr(open(&err))
            .status()
            .expect("it runs");
        let read = |path: &Path| std::fs::read(path).expect("its words");
        Run {
            status: status.code(),
            stdout: read(&out),
            stderr: String::from_utf8_lossy(&read(&err)).into_owned(),
        }
    }

    /// Runs the bundle to its end.
    pub(crate) fn run(&self) -> Run {
        self.write();
        self.call(&["run", &self.id()])
    }

    /// Makes and starts it, and leaves it.
    #[track_caller]
    pub(crate) fn detached(&self) -> String {
        self.write();
        let id = self.id();
        self.call_apart(&["run", "-d", &id]).ok();
        id
    }

    pub(crate) fn state(&self, id: &str) -> Value {
        self.call(&["state", id]).ok().json()
    }

    pub(crate) fn status(&self, id: &str) -> String {
        self.state(id)["status"].as_str().unwrap_or_default().to_owned()
    }

    /// Waits until the container has this status.
    #[track_caller]
    pub(crate) fn await_status(&self, id: &str, status: &str) {
        wait_until(status, || self.status(id) == status);
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for id in self.ids.borrow().iter() {
            self.call_apart(&["delete", "--force", id]);
            assert_eq!(remains(id), Vec::<PathBuf>::new(), "cgroups of {id}");
        }
    }
}

/// Waits until something is so.
#[track_caller]
pub(crate) fn wait_until(what: &str, so: impl Fn() -> bool) {
    let start = std::time::Instant::now();
    while !so() {
        assert!(start.elapsed() < super::PATIENCE, "not {what}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

/// Cgroups that bear a container's name.
pub(crate) fn remains(id: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut places = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(place) = places.pop() {
        for entry in std::fs::read_dir(place).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                if entry.file_name() == id {
                    found.push(entry.path());
                }
                places.push(entry.path());
            }
        }
    }
    found
}

fn config(script: &str, rootfs: &Path) -> Value {
    let capabilities = json!(["CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": ["sh", "-c", script],
            "env": ["PATH=/bin"],
            "cwd": "/",
            "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities},
            "noNewPrivileges": true,
        },
        "root": {"path": rootfs},
        "hostname": "inside",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
                "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
        ],
        "linux": {
            "resources": {"devices": [{"allow": false, "access": "rwm"}]},
            "namespaces": [{"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}],
            "maskedPaths": ["/proc/keys", "/proc/acpi"],
            "readonlyPaths": ["/proc/sys"],
        },
    })
}
