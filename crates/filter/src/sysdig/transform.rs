//! What transformers compute, beside the functions that CEL has too.

use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::{Engine as _, alphabet};
use std::borrow::Cow;

use nabe_event::Missing;

use crate::eval::value::{Dict, Seq, V};
use crate::ir::Func;

/// A function of sysdig's language without a twin in CEL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transform {
    /// What base64 stands for, with or without padding.
    B64,
    /// The part behind the last slash.
    Basename,
    /// Bytes of a text, items of a list.
    Len,
    /// The items of a list, all as texts, with a text between them.
    Join,
    /// The options of a list of arguments.
    Getopt,
    /// A map as a text: `key=value` with blanks between, as environments are shown.
    Environment,
    /// A map as a text: `key:value` with commas between, as labels are shown.
    Labels,
    /// Whether a text matches a glob that is computed too.
    Glob,
    /// The same without regard to case.
    Iglob,
}

impl Transform {
    /// Its name in plans.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::B64 => "b64",
            Self::Basename => "basename",
            Self::Len => "len",
            Self::Join => "join",
            Self::Getopt => "getopt",
            Self::Environment => "environment",
            Self::Labels => "labels",
            Self::Glob => "glob",
            Self::Iglob => "iglob",
        }
    }
}

impl From<Transform> for Func {
    fn from(transform: Transform) -> Self {
        Self::Sysdig(transform)
    }
}

/// The result; `None` when there is none for these arguments.
pub(crate) fn apply(transform: Transform, args: &[V<'_>]) -> Option<V<'static>> {
    match (transform, args) {
        (Transform::B64, [V::Text(text)]) => decode_base64(text).map(V::text),
        (Transform::Basename, [V::Text(text)]) => {
            let from = memchr::memrchr(b'/', text).map_or(0, |at| at + 1);
            Some(V::text(text[from..].to_vec()))
        }
        (Transform::Len, [V::Text(text)]) => Some(V::int(i128::try_from(text.len()).ok())),
        (Transform::Len, [V::List(list)]) => {
            let mut count = 0_usize;
            flatten(list, &mut |_| count += 1).map(|()| V::int(i128::try_from(count).ok()))
        }
        (Transform::Join, [V::Text(separator), V::List(list)]) => join(separator, list),
        (Transform::Getopt, [V::List(list), V::Text(options)]) => getopt(list, options, None),
        (Transform::Getopt, [V::List(list), V::Text(options), V::Text(wanted)]) => {
            getopt(list, options, Some(*wanted.first()?))
        }
        // Events tell them as texts.
        (Transform::Environment | Transform::Labels, [V::Text(text)]) => Some(V::text(text.to_vec())),
        (Transform::Environment, [V::Map(map)]) => Some(entries(map, b"=", b" ")),
        (Transform::Labels, [V::Map(map)]) => Some(entries(map, b":", b", ")),
        (Transform::Glob | Transform::Iglob, [V::Text(text), V::Text(pattern)]) => {
            let pattern = super::pattern::glob(pattern, transform == Transform::Iglob).ok()?;
            Some(V::Bool(pattern.is_match(text)))
        }
        _ => None,
    }
}

/// Calls `see` with the items of a list and of lists in it; `None` when one is absent.
fn flatten(list: &Seq<'_>, see: &mut dyn FnMut(&V<'_>)) -> Option<()> {
    for at in 0..list.len() {
        match list.get(at) {
            V::Missing(_) => return None,
            V::List(inner) => flatten(&inner, see)?,
            item => see(&item),
        }
    }
    Some(())
}

/// The items of a list as texts.
fn texts(list: &Seq<'_>) -> Option<Vec<Vec<u8>>> {
    let (mut texts, mut all) = (Vec::new(), true);
    flatten(list, &mut |item| match text(item) {
        Some(text) => texts.push(text),
        None => all = false,
    })?;
    all.then_some(texts)
}

fn text(item: &V<'_>) -> Option<Vec<u8>> {
    Some(match item {
        V::Text(text) => text.to_vec(),
        V::Int(number) => number.to_string().into_bytes(),
        V::Float(number) => number.to_string().into_bytes(),
        V::Bool(value) => value.to_string().into_bytes(),
        V::Ip(address) => address.to_string().into_bytes(),
        _ => return None,
    })
}

fn join(separator: &[u8], list: &Seq<'_>) -> Option<V<'static>> {
    Some(V::text(texts(list)?.join(separator)))
}

fn entries(map: &Dict<'_>, between: &[u8], behind: &[u8]) -> V<'static> {
    let mut out = Vec::new();
    for (key, value) in (0..map.len()).filter_map(|at| map.entry(at)) {
        if let (V::Text(key), V::Text(value)) = (key, value) {
            out.extend_from_slice(if out.is_empty() { b"" } else { behind });
            out.extend([&*key, between, &*value].concat());
        }
    }
    V::text(out)
}

/// Base64 with the usual alphabet; padding may be missing. `None` when it is none.
#[must_use]
pub fn decode_base64(text: &[u8]) -> Option<Vec<u8>> {
    const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    const ENGINE: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
    ENGINE.decode(text).ok()
}

/// Reads arguments as getopt(3) does with this text of options: a list of options and their values,
/// or of one `wanted` option the last value. Words such as `--exec` are skipped.
fn getopt(list: &Seq<'_>, options: &[u8], wanted: Option<u8>) -> Option<V<'static>> {
    let words = texts(list)?;
    let mut found: Vec<Vec<u8>> = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.as_slice() {
            b"--" => break,
            [b'-', b'-', _, ..] => continue,
            [b'-', _, ..] => {}
            _ => break,
        }
        for at in 1..word.len() {
            let option = word[at];
            let Some(takes) = takes_value(options, option) else {
                if wanted.is_none() {
                    found.push(b"?".to_vec());
                }
                continue;
            };
            let value = match (takes, &word[at + 1..]) {
                (false, _) => None,
                (true, []) => Some(words.next().cloned()),
                (true, rest) => Some(Some(rest.to_vec())),
            };
            if wanted.is_none_or(|wanted| wanted == option) {
                match value.clone() {
                    // A value that is missing counts as an empty one.
                    Some(None) => found.push(Vec::new()),
                    Some(Some(value)) if wanted.is_some() => found.push(value),
                    Some(Some(value)) => found.extend([vec![option], value]),
                    None => found.push(vec![option]),
                }
            }
            if value.is_some() {
                break;
            }
        }
    }
    let text = |text: Vec<u8>| V::Text(Cow::Owned(text));
    Some(match wanted {
        Some(_) => found.pop().map_or(V::Missing(Missing::Unset), text),
        None => V::List(Seq::Made(found.into_iter().map(text).collect())),
    })
}

/// Whether an option takes a value; `None` for one that is not in the text of options.
fn takes_value(options: &[u8], option: u8) -> Option<bool> {
    if option == b':' {
        return None;
    }
    let found = options.iter().rposition(|byte| *byte == option)?;
    let with = |at: usize| options.get(at + 1) == Some(&b':');
    Some(with(found) || (0..found).any(|at| options[at] == option && with(at)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_with_and_without_padding() {
        for (text, expected) in [
            ("", Some("")),
            ("YQ", Some("a")),
            ("YQ==", Some("a")),
            ("YWI=", Some("ab")),
            ("YWFhLWJiYg", Some("aaa-bbb")),
            ("Y", None),
            ("Y*==", None),
        ] {
            assert_eq!(
                decode_base64(text.as_bytes()),
                expected.map(|text| text.as_bytes().to_vec()),
                "{text}"
            );
        }
    }

    #[test]
    fn an_option_stands_in_the_text_or_not() {
        assert_eq!(takes_value(b"nt:", b'n'), Some(false));
        assert_eq!(takes_value(b"nt:", b't'), Some(true));
        assert_eq!(takes_value(b"nt:", b'x'), None);
        assert_eq!(takes_value(b":t:", b':'), None);
    }
}
