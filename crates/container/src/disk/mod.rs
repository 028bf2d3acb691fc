//! What the engines leave on disk, read without their help.

pub(crate) mod docker;
pub(crate) mod file;
