//! Literals, and what a text means where a state, an address or a span of time is wanted.

use core::net::IpAddr;

use nabe_event::field::nearest;
use nabe_event::symbol::Symbols;

use super::{Resolver, Typed};
use crate::cel::ast::Literal;
use crate::cel::literal::duration;
use crate::diagnostic::{Error, Result, quote};
use crate::eval::call::address;
use crate::ir::{Const, Func, Net, Operand};
use crate::span::Span;
use crate::types::Ty;

impl Resolver<'_> {
    /// A literal; a text becomes what is wanted, if a text can mean that.
    pub(super) fn literal(&self, literal: &Literal, span: Span, want: Option<&Ty>) -> Result<Typed> {
        let (value, ty) = match literal {
            Literal::Null => (Const::Null, Ty::Null),
            Literal::Bool(value) => (Const::Bool(*value), Ty::Bool),
            Literal::Int(value) => (Const::Int(*value), Ty::Int),
            Literal::Float(value) => (Const::Float(*value), Ty::Float),
            Literal::Duration(ns) => (Const::Int((*ns).into()), Ty::Duration),
            // psc has addresses as bytes.
            Literal::Bytes(bytes) if matches!(want, Some(Ty::Ip)) => match raw_address(bytes) {
                Some(ip) => (Const::Ip(ip), Ty::Ip),
                None => {
                    return Err(Error::new(
                        span,
                        format!("an address has 4 or 16 bytes, not {}", bytes.len()),
                    )
                    .expected("an address such as \"127.0.0.1\" or \"::1\""));
                }
            },
            Literal::Bytes(bytes) => (Const::Text(bytes.as_slice().into()), Ty::Text),
            Literal::Text(bytes) => wanted(bytes, span, want)?,
        };
        Ok(Typed { op: Operand::Const(value), ty, span })
    }
}

/// An address in network byte order.
fn raw_address(bytes: &[u8]) -> Option<IpAddr> {
    let four = <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from);
    four.or_else(|| <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from))
}

/// A text as a value of the type that is wanted; as itself for types that no text can mean.
fn wanted(bytes: &[u8], span: Span, want: Option<&Ty>) -> Result<(Const, Ty)> {
    let text = core::str::from_utf8(bytes).unwrap_or_default();
    match want {
        Some(Ty::Symbol(names)) => {
            let number = named(text, names, span)?;
            Ok((Const::Int(number.into()), Ty::Symbol(names)))
        }
        Some(Ty::Ip) => match address(bytes) {
            Some(ip) => Ok((Const::Ip(ip), Ty::Ip)),
            None => Err(no_address(text, span)),
        },
        Some(Ty::Net) => Ok((Const::Net(network(text, span)?), Ty::Net)),
        Some(Ty::Duration) => match duration(text) {
            Some(ns) => Ok((Const::Int(ns.into()), Ty::Duration)),
            None => Err(no_duration(text, span)),
        },
        _ => Ok((Const::Text(bytes.into()), Ty::Text)),
    }
}

/// The number of a name, or an error with the nearest one.
pub(super) fn named(name: &str, names: &'static Symbols, span: Span) -> Result<u64> {
    names.number(name).ok_or_else(|| {
        let error = Error::new(span, format!("there is no {} `{}`", names.what, quote(name)));
        // Any letter is one slip away from any other.
        match nearest(name, names.names()).filter(|_| name.len() > 2) {
            Some(near) => error.nearest(Some(near)),
            None => error.expected(some_names(names)),
        }
    })
}

fn some_names(names: &Symbols) -> String {
    let printed = names.entries.iter().filter(|(number, name)| names.name(*number) == Some(name));
    let shown: Vec<&str> = printed.map(|(_, name)| *name).collect();
    let (first, more) = shown.split_at(shown.len().min(14));
    format!("one of {}{}", first.join(" "), if more.is_empty() { "" } else { "…" })
}

fn no_address(text: &str, span: Span) -> Box<Error> {
    let error = Error::new(span, format!("`{}` is no IP address", quote(text)));
    if Net::parse(text).is_some() {
        return error.hint(format!("for a network: `in cidr(\"{text}\")`"));
    }
    error.expected("an address such as \"127.0.0.1\" or \"::1\"")
}

/// A network, or an error at the text.
pub(super) fn network(text: &str, span: Span) -> Result<Net> {
    Net::parse(text).ok_or_else(|| {
        Error::new(span, format!("`{}` is no network", quote(text)))
            .expected("a network such as \"10.0.0.0/8\" or \"fe80::/10\"")
    })
}

fn no_duration(text: &str, span: Span) -> Box<Error> {
    Error::new(span, format!("`{}` is no span of time", quote(text)))
        .expected("a duration such as \"2h\", \"1h30m\" or \"500ms\"")
}

/// A text converted to an address or a duration: now, and checked, if it is known.
pub(super) fn converted(func: Func, text: Operand, span: Span) -> Result<Operand> {
    let Operand::Const(Const::Text(bytes)) = &text else { return Ok(Operand::Call(func, vec![text])) };
    let text = core::str::from_utf8(bytes).unwrap_or_default();
    Ok(Operand::Const(match func {
        Func::ToIp => Const::Ip(address(bytes).ok_or_else(|| no_address(text, span))?),
        _ => Const::Int(duration(text).ok_or_else(|| no_duration(text, span))?.into()),
    }))
}
