//! Fields of the descriptor that an event works on.

use std::net::{IpAddr, SocketAddr};

use nabe_event::field::{descriptor as d, file as f};
use nabe_event::{FieldId, Value};

use super::{Seen, UNSET, word};
use crate::stream::AT_FDCWD;
use crate::stream::descriptor::{Descriptor, Kind, Role, Transport};
use crate::stream::path::{is_printable, join};

impl Seen<'_> {
    pub(super) fn of_descriptor(&self, field: FieldId, arg: Option<&[u8]>) -> Value<'_> {
        if !self.has_fd() {
            return UNSET;
        }
        match field {
            f::FD => return Value::Int(self.fd()),
            d::UID => return self.keep(format!("{}{}", self.event.tid, self.fd())),
            d::TYPES => return self.types(arg),
            d::CIP_NAME | d::SIP_NAME | d::LIP_NAME | d::RIP_NAME => return self.address_name(field),
            _ => {}
        }
        let Some(found) = self.descriptor() else { return self.of_no_descriptor(field) };
        match field {
            d::TYPE => word(found.kind.word()),
            d::TYPECHAR => Value::Text(found.kind.letter().as_bytes()),
            d::NAME | f::PATH | d::CONTAINERNAME if self.is_failed_connect() => {
                // The socket is not connected: only the event says to what it was to be.
                match (field, self.argument_text("tuple")) {
                    (d::CONTAINERNAME, Value::Text(tuple)) => self.in_container(tuple),
                    (_, tuple) => tuple,
                }
            }
            d::NAME | f::PATH => self.keep(self.name_of(found)),
            d::NAMERAW => Value::Text(found.raw_name.as_ref().unwrap_or(&found.name)),
            d::CONTAINERNAME => self.in_container(&self.name_of(found)),
            d::DIRECTORY | d::CONTAINERDIRECTORY | d::FILENAME => self.part_of_path(field, found),
            d::L4PROTO => word(Some(found.protocol().word().unwrap_or("<NA>"))),
            d::SOCKFAMILY => word(match found.kind {
                Kind::Unix => Some("unix"),
                kind if kind.is_connection() || kind.is_server() => Some("ip"),
                _ => None,
            }),
            d::IS_SERVER if found.kind.is_server() => Value::Bool(true),
            d::IS_SERVER if found.kind.is_connection() => {
                Value::Bool(self.is_local(found.destination().ip()))
            }
            d::IS_SERVER => Value::Bool(false),
            d::CONNECTED => Value::Bool(found.connected),
            d::NAME_CHANGED => self.name_changed(found),
            d::DEV => Value::Int(i64::from(found.device)),
            // As the kernel packs them (new_encode_dev in include/linux/kdev_t.h).
            d::DEV_MAJOR => Value::Int(i64::from(found.device >> 8 & 0xfff)),
            d::DEV_MINOR => Value::Int(i64::from(found.device & 0xff | found.device >> 12 & 0xf_ff00)),
            f::INODE if found.inode != 0 => Value::Uint(found.inode),
            d::IS_UPPER_LAYER => Value::Bool(found.open_flags & 1 << 15 != 0),
            d::IS_LOWER_LAYER => Value::Bool(found.open_flags & 1 << 16 != 0),
            _ => self.of_ends(field, arg == Some(d::WHATEVER_ROLE), found),
        }
    }

    fn is_failed_connect(&self) -> bool {
        self.event.id.name() == "connect" && self.result().is_some_and(|result| result < 0)
    }

    fn in_container(&self, text: &[u8]) -> Value<'_> {
        let id = self.thread.map(|thread| &*thread.container).unwrap_or_default();
        self.keep([id, b":", text].concat())
    }

    fn part_of_path(&self, field: FieldId, found: &Descriptor) -> Value<'_> {
        let is_file = found.kind == Kind::File;
        if !is_file && (found.kind != Kind::Directory || field == d::FILENAME) {
            return UNSET;
        }
        let name = printable(&found.name);
        let slash = name.iter().rposition(|byte| *byte == b'/');
        let last = slash.is_some_and(|slash| slash + 1 == name.len());
        if field == d::FILENAME {
            return match slash {
                Some(slash) if !last => self.keep(name.get(slash + 1..).unwrap_or_default()),
                Some(_) => self.keep(name),
                None => Value::Text(b"/"),
            };
        }
        let directory = match slash {
            _ if !is_file => name.as_slice(),
            Some(slash @ 1..) if !last => name.get(..slash).unwrap_or_default(),
            Some(1..) => &name,
            _ => b"/",
        };
        if field == d::CONTAINERDIRECTORY { self.in_container(directory) } else { self.keep(directory) }
    }

    fn of_ends(&self, field: FieldId, whatever_role: bool, found: &Descriptor) -> Value<'_> {
        let server = found.kind.is_server();
        if !server && (!found.kind.is_connection() || found.role == Role::None && !whatever_role) {
            return UNSET;
        }
        let local = if self.is_local(found.source().ip()) { found.source() } else { found.destination() };
        let remote = if local == found.source() { found.destination() } else { found.source() };
        let client = (!server).then_some(found.source());
        let end = match field {
            d::CIP | d::CNET | d::CPORT | d::CPROTO => client,
            d::SIP | d::SNET | d::SPORT | d::SPROTO => Some(found.destination()),
            f::SRC_ADDR | f::SRC_PORT | d::LNET | d::LPROTO if !server => Some(local),
            f::DST_ADDR | f::DST_PORT | d::RNET | d::RPROTO if !server => Some(remote),
            _ => None,
        };
        let Some(end) = end else { return UNSET };
        self.end(field, end, found.transport)
    }

    /// The name that a descriptor is shown under.
    fn name_of(&self, found: &Descriptor) -> Vec<u8> {
        let named = self.stream.services.as_ref().and_then(|services| services.name_of(found));
        named.unwrap_or_else(|| printable(&found.name))
    }

    fn end(&self, field: FieldId, end: SocketAddr, transport: Transport) -> Value<'_> {
        match field {
            d::CPORT | d::SPORT | f::SRC_PORT | f::DST_PORT => Value::Uint(u64::from(end.port())),
            d::CPROTO | d::SPROTO | d::LPROTO | d::RPROTO => {
                let services = self.stream.services.as_ref();
                match services.and_then(|services| services.name(end.port(), transport)) {
                    Some(name) => Value::Text(name.as_bytes()),
                    None => self.keep(end.port().to_string()),
                }
            }
            _ => Value::Ip(end.ip()),
        }
    }

    /// Whether an address is one of this machine, or of the container.
    fn is_local(&self, address: IpAddr) -> bool {
        if address.is_loopback() || self.stream.addresses.contains(&address) {
            return true;
        }
        self.container().is_some_and(|container| container.ip.parse() == Ok(address))
    }

    /// What the event itself says where nothing is known of its descriptor: a failed open has none,
    /// but a name.
    fn of_no_descriptor(&self, field: FieldId) -> Value<'_> {
        let id = self.event.id;
        if field == d::TYPECHAR {
            return Value::Text(made_by(id.name()).letter().as_bytes());
        }
        let opens = matches!(id.name(), "open" | "openat" | "openat2" | "creat");
        let Some((at, param)) = id.row().param("name").filter(|_| opens) else { return UNSET };
        let Some(name) = self.event.text(at) else { return UNSET };
        let dirfd = id.row().param("dirfd").and_then(|(at, _)| self.event.signed(at)).unwrap_or(AT_FDCWD);
        let _ = param;
        let whole = join(&self.stream.base(self.event.tid, dirfd, name), name);
        match field {
            d::NAME => self.keep(whole),
            d::NAMERAW => Value::Text(name),
            d::CONTAINERNAME => self.in_container(&whole),
            d::DIRECTORY | d::CONTAINERDIRECTORY | d::FILENAME => {
                self.part_of_path(field, &Descriptor::named(Kind::File, &whole))
            }
            _ => UNSET,
        }
    }
}

/// What a system call of this name makes.
fn made_by(name: &str) -> Kind {
    match name {
        "open" | "openat" | "openat2" | "creat" => Kind::File,
        "socket" | "accept" | "accept4" => Kind::Ipv4,
        "pipe" | "pipe2" => Kind::Fifo,
        "eventfd" | "eventfd2" => Kind::Event,
        "signalfd" | "signalfd4" => Kind::Signal,
        "timerfd_create" => Kind::Timer,
        "inotify_init" | "inotify_init1" => Kind::Inotify,
        _ => Kind::Unknown,
    }
}

fn printable(name: &[u8]) -> Vec<u8> {
    name.iter().copied().filter(|byte| is_printable(*byte)).collect()
}
