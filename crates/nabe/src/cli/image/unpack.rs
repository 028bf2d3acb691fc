//! `nabe unpack`.

use std::path::PathBuf;
use std::process::ExitCode;

use nabe_image::IdMap;
use serde_json::json;

use super::{Fetch, PullPolicy, left_out, print_json};
use crate::error::{CliError, Result};

/// Make a runtime bundle from an image.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  nabe unpack busybox bundle && nabe run --bundle bundle shell
  nabe unpack --rootfs-only debian:12 tree
  nabe unpack --uid-map 0:100000:65536 --gid-map 0:100000:65536 web bundle

DIR gets rootfs/ and config.json, whole or not at all; it must not exist or be empty. An image that is
not in the store is pulled.

Exit status: 0 done, 1 failed, 2 wrong usage.")]
pub struct Args {
    /// Name, or the beginning of an id
    #[arg(value_name = "IMAGE")]
    image: String,
    /// Where to
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Only the files, without rootfs/ and config.json
    #[arg(long)]
    rootfs_only: bool,
    /// Whom the image's users are here: inside:here:count
    #[arg(long, value_name = "MAP", requires = "gid_map")]
    uid_map: Vec<String>,
    /// Which groups the image's are here: inside:here:count
    #[arg(long, value_name = "MAP", requires = "uid_map")]
    gid_map: Vec<String>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    fetch: Fetch,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<ExitCode> {
    let maps =
        |texts: &[String]| texts.iter().map(|text| text.parse()).collect::<nabe_image::Result<Vec<IdMap>>>();
    let ids = match args.uid_map.is_empty() {
        true => None,
        false => Some((maps(&args.uid_map)?, maps(&args.gid_map)?)),
    };
    let inside = std::fs::read_dir(&args.directory).is_ok_and(|mut inside| inside.next().is_some());
    if inside || args.directory.is_file() {
        return Err(CliError::failed(format_args!("{} is there and not empty", args.directory.display())));
    }
    let settings = args.fetch.network.settings()?;
    let store = args.fetch.place.own_store()?;
    let image = args.fetch.image(&store, &args.image, PullPolicy::Missing)?;
    let lacking = if args.rootfs_only {
        nabe_image::root_file_system(&image, &args.directory, &settings, &ids)?
    } else {
        nabe_image::bundle(&image, &args.directory, &settings, &ids)?
    };
    left_out(lacking);
    if args.json {
        print_json(&json!({ "id": image.id.config.to_string(), "directory": args.directory }))?;
    }
    Ok(ExitCode::SUCCESS)
}
