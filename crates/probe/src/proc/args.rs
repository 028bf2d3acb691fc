//! Command line and environment of a process: `Args` records.
//!
//! Each is read to its end, whatever its length, and told in pieces that fit into a record; argv
//! and environment come in records of their own, each with its own errno.

use nabe_event::Needs;
use nabe_event::record::{self, Args, Kind, flag};
use rustix::io::Errno;

use super::Reader;
use super::dir::Dir;

/// Bytes of a piece; a record holds more, but nothing needs to.
const PIECE: usize = 1 << 20;
/// Nobody's arguments are longer: a process can have 6 MiB (3/4 of `_STK_LIM`), and the numbers
/// must fit their fields.
const MOST: usize = 64 << 20;

impl Reader<'_> {
    /// Appends what is asked for of the process in `dir`.
    pub(super) fn write_args(&mut self, dir: &Dir, pid: u32, start_ns: u64) {
        let needs = self.interest.needs;
        if needs.contains(Needs::ARGS) {
            // The kernel refuses nobody who sees the process at all.
            let error = dir.piece(c"cmdline", &mut self.text).err();
            self.pieces(pid, start_ns, error, |args, offset, len, total| {
                (args.argv_offset, args.argv_len, args.argv_total) = (offset, len, total);
            });
        }
        if needs.contains(Needs::ENV) {
            let error = dir.piece(c"environ", &mut self.text).err();
            if let Some(error) = error {
                self.unseen.environ(error);
            }
            self.pieces(pid, start_ns, error, |args, offset, len, total| {
                (args.env_offset, args.env_len, args.env_total) = (offset, len, total);
            });
        }
    }

    /// Tells `self.text`, or why it could not be read.
    fn pieces(&mut self, pid: u32, start_ns: u64, error: Option<Errno>, set: fn(&mut Args, u32, u32, u32)) {
        let mut args = Args { pid, start_ns, ..Args::default() };
        if let Some(error) = error {
            args.error = error.raw_os_error().unsigned_abs();
            record::write(self.out, Kind::Args, flag::FROM_PROC | flag::UNREAD, &args, &[]);
            return;
        }
        self.text.truncate(MOST);
        // `MOST` fits 32 bits.
        let total = self.text.len() as u32;
        let mut offset = 0;
        loop {
            let rest = self.text.get(offset as usize..).unwrap_or_default();
            let piece = rest.get(..PIECE).unwrap_or(rest);
            set(&mut args, offset, piece.len() as u32, total);
            record::write(self.out, Kind::Args, flag::FROM_PROC, &args, &[piece]);
            offset += piece.len() as u32;
            if offset >= total {
                break;
            }
        }
    }
}
