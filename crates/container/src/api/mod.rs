//! What the engines say over their sockets, about what their files did not.

pub(crate) mod http;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use http::{AskError, Deadline};
use serde::Deserialize;

use crate::metadata::Pod;
use crate::resolver::Item;
use crate::{Config, Engine, Metadata, User};

/// A socket of an engine, and the rootless user whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Socket {
    pub(crate) engine: Engine,
    pub(crate) path: PathBuf,
    pub(crate) owner: Option<u32>,
    /// Named by the user, so that it is an error when it is not there.
    pub(crate) configured: bool,
}

/// Default sockets; `{}` stands for a rootless user's uid.
const DEFAULTS: &[(Engine, &str)] = &[
    (Engine::Docker, "/var/run/docker.sock"),
    (Engine::Docker, "/run/user/{}/docker.sock"),
    (Engine::Containerd, "/run/containerd/containerd.sock"),
    (Engine::Containerd, "/run/k3s/containerd/containerd.sock"),
    (Engine::Containerd, "/run/k0s/containerd.sock"),
    (Engine::Containerd, "/var/snap/microk8s/common/run/containerd.sock"),
    (Engine::CriO, "/var/run/crio/crio.sock"),
    (Engine::Podman, "/run/podman/podman.sock"),
    (Engine::Podman, "/run/user/{}/podman/podman.sock"),
];

/// The sockets of an engine: those configured, else the default ones that exist.
pub(crate) fn sockets(config: &Config, engine: Engine, users: &[User]) -> Vec<Socket> {
    let configured: Vec<Socket> = config
        .sockets
        .iter()
        .filter(|(known, _)| *known == engine)
        .map(|(_, path)| Socket { engine, path: path.clone(), owner: None, configured: true })
        .collect();
    if !configured.is_empty() {
        return configured;
    }
    let mut sockets = Vec::new();
    for (_, path) in DEFAULTS.iter().filter(|(known, _)| *known == engine) {
        if !path.contains("{}") {
            sockets.push((config.at(path), None));
            continue;
        }
        for user in users {
            sockets.push((config.at(path.replace("{}", &user.uid.to_string())), Some(user.uid)));
        }
    }
    sockets
        .into_iter()
        .filter(|(path, _)| path.symlink_metadata().is_ok())
        .map(|(path, owner)| Socket { engine, path, owner, configured: false })
        .collect()
}

/// Asks one socket about the items.
pub(crate) fn ask(
    socket: &Socket,
    items: &[(usize, Item)],
    deadline: Deadline,
) -> Result<Vec<(usize, Metadata)>, AskError> {
    let items: Vec<&(usize, Item)> = items
        .iter()
        .filter(|(_, item)| socket.owner.is_none() || item.uid == socket.owner)
        .filter(|(_, item)| item.id.is_some())
        .filter(|(_, item)| item.engine == socket.engine || item.engine == Engine::Unknown)
        .collect();
    if items.is_empty() {
        return Ok(Vec::new());
    }
    match socket.engine {
        Engine::Docker => docker(&socket.path, &items, deadline),
        Engine::Podman => podman(&socket.path, &items, deadline),
        Engine::CriO => crio(&socket.path, &items, deadline),
        _ => Ok(Vec::new()),
    }
}

/// Whether the daemon behind a socket is alive, as cheaply for it as can be.
pub(crate) fn ping(socket: &Socket, deadline: Deadline) -> Result<(), AskError> {
    match socket.engine {
        Engine::Docker | Engine::Podman => http::get(&socket.path, "/_ping", deadline).map(drop),
        Engine::CriO => http::get(&socket.path, "/info", deadline).map(drop),
        _ => http2_hello(&socket.path, deadline),
    }
}

/// Whether the daemon is alive, and its version where it tells one. Docker runs
/// its helpers to answer this: not for every call.
pub(crate) fn version(socket: &Socket, deadline: Deadline) -> Result<Option<String>, AskError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Version {
        version: Option<String>,
    }
    if !matches!(socket.engine, Engine::Docker | Engine::Podman) {
        return ping(socket, deadline).map(|()| None);
    }
    let body = http::get(&socket.path, "/version", deadline)?;
    let version: Version = serde_json::from_slice(&body).map_err(|_| AskError::Garbage("Docker's API"))?;
    Ok(version.version)
}

/// containerd speaks gRPC: HTTP/2 begins with a preface and a SETTINGS frame
/// from each side, which a living server sends by itself.
fn http2_hello(socket: &Path, deadline: Deadline) -> Result<(), AskError> {
    const SETTINGS: u8 = 4;
    let fd = http::connect(socket, deadline)?;
    let hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";
    http::send(&fd, hello, deadline)?;
    let mut frame = [0u8; 9];
    let mut have = 0;
    while let Some(rest) = frame.get_mut(have..).filter(|rest| !rest.is_empty()) {
        match http::receive(&fd, rest, deadline)? {
            0 => return Err(AskError::Garbage("gRPC")),
            count => have += count,
        }
    }
    if frame.get(3) == Some(&SETTINGS) { Ok(()) } else { Err(AskError::Garbage("gRPC")) }
}

/// An entry of Docker's `/containers/json`; Podman's own list is close to it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    id: String,
    names: Option<Vec<String>>,
    image: Option<String>,
    #[serde(rename = "ImageID")]
    image_id: Option<String>,
    labels: Option<HashMap<String, String>>,
    pid: Option<i64>,
    pod: Option<String>,
    pod_name: Option<String>,
    is_infra: Option<bool>,
    started_at: Option<i64>,
}

fn list(
    engine: Engine,
    source: &'static str,
    body: &[u8],
    items: &[&(usize, Item)],
) -> Result<Vec<(usize, Metadata)>, AskError> {
    let listed: Vec<Listed> =
        serde_json::from_slice(body).map_err(|_| AskError::Garbage("a list of containers"))?;
    let by_id: HashMap<&str, usize> =
        items.iter().filter_map(|(at, item)| Some((item.id.as_deref()?, *at))).collect();
    Ok(listed
        .into_iter()
        .filter_map(|entry| {
            let at = *by_id.get(entry.id.as_str())?;
            let mut found = Metadata::new(entry.id, engine, source);
            found.name = entry
                .names
                .and_then(|names| names.into_iter().next())
                .map(|name| name.trim_start_matches('/').to_owned());
            found.image = entry.image;
            found.image_id = entry.image_id;
            found.set_labels(entry.labels.unwrap_or_default());
            found.init_pid = entry.pid.and_then(|pid| u32::try_from(pid).ok()).filter(|p| *p > 0);
            found.infra |= entry.is_infra.unwrap_or(false);
            found.started_at = entry.started_at.and_then(|s| s.checked_mul(1_000_000_000));
            if found.pod.is_none() {
                found.pod = entry.pod.filter(|id| !id.is_empty()).map(|id| Pod {
                    uid: Some(id),
                    name: entry.pod_name,
                    ..Pod::default()
                });
            }
            Some((at, found))
        })
        .collect())
}

fn docker(
    socket: &Path,
    items: &[&(usize, Item)],
    deadline: Deadline,
) -> Result<Vec<(usize, Metadata)>, AskError> {
    let body = http::get(socket, "/containers/json?all=1", deadline)?;
    list(Engine::Docker, "docker API", &body, items)
}

fn podman(
    socket: &Path,
    items: &[&(usize, Item)],
    deadline: Deadline,
) -> Result<Vec<(usize, Metadata)>, AskError> {
    let path = "/v4.0.0/libpod/containers/json?all=true&pod=true";
    let body = http::get(socket, path, deadline)?;
    list(Engine::Podman, "podman API", &body, items)
}

/// CRI-O has no list: one request for each container.
fn crio(
    socket: &Path,
    items: &[&(usize, Item)],
    deadline: Deadline,
) -> Result<Vec<(usize, Metadata)>, AskError> {
    #[derive(Deserialize)]
    struct Info {
        name: Option<String>,
        pid: Option<i64>,
        image: Option<String>,
        image_ref: Option<String>,
        labels: Option<HashMap<String, String>>,
        root: Option<PathBuf>,
    }
    let mut found = Vec::new();
    for (at, item) in items {
        let Some(id) = item.id.as_deref() else { continue };
        if !id.bytes().all(|b| b.is_ascii_alphanumeric()) {
            continue;
        }
        let body = match http::get(socket, &format!("/containers/{id}"), deadline) {
            Ok(body) => body,
            Err(AskError::Status(404)) => continue,
            Err(error) => return Err(error),
        };
        let info: Info = serde_json::from_slice(&body).map_err(|_| AskError::Garbage("a container"))?;
        let mut meta = Metadata::new(id, Engine::CriO, "cri-o API");
        meta.set_labels(info.labels.unwrap_or_default());
        meta.name = meta.pod.as_ref().and_then(|pod| pod.container_name.clone()).or(info.name);
        meta.image = info.image;
        meta.image_id = info.image_ref;
        meta.init_pid = info.pid.and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid > 0);
        meta.rootfs = info.root;
        found.push((*at, meta));
    }
    Ok(found)
}
