//! `nabe images`.

use std::process::ExitCode;

use nabe_image::{Image, Reference};
use serde_json::Value;

use super::{Place, ago, brief, print_json, size};
use crate::error::Result;
use crate::output::plain;

/// List the images of the store.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  nabe images                     every image
  nabe images -q | xargs nabe rmi remove all
  nabe images --json | jq '.[].names'

SIZE is what the layers have as they were transferred. An image whose name now means another one is
shown as <none>; `nabe prune` removes it.

Exit status: 0 done (also when there are none), 1 failed, 2 wrong usage.")]
pub struct Args {
    /// Only images of this repository, or with this name
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// Print only ids
    #[arg(short, long)]
    quiet: bool,
    /// Show digests, too
    #[arg(long)]
    digests: bool,
    /// Do not cut ids
    #[arg(long)]
    no_trunc: bool,
    /// Print one JSON array
    #[arg(long, conflicts_with = "quiet")]
    json: bool,
    #[command(flatten)]
    place: Place,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<ExitCode> {
    let mut images = args.place.store()?.images()?;
    if let Some(name) = &args.name {
        let wanted: Reference = name.parse()?;
        let exact = name.rsplit('/').next().is_some_and(|last| last.contains([':', '@']));
        let fits = |known: &String| match known.parse::<Reference>() {
            Ok(known) if exact => known == wanted,
            Ok(known) => known.name() == wanted.name(),
            Err(_) => false,
        };
        images.retain(|image| image.names.iter().any(fits));
    }
    if args.json {
        print_json(&Value::Array(images.iter().map(brief).collect()))?;
        return Ok(ExitCode::SUCCESS);
    }
    if args.quiet {
        let lines: Vec<String> = images.iter().map(|image| format!("{}\n", id(args, image))).collect();
        crate::output::write(lines.concat().as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut rows = vec![titles(args)];
    rows.extend(images.iter().flat_map(|image| rows_of(args, image)));
    crate::output::write(aligned(&rows).as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn id(args: &Args, image: &Image) -> String {
    if args.no_trunc { image.id.config.to_string() } else { image.id.config.short() }
}

fn titles(args: &Args) -> Vec<String> {
    let mut titles = vec!["REPOSITORY", "TAG"];
    if args.digests {
        titles.push("DIGEST");
    }
    titles.extend(["IMAGE ID", "CREATED", "SIZE"]);
    titles.into_iter().map(str::to_owned).collect()
}

/// A row for every name; one for an image without.
fn rows_of(args: &Args, image: &Image) -> Vec<Vec<String>> {
    let row = |repository: &str, tag: &str, digest: &str| {
        let mut row = vec![repository.to_owned(), tag.to_owned()];
        if args.digests {
            row.push(digest.to_owned());
        }
        row.extend([id(args, image), ago(image.config.created.as_deref()), size(image.packed_size())]);
        row.iter().map(|cell| plain(cell.as_bytes())).collect()
    };
    let digest_of = |repository: &str| {
        let digests = image.repo_digests.iter().filter_map(|one| one.split_once('@'));
        digests.filter(|(name, _)| *name == repository).map(|(_, digest)| digest.to_owned()).next()
    };
    let none = || "<none>".to_owned();
    let mut rows: Vec<Vec<String>> = Vec::new();
    for name in &image.names {
        let Ok(reference) = name.parse::<Reference>() else { continue };
        let digest = digest_of(&reference.name()).unwrap_or_else(none);
        rows.push(row(reference_name(&reference).as_str(), reference.tag().unwrap_or("<none>"), &digest));
    }
    if rows.is_empty() {
        let known = image.former.first().and_then(|former| former.parse::<Reference>().ok());
        let repository = known.map_or_else(none, |known| reference_name(&known));
        rows.push(row(&repository, "<none>", &none()));
    }
    rows
}

fn reference_name(reference: &Reference) -> String {
    if reference.registry() == nabe_image::DEFAULT_REGISTRY {
        reference.familiar_name().to_owned()
    } else {
        reference.name()
    }
}

/// Columns with three spaces between them, as Docker prints them.
fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}   "));
        text.push_str(cells.collect::<String>().trim_end());
        text.push('\n');
    }
    text
}
