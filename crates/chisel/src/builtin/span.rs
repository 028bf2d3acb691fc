//! flame and tracers_2_statsd: where time goes.
//!
//! sysdig's flame draws spans of tracers (writes to /dev/null, of which today's libraries know
//! nothing any more) as a page that fetches its scripts from elsewhere. Here the answer is folded
//! stacks, one a line, which every flame graph program reads: the tags of spans where a capture has
//! tracers, otherwise the ancestors of the process, the process and the system call; the number is
//! the time in nanoseconds.

use std::collections::BTreeMap;

use super::{number, parsed, reader, some_text, text};
use crate::field::Reader;
use crate::view::{Event, Flow, Machine, Moment, Output, Piece, Setup, View, ViewError};

const ANCESTORS: usize = 8;
const MAX_STACKS: usize = 1 << 16;

struct Flame {
    kind: Reader,
    tags: Reader,
    direction: Reader,
    name: Reader,
    latency: Reader,
    ancestors: Vec<Reader>,
    stacks: BTreeMap<Vec<u8>, u64>,
    spans: BTreeMap<Vec<u8>, u64>,
    lost_ns: u64,
}

/// flame.
pub(super) fn flame(_: &'static str, _: &Setup) -> Result<Box<dyn View>, ViewError> {
    Ok(Box::new(Flame {
        kind: reader("evt.type"),
        tags: reader("evt.arg.tags"),
        direction: reader("evt.dir"),
        name: reader("proc.name"),
        latency: reader("evt.latency"),
        ancestors: (1..=ANCESTORS).map(|nth| reader(&format!("proc.aname[{nth}]"))).collect(),
        stacks: BTreeMap::new(),
        spans: BTreeMap::new(),
        lost_ns: 0,
    }))
}

/// A frame of a folded stack: `;` and spaces would end it.
fn frame(text: &[u8], stack: &mut Vec<u8>) {
    if !stack.is_empty() {
        stack.push(b';');
    }
    stack.extend(text.iter().map(|byte| if matches!(byte, b';' | b' ' | b'\n') { b'_' } else { *byte }));
}

impl View for Flame {
    fn name(&self) -> &str {
        "flame"
    }
    fn filter(&self) -> String {
        "evt.dir=< and evt.type!=switch".to_owned()
    }
    fn event(&mut self, event: &Event<'_>, _: &mut Output) -> Result<Flow, ViewError> {
        let Some(latency) =
            number(&mut self.latency, event).and_then(|ns| u64::try_from(ns).ok()).filter(|ns| *ns > 0)
        else {
            return Ok(Flow::Go);
        };
        let kind = text(&mut self.kind, event);
        let mut stack = Vec::new();
        let is_span = kind == b"tracer" && text(&mut self.direction, event) == b"<";
        if is_span {
            let tags = text(&mut self.tags, event);
            tags.split(|byte| matches!(byte, b'.' | b',')).for_each(|tag| frame(tag, &mut stack));
        } else {
            let above: Vec<_> =
                self.ancestors.iter_mut().map_while(|reader| some_text(reader, event)).collect();
            above.iter().rev().for_each(|name| frame(name, &mut stack));
            frame(&text(&mut self.name, event), &mut stack);
            frame(&kind, &mut stack);
        }
        let stacks = if is_span { &mut self.spans } else { &mut self.stacks };
        if stacks.len() >= MAX_STACKS && !stacks.contains_key(&stack) {
            self.lost_ns = self.lost_ns.saturating_add(latency);
            return Ok(Flow::Go);
        }
        let sum = stacks.entry(stack).or_default();
        *sum = sum.saturating_add(latency);
        Ok(Flow::Go)
    }
    fn end(&mut self, _: Moment, _: &dyn Machine, out: &mut Output) -> Result<(), ViewError> {
        let stacks = if self.spans.is_empty() { &self.stacks } else { &self.spans };
        for (stack, ns) in stacks {
            out.put_value(stack);
            out.put(&format!(" {ns}\n"));
        }
        if self.lost_ns > 0 {
            out.put(&format!("(no_room) {}\n", self.lost_ns));
        }
        Ok(())
    }
}

struct Statsd {
    to: String,
    tags: Reader,
    latency: Reader,
}

/// tracers_2_statsd.
pub(super) fn statsd(name: &'static str, setup: &Setup) -> Result<Box<dyn View>, ViewError> {
    let host = setup.args.first().filter(|word| !word.is_empty()).map_or("127.0.0.1", String::as_str);
    let port: u16 = parsed(name, setup, 1, "server_port")?.unwrap_or(8125);
    let to = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    Ok(Box::new(Statsd { to, tags: reader("evt.arg.tags"), latency: reader("evt.latency") }))
}

impl View for Statsd {
    fn name(&self) -> &str {
        "tracers_2_statsd"
    }
    fn filter(&self) -> String {
        "evt.type=tracer and evt.dir=<".to_owned()
    }
    fn event(&mut self, event: &Event<'_>, out: &mut Output) -> Result<Flow, ViewError> {
        let (Some(tags), Some(latency)) =
            (some_text(&mut self.tags, event), number(&mut self.latency, event))
        else {
            return Ok(Flow::Go);
        };
        // What has a meaning in statsd's lines is no part of a name.
        let mut line: Vec<u8> = tags
            .iter()
            .map(|byte| {
                if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-') { *byte } else { b'_' }
            })
            .collect();
        line.extend_from_slice(format!(":{}|ms", latency as f64 / 1e6).as_bytes());
        out.push(Piece::Datagram { to: self.to.clone(), bytes: line });
        Ok(Flow::Go)
    }
}
