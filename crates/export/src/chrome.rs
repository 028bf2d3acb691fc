//! Chrome's trace event format: `{"traceEvents":[…]}`.
//!
//! A system call whose beginning was seen is a slice (`X`) from there to its end; any other event is
//! a moment (`i`) of its thread. Times are microseconds with three decimals.
//! Source: "Trace Event Format" (Google, 2016).

use std::collections::HashMap;
use std::io::Write as _;

use nabe_event::Fields;
use nabe_event::raw::Event;

use crate::field::{self, Who};
use crate::{Error, Export, json};

/// Threads that are named.
const MAX_THREADS: usize = 1 << 18;

#[derive(Debug, Default)]
pub(crate) struct Chrome {
    begun: bool,
    /// The names under which threads were told.
    named: HashMap<i64, Box<[u8]>>,
}

impl Chrome {
    fn next(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(if self.begun {
            b",\n"
        } else {
            b"{\"displayTimeUnit\":\"ns\",\"traceEvents\":[\n"
        });
        self.begun = true;
    }

    fn name(&mut self, who: &Who<'_>, out: &mut Vec<u8>) {
        let known = self.named.get(&who.tid).is_some_and(|name| **name == *who.name);
        if known || (self.named.len() >= MAX_THREADS && !self.named.contains_key(&who.tid)) {
            return;
        }
        self.named.insert(who.tid, (&*who.name).into());
        for what in ["process_name", "thread_name"] {
            if what == "process_name" && who.pid != who.tid {
                continue;
            }
            self.next(out);
            let _ = write!(
                out,
                "{{\"ph\":\"M\",\"name\":\"{what}\",\"pid\":{},\"tid\":{},\"args\":{{\"name\":",
                who.pid, who.tid
            );
            json::string(out, &who.name);
            out.extend_from_slice(b"}}");
        }
    }
}

fn micros(out: &mut Vec<u8>, ns: u64) {
    let _ = write!(out, "{}.{:03}", ns / 1000, ns % 1000);
}

impl Export for Chrome {
    fn event(&mut self, event: &Event<'_>, fields: &dyn Fields, out: &mut Vec<u8>) -> Result<(), Error> {
        if field::is_beginning(event) {
            return Ok(());
        }
        let who = Who::of(event, fields);
        self.name(&who, out);
        self.next(out);
        out.extend_from_slice(b"{\"name\":");
        json::string(out, &field::text(fields, field::id("evt.type")).unwrap_or_default());
        let latency = field::latency(event, fields);
        let _ = match latency {
            Some(_) => write!(out, ",\"ph\":\"X\",\"ts\":"),
            None => write!(out, ",\"ph\":\"i\",\"s\":\"t\",\"ts\":"),
        };
        micros(out, event.ts_ns.saturating_sub(latency.unwrap_or(0)));
        if let Some(latency) = latency {
            out.extend_from_slice(b",\"dur\":");
            micros(out, latency);
        }
        let _ = write!(out, ",\"pid\":{},\"tid\":{},\"args\":{{\"info\":", who.pid, who.tid);
        json::string(out, &field::text(fields, field::id("evt.args")).unwrap_or_default());
        out.extend_from_slice(b"}}");
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), Error> {
        if !self.begun {
            out.extend_from_slice(b"{\"traceEvents\":[");
        }
        out.extend_from_slice(b"\n]}\n");
        Ok(())
    }
}
