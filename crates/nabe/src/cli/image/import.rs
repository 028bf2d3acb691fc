//! `nabe import`.

use std::path::PathBuf;
use std::process::ExitCode;

use nabe_image::Reference;
use nabe_image::manifest::Platform;
use serde_json::Value;

use super::progress::Shown;
use super::{Place, brief, print_json};
use crate::config;
use crate::error::Result;

/// Take images from archives, layouts and root file systems.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docker save web | nabe import -                      a docker save archive
  nabe import web.tar web:1.2                          with another name
  nabe import layout/                                  an OCI layout; its archive works, too
  tar -C rootfs -c . | nabe import - mine:latest       a root file system becomes an image

What the file is, and whether it is packed with gzip or zstd, is found out. The ids of the images are
printed on stdout.

Exit status: 0 done, 1 failed, 2 wrong usage.")]
pub struct Args {
    /// File or directory; - is stdin
    #[arg(value_name = "FILE")]
    source: PathBuf,
    /// Name of the image, where there is only one
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// Choose this image of a multi-platform index, or say what a root file system is for
    #[arg(long)]
    platform: Option<String>,
    /// Show no progress
    #[arg(short, long)]
    quiet: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<ExitCode> {
    let name = args.name.as_deref().map(str::parse::<Reference>).transpose()?;
    let platform = args.platform.as_deref().map(str::parse::<Platform>).transpose()?;
    let settings = config::images()?;
    let store = args.place.store()?;
    let shown = Shown::new(args.quiet || args.json);
    let images =
        nabe_image::import(&store, &args.source, name.as_ref(), platform.as_ref(), &settings, &shown)?;
    drop(shown);
    if args.json {
        print_json(&Value::Array(images.iter().map(brief).collect()))?;
        return Ok(ExitCode::SUCCESS);
    }
    for image in &images {
        if !args.quiet {
            eprintln!("{} is here", image.title());
        }
        crate::output::write(format!("{}\n", image.id.config).as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}
