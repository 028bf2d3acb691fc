//! Pure tables and trees: what is shown, in which order, and how a value reads.

pub mod cell;
pub mod column;
pub mod diff;
pub mod escape;
pub mod group;
pub mod sort;
pub mod table;
pub mod text;
pub mod tree;

pub use cell::Cell;
pub use column::Column;
pub use diff::Diff;
pub use group::Groups;
pub use sort::SortKey;
pub use table::Table;
pub use text::Context;
pub use tree::Tree;
