//! `nabe rmi`.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::{Place, print_json};
use crate::error::Result;

/// Remove images by name or id.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  nabe rmi busybox:1.36          this name; with its last name the image goes
  nabe rmi 5f2c                  the image whose id begins so, with all its names

An image that a container uses is not removed without --force; what the container needs stays in any
case until the container is gone.

Exit status: 0 done, 1 failed, 2 wrong usage.")]
pub struct Args {
    /// Names, or beginnings of ids
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
    /// Also when a container uses it; and one that is not there is fine
    #[arg(short, long)]
    force: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<ExitCode> {
    let store = args.place.store()?;
    let mut all = Vec::new();
    for text in &args.images {
        let removed = match store.remove(text, args.force) {
            Err(nabe_image::Error::Unknown { .. }) if args.force => continue,
            other => other?,
        };
        if args.json {
            let deleted: Vec<String> = removed.deleted.iter().map(ToString::to_string).collect();
            all.push(json!({ "untagged": removed.untagged, "deleted": deleted, "bytes": removed.bytes }));
            continue;
        }
        let untagged = removed.untagged.iter().map(|name| format!("Untagged: {name}\n"));
        let deleted = removed.deleted.iter().map(|id| format!("Deleted: {id}\n"));
        crate::output::write(untagged.chain(deleted).collect::<String>().as_bytes())?;
    }
    if args.json {
        print_json(&Value::Array(all))?;
    }
    Ok(ExitCode::SUCCESS)
}
