//! What an operation tells while it runs.

use crate::digest::Digest;

/// Is told how a pull gets on, from several threads. Every method may be left as it is.
pub trait Progress: Sync {
    /// The tag or digest was looked up: what the registry calls it, and from which host it comes.
    fn resolved(&self, _digest: &Digest, _host: &str) {}
    /// A blob is needed. `present` when nothing has to be fetched.
    fn planned(&self, _blob: &Digest, _size: u64, _present: bool) {}
    /// So many bytes of a blob are here, those of an earlier attempt included.
    fn fetched(&self, _blob: &Digest, _bytes: u64) {}
    /// A blob is whole and verified.
    fn verified(&self, _blob: &Digest) {}
    /// A layer is unpacked.
    fn unpacked(&self, _blob: &Digest) {}
    /// Something went wrong and is tried again, or was passed over.
    fn note(&self, _text: &str) {}
}

impl Progress for () {}
