//! `nabe pull`.

use std::process::ExitCode;

use nabe_image::Reference;
use serde_json::json;

use super::progress::Shown;
use super::{Fetch, brief, left_out, print_json};
use crate::error::Result;

/// Fetch an image from a registry.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  nabe pull busybox                                    docker.io/library/busybox:latest
  nabe pull --plain-http localhost:5000/web:1.2        a registry without TLS
  nabe pull --ca ca.pem registry.lan/web:1.2           a registry with a certificate of one's own
  nabe pull --platform arm64 debian:12                 for another machine
  nabe pull debian@sha256:…                            exactly this one

Credentials are read from $REGISTRY_AUTH_FILE, $XDG_RUNTIME_DIR/containers/auth.json and
~/.docker/config.json with its helpers; mirrors from registries.conf and the [images] section of the
config file; certificates from the machine, --ca and certs.d/HOST below /etc/containers and /etc/docker. What an interrupted pull left is resumed. The digest of the image is printed on stdout.

Exit status: 0 done, 1 failed, 2 wrong usage.")]
pub struct Args {
    /// The image: [registry/]repository[:tag][@digest]
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
    /// Leave layers packed until a container needs them
    #[arg(long)]
    no_unpack: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    fetch: Fetch,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<ExitCode> {
    let fetch = &args.fetch;
    let options = fetch.options(args.no_unpack)?;
    let references =
        args.images.iter().map(|text| text.parse()).collect::<nabe_image::Result<Vec<Reference>>>()?;
    let settings = fetch.network.settings()?;
    let store = fetch.place.store()?;
    for reference in &references {
        let shown = Shown::new(fetch.quiet);
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
        if !fetch.quiet {
            let state = if pulled.up_to_date { "is up to date" } else { "is here" };
            eprintln!("{reference} {state}");
        }
        crate::output::write(format!("{}\n", pulled.image.id.config).as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}
