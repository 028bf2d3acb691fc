//! JSON as it came: objects keep the order of their members, so that what is shown of them is what
//! was sent.

use core::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Number;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Tree {
    Null,
    Bool(bool),
    Number(Number),
    Text(Box<str>),
    Array(Vec<Tree>),
    Object(Vec<(Box<str>, Tree)>),
}

impl Tree {
    /// The member `key` of an object, or the item of that number of an array.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Object(members) => members.iter().find(|(name, _)| &**name == key).map(|(_, value)| value),
            Self::Array(items) => items.get(key.parse::<usize>().ok()?),
            _ => None,
        }
    }

    /// What a path of keys leads to.
    pub(crate) fn at(&self, path: &[&str]) -> Option<&Self> {
        path.iter().try_fold(self, |tree, key| tree.get(key))
    }

    pub(crate) fn array(&self) -> Option<&[Self]> {
        match self {
            Self::Array(items) => Some(items),
            _ => None,
        }
    }

    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A text without its quotes, anything else as compact JSON.
    pub(crate) fn plain(&self) -> String {
        match self {
            Self::Text(text) => text.to_string(),
            other => other.to_string(),
        }
    }

    /// Indented by two blanks a level, as Go's encoding/json does it.
    pub(crate) fn indented(&self) -> String {
        let mut out = String::new();
        self.indent(&mut out, 0);
        out
    }

    fn indent(&self, out: &mut String, depth: usize) {
        let line = |out: &mut String, depth: usize| {
            out.push('\n');
            out.extend(core::iter::repeat_n("  ", depth));
        };
        match self {
            Self::Array(items) if !items.is_empty() => {
                for (at, item) in items.iter().enumerate() {
                    out.push(if at == 0 { '[' } else { ',' });
                    line(out, depth + 1);
                    item.indent(out, depth + 1);
                }
                line(out, depth);
                out.push(']');
            }
            Self::Object(members) if !members.is_empty() => {
                for (at, (name, value)) in members.iter().enumerate() {
                    out.push(if at == 0 { '{' } else { ',' });
                    line(out, depth + 1);
                    out.push_str(&quoted(name));
                    out.push_str(": ");
                    value.indent(out, depth + 1);
                }
                line(out, depth);
                out.push('}');
            }
            other => out.push_str(&other.to_string()),
        }
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Compact JSON.
impl fmt::Display for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Number(value) => write!(f, "{value}"),
            Self::Text(text) => f.write_str(&quoted(text)),
            Self::Array(items) => {
                f.write_str("[")?;
                for (at, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if at == 0 { "" } else { "," })?;
                }
                f.write_str("]")
            }
            Self::Object(members) => {
                f.write_str("{")?;
                for (at, (name, value)) in members.iter().enumerate() {
                    write!(f, "{}{}:{value}", if at == 0 { "" } else { "," }, quoted(name))?;
                }
                f.write_str("}")
            }
        }
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = Tree;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }

            fn visit_unit<E>(self) -> Result<Tree, E> {
                Ok(Tree::Null)
            }

            fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
                Ok(Tree::Bool(value))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
                Ok(Tree::Number(value.into()))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
                Ok(Tree::Number(value.into()))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Tree, E> {
                Ok(Number::from_f64(value).map_or(Tree::Null, Tree::Number))
            }

            fn visit_str<E>(self, value: &str) -> Result<Tree, E> {
                Ok(Tree::Text(value.into()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Tree, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = access.next_element()? {
                    items.push(item);
                }
                Ok(Tree::Array(items))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Tree, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = access.next_entry::<String, Tree>()? {
                    members.push((member.0.into(), member.1));
                }
                Ok(Tree::Object(members))
            }
        }

        deserializer.deserialize_any(Any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_texts_stay() {
        let text = r#"{"z":1,"a":[true,null,{"q":"\"\n"}],"e":{},"f":-1.5}"#;
        let tree: Tree = serde_json::from_str(text).unwrap();
        assert_eq!(tree.to_string(), text);
        assert_eq!(tree.at(&["a", "2", "q"]).unwrap().plain(), "\"\n");
        assert_eq!(tree.at(&["a"]).unwrap().plain(), r#"[true,null,{"q":"\"\n"}]"#);
        assert_eq!(tree.at(&["a", "9"]), None);
        let indented = "{\n  \"z\": 1,\n  \"a\": [\n    true,\n    null,\n    {\n      \"q\": \"\\\"\\n\"\n    }\n  ],\n  \
             \"e\": {},\n  \"f\": -1.5\n}";
        assert_eq!(tree.indented(), indented);
    }
}
