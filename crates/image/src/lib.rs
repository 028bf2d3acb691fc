//! Container images: pulls them from registries, keeps them in a store shared by everybody on the
//! machine, and unpacks them for overlayfs or as a bundle for any OCI runtime.
//!
//! In: a reference, an archive or a layout; registries over HTTP(S); credentials and mirrors from the
//! files that Docker and containers' tools use. Out: [`Image`]s with their lower directories, bundles,
//! archives.
//!
//! # Invariants
//!
//! - Nothing is believed: what a digest names is verified before it gets its final name, and again when
//!   it is unpacked; sizes, counts and nesting have limits.
//! - No entry of a layer is written, linked or removed outside of the tree that it is unpacked to: the
//!   kernel resolves every path below it (see `apply`).
//! - What is under its final name is complete and on the disk, whenever the process or the machine ends.
//! - Nothing in use is removed: by a name, a container's lease, or work that runs.
//!
//! # Not here
//!
//! Building and pushing images; mounting and running them (the runtime does); words for people.

mod apply;
mod archive;
mod auth;
mod bundle;
mod digest;
mod endpoints;
mod error;
mod layer;
pub mod manifest;
mod progress;
mod pull;
mod reference;
mod registry;
mod rootless;
mod settings;
mod store;
mod tarball;

pub use archive::{Format, export, import};
pub use bundle::{IdMap, User, bundle, config_of, root_file_system, user_of};
pub use digest::Digest;
pub use error::{Error, Result};
pub use progress::Progress;
pub use pull::{Options, Pulled, pull};
pub use reference::{DEFAULT_REGISTRY, Reference};
pub use rootless::{become_root, enter_user_namespace};
pub use settings::{Limits, Settings};
pub use store::{IdMaps, Image, ImageId, Lease, LeftOut, Pruned, Removed, Store};

/// Applies a layer to an empty directory, for fuzzing: whatever the bytes are, nothing may appear
/// outside of `root`.
#[doc(hidden)]
pub fn apply_for_fuzzing(bytes: &[u8], root: &std::path::Path, overlay: bool) -> Result<()> {
    let root = store::open_directory(root)?;
    let form = if overlay { apply::Form::Overlay("user.overlay.opaque") } else { apply::Form::Flat };
    let limits = Limits { bytes: 1 << 20, entries: 1000, ratio: 200 };
    let ownership = apply::Ownership::Ours;
    let rules = apply::Rules { layer: "fuzz", form, ownership: &ownership, devices: false, limits: &limits };
    apply::apply(&mut tarball::Archive::new(bytes), &root, &rules).map(drop)
}
