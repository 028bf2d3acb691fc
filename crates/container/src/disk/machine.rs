//! Containers that go by their name: systemd-nspawn (what systemd-machined notes
//! in `/run/systemd/machines/<name>`), LXC, LXD and Incus (a directory each).

use std::path::PathBuf;

use super::{file, plain_name};
use crate::resolver::Item;
use crate::{Config, Engine, Metadata};

/// Where a container's directory tells whose it is.
const CONTAINERS: &[(Engine, &str)] = &[
    (Engine::Incus, "/var/lib/incus/containers"),
    (Engine::Lxd, "/var/snap/lxd/common/lxd/containers"),
    (Engine::Lxd, "/var/lib/lxd/containers"),
    (Engine::Lxc, "/var/lib/lxc"),
];

/// Describes the items that have a name for an id. Their name is known even
/// when no file is found.
pub(crate) fn read(config: &Config, items: &[(usize, Item)], found: &mut Vec<(usize, Metadata)>) {
    for (at, item) in items {
        let Some(id) = item.id.as_deref().filter(|id| plain_name(id)) else { continue };
        let meta = match item.engine {
            Engine::Nspawn | Engine::LibvirtLxc => machine(config, item.engine, id),
            Engine::Lxc => container(config, id),
            _ => continue,
        };
        found.push((*at, meta));
    }
}

fn machine(config: &Config, engine: Engine, id: &str) -> Metadata {
    let mut found = Metadata::new(id, engine, "cgroup path");
    found.name = Some(id.to_owned());
    let path = config.at("/run/systemd/machines").join(id);
    let Ok(text) = file::read(&path) else { return found };
    found.source = "systemd-machined";
    for line in String::from_utf8_lossy(&text).lines() {
        let Some((key, value)) = line.split_once('=') else { continue };
        match key {
            "LEADER" => found.init_pid = value.parse().ok().filter(|pid| *pid > 0),
            "ROOT" if value.starts_with('/') => found.rootfs = Some(PathBuf::from(value)),
            "REALTIME" => {
                found.started_at = value.parse::<i64>().ok().and_then(|us| us.checked_mul(1000));
            }
            _ => {}
        }
    }
    found
}

fn container(config: &Config, id: &str) -> Metadata {
    let at = CONTAINERS
        .iter()
        .map(|(engine, directory)| (*engine, config.at(directory).join(id)))
        .find(|(_, path)| path.symlink_metadata().is_ok());
    let Some((engine, path)) = at else {
        let mut found = Metadata::new(id, Engine::Lxc, "cgroup path");
        found.name = Some(id.to_owned());
        return found;
    };
    let mut found = Metadata::new(id, engine, "container directory");
    // LXD and Incus put a project other than the default before the name.
    match id.split_once('_').filter(|_| engine != Engine::Lxc) {
        Some((project, name)) => {
            found.namespace = Some(project.to_owned());
            found.name = Some(name.to_owned());
        }
        None => found.name = Some(id.to_owned()),
    }
    found.rootfs = Some(path.join("rootfs"));
    found
}

/// The directories that hold an engine's containers.
pub(crate) fn directories(config: &Config, engine: Engine) -> impl Iterator<Item = PathBuf> {
    let machines = (engine == Engine::Nspawn).then_some("/run/systemd/machines");
    CONTAINERS
        .iter()
        .filter(move |(known, _)| *known == engine)
        .map(|(_, path)| *path)
        .chain(machines)
        .map(|path| config.at(path))
}
