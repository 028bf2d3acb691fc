//! What judging events of captures by rule files costs:
//! `cargo run --release -p nabe-filter --example rules -- RULES.yaml… CAPTURE.scap…`.
//!
//! Prints nanoseconds an event beyond what reading the captures costs: all rules in turn, and as a
//! set when everything was seen before, when every path is new, and when every event is of a new
//! process. The verdicts are compared too.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use nabe_filter::Program;
use nabe_filter::set::{Cache, Keys, Set};
use nabe_rules::{File, RuleSet};
use nabe_scap::Reader;
use nabe_state::stream::{Seen, Stream};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const ROUNDS: usize = 15;

fn main() -> Result<()> {
    let (rules, captures): (Vec<_>, Vec<_>) =
        std::env::args().skip(1).partition(|name| name.ends_with(".yaml"));
    let files: Vec<File> = rules.iter().map(|name| File::open(name.as_ref())).collect();
    let start = Instant::now();
    let loaded = RuleSet::load(&files);
    let programs: Vec<Program> = loaded.rules().iter().map(|rule| rule.program.clone()).collect();
    let load = start.elapsed();
    if !loaded.successful() {
        return Err("a rule file does not load".into());
    }
    let start = Instant::now();
    let set = Set::new(&programs);
    println!("load {} ms, set {} ms, {:?}", load.as_millis(), start.elapsed().as_millis(), set.size());

    compare(&captures, &programs, &set)?;
    for only in [None, Some("openat"), Some("execve"), Some("connect"), Some("read")] {
        table(&captures, &programs, &set, only)?;
    }
    Ok(())
}

/// How long this thread has run: other work of the machine does not count.
fn on_cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Calls `see` with each event of the captures. Every pass gives the same images the same numbers.
fn pass(captures: &[String], see: &mut dyn FnMut(&Seen<'_>)) -> Result<()> {
    let mut stream = Stream::new();
    for capture in captures {
        let mut reader = Reader::open(capture.as_ref())?;
        while let Some(batch) = reader.batch()? {
            for item in batch {
                if let Some(seen) = stream.item(&item) {
                    see(&seen);
                }
            }
        }
    }
    Ok(())
}

fn compare(captures: &[String], programs: &[Program], set: &Set) -> Result<()> {
    let (mut cache, mut differ, mut selected) = (Cache::new(), 0_u64, BTreeMap::<usize, u64>::new());
    pass(captures, &mut |seen| {
        let found = set.selected(seen, seen.event().id, Keys { image: seen.image() }, &mut cache);
        found.iter().for_each(|at| *selected.entry(*at).or_default() += 1);
        let naive: Vec<usize> = (0..programs.len()).filter(|at| programs[*at].matches(seen)).collect();
        if naive != found {
            differ += 1;
            if differ < 4 {
                println!("event {} {}: set {found:?}, in turn {naive:?}", seen.number(), seen.name());
            }
        }
    })?;
    println!(
        "{differ} events differ; {} selections by {} rules",
        selected.values().sum::<u64>(),
        selected.len()
    );
    Ok(())
}

fn table(captures: &[String], programs: &[Program], set: &Set, only: Option<&str>) -> Result<()> {
    // Of one kind of event alone there are few: each is judged again and again.
    let times = if only.is_some() { 100 } else { 1 };
    let wanted = |seen: &Seen<'_>| only.is_none_or(|only| seen.name() == only && !seen.event().id.is_enter());
    let mut events = 0_u32;
    pass(captures, &mut |seen| events += u32::from(wanted(seen)))?;
    if events == 0 {
        return Ok(());
    }
    let measure = |judge: &mut dyn FnMut(&Seen<'_>)| -> Result<Duration> {
        let mut best = Duration::MAX;
        for _ in 0..ROUNDS {
            let start = on_cpu();
            pass(captures, &mut |seen| {
                if wanted(seen) {
                    // A new one each time: what it made for the last judge is not there any more.
                    (0..times).for_each(|_| judge(&seen.state().seen(seen.event())));
                }
            })?;
            best = best.min(on_cpu() - start);
        }
        Ok(best)
    };
    let reading = measure(&mut |seen| {
        black_box(seen.event().id);
    })?;
    let show = |what: &str, took: Duration| {
        let ns = took.saturating_sub(reading).as_nanos() as f64 / f64::from(events * times);
        println!("{what:<30} {ns:9.1} ns");
        ns
    };
    println!(
        "-- {} ({events} events, reading {} ns each)",
        only.unwrap_or("all events"),
        reading.as_nanos() / u128::from(events)
    );
    let turn = measure(&mut |seen| {
        black_box(programs.iter().filter(|program| program.matches(seen)).count());
    })?;
    let turn = show("all rules in turn", turn);
    let mut cache = Cache::new();
    let mut image = 0_u64;
    let judge = |seen: &Seen<'_>, image: u64, cache: &mut Cache| {
        set.judge(seen, seen.event().id, Keys { image }, cache, &mut |at| {
            black_box(at);
            ControlFlow::Continue(())
        });
    };
    let warm = measure(&mut |seen| judge(seen, seen.image(), &mut cache))?;
    let warm = show("set, warm", warm);
    let paths = measure(&mut |seen| {
        cache.forget_paths();
        judge(seen, seen.image(), &mut cache);
    })?;
    show("set, every path new", paths);
    let processes = measure(&mut |seen| {
        image += 1;
        judge(seen, image, &mut cache);
    })?;
    show("set, every event a new process", processes);
    println!("{:<30} {:9.1}", "in turn / warm", turn / warm.max(0.1));
    Ok(())
}
