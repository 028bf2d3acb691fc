//! From a process's cgroup path to the container it runs in, and from the
//! container's id to its name, image, labels and pod.
//!
//! In: cgroup paths and pids, as the kernel or `/proc/PID/cgroup` gives them.
//! Out: [`Identity`] (pure, no I/O) and [`Metadata`] (from the engines' files,
//! then their sockets), with a [`Note`] for each engine that failed.
//!
//! **Invariants**
//! - [`identify`], [`unit()`] and [`supervised`] never fail, never panic and
//!   allocate only to unescape a systemd machine name.
//! - [`Resolver::resolve`] returns within [`Config::deadline`] of being called,
//!   plus the time to start its threads, whatever the engines and their disks do.
//! - Engine files are read, never locked or written; an API is asked only for
//!   what the files did not say.
//! - What an unprivileged user can write describes only that user's cgroups.
//!
//! **Not here**: reading cgroup paths of tasks (`probe`), events and state
//! (`state`), printing.

mod api;
mod cgroup;
mod config;
mod disk;
mod engine;
mod identity;
mod metadata;
mod resolver;
mod status;
mod supervisor;
mod time;
mod watch;

pub use cgroup::{UnitKind, owner_uid, unit, unit_kind};
pub use config::{Config, ConfigError, User};
pub use engine::Engine;
pub use identity::{Identity, fuzz_cgroup_path, identify, identify_any, nesting, supervised};
pub use metadata::{Metadata, Note, Pod};
pub use resolver::{Resolution, Resolver, Wanted};
pub use status::{EngineStatus, Liveness, engines};
pub use supervisor::state_root;
pub use watch::Watcher;

/// What the state of one of nabe's own containers says, read at once from its file, or from the journal of those
/// that have ended: the id is the name of a cgroup below `/nabe`. `ts_ns` is a moment since the epoch when it was
/// there, `pid` its first process if that is known. Without a state that fits it is called by its id.
#[must_use]
pub fn own(config: &Config, id: &str, pid: Option<u32>, ts_ns: u64) -> Metadata {
    disk::oci::own(config, id, pid, ts_ns)
}
