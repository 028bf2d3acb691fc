//! udp_extract, spy_logs, around: views that wish for files. They are written by the caller.

use super::paint::{GREEN, Paint, RED, YELLOW};
use super::{number, parsed, reader, some_text, text};
use crate::field::Reader;
use crate::view::{Event, Flow, Machine, Moment, Output, Piece, Setup, View, ViewError};

/// Events whose surroundings are saved.
const MAX_MOMENTS: usize = 1 << 16;

/// udp_extract.
struct Udp {
    data: Reader,
    name: Reader,
}

pub(super) fn udp(name: &'static str, setup: &Setup) -> Result<Box<dyn View>, ViewError> {
    from_file_only(name, setup)?;
    Ok(Box::new(Udp { data: reader("evt.buffer"), name: reader("fd.name") }))
}

fn from_file_only(name: &str, setup: &Setup) -> Result<(), ViewError> {
    if setup.live {
        return Err(ViewError::Unfit { view: name.to_owned(), problem: "reads captures only".to_owned() });
    }
    Ok(())
}

impl View for Udp {
    fn name(&self) -> &str {
        "udp_extract"
    }
    fn filter(&self) -> String {
        "evt.dir=< and evt.rawres>=0 and fd.l4proto=udp and evt.is_io=true".to_owned()
    }
    fn snaplen(&self) -> u32 {
        16_384
    }
    fn event(&mut self, event: &Event<'_>, out: &mut Output) -> Result<Flow, ViewError> {
        let Some(data) = some_text(&mut self.data, event) else { return Ok(Flow::Go) };
        let Some(flow) = some_text(&mut self.name, event).filter(|name| !name.is_empty()) else {
            return Ok(Flow::Go);
        };
        let name: String = String::from_utf8_lossy(&flow)
            .chars()
            .take(200)
            .map(|c| match c {
                ':' => '_',
                '>' => '-',
                c if c.is_ascii_alphanumeric() || "._-".contains(c) => c,
                _ => '_',
            })
            .collect();
        out.push(Piece::Append { name, bytes: data });
        Ok(Flow::Go)
    }
}

/// The moments around which events are saved.
struct Around {
    file: String,
    range_ms: u64,
    moments: Vec<(u64, i64)>,
    lost: u64,
}

impl Around {
    fn of(name: &str, setup: &Setup) -> Result<Option<Self>, ViewError> {
        let file = setup.args.first().filter(|word| !word.is_empty() && !word.starts_with("disable_color"));
        let Some(file) = file else { return Ok(None) };
        from_file_only(name, setup)?;
        let range_ms = match setup.args.get(1).filter(|word| !word.starts_with("disable_color")) {
            Some(_) => parsed(name, setup, 1, "dump_range_ms")?.unwrap_or(1000),
            None => 1000,
        };
        Ok(Some(Self { file: file.clone(), range_ms, moments: Vec::new(), lost: 0 }))
    }

    fn add(&mut self, event: &Event<'_>, tid: i64) {
        if self.moments.len() < MAX_MOMENTS { self.moments.push((event.ts_ns, tid)) } else { self.lost += 1 }
    }

    fn save(&mut self, out: &mut Output) {
        if self.lost > 0 {
            out.put(&format!("No room for {} more.\n", self.lost));
        }
        out.push(Piece::Save {
            file: self.file.clone(),
            range_ms: self.range_ms,
            around: core::mem::take(&mut self.moments),
        });
    }
}

/// spy_logs.
struct Logs {
    around: Option<Around>,
    paint: Paint,
    containers: bool,
    data: Reader,
    name: Reader,
    process: Reader,
    tid: Reader,
    container: Reader,
}

pub(super) fn logs(name: &'static str, setup: &Setup) -> Result<Box<dyn View>, ViewError> {
    Ok(Box::new(Logs {
        around: Around::of(name, setup)?,
        paint: Paint::of(setup),
        containers: setup.containers,
        data: reader("evt.buffer"),
        name: reader("fd.name"),
        process: reader("proc.name"),
        tid: reader("thread.tid"),
        container: reader("container.name"),
    }))
}

impl View for Logs {
    fn name(&self) -> &str {
        "spy_logs"
    }
    fn filter(&self) -> String {
        "(fd.name contains .log or fd.name contains _log or fd.name contains /var/log) and \
         not (fd.name contains .gz or fd.name contains .tgz) and \
         evt.is_io_write=true and evt.dir=< and evt.failed=false"
            .to_owned()
    }
    fn snaplen(&self) -> u32 {
        2000
    }
    fn event(&mut self, event: &Event<'_>, out: &mut Output) -> Result<Flow, ViewError> {
        let Some(data) = some_text(&mut self.data, event) else { return Ok(Flow::Go) };
        let (process, name) = (text(&mut self.process, event), text(&mut self.name, event));
        for line in data.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            if self.paint.is_on() {
                let lower = line.to_ascii_lowercase();
                let has = |word: &[u8]| lower.windows(word.len()).any(|window| window == word);
                let color = match () {
                    () if has(b"warn") => YELLOW,
                    () if has(b"err") => RED,
                    () => GREEN,
                };
                self.paint.begin(out, color);
            }
            if self.containers {
                out.put_value(&text(&mut self.container, event));
                out.put(" ");
            }
            out.put_value(&process);
            out.put(" ");
            out.put_value(&name);
            out.put(" ");
            out.put_value(line);
            out.put("\n");
        }
        if let Some(around) = &mut self.around {
            around.add(event, number(&mut self.tid, event).unwrap_or(-1));
        }
        Ok(Flow::Go)
    }
    fn end(&mut self, _: Moment, _: &dyn Machine, out: &mut Output) -> Result<(), ViewError> {
        self.paint.end(out);
        if let Some(around) = &mut self.around {
            out.put(&format!("Writing events for {} log entries\n", around.moments.len()));
            around.save(out);
        }
        Ok(())
    }
}

/// around.
struct Saved {
    around: Around,
    process: Reader,
    tid: Reader,
    time: Reader,
}

pub(super) fn around(name: &'static str, setup: &Setup) -> Result<Box<dyn View>, ViewError> {
    let unfit = |problem: &str| ViewError::Unfit { view: name.to_owned(), problem: problem.to_owned() };
    if setup.filter.is_empty() {
        return Err(unfit("needs a filter: the events around its matches are saved"));
    }
    let around = Around::of(name, setup)?.ok_or_else(|| unfit("needs the name of a file"))?;
    Ok(Box::new(Saved {
        around,
        process: reader("proc.name"),
        tid: reader("thread.tid"),
        time: reader("evt.time"),
    }))
}

impl View for Saved {
    fn name(&self) -> &str {
        "around"
    }
    fn event(&mut self, event: &Event<'_>, out: &mut Output) -> Result<Flow, ViewError> {
        let tid = number(&mut self.tid, event).unwrap_or(-1);
        out.put_value(&text(&mut self.time, event));
        out.put(" ");
        out.put_value(&text(&mut self.process, event));
        out.put(&format!("({tid})\n"));
        self.around.add(event, tid);
        Ok(Flow::Go)
    }
    fn end(&mut self, _: Moment, _: &dyn Machine, out: &mut Output) -> Result<(), ViewError> {
        let (count, file) = (self.around.moments.len(), self.around.file.clone());
        out.put(&format!("\nSaving events around {count} entries to "));
        out.put_value(file.as_bytes());
        out.put("\n");
        self.around.save(out);
        Ok(())
    }
}
