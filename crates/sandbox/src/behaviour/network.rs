//! Attempts to reach somebody, or to be reached.

use nabe_event::field::descriptor as d;
use serde::Serialize;

use super::{Behaviour, MAX_ENTRIES, number, text};
use crate::Seen;

/// An attempt to reach or to be reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Network {
    /// `connect`, `bind`, `listen`, `send`.
    pub kind: String,
    /// The other end, or the own one of `bind`.
    pub endpoint: String,
    /// The protocol, where it is known.
    pub protocol: String,
    /// What came of the last attempt: `SUCCESS` or an error.
    pub result: String,
    /// How often.
    pub attempts: u64,
    /// The first event about it.
    pub event: u64,
}

impl Behaviour {
    pub(super) fn connection(&mut self, seen: &Seen<'_>, name: &str, result: &str) {
        let fields = seen.fields;
        let kind = match name {
            "connect" | "bind" | "listen" => name,
            "sendto" | "sendmsg" | "sendmmsg" => "send",
            _ => return,
        };
        let family = text(fields, d::TYPE, None);
        if !matches!(&*family, "ipv4" | "ipv6") {
            return;
        }
        let endpoint = match (text(fields, d::SIP, None), number(fields, d::SPORT)) {
            (address, Some(port)) if !address.is_empty() && address.contains(':') => {
                format!("[{address}]:{port}")
            }
            (address, Some(port)) if !address.is_empty() => format!("{address}:{port}"),
            _ => text(fields, d::NAME, None),
        };
        if endpoint.is_empty() {
            return;
        }
        let key = (kind.to_owned(), endpoint.clone());
        let at = match self.index.network.get(&key) {
            Some(at) => *at,
            None if self.network.len() >= MAX_ENTRIES => {
                self.left_out += 1;
                return;
            }
            None => {
                self.index.network.insert(key, self.network.len());
                self.network.push(Network {
                    kind: kind.to_owned(),
                    endpoint,
                    protocol: text(fields, d::L4PROTO, None),
                    event: seen.number,
                    ..Network::default()
                });
                self.network.len() - 1
            }
        };
        if let Some(entry) = self.network.get_mut(at) {
            entry.attempts += 1;
            entry.result = result.to_owned();
        }
    }
}
