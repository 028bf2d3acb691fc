//! Which engines are here, found by trying, for `nabe doctor`.

use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::time::Instant;

use crate::api::http::{AskError, Deadline};
use crate::api::{self, Socket};
use crate::{Config, Engine, disk};

/// Whether an engine answers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Liveness {
    /// It answered.
    Answers,
    /// It did not; the text says how it failed.
    Fails(String),
    /// It works without a daemon.
    NoDaemon,
    /// No socket was found.
    NoSocket,
    /// It has a socket that was left alone, because asking would start it.
    NotAsked,
}

/// What is known of one engine, and of one of its sockets, on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineStatus {
    /// Which one.
    pub engine: Engine,
    /// Its program, when one was found in the usual directories.
    pub program: Option<PathBuf>,
    /// The socket that was tried.
    pub socket: Option<PathBuf>,
    /// Whether it answers on the socket.
    pub liveness: Liveness,
    /// Its version, when it told one.
    pub version: Option<String>,
    /// State directories that exist and can be read, so that names come even
    /// with the engine dead.
    pub state: Vec<PathBuf>,
}

impl EngineStatus {
    /// Whether there is any sign of the engine on this host.
    pub fn present(&self) -> bool {
        self.program.is_some() || self.socket.is_some() || !self.state.is_empty()
    }
}

/// Engines with their programs, and whether they have a daemon.
const PROGRAMS: &[(Engine, &str, bool)] = &[
    (Engine::Docker, "dockerd", true),
    (Engine::Containerd, "containerd", true),
    (Engine::CriO, "crio", true),
    (Engine::Podman, "podman", true),
    (Engine::Nabe, "nabe", false),
    (Engine::Runc, "runc", false),
    (Engine::Crun, "crun", false),
    (Engine::Youki, "youki", false),
    (Engine::Nspawn, "systemd-nspawn", false),
    (Engine::Lxc, "lxc-start", false),
    (Engine::Lxd, "lxd", false),
    (Engine::Incus, "incusd", false),
];

/// Where programs are, also when `PATH` is a user's.
const DIRECTORIES: &[&str] = &["/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin", "/bin", "/sbin"];

/// Tries every engine, its sockets in parallel, within [`Config::deadline`]:
/// one entry for each engine, or for each socket of one that has several.
pub fn engines(config: &Config) -> Vec<EngineStatus> {
    let deadline = Deadline::after(config.deadline);
    let users = disk::user::users(config, &[]);
    let mut statuses = Vec::new();
    let mut asked: Vec<(usize, Socket)> = Vec::new();
    for (engine, program, daemon) in PROGRAMS {
        let status = EngineStatus {
            engine: *engine,
            program: find_program(config, program),
            socket: None,
            liveness: if *daemon { Liveness::NoSocket } else { Liveness::NoDaemon },
            version: None,
            state: state_directories(config, *engine),
        };
        let sockets = api::sockets(config, *engine, &users);
        if sockets.is_empty() {
            statuses.push(status);
            continue;
        }
        for socket in sockets {
            let liveness = match socket.engine {
                Engine::Podman if !socket.configured => Liveness::NotAsked,
                _ => {
                    asked.push((statuses.len(), socket.clone()));
                    Liveness::Fails(AskError::Timeout(deadline.allowed_ms).to_string())
                }
            };
            statuses.push(EngineStatus { socket: Some(socket.path), liveness, ..status.clone() });
        }
    }
    ask(asked, deadline, &mut statuses);
    statuses
}

fn ask(asked: Vec<(usize, Socket)>, deadline: Deadline, statuses: &mut [EngineStatus]) {
    let (sender, receiver) = channel();
    let mut waiting = asked.len();
    for (at, socket) in asked {
        let sender = sender.clone();
        let run = move || drop(sender.send((at, api::version(&socket, deadline))));
        if std::thread::Builder::new().name("ask-engine".to_owned()).spawn(run).is_err() {
            waiting -= 1;
        }
    }
    while waiting > 0 {
        let left = deadline.until.saturating_duration_since(Instant::now());
        let Ok((at, answer)) = receiver.recv_timeout(left) else { return };
        waiting -= 1;
        let Some(status) = statuses.get_mut(at) else { continue };
        match answer {
            Ok(version) => {
                status.liveness = Liveness::Answers;
                status.version = version;
            }
            Err(error) => status.liveness = Liveness::Fails(error.to_string()),
        }
    }
}

fn find_program(config: &Config, name: &str) -> Option<PathBuf> {
    DIRECTORIES.iter().map(|directory| config.at(directory).join(name)).find(|path| path.is_file())
}

fn state_directories(config: &Config, engine: Engine) -> Vec<PathBuf> {
    let listable = |path: &Path| std::fs::read_dir(path).is_ok();
    let roots: Vec<PathBuf> = match engine {
        Engine::Docker => disk::docker::data_roots(config, &[])
            .into_iter()
            .map(|(path, _)| path)
            .filter(|path| listable(&path.join("containers")))
            .collect(),
        Engine::Containerd => disk::containerd::roots(config, &[])
            .into_iter()
            .map(|(path, _)| path)
            .filter(|path| disk::containerd::readable(path))
            .collect(),
        // The two share their storage; CRI-O's part shows only in containers.
        Engine::Podman => {
            disk::storage::storages(config, &[]).iter().flat_map(disk::storage::Storage::readable).collect()
        }
        Engine::Nabe | Engine::Runc | Engine::Crun | Engine::Youki => disk::oci::roots(config, &[])
            .into_iter()
            .filter(|(known, path, _)| *known == engine && listable(path))
            .map(|(_, path, _)| path)
            .collect(),
        _ => disk::machine::directories(config, engine).filter(|path| listable(path)).collect(),
    };
    let mut distinct: Vec<PathBuf> = Vec::new();
    for path in roots {
        if !distinct.contains(&path) {
            distinct.push(path);
        }
    }
    distinct
}
