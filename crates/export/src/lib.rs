//! Events in the formats of other tools: NDJSON for pipelines, Chrome's and Perfetto's traces for
//! timelines, pcapng for Wireshark, Parquet for databases (with the feature of that name).
//!
//! In: events with their fields, one by one. Out: bytes, appended to a buffer that the caller writes
//! wherever they go.
//!
//! **Invariants.** No I/O. No event makes an exporter panic or keep more than its tables allow; what
//! there was no room for is counted. Every output is whole after [`Export::finish`], and NDJSON and
//! pcapng are whole after every event; Parquet keeps at most one row group. Texts of traced programs are escaped as the format asks.
//!
//! **Not here.** Which events are exported (`filter`), sysdig's lines and JSON objects (`ui`),
//! captures (`scap`).

#![forbid(unsafe_code)]

mod chrome;
mod field;
mod json;
mod ndjson;
#[cfg(feature = "parquet")]
mod parquet;
mod pcapng;
mod perfetto;

use nabe_event::Fields;
use nabe_event::raw::Event;

/// A format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line, with parameters under their names.
    Ndjson,
    /// Chrome's trace events (JSON), for `chrome://tracing`, Perfetto and speedscope.
    Chrome,
    /// Perfetto's protobuf.
    Perfetto,
    /// Packets made of what sockets read and wrote, for Wireshark.
    Pcapng,
    /// A row for each event in typed columns.
    Parquet,
}

/// Why nothing is exported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No such format.
    #[error("unknown export format `{name}`: one of ndjson, chrome, perfetto, pcapng, parquet")]
    Unknown {
        /// What was asked for.
        name: String,
    },
    /// The format was left out when this program was built.
    #[error("{format} is not built in: this program was built without the feature `{feature}`")]
    NotBuilt {
        /// The format.
        format: &'static str,
        /// The cargo feature that has it.
        feature: &'static str,
    },
    /// The format's library refuses.
    #[error("cannot write {format}")]
    Refused {
        /// The format.
        format: &'static str,
        /// Why.
        source: Box<dyn core::error::Error + Send + Sync>,
    },
}

impl Format {
    /// The format with this name.
    ///
    /// # Errors
    /// When there is none.
    pub fn named(name: &str) -> Result<Self, Error> {
        Ok(match name {
            "ndjson" | "jsonl" => Self::Ndjson,
            "chrome" => Self::Chrome,
            "perfetto" => Self::Perfetto,
            "pcapng" | "pcap" => Self::Pcapng,
            "parquet" => Self::Parquet,
            _ => return Err(Error::Unknown { name: name.to_owned() }),
        })
    }

    /// The format that files with this suffix have.
    #[must_use]
    pub fn of_suffix(suffix: &str) -> Option<Self> {
        Some(match suffix {
            "ndjson" | "jsonl" => Self::Ndjson,
            "json" => Self::Chrome,
            "pftrace" | "perfetto-trace" | "perfetto" => Self::Perfetto,
            "pcapng" | "pcap" => Self::Pcapng,
            "parquet" => Self::Parquet,
            _ => return None,
        })
    }

    /// What writes it.
    ///
    /// # Errors
    /// When the format was not built in, or its library refuses.
    pub fn exporter(self) -> Result<Box<dyn Export>, Error> {
        Ok(match self {
            Self::Ndjson => Box::new(ndjson::Ndjson::default()),
            Self::Chrome => Box::new(chrome::Chrome::default()),
            Self::Perfetto => Box::new(perfetto::Perfetto::default()),
            Self::Pcapng => Box::new(pcapng::Pcapng::default()),
            #[cfg(feature = "parquet")]
            Self::Parquet => Box::new(parquet::Parquet::new()?),
            #[cfg(not(feature = "parquet"))]
            Self::Parquet => return Err(Error::NotBuilt { format: "Parquet", feature: "parquet" }),
        })
    }
}

/// Writes events in a format.
pub trait Export {
    /// Appends what an event adds.
    ///
    /// # Errors
    /// When the format's library refuses.
    fn event(&mut self, event: &Event<'_>, fields: &dyn Fields, out: &mut Vec<u8>) -> Result<(), Error>;

    /// Appends what closes the output.
    ///
    /// # Errors
    /// When the format's library refuses.
    fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), Error>;

    /// Events that there was no room for.
    fn left_out(&self) -> u64 {
        0
    }
}
