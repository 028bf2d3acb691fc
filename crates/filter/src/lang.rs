//! The languages of filters, and which of them a text is written in.

use nabe_event::field;

use crate::classes::Classes;
use crate::diagnostic::Diagnostic;
use crate::ir::Pred;
use crate::span::Span;
use crate::sysdig::{self, Ast, Definitions, Expr, ExprKind, Right, Value};
use crate::{Program, cel};

/// The language of a filter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lang {
    /// The one that the text is written in. A text that CEL's grammar takes is CEL, also where
    /// sysdig's takes it too (`proc.pid > 1`); any other is sysdig's (`proc.pid = 1`). Three
    /// exceptions are sysdig's, where they have no meaning as CEL and have one there: a text without
    /// quotes (`evt.type != open`), a list in round brackets (`proc.name in (bash)`), and a number
    /// beside a raw parameter (`evt.rawarg.res < 0`).
    #[default]
    Auto,
    /// The Common Expression Language, as psc has it.
    Cel,
    /// sysdig's and Falco's.
    Sysdig,
}

impl Program {
    /// Compiles a filter of sysdig's language about events; the fields of snapshots are known too.
    ///
    /// # Errors
    /// When the text is no filter, names what is not there or compares what does not compare.
    /// Macros and lists by name are such errors: there are none.
    pub fn sysdig(source: &str) -> Result<Self, Diagnostic> {
        Self::sysdig_for(source, Classes::SYSCALL)
    }

    /// Compiles a filter about events of the kernel that [`sysdig::parse`] has read, with the macros
    /// and lists of `names`. `source` is the text that the tree was read from, for messages.
    ///
    /// # Errors
    /// As those of [`Self::sysdig`], but for names that `names` knows.
    pub fn of_sysdig(ast: &Ast, source: &str, names: &dyn Definitions) -> Result<Self, Diagnostic> {
        Self::of_sysdig_for(ast, source, names, Classes::SYSCALL)
    }

    /// Compiles a filter that [`sysdig::parse`] has read about subjects that answer fields of
    /// `classes`: see [`Self::of_sysdig`].
    ///
    /// # Errors
    /// As those of [`Self::of_sysdig`], and for fields of other classes.
    pub fn of_sysdig_for(
        ast: &Ast,
        source: &str,
        names: &dyn Definitions,
        classes: Classes,
    ) -> Result<Self, Diagnostic> {
        let pred = sysdig::lower(ast, names, classes).map_err(|error| Diagnostic::new(source, *error))?;
        Ok(Self::written(pred, Some(ast.to_string()), Some(ast), classes))
    }

    /// Compiles a filter about subjects of a snapshot.
    ///
    /// # Errors
    /// As those of [`Self::cel`] and [`Self::sysdig`], and for fields that only events have.
    pub fn compile(source: &str, lang: Lang) -> Result<Self, Diagnostic> {
        Self::compile_for(source, lang, Classes::SNAPSHOT)
    }

    /// Compiles a filter about events of the kernel.
    ///
    /// # Errors
    /// As those of [`Self::cel`] and [`Self::sysdig`].
    pub fn compile_of_events(source: &str, lang: Lang) -> Result<Self, Diagnostic> {
        Self::compile_for(source, lang, Classes::SYSCALL)
    }

    /// Compiles a filter about subjects that answer fields of `classes`.
    ///
    /// # Errors
    /// As those of [`Self::cel`] and [`Self::sysdig`], and for fields of other classes.
    pub fn compile_for(source: &str, lang: Lang, classes: Classes) -> Result<Self, Diagnostic> {
        match lang {
            Lang::Cel => Self::cel_for(source, classes),
            Lang::Sysdig => Self::sysdig_for(source, classes),
            Lang::Auto => Self::recognised(source, classes),
        }
    }

    fn recognised(source: &str, classes: Classes) -> Result<Self, Diagnostic> {
        let error = match Self::cel_for(source, classes) {
            Ok(program) => return Ok(program),
            Err(error) => error,
        };
        let tree = sysdig::parse(source);
        if cel::parser::parse(source).is_ok() {
            let may = tree.is_ok_and(|tree| is_bare_text(&tree.root, source, error.span));
            // Raw parameters are texts to CEL and what they are compared with to sysdig.
            let found = may || has_bracketed_list(source) || source.contains("evt.rawarg");
            return Self::sysdig_for(source, classes).ok().filter(|_| found).ok_or(error);
        }
        // Where neither grammar takes it, its signs say whose errors help.
        if tree.is_err() && !bears_signs(source) {
            return Err(error);
        }
        Self::sysdig_for(source, classes)
    }

    fn sysdig_for(source: &str, classes: Classes) -> Result<Self, Diagnostic> {
        if source.trim().is_empty() {
            return Ok(Self::about(Pred::Const(Some(true)), None, classes));
        }
        Self::of_sysdig_for(&sysdig::parse(source)?, source, &(), classes)
    }
}

/// Whether what CEL does not know is, to sysdig's language, a text without quotes: a word on the
/// right, no number, and no name that looks like a field's.
fn is_bare_text(expr: &Expr, source: &str, unknown: Span) -> bool {
    let is_word = |value: &Value| {
        let Ok(text) = core::str::from_utf8(&value.text) else { return false };
        let looks_like_a_field = text
            .split_once('.')
            .is_some_and(|(group, _)| field::names().any(|name| name.split('.').next() == Some(group)));
        value.place.0 == unknown
            && source.get(unknown.start..unknown.end) == Some(text)
            && text.starts_with(|first: char| first.is_ascii_alphabetic())
            && !looks_like_a_field
    };
    match &expr.kind {
        ExprKind::And(terms) | ExprKind::Or(terms) => {
            terms.iter().any(|term| is_bare_text(term, source, unknown))
        }
        ExprKind::Not(inner) => is_bare_text(inner, source, unknown),
        ExprKind::Check { right: Right::Value(value), .. } => is_word(value),
        ExprKind::Check { right: Right::List(values, _), .. } => values.iter().any(is_word),
        _ => false,
    }
}

/// Whether a list in round brackets seems to follow `in`, which CEL reads as one value.
fn has_bracketed_list(source: &str) -> bool {
    source.match_indices("in").any(|(at, word)| {
        let before = source[..at].chars().next_back().is_some_and(char::is_whitespace);
        before && source[at + word.len()..].trim_start().starts_with('(')
    })
}

/// Whether a text that no grammar takes has words between blanks that only sysdig's language has.
fn bears_signs(source: &str) -> bool {
    let word = |word: &str| {
        let operators = sysdig::Op::ALL.iter().map(|op| op.word());
        word == "and" || word == "or" || word == "not" || word == "exists" || {
            operators.into_iter().any(|known| known == word && known != "in" && !"!<=>".contains(&known[..1]))
        }
    };
    let text = source.split(['"', '\'']).step_by(2).collect::<Vec<_>>().join(" ");
    let assigns = text.match_indices('=').any(|(at, _)| {
        let before = text[..at].chars().next_back();
        !matches!(before, Some('=' | '!' | '<' | '>')) && !text[at + 1..].starts_with('=')
    });
    assigns || text.split_whitespace().any(word)
}
