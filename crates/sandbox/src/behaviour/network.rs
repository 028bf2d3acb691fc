//! Attempts to reach somebody, or to be reached.

use nabe_event::field::{descriptor as d, event as e};
use nabe_event::{Fields, Value};
use serde::Serialize;

use super::{Behaviour, MAX_ENTRIES, dns, number, text};
use crate::Seen;

/// An attempt to reach or to be reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Network {
    /// `connect`, `bind`, `listen`, `send`, or `dns` for a name that was asked for.
    pub kind: String,
    /// The other end, the own one of `bind`, the name of `dns`.
    pub endpoint: String,
    /// The protocol, where it is known.
    pub protocol: String,
    /// What came of the last attempt: `SUCCESS`, an error, or nothing when it never ended.
    pub result: String,
    /// How often.
    pub attempts: u64,
    /// The first event about it.
    pub event: u64,
}

/// Attempts of threads that have not ended.
const MAX_PENDING: usize = 4096;

impl Behaviour {
    /// Takes an attempt in. A connect has two events: the first counts it, for it may never end; the
    /// second says what came of it.
    pub(super) fn connection(&mut self, seen: &Seen<'_>, name: &str, result: &str) {
        let fields = seen.fields;
        let kind = match name {
            "connect" | "bind" | "listen" => name,
            "sendto" | "sendmsg" | "sendmmsg" | "write" => "send",
            _ => return,
        };
        let begins = seen.event.id.is_enter();
        if !matches!(&*text(fields, d::TYPE, None), "ipv4" | "ipv6") || (begins && kind != "connect") {
            return;
        }
        if kind == "send"
            && let Some(asked) = payload(fields).and_then(dns::question)
        {
            self.attempt("dns", asked.name, "udp".into(), seen.number, result);
        }
        if name == "write" {
            return;
        }
        if !begins && let Some(at) = self.index.pending.remove(&seen.event.tid) {
            if let Some(entry) = self.network.get_mut(at) {
                entry.result = result.to_owned();
                if entry.protocol.is_empty() {
                    entry.protocol = known(text(fields, d::L4PROTO, None));
                }
            }
            return;
        }
        let Some(endpoint) = endpoint(fields, kind) else { return };
        let protocol = known(text(fields, d::L4PROTO, None));
        let at = self.attempt(kind, endpoint, protocol, seen.number, result);
        if begins
            && let Some(at) = at
            && self.index.pending.len() < MAX_PENDING
        {
            self.index.pending.insert(seen.event.tid, at);
        }
    }

    /// Counts an attempt; where its entry stands.
    fn attempt(
        &mut self,
        kind: &str,
        endpoint: String,
        protocol: String,
        event: u64,
        result: &str,
    ) -> Option<usize> {
        let key = (kind.to_owned(), endpoint.clone());
        let at = match self.index.network.get(&key) {
            Some(at) => *at,
            None if self.network.len() >= MAX_ENTRIES => {
                self.left_out += 1;
                return None;
            }
            None => {
                self.index.network.insert(key, self.network.len());
                let kind = kind.to_owned();
                self.network.push(Network { kind, endpoint, protocol, event, ..Network::default() });
                self.network.len() - 1
            }
        };
        if let Some(entry) = self.network.get_mut(at) {
            entry.attempts += 1;
            entry.result = result.to_owned();
        }
        Some(at)
    }
}

fn known(text: String) -> String {
    if matches!(&*text, "<NA>" | "NULL" | "na") { String::new() } else { text }
}

/// What is sent.
fn payload(fields: &dyn Fields) -> Option<&[u8]> {
    match fields.get(e::BUFFER, None) {
        Value::Text(bytes) => Some(bytes),
        _ => None,
    }
}

/// Whom it is about. What was asked for is known even where it came to nothing.
fn endpoint(fields: &dyn Fields, kind: &str) -> Option<String> {
    let asked = match kind {
        "connect" | "bind" => known(text(fields, e::ARG, Some(b"addr"))),
        _ => String::new(),
    };
    let shown = |address: &str, port: &str| {
        if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
    };
    if let Some((address, port)) = asked.rsplit_once(':') {
        return Some(shown(address, port));
    }
    match (known(text(fields, d::SIP, None)), number(fields, d::SPORT)) {
        (address, Some(port)) if !address.is_empty() => Some(shown(&address, &port.to_string())),
        _ => Some(known(text(fields, d::NAME, None))).filter(|name| !name.is_empty()),
    }
}
