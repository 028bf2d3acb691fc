//! The canonical text of a tree: `(evt.type = open and proc.name in (a, b))`. Reading it again
//! gives an equal tree.

use core::fmt::{self, Write as _};

use super::ast::{Ast, Expr, ExprKind, Modifier, Right, Term, TermKind, Value};
use super::lexer::{is_bare, is_bare_arg, is_number};

impl fmt::Display for Ast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.root.fmt(f)
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ExprKind::And(terms) => chain(f, terms, " and "),
            ExprKind::Or(terms) => chain(f, terms, " or "),
            // `not not a` would be read as `a`.
            ExprKind::Not(inner) if matches!(inner.kind, ExprKind::Not(_)) => write!(f, "not ({inner})"),
            ExprKind::Not(inner) => write!(f, "not {inner}"),
            ExprKind::Macro(name) => f.write_str(name),
            ExprKind::Exists(term) => write!(f, "{term} exists"),
            ExprKind::Check { left, op, modifier, right } => {
                write!(f, "{left} {}", op.word())?;
                if let Some(modifier) = modifier {
                    write!(f, " {}", modifier.word())?;
                }
                write!(f, " {right}")
            }
        }
    }
}

fn chain(f: &mut fmt::Formatter<'_>, terms: &[Expr], between: &str) -> fmt::Result {
    f.write_str("(")?;
    separated(f, terms, between)?;
    f.write_str(")")
}

fn separated<T: fmt::Display>(f: &mut fmt::Formatter<'_>, items: &[T], between: &str) -> fmt::Result {
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            f.write_str(between)?;
        }
        item.fmt(f)?;
    }
    Ok(())
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(value) => value.fmt(f),
            Self::List(items, _) => {
                f.write_str("(")?;
                separated(f, items, ", ")?;
                f.write_str(")")
            }
            Self::Name(name, _) => f.write_str(name),
            Self::Term(term) => term.fmt(f),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |modifier: &Modifier| modifier.word().as_bytes() == self.text;
        match core::str::from_utf8(&self.text) {
            Ok(text) if is_bare(&self.text) && is_plain(text) && !Modifier::ALL.iter().any(word) => {
                f.write_str(text)
            }
            _ => quoted(f, &self.text),
        }
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            TermKind::Field { name, arg } => {
                f.write_str(name)?;
                argument(f, arg.as_deref())
            }
            TermKind::Call { transformer, args, arg } => {
                write!(f, "{}(", transformer.word())?;
                separated(f, args, ", ")?;
                f.write_str(")")?;
                argument(f, arg.as_deref())
            }
            TermKind::Value(text) if is_number(text) => f.write_str(&String::from_utf8_lossy(text)),
            TermKind::Value(text) => quoted(f, text),
            TermKind::List(items) => {
                f.write_str("(")?;
                separated(f, items, ", ")?;
                f.write_str(")")
            }
        }
    }
}

fn argument(f: &mut fmt::Formatter<'_>, arg: Option<&[u8]>) -> fmt::Result {
    let Some(arg) = arg else { return Ok(()) };
    f.write_str("[")?;
    match core::str::from_utf8(arg) {
        Ok(text) if is_bare_arg(arg) && is_plain(text) => f.write_str(text)?,
        _ => quoted(f, arg)?,
    }
    f.write_str("]")
}

/// Whether a text can be shown as it is.
fn is_plain(text: &str) -> bool {
    !text.contains(|c: char| c.is_control() || c == '\\' || !c.is_ascii() && c.is_whitespace())
}

fn quoted(f: &mut fmt::Formatter<'_>, text: &[u8]) -> fmt::Result {
    f.write_str("\"")?;
    for chunk in text.utf8_chunks() {
        let mut rest = chunk.valid().chars().peekable();
        while let Some(character) = rest.next() {
            match character {
                '"' => f.write_str("\\\"")?,
                // A quote behind a backslash would not end the text.
                '\\' if rest.peek().is_none() => f.write_str("\\x5c")?,
                '\\' => f.write_str("\\\\")?,
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '\t' => f.write_str("\\t")?,
                c if c.is_ascii_control() => write!(f, "\\x{:02x}", u32::from(c))?,
                c => f.write_char(c)?,
            }
        }
        for byte in chunk.invalid() {
            write!(f, "\\x{byte:02x}")?;
        }
    }
    f.write_str("\"")
}
