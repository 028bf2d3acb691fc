//! `nabe prune`.

use std::process::ExitCode;

use serde_json::json;

use super::{Place, print_json, size};
use crate::error::Result;

/// Remove images and layers that nobody uses.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  nabe prune                     images without a name, and what interrupted pulls left
  nabe prune --all               every image that no container uses

What killed runs left goes, too: containers that were never whole, addresses, cables and rules of
containers that are gone. What a container or a running pull needs is never removed.

Exit status: 0 done, 1 failed, 2 wrong usage.")]
pub struct Args {
    /// Also images with a name
    #[arg(short, long)]
    all: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<ExitCode> {
    let root = args.place.root();
    let mut containers = crate::cli::run::sweep(&root)?;
    containers.extend(crate::sandbox::leftover::sweep());
    let pruned = nabe_image::Store::open(&root)?.prune(args.all)?;
    if args.json {
        print_json(&json!({
            "containers": containers,
            "images": pruned.images,
            "blobs": pruned.blobs,
            "layers": pruned.layers,
            "leftovers": pruned.leftovers,
            "bytes": pruned.bytes,
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut text: String =
        containers.iter().chain(&pruned.images).map(|image| format!("Deleted: {image}\n")).collect();
    text.push_str(&format!("Total reclaimed space: {}\n", size(pruned.bytes)));
    crate::output::write(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
