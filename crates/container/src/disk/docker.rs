//! Docker's own files: `<data-root>/containers/<id>/config.v2.json`, written
//! anew by dockerd at every change of a container.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{file, plain_name};
use crate::time::parse_rfc3339;
use crate::{Config, Engine, Metadata, User};

/// Data directories when the daemon was not told another.
const DEFAULTS: &[&str] = &["/var/lib/docker", "/var/snap/docker/common/var-lib-docker"];

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ConfigV2 {
    #[serde(rename = "ID")]
    id: String,
    name: Option<String>,
    image: Option<String>,
    driver: Option<String>,
    #[serde(default)]
    config: ContainerConfig,
    #[serde(default)]
    state: State,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ContainerConfig {
    image: Option<String>,
    labels: Option<HashMap<String, String>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct State {
    #[serde(default)]
    pid: i64,
    started_at: Option<String>,
}

/// Docker's data directories on this host: configured, from
/// `/etc/docker/daemon.json`, the defaults, then those of rootless users, who
/// can write what is in them.
pub(crate) fn data_roots(config: &Config, users: &[User]) -> Vec<(PathBuf, Option<u32>)> {
    #[derive(Deserialize)]
    struct Daemon {
        #[serde(rename = "data-root", alias = "graph")]
        data_root: Option<String>,
    }
    let mut roots: Vec<PathBuf> = config.roots_of(Engine::Docker, &[]).collect();
    let daemon: Option<Daemon> = file::json(&config.at("/etc/docker/daemon.json"));
    roots.extend(daemon.and_then(|daemon| daemon.data_root).map(|path| config.at(path)));
    roots.extend(DEFAULTS.iter().map(|path| config.at(path)));
    let theirs = |user: &User| (user.home.join(".local/share/docker"), Some(user.uid));
    roots.into_iter().map(|path| (path, None)).chain(users.iter().map(theirs)).collect()
}

/// The container `id` as one data directory describes it. The caller has
/// checked that the id is a plain file name.
pub(crate) fn read(data_root: &Path, id: &str) -> Option<Metadata> {
    let path = data_root.join("containers").join(id).join("config.v2.json");
    let file: ConfigV2 = file::json(&path)?;
    if file.id != id {
        return None;
    }
    let mut found = Metadata::new(id, Engine::Docker, "docker config.v2.json");
    found.name = file.name.map(|name| name.trim_start_matches('/').to_owned());
    found.image = file.config.image.or_else(|| file.image.clone());
    found.image_id = file.image;
    found.set_labels(file.config.labels.unwrap_or_default());
    found.init_pid = u32::try_from(file.state.pid).ok().filter(|pid| *pid > 0);
    found.started_at = file.state.started_at.as_deref().and_then(parse_rfc3339);
    if let Some(driver) = file.driver {
        found.upper_dir = upper_dir(data_root, &driver, id);
        // Docker on containerd's image store mounts its roots itself.
        if found.upper_dir.is_none() && plain_name(&driver) {
            let path = data_root.join("rootfs").join(&driver).join(id);
            found.rootfs = path.is_dir().then_some(path);
        }
    }
    Some(found)
}

/// The writable layer: `image/<driver>/layerdb/mounts/<id>/mount-id` names it.
fn upper_dir(data_root: &Path, driver: &str, id: &str) -> Option<PathBuf> {
    if !matches!(driver, "overlay2" | "overlay" | "fuse-overlayfs") {
        return None;
    }
    let mounts = data_root.join("image").join(driver).join("layerdb/mounts");
    let mount_id = String::from_utf8(file::read(&mounts.join(id).join("mount-id")).ok()?).ok()?;
    let mount_id = mount_id.trim();
    let plain = !mount_id.is_empty() && mount_id.bytes().all(|b| b.is_ascii_alphanumeric());
    plain.then(|| data_root.join(driver).join(mount_id).join("diff"))
}
