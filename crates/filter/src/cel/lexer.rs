//! Tokens of CEL, one at a time.

use super::ast::Literal;
use super::literal;
use crate::diagnostic::{Error, Result, quote};
use crate::span::Span;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Token<'s> {
    End,
    Literal(Literal),
    Ident(&'s str),
    /// An operator or a bracket.
    Mark(&'static str),
}

impl Token<'_> {
    /// The token as an error names it.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::End => "the end".to_owned(),
            Self::Ident(name) => format!("`{}`", quote(name)),
            Self::Mark(mark) => format!("`{mark}`"),
            Self::Literal(Literal::Text(_) | Literal::Bytes(_)) => "a text".to_owned(),
            Self::Literal(Literal::Bool(value)) => format!("`{value}`"),
            Self::Literal(Literal::Null) => "`null`".to_owned(),
            Self::Literal(_) => "a number".to_owned(),
        }
    }
}

/// Longest first, so that `<=` is not read as `<`.
static MARKS: &[&str] = &[
    "&&", "||", "==", "!=", "<=", ">=", "<", ">", "!", "?", ":", "+", "-", "*", "/", "%", "(", ")", "[", "]",
    "{", "}", ",", ".",
];

pub(crate) struct Lexer<'s> {
    pub(crate) source: &'s str,
    at: usize,
}

impl<'s> Lexer<'s> {
    pub(crate) fn new(source: &'s str) -> Self {
        Self { source, at: 0 }
    }

    /// The next token; after the last one `End` for ever.
    pub(crate) fn next(&mut self) -> Result<(Token<'s>, Span)> {
        self.skip_space();
        let start = self.at;
        let token = self.token(start)?;
        Ok((token, Span::new(start, self.at)))
    }

    fn skip_space(&mut self) {
        loop {
            let rest = &self.source[self.at..];
            let blank = rest.len() - rest.trim_start().len();
            self.at += blank;
            if !self.source[self.at..].starts_with("//") {
                return;
            }
            let comment = &self.source[self.at..];
            self.at += comment.find('\n').unwrap_or(comment.len());
        }
    }

    fn token(&mut self, start: usize) -> Result<Token<'s>> {
        let rest = &self.source[start..];
        let bytes = rest.as_bytes();
        let Some(first) = rest.chars().next() else { return Ok(Token::End) };
        let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
        if first.is_ascii_digit() || first == '.' && digit(1) {
            let (number, end) = literal::number(self.source, start)?;
            self.at = end;
            return Ok(Token::Literal(number));
        }
        if let Some(open) = text_prefix(bytes) {
            let prefix = rest[..open].to_ascii_lowercase();
            let (raw, is_bytes) = (prefix.contains('r'), prefix.contains('b'));
            let (text, end) = literal::text(self.source, start, start + open, raw, is_bytes)?;
            self.at = end;
            return Ok(Token::Literal(if is_bytes { Literal::Bytes(text) } else { Literal::Text(text) }));
        }
        if first.is_alphabetic() || first == '_' {
            let length = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            self.at = start + length;
            return Ok(match &rest[..length] {
                "true" => Token::Literal(Literal::Bool(true)),
                "false" => Token::Literal(Literal::Bool(false)),
                "null" => Token::Literal(Literal::Null),
                "in" => Token::Mark("in"),
                name => Token::Ident(name),
            });
        }
        if let Some(mark) = MARKS.iter().find(|mark| rest.starts_with(**mark)) {
            self.at = start + mark.len();
            return Ok(Token::Mark(mark));
        }
        Err(stray(first, start))
    }
}

/// Where the quotes of a text begin: 0, or after a prefix of `r`, `b` or both.
fn text_prefix(bytes: &[u8]) -> Option<usize> {
    let length = bytes.iter().take(2).take_while(|byte| matches!(byte, b'r' | b'R' | b'b' | b'B')).count();
    let twice = length == 2 && bytes[0].eq_ignore_ascii_case(&bytes[1]);
    (!twice && matches!(bytes.get(length), Some(b'"' | b'\''))).then_some(length)
}

fn stray(character: char, at: usize) -> Box<Error> {
    let span = Span::new(at, at + character.len_utf8());
    let error =
        Error::new(span, format!("`{}` means nothing here", quote(character.encode_utf8(&mut [0; 4]))));
    match character {
        '=' => error.expected("`==`").hint(super::parser::SYSDIG),
        '&' => error.expected("`&&`").hint("for bits: `math.bitAnd(a, b)`, or `caps.has(\"SYS_ADMIN\")`"),
        '|' => error.expected("`||`").hint("for bits: `math.bitOr(a, b)`"),
        '^' => error.hint("for bits: `math.bitXor(a, b)`"),
        '~' => error.hint("for a pattern: `process.name.matches(\"^ng\")`"),
        '“' | '”' | '„' | '‘' | '’' => error.expected("plain quotes, \" or '"),
        '#' => error.hint("a comment begins with `//`"),
        _ => error,
    }
}
