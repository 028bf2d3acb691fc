//! What is wrong with an expression, where, and how to mend it.
//!
//! [`Error`] is what lexer, parser and resolver raise: a place in bytes. [`Diagnostic`] is what a
//! user gets: the line with a caret under the place. The source is hostile text: control and bidi
//! characters are escaped, and of a very long line only a window is shown.

use core::fmt;

use crate::span::Span;

/// Columns of the source line that are shown.
const WINDOW: usize = 96;
/// Longest text of the source that a message quotes.
const QUOTE: usize = 48;

/// An error with its place in bytes.
#[derive(Debug)]
pub(crate) struct Error {
    pub(crate) span: Span,
    pub(crate) message: String,
    pub(crate) expected: Option<String>,
    pub(crate) hint: Option<String>,
}

pub(crate) type Result<T> = core::result::Result<T, Box<Error>>;

impl Error {
    pub(crate) fn new(span: Span, message: impl Into<String>) -> Box<Self> {
        Box::new(Self { span, message: message.into(), expected: None, hint: None })
    }

    pub(crate) fn expected(mut self: Box<Self>, what: impl Into<String>) -> Box<Self> {
        self.expected = Some(what.into());
        self
    }

    pub(crate) fn hint(mut self: Box<Self>, hint: impl Into<String>) -> Box<Self> {
        self.hint = Some(hint.into());
        self
    }

    /// Names the known word nearest to a wrong one.
    pub(crate) fn nearest(self: Box<Self>, near: Option<impl fmt::Display>) -> Box<Self> {
        match near {
            Some(name) => self.hint(format!("did you mean `{name}`?")),
            None => self,
        }
    }
}

/// An expression that does not compile, with the place and, where it is known, the mend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// What is wrong: lower case, no full stop.
    pub message: String,
    /// Where, in bytes of the source.
    pub span: Span,
    /// Line, counted from 1.
    pub line: usize,
    /// Column in characters, counted from 1.
    pub column: usize,
    /// What would have been right here.
    pub expected: Option<String>,
    /// How to mend it.
    pub hint: Option<String>,
    /// The line and the carets under the place, ready to print.
    excerpt: Box<[String; 2]>,
}

impl Diagnostic {
    pub(crate) fn new(source: &str, error: Error) -> Self {
        let start = floor(source, error.span.start);
        let end = floor(source, error.span.end.max(start));
        let line_start = source[..start].rfind('\n').map_or(0, |at| at + 1);
        let line_end = source[start..].find('\n').map_or(source.len(), |at| start + at);
        let line = 1 + source[..line_start].bytes().filter(|byte| *byte == b'\n').count();
        let column = 1 + source[line_start..start].chars().count();
        Self {
            message: error.message,
            span: Span::new(start, end),
            line,
            column,
            expected: error.expected,
            hint: error.hint,
            excerpt: Box::new(excerpt(
                &source[line_start..line_end],
                start - line_start,
                end.min(line_end) - line_start,
            )),
        }
    }

    /// The part of the source line that is shown, escaped.
    #[must_use]
    pub fn source_line(&self) -> &str {
        &self.excerpt[0]
    }
}

impl core::error::Error for Diagnostic {}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.line.to_string();
        let margin = " ".repeat(number.len());
        let [line, carets] = &*self.excerpt;
        writeln!(f, "{}", self.message)?;
        writeln!(f, "{margin}--> line {}, column {}", self.line, self.column)?;
        writeln!(f, "{margin} |")?;
        writeln!(f, "{number} | {line}")?;
        write!(f, "{margin} | {carets}")?;
        if let Some(expected) = &self.expected {
            write!(f, " expected {expected}")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n{margin} |\n{margin} = hint: {hint}")?;
        }
        Ok(())
    }
}

/// The nearest character boundary at or before `at`.
fn floor(source: &str, at: usize) -> usize {
    let mut at = at.min(source.len());
    while !source.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// The line, windowed and escaped, and the carets below the bytes from `start` to `end`.
fn excerpt(line: &str, start: usize, end: usize) -> [String; 2] {
    let before = line[..start].chars().count();
    let marked = line[start..end.max(start)].chars().count().max(1);
    let total = line.chars().count();
    // The window begins far enough left to show where the place stands.
    let first = if total <= WINDOW { 0 } else { before.saturating_sub(WINDOW / 2).min(total - WINDOW) };
    let (mut shown, mut carets) = (String::new(), String::new());
    if first > 0 {
        shown.push('…');
        carets.push(' ');
    }
    let mut marks = 0;
    for (at, character) in line.chars().enumerate().skip(first).take(WINDOW) {
        let piece = printable(character);
        let inside = at >= before && at < before + marked;
        for one in piece.chars() {
            let mark = if inside { "^" } else { " " };
            let columns = if inside || marks == 0 { width(one) } else { 0 };
            carets.extend(core::iter::repeat_n(mark, columns));
            marks += if inside { columns } else { 0 };
        }
        shown.push_str(&piece);
    }
    if first + WINDOW < total {
        shown.push('…');
    }
    if marks == 0 {
        carets.push('^');
    }
    [shown, carets]
}

/// A character as it may be sent to a terminal: a tab becomes a space, what steers the terminal or
/// hides or turns text is escaped.
fn printable(character: char) -> String {
    match character {
        '\t' => " ".to_owned(),
        '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' => {
            character.escape_unicode().to_string()
        }
        c if c.is_control() => c.escape_unicode().to_string(),
        c => c.to_string(),
    }
}

/// Columns of a character: near enough for a caret, not a table of all of Unicode.
fn width(character: char) -> usize {
    match u32::from(character) {
        0x300..=0x36f => 0,
        0x1100..=0x115f
        | 0x2e80..=0xa4cf
        | 0xac00..=0xd7a3
        | 0xf900..=0xfaff
        | 0xfe30..=0xfe6f
        | 0xff00..=0xff60
        | 0xffe0..=0xffe6
        | 0x1f300..=0x1f64f
        | 0x1f900..=0x1f9ff
        | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
}

/// A piece of the source as a message may quote it: short and harmless.
pub(crate) fn quote(text: &str) -> String {
    let mut shown: String = text.chars().take(QUOTE).map(printable).collect();
    if text.chars().nth(QUOTE).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(source: &str, start: usize, end: usize) -> String {
        Diagnostic::new(source, *Error::new(Span::new(start, end), "wrong").hint("mend")).to_string()
    }

    #[test]
    fn carets_stand_below_the_place() {
        assert_eq!(
            show("a == b\nc == dd", 12, 14),
            "wrong\n --> line 2, column 6\n  |\n2 | c == dd\n  |      ^^\n  |\n  = hint: mend"
        );
        assert!(
            show("\té日 x", 6, 7).contains("1 |  é日 x\n  |     ^^")
                || show("\té日 x", 7, 8).contains("      ^")
        );
        // A place at the end still has a caret.
        assert!(show("ab", 2, 2).contains("1 | ab\n  |   ^"));
        // Not a character boundary, past the end: no panic.
        let _ = show("é", 1, 99);
        let _ = show("", 5, 9);
    }

    #[test]
    fn hostile_and_long_lines() {
        let text = show("\u{1b}[31m\u{202e}", 0, 1);
        assert!(text.contains("\\u{1b}[31m\\u{202e}") && !text.contains('\u{1b}'), "{text}");
        let long = format!("{}oops{}", "a".repeat(10_000), "b".repeat(10_000));
        let text = show(&long, 10_000, 10_004);
        assert!(text.contains("aoopsb") && text.contains("^^^^") && text.len() < 600, "{text}");
        assert!(text.contains("column 10001"));
    }
}
