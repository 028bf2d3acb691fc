//! `nabe pull`.

use std::process::ExitCode;

use nabe_image::manifest::Platform;
use nabe_image::{Options, Reference, Settings, Store};
use serde_json::json;

use super::progress::Shown;
use super::{Network, Place, brief, left_out, print_json};
use crate::error::{CliError, Result};

/// Fetch an image from a registry.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  nabe pull busybox                                    docker.io/library/busybox:latest
  nabe pull --plain-http localhost:5000/web:1.2        a registry without TLS
  nabe pull --platform arm64 debian:12                 for another machine
  nabe pull debian@sha256:…                            exactly this one

Credentials are read from $REGISTRY_AUTH_FILE, $XDG_RUNTIME_DIR/containers/auth.json and
~/.docker/config.json with its helpers; mirrors from registries.conf and the [images] section of the
config file. What an interrupted pull left is resumed. The digest of the image is printed on stdout.

Exit status: 0 done, 1 failed, 2 wrong usage.")]
pub struct Args {
    /// The image: [registry/]repository[:tag][@digest]
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
    /// Choose this image of a multi-platform index: os/architecture[/variant]
    #[arg(long)]
    platform: Option<String>,
    /// Leave layers packed until a container needs them
    #[arg(long)]
    no_unpack: bool,
    /// Show no progress
    #[arg(short, long)]
    quiet: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    network: Network,
    #[command(flatten)]
    place: Place,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<ExitCode> {
    let platform = args.platform.as_deref().map(str::parse::<Platform>).transpose()?;
    let references =
        args.images.iter().map(|text| text.parse()).collect::<nabe_image::Result<Vec<Reference>>>()?;
    let settings = args.network.settings()?;
    let store = args.place.store()?;
    let options = Options { platform, no_unpack: args.no_unpack };
    for reference in &references {
        let shown = Shown::new(args.quiet);
        let pulled = nabe_image::pull(&store, reference, &settings, &options, &shown)?;
        drop(shown);
        left_out(pulled.left_out);
        if args.json {
            let mut value = brief(&pulled.image);
            value["pulled"] = json!({
                "name": reference.to_string(),
                "digest": pulled.digest.to_string(),
                "upToDate": pulled.up_to_date,
                "bytes": pulled.fetched,
            });
            print_json(&value)?;
            continue;
        }
        if !args.quiet {
            let state = if pulled.up_to_date { "is up to date" } else { "is here" };
            eprintln!("{reference} {state}");
        }
        crate::output::write(format!("{}\n", pulled.image.id.config).as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The image of this name or id; one that is not here is pulled.
pub(in crate::cli) fn find_or_pull(
    store: &Store,
    text: &str,
    platform: Option<Platform>,
    settings: &Settings,
    quiet: bool,
) -> Result<nabe_image::Image> {
    match store.resolve(text) {
        Ok(id) => return Ok(store.image(&id)?),
        Err(nabe_image::Error::Unknown { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let reference: Reference =
        text.parse().map_err(|error| CliError::from(error).hint("it is no id of an image, either"))?;
    let options = Options { platform, no_unpack: true };
    Ok(nabe_image::pull(store, &reference, settings, &options, &Shown::new(quiet))?.image)
}
