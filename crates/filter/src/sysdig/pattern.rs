//! Globs, paths, texts without regard to case, and regular expressions: all become one kind of
//! pattern over bytes.

use core::fmt::Write as _;

use regex::bytes::{Regex, RegexBuilder};

use super::path::Paths;
use crate::ir::Pattern;

/// Memory that one pattern may take.
const PATTERN_BYTES: usize = 4 << 20;

fn build(source: &str) -> Result<Regex, String> {
    let built = RegexBuilder::new(source).size_limit(PATTERN_BYTES).dfa_size_limit(PATTERN_BYTES).build();
    built.map_err(|error| {
        let text = error.to_string();
        let reason = text.lines().last().unwrap_or_default().trim().trim_start_matches("error: ");
        reason.chars().filter(|c| !c.is_control()).take(160).collect()
    })
}

/// The whole text matches; `^` and `$` also stand at line breaks, `.` does not.
pub(super) fn regex(source: &str) -> Result<Regex, String> {
    // On its own first: a pattern such as `a)(b` would close the brackets around it.
    build(source)?;
    build(&format!(r"\A(?:(?m:{source}))\z"))
}

/// The text holds this one, ASCII letters alike.
pub(super) fn contains_folded(text: &[u8]) -> Result<Regex, String> {
    let mut out = String::from("(?i-u)");
    text.iter().for_each(|byte| literal(&mut out, *byte));
    build(&out)
}

/// The whole text matches, as fnmatch(3) without flags: `*` also crosses slashes.
pub(super) fn glob(pattern: &[u8], folded: bool) -> Result<Regex, String> {
    let fold = if folded { "i" } else { "" };
    build(&format!(r"\A(?s{fold}-u:{})\z", translate(pattern)))
}

/// One of these paths is the path or leads to it, component by component; components may be globs.
pub(super) fn paths<'p>(paths: impl Iterator<Item = &'p [u8]> + Clone) -> Result<Pattern, String> {
    let mut out = String::new();
    for path in paths.clone() {
        out.push_str(if out.is_empty() { "" } else { "|" });
        let components = path.split(|byte| *byte == b'/').filter(|component| !component.is_empty());
        for (at, component) in components.enumerate() {
            out.push_str(if at == 0 { "/*" } else { "/+" });
            out.push_str(&translate_within(component, true));
        }
        out.push_str("(?:/.*)?");
        // The root leads everywhere.
        if path.iter().all(|byte| *byte == b'/') {
            out.push_str("|.*");
        }
    }
    let source = format!(r"\A(?s-u:{out})\z");
    match Paths::new(paths) {
        Some(paths) => Ok(Pattern::of_paths(source, paths)),
        None => build(&source).map(Pattern::from),
    }
}

fn literal(out: &mut String, byte: u8) {
    if byte.is_ascii_alphanumeric() {
        out.push(char::from(byte));
    } else {
        let _ = write!(out, r"\x{byte:02x}");
    }
}

fn translate(pattern: &[u8]) -> String {
    translate_within(pattern, false)
}

/// A glob as a regular expression; within a path's component wildcards do not meet slashes.
fn translate_within(pattern: &[u8], component: bool) -> String {
    let (mut out, mut at) = (String::new(), 0);
    let any = if component { "[^/]" } else { "." };
    while let Some(&byte) = pattern.get(at) {
        at += 1;
        match byte {
            b'*' => {
                out.push_str(any);
                out.push('*');
            }
            b'?' => out.push_str(any),
            b'[' => match class(&pattern[at..]) {
                Some((class, length)) => {
                    out.push_str(&class);
                    at += length;
                }
                None => literal(&mut out, b'['),
            },
            b'\\' => match pattern.get(at) {
                Some(&escaped) => {
                    literal(&mut out, escaped);
                    at += 1;
                }
                // Nothing matches a lone backslash at the end.
                None => out.push_str(r"[^\x00-\xff]"),
            },
            byte => literal(&mut out, byte),
        }
    }
    out
}

/// A bracket of a glob, behind its `[`, and its length; `None` when it is not closed.
fn class(rest: &[u8]) -> Option<(String, usize)> {
    let negated = matches!(rest.first(), Some(b'!' | b'^'));
    let mut at = usize::from(negated);
    let first = at;
    let mut out = String::from(if negated { "[^" } else { "[" });
    let mut empty = true;
    loop {
        let byte = *rest.get(at)?;
        if byte == b']' && at > first {
            at += 1;
            break;
        }
        if byte == b'[' && rest.get(at + 1) == Some(&b':') {
            let end = (at + 2..rest.len()).find(|end| rest[*end..].starts_with(b":]"))?;
            let name = core::str::from_utf8(&rest[at + 2..end]).ok()?;
            if !CLASSES.contains(&name) {
                return None;
            }
            let _ = write!(out, "[:{name}:]");
            (at, empty) = (end + 2, false);
            continue;
        }
        let (low, next) = member(rest, at)?;
        at = next;
        let mut high = low;
        if rest.get(at) == Some(&b'-') && rest.get(at + 1).is_some_and(|byte| *byte != b']') {
            (high, at) = member(rest, at + 1)?;
        }
        // A range that runs backwards holds nothing.
        if low <= high {
            let _ = write!(out, r"\x{low:02x}-\x{high:02x}");
            empty = false;
        }
    }
    out.push(']');
    Some(match (empty, negated) {
        (false, _) => (out, at),
        (true, true) => (".".to_owned(), at),
        (true, false) => (r"[^\x00-\xff]".to_owned(), at),
    })
}

static CLASSES: &[&str] = &[
    "alnum", "alpha", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper",
    "xdigit",
];

/// A byte within a bracket, and the place behind it.
fn member(rest: &[u8], at: usize) -> Option<(u8, usize)> {
    match *rest.get(at)? {
        b'\\' => Some((*rest.get(at + 1)?, at + 2)),
        byte => Some((byte, at + 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_as_fnmatch_does() {
        let matches = |pattern: &str, text: &[u8]| glob(pattern.as_bytes(), false).unwrap().is_match(text);
        for (pattern, text, expected) in [
            ("*", &b""[..], true),
            ("a*c", b"a/b/c", true),
            ("a?c", b"a/c", true),
            ("a?c", b"a\xffc", true),
            ("a?c", "aéc".as_bytes(), false),
            ("[a-c]x", b"bx", true),
            ("[!a-c]x", b"bx", false),
            ("[^a-c]x", b"dx", true),
            ("[]]", b"]", true),
            ("[!]]", b"]", false),
            ("[a", b"[a", true),
            ("[[:digit:]]*", b"5x", true),
            ("[[:digit:]]*", b"x5", false),
            (r"\*", b"*", true),
            (r"\*", b"x", false),
            ("\\", b"\\", false),
            ("a.c", b"abc", false),
            ("[z-a]", b"b", false),
            ("a\nb", b"a\nb", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {}", text.escape_ascii());
        }
        assert!(glob(b"AB*", true).unwrap().is_match(b"abc"));
    }

    #[test]
    fn paths_lead_to_whole_components() {
        let matches = |prefix: &str, path: &str| {
            paths(core::iter::once(prefix.as_bytes())).unwrap().is_match(path.as_bytes())
        };
        for (prefix, path, expected) in [
            ("/var/run", "/var/run/docker", true),
            ("/var/run", "/var/run", true),
            ("/var/run", "/var/running", false),
            ("/var/run", "/var", false),
            ("var//run/", "/var/run", true),
            ("/", "/anything", true),
            ("/", "", true),
            ("/*/lib", "/usr/lib/x", true),
            ("/*/lib", "/a/b/lib", false),
            ("/u?r", "/usr/x", true),
        ] {
            assert_eq!(matches(prefix, path), expected, "{prefix} {path}");
        }
        assert!(!paths(core::iter::empty()).unwrap().is_match(b"/x"));
    }

    #[test]
    fn paths_without_wildcards_match_as_their_regular_expression() {
        let texts: Vec<Vec<u8>> =
            ["", "/", "a", "/a", "/a/", "//a//b", "/a/b", "a/b/c", "/ab", "/b", "/a/b\n", "\n", "/b/a"]
                .map(|text| text.as_bytes().to_vec())
                .into();
        for sets in
            [&["/a"][..], &["/a/b"], &["a//b/"], &["/"], &[""], &["/b", "/a/b", "/a/c"], &["/ab", "//"]]
        {
            let pattern = paths(sets.iter().map(|path| path.as_bytes())).unwrap();
            let regex = build(pattern.as_str()).unwrap();
            for text in &texts {
                let expected = regex.is_match(text);
                assert_eq!(pattern.is_match(text), expected, "{sets:?} {}", text.escape_ascii());
            }
        }
    }

    #[test]
    fn regular_expressions_are_anchored() {
        assert!(regex("b.*").unwrap().is_match(b"bash") && !regex("as").unwrap().is_match(b"bash"));
        assert!(regex("a|bash").unwrap().is_match(b"bash") && regex("^[a-z]+$").unwrap().is_match(b"bash"));
        assert!(regex("a)(b").is_err() && regex("(").is_err());
    }
}
