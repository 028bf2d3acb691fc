//! What can go wrong with images; every variant names its object.

use std::io;
use std::path::{Path, PathBuf};

use crate::digest::Digest;

/// What a function of this crate returns.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The text is no image reference.
    #[error("{text:?} is no image reference: {reason}")]
    Reference {
        /// What was typed.
        text: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The text is no digest that can be verified.
    #[error("{text:?} is no digest: expected sha256:<64 hexadecimal digits>")]
    Digest {
        /// What was found.
        text: String,
    },
    /// Content differs from its digest.
    #[error("{what} has digest {found}, expected {expected}")]
    Mismatch {
        /// The blob or document.
        what: String,
        /// What was promised.
        expected: Digest,
        /// What came.
        found: Digest,
    },
    /// Content is longer or shorter than promised.
    #[error("{what} has {found} bytes, expected {expected}")]
    Size {
        /// The blob or document.
        what: String,
        /// Bytes promised.
        expected: u64,
        /// Bytes that came (at least, when too many).
        found: u64,
    },
    /// A document is not what the specification says.
    #[error("{what} is invalid: {reason}")]
    Document {
        /// The manifest, index, config or settings file.
        what: String,
        /// What is wrong.
        reason: String,
    },
    /// No image of an index fits.
    #[error("{what} has no image for {platform}, only for {offered}")]
    Platform {
        /// The index.
        what: String,
        /// What was asked for.
        platform: String,
        /// What there is.
        offered: String,
    },
    /// A layer's entry is refused; nothing was written outside.
    #[error("layer {layer}: entry {entry:?} refused: {reason}")]
    Entry {
        /// The layer's digest or file.
        layer: String,
        /// The entry's name, cut when very long.
        entry: String,
        /// Why.
        reason: String,
    },
    /// An entry could not be written.
    #[error("layer {layer}: cannot unpack entry {entry:?}")]
    Unpack {
        /// The layer's digest or file.
        layer: String,
        /// The entry's name.
        entry: String,
        /// The system's reason.
        source: io::Error,
    },
    /// A layer as a whole is refused.
    #[error("layer {layer} refused: {reason}")]
    Layer {
        /// The layer's digest or file.
        layer: String,
        /// Why.
        reason: String,
    },
    /// A file or directory.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was tried, a verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A registry could not be asked.
    #[error("cannot get {what} from {host}")]
    Transport {
        /// The blob, manifest or token.
        what: String,
        /// The registry.
        host: String,
        /// The transport's reason.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A registry said no.
    #[error("{host} answered {status} for {what}{detail}")]
    Status {
        /// The blob, manifest or token.
        what: String,
        /// The registry.
        host: String,
        /// HTTP status.
        status: u16,
        /// The registry's words, with a leading colon, or nothing.
        detail: String,
    },
    /// A registry does not speak the protocol.
    #[error("{host} gave a wrong answer for {what}: {reason}")]
    Protocol {
        /// The blob, manifest or token.
        what: String,
        /// The registry.
        host: String,
        /// What is wrong.
        reason: String,
    },
    /// Credentials could not be had.
    #[error("cannot read credentials for {host} from {from}: {reason}")]
    Credentials {
        /// The registry.
        host: String,
        /// The auth file or helper program.
        from: String,
        /// What is wrong.
        reason: String,
    },
    /// The registry is blocked in registries.conf.
    #[error("registry {host} is blocked in registries.conf")]
    Blocked {
        /// The registry.
        host: String,
    },
    /// There is no such image.
    #[error("no such image: {name}")]
    Unknown {
        /// Name or id.
        name: String,
    },
    /// An id prefix is not unique.
    #[error("image id {prefix} is ambiguous: {count} images begin with it")]
    Ambiguous {
        /// The prefix.
        prefix: String,
        /// How many fit.
        count: usize,
    },
    /// The image is used by containers.
    #[error("image {name} is in use by {holders}")]
    InUse {
        /// Name or id.
        name: String,
        /// Containers or processes.
        holders: String,
    },
    /// The user that the image names is not in its files.
    #[error("no {kind} {name:?} in the image's {file}")]
    NoUser {
        /// `user` or `group`.
        kind: &'static str,
        /// The name.
        name: String,
        /// Where it was looked for.
        file: &'static str,
    },
    /// A settings key or value is wrong.
    #[error("{key}: {reason}")]
    Setting {
        /// The key.
        key: String,
        /// What is wrong.
        reason: String,
    },
    /// Another thread of the same work failed first.
    #[error("cancelled")]
    Cancelled,
}

impl Error {
    /// For `map_err`: something about a file.
    pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { action, path, source }
    }

    pub(crate) fn document(what: impl Into<String>, reason: impl ToString) -> Self {
        Self::Document { what: what.into(), reason: reason.to_string() }
    }
}
