//! Reads and writes `.scap` captures.
