//! The process that an engine leaves beside each container: containerd's shim
//! (its working directory is the bundle, its arguments name namespace and id)
//! and conmon (its arguments name the bundle and the container). They lead to an
//! engine's files wherever those are, with the daemon dead and unconfigured. A
//! plain runtime that waits for its container names its states' directory so.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::cgroup::unit;
use crate::disk::{self, docker, file, oci, oci::Spec, plain_name};
use crate::identity::nesting;
use crate::resolver::Item;
use crate::{Config, Engine, Metadata};

/// Ancestors looked at: the container's own processes may stand between.
const MAX_STEPS: usize = 16;
/// Plain runtimes, by the names of their programs.
const RUNTIMES: [(&[u8], Engine); 4] =
    [(b"runc", Engine::Runc), (b"crun", Engine::Crun), (b"youki", Engine::Youki), (b"nabe", Engine::Nabe)];
/// Processes of one container that are looked at: the first may have ended.
const MAX_PIDS: usize = 4;

/// Describes the items whose processes have a supervisor above them.
pub(crate) fn read(config: &Config, items: &[(usize, Item)], found: &mut Vec<(usize, Metadata)>) {
    let proc = config.at("/proc");
    let mut dead_ends = HashSet::new();
    for (at, item) in items {
        // Without an id: not in a systemd unit, so that a host's services are
        // not each looked into.
        if item.id.is_none() && item.paths.iter().any(|path| unit(path).is_some()) {
            continue;
        }
        let above =
            item.pids.iter().take(MAX_PIDS).find_map(|pid| supervisor(&proc, *pid, item, &mut dead_ends));
        match above {
            Some(Supervisor::Shim(shim)) => found.extend(shim.describe(item).map(|m| (*at, m))),
            Some(Supervisor::Conmon(conmon)) => found.push((*at, conmon.describe(item.engine))),
            Some(Supervisor::Runtime(of)) => found.push((*at, *of)),
            None => {}
        }
    }
}

enum Supervisor {
    Shim(Shim),
    Conmon(Conmon),
    Runtime(Box<Metadata>),
}

/// The nearest ancestor that watches over the item's container.
fn supervisor(proc: &Path, pid: u32, item: &Item, dead_ends: &mut HashSet<u32>) -> Option<Supervisor> {
    let mut pid = pid;
    let mut passed = Vec::new();
    for _ in 0..MAX_STEPS {
        if dead_ends.contains(&pid) {
            break;
        }
        let directory = proc.join(pid.to_string());
        let Ok(stat) = file::read(&directory.join("stat")) else { break };
        let (comm, parent) = comm_and_parent(&stat)?;
        if comm.starts_with(b"containerd-shim") || comm == b"conmon" {
            if trusted(&directory, item)
                && let Some(found) = parse_arguments(proc, &directory, item)
            {
                return Some(found);
            }
            // Not this item's, but it may be another's: no dead end.
            return None;
        }
        if RUNTIMES.iter().any(|(name, _)| *name == comm)
            && trusted(&directory, item)
            && let Some(found) = from_runtime(proc, &directory, item)
        {
            return Some(Supervisor::Runtime(Box::new(found)));
        }
        passed.push(pid);
        if parent <= 1 {
            break;
        }
        pid = parent;
    }
    dead_ends.extend(passed);
    None
}

/// What the states say in the root that a runtime's arguments name.
fn from_runtime(proc: &Path, directory: &Path, item: &Item) -> Option<Metadata> {
    let cmdline = file::read(&directory.join("cmdline")).ok()?;
    let mut arguments = cmdline.strip_suffix(b"\0").unwrap_or(&cmdline).split(|byte| *byte == 0);
    let (engine, root) = state_root(arguments.next()?, arguments)?;
    let root = Path::new(std::str::from_utf8(root).ok()?);
    let cwd = std::fs::read_link(directory.join("cwd"));
    let root = if root.is_absolute() { root.to_owned() } else { cwd.ok()?.join(root) };
    let root = below(&mount_root(proc, directory), &root);
    let mut found = Vec::new();
    if oci::is_safe(&root) {
        oci::read(engine, &root, None, &[(0, item.clone())], &mut found);
    }
    found.pop().map(|(_, metadata)| metadata)
}

/// The directory of states that the arguments of a plain runtime name (`--root`), and whose it is; what stands
/// behind the verb is for somebody else. `None` for any other program, and where none is named.
pub fn state_root<'a>(
    program: &[u8],
    mut arguments: impl Iterator<Item = &'a [u8]>,
) -> Option<(Engine, &'a [u8])> {
    /// Other options of runtimes that take a value.
    const OPTIONS: [&[u8]; 6] =
        [b"--log", b"--log-format", b"--criu", b"--rootless", b"--cgroup-manager", b"--config"];
    let name = program.rsplit(|byte| *byte == b'/').next()?;
    let &(_, engine) = RUNTIMES.iter().find(|(known, _)| *known == name)?;
    let root = loop {
        let argument = arguments.next()?;
        if argument == b"--root" || (argument == b"-r" && engine == Engine::Youki) {
            break arguments.next()?;
        }
        if let Some(root) = argument.strip_prefix(b"--root=") {
            break root;
        }
        if OPTIONS.contains(&argument) {
            arguments.next();
        } else if !argument.starts_with(b"-") || argument == b"--" {
            return None;
        }
    };
    (!root.is_empty()).then_some((engine, root))
}

/// Anyone may call a process conmon, and a container's root may do so to give
/// its container another name: only the word of root from outside the
/// container counts.
fn trusted(directory: &Path, item: &Item) -> bool {
    let root = std::fs::metadata(directory).is_ok_and(|meta| meta.uid() == 0);
    let cgroups = file::read(&directory.join("cgroup")).unwrap_or_default();
    let mut paths = cgroups
        .split(|b| *b == b'\n')
        .filter_map(|line| line.splitn(3, |b| *b == b':').nth(2))
        .filter(|path| path.len() > 1);
    root && !cgroups.is_empty()
        && !paths.any(|path| match &item.id {
            Some(id) => nesting(path).any(|inside| inside.id == *id),
            None => item.paths.iter().any(|own| own == path),
        })
}

/// `pid (comm) state ppid …`; comm may hold any byte but NUL.
fn comm_and_parent(stat: &[u8]) -> Option<(&[u8], u32)> {
    let open = memchr::memchr(b'(', stat)?;
    let close = memchr::memrchr(b')', stat)?;
    let comm = stat.get(open + 1..close)?;
    let rest = std::str::from_utf8(stat.get(close + 1..)?).ok()?;
    let parent = rest.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some((comm, parent))
}

fn parse_arguments(proc: &Path, directory: &Path, item: &Item) -> Option<Supervisor> {
    let cmdline = file::read(&directory.join("cmdline")).ok()?;
    let arguments: Vec<&str> =
        cmdline.split(|b| *b == 0).filter_map(|part| std::str::from_utf8(part).ok()).collect();
    let after = |names: &[&str]| {
        arguments
            .windows(2)
            .find(|pair| pair.first().is_some_and(|name| names.contains(name)))
            .and_then(|pair| pair.get(1).copied())
    };
    let root = mount_root(proc, directory);
    if arguments.first()?.contains("conmon") {
        let id = after(&["-c", "--cid"])?;
        let pid_file = after(&["-p", "--container-pidfile"]);
        (item.id.as_deref() == Some(id)).then_some(())?;
        return Some(Supervisor::Conmon(Conmon {
            id: id.to_owned(),
            bundle: below(&root, Path::new(after(&["-b", "--bundle"])?)),
            name: after(&["-n", "--name"]).map(str::to_owned),
            init_pid: pid_file.and_then(|path| oci::read_pid(&below(&root, Path::new(path)))),
            root,
        }));
    }
    // One shim may serve a whole pod: its arguments name the sandbox, and the
    // other containers' bundles stand beside it.
    let id = item.id.as_deref().or_else(|| after(&["-id", "--id"]))?;
    let cwd = std::fs::read_link(directory.join("cwd")).ok()?;
    plain_name(id).then(|| {
        Some(Supervisor::Shim(Shim {
            id: id.to_owned(),
            namespace: after(&["-namespace", "--namespace"])?.to_owned(),
            bundle: below(&root, &cwd.parent()?.join(id)),
            root,
        }))
    })?
}

/// Where the process's file system is: a supervisor inside another container
/// (kind, docker-in-docker) has files that only `/proc/<pid>/root` leads to.
fn mount_root(proc: &Path, directory: &Path) -> PathBuf {
    let namespace = |path: PathBuf| std::fs::read_link(path.join("ns/mnt")).ok();
    if namespace(proc.join("self")) == namespace(directory.to_path_buf()) {
        PathBuf::from("/")
    } else {
        directory.join("root")
    }
}

fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

struct Shim {
    id: String,
    namespace: String,
    /// `<state>/io.containerd.runtime.v2.task/<namespace>/<id>`.
    bundle: PathBuf,
    root: PathBuf,
}

impl Shim {
    fn describe(&self, item: &Item) -> Option<Metadata> {
        let spec = Spec::read(&self.bundle);
        if item.id.is_none() {
            let cgroup = spec.as_ref()?.cgroups_path()?;
            disk::covers(cgroup, &item.paths).then_some(())?;
        }
        let task = disk::containerd::from_bundle(&self.bundle, &self.namespace, &self.id, spec.as_ref());
        let described = match task.engine {
            Engine::Docker => spec
                .as_ref()
                .and_then(|spec| spec.docker_data_root(&self.id))
                .and_then(|path| docker::read(&below(&self.root, path), &self.id)),
            _ => self.in_database(),
        };
        Some(match described {
            Some(mut meta) => {
                meta.fill_from(task);
                meta
            }
            None => task,
        })
    }

    /// `work` in the bundle is a link to the same place below containerd's root.
    fn in_database(&self) -> Option<Metadata> {
        let work = std::fs::read_link(self.bundle.join("work")).ok()?;
        let path = below(&self.root, work.ancestors().nth(3)?);
        let mut known = Vec::new();
        let item = Item::by_id(&self.id, Engine::Containerd);
        disk::containerd::read(&[(path, None)], &[(0, item)], &mut known);
        known
            .into_iter()
            .map(|(_, meta)| meta)
            .find(|meta| meta.namespace.as_deref() == Some(self.namespace.as_str()))
    }
}

struct Conmon {
    id: String,
    /// `<graphroot>/overlay-containers/<id>/userdata`.
    bundle: PathBuf,
    root: PathBuf,
    name: Option<String>,
    init_pid: Option<u32>,
}

impl Conmon {
    fn describe(self, engine: Engine) -> Metadata {
        let engine = if engine == Engine::CriO { engine } else { Engine::Podman };
        let mut found = Metadata::new(&self.id, engine, "conmon's arguments");
        if let Some(graph) = self.bundle.ancestors().nth(3).filter(|graph| *graph != self.root) {
            let storage = disk::storage::Storage::at(graph);
            let mut known = Vec::new();
            storage.read(&[(0, Item::by_id(&self.id, engine))], &mut known);
            if let Some((_, meta)) = known.into_iter().next() {
                found = meta;
            }
        }
        if let Some(spec) = Spec::read(&self.bundle) {
            spec.describe(&mut found);
        }
        found.name = found.name.or(self.name);
        found.init_pid = found.init_pid.or(self.init_pid);
        found.bundle = Some(self.bundle);
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runtimes_say_where_their_states_are() {
        let of = |program: &str, arguments: &'static str| {
            let root = state_root(program.as_bytes(), arguments.split(' ').map(str::as_bytes));
            root.map(|(engine, root)| (engine, std::str::from_utf8(root).expect("text")))
        };
        assert_eq!(of("runc", "--root /x/y create web"), Some((Engine::Runc, "/x/y")));
        assert_eq!(of("/usr/sbin/crun", "--log f --debug --root=/x run web"), Some((Engine::Crun, "/x")));
        assert_eq!(of("youki", "-r states run web"), Some((Engine::Youki, "states")));
        // What is no option of the runtime's says nothing, nor do other programs.
        for (program, arguments) in [
            ("runc", "exec web tool --root /x"),
            ("runc", "--root"),
            ("runc", "--root= run web"),
            ("nabe", "detect -r x"),
            ("nabe", "-r x"),
            ("nabe", "pull --root x"),
            ("rsync", "--root /x"),
        ] {
            assert_eq!(of(program, arguments), None, "{program} {arguments}");
        }
    }
}
