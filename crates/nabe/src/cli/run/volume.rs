//! What of the host is seen inside: `-v`, `--mount`, `--tmpfs`; and named volumes with `nabe volume`.
//!
//! ```text
//! <root>/volumes/lock             flocked while volumes come, go, or are taken by a container
//! <root>/volumes/NAME/data        what is in one
//! <root>/containers/ID/volumes    names of volumes that the container has, one in a line
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use nabe_runtime::spec::Mount;

use super::copy;
use super::place::{self, Place};
use crate::cli::image;
use crate::error::{CliError, Result};

/// A wish for a mount, understood.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Wish {
    /// Everything that the runtime needs.
    Mount(Mount),
    /// A volume of this name; the mount's source is not known yet.
    Named { name: String, mount: Mount, copy: bool },
}

impl Wish {
    pub(super) fn destination(&self) -> &Path {
        match self {
            Self::Mount(mount) | Self::Named { mount, .. } => &mount.destination,
        }
    }
}

fn bind(source: Option<PathBuf>, destination: &str, options: Vec<String>) -> Mount {
    Mount { destination: destination.into(), kind: "bind".into(), source, options, ..Mount::default() }
}

/// `[SRC:]DST[:OPTIONS]`, where SRC is a path of the host or the name of a volume.
pub(super) fn volume(text: &str) -> Result<Wish> {
    let wrong = |why: &str| CliError::usage(format_args!("-v {text}: {why}"));
    let parts: Vec<&str> = text.split(':').collect();
    let (source, destination, words) = match parts.as_slice() {
        [source, destination] => (*source, *destination, ""),
        [source, destination, words] => (*source, *destination, *words),
        [_] => {
            return Err(wrong(
                "it is not of the form SRC:DST[:OPTIONS]; nabe makes no volumes without a name",
            ));
        }
        _ => return Err(wrong("it is not of the form SRC:DST[:OPTIONS]")),
    };
    let (mut options, mut copies) = (vec!["rbind".to_owned(), "rprivate".to_owned()], true);
    for word in words.split(',').filter(|word| !word.is_empty()) {
        match word {
            "ro" | "readonly" => options.push("rro".into()),
            "rw" | "rprivate" | "private" => {}
            "z" | "Z" => relabel_note(),
            "nocopy" => copies = false,
            "shared" | "rshared" | "slave" | "rslave" => {
                return Err(wrong("mounts made later do not travel between the host and a container"));
            }
            "U" => return Err(wrong("owners are not changed; chown it")),
            _ => return Err(wrong(&format!("{word:?} is none of ro, rw, z, Z, nocopy, rprivate"))),
        }
    }
    made(source, destination, options, copies, true).map_err(|why| wrong(&why))
}

fn made(
    source: &str,
    destination: &str,
    options: Vec<String>,
    copy: bool,
    names: bool,
) -> Result<Wish, String> {
    if !destination.starts_with('/') || destination == "/" {
        return Err("the container's path must be absolute, and not /".into());
    }
    if names && !source.contains('/') && !source.starts_with('.') {
        if !is_name(source) {
            return Err(format!("{source:?} is no name of a volume; a directory of the host has a / in it"));
        }
        return Ok(Wish::Named { name: source.into(), mount: bind(None, destination, options), copy });
    }
    let path = Path::new(source).canonicalize().map_err(|error| format!("{source}: {error}"))?;
    Ok(Wish::Mount(bind(Some(path), destination, options)))
}

/// `type=bind|volume|tmpfs,source=…,target=…[,readonly]…`, as Docker's.
pub(super) fn mount(text: &str) -> Result<Wish> {
    let wrong = |why: &str| CliError::usage(format_args!("--mount {text}: {why}"));
    let mut found: BTreeMap<&str, &str> = BTreeMap::new();
    for pair in text.split(',') {
        let (key, value) = pair.split_once('=').unwrap_or((pair, "true"));
        let key = match key {
            "src" => "source",
            "dst" | "destination" => "target",
            "ro" => "readonly",
            known @ ("type" | "source" | "target" | "readonly" | "tmpfs-size" | "tmpfs-mode"
            | "bind-propagation" | "volume-nocopy") => known,
            other => return Err(wrong(&format!("there is no {other:?}"))),
        };
        if found.insert(key, value).is_some() {
            return Err(wrong(&format!("{key} is there twice")));
        }
    }
    let get = |key: &str| found.get(key).copied().unwrap_or_default();
    let is = |key: &str| matches!(get(key), "true" | "1");
    if !matches!(get("bind-propagation"), "" | "rprivate" | "private") {
        return Err(wrong("mounts made later do not travel between the host and a container"));
    }
    let kind = if get("type").is_empty() { "volume" } else { get("type") };
    let target = get("target");
    if kind == "tmpfs" {
        let mut words: Vec<String> = Vec::new();
        words.extend((!get("tmpfs-size").is_empty()).then(|| format!("size={}", get("tmpfs-size"))));
        words.extend((!get("tmpfs-mode").is_empty()).then(|| format!("mode={}", get("tmpfs-mode"))));
        words.extend(is("readonly").then(|| "ro".to_owned()));
        return tmpfs(&format!("{target}:{}", words.join(",")));
    }
    let mut options = vec!["rbind".to_owned(), "rprivate".to_owned()];
    options.extend(is("readonly").then(|| "rro".to_owned()));
    match kind {
        "bind" => made(get("source"), target, options, false, false),
        "volume" if get("source").is_empty() => {
            Err("nabe makes no volumes without a name: source=NAME".into())
        }
        "volume" => made(get("source"), target, options, !is("volume-nocopy"), true),
        other => Err(format!("the type {other:?} is none of bind, volume, tmpfs")),
    }
    .map_err(|why| wrong(&why))
}

/// `PATH[:OPTIONS]`.
pub(super) fn tmpfs(text: &str) -> Result<Wish> {
    let (path, more) = text.split_once(':').unwrap_or((text, ""));
    if !path.starts_with('/') {
        return Err(CliError::usage(format_args!("--tmpfs {text}: the path must be absolute")));
    }
    let mut options: Vec<String> = ["nosuid", "nodev", "noexec"].map(str::to_owned).into();
    options.extend(more.split(',').filter(|word| !word.is_empty()).map(str::to_owned));
    let (kind, source) = ("tmpfs".to_owned(), Some("tmpfs".into()));
    Ok(Wish::Mount(Mount { destination: path.into(), kind, source, options, ..Mount::default() }))
}

fn relabel_note() {
    if Path::new("/sys/fs/selinux/enforce").exists() {
        eprintln!("nabe: note: files are not relabelled for SELinux (z, Z)");
    }
}

fn is_name(text: &str) -> bool {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric())
        && text.len() <= 200
        && text.bytes().all(fine)
}

/// The volumes of a store.
struct Volumes {
    root: PathBuf,
    directory: PathBuf,
}

impl Volumes {
    fn of(root: &Path) -> Self {
        Self { root: root.into(), directory: root.join("volumes") }
    }

    fn lock(&self) -> Result<File> {
        let path = self.directory.join("lock");
        let locked = DirBuilder::new().recursive(true).mode(0o711).create(&self.directory).and_then(|()| {
            let file = File::options().create(true).truncate(false).write(true).open(&path)?;
            place::lock(&file)?;
            Ok(file)
        });
        locked.map_err(|error| CliError::file("lock", &path, &error))
    }

    fn data(&self, name: &str) -> PathBuf {
        self.directory.join(name).join("data")
    }

    /// Makes one that is not there yet. True when it was not.
    fn make(&self, name: &str) -> Result<bool> {
        let data = self.data(name);
        if data.is_dir() {
            return Ok(false);
        }
        let made = DirBuilder::new().recursive(true).mode(0o755).create(&data);
        made.and_then(|()| fs::set_permissions(&data, fs::Permissions::from_mode(0o755)))
            .map_err(|error| CliError::file("make", &data, &error))?;
        Ok(true)
    }

    fn names(&self) -> BTreeSet<String> {
        let entries = fs::read_dir(&self.directory).into_iter().flatten().flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.filter(|name| is_name(name) && self.data(name).is_dir()).collect()
    }

    /// Containers by the volumes that they have.
    fn users(&self) -> BTreeMap<String, Vec<String>> {
        let mut users: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for entry in fs::read_dir(self.root.join("containers")).into_iter().flatten().flatten() {
            let id = entry.file_name().to_string_lossy().into_owned();
            for name in fs::read_to_string(entry.path().join("volumes")).unwrap_or_default().lines() {
                users.entry(name.to_owned()).or_default().push(id.clone());
            }
        }
        users
    }

    fn remove(&self, name: &str) -> Result<()> {
        let path = self.directory.join(name);
        fs::remove_dir_all(&path).map_err(|error| CliError::file("remove", &path, &error))
    }
}

/// The mounts of a container whose root is at `rootfs`. Its volumes are made, and those that are empty get what
/// the image has at their place.
pub(super) fn mounts(wishes: &[Wish], of: &Place, rootfs: &Path) -> Result<Vec<Mount>> {
    let mut mounts = Vec::new();
    let names: Vec<&str> = wishes
        .iter()
        .filter_map(|wish| match wish {
            Wish::Named { name, .. } => Some(name.as_str()),
            Wish::Mount(_) => None,
        })
        .collect();
    let volumes = Volumes::of(of.root());
    let _lock = if names.is_empty() { None } else { Some(volumes.lock()?) };
    if !names.is_empty() {
        of.note("volumes", &(names.join("\n") + "\n"))?;
    }
    for wish in wishes {
        match wish {
            Wish::Mount(mount) => mounts.push(mount.clone()),
            Wish::Named { name, mount, copy } => {
                volumes.make(name)?;
                let data = volumes.data(name);
                let empty = fs::read_dir(&data).is_ok_and(|mut inside| inside.next().is_none());
                if *copy && empty {
                    copy::below(rootfs, &mount.destination, &data)
                        .map_err(|error| CliError::file("fill", &data, &error))?;
                }
                mounts.push(Mount { source: Some(data), ..mount.clone() });
            }
        }
    }
    Ok(mounts)
}

/// Named volumes.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// List volumes and the containers that have them
    #[command(visible_alias = "list")]
    Ls(ListArgs),
    /// Make a volume; `run -v NAME:DST` does it, too
    Create(NamesArgs),
    /// Remove volumes that no container has
    #[command(visible_alias = "remove")]
    Rm(NamesArgs),
    /// Remove every volume that no container has
    Prune(PlaceArgs),
}

#[derive(Debug, clap::Args)]
struct PlaceArgs {
    #[command(flatten)]
    place: image::Place,
}

#[derive(Debug, clap::Args)]
struct ListArgs {
    /// Only names
    #[arg(short, long)]
    quiet: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: image::Place,
}

#[derive(Debug, clap::Args)]
struct NamesArgs {
    /// Names of volumes
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
    #[command(flatten)]
    place: image::Place,
}

/// Runs `nabe volume`.
pub fn run(args: &Args) -> Result<ExitCode> {
    match &args.verb {
        Verb::Ls(args) => list(args),
        Verb::Create(args) => {
            let volumes = Volumes::of(&args.place.root());
            let _lock = volumes.lock()?;
            for name in &args.names {
                if !is_name(name) {
                    return Err(CliError::usage(format_args!("{name:?} is no name of a volume")));
                }
                volumes.make(name)?;
                crate::output::write(format!("{name}\n").as_bytes())?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Verb::Rm(args) => remove(args),
        Verb::Prune(args) => {
            let volumes = Volumes::of(&args.place.root());
            place::become_root()?;
            let _lock = volumes.lock()?;
            let users = volumes.users();
            for name in volumes.names().iter().filter(|name| !users.contains_key(*name)) {
                volumes.remove(name)?;
                crate::output::write(format!("Deleted: {name}\n").as_bytes())?;
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn list(args: &ListArgs) -> Result<ExitCode> {
    let volumes = Volumes::of(&args.place.root());
    let users = volumes.users();
    let used = |name: &str| users.get(name).cloned().unwrap_or_default();
    if args.json {
        let all = volumes.names().into_iter().map(|name| {
            let (path, containers) = (volumes.data(&name), used(&name));
            serde_json::json!({"name": name, "path": path, "containers": containers})
        });
        image::print_json(&serde_json::Value::Array(all.collect()))?;
        return Ok(ExitCode::SUCCESS);
    }
    let names = volumes.names();
    let width = names.iter().map(String::len).max().unwrap_or(0).max(4);
    let mut text = if args.quiet { String::new() } else { format!("{:width$}  CONTAINERS\n", "NAME") };
    for name in &names {
        match args.quiet {
            true => text.push_str(name),
            false => text.push_str(format!("{name:width$}  {}", used(name).join(", ")).trim_end()),
        }
        text.push('\n');
    }
    crate::output::write(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn remove(args: &NamesArgs) -> Result<ExitCode> {
    let volumes = Volumes::of(&args.place.root());
    place::become_root()?;
    let _lock = volumes.lock()?;
    let users = volumes.users();
    let mut code = ExitCode::SUCCESS;
    for name in &args.names {
        let removed = if !is_name(name) || !volumes.directory.join(name).is_dir() {
            Err(CliError::failed(format_args!("there is no volume {name}"))
                .hint("`nabe volume ls` lists them"))
        } else if let Some(holders) = users.get(name) {
            Err(CliError::failed(format_args!("the volume {name} is in use by {}", holders.join(", ")))
                .hint("remove the container first: `nabe rm`"))
        } else {
            volumes.remove(name)
        };
        match removed {
            Ok(()) => crate::output::write(format!("{name}\n").as_bytes())?,
            // The others go nevertheless.
            Err(error) => code = error.report(),
        }
    }
    Ok(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_have_a_source_and_a_place() {
        let Wish::Mount(mount) = volume("/:/host:ro,z").expect("it is") else { panic!("no bind") };
        assert!(mount.options.contains(&"rro".to_owned()));
        let Wish::Named { name, copy, .. } = volume("data:/data:nocopy").expect("it is") else {
            panic!("no volume")
        };
        assert_eq!((name.as_str(), copy), ("data", false));
        for wrong in [
            "/",
            "/data",
            "/:data",
            "/:/",
            "/:/a:zz",
            "/:/a:rshared",
            "/nowhere/at/all:/x",
            "-a:/x",
            "a b:/x",
        ] {
            assert!(volume(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn mounts_are_dockers() {
        assert_eq!(
            mount("type=bind,src=/,dst=/host,readonly").expect("it is"),
            volume("/:/host:ro").expect("it is")
        );
        assert_eq!(mount("source=d,target=/d").expect("it is"), volume("d:/d").expect("it is"));
        let Wish::Mount(made) = mount("type=tmpfs,target=/t,tmpfs-size=1m").expect("it is") else {
            panic!("no tmpfs")
        };
        assert!(made.kind == "tmpfs" && made.options.contains(&"size=1m".to_owned()));
        for wrong in [
            "",
            "type=bind",
            "type=bind,source=d,target=/d",
            "type=npipe,target=/a",
            "target=/a",
            "type=tmpfs,target=a",
            "source=a,source=b,target=/c",
            "source=a,target=/b,bind-propagation=shared",
        ] {
            assert!(mount(wrong).is_err(), "{wrong}");
        }
    }
}
