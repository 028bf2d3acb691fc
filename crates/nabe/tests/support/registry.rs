//! docker-registry on loopback with one image, which ends with its owner.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::{Need, Run, command, directory, has, nabe_command};

/// A registry without TLS on a free port, and its files.
#[derive(Debug)]
pub(crate) struct Registry {
    pub(crate) host: String,
    child: Process,
    directory: tempfile::TempDir,
}

/// A process that ends with this.
#[derive(Debug)]
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().expect("killed");
        self.0.wait().expect("gone");
    }
}

/// Another registry over the same files, with other manners.
#[derive(Debug)]
pub(crate) struct Front {
    pub(crate) host: String,
    _child: Process,
}

fn serve(place: &Path, data: &Path, http: &str, more: &str) -> (String, Process) {
    let port =
        std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its number").port();
    let host = format!("127.0.0.1:{port}");
    let config = format!(
        "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: '{host}'{http}}}\n{more}",
        data.display()
    );
    let path = place.join(format!("config-{port}.yml"));
    std::fs::write(&path, config).expect("written");
    let mut registry = command("docker-registry");
    registry.arg("serve").arg(&path).stdout(Stdio::null()).stderr(Stdio::null());
    let child = Process(registry.spawn().expect("docker-registry runs"));
    super::bundle::wait_until("a registry", || std::net::TcpStream::connect(&host).is_ok());
    (host, child)
}

impl Registry {
    /// Starts one with `x:1`, whose layer has six files of `bytes` each; `None`, with the reason printed
    /// for `test`, when that cannot be done.
    pub(crate) fn start(test: &str, bytes: usize) -> Option<Self> {
        Self::start_with(test, bytes, &[])
    }

    /// The same; `options` are skopeo's when it pushes.
    pub(crate) fn start_with(test: &str, bytes: usize, options: &[&str]) -> Option<Self> {
        if !has(test, &["docker-registry", "skopeo", "tar"].map(Need::Program)) {
            return None;
        }
        let directory = directory();
        let (host, child) = serve(directory.path(), &directory.path().join("data"), "", "");
        let started = Self { host, child, directory };
        started.make(bytes);
        started.push("x:1", options).ok();
        Some(started)
    }

    /// A root file system, through nabe itself into an OCI layout.
    fn make(&self, bytes: usize) {
        let script = r#"mkdir -p "$1/etc" "$1/data" && echo 'root:x:0:0::/root:/bin/sh' > "$1/etc/passwd"
            for n in 1 2 3 4 5 6; do head -c "$2" /dev/urandom > "$1/data/$n"; done; tar -C "$1" -cf "$1.tar" ."#;
        let rootfs = self.path("rootfs");
        let made = command("sh").args(["-ec", script, "sh"]).arg(&rootfs).arg(bytes.to_string()).status();
        assert!(made.expect("sh runs").success());
        let store = self.path("pusher");
        let tar = rootfs.with_extension("tar").display().to_string();
        self.nabe(&store, &["import", "-q", &tar, "x:1"]).ok();
        let layout = self.path("layout").display().to_string();
        self.nabe(&store, &["export", "--format", "oci-dir", "-o", &layout, "x:1"]).ok();
    }

    /// Pushes the image under a name.
    pub(crate) fn push(&self, name: &str, options: &[&str]) -> Run {
        let mut copy = command("skopeo");
        copy.env("HOME", self.directory.path()).args(["copy", "--dest-tls-verify=false"]).args(options);
        copy.arg(format!("oci:{}:docker.io/library/x:1", self.path("layout").display()));
        Run::of(copy.arg(format!("docker://{}/{name}", self.host)))
    }

    /// A second registry with the same images; `http` and `more` are parts of its configuration.
    pub(crate) fn front(&self, http: &str, more: &str) -> Front {
        let (host, child) = serve(self.directory.path(), &self.path("data"), http, more);
        Front { host, _child: child }
    }

    /// Ends the registry; its files stay.
    pub(crate) fn end(&mut self) {
        self.child.0.kill().expect("killed");
        self.child.0.wait().expect("gone");
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn image(&self) -> String {
        format!("{}/x:1", self.host)
    }

    pub(crate) fn command(&self, root: &Path, arguments: &[&str]) -> Command {
        let mut command = nabe_command(arguments);
        command.env("NABE_ROOT", root);
        command
    }

    pub(crate) fn nabe(&self, root: &Path, arguments: &[&str]) -> Run {
        Run::of(&mut self.command(root, arguments))
    }

    pub(crate) fn pull(&self, root: &Path) -> Command {
        self.command(root, &["pull", "--plain-http", &self.image()])
    }

    /// What `image` unpacks to has every byte.
    #[track_caller]
    pub(crate) fn check(&self, root: &Path, image: &str) {
        let bundle = self.path("bundle");
        self.nabe(root, &["unpack", image, bundle.to_str().expect("UTF-8")]).ok();
        Run::of(command("diff").arg("-r").arg(self.path("rootfs")).arg(bundle.join("rootfs"))).ok();
        std::fs::remove_dir_all(bundle).expect("removed");
    }
}
