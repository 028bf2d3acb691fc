//! echo_fds, iobytes*, spy_file, stdin/stdout/stderr, spy_ip, spy_port: bytes as they pass.

use core::net::IpAddr;

use super::paint::{BLUE, CYAN, GREEN, Home, Paint, RED, is_host};
use super::{is_true, number, parsed, reader, some_text, text};
use crate::field::Reader;
use crate::unit;
use crate::view::{Event, Flow, Machine, Moment, Output, Setup, View, ViewError};

/// echo_fds.
struct Echo {
    containers: bool,
    paint: Paint,
    data: Reader,
    is_read: Reader,
    result: Reader,
    name: Reader,
    process: Reader,
    home: Home,
}

pub(super) fn echo(_: &'static str, setup: &Setup) -> Result<Box<dyn View>, ViewError> {
    Ok(Box::new(Echo {
        containers: setup.containers,
        paint: Paint::of(setup),
        data: reader("evt.arg.data"),
        is_read: reader("evt.is_io_read"),
        result: reader("evt.rawarg.res"),
        name: reader("fd.name"),
        process: reader("proc.name"),
        home: Home::new(),
    }))
}

impl View for Echo {
    fn name(&self) -> &str {
        "echo_fds"
    }
    fn filter(&self) -> String {
        "evt.is_io=true and evt.dir=< and evt.rawres>0".to_owned()
    }
    fn snaplen(&self) -> u32 {
        2000
    }
    fn event(&mut self, event: &Event<'_>, out: &mut Output) -> Result<Flow, ViewError> {
        let Some(bytes) = number(&mut self.result, event).filter(|bytes| *bytes > 0) else {
            return Ok(Flow::Go);
        };
        let read = is_true(&mut self.is_read, event);
        let of = if read { RED } else { BLUE };
        self.paint.begin(out, of);
        let (verb, preposition) = if read { ("Read", "from") } else { ("Write", "to") };
        out.put(&format!("------ {verb} {} {preposition} ", unit::bytes(bytes as f64)));
        if self.containers {
            let container = self.home.name(event);
            self.paint.begin(out, if is_host(&container) { GREEN } else { CYAN });
            out.put(" [");
            out.put_value(&container);
            out.put("] [");
            out.put_value(&self.home.id(event));
            out.put("]");
        }
        out.put(" ");
        self.paint.begin(out, of);
        out.put(" ");
        out.put_value(&text(&mut self.name, event));
        out.put(" (");
        out.put_value(&text(&mut self.process, event));
        out.put(")\n");
        if let Some(data) = some_text(&mut self.data, event) {
            out.put_value(&data);
            out.put("\n");
        }
        Ok(Flow::Go)
    }
    fn end(&mut self, _: Moment, _: &dyn Machine, out: &mut Output) -> Result<(), ViewError> {
        self.paint.end(out);
        Ok(())
    }
}

/// iobytes, iobytes_file, iobytes_net.
struct Bytes {
    name: &'static str,
    interval_ns: u64,
    result: Reader,
    is_read: Reader,
    time: Reader,
    received: u64,
    sent: u64,
}

pub(super) fn bytes(name: &'static str, setup: &Setup) -> Result<Box<dyn View>, ViewError> {
    Ok(Box::new(Bytes {
        name,
        interval_ns: setup.interval_ns.unwrap_or(1_000_000_000),
        result: reader("evt.rawarg.res"),
        is_read: reader("evt.is_io_read"),
        time: reader("evt.time.s"),
        received: 0,
        sent: 0,
    }))
}

impl View for Bytes {
    fn name(&self) -> &str {
        self.name
    }
    fn filter(&self) -> String {
        match self.name {
            "iobytes_file" => "evt.is_io=true and fd.type=file",
            "iobytes_net" => "evt.is_io=true and (fd.type=ipv4 or fd.type=ipv6)",
            _ => "evt.is_io=true",
        }
        .to_owned()
    }
    fn interval_ns(&self) -> Option<u64> {
        Some(self.interval_ns)
    }
    fn event(&mut self, event: &Event<'_>, _: &mut Output) -> Result<Flow, ViewError> {
        let bytes = number(&mut self.result, event).and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0);
        let sum = if is_true(&mut self.is_read, event) { &mut self.received } else { &mut self.sent };
        *sum = sum.saturating_add(bytes);
        Ok(Flow::Go)
    }
    fn tick(&mut self, _: Moment, event: &Event<'_>, out: &mut Output) -> Result<(), ViewError> {
        let (received, sent) = (core::mem::take(&mut self.received), core::mem::take(&mut self.sent));
        out.put_value(&text(&mut self.time, event));
        out.put(&format!(" in:{received} out:{sent} tot:{}\n", received.saturating_add(sent)));
        Ok(())
    }
}

/// spy_file.
struct SpyFile {
    filter: String,
    data: Reader,
    name: Reader,
    is_write: Reader,
    pid: Reader,
    process: Reader,
    result: Reader,
    time: Reader,
}

pub(super) fn spy_file(name: &'static str, setup: &Setup) -> Result<Box<dyn View>, ViewError> {
    let direction = match setup.args.first().map_or("", String::as_str) {
        "R" | "r" => "evt.is_io_read=true",
        "W" | "w" => "evt.is_io_write=true",
        "" | "RW" | "rw" => "evt.is_io=true",
        other => {
            let problem = format!("`{other}` is none of R, W, RW");
            return Err(ViewError::Argument { view: name.to_owned(), problem });
        }
    };
    let file = match setup.args.get(1).filter(|file| !file.is_empty()) {
        Some(file) => format!("fd.name={}", quoted(file)),
        None => "not fd.name contains /dev/pt and not fd.name contains /dev/tty".to_owned(),
    };
    Ok(Box::new(SpyFile {
        filter: format!("{file} and {direction} and fd.type=file and evt.dir=< and evt.failed=false"),
        data: reader("evt.arg.data"),
        name: reader("fd.name"),
        is_write: reader("evt.is_io_write"),
        pid: reader("proc.pid"),
        process: reader("proc.name"),
        result: reader("evt.rawarg.res"),
        time: reader("evt.time"),
    }))
}

/// A text of sysdig's filter language, whatever is in it.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

impl View for SpyFile {
    fn name(&self) -> &str {
        "spy_file"
    }
    fn filter(&self) -> String {
        self.filter.clone()
    }
    fn snaplen(&self) -> u32 {
        2000
    }
    fn event(&mut self, event: &Event<'_>, out: &mut Output) -> Result<Flow, ViewError> {
        out.put_value(&text(&mut self.time, event));
        out.put(" ");
        out.put_value(&text(&mut self.process, event));
        out.put("(");
        out.put_value(&text(&mut self.pid, event));
        let letter = if is_true(&mut self.is_write, event) { "W" } else { "R" };
        let bytes = unit::bytes(number(&mut self.result, event).unwrap_or(0) as f64);
        out.put(&format!(") {letter} {bytes} "));
        out.put_value(&text(&mut self.name, event));
        out.put(" ");
        out.put_value(&text(&mut self.data, event));
        out.put("\n");
        Ok(Flow::Go)
    }
}

/// stdin, stdout, stderr.
struct Standard {
    name: &'static str,
    containers: bool,
    data: Reader,
    home: Home,
}

pub(super) fn standard(name: &'static str, setup: &Setup) -> Result<Box<dyn View>, ViewError> {
    Ok(Box::new(Standard {
        name,
        containers: setup.containers && name == "stderr",
        data: reader("evt.buffer"),
        home: Home::new(),
    }))
}

impl View for Standard {
    fn name(&self) -> &str {
        self.name
    }
    fn filter(&self) -> String {
        let number = match self.name {
            "stdin" => 0,
            "stdout" => 1,
            _ => 2,
        };
        format!("fd.num={number} and evt.is_io=true")
    }
    fn snaplen(&self) -> u32 {
        2000
    }
    fn event(&mut self, event: &Event<'_>, out: &mut Output) -> Result<Flow, ViewError> {
        let Some(data) = some_text(&mut self.data, event) else { return Ok(Flow::Go) };
        if self.containers {
            out.put_value(&self.home.columns(event));
        }
        out.put_lines(&data);
        out.put("\n");
        Ok(Flow::Go)
    }
}

/// spy_ip, spy_port.
struct SpyPeer {
    name: &'static str,
    filter: String,
    paint: Paint,
    data: Reader,
    is_read: Reader,
    result: Reader,
    /// The direction of the payload before.
    read: Option<bool>,
}

pub(super) fn spy_peer(name: &'static str, setup: &Setup) -> Result<Box<dyn View>, ViewError> {
    let word = setup.args.first().map_or("", String::as_str);
    let peer = if name == "spy_ip" {
        let address: IpAddr = word.parse().map_err(|_| ViewError::Argument {
            view: name.to_owned(),
            problem: format!("`{word}` is no address"),
        })?;
        format!("fd.ip={address}")
    } else {
        format!("fd.port={}", parsed::<u16>(name, setup, 0, "host_port")?.unwrap_or(0))
    };
    Ok(Box::new(SpyPeer {
        name,
        filter: format!("evt.is_io=true and (fd.type=ipv4 or fd.type=ipv6) and {peer}"),
        paint: Paint::of(setup),
        data: reader("evt.arg.data"),
        is_read: reader("evt.is_io_read"),
        result: reader("evt.rawarg.res"),
        read: None,
    }))
}

impl View for SpyPeer {
    fn name(&self) -> &str {
        self.name
    }
    fn filter(&self) -> String {
        self.filter.clone()
    }
    fn snaplen(&self) -> u32 {
        1000
    }
    fn event(&mut self, event: &Event<'_>, out: &mut Output) -> Result<Flow, ViewError> {
        let Some(bytes) = number(&mut self.result, event).filter(|bytes| *bytes > 0) else {
            return Ok(Flow::Go);
        };
        let Some(data) = some_text(&mut self.data, event) else { return Ok(Flow::Go) };
        let read = is_true(&mut self.is_read, event);
        if self.read != Some(read) {
            self.read = Some(read);
            self.paint.begin(out, if read { RED } else { BLUE });
            let verb = if read { "Read" } else { "Write" };
            out.put(&format!("------ {verb} {}\n", unit::bytes(bytes as f64)));
        }
        out.put_value(&data);
        out.put("\n");
        Ok(Flow::Go)
    }
    fn end(&mut self, _: Moment, _: &dyn Machine, out: &mut Output) -> Result<(), ViewError> {
        self.paint.end(out);
        Ok(())
    }
}
