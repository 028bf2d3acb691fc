//! What can be wrong with the columns and sort keys that a user asks for.

use nabe_event::field::nearest;

/// A column or sort key that cannot be used. Names in messages are the user's own words; whoever
/// prints them escapes them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No field, alias, preset or column has this name.
    #[error("unknown {what} `{name}`")]
    Unknown {
        /// What was looked for: "column", "sort key" and the like.
        what: &'static str,
        /// What the user wrote.
        name: String,
        /// The known name that is nearest, if any is near.
        nearest: Option<String>,
    },
    /// A field that leads to other subjects and has no text of its own.
    #[error("field `{name}` cannot be a {what}")]
    NotAColumn {
        /// What was looked for.
        what: &'static str,
        /// The field.
        name: String,
    },
    /// A key in brackets behind a field that is no map.
    #[error("field `{name}` takes no key in brackets")]
    NoKey {
        /// The field.
        name: String,
    },
    /// Brackets that do not close, or something behind them.
    #[error("`{name}` has brackets that are not closed")]
    Brackets {
        /// What the user wrote.
        name: String,
    },
    /// Nothing between two commas.
    #[error("empty {what} in `{list}`")]
    Empty {
        /// What was looked for.
        what: &'static str,
        /// The whole list.
        list: String,
    },
}

impl Error {
    pub(crate) fn unknown<'a>(
        what: &'static str,
        name: &str,
        known: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        Self::Unknown { what, name: name.to_owned(), nearest: nearest(name, known).map(str::to_owned) }
    }

    /// The name that was probably meant.
    #[must_use]
    pub fn nearest(&self) -> Option<&str> {
        match self {
            Self::Unknown { nearest, .. } => nearest.as_deref(),
            _ => None,
        }
    }
}
