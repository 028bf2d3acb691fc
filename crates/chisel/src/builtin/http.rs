//! httplog, httptop, memcachelog: requests read out of the payload of sockets, as far as the snap
//! length shows it.

use std::collections::HashMap;

use super::{number, parsed, reader, some_text, text};
use crate::cell::Cell;
use crate::field::Reader;
use crate::table::{Column, Table};
use crate::unit::Unit;
use crate::view::{Event, Flow, Machine, Moment, Output, Piece, Setup, View, ViewError};

/// Requests without an answer, and different requests, that are remembered.
const MAX_OPEN: usize = 1 << 16;
const SECOND_NS: u64 = 1_000_000_000;

/// A request and its answer.
struct Exchange {
    method: String,
    url: String,
    /// `>` sent, `<` received.
    direction: &'static str,
    container: Vec<u8>,
    start_ns: u64,
    end_ns: u64,
    code: u64,
    bytes: u64,
}

struct Fields {
    buffer: Reader,
    fd: Reader,
    pid: Reader,
    direction: Reader,
    container: Reader,
    time: Reader,
}

/// Pairs requests with answers on the same descriptor.
struct Pairing {
    fields: Fields,
    open: HashMap<(i64, i64), Exchange>,
}

const HTTP_FILTER: &str =
    "evt.is_io = true and evt.buflen > 0 and (fd.sockfamily = ip or fd.sockfamily = unix)";

impl Pairing {
    fn new() -> Self {
        let fields = Fields {
            buffer: reader("evt.buffer"),
            fd: reader("fd.num"),
            pid: reader("proc.pid"),
            direction: reader("evt.io_dir"),
            container: reader("container.name"),
            time: reader("evt.datetime"),
        };
        Self { fields, open: HashMap::new() }
    }

    fn event(&mut self, event: &Event<'_>) -> Option<Exchange> {
        let fields = &mut self.fields;
        let buffer = some_text(&mut fields.buffer, event)?;
        let key = (number(&mut fields.pid, event)?, number(&mut fields.fd, event)?);
        let Some(open) = self.open.get_mut(&key) else {
            let (method, url) = request(&buffer)?;
            let direction = match text(&mut fields.direction, event).as_slice() {
                b"read" | b"r" => "<",
                b"write" | b"w" => ">",
                _ => "<NA>",
            };
            if self.open.len() >= MAX_OPEN {
                self.open.clear();
            }
            let container = text(&mut fields.container, event);
            let exchange = Exchange {
                method,
                url,
                direction,
                container,
                start_ns: event.ts_ns,
                end_ns: 0,
                code: 0,
                bytes: 0,
            };
            self.open.insert(key, exchange);
            return None;
        };
        let (code, bytes) = response(&buffer)?;
        (open.code, open.bytes, open.end_ns) = (code, bytes, event.ts_ns);
        self.open.remove(&key)
    }
}

/// The printable bytes at the beginning of `text`.
fn graphic(text: &[u8]) -> &[u8] {
    let end = text.iter().position(|byte| !byte.is_ascii_graphic()).unwrap_or(text.len());
    text.get(..end).unwrap_or(text)
}

/// What stands behind `name` in `text`, up to the end of the line.
fn header<'a>(text: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let at = text.windows(name.len()).position(|window| window == name)? + name.len();
    let rest = text.get(at..)?;
    let end = rest.windows(2).position(|end| end == b"\r\n")?;
    rest.get(..end)
}

fn lossy(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}

/// `METHOD url` at the beginning, with the host when it is told.
fn request(buffer: &[u8]) -> Option<(String, String)> {
    let end = buffer.iter().position(|byte| !byte.is_ascii_uppercase())?;
    let (method, rest) = buffer.split_at(end);
    let url = graphic(rest.strip_prefix(b" ")?);
    if method.is_empty() || url.is_empty() {
        return None;
    }
    let host = header(buffer, b"Host: ").map(graphic).unwrap_or_default();
    Some((lossy(method), lossy(host) + &lossy(url)))
}

/// `HTTP/1.1 200`, and the length of the body when it is told.
fn response(buffer: &[u8]) -> Option<(u64, u64)> {
    let number = |text: &[u8]| {
        let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
        core::str::from_utf8(text.get(..end)?).ok()?.parse().ok()
    };
    let at = buffer.windows(5).position(|window| window == b"HTTP/")? + 5;
    let rest = buffer.get(at..)?;
    let rest = rest.get(graphic(rest).len()..)?.strip_prefix(b" ")?;
    let bytes = header(buffer, b"Content-Length: ").and_then(number).unwrap_or(0);
    Some((number(rest)?, bytes))
}

struct Log {
    pairing: Pairing,
    containers: bool,
}

/// httplog.
pub(super) fn log(_: &'static str, setup: &Setup) -> Result<Box<dyn View>, ViewError> {
    Ok(Box::new(Log { pairing: Pairing::new(), containers: setup.containers }))
}

impl View for Log {
    fn name(&self) -> &str {
        "httplog"
    }
    fn filter(&self) -> String {
        HTTP_FILTER.to_owned()
    }
    fn snaplen(&self) -> u32 {
        1024
    }
    fn event(&mut self, event: &Event<'_>, out: &mut Output) -> Result<Flow, ViewError> {
        let Some(exchange) = self.pairing.event(event) else { return Ok(Flow::Go) };
        let time = text(&mut self.pairing.fields.time, event);
        out.put_value(&time);
        out.put(" ");
        if self.containers {
            out.put_value(&exchange.container);
            out.put(" ");
        }
        out.put(&format!("{} method={} url=", exchange.direction, exchange.method));
        out.put_value(exchange.url.as_bytes());
        let latency = exchange.end_ns.saturating_sub(exchange.start_ns) / 1_000_000;
        out.put(&format!(" response_code={} latency={latency}ms size={}B\n", exchange.code, exchange.bytes));
        Ok(Flow::Go)
    }
}

#[derive(Clone, Copy, PartialEq)]
enum By {
    Calls,
    Time,
    Bytes,
}

struct Top {
    pairing: Pairing,
    by: By,
    containers: bool,
    live: bool,
    interval_ns: u64,
    /// Calls, nanoseconds, bytes.
    sums: HashMap<(Vec<u8>, String, String), [u64; 3]>,
    dropped: u64,
}

/// httptop.
pub(super) fn top(name: &'static str, setup: &Setup) -> Result<Box<dyn View>, ViewError> {
    let by = match setup.args.first().map_or("", String::as_str) {
        "" | "ncalls" => By::Calls,
        "time" => By::Time,
        "bytes" => By::Bytes,
        other => {
            let problem = format!("`{other}` is none of ncalls, bytes, time");
            return Err(ViewError::Argument { view: name.to_owned(), problem });
        }
    };
    Ok(Box::new(Top {
        pairing: Pairing::new(),
        by,
        containers: setup.containers,
        live: setup.live,
        interval_ns: setup.interval_ns.unwrap_or(SECOND_NS),
        sums: HashMap::new(),
        dropped: 0,
    }))
}

impl Top {
    fn table(&mut self, at: Moment) -> Table {
        let (title, unit) = match self.by {
            By::Calls => ("ncalls", Unit::None),
            By::Time => ("time", Unit::Time),
            By::Bytes => ("bytes", Unit::Bytes),
        };
        let column = |title: &str, unit| Column { title: title.into(), field: title.into(), unit, width: 20 };
        let mut columns = vec![column(title, unit)];
        if self.containers {
            columns.push(column("container", Unit::None));
        }
        columns.extend([column("method", Unit::None), column("url", Unit::None)]);
        let text = |text: &[u8]| Cell::Text(text.into());
        let mut rows: Vec<Vec<Cell>> = self
            .sums
            .drain()
            .map(|((container, method, url), [calls, time, bytes])| {
                let mut row = vec![Cell::Uint(match self.by {
                    By::Calls => calls,
                    By::Time => time / calls.max(1),
                    By::Bytes => bytes,
                })];
                if self.containers {
                    row.push(text(&container));
                }
                row.extend([text(method.as_bytes()), text(url.as_bytes())]);
                row
            })
            .collect();
        rows.sort_by(|a, b| {
            let order = |nth: usize| {
                a.get(nth).zip(b.get(nth)).map_or(core::cmp::Ordering::Equal, |(a, b)| a.compare(b))
            };
            order(0).reverse().then(order(1)).then(order(2)).then(order(3))
        });
        rows.truncate(30);
        let dropped =
            crate::aggregate::Dropped { groups: core::mem::take(&mut self.dropped), ..Default::default() };
        Table { columns, rows, span_ns: at.delta_ns, at_ns: at.ts_ns, ruled: true, bare: false, dropped }
    }
}

impl View for Top {
    fn name(&self) -> &str {
        "httptop"
    }
    fn filter(&self) -> String {
        HTTP_FILTER.to_owned()
    }
    fn snaplen(&self) -> u32 {
        1024
    }
    fn interval_ns(&self) -> Option<u64> {
        self.live.then_some(self.interval_ns)
    }
    fn event(&mut self, event: &Event<'_>, _: &mut Output) -> Result<Flow, ViewError> {
        let Some(exchange) = self.pairing.event(event) else { return Ok(Flow::Go) };
        let container = if self.containers { exchange.container } else { Vec::new() };
        let key = (container, exchange.method, exchange.url);
        if self.sums.len() >= MAX_OPEN && !self.sums.contains_key(&key) {
            self.dropped += 1;
            return Ok(Flow::Go);
        }
        let [calls, time, bytes] = self.sums.entry(key).or_default();
        *calls += 1;
        *time += exchange.end_ns.saturating_sub(exchange.start_ns);
        *bytes = bytes.saturating_add(exchange.bytes);
        Ok(Flow::Go)
    }
    fn tick(&mut self, at: Moment, _: &Event<'_>, out: &mut Output) -> Result<(), ViewError> {
        let table = self.table(at);
        out.push(Piece::Table(table));
        Ok(())
    }
    fn end(&mut self, at: Moment, _: &dyn Machine, out: &mut Output) -> Result<(), ViewError> {
        if !self.live {
            let table = self.table(at);
            out.push(Piece::Table(table));
        }
        Ok(())
    }
}

struct Memcached {
    data: Reader,
    time: Reader,
    method: Option<String>,
    size: u64,
}

/// memcachelog.
pub(super) fn memcached(name: &'static str, setup: &Setup) -> Result<Box<dyn View>, ViewError> {
    Ok(Box::new(Memcached {
        data: reader("evt.buffer"),
        time: reader("evt.datetime"),
        method: setup.args.first().filter(|word| !word.is_empty()).cloned(),
        size: parsed(name, setup, 1, "size")?.unwrap_or(0),
    }))
}

impl View for Memcached {
    fn name(&self) -> &str {
        "memcachelog"
    }
    fn filter(&self) -> String {
        "(fd.sport=11211 or proc.name=memcached) and evt.is_io=true".to_owned()
    }
    fn snaplen(&self) -> u32 {
        4096
    }
    fn event(&mut self, event: &Event<'_>, out: &mut Output) -> Result<Flow, ViewError> {
        let Some(data) = some_text(&mut self.data, event) else { return Ok(Flow::Go) };
        let line = data.split(|byte| *byte == b'\r').next().unwrap_or_default();
        let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
        let Some([method @ (b"get" | b"set" | b"gets"), key, ..]) = words.get(..2.min(words.len())) else {
            return Ok(Flow::Go);
        };
        let size =
            words.get(4).and_then(|word| core::str::from_utf8(word).ok()?.parse::<u64>().ok()).unwrap_or(0);
        let other = self.method.as_ref().is_some_and(|wanted| wanted.as_bytes() != *method);
        if other || (*method == b"set" && size < self.size) {
            return Ok(Flow::Go);
        }
        let time = text(&mut self.time, event);
        out.put_value(&time);
        out.put(&format!(" method={} size={size}B key=", lossy(method)));
        out.put_value(key);
        out.put("\n");
        Ok(Flow::Go)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_answers_are_read() {
        let get = b"GET /index.html HTTP/1.1\r\nHost: localhost:8090\r\nAccept: */*\r\n\r\n";
        assert_eq!(request(get), Some(("GET".into(), "localhost:8090/index.html".into())));
        assert_eq!(request(b"get / HTTP/1.1"), None);
        assert_eq!(request(b"GET"), None);
        let ok = b"HTTP/1.1 200 OK\r\nContent-Length: 45\r\n\r\n";
        assert_eq!(response(ok), Some((200, 45)));
        assert_eq!(response(b"HTTP/1.1 x"), None);
        assert_eq!(response(b"HTTP/"), None);
    }
}
