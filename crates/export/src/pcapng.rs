//! Packets made of what sockets read and wrote (pcapng, raw IP).
//!
//! System calls have no packets: headers are synthesised. A TCP flow gets a handshake before its first
//! payload, sequence and acknowledgement numbers that count every byte (also those beyond the snap
//! length, which stand in the length of the packet and not in its captured bytes), and a FIN when its
//! descriptor is closed. A flow that both ends of this machine read and write is taken from the end
//! that was seen first. UDP and what is behind a socket with unknown ends are a packet for each call.
//!
//! Layout: pcapng (draft-ietf-opsawg-pcapng) section 4.1 to 4.3, LINKTYPE_RAW (101); each packet's
//! comment names the process.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::collections::HashMap;

use nabe_event::raw::Event;
use nabe_event::table::Flags;
use nabe_event::{FieldId, Fields, Value};

use crate::field::{self, Who};
use crate::{Error, Export};

/// Flows that are kept apart.
const MAX_FLOWS: usize = 1 << 16;
/// Bytes of payload that one packet may have, in front of which the headers still fit.
const MAX_PAYLOAD: usize = 65_000;
const LINKTYPE_RAW: u16 = 101;

const FIN: u8 = 1;
const SYN: u8 = 2;
const PSH: u8 = 8;
const ACK: u8 = 16;

/// The two ends, the client's first, and whether it is TCP.
type Key = (SocketAddr, SocketAddr, bool);

/// What is known of a flow.
#[derive(Debug)]
struct Flow {
    /// Which end is listened to.
    server: bool,
    /// The next sequence number of the client and of the server.
    next: [u32; 2],
    opened: bool,
}

#[derive(Debug)]
pub(crate) struct Pcapng {
    begun: bool,
    flows: HashMap<Key, Flow>,
    left_out: u64,
    fields: Ids,
}

/// Fields that are read.
#[derive(Debug)]
struct Ids {
    cip: FieldId,
    sip: FieldId,
    cport: FieldId,
    sport: FieldId,
    l4proto: FieldId,
    is_server: FieldId,
    buffer: FieldId,
    result: FieldId,
}

impl Default for Pcapng {
    fn default() -> Self {
        let id = field::id;
        let fields = Ids {
            cip: id("fd.cip"),
            sip: id("fd.sip"),
            cport: id("fd.cport"),
            sport: id("fd.sport"),
            l4proto: id("fd.l4proto"),
            is_server: id("fd.is_server"),
            buffer: id("evt.buffer"),
            result: id("evt.rawres"),
        };
        Self { begun: false, flows: HashMap::new(), left_out: 0, fields }
    }
}

/// A packet before it has headers.
struct Packet<'a> {
    ts_ns: u64,
    from: SocketAddr,
    to: SocketAddr,
    /// Bytes that are there, of so many.
    payload: &'a [u8],
    whole: usize,
    comment: &'a str,
}

impl Pcapng {
    fn flow(&self, fields: &dyn Fields) -> Option<(Key, bool)> {
        let ids = &self.fields;
        let port = |id| u16::try_from(field::number(fields, id)?).ok();
        let client = SocketAddr::new(field::ip(fields, ids.cip)?, port(ids.cport)?);
        let server = SocketAddr::new(field::ip(fields, ids.sip)?, port(ids.sport)?);
        if client.is_ipv4() != server.is_ipv4() {
            return None;
        }
        let tcp = match fields.get(ids.l4proto, None) {
            Value::Text(b"tcp") => true,
            Value::Text(b"udp") => false,
            _ => return None,
        };
        Some(((client, server, tcp), field::number(fields, ids.is_server) == Some(1)))
    }

    fn begin(&mut self, out: &mut Vec<u8>) {
        if core::mem::replace(&mut self.begun, true) {
            return;
        }
        block(out, 0x0a0d_0d0a, |body| {
            body.extend_from_slice(&0x1a2b_3c4d_u32.to_le_bytes());
            body.extend_from_slice(&1_u16.to_le_bytes());
            body.extend_from_slice(&0_u16.to_le_bytes());
            body.extend_from_slice(&u64::MAX.to_le_bytes());
            option(body, 4, b"nabe");
            option(body, 0, b"");
        });
        block(out, 1, |body| {
            body.extend_from_slice(&LINKTYPE_RAW.to_le_bytes());
            body.extend_from_slice(&[0; 2]);
            body.extend_from_slice(&0_u32.to_le_bytes());
            option(body, 2, b"sockets");
            // Times are nanoseconds.
            option(body, 9, &[9]);
            option(body, 0, b"");
        });
    }

    /// A call that read or wrote.
    fn transfer(&mut self, event: &Event<'_>, fields: &dyn Fields, out: &mut Vec<u8>) {
        let row = event.id.row();
        let reads = row.flags.has(Flags::READS_FROM_FD);
        let Some(result) = field::number(fields, self.fields.result).filter(|result| *result > 0) else {
            return;
        };
        let Some((key, server)) = self.flow(fields) else { return };
        let Some(flow) = flow_of(&mut self.flows, key, server) else {
            self.left_out += 1;
            return;
        };
        if flow.server != server {
            return;
        }
        let payload = match fields.get(self.fields.buffer, None) {
            Value::Text(bytes) => bytes,
            _ => &[],
        };
        let whole = usize::try_from(result).unwrap_or(0).min(1 << 30);
        let payload = payload.get(..whole).unwrap_or(payload);
        // What a server reads its client sent.
        let from_client = reads == server;
        let (client, peer, tcp) = key;
        let (from, to) = if from_client { (client, peer) } else { (peer, client) };
        let who = Who::of(event, fields);
        let name = String::from_utf8_lossy(&who.name).into_owned();
        let comment = format!("{name} ({}) {}", who.pid, event.id.name());
        if !tcp {
            let packet = Packet {
                ts_ns: event.ts_ns,
                from,
                to,
                payload,
                whole: whole.min(MAX_PAYLOAD),
                comment: &comment,
            };
            return packet.udp(out);
        }
        if !core::mem::replace(&mut flow.opened, true) {
            flow.handshake(event.ts_ns, key, out);
        }
        let [mine, theirs] = if from_client { [0, 1] } else { [1, 0] };
        let mut sent = 0;
        while sent < whole {
            let len = (whole - sent).min(MAX_PAYLOAD);
            let rest = payload.get(sent..).unwrap_or_default();
            let part = rest.get(..len).unwrap_or(rest);
            let packet =
                Packet { ts_ns: event.ts_ns, from, to, payload: part, whole: len, comment: &comment };
            packet.tcp(out, flow.next[mine], flow.next[theirs], PSH | ACK);
            flow.next[mine] = flow.next[mine].wrapping_add(u32::try_from(len).unwrap_or(0));
            sent += len;
        }
    }

    /// A close of a flow's descriptor.
    fn close(&mut self, event: &Event<'_>, fields: &dyn Fields, out: &mut Vec<u8>) {
        let Some((key, server)) = self.flow(fields) else { return };
        let ended = self.flows.get(&key).is_some_and(|flow| flow.server == server);
        let Some(flow) = self.flows.remove(&key).filter(|_| ended) else { return };
        let (client, peer, true) = key else { return };
        if !flow.opened {
            return;
        }
        let (from, to, mine) = if server { (peer, client, 1) } else { (client, peer, 0) };
        let packet = Packet { ts_ns: event.ts_ns, from, to, payload: &[], whole: 0, comment: "" };
        packet.tcp(out, flow.next[mine], flow.next[1 - mine], FIN | ACK);
    }
}

fn flow_of(flows: &mut HashMap<Key, Flow>, key: Key, server: bool) -> Option<&mut Flow> {
    if flows.len() >= MAX_FLOWS && !flows.contains_key(&key) {
        return None;
    }
    Some(flows.entry(key).or_insert(Flow { server, next: [1, 1], opened: false }))
}

impl Flow {
    fn handshake(&self, ts_ns: u64, (client, server, _): Key, out: &mut Vec<u8>) {
        let packet = |from, to| Packet { ts_ns, from, to, payload: &[], whole: 0, comment: "" };
        packet(client, server).tcp(out, 0, 0, SYN);
        packet(server, client).tcp(out, 0, 1, SYN | ACK);
        packet(client, server).tcp(out, 1, 1, ACK);
    }
}

impl Packet<'_> {
    fn tcp(&self, out: &mut Vec<u8>, sequence: u32, acknowledged: u32, flags: u8) {
        let mut head = Vec::with_capacity(20);
        head.extend_from_slice(&self.from.port().to_be_bytes());
        head.extend_from_slice(&self.to.port().to_be_bytes());
        head.extend_from_slice(&sequence.to_be_bytes());
        head.extend_from_slice(&(if flags & ACK == 0 { 0 } else { acknowledged }).to_be_bytes());
        head.extend_from_slice(&[5 << 4, flags, 0xff, 0xff, 0, 0, 0, 0]);
        self.write(out, 6, head, 16);
    }

    fn udp(&self, out: &mut Vec<u8>) {
        let mut head = Vec::with_capacity(8);
        head.extend_from_slice(&self.from.port().to_be_bytes());
        head.extend_from_slice(&self.to.port().to_be_bytes());
        head.extend_from_slice(&u16::try_from(self.whole + 8).unwrap_or(u16::MAX).to_be_bytes());
        head.extend_from_slice(&[0, 0]);
        self.write(out, 17, head, 6);
    }

    /// The IP packet around a transport header whose checksum stands at `checksum_at`.
    fn write(&self, out: &mut Vec<u8>, protocol: u8, mut head: Vec<u8>, checksum_at: usize) {
        let len = head.len() + self.whole;
        let mut packet = match (self.from.ip(), self.to.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => ipv4(from, to, protocol, len),
            (from, to) => ipv6(mapped(from), mapped(to), protocol, len),
        };
        // Of a packet that is not whole nobody can check it.
        if self.payload.len() == self.whole {
            let sum = transport_checksum(self.from.ip(), self.to.ip(), protocol, &head, self.payload);
            if let Some(place) = head.get_mut(checksum_at..checksum_at + 2) {
                place.copy_from_slice(&sum.to_be_bytes());
            }
        }
        packet.extend_from_slice(&head);
        packet.extend_from_slice(self.payload);
        let original = packet.len() - self.payload.len() + self.whole;
        block(out, 6, |body| {
            body.extend_from_slice(&0_u32.to_le_bytes());
            let (high, low) = (self.ts_ns >> 32, self.ts_ns & u64::from(u32::MAX));
            for half in [high, low, packet.len() as u64, original as u64] {
                body.extend_from_slice(&u32::try_from(half).unwrap_or(u32::MAX).to_le_bytes());
            }
            body.extend_from_slice(&packet);
            body.resize(body.len().next_multiple_of(4), 0);
            if !self.comment.is_empty() {
                option(body, 1, self.comment.as_bytes());
                option(body, 0, b"");
            }
        });
    }
}

fn mapped(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

fn ipv4(from: Ipv4Addr, to: Ipv4Addr, protocol: u8, len: usize) -> Vec<u8> {
    let mut head = vec![0x45, 0];
    head.extend_from_slice(&u16::try_from(len + 20).unwrap_or(u16::MAX).to_be_bytes());
    head.extend_from_slice(&[0, 0, 0x40, 0, 64, protocol, 0, 0]);
    head.extend_from_slice(&from.octets());
    head.extend_from_slice(&to.octets());
    let sum = !folded(sum(&head));
    if let Some(place) = head.get_mut(10..12) {
        place.copy_from_slice(&sum.to_be_bytes());
    }
    head
}

fn ipv6(from: Ipv6Addr, to: Ipv6Addr, protocol: u8, len: usize) -> Vec<u8> {
    let mut head = vec![0x60, 0, 0, 0];
    head.extend_from_slice(&u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes());
    head.extend_from_slice(&[protocol, 64]);
    head.extend_from_slice(&from.octets());
    head.extend_from_slice(&to.octets());
    head
}

/// The sum of 16-bit words (RFC 1071).
fn sum(bytes: &[u8]) -> u64 {
    let word = |pair: &[u8]| {
        u64::from(pair.first().copied().unwrap_or(0)) << 8 | u64::from(pair.get(1).copied().unwrap_or(0))
    };
    bytes.chunks(2).map(word).sum()
}

fn folded(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).unwrap_or(0)
}

fn transport_checksum(from: IpAddr, to: IpAddr, protocol: u8, head: &[u8], payload: &[u8]) -> u16 {
    let octets = |address: IpAddr| match address {
        IpAddr::V4(address) => sum(&address.octets()),
        IpAddr::V6(address) => sum(&address.octets()),
    };
    let len = (head.len() + payload.len()) as u64;
    // Headers have an even length, so that the payload's words are aligned.
    let all = octets(from) + octets(to) + u64::from(protocol) + len + sum(head) + sum(payload);
    match !folded(all) {
        // For UDP zero means that there is none.
        0 if protocol == 17 => 0xffff,
        sum => sum,
    }
}

fn block(out: &mut Vec<u8>, kind: u32, fill: impl FnOnce(&mut Vec<u8>)) {
    let mut body = Vec::with_capacity(256);
    fill(&mut body);
    body.resize(body.len().next_multiple_of(4), 0);
    let len = u32::try_from(body.len() + 12).unwrap_or(u32::MAX).to_le_bytes();
    out.extend_from_slice(&kind.to_le_bytes());
    out.extend_from_slice(&len);
    out.extend_from_slice(&body);
    out.extend_from_slice(&len);
}

fn option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    body.extend_from_slice(&code.to_le_bytes());
    body.extend_from_slice(&u16::try_from(value.len()).unwrap_or(0).to_le_bytes());
    body.extend_from_slice(value);
    body.resize(body.len().next_multiple_of(4), 0);
}

impl Export for Pcapng {
    fn event(&mut self, event: &Event<'_>, fields: &dyn Fields, out: &mut Vec<u8>) -> Result<(), Error> {
        self.begin(out);
        let flags = event.id.row().flags;
        let moves = flags.has(Flags::READS_FROM_FD) || flags.has(Flags::WRITES_TO_FD);
        if moves && !event.id.is_enter() {
            self.transfer(event, fields, out);
        } else if event.id.name() == "close" && !event.id.is_enter() {
            self.close(event, fields, out);
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), Error> {
        self.begin(out);
        Ok(())
    }

    fn left_out(&self) -> u64 {
        self.left_out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_rfc_1071() {
        // The header of RFC 1071's often quoted example.
        let head = ipv4("172.16.10.99".parse().unwrap(), "172.16.10.12".parse().unwrap(), 6, 40);
        assert_eq!(folded(sum(&head)), 0xffff);
        let (from, to) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        let head = [0, 53, 0, 53, 0, 9, 0, 0];
        let check = transport_checksum(from, to, 17, &head, b"a");
        let mut whole = head;
        whole[6..8].copy_from_slice(&check.to_be_bytes());
        assert_eq!(transport_checksum(from, to, 17, &whole, b"a"), 0xffff);
    }

    #[test]
    fn blocks_have_their_length_twice() {
        let mut out = Vec::new();
        Pcapng::default().finish(&mut out).unwrap();
        let mut rest = out.as_slice();
        let mut kinds = Vec::new();
        while !rest.is_empty() {
            let number = |at: usize| u32::from_le_bytes(rest[at..at + 4].try_into().unwrap());
            let len = number(4) as usize;
            assert!(len.is_multiple_of(4) && number(len - 4) as usize == len);
            kinds.push(number(0));
            rest = &rest[len..];
        }
        assert_eq!(kinds, [0x0a0d_0d0a, 1]);
    }
}
