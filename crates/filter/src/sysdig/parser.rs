//! sysdig's grammar, by descent. It follows libsinsp's parser step by step where it matters: which
//! words need a blank behind them, which rule is tried first, and which levels count as depth.

use super::ast::{Ast, Expr, ExprKind, Modifier, Op, Place, Right, Term, TermKind, Transformer, Value};
use super::lexer::Cursor;
use crate::diagnostic::{Error, Result};
use crate::span::Span;

/// Longest source, in bytes.
const MAX_SOURCE: usize = 1 << 20;
/// The same of rules, whose lists have been put in.
const MAX_RULE: usize = 16 << 20;

/// Rules that may be open at once unless asked otherwise, as in libsinsp; a pair of brackets opens
/// five.
pub const DEPTH: u32 = 100;
/// The same for rules of Falco's files, whose macros have been put in.
pub const RULE_DEPTH: u32 = 1000;

/// Operators that numbers follow.
static NUMBER_OPS: &[(&str, Op)] = &[("<=", Op::Le), ("<", Op::Lt), (">=", Op::Ge), (">", Op::Gt)];
/// Operators that a text follows; a blank follows words.
static TEXT_OPS: &[(&str, Op)] = &[
    ("==", Op::Eq),
    ("=", Op::Eq),
    ("!=", Op::Ne),
    ("glob", Op::Glob),
    ("iglob", Op::Iglob),
    ("contains", Op::Contains),
    ("icontains", Op::Icontains),
    ("bcontains", Op::Bcontains),
    ("startswith", Op::StartsWith),
    ("bstartswith", Op::BstartsWith),
    ("endswith", Op::EndsWith),
    ("regex", Op::Regex),
];
/// Operators that a list follows.
static LIST_OPS: &[(&str, Op)] = &[("intersects", Op::Intersects), ("in", Op::In), ("pmatch", Op::Pmatch)];

const OPERATOR: &str = "an operator: = == != < <= > >= exists contains icontains bcontains startswith \
     bstartswith endswith glob iglob regex in intersects pmatch";
const TRANSFORMER: &str = "val() tolower() toupper() b64() basename() len() join() concat() getopt()";

/// The tree of `source`; at most `depth` rules are open at once.
pub(super) fn parse(source: &str, depth: u32) -> Result<Ast> {
    let most = if depth > DEPTH { MAX_RULE } else { MAX_SOURCE };
    if source.len() > most {
        let message = format!("the filter is longer than {} MiB", most >> 20);
        return Err(Error::new(Span::new(most, most), message));
    }
    if let Some(at) = source.find('\0') {
        return Err(Error::new(Span::new(at, at + 1), "the filter holds a NUL character"));
    }
    if source.is_empty() {
        return Err(Error::new(Span::new(0, 0), "the filter is empty"));
    }
    let mut parser = Parser { cursor: Cursor { source, at: 0 }, open: 0, depth };
    let root = parser.or()?;
    if parser.cursor.at < source.len() {
        return Err(parser.trailing());
    }
    Ok(Ast { root })
}

fn join(mut terms: Vec<Expr>, start: usize, kind: fn(Vec<Expr>) -> ExprKind) -> Expr {
    if terms.len() == 1 {
        return terms.swap_remove(0);
    }
    let end = terms.last().map_or(start, |last| last.place.0.end);
    Expr { kind: kind(terms), place: Place(Span::new(start, end)) }
}

fn negate(inner: Expr, start: usize) -> Expr {
    let place = Place(Span::new(start, inner.place.0.end));
    Expr { kind: ExprKind::Not(Box::new(inner)), place }
}

struct Parser<'s> {
    cursor: Cursor<'s>,
    /// Rules that are open.
    open: u32,
    depth: u32,
}

impl Parser<'_> {
    fn error(&self, message: impl Into<String>) -> Box<Error> {
        Error::new(self.cursor.here(), message)
    }

    /// What to say of text behind a complete filter.
    fn trailing(&self) -> Box<Error> {
        let error = self.error("unexpected text behind a complete filter").expected("`and`, `or` or the end");
        match self.cursor.rest() {
            [b'&', b'&', ..] | [b'|', b'|', ..] => {
                error.hint("this looks like CEL, which `--lang cel` asks for; here it is `and`, `or`, `not`")
            }
            _ => error,
        }
    }

    /// Opens a rule. An error ends the whole reading, so only what succeeds closes it again.
    fn enter(&mut self) -> Result<()> {
        self.open += 1;
        if self.open >= self.depth {
            return Err(self.error(format!("exceeded max depth limit of {}", self.depth)));
        }
        Ok(())
    }

    /// Runs a rule one level deeper.
    fn deeper<T>(&mut self, rule: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.enter()?;
        let out = rule(self);
        self.open -= 1;
        out
    }

    fn or(&mut self) -> Result<Expr> {
        self.chain("or", Self::and, ExprKind::Or)
    }

    fn and(&mut self) -> Result<Expr> {
        self.chain("and", Self::not, ExprKind::And)
    }

    /// One or more of the same rule with a word between them.
    fn chain(
        &mut self,
        word: &'static str,
        rule: fn(&mut Self) -> Result<Expr>,
        kind: fn(Vec<Expr>) -> ExprKind,
    ) -> Result<Expr> {
        self.enter()?;
        self.cursor.blank();
        let start = self.cursor.at;
        let mut terms = vec![rule(self)?];
        while let Some(embedded) = self.goes_on(word)? {
            terms.push(if embedded { self.embedded()? } else { rule(self)? });
        }
        self.open -= 1;
        Ok(join(terms, start, kind))
    }

    /// Skips `word`, if it follows, and what must stand behind it: blanks, or a bracket that opens an
    /// embedded filter, which is then true.
    #[inline(never)]
    fn goes_on(&mut self, word: &str) -> Result<Option<bool>> {
        self.cursor.blank();
        if !self.cursor.word(word) {
            return Ok(None);
        }
        if self.cursor.blank() {
            return Ok(Some(false));
        }
        if self.cursor.word("(") {
            return Ok(Some(true));
        }
        Err(self.error(format!("`{word}` goes on without a blank")).expected("a blank or `(`"))
    }

    fn not(&mut self) -> Result<Expr> {
        self.enter()?;
        self.cursor.blank();
        let start = self.cursor.at;
        let mut negated = false;
        while self.cursor.not() {
            negated = !negated;
        }
        let embedded = self.cursor.word("not(");
        let inner = if embedded { self.embedded()? } else { self.check()? };
        self.open -= 1;
        Ok(if negated != embedded { negate(inner, start) } else { inner })
    }

    /// A filter in brackets, of which the first is behind us.
    fn embedded(&mut self) -> Result<Expr> {
        self.enter()?;
        let start = self.cursor.at.saturating_sub(1);
        self.cursor.blank();
        let mut inner = self.or()?;
        self.close()?;
        inner.place = Place(self.cursor.since(start));
        self.open -= 1;
        Ok(inner)
    }

    #[inline(never)]
    fn close(&mut self) -> Result<()> {
        self.cursor.blank();
        if self.cursor.word(")") {
            return Ok(());
        }
        Err(self.error("a bracket is not closed").expected("`)`, `and` or `or`"))
    }

    fn check(&mut self) -> Result<Expr> {
        self.enter()?;
        self.cursor.blank();
        let found = if self.cursor.word("(") { self.embedded()? } else { self.leaf()? };
        self.open -= 1;
        Ok(found)
    }

    /// A check or a macro.
    #[inline(never)]
    fn leaf(&mut self) -> Result<Expr> {
        let start = self.cursor.at;
        if let Some(left) = self.field()? {
            return self.condition(left, start);
        }
        if let Some(transformer) = self.transformer() {
            self.cursor.blank();
            let left = self.call(transformer, start)?;
            return self.condition(left, start);
        }
        match self.cursor.identifier() {
            Some(name) => {
                let place = Place(self.cursor.since(start));
                Ok(Expr { kind: ExprKind::Macro(name.to_owned()), place })
            }
            None => {
                let expected = "`(`, a field with an operator, or the name of a macro";
                Err(self.error("no filter here").expected(expected))
            }
        }
    }

    /// A field with its argument, if one stands here.
    fn field(&mut self) -> Result<Option<Term>> {
        let start = self.cursor.at;
        let Some(name) = self.cursor.field_name() else { return Ok(None) };
        self.deeper(|this| {
            let arg = this.argument()?;
            let kind = TermKind::Field { name: name.to_owned(), arg };
            Ok(Some(Term { kind, place: Place(this.cursor.since(start)) }))
        })
    }

    /// The text in brackets, if there is one.
    fn argument(&mut self) -> Result<Option<Vec<u8>>> {
        if !self.cursor.word("[") {
            return Ok(None);
        }
        const EXPECTED: &str = "expected a valid field argument: a quoted string or a bare string";
        // An argument without a text is refused in single quotes and taken in double ones: the
        // reference strings say so.
        let nothing = self.cursor.rest().starts_with(b"''");
        let arg = match self.cursor.quoted()? {
            Some(text) if !nothing => Some(text),
            Some(_) => None,
            None => self.cursor.bare_arg().map(|text| text.as_bytes().to_vec()),
        };
        let Some(arg) = arg else { return Err(self.error(EXPECTED)) };
        if !self.cursor.word("]") {
            return Err(self.error("a field's argument is not closed").expected("`]`"));
        }
        Ok(Some(arg))
    }

    /// A transformer's name and the bracket behind it; not `val`.
    fn transformer(&mut self) -> Option<Transformer> {
        let known = Transformer::ALL.iter().filter(|known| **known != Transformer::Val);
        known.copied().find(|known| self.open_call(*known))
    }

    fn open_call(&mut self, transformer: Transformer) -> bool {
        let start = self.cursor.at;
        if self.cursor.word(transformer.word()) && self.cursor.word("(") {
            return true;
        }
        self.cursor.at = start;
        false
    }

    /// A transformer's arguments, behind its bracket.
    fn call(&mut self, transformer: Transformer, start: usize) -> Result<Term> {
        self.enter()?;
        let mut args = Vec::new();
        loop {
            args.push(self.call_arg()?);
            self.cursor.blank();
            if !self.cursor.word(",") {
                break;
            }
        }
        let kind = self.close_call(transformer, args)?;
        self.open -= 1;
        Ok(Term { kind, place: Place(self.cursor.since(start)) })
    }

    #[inline(never)]
    fn close_call(&mut self, transformer: Transformer, args: Vec<Term>) -> Result<TermKind> {
        if !self.cursor.word(")") {
            let message = format!("`{}(` is not closed", transformer.word());
            return Err(self.error(message).expected("`,` or `)`"));
        }
        Ok(TermKind::Call { transformer, args, arg: self.argument()? })
    }

    fn call_arg(&mut self) -> Result<Term> {
        self.enter()?;
        self.cursor.blank();
        let start = self.cursor.at;
        let arg = if self.cursor.word("(") {
            let kind = TermKind::List(self.call_list()?);
            Some(Term { kind, place: Place(self.cursor.since(start)) })
        } else {
            self.list_item()?
        };
        self.open -= 1;
        arg.ok_or_else(|| {
            self.error("no argument of a transformer here")
                .expected("a field, a transformer, a text in quotes, a number, or a list in brackets")
        })
    }

    /// The items of a list that a transformer takes, behind its bracket.
    fn call_list(&mut self) -> Result<Vec<Term>> {
        let mut items = Vec::new();
        self.cursor.blank();
        if self.cursor.word(")") {
            return Ok(items);
        }
        loop {
            let item = self.list_item()?.ok_or_else(|| {
                self.error("no item of a list here")
                    .expected("a field, a transformer, a text in quotes, or a number")
            });
            items.push(item?);
            self.cursor.blank();
            if !self.cursor.word(",") {
                break;
            }
            self.cursor.blank();
        }
        if !self.cursor.word(")") {
            return Err(self.error("a list is not closed").expected("`,` or `)`"));
        }
        Ok(items)
    }

    /// A field, a transformer, a text in quotes or a number.
    fn list_item(&mut self) -> Result<Option<Term>> {
        let start = self.cursor.at;
        if let Some(field) = self.field()? {
            return Ok(Some(field));
        }
        if let Some(transformer) = self.transformer() {
            self.cursor.blank();
            return self.call(transformer, start).map(Some);
        }
        let text = match self.cursor.quoted()? {
            Some(text) => Some(text),
            None => self.cursor.number().map(|text| text.as_bytes().to_vec()),
        };
        let place = Place(self.cursor.since(start));
        Ok(text.map(|text| Term { kind: TermKind::Value(text), place }))
    }

    /// What is asked of a field or of a transformer's result.
    fn condition(&mut self, left: Term, start: usize) -> Result<Expr> {
        self.deeper(|this| {
            this.cursor.blank();
            if this.cursor.word("exists") {
                let place = Place(this.cursor.since(start));
                return Ok(Expr { kind: ExprKind::Exists(left), place });
            }
            let (op, modifier, right) = this.comparison()?;
            let place = Place(this.cursor.since(start));
            Ok(Expr { kind: ExprKind::Check { left, op, modifier, right }, place })
        })
    }

    fn comparison(&mut self) -> Result<(Op, Option<Modifier>, Right)> {
        if let Some((_, op)) = NUMBER_OPS.iter().find(|(word, _)| self.cursor.word(word)) {
            let right = self.deeper(Self::number_side)?;
            return Ok((*op, None, right));
        }
        let is_word = |word: &str| word.starts_with(|first: char| first.is_ascii_alphabetic());
        let text_op = TEXT_OPS
            .iter()
            .find(|(word, _)| if is_word(word) { self.cursor.spaced(word) } else { self.cursor.word(word) });
        if let Some((word, op)) = text_op {
            let spaced = is_word(word) || self.cursor.blank();
            let back = self.cursor.at;
            let modifier =
                Modifier::ALL.iter().find(|modifier| spaced && self.cursor.spaced(modifier.word()));
            if let Some(modifier) = modifier.filter(|_| self.cursor.list_follows()) {
                let right = self.deeper(Self::list_side)?;
                return Ok((*op, Some(*modifier), right));
            }
            self.cursor.at = back;
            let right = self.deeper(Self::text_side)?;
            return Ok((*op, None, right));
        }
        match LIST_OPS.iter().find(|(word, _)| self.cursor.word(word)) {
            Some((_, op)) => Ok((*op, None, self.deeper(Self::list_or_computed_side)?)),
            None => Err(self.no_operator()),
        }
    }

    fn no_operator(&self) -> Box<Error> {
        let error = self.error("no operator behind a field").expected(OPERATOR);
        let rest = String::from_utf8_lossy(self.cursor.rest());
        let word: String = rest.chars().take_while(char::is_ascii_alphabetic).collect();
        let lower = word.to_ascii_lowercase();
        let known = || TEXT_OPS.iter().chain(LIST_OPS).map(|(word, _)| *word).chain(["exists"]);
        match known().find(|known| *known == lower && lower != word) {
            Some(known) => error.hint(format!("operators are written in small letters: `{known}`")),
            None if known().any(|known| known == word) => error.hint(format!("a blank follows `{word}`")),
            None => error,
        }
    }

    fn number_side(&mut self) -> Result<Right> {
        self.cursor.blank();
        let start = self.cursor.at;
        if let Some(term) = self.computed()? {
            return Ok(Right::Term(term));
        }
        match self.cursor.number() {
            Some(text) => Ok(self.value(text.as_bytes().to_vec(), start)),
            None => Err(self.error("no number here").expected(format!("a number, or one of {TRANSFORMER}"))),
        }
    }

    fn value(&self, text: Vec<u8>, start: usize) -> Right {
        Right::Value(Value { text, place: Place(self.cursor.since(start)) })
    }

    fn text_side(&mut self) -> Result<Right> {
        self.cursor.blank();
        let start = self.cursor.at;
        if let Some(term) = self.computed()? {
            return Ok(Right::Term(term));
        }
        match self.text()? {
            Some(text) => Ok(self.value(text, start)),
            None => Err(self.no_text(format!("a text, or one of {TRANSFORMER}"))),
        }
    }

    fn no_text(&self, expected: impl Into<String>) -> Box<Error> {
        match self.cursor.rest().first() {
            Some(b'"' | b'\'') => self.error("a text is not closed").expected("the same quote again"),
            _ => self.error("no text here").expected(expected),
        }
    }

    /// A text in quotes or a bare one.
    fn text(&mut self) -> Result<Option<Vec<u8>>> {
        match self.cursor.quoted()? {
            Some(text) => Ok(Some(text)),
            None => Ok(self.cursor.bare().map(|text| text.as_bytes().to_vec())),
        }
    }

    fn list_side(&mut self) -> Result<Right> {
        self.cursor.blank();
        match self.list()? {
            Some(list) => Ok(list),
            None => self.list_name(),
        }
    }

    fn list_or_computed_side(&mut self) -> Result<Right> {
        self.cursor.blank();
        if let Some(list) = self.list()? {
            return Ok(list);
        }
        match self.computed()? {
            Some(term) => Ok(Right::Term(term)),
            None => self.list_name(),
        }
    }

    fn list_name(&mut self) -> Result<Right> {
        let start = self.cursor.at;
        match self.cursor.identifier() {
            Some(name) => Ok(Right::Name(name.to_owned(), Place(self.cursor.since(start)))),
            None => Err(self
                .error("no list here")
                .expected(format!("texts in brackets, the name of a list, or one of {TRANSFORMER}"))),
        }
    }

    /// Constants in brackets, if a bracket stands here.
    fn list(&mut self) -> Result<Option<Right>> {
        let start = self.cursor.at;
        if !self.cursor.word("(") {
            return Ok(None);
        }
        let mut items = Vec::new();
        loop {
            self.cursor.blank();
            let at = self.cursor.at;
            match self.deeper(Self::text)? {
                Some(text) => items.push(Value { text, place: Place(self.cursor.since(at)) }),
                None if items.is_empty() && self.cursor.rest().first() == Some(&b')') => {}
                None => return Err(self.no_text("a text")),
            }
            self.cursor.blank();
            if items.is_empty() || !self.cursor.word(",") {
                break;
            }
        }
        if !self.cursor.word(")") {
            return Err(self.error("a list is not closed").expected("`,` or `)`"));
        }
        Ok(Some(Right::List(items, Place(self.cursor.since(start)))))
    }

    /// `val(field)` or a transformer, if one stands here.
    fn computed(&mut self) -> Result<Option<Term>> {
        self.deeper(|this| {
            let start = this.cursor.at;
            if this.open_call(Transformer::Val) {
                this.cursor.blank();
                let Some(field) = this.field()? else {
                    return Err(this.error("`val()` takes a field").expected("the name of a field"));
                };
                this.cursor.blank();
                if !this.cursor.word(")") {
                    return Err(this.error("`val(` is not closed").expected("`)`"));
                }
                let arg = this.argument()?;
                let kind = TermKind::Call { transformer: Transformer::Val, args: vec![field], arg };
                return Ok(Some(Term { kind, place: Place(this.cursor.since(start)) }));
            }
            match this.transformer() {
                Some(transformer) => {
                    this.cursor.blank();
                    this.call(transformer, start).map(Some)
                }
                None => Ok(None),
            }
        })
    }
}
