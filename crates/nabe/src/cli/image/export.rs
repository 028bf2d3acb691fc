//! `nabe export`.

use std::fs::File;
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use nabe_image::Format;

use super::Place;
use crate::config;
use crate::error::{CliError, Result};

/// Write an image to an archive or layout.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  nabe export web | docker load
  nabe export web --format oci -o web.tar              skopeo inspect oci-archive:web.tar
  nabe export web --format oci-dir -o layout
  nabe export web --format rootfs | tar -t

Exit status: 0 done, 1 failed, 2 wrong usage.")]
pub struct Args {
    /// Name, or the beginning of an id
    #[arg(value_name = "IMAGE")]
    image: String,
    /// Where to; - is stdout
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    output: PathBuf,
    /// What to write
    #[arg(long, value_enum, default_value_t)]
    format: ArchiveFormat,
    #[command(flatten)]
    place: Place,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum ArchiveFormat {
    /// What docker save writes
    #[default]
    Docker,
    /// An OCI layout in a tar archive
    Oci,
    /// An OCI layout as a directory
    OciDir,
    /// The files alone, as one tar archive
    Rootfs,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<ExitCode> {
    let store = args.place.store()?;
    let image = store.image(&store.resolve(&args.image)?)?;
    let settings = config::images()?;
    let stdout = args.output == Path::new("-");
    let format = match args.format {
        ArchiveFormat::Docker => Format::Docker,
        ArchiveFormat::Oci => Format::Oci,
        ArchiveFormat::Rootfs => Format::RootFs,
        ArchiveFormat::OciDir if stdout => {
            return Err(CliError::usage("a directory needs a name").hint("name it with --output"));
        }
        ArchiveFormat::OciDir => {
            image.export_layout(&args.output)?;
            return Ok(ExitCode::SUCCESS);
        }
    };
    if stdout {
        if std::io::stdout().is_terminal() {
            return Err(
                CliError::usage("an archive is not for a terminal").hint("redirect it, or use --output")
            );
        }
        let mut out = std::io::BufWriter::with_capacity(256 << 10, std::io::stdout().lock());
        nabe_image::export(&image, format, &mut out, &settings)?;
        out.flush().map_err(|error| CliError::output(&error))?;
        return Ok(ExitCode::SUCCESS);
    }
    // Under its name only when it is whole.
    let mut hidden = args.output.clone().into_os_string();
    hidden.push(format!(".nabe-{}", std::process::id()));
    let hidden = PathBuf::from(hidden);
    let write = || {
        let file = File::create_new(&hidden).map_err(|error| CliError::file("create", &hidden, &error))?;
        let mut out = std::io::BufWriter::with_capacity(256 << 10, file);
        nabe_image::export(&image, format, &mut out, &settings)?;
        let file = out.into_inner().map_err(|error| CliError::file("write", &hidden, error.error()))?;
        file.sync_all().map_err(|error| CliError::file("write", &hidden, &error))?;
        std::fs::rename(&hidden, &args.output).map_err(|error| CliError::file("write", &args.output, &error))
    };
    let result = write();
    if result.is_err() {
        let _ = std::fs::remove_file(&hidden);
    }
    result.map(|()| ExitCode::SUCCESS)
}
