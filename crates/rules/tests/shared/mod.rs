//! Where the published cases are: the one place of the workspace that knows.

#![allow(dead_code, reason = "each test file uses a part")]

#[path = "../../../scap/tests/shared/mod.rs"]
mod shared;

pub(crate) use shared::data;
