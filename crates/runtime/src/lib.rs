//! The OCI runtime: from a bundle directory to a confined process, and its lifecycle.
//!
//! In: a bundle (`config.json` and a root directory) and a few options. Out: a process in its own
//! namespaces and cgroups with what the configuration allows it, and a state directory by which
//! later calls (and `nabe ps`) find it.
//!
//! **Invariants**
//! - The process that makes or joins a container has one thread; it is looked at, not assumed.
//! - The id of a container, and where its cgroups will be, are on disk before anything of it exists; its
//!   first process ends by itself unless the runtime has noted it. So a SIGKILL at any moment leaves nothing
//!   that [`Container::delete`] with `force` does not find.
//! - `state.json` is written whole or not at all.
//! - A path inside the container is opened by openat2(2) within its root, never by name.
//! - No descriptor of ours outlives the exec, and the working directory is looked at from inside.
//! - Of five capability sets, what the kernel cannot grant is left out with a word; nothing is added.
//!
//! **Not here**: images and their layers (`image`), networks beyond the loopback interface, events and rules,
//! arguments and messages (the binary).

mod capability;
mod cgroup;
mod channel;
mod check;
mod container;
mod create;
mod descriptor;
mod error;
mod exe;
mod exec;
mod feature;
mod hook;
mod journal;
mod memory;
mod mount;
mod namespace;
mod process;
mod rootfs;
mod seccomp;
pub mod spec;
pub mod stage;
mod state;
mod sys;
mod systemd;
mod terminal;

/// Reads and checks a configuration as `create` does, for the fuzzer: seccomp profile, mounts, device rules.
#[doc(hidden)]
pub fn fuzz_config(text: &[u8]) {
    let Ok(config) = spec::parse::<spec::Spec>(std::path::Path::new("config.json"), text) else { return };
    if check::spec(&config).is_ok() {
        let _ = config.linux.seccomp.as_ref().map(seccomp::compile);
        cgroup::fuzz_rules(&config.linux.resources.devices);
    }
}

pub use capability::names as capabilities;
pub use cgroup::{Cgroup, CgroupDriver};
pub use container::{Bundle, Container, Options, attend, delete_unreadable, hold_signals};
pub use create::Created;
pub use descriptor::{close_given, close_inherited};
pub use error::{Error, Result};
pub use exe::protect;
pub use exec::{Exec, Executed};
pub use feature::features;
pub use journal::forget_ended;
pub use state::{Own, State, StateConfig, Status, default_root, now};
pub use systemd::Unit;
