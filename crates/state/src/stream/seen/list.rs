//! Fields that speak of several descriptors at once, and those of addresses by name.

use std::io::Write as _;

use nabe_event::field::{descriptor as d, event as e};
use nabe_event::table::{Flags, ParamType};
use nabe_event::value::List;
use nabe_event::{FieldId, Missing, Value};

use super::{Seen, UNSET};
use crate::stream::descriptor::Descriptor;

/// Types of the descriptors that an event makes.
#[derive(Debug, Default)]
pub(super) struct Types(Vec<&'static str>);

/// Those of all, and of each by its number.
pub(super) type AllTypes = (Types, Vec<(i64, Types)>);

impl List for Types {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn get(&self, index: usize) -> Value<'_> {
        self.0.get(index).map_or(Value::Missing(Missing::Unset), |word| Value::Text(word.as_bytes()))
    }
}

impl Seen<'_> {
    /// The descriptors that a poll or select asks for, one behind the other.
    pub(super) fn of_fd_list(&self, field: FieldId) -> Value<'_> {
        let lists = || self.event.described().find(|(param, _)| param.ty == ParamType::FdList);
        let Some((_, bytes)) = lists() else { return UNSET };
        let Some((count, rest)) = bytes.split_first_chunk::<2>() else { return UNSET };
        let mut out = Vec::new();
        for entry in rest.chunks_exact(10).take(usize::from(u16::from_le_bytes(*count))) {
            let Some(fd) = entry.first_chunk::<8>().map(|fd| i64::from_le_bytes(*fd)) else { continue };
            let before = out.len();
            if before > 0 {
                out.push(b',');
            }
            let start = out.len();
            self.of_listed(field, fd, &mut out);
            if out.len() == start {
                out.truncate(before);
            }
        }
        if out.is_empty() { UNSET } else { self.keep(out) }
    }

    /// What is said of one of them; nothing where there is nothing to say.
    fn of_listed(&self, field: FieldId, fd: i64, out: &mut Vec<u8>) {
        let found = self.stream.descriptor(self.event.tid, fd);
        let connected = found.filter(|found| found.kind.is_connection());
        let _ = match field {
            e::FDLIST_NUMS => write!(out, "{fd}"),
            e::FDLIST_NAMES => {
                let name = found.map(|found| &*found.name).filter(|name| !name.is_empty());
                out.write_all(name.unwrap_or(b"<NA>"))
            }
            e::FDLIST_CIPS => connected.map_or(Ok(()), |found| write!(out, "{}", found.source().ip())),
            e::FDLIST_CPORTS => connected.map_or(Ok(()), |found| write!(out, "{}", found.source().port())),
            _ => {
                let server = found.filter(|found| found.kind.is_connection() || found.kind.is_server());
                match (server, field) {
                    (Some(found), e::FDLIST_SIPS) => write!(out, "{}", found.destination().ip()),
                    (Some(found), _) if found.kind.is_connection() => {
                        write!(out, "{}", found.destination().port())
                    }
                    _ => Ok(()),
                }
            }
        };
    }

    /// `fd.types`: of all descriptors that the event makes or works on, or of the one in brackets.
    pub(super) fn types(&self, arg: Option<&[u8]>) -> Value<'_> {
        let (all, each) = self.types.get_or_init(|| self.make_types());
        let found = match arg {
            None => Some(all),
            Some(text) => {
                let fd = core::str::from_utf8(text).ok().and_then(|text| text.parse::<i64>().ok());
                each.iter().find(|(known, _)| Some(*known) == fd).map(|(_, types)| types)
            }
        };
        found.filter(|types| !types.is_empty()).map_or(UNSET, |types| Value::List(types))
    }

    fn make_types(&self) -> AllTypes {
        let mut all = (Types::default(), Vec::new());
        for (at, (param, _)) in self.event.described().enumerate() {
            let is_fd = matches!(param.ty, ParamType::Fd | ParamType::Fd32);
            let Some(fd) = self.event.signed(at).filter(|fd| is_fd && *fd >= 0) else { continue };
            let found = self.stream.descriptor(self.event.tid, fd);
            let Some(word) = found.and_then(|found| found.kind.word()) else { continue };
            if !all.0.0.contains(&word) {
                all.0.0.push(word);
            }
            all.1.push((fd, Types(vec![word])));
        }
        all
    }

    /// Whether the event gave its descriptor another name.
    pub(super) fn name_changed(&self, found: &Descriptor) -> Value<'_> {
        // What was just made had no name before; a duplicate has that of the original.
        let id = self.event.id;
        let makes = !id.is_enter()
            && id.row().flags.has(Flags::CREATES_FD)
            && !matches!(id.name(), "dup" | "dup2" | "dup3" | "fcntl");
        let made = makes && self.event.signed(0) == Some(self.fd());
        let before = self.stream.renamed.as_deref().or(made.then_some(&[][..]));
        Value::Bool(before.is_some_and(|before| *before != *found.name))
    }

    /// The name of the address that `of` gives, as far as somebody told it.
    pub(super) fn address_name(&self, field: FieldId) -> Value<'_> {
        let of = match field {
            d::CIP_NAME => d::CIP,
            d::SIP_NAME => d::SIP,
            d::LIP_NAME => nabe_event::field::file::SRC_ADDR,
            _ => nabe_event::field::file::DST_ADDR,
        };
        match self.of_descriptor(of, None) {
            Value::Ip(address) => {
                self.stream.address_names.get(&address).map_or(UNSET, |name| Value::Text(name))
            }
            _ => UNSET,
        }
    }

    /// `evt.around[TIME]`: how many milliseconds the event lies away from it, rounded up: a filter asks
    /// whether that is at most so many.
    pub(super) fn around(&self, arg: Option<&[u8]>) -> Value<'_> {
        let ts = arg.and_then(|arg| core::str::from_utf8(arg).ok()?.parse::<u64>().ok());
        ts.map_or(UNSET, |ts| Value::Uint(ts.abs_diff(self.event.ts_ns).div_ceil(1_000_000)))
    }

    /// `evt.latency` on a scale of the logarithm: 1 for nothing, one more than the columns for 100 s.
    pub(super) fn quantized(&self, latency_ns: u64) -> Value<'_> {
        /// Columns of a terminal, of which sysdig takes the width of the one that it runs in.
        const COLUMNS: f64 = 80.0;
        const LONGEST: f64 = 11.0;
        if latency_ns == 0 {
            return UNSET;
        }
        #[allow(clippy::cast_precision_loss, reason = "a logarithm is taken")]
        let logarithm = (latency_ns as f64).log10().min(LONGEST);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 80")]
        let step = (logarithm * COLUMNS / LONGEST) as u64;
        Value::Uint(step + 1)
    }
}
