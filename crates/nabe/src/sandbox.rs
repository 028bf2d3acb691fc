//! The sandbox: a specimen in a container made for distrust, its events in a capture, the capture judged.
//!
//! A run has two halves that share nothing but files: `run` confines the specimen and records what it
//! does, `judge` reads the capture. So a capture that is judged again gives the same report.

pub mod archive;
pub mod batch;
pub mod evidence;
pub mod fake;
pub mod gate;
pub mod judge;
pub mod leftover;
pub mod root;
pub mod run;
pub mod spec;
pub mod specimen;
pub mod yara;
