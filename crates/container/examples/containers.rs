//! Names every container on this host from `/proc`, and says what it cost.
//!
//! `cargo run --release -p nabe-container --example containers [--doctor]`

use std::collections::BTreeMap;
use std::time::Instant;

use nabe_container::{Config, Resolver, Wanted, engines, identify_any};

/// User and system time of this process and its threads, ended ones too, in
/// microseconds.
fn cpu_us() -> i64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec * 1_000_000 + time.tv_nsec / 1000
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config = Config::from_env()?;
    if std::env::args().nth(1).as_deref() == Some("--doctor") {
        for status in engines(&config) {
            println!("{status:?}");
        }
        return Ok(());
    }
    let mut cgroups: BTreeMap<Vec<u8>, Vec<u32>> = BTreeMap::new();
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        if let Ok(text) = std::fs::read(entry.path().join("cgroup")) {
            cgroups.entry(text).or_default().push(pid);
        }
    }
    let paths: Vec<(Vec<&[u8]>, &[u32])> = cgroups
        .iter()
        .map(|(text, pids)| {
            let mut paths: Vec<&[u8]> = text
                .split(|b| *b == b'\n')
                .filter_map(|line| line.splitn(3, |b| *b == b':').nth(2))
                .filter(|path| path.len() > 1)
                .collect();
            paths.sort_unstable();
            paths.dedup();
            (paths, pids.as_slice())
        })
        .filter(|(paths, _)| !paths.is_empty())
        .collect();
    let wanted: Vec<Wanted<'_>> = paths
        .iter()
        .map(|(paths, pids)| Wanted { cgroup_paths: paths, pids, identity: identify_any(paths) })
        .collect();
    let mut resolver = Resolver::new(config);
    let (cpu, start) = (cpu_us(), Instant::now());
    let resolution = resolver.resolve(&wanted);
    let (cpu, wall) = (cpu_us() - cpu, start.elapsed());
    for (wanted, found) in wanted.iter().zip(&resolution.found) {
        match found {
            Some(meta) => println!(
                "{:<12} {:<14} {:<24} {:<28} pid {:<7?} {} pod {:?} infra {} ns {:?} upper {:?} root {:?} start {:?} labels {:?} within {:?}",
                meta.short_id(),
                meta.engine,
                meta.name.as_deref().unwrap_or("-"),
                meta.image.as_deref().unwrap_or("-"),
                meta.init_pid,
                meta.source,
                meta.pod,
                meta.infra,
                meta.namespace,
                meta.upper_dir.is_some(),
                meta.rootfs,
                meta.started_at,
                meta.labels,
                meta.within.as_ref().map(|within| &within.name),
            ),
            None => println!("{:<12} ? {:?}", "-", wanted.identity),
        }
    }
    for note in &resolution.notes {
        eprintln!("note: {}", note.message);
    }
    let named = resolution.found.iter().flatten().filter(|meta| meta.name.is_some()).count();
    eprintln!(
        "{named} of {} cgroups named in {:.2} ms wall, {:.2} ms CPU",
        wanted.len(),
        wall.as_secs_f64() * 1000.0,
        cpu as f64 / 1000.0
    );
    Ok(())
}
