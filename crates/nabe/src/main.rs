//! nabe: shows what every process and container on a Linux host does.

#![allow(unreachable_pub, reason = "a binary exports nothing")]

mod cli;
mod config;
mod error;
mod falco;
mod output;
mod query;
mod sandbox;
mod stream;
mod web;

use std::process::ExitCode;

fn main() -> ExitCode {
    nabe_probe::own::default_sigpipe();
    match cli::run(std::env::args_os().collect()) {
        Ok(code) => code,
        Err(error) => error.report(),
    }
}
