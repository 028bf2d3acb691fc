//! What full tables cost: `bound THREADS DESCRIPTORS_EACH`, threads with texts as real ones have them
//! and descriptors with names of their own.

use std::error::Error;
use std::fs;

use nabe_event::Item;
use nabe_event::item::{Descriptor, Target, Thread};
use nabe_state::stream::Stream;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut number = || arguments.next().and_then(|word| word.parse::<i64>().ok());
    let (Some(threads), Some(each)) = (number(), number()) else {
        return Err("usage: bound THREADS DESCRIPTORS_EACH".into());
    };
    let before = resident_kib()?;
    let mut stream = Stream::new();
    let env = b"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin\0LANG=C.UTF-8\0".repeat(8);
    for tid in 1..=threads {
        // Each process its own arguments and one in a hundred its own environment.
        let args = format!("--config\0/etc/service/{tid}.conf\0--verbose\0");
        let env = [env.as_slice(), format!("INSTANCE={}\0", tid / 100).as_bytes()].concat();
        stream.item(&Item::Thread(Box::new(Thread {
            tid,
            pid: tid,
            ptid: 1,
            comm: b"service",
            exe: b"/usr/bin/service",
            exe_path: b"/usr/bin/service",
            args: args.as_bytes(),
            env: &env,
            cwd: b"/var/lib/service",
            root: b"/",
            cgroups: b"cpu=/system.slice/service.scope\0memory=/system.slice/service.scope\0",
            ..Thread::UNKNOWN
        })));
        for fd in 0..each {
            let path = format!("/var/lib/service/{tid}/data/{fd}.log");
            let target = Target::File { open_flags: 1, path: path.as_bytes(), device: Some(8) };
            stream.item(&Item::Descriptor(Descriptor { tid, fd, inode: 1, target }));
        }
    }
    let after = resident_kib()?;
    println!("{} threads, {} descriptors each, {:?}", stream.thread_count(), each, stream.losses());
    println!("resident {} MiB, counted {} MiB", (after - before) / 1024, stream.memory_bytes() >> 20);
    Ok(())
}

/// Resident memory of this process in KiB.
fn resident_kib() -> Result<u64, Box<dyn Error>> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
