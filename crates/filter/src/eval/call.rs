//! What functions compute. Their names and types stand in `resolve::function`.

use core::net::IpAddr;
use std::borrow::Cow;

use super::text;
use super::value::{OUT_OF_RANGE, V, float, ordering};
use crate::cel::literal;
use crate::ir::{Func, Net, Order};

/// The result of a function. An argument that is absent makes the result absent.
pub(crate) fn call<'e>(func: Func, args: &[V<'e>]) -> V<'e> {
    if let Some(why) = args.iter().find_map(|arg| if let V::Missing(why) = arg { Some(*why) } else { None }) {
        return V::Missing(why);
    }
    let result = match (func, args) {
        (Func::Sysdig(transform), args) => crate::sysdig::transform::apply(transform, args),
        (Func::Size, [of]) => size(of),
        (Func::Greatest | Func::Least, args) => extreme(func, args),
        (Func::Abs, [V::Int(n)]) => Some(V::int(n.checked_abs())),
        (Func::Abs, [V::Float(n)]) => Some(V::Float(n.abs())),
        (Func::Ceil, [n]) => float(n).map(|n| V::Float(n.ceil())),
        (Func::Floor, [n]) => float(n).map(|n| V::Float(n.floor())),
        (Func::Round, [n]) => float(n).map(|n| V::Float(n.round())),
        (Func::BitNot, [V::Int(a)]) => Some(if *a < 0 { V::Int(!a) } else { V::Int(i128::from(!low(*a))) }),
        (_, [V::Int(a), V::Int(b)]) => bits(func, *a, *b),
        (Func::IsIp, [V::Text(text)]) => Some(V::Bool(address(text).is_some())),
        (_, [V::Ip(ip)]) => ip_test(func, *ip).or_else(|| convert(func, &args[0])),
        (Func::NetContains, [V::Net(net), V::Ip(ip)]) => Some(V::Bool(net.contains(*ip))),
        (Func::Hours, [V::Int(ns)]) => Some(V::Int(ns / 3_600_000_000_000)),
        (Func::Minutes, [V::Int(ns)]) => Some(V::Int(ns / 60_000_000_000)),
        (Func::Seconds, [V::Int(ns)]) => Some(V::Int(ns / 1_000_000_000)),
        (Func::Milliseconds, [V::Int(ns)]) => Some(V::Int(ns / 1_000_000)),
        (_, [value]) => convert(func, value).or_else(|| text::call(func, args)),
        _ => text::call(func, args),
    };
    result.unwrap_or(V::Missing(OUT_OF_RANGE))
}

fn size(of: &V<'_>) -> Option<V<'static>> {
    let size = match of {
        V::Text(text) => text::length(text),
        V::List(list) => list.len(),
        V::Map(map) => map.len(),
        _ => return None,
    };
    Some(V::int(i128::try_from(size).ok()))
}

fn extreme<'e>(func: Func, args: &[V<'e>]) -> Option<V<'e>> {
    let order = if func == Func::Greatest { Order::Gt } else { Order::Lt };
    let better = |a: &V<'_>, b: &V<'_>| ordering(a, b).is_some_and(|found| super::value::holds(order, found));
    let mut items: Vec<V<'e>> = match args {
        [V::List(list)] => (0..list.len()).map(|at| list.get(at).into_owned()).collect(),
        args => args.to_vec(),
    };
    let mut best = items.pop()?;
    while let Some(item) = items.pop() {
        if better(&item, &best) {
            best = item;
        }
    }
    Some(best)
}

/// The low 64 bits.
fn low(n: i128) -> u64 {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bits are what is wanted")]
    let bits = n as u64;
    bits
}

fn bits(func: Func, a: i128, b: i128) -> Option<V<'static>> {
    // Negative numbers keep their sign, all others are bits of a u64.
    let shift = u32::try_from(b).ok();
    let out = match func {
        Func::BitAnd => a & b,
        Func::BitOr => a | b,
        Func::BitXor => a ^ b,
        Func::ShiftLeft => low(a).checked_shl(shift?).unwrap_or(0).into(),
        Func::ShiftRight => low(a).checked_shr(shift?).unwrap_or(0).into(),
        _ => return None,
    };
    Some(V::int(Some(out)))
}

fn ip_test(func: Func, ip: IpAddr) -> Option<V<'static>> {
    Some(match func {
        Func::IpFamily => V::Int(if ip.is_ipv4() { 4 } else { 6 }),
        Func::IpIsLoopback => V::Bool(ip.is_loopback()),
        Func::IpIsUnspecified => V::Bool(ip.is_unspecified()),
        Func::IpIsMulticast => V::Bool(ip.is_multicast()),
        Func::IpIsPrivate => V::Bool(match ip {
            IpAddr::V4(v4) => v4.is_private(),
            IpAddr::V6(v6) => v6.is_unique_local(),
        }),
        _ => return None,
    })
}

/// An address in a text; IPv4-mapped ones as IPv4.
pub(crate) fn address(text: &[u8]) -> Option<IpAddr> {
    core::str::from_utf8(text).ok()?.parse().ok().map(|ip: IpAddr| ip.to_canonical())
}

/// Conversions from one type to another.
fn convert(func: Func, value: &V<'_>) -> Option<V<'static>> {
    let utf8 = |text: &[u8]| core::str::from_utf8(text).ok().map(str::to_owned);
    Some(match (func, value) {
        (Func::ToInt, V::Int(n)) => V::int(i64::try_from(*n).ok().map(Into::into)),
        (Func::ToUint, V::Int(n)) => V::int(u64::try_from(*n).ok().map(Into::into)),
        (Func::ToInt | Func::ToUint, V::Float(n)) => {
            #[allow(clippy::cast_possible_truncation, reason = "checked before")]
            let whole = (n.is_finite() && n.abs() < 1e20).then(|| n.trunc() as i128);
            return convert(func, &V::Int(whole?));
        }
        (Func::ToInt | Func::ToUint, V::Text(text)) => {
            let number: i128 = utf8(text)?.parse().ok()?;
            return convert(func, &V::Int(number));
        }
        (Func::ToInt, V::Bool(value)) => V::Int((*value).into()),
        (Func::ToFloat, V::Text(text)) => V::Float(utf8(text)?.parse().ok()?),
        (Func::ToFloat, number) => V::Float(float(number)?),
        (Func::ToBool, V::Bool(value)) => V::Bool(*value),
        (Func::ToBool, V::Text(text)) => match utf8(text)?.as_str() {
            "true" | "True" | "TRUE" | "t" | "1" => V::Bool(true),
            "false" | "False" | "FALSE" | "f" | "0" => V::Bool(false),
            _ => return None,
        },
        (Func::ToIp, V::Text(text)) => V::Ip(address(text)?),
        (Func::ToIp, V::Ip(ip)) => V::Ip(*ip),
        (Func::ToDuration, V::Text(text)) => V::Int(literal::duration(&utf8(text)?)?.into()),
        (Func::DurationText, V::Int(ns)) => text_of(seconds(*ns)),
        (Func::SymbolName(names), V::Int(n)) => {
            let name = u64::try_from(*n).ok().and_then(|n| names.name(n));
            text_of(name.map_or_else(|| n.to_string(), str::to_owned))
        }
        (Func::ToText, value) => return to_text(value),
        _ => return None,
    })
}

fn to_text(value: &V<'_>) -> Option<V<'static>> {
    Some(match value {
        V::Bool(value) => text_of(value.to_string()),
        V::Int(n) => text_of(n.to_string()),
        V::Float(n) => text_of(n.to_string()),
        V::Text(text) => V::Text(Cow::Owned(text.to_vec())),
        V::Ip(ip) => text_of(ip.to_string()),
        V::Net(net) => text_of(Net::to_string(net)),
        _ => return None,
    })
}

fn text_of(text: String) -> V<'static> {
    V::Text(Cow::Owned(text.into_bytes()))
}

/// A duration as CEL prints it: seconds with a fraction.
fn seconds(ns: i128) -> String {
    let (sign, ns) = if ns < 0 { ("-", -ns) } else { ("", ns) };
    let (whole, part) = (ns / 1_000_000_000, ns % 1_000_000_000);
    if part == 0 {
        return format!("{sign}{whole}s");
    }
    let digits = format!("{part:09}");
    format!("{sign}{whole}.{}s", digits.trim_end_matches('0'))
}
