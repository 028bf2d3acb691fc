//! One JSON object a line:
//!
//! ```json
//! {"num":7,"ts_ns":1470327477881730713,"cpu":0,"dir":"<","type":"openat","tid":20072,"proc.pid":20072,
//!  "proc.name":"cat","res":3,"args":{"fd":3,"name":"/etc/hosts","flags":"O_RDONLY"}}
//! ```
//! A field without a value is left out. Numbers of parameters are numbers unless they have names.

use nabe_event::field::event as e;
use nabe_event::raw::Event;
use nabe_event::{Fields, Value};

use crate::{Error, Export, field, json};

/// Keys and the fields behind them.
pub(crate) const FIELDS: &[(&str, &str)] = &[
    ("tid", "thread.tid"),
    ("proc.pid", "proc.pid"),
    ("proc.name", "proc.name"),
    ("proc.exepath", "proc.exepath"),
    ("user.uid", "user.uid"),
    ("container.id", "container.id"),
    ("container.name", "container.name"),
    ("k8s.pod.name", "k8s.pod.name"),
    ("fd.num", "fd.num"),
    ("fd.type", "fd.type"),
    ("fd.name", "fd.name"),
    ("res", "evt.rawres"),
    ("error", "evt.res"),
];

#[derive(Debug)]
pub(crate) struct Ndjson {
    fields: Vec<(&'static str, nabe_event::FieldId)>,
}

impl Default for Ndjson {
    fn default() -> Self {
        Self { fields: FIELDS.iter().map(|(key, name)| (*key, field::id(name))).collect() }
    }
}

impl Export for Ndjson {
    fn event(&mut self, event: &Event<'_>, fields: &dyn Fields, out: &mut Vec<u8>) -> Result<(), Error> {
        out.extend_from_slice(b"{\"num\":");
        json::number(out, field::number(fields, e::NUM).unwrap_or(0));
        out.extend_from_slice(b",\"ts_ns\":");
        json::number(out, event.ts_ns);
        out.extend_from_slice(b",\"cpu\":");
        json::number(out, event.cpu);
        out.extend_from_slice(if event.id.is_enter() { b",\"dir\":\">\"" } else { b",\"dir\":\"<\"" });
        out.extend_from_slice(b",\"type\":");
        json::string(out, &field::text(fields, e::TYPE).unwrap_or_default());
        for (key, id) in &self.fields {
            let value = fields.get(*id, None);
            // Success is in the result already.
            if *key == "error" && matches!(value, Value::Text(b"SUCCESS")) {
                continue;
            }
            member(out, key, &value);
        }
        out.extend_from_slice(b",\"args\":");
        arguments(event, fields, out);
        out.extend_from_slice(b"}\n");
        Ok(())
    }

    fn finish(&mut self, _: &mut Vec<u8>) -> Result<(), Error> {
        Ok(())
    }
}

fn member(out: &mut Vec<u8>, key: &str, value: &Value<'_>) {
    let start = out.len();
    out.push(b',');
    json::string(out, key.as_bytes());
    out.push(b':');
    match value {
        Value::Text(text) => json::string(out, text),
        Value::Int(number) => json::number(out, *number),
        Value::Uint(number) => json::number(out, *number),
        Value::Bool(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
        Value::Ip(address) => json::string(out, address.to_string().as_bytes()),
        _ => out.truncate(start),
    }
}

/// The parameters as an object.
pub(crate) fn arguments(event: &Event<'_>, fields: &dyn Fields, out: &mut Vec<u8>) {
    out.push(b'{');
    let mut any = false;
    for (position, (param, bytes)) in event.described().enumerate() {
        if bytes.is_empty() {
            continue;
        }
        if core::mem::replace(&mut any, true) {
            out.push(b',');
        }
        json::string(out, param.name.as_bytes());
        out.push(b':');
        if param.ty.is_integer() && param.symbols.is_none() {
            match param.ty.is_signed() {
                true => json::number(out, event.signed(position).unwrap_or(0)),
                false => json::number(out, event.unsigned(position).unwrap_or(0)),
            }
        } else {
            json::string(out, &field::argument(fields, param.name).unwrap_or_default());
        }
    }
    out.push(b'}');
}
