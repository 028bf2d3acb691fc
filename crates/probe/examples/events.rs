//! Prints live events: `events [PID] [MILLISECONDS] [NAME...]`, without names all of them.

use std::error::Error;
use std::time::{Duration, Instant};

use nabe_event::Source as _;
use nabe_event::item::Item;
use nabe_event::source::{EventInterest, EventSet};
use nabe_event::table::EventId;
use nabe_probe::live::{Live, Options};

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| words.get(at).and_then(|word| word.parse::<u32>().ok());
    let names = words.get(2..).unwrap_or_default();
    let events: EventSet = if names.is_empty() {
        EventId::all().filter(|id| !id.is_enter() || !id.is_syscall()).collect()
    } else {
        names
            .iter()
            .flat_map(|name| EventId::named(name))
            .filter(|id| !id.is_enter() || !id.is_syscall())
            .collect()
    };
    let interest = EventInterest {
        events,
        pids: number(0).filter(|pid| *pid > 0).map(|pid| vec![pid]),
        state: std::env::var_os("STATE").is_some(),
        ..EventInterest::default()
    };
    let start = Instant::now();
    let options = Options { cache: std::env::var_os("CACHE").map(Into::into), ..Options::default() };
    let mut live = Live::open(&interest, &options)?;
    eprintln!("open after {:?}, notes {:?}", start.elapsed(), live.notes());
    let handle = live.handle();
    let end = Instant::now() + Duration::from_millis(number(1).unwrap_or(1000).into());
    let quiet = std::env::var_os("QUIET").is_some();
    let (mut threads, mut descriptors) = (0, 0);
    while let Some(batch) = live.batch()? {
        for item in batch {
            match item {
                Item::Event(event) if !quiet => {
                    let params: Vec<String> = event
                        .described()
                        .map(|(param, bytes)| format!("{}={}", param.name, bytes.escape_ascii()))
                        .collect();
                    println!(
                        "{} {} {} {:?} {}",
                        event.ts_ns,
                        event.cpu,
                        event.tid,
                        event.id,
                        params.join(" ")
                    );
                }
                Item::Thread(thread) => {
                    threads += 1;
                    if std::env::var_os("ITEMS").is_some() {
                        println!("{thread:?}");
                    }
                }
                Item::Descriptor(descriptor) => {
                    descriptors += 1;
                    if std::env::var_os("ITEMS").is_some() {
                        println!("{descriptor:?}");
                    }
                }
                _ => {}
            }
        }
        if Instant::now() > end {
            handle.stop();
        }
    }
    eprintln!("{threads} threads, {descriptors} descriptors, {:?}", live.account());
    Ok(())
}
