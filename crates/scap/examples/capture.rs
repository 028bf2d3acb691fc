//! Reads, converts, rewrites or multiplies a capture: what is measured against other readers.
//!
//! `capture read|params|convert FILE`, `capture rewrite FILE OUT`, `capture repeat FILE OUT TIMES`
//! (the events of FILE again and again, each round later than the one before).

use std::error::Error;
use std::fs::File;
use std::hint::black_box;
use std::ops::ControlFlow;
use std::path::Path;

use nabe_event::Source;
use nabe_scap::{Compression, Converter, Ending, Enters, Item, Reader, Writer};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["read", file] => read(file, |_| {}),
        ["params", file] => read(file, |item| {
            if let Item::Event(event) = item {
                black_box(event.params.iter().map(<[u8]>::len).sum::<usize>());
            }
        }),
        ["convert", file] => {
            let mut converter = Converter::new(Enters::Drop);
            read(file, |item| {
                if let Item::Event(event) = item {
                    black_box(converter.convert(event));
                }
            })?;
            println!("{:?}", converter.stats());
            Ok(())
        }
        ["rewrite", file, out] => {
            let mut writer = Writer::new(File::create(out)?, Compression::None)?;
            let mut failed = None;
            read(file, |item| {
                if let Err(error) = writer.item(item) {
                    failed.get_or_insert(error);
                }
            })?;
            if let Some(error) = failed {
                return Err(error.into());
            }
            println!("{:?}", writer.finish()?.1);
            Ok(())
        }
        ["repeat", file, out, times] => repeat(file, out, times.parse()?),
        _ => Err("usage: capture read|params|convert FILE, rewrite FILE OUT, repeat FILE OUT TIMES".into()),
    }
}

fn read(file: &str, mut each: impl FnMut(&Item<'_>)) -> Result<(), Box<dyn Error>> {
    let mut reader = Reader::open(Path::new(file))?;
    while reader.each(|item| {
        each(item);
        ControlFlow::Continue(())
    })? {}
    let stats = reader.stats();
    println!("{} events, {:?}, clean {}", stats.events, reader.ending(), stats.is_clean());
    if !matches!(reader.ending(), Ending::Complete) {
        return Err("the capture is cut".into());
    }
    Ok(())
}

fn repeat(file: &str, out: &str, times: u64) -> Result<(), Box<dyn Error>> {
    let mut writer = Writer::new(File::create(out)?, Compression::None)?;
    let (mut first, mut last) = (u64::MAX, 0_u64);
    for round in 0..times {
        let mut reader = Reader::open(Path::new(file))?;
        // Beyond the first round both are final.
        let shift = round * (last.saturating_sub(first) + 1000);
        while let Some(batch) = reader.batch()? {
            for item in batch {
                match item {
                    Item::Event(mut event) => {
                        if round == 0 {
                            (first, last) = (first.min(event.ts_ns), last.max(event.ts_ns));
                        } else {
                            event.ts_ns += shift;
                        }
                        writer.event(&event)?;
                    }
                    state if round == 0 => writer.item(&state)?,
                    _ => {}
                }
            }
        }
    }
    println!("{:?}", writer.finish()?.1);
    Ok(())
}
