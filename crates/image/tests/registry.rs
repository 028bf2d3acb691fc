//! Against Debian's docker-registry, with images pushed and read by skopeo and umoci.

mod support;

use std::collections::BTreeMap;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nabe_image::{Format, Options, Settings, Store, export, import};
use support::{Tar, has, settings, words};

/// A registry on a free port, which ends with this.
struct Registry {
    host: String,
    child: Child,
    directory: tempfile::TempDir,
}

impl Registry {
    fn start(test: &str, password: bool) -> Option<Self> {
        if !(has(test, "docker-registry") && has(test, "skopeo") && has(test, "umoci")) {
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let at = |name: &str| directory.path().join(name).display().to_string();
        // user:sesame, by crypt(3) with a cost of 5.
        std::fs::write(at("htpasswd"), "user:$2y$05$HV27juLhfD1QNzgJ7d6Gde/VeOv1hyi2qzl37FR9FmtqBstZ23Cr2\n")
            .unwrap();
        let auth = if password {
            format!("auth: {{htpasswd: {{realm: test, path: {}}}}}\n", at("htpasswd"))
        } else {
            String::new()
        };
        let config = format!(
            "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: '127.0.0.1:{port}'}}\n{auth}",
            at("data")
        );
        std::fs::write(at("config.yml"), config).unwrap();
        let child = Command::new("docker-registry")
            .args(["serve", &at("config.yml")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let host = format!("127.0.0.1:{port}");
        for _ in 0..1000 {
            if std::net::TcpStream::connect(&host).is_ok() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        Some(Self { host, child, directory })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

#[track_caller]
fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Everything about a tree that an unpacker must get right.
fn tree(root: &Path) -> BTreeMap<PathBuf, String> {
    fn walk(root: &Path, path: &Path, all: &mut BTreeMap<PathBuf, String>) {
        let found = path.symlink_metadata().unwrap();
        let kind = found.file_type();
        let content = if kind.is_file() {
            nabe_image::Digest::of(&std::fs::read(path).unwrap()).to_string()
        } else if kind.is_symlink() {
            std::fs::read_link(path).unwrap().display().to_string()
        } else {
            String::new()
        };
        let mut list = vec![0u8; 4096];
        let length = rustix::fs::llistxattr(path, list.as_mut_slice()).unwrap_or(0);
        let xattrs: Vec<String> = list[..length]
            .split(|byte| *byte == 0)
            .filter(|name| !name.is_empty())
            .map(|name| {
                let mut value = vec![0u8; 4096];
                let length = rustix::fs::lgetxattr(path, name, value.as_mut_slice()).unwrap();
                format!("{}={:?}", String::from_utf8_lossy(name), &value[..length])
            })
            .collect();
        let (size, links) = if kind.is_dir() { (0, 0) } else { (found.size(), found.nlink()) };
        let text = format!(
            "{:o} {}:{} {size} {links} {} {}.{} {xattrs:?} {content}",
            found.mode(),
            found.uid(),
            found.gid(),
            found.rdev(),
            found.mtime(),
            found.mtime_nsec()
        );
        all.insert(path.strip_prefix(root).unwrap().to_owned(), text);
        if kind.is_dir() {
            for entry in std::fs::read_dir(path).unwrap() {
                walk(root, &entry.unwrap().path(), all);
            }
        }
    }
    let mut all = BTreeMap::new();
    walk(root, root, &mut all);
    all
}

/// An image of two layers in an OCI layout, made by umoci from a tree with everything in it.
fn layout(registry: &Registry) -> String {
    let layout = registry.path("layout").display().to_string();
    let (one, two) = (registry.path("one"), registry.path("two"));
    run("umoci", &["init", "--layout", &layout]);
    run("umoci", &["new", "--image", &format!("{layout}:a")]);
    run("umoci", &["unpack", "--image", &format!("{layout}:a"), one.to_str().unwrap()]);
    let script = r#"cd "$1" && mkdir -p etc usr/lib gone d/e && echo 'web:x:33:44::/srv:/bin/sh' > etc/passwd
        echo a > d/a; echo b > d/e/b; ln d/a hard; ln -s /etc/passwd absolute; ln -s ../d relative; ln -s d here
        chmod 4755 d/a; chmod 1777 d/e; chown 12:34 d/e/b; mkfifo fifo; mknod null c 1 3; echo x > gone/x
        truncate -s 3M sparse; echo end >> sparse; touch -d '2001-02-03 04:05:06.789' d/e/b
        head -c 200000 /dev/urandom > random; long=$(printf 'n%.0s' $(seq 200)); echo l > "$long""#;
    run("sh", &["-ec", script, "sh", one.join("rootfs").to_str().unwrap()]);
    rustix::fs::lsetxattr(one.join("rootfs/etc"), "user.test", b"v", rustix::fs::XattrFlags::empty())
        .unwrap();
    run("umoci", &["repack", "--image", &format!("{layout}:b"), one.to_str().unwrap()]);
    run("umoci", &["unpack", "--image", &format!("{layout}:b"), two.to_str().unwrap()]);
    let script = r#"cd "$1" && rm -r gone fifo d/a && rm -r d/e && mkdir d/e && echo new > d/e/n && echo more >> etc/passwd"#;
    run("sh", &["-ec", script, "sh", two.join("rootfs").to_str().unwrap()]);
    run("umoci", &["repack", "--image", &format!("{layout}:c"), two.to_str().unwrap()]);
    run(
        "umoci",
        &[
            "config",
            "--image",
            &format!("{layout}:c"),
            "--config.user",
            "web",
            "--config.env",
            "A=b",
            "--config.cmd",
            "/bin/x",
        ],
    );
    layout
}

fn is_root(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("SKIP {test}: making device nodes and owners needs root");
    }
    root
}

#[test]
fn what_skopeo_pushed_unpacks_as_umoci_does() {
    let test = "what_skopeo_pushed_unpacks_as_umoci_does";
    if !is_root(test) {
        return;
    }
    let Some(registry) = Registry::start(test, false) else { return };
    let layout = layout(&registry);
    let name = format!("{}/team/web:1", registry.host);
    let (source, target) = (format!("oci:{layout}:c"), format!("docker://{name}"));
    let store = Store::open(&registry.path("root")).unwrap();
    let (ours, theirs) = (registry.path("ours"), registry.path("theirs"));
    run("umoci", &["unpack", "--image", &format!("{layout}:c"), theirs.to_str().unwrap()]);
    let theirs = tree(&theirs.join("rootfs"));
    for format in ["oci", "v2s2"] {
        run("skopeo", &["copy", "-f", format, "--dest-tls-verify=false", &source, &target]);
        let pulled =
            nabe_image::pull(&store, &name.parse().unwrap(), &settings(), &Options::default(), &()).unwrap();
        nabe_image::bundle(&pulled.image, &ours, &settings(), &None).unwrap();
        assert_eq!(tree(&ours.join("rootfs")), theirs, "{format}");
        let spec: serde_json::Value =
            serde_json::from_slice(&std::fs::read(ours.join("config.json")).unwrap()).unwrap();
        assert_eq!(spec["process"]["user"]["uid"], 33);
        assert_eq!(spec["process"]["args"], serde_json::json!(["/bin/x"]));
        assert!(spec["process"]["env"].as_array().unwrap().contains(&"A=b".into()));
        // By digest, everything is there.
        let by_digest = format!("{}/team/web@{}", registry.host, pulled.digest).parse().unwrap();
        let again = nabe_image::pull(&store, &by_digest, &settings(), &Options::default(), &()).unwrap();
        assert_eq!((again.fetched, again.image.id), (0, pulled.image.id));
        std::fs::remove_dir_all(&ours).unwrap();
    }
    let image = store.image(&store.resolve(&name).unwrap()).unwrap();
    overlay_shows_the_same(&image, &registry.path("overlay"), &theirs);
}

/// The kernel's overlayfs over our lower directories shows what unpacking gives.
fn overlay_shows_the_same(image: &nabe_image::Image, place: &Path, want: &BTreeMap<PathBuf, String>) {
    let lower = image.lower_dirs().unwrap();
    let lower: Vec<String> = lower.iter().map(|path| path.display().to_string()).collect();
    std::fs::create_dir(place).unwrap();
    let options = format!("ro,lowerdir={}", lower.join(":"));
    let target = place.to_str().unwrap();
    let mounted =
        Command::new("mount").args(["-t", "overlay", "overlay", "-o", &options, target]).output().unwrap();
    if !mounted.status.success() {
        eprintln!("SKIP overlay_shows_the_same: {}", String::from_utf8_lossy(&mounted.stderr));
        return;
    }
    let mut shown = tree(place);
    run("umount", &[target]);
    let mut want = want.clone();
    // A link whose other name was removed above counts it below; overlayfs shows the lower number.
    let fix = |all: &mut BTreeMap<PathBuf, String>| {
        let hard = all.get_mut(Path::new("hard")).unwrap();
        *hard = hard.replacen(" 2 2 ", " 2 1 ", 1);
    };
    fix(&mut shown);
    fix(&mut want);
    assert_eq!(shown, want);
}

#[test]
fn a_password_is_read_from_the_auth_file() {
    let Some(registry) = Registry::start("a_password_is_read_from_the_auth_file", true) else { return };
    let layer = Tar::new().file("f", b"1").end();
    std::fs::write(registry.path("rootfs.tar"), layer).unwrap();
    let store = Store::open(&registry.path("root")).unwrap();
    let name = "x:1".parse().unwrap();
    let image =
        import(&store, &registry.path("rootfs.tar"), Some(&name), None, &settings(), &()).unwrap().remove(0);
    let layout = registry.path("layout");
    image.export_layout(&layout).unwrap();
    let source = format!("oci:{}:docker.io/library/x:1", layout.display());
    let remote = format!("{}/x:1", registry.host);
    run(
        "skopeo",
        &[
            "copy",
            "--dest-creds=user:sesame",
            "--dest-tls-verify=false",
            &source,
            &format!("docker://{remote}"),
        ],
    );
    let pull = |pair: &str| {
        let auth = registry.path("auth.json");
        // user:sesame and user:wrong
        let text = format!(r#"{{"auths":{{"{}":{{"auth":"{pair}"}}}}}}"#, registry.host);
        std::fs::write(&auth, text).unwrap();
        let settings = Settings { auth_file: Some(auth), ..settings() };
        nabe_image::pull(&store, &remote.parse().unwrap(), &settings, &Options::default(), &())
    };
    // skopeo packed the layer, so that the manifest is another.
    assert_eq!(pull("dXNlcjpzZXNhbWU=").unwrap().image.id.config, image.id.config);
    let error = pull("dXNlcjp3cm9uZw==").map(|_| ()).unwrap_err();
    assert!(words(&error).contains("401"), "{}", words(&error));
}

#[test]
fn archives_go_round() {
    let test = "archives_go_round";
    if !is_root(test) {
        return;
    }
    let Some(registry) = Registry::start(test, false) else { return };
    let layout = layout(&registry);
    let store = Store::open(&registry.path("root")).unwrap();
    let name = "team/web:1".parse().unwrap();
    let at = |name: &str| registry.path(name).display().to_string();
    run(
        "skopeo",
        &["copy", &format!("oci:{layout}:c"), &format!("docker-archive:{}:theirs:2", at("docker.tar"))],
    );
    run("skopeo", &["copy", &format!("oci:{layout}:c"), &format!("oci-archive:{}:theirs:3", at("oci.tar"))]);
    run("umoci", &["unpack", "--image", &format!("{layout}:c"), &at("theirs")]);
    let theirs = tree(&registry.path("theirs/rootfs"));
    for source in ["docker.tar", "oci.tar"] {
        let image =
            import(&store, &registry.path(source), Some(&name), None, &settings(), &()).unwrap().remove(0);
        nabe_image::bundle(&image, &registry.path("ours"), &settings(), &None).unwrap();
        assert_eq!(tree(&registry.path("ours/rootfs")), theirs, "{source}");
        std::fs::remove_dir_all(registry.path("ours")).unwrap();
    }
    let image = store.image(&store.resolve("team/web:1").unwrap()).unwrap();
    for (format, prefix) in [(Format::Docker, "docker-archive"), (Format::Oci, "oci-archive")] {
        let path = registry.path(prefix);
        export(&image, format, &mut std::fs::File::create(&path).unwrap(), &settings()).unwrap();
        let copy = format!("oci:{}:{prefix}", at("copy"));
        run("skopeo", &["copy", &format!("{prefix}:{}", path.display()), &copy]);
        run(
            "umoci",
            &["unpack", "--image", &format!("{}:{prefix}", at("copy")), &at(&format!("un-{prefix}"))],
        );
        assert_eq!(tree(&registry.path(&format!("un-{prefix}/rootfs"))), theirs, "{prefix}");
    }
    // The files alone, through GNU tar.
    let path = registry.path("rootfs.tar");
    export(&image, Format::RootFs, &mut std::fs::File::create(&path).unwrap(), &settings()).unwrap();
    std::fs::create_dir(registry.path("gnu")).unwrap();
    run(
        "tar",
        &[
            "--xattrs",
            "--xattrs-include=*",
            "--numeric-owner",
            "-C",
            &at("gnu"),
            "-xpf",
            path.to_str().unwrap(),
        ],
    );
    assert_eq!(tree(&registry.path("gnu")), theirs);
    // And GNU tar's own sparse files come in again.
    run("sh", &["-ec", "cd \"$1\"; cp -a --sparse=always sparse s; mv s sparse", "sh", &at("gnu")]);
    run(
        "tar",
        &[
            "--sparse",
            "--format=posix",
            "--xattrs",
            "--numeric-owner",
            "-C",
            &at("gnu"),
            "-cf",
            &at("again.tar"),
            ".",
        ],
    );
    let again = import(
        &store,
        &registry.path("again.tar"),
        Some(&"again:1".parse().unwrap()),
        None,
        &settings(),
        &(),
    );
    nabe_image::root_file_system(&again.unwrap()[0], &registry.path("third"), &settings(), &None).unwrap();
    let third = tree(&registry.path("third"));
    assert_eq!(third.get(Path::new("sparse")), theirs.get(Path::new("sparse")));
    let sparse = registry.path("third/sparse").metadata().unwrap();
    assert!(sparse.blocks() * 512 < sparse.size(), "it has its holes");
    assert!(registry.path("third/null").symlink_metadata().unwrap().file_type().is_char_device());
    assert_eq!(registry.path("third/d/e").metadata().unwrap().permissions().mode() & 0o7777, 0o755);
}

#[test]
fn what_is_used_stays() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let take = |name: &str, data: &[u8]| {
        let path = directory.path().join("x.tar");
        std::fs::write(&path, Tar::new().file("f", data).end()).unwrap();
        import(&store, &path, Some(&name.parse().unwrap()), None, &settings(), &()).unwrap().remove(0)
    };
    let (first, second) = (take("a:1", b"1"), take("b:1", b"2"));
    store.lease(&first, "box").unwrap();
    let error = store.remove("a:1", false).unwrap_err().to_string();
    assert!(error.contains("container box"), "{error}");
    let pruned = store.prune(true).unwrap();
    assert_eq!(pruned.images.len(), 1);
    assert!(store.resolve("b:1").is_err());
    assert!(first.lower_dirs().unwrap()[0].join("f").exists());
    assert!(!directory.path().join("images/layers").join(second.config.chain_ids()[0].hex()).exists());
    // Removed by force, its content still stays until the container is gone.
    store.remove("a:1", true).unwrap();
    assert!(first.lower_dirs().unwrap()[0].join("f").exists());
    store.release("box").unwrap();
    store.prune(false).unwrap();
    assert_eq!(support::files(&directory.path().join("images/blobs")), 0);
    assert_eq!(support::files(&directory.path().join("images/layers")), 0);
    // A lease of a process that is not there holds nothing.
    let third = take("c:1", b"3");
    let mut child = Command::new("true").spawn().unwrap();
    let pid = child.id();
    store.lease_while(&third, "short", pid).unwrap();
    child.wait().unwrap();
    assert_eq!(store.prune(true).unwrap().images.len(), 1);
}

#[test]
fn names_move() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let take = |name: &str, data: &[u8]| {
        let path = directory.path().join("x.tar");
        std::fs::write(&path, Tar::new().file("f", data).end()).unwrap();
        import(&store, &path, Some(&name.parse().unwrap()), None, &settings(), &()).unwrap().remove(0)
    };
    let old = take("a:1", b"1");
    let new = take("a:1", b"2");
    take("a:also", b"2");
    let images = store.images().unwrap();
    assert_eq!(images.len(), 2);
    assert_eq!(images[0].names, ["docker.io/library/a:1", "docker.io/library/a:also"]);
    // Whoever asks hears the name that was asked for.
    assert_eq!(images[0].title_for("a:also"), "docker.io/library/a:also");
    assert_eq!(images[0].title_for("a:1"), "docker.io/library/a:1");
    assert_eq!(images[0].title_for(&images[0].id.config.short()), "docker.io/library/a:1");
    assert_eq!((images[1].id, images[1].names.len()), (old.id, 0));
    assert_eq!(store.resolve(&old.id.config.short()).unwrap(), old.id);
    assert_eq!(store.prune(false).unwrap().images.len(), 1);
    assert_eq!(store.remove("a:also", false).unwrap().deleted, []);
    assert_eq!(store.remove("a:1", false).unwrap().deleted, [new.id.config]);
    assert!(store.images().unwrap().is_empty());
}
