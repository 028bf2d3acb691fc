//! Takes a capture in, and nothing else: what is measured and profiled.
//!
//! `stream take|seen|none FILE`: events taken in; the same with each built up to be read; the same
//! with a filter of the process that selects nothing, kept by images.

use std::error::Error;
use std::hint::black_box;
use std::ops::ControlFlow;
use std::path::Path;

use nabe_event::field::process::NAME;
use nabe_event::{Fields, Item, Source, Value};
use nabe_scap::Reader;
use nabe_state::stream::{Stream, Verdicts};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (mode, file) = match words[..] {
        [mode @ ("take" | "seen" | "none" | "memory"), file] => (mode, file),
        _ => return Err("usage: stream take|seen|none|memory FILE".into()),
    };
    let mut reader = Reader::open(Path::new(file))?;
    let mut stream = Stream::new();
    let mut verdicts = Verdicts::default();
    let mut selected = 0u64;
    loop {
        let more = reader.each(|item| {
            let Item::Event(event) = item else {
                stream.item(item);
                return ControlFlow::Continue(());
            };
            let taken = stream.take(event);
            match mode {
                "seen" => {
                    black_box(&stream.seen(event));
                }
                "none" if taken.is_shown() => {
                    let judge = || matches!(stream.seen(event).get(NAME, None), Value::Text(b"nosuch"));
                    selected += u64::from(verdicts.get(&taken, judge));
                }
                _ => {}
            }
            ControlFlow::Continue(())
        })?;
        if !more {
            break;
        }
    }
    println!("{} events, {} threads, {selected} selected", stream.events(), stream.thread_count());
    println!("{} bytes of tables, {:?}", stream.memory_bytes(), stream.losses());
    Ok(())
}
