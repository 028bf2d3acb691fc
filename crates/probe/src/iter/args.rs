//! Command lines and environments: one run for all, further runs for those that are longer than a
//! piece.

use std::collections::HashMap;

use nabe_event::record::{self, Args, Fixed as _, Kind, Records, Task, flag};
use nabe_event::{Interest, Needs};

use super::config::{self, Reader};
use super::object::Relocated;
use super::run::{From, Session};
use super::sys::Walk;
use super::{Error, run_all};

/// Argument and environment bytes read of one process; the kernel's own default limit.
const MOST: u32 = 2 << 20;
/// The longest clock tick, 1/100 s.
const TICK_NS: u64 = 10_000_000;

/// Appends an Args record for each process, and more for those with long ones.
pub(crate) fn collect(
    relocated: &Relocated,
    session: &Session<'_>,
    interest: &Interest,
    reader: Reader,
    walks: &[Walk],
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    let start = out.len();
    run_all(&session.load("nabe_args")?, walks, out)?;
    let mut pending = unfinished(out, start);
    if pending.is_empty() {
        return Ok(());
    }
    let only = Interest { pids: None, ..Interest::all(interest.needs) };
    let config = config::encode(&only, reader, true);
    let session = Session::new(relocated, &config, pending.clone(), false);
    let program = session.load("nabe_args")?;
    while !pending.is_empty() {
        let from = out.len();
        if relocated.walks_one_task {
            for (pid, _) in &pending {
                program.run(Walk::Thread(*pid), out)?;
            }
        } else {
            program.run(Walk::All, out)?;
        }
        let next = unfinished(out, from);
        for (pid, place) in &mut pending {
            *place = next.iter().find(|(p, _)| p == pid).map_or(From::NOTHING, |(_, place)| *place);
            session.set_from(*pid, *place)?;
        }
        pending.retain(|(_, place)| *place != From::NOTHING);
    }
    Ok(())
}

/// The same from `/proc`, for kernels before 5.18; joined to the Task records in `out`.
pub(crate) fn collect_from_proc(interest: &Interest, out: &mut Vec<u8>) -> Result<(), crate::proc::Error> {
    let mut told = Vec::new();
    crate::proc::snapshot(interest, &mut told)?;
    let starts: HashMap<u32, u64> = Records::new(out)
        .flatten()
        .filter(|record| record.kind == Some(Kind::Task))
        .map(|record| Task::decode(record.body))
        .filter(|task| task.pid == task.tid)
        .map(|task| (task.pid, task.start_ns))
        .collect();
    for record in Records::new(&told).flatten().filter(|record| record.kind == Some(Kind::Args)) {
        let mut args = Args::decode(record.body);
        // `/proc` counts starts in ticks of 10 ms or less; another start is another process.
        let Some(start) = starts.get(&args.pid).filter(|start| start.abs_diff(args.start_ns) <= TICK_NS)
        else {
            continue;
        };
        args.start_ns = *start;
        let text = record.body.get(Args::SIZE..).unwrap_or_default();
        let len = args.argv_len as usize + args.env_len as usize;
        record::write(out, Kind::Args, record.flags, &args, &[text.get(..len).unwrap_or(text)]);
    }
    Ok(())
}

/// Whose Args records in `out[start..]` do not reach the end, and where they go on. What would
/// pass `MOST` is flagged as cut instead.
fn unfinished(out: &mut [u8], start: usize) -> Vec<(u32, From)> {
    let mut pending = Vec::new();
    let mut cut = Vec::new();
    let mut records = Records::new(out.get(start..).unwrap_or_default());
    loop {
        let at = start + records.offset();
        let Some(Ok(record)) = records.next() else { break };
        if record.kind != Some(Kind::Args) {
            continue;
        }
        let args = Args::decode(record.body);
        let argv = args.argv_offset.saturating_add(args.argv_len);
        let env = args.env_offset.saturating_add(args.env_len);
        let more = argv < args.argv_total || env < args.env_total;
        // No progress: it went away or cannot be read; asking again would not end.
        if !more || args.error != 0 || args.argv_len == 0 && args.env_len == 0 {
            continue;
        }
        if argv.saturating_add(env) >= MOST {
            cut.push(at);
        } else {
            pending.push((args.pid, From { argv, env }));
        }
    }
    for at in cut {
        if let Some([low, _]) = out.get_mut(at + 6..at + 8) {
            *low |= flag::CUT as u8;
        }
    }
    pending
}

/// Whether `needs` asks for anything here.
pub(crate) fn needed(needs: Needs) -> bool {
    needs.intersects(Needs::ARGS | Needs::ENV)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(pid: u32, offset: u32, len: u32, total: u32) -> Vec<u8> {
        let mut out = Vec::new();
        let fixed = Args { pid, argv_offset: offset, argv_len: len, argv_total: total, ..Args::default() };
        record::write(&mut out, Kind::Args, 0, &fixed, &[&vec![b'x'; len as usize]]);
        out
    }

    #[test]
    fn what_is_not_whole_goes_on() {
        let mut out = args(1, 0, 10, 10);
        out.extend(args(2, 0, 10, 30));
        out.extend(args(3, 10, 0, 30));
        assert_eq!(unfinished(&mut out, 0), [(2, From { argv: 10, env: 0 })]);
    }

    #[test]
    fn two_mebibytes_are_enough() {
        let mut out = args(1, MOST - 8, 8, MOST * 2);
        assert_eq!(unfinished(&mut out, 0), []);
        assert_eq!(Records::new(&out).next().unwrap().unwrap().flags, flag::CUT);
    }
}
