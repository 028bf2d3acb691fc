//! Threads that leave what they share, or join what others have: unshare, setns.
//!
//! A PID namespace that is left or joined shows in the children only, whose births say it. Of the
//! others only what the state keeps is followed: directories, capabilities, the table of descriptors.

use super::{Key, Step};
use crate::stream::Stream;
use crate::stream::thread::clone as flag;

/// The schema's CLONE_NEWNS and CLONE_NEWUSER.
const NEWNS: i64 = 32;
const NEWUSER: i64 = 1 << 20;
/// Capabilities of today's kernels: CAP_CHOWN to CAP_CHECKPOINT_RESTORE.
const ALL_CAPABILITIES: u64 = (1 << 41) - 1;

pub(crate) fn unshare(stream: &mut Stream, step: &Step<'_>) {
    let (Some(_), Some(flags)) = (step.success(), step.number(Key::Flags)) else { return };
    if flags & i64::from(flag::FILES) != 0 {
        stream.unshare_descriptors(step.event.tid);
    }
    if flags & NEWUSER != 0 {
        enter_user(stream, step.event.tid);
    }
}

pub(crate) fn setns(stream: &mut Stream, step: &Step<'_>) {
    let (Some(_), Some(kinds)) = (step.success(), step.number(Key::Nstype)) else { return };
    let tid = step.event.tid;
    // A kind that is not said is that of the descriptor: `/proc/7/ns/mnt`, `mnt:[4026531841]`.
    let name = stream.descriptor(tid, step.fd).map(|found| found.name.clone()).unwrap_or_default();
    let is = |bit: i64, file: &[u8], inode: &[u8]| {
        kinds & bit != 0 || kinds == 0 && (name.ends_with(file) || name.starts_with(inode))
    };
    if is(NEWNS, b"/ns/mnt", b"mnt:[")
        && let Some(main) = stream.main_mut(tid)
    {
        // The kernel moves it to the root of what it joined.
        main.cwd = (*b"/").into();
        main.root = (*b"/").into();
        let tid = main.tid;
        stream.changed(tid);
    }
    if is(NEWUSER, b"/ns/user", b"user:[") {
        enter_user(stream, tid);
    }
}

/// Whoever enters a user namespace may do everything in it.
fn enter_user(stream: &mut Stream, tid: i64) {
    if let Some(thread) = stream.threads.get_mut(&tid) {
        thread.capabilities = [Some(ALL_CAPABILITIES), Some(0), Some(ALL_CAPABILITIES)];
        stream.changed(tid);
    }
}
