//! Images in files: `docker save` archives, OCI layouts (as directories and archives), and plain root
//! file systems; in both directions.

mod load;
mod save;

pub use load::import;
pub use save::{Format, export};
