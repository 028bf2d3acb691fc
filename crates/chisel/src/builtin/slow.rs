//! bottlenecks, fileslower, netlower, scallslower, proc_exec_time: what takes its time.

use std::collections::HashMap;

use super::paint::{BLUE, GREEN, Home, Paint, RED, YELLOW, is_host};
use super::{fixed, number, parsed, reader, text};
use crate::field::Reader;
use crate::unit;
use crate::view::{Event, Flow, Machine, Moment, Output, Setup, View, ViewError};

const HOW_MANY: usize = 10;
const MAX_THREADS: usize = 1 << 16;

struct Bottlenecks {
    num: Reader,
    kind: Reader,
    args: Reader,
    latency: Reader,
    name: Reader,
    tid: Reader,
    /// Where each thread went in.
    entered: HashMap<i64, Vec<u8>>,
    /// Latency, line in, line out.
    slow: Vec<(i64, Vec<u8>, Vec<u8>)>,
}

/// bottlenecks.
pub(super) fn bottlenecks(_: &'static str, _: &Setup) -> Result<Box<dyn View>, ViewError> {
    Ok(Box::new(Bottlenecks {
        num: reader("evt.num"),
        kind: reader("evt.type"),
        args: reader("evt.args"),
        latency: reader("evt.latency"),
        name: reader("proc.name"),
        tid: reader("thread.tid"),
        entered: HashMap::new(),
        slow: Vec::new(),
    }))
}

impl Bottlenecks {
    fn line(&mut self, event: &Event<'_>, latency: i64, direction: char) -> Vec<u8> {
        let second = 1_000_000_000;
        let number = number(&mut self.num, event).unwrap_or(0);
        let mut line = format!("{number}) {}.{:09} ", latency / second, latency % second).into_bytes();
        line.extend_from_slice(&text(&mut self.name, event));
        line.extend_from_slice(b" (");
        line.extend_from_slice(&text(&mut self.tid, event));
        line.extend_from_slice(format!(") {direction} ").as_bytes());
        line.extend_from_slice(&text(&mut self.kind, event));
        line.push(b' ');
        let args = text(&mut self.args, event);
        if args != b"<NA>" {
            line.extend_from_slice(&args);
        }
        line
    }
}

impl View for Bottlenecks {
    fn name(&self) -> &str {
        "bottlenecks"
    }
    fn filter(&self) -> String {
        // Their latency is that of the system call before them.
        "evt.type!=switch and evt.type!=procinfo and evt.type!=signaldeliver and evt.type!=procexit"
            .to_owned()
    }
    fn event(&mut self, event: &Event<'_>, _: &mut Output) -> Result<Flow, ViewError> {
        let tid = number(&mut self.tid, event).unwrap_or(-1);
        let latency = number(&mut self.latency, event).unwrap_or(0);
        if latency <= 0 {
            if self.entered.len() >= MAX_THREADS && !self.entered.contains_key(&tid) {
                self.entered.clear();
            }
            let line = self.line(event, 0, '>');
            self.entered.insert(tid, line);
            return Ok(Flow::Go);
        }
        let at = self.slow.iter().position(|(slow, _, _)| latency > *slow).unwrap_or(self.slow.len());
        if at < HOW_MANY {
            let line = self.line(event, latency, '<');
            let entered = self.entered.get(&tid).cloned().unwrap_or_default();
            self.slow.insert(at, (latency, entered, line));
            self.slow.truncate(HOW_MANY);
        }
        Ok(Flow::Go)
    }
    fn end(&mut self, _: Moment, _: &dyn Machine, out: &mut Output) -> Result<(), ViewError> {
        for (_, entered, left) in &self.slow {
            // A source without enter events has one line a call.
            for line in [entered, left].into_iter().filter(|line| !line.is_empty()) {
                out.put_value(line);
                out.put("\n");
            }
        }
        Ok(())
    }
}

/// A column of fixed width: the title, what is cut and what is padded.
type Titles = &'static [(&'static str, usize)];

struct Slower {
    name: &'static str,
    min_ms: f64,
    containers: bool,
    paint: Paint,
    kind: Reader,
    time: Reader,
    fd: Reader,
    process: Reader,
    latency: Reader,
    home: Home,
}

/// fileslower, netlower, scallslower.
pub(super) fn slower(name: &'static str, setup: &Setup) -> Result<Box<dyn View>, ViewError> {
    Ok(Box::new(Slower {
        name,
        min_ms: parsed(name, setup, 0, "min_ms")?.unwrap_or(0.0),
        containers: setup.containers,
        paint: Paint::of(setup),
        kind: reader("evt.type"),
        time: reader("evt.datetime"),
        fd: reader("fd.name"),
        process: reader("proc.name"),
        latency: reader("evt.latency"),
        home: Home::new(),
    }))
}

const CALLS: Titles = &[
    ("evt.datetime", 23),
    ("container.id", 20),
    ("container.name", 20),
    ("proc.name", 23),
    ("LATENCY(ms)", 20),
    ("evt.type", 0),
];
const IO: Titles = &[
    ("evt.datetime", 23),
    ("container.id", 20),
    ("container.name", 20),
    ("proc.name", 12),
    ("evt.type", 8),
    ("LATENCY(ms)", 12),
    ("fd.name", 0),
];

impl Slower {
    fn is_calls(&self) -> bool {
        self.name == "scallslower"
    }

    fn titles(&self) -> impl Iterator<Item = (&'static str, usize)> {
        let titles = if self.is_calls() { CALLS } else { IO };
        let containers = self.containers;
        titles.iter().copied().filter(move |(title, _)| containers || !title.starts_with("container."))
    }
}

impl View for Slower {
    fn name(&self) -> &str {
        self.name
    }
    fn filter(&self) -> String {
        match self.name {
            "fileslower" => "evt.is_io=true and fd.type=file and evt.dir=<",
            "netlower" => "evt.is_io=true and (fd.type=ipv4 or fd.type=ipv6) and evt.dir=<",
            _ => "evt.dir=<",
        }
        .to_owned()
    }
    fn start(&mut self, out: &mut Output) -> Result<(), ViewError> {
        let rest = if self.is_calls() { 20 } else { 41 };
        for rule in [false, true] {
            for (nth, (title, width)) in self.titles().enumerate() {
                let cell = match (rule, width) {
                    (true, 0) => "-".repeat(rest),
                    (true, width) => "-".repeat(width),
                    (false, 0) => title.to_owned(),
                    (false, width) => format!("{title:<width$}"),
                };
                out.put(if nth > 0 { " " } else { "" });
                out.put(&cell);
            }
            out.put("\n");
        }
        Ok(())
    }
    fn event(&mut self, event: &Event<'_>, out: &mut Output) -> Result<Flow, ViewError> {
        let Some(latency) = number(&mut self.latency, event) else { return Ok(Flow::Go) };
        let ms = latency as f64 / 1e6;
        let name = text(&mut self.fd, event);
        if ms <= self.min_ms || (self.name == "fileslower" && name.starts_with(b"/dev/")) {
            return Ok(Flow::Go);
        }
        let container = self.home.name(event);
        self.paint.begin(out, if is_host(&container) { GREEN } else { BLUE });
        let columns: Vec<_> = self.titles().collect();
        for (nth, (title, width)) in columns.into_iter().enumerate() {
            out.put(if nth > 0 { " " } else { "" });
            let value = match title {
                "LATENCY(ms)" if self.is_calls() => format!("{ms:<width$}").into_bytes(),
                "LATENCY(ms)" => format!("{:>width$}", ms.trunc()).into_bytes(),
                "evt.datetime" => fixed(&text(&mut self.time, event), width),
                "container.id" => fixed(&self.home.id(event), width),
                "container.name" => fixed(&container, width),
                "proc.name" => fixed(&text(&mut self.process, event), width),
                "evt.type" if width == 0 => text(&mut self.kind, event),
                "evt.type" => {
                    let kind = text(&mut self.kind, event);
                    let len = kind.len().max(width);
                    fixed(&kind, len)
                }
                _ => name.clone(),
            };
            out.put_value(&value);
        }
        out.put("\n");
        Ok(Flow::Go)
    }
    fn end(&mut self, _: Moment, _: &dyn Machine, out: &mut Output) -> Result<(), ViewError> {
        self.paint.end(out);
        Ok(())
    }
}

struct Ended {
    containers: bool,
    paint: Paint,
    name: Reader,
    args: Reader,
    duration: Reader,
    home: Home,
}

/// proc_exec_time.
pub(super) fn ended(_: &'static str, setup: &Setup) -> Result<Box<dyn View>, ViewError> {
    Ok(Box::new(Ended {
        containers: setup.containers,
        paint: Paint::of(setup),
        name: reader("proc.name"),
        args: reader("proc.args"),
        duration: reader("proc.duration"),
        home: Home::new(),
    }))
}

impl View for Ended {
    fn name(&self) -> &str {
        "proc_exec_time"
    }
    fn filter(&self) -> String {
        "evt.type=procexit".to_owned()
    }
    fn start(&mut self, out: &mut Output) -> Result<(), ViewError> {
        let containers =
            |cell: &str| if self.containers { format!("{cell:<20} ").repeat(1) } else { String::new() };
        let rule = "-".repeat(20);
        out.put(&format!(
            "proc.duration {}{}proc.name    proc.args\n",
            containers("container.id"),
            containers("container.name")
        ));
        out.put(&format!("------------- {}{}------------ {rule}\n", containers(&rule), containers(&rule)));
        Ok(())
    }
    fn event(&mut self, event: &Event<'_>, out: &mut Output) -> Result<Flow, ViewError> {
        let Some(duration) = number(&mut self.duration, event) else { return Ok(Flow::Go) };
        let container = self.home.name(event);
        let color = match duration {
            10_000_000_001.. => RED,
            3_000_000_001.. => YELLOW,
            _ if is_host(&container) => GREEN,
            _ => BLUE,
        };
        self.paint.begin(out, color);
        let mut line = fixed(unit::time(duration as f64).as_bytes(), 13);
        line.push(b' ');
        if self.containers {
            line.extend(self.home.columns(event));
        }
        line.extend(fixed(&text(&mut self.name, event), 12));
        line.push(b' ');
        line.extend(text(&mut self.args, event));
        out.put_value(&line);
        out.put("\n");
        Ok(Flow::Go)
    }
    fn end(&mut self, _: Moment, _: &dyn Machine, out: &mut Output) -> Result<(), ViewError> {
        self.paint.end(out);
        if self.paint.is_on() {
            out.put("\n");
        }
        Ok(())
    }
}
