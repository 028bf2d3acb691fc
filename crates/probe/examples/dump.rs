//! Prints the records of a snapshot: `dump NEEDS-BITS [PID]`.
use nabe_event::{
    Interest, Needs,
    record::{self, Fixed, Kind},
};
use nabe_probe::{Options, iter};

fn main() {
    if std::env::args().nth(1).as_deref() == Some("features") {
        for f in iter::features() {
            println!("{:28} {:6} {:?}", f.name, f.minimum, f.ok);
        }
        return;
    }
    let mut args = std::env::args().skip(1);
    let bits: u32 = args.next().and_then(|a| a.parse().ok()).unwrap_or(1);
    let mut needs = Needs::TASK;
    for (i, (need, ..)) in Needs::ALL.iter().enumerate() {
        if bits >> i & 1 == 1 {
            needs |= *need;
        }
    }
    let pids: Vec<u32> = args.filter_map(|a| a.parse().ok()).collect();
    let mut interest = Interest::all(needs);
    if !pids.is_empty() {
        interest.pids = Some(pids);
    }
    let mut out = Vec::new();
    let options = Options { backend: None, cache: std::env::var_os("CACHE").map(Into::into) };
    let t = cpu();
    let rounds: usize = std::env::var("ROUNDS").ok().and_then(|r| r.parse().ok()).unwrap_or(1);
    for _ in 0..rounds {
        out.clear();
        let t = cpu();
        match iter::snapshot(&interest, &options, &mut out) {
            Ok(report) => {
                for n in report.notes {
                    eprintln!("note: {n}");
                }
            }
            Err(error) => {
                eprintln!("{error} {error:?}\n{}", error.consequence());
                return;
            }
        }
        if rounds > 1 {
            eprintln!("cpu {:.2} ms", cpu() - t);
        }
    }
    eprintln!("cpu {:.2} ms, {} bytes", cpu() - t, out.len());
    let mut counts = std::collections::BTreeMap::new();
    for r in record::Records::new(&out) {
        let r = r.expect("record");
        *counts.entry(format!("{:?}", r.kind)).or_insert(0) += 1;
        if std::env::var_os("QUIET").is_some() {
            continue;
        }
        match r.kind {
            Some(Kind::Task) => {
                let t = record::Task::decode(r.body);
                println!(
                    "{t:?} exe={} cwd={} name={}",
                    String::from_utf8_lossy(r.text(record::Task::SIZE, 0, t.exe_len.into())),
                    String::from_utf8_lossy(r.text(record::Task::SIZE, t.exe_len.into(), t.cwd_len.into())),
                    String::from_utf8_lossy(r.text(
                        record::Task::SIZE,
                        usize::from(t.exe_len) + usize::from(t.cwd_len),
                        t.name_len.into()
                    ))
                );
            }
            Some(Kind::ThreadTimes) => println!("{:?}", record::ThreadTimes::decode(r.body)),
            Some(Kind::Args) => {
                let a = record::Args::decode(r.body);
                println!(
                    "{a:?} {:?} | {:?}",
                    String::from_utf8_lossy(r.text(record::Args::SIZE, 0, a.argv_len as usize)),
                    String::from_utf8_lossy(r.text(
                        record::Args::SIZE,
                        a.argv_len as usize,
                        a.env_len as usize
                    ))
                );
            }
            Some(Kind::Cgroup) => {
                let c = record::Cgroup::decode(r.body);
                println!(
                    "{c:?} {:?} {:?}",
                    String::from_utf8_lossy(r.text(record::Cgroup::SIZE, 0, c.name_len.into())),
                    String::from_utf8_lossy(r.text(
                        record::Cgroup::SIZE,
                        c.name_len.into(),
                        c.path_len.into()
                    ))
                );
            }
            Some(Kind::Fd) => {
                let f = record::Fd::decode(r.body);
                println!("{f:?} flags={}", r.flags);
                let mut skip = 0;
                if f.socket_len > 0 {
                    let s = record::Socket::decode(&r.body[record::Fd::SIZE..]);
                    println!("  {s:?}");
                    skip = f.socket_len as usize;
                    println!(
                        "  name={:?} peer={:?}",
                        String::from_utf8_lossy(r.text(
                            record::Fd::SIZE,
                            skip + f.path_len as usize,
                            s.name_len.into()
                        )),
                        String::from_utf8_lossy(r.text(
                            record::Fd::SIZE,
                            skip + f.path_len as usize + usize::from(s.name_len),
                            s.peer_len.into()
                        ))
                    );
                }
                println!(
                    "  path={:?}",
                    String::from_utf8_lossy(r.text(record::Fd::SIZE, skip, f.path_len as usize))
                );
            }
            _ => {}
        }
    }
    eprintln!("{counts:?}");
}
fn cpu() -> f64 {
    let mut ts = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `ts` is ours and lives as long as the call.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut ts) };
    ts.tv_sec as f64 * 1e3 + ts.tv_nsec as f64 / 1e6
}
