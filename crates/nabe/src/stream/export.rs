//! Events in other tools' formats, into a file or onto stdout.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use nabe_export::{Error, Export, Format};
use nabe_state::stream::{Seen, Stream};

use super::Sink;
use super::strace::Strace;
use crate::error::{CliError, Result};
use crate::output;

/// Bytes that are gathered before they are written.
const CHUNK: usize = 1 << 16;

/// What `--export` says: `FORMAT`, `FORMAT:FILE`, or a file whose suffix tells the format.
#[derive(Clone, Debug)]
pub struct Wish {
    format: Kind,
    path: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Of(Format),
    Strace,
}

impl Kind {
    fn named(name: &str) -> std::result::Result<Self, nabe_export::Error> {
        if name == "strace" { Ok(Self::Strace) } else { Format::named(name).map(Self::Of) }
    }
}

impl FromStr for Wish {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        if let Some((name, path)) = text.split_once(':')
            && let Ok(format) = Kind::named(name)
        {
            if path.is_empty() {
                return Err("a file behind the colon".to_owned());
            }
            return Ok(Self {
                format,
                path: Some(path.into()).filter(|path: &PathBuf| path != Path::new("-")),
            });
        }
        match Kind::named(text) {
            Ok(format) => Ok(Self { format, path: None }),
            Err(error) => {
                let suffix = Path::new(text).extension().and_then(|suffix| suffix.to_str());
                let format = match suffix {
                    Some("strace") => Some(Kind::Strace),
                    suffix => suffix.and_then(Format::of_suffix).map(Kind::Of),
                };
                let format = format.ok_or_else(|| format!("{error}, strace; then :FILE, if not stdout"))?;
                Ok(Self { format, path: Some(text.into()) })
            }
        }
    }
}

impl Wish {
    /// The same, into `path` unless a file was named already.
    #[must_use]
    pub fn or_into(&self, path: Option<&Path>) -> Self {
        let path = path.filter(|path| *path != Path::new("-"));
        Self { format: self.format, path: self.path.clone().or_else(|| path.map(Path::to_path_buf)) }
    }

    /// Whether stdout is taken.
    pub fn takes_stdout(&self) -> bool {
        self.path.is_none()
    }
}

fn refused(error: Error) -> CliError {
    match &error {
        Error::NotBuilt { feature, .. } => CliError::usage(&error).hint(format_args!(
            "`cargo build --release --package nabe --features {feature}` builds one that has it"
        )),
        _ => told(error),
    }
}

/// An error with its cause.
fn told(error: Error) -> CliError {
    let failed = CliError::failed(&error);
    match std::error::Error::source(&error) {
        Some(cause) => failed.because(cause),
        None => failed,
    }
}

enum Exporter {
    Format(Box<dyn Export>),
    Strace(Strace),
}

/// Writes events in another tool's format.
pub struct Exports {
    exporter: Exporter,
    buffer: Vec<u8>,
    out: Box<dyn Write>,
    name: String,
}

impl Exports {
    /// Creates the file.
    pub fn new(wish: &Wish) -> Result<Self> {
        let exporter = match wish.format {
            Kind::Strace => Exporter::Strace(Strace::new(false, true)),
            Kind::Of(format) => Exporter::Format(format.exporter().map_err(refused)?),
        };
        let (out, name): (Box<dyn Write>, _) = match &wish.path {
            None => (Box::new(io::stdout()), "stdout".to_owned()),
            Some(path) => {
                let file = File::create(path).map_err(|error| CliError::file("create", path, &error))?;
                (Box::new(file), output::plain(path.display().to_string().as_bytes()))
            }
        };
        Ok(Self { exporter, buffer: Vec::with_capacity(2 * CHUNK), out, name })
    }

    fn flush(&mut self) -> Result<()> {
        let written = self.out.write_all(&self.buffer).and_then(|()| self.out.flush());
        self.buffer.clear();
        written.map_err(|error| CliError::output(&error))
    }
}

impl Sink for Exports {
    fn wants(&self) -> super::Wants {
        match &self.exporter {
            Exporter::Strace(strace) => strace.wants(),
            Exporter::Format(_) => super::Wants::Selected,
        }
    }

    fn seen(&mut self, seen: &Seen<'_>) -> Result<()> {
        match &mut self.exporter {
            Exporter::Strace(strace) => strace.print(seen, &mut self.buffer),
            Exporter::Format(format) => {
                format.event(seen.event(), seen, &mut self.buffer).map_err(told)?;
            }
        }
        if self.buffer.len() >= CHUNK { self.flush() } else { Ok(()) }
    }

    fn other(&mut self, seen: &Seen<'_>, selected: bool) -> Result<()> {
        match &mut self.exporter {
            Exporter::Strace(strace) => strace.other(seen, selected),
            Exporter::Format(_) => Ok(()),
        }
    }

    fn idle(&mut self, live: bool, _: &Stream) -> Result<()> {
        if live { self.flush() } else { Ok(()) }
    }

    fn finish(&mut self, _: &Stream) -> Result<()> {
        if let Exporter::Format(format) = &mut self.exporter {
            format.finish(&mut self.buffer).map_err(told)?;
            if format.left_out() > 0 {
                eprintln!("nabe: warning: {}: no room for {} events", self.name, format.left_out());
            }
        }
        self.flush()
    }
}
