//! `nabe inspect-image`.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::{Place, brief, print_json};
use crate::error::{CliError, Result};

/// Show everything about images as JSON.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  nabe inspect-image busybox | jq '.[0].config.Env'
  nabe inspect-image 5f2c

Exit status: 0 done, 1 failed (also when one of them is not there), 2 wrong usage.")]
pub struct Args {
    /// Names, or beginnings of ids
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
    /// Accepted for uniformity: the output is always JSON
    #[arg(long, hide = true)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<ExitCode> {
    let store = args.place.store()?;
    let mut all = Vec::new();
    for text in &args.images {
        let image = store.image(&store.resolve(text)?)?;
        let layers: Vec<Value> = image
            .layers()
            .iter()
            .map(|(layer, diff_id, chain_id)| {
                json!({
                    "digest": layer.digest.to_string(),
                    "mediaType": layer.media_type,
                    "size": layer.size,
                    "diffId": diff_id.to_string(),
                    "chainId": chain_id.to_string(),
                })
            })
            .collect();
        let mut value = brief(&image);
        value["layers"] = Value::Array(layers);
        let execution = image.config.config.clone().unwrap_or_default();
        value["config"] = serde_json::to_value(execution).map_err(|error| CliError::failed(&error))?;
        value["mediaType"] = json!(image.manifest.media_type);
        all.push(value);
    }
    print_json(&Value::Array(all))?;
    Ok(ExitCode::SUCCESS)
}
