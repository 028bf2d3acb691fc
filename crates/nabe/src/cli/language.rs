//! The languages of filters, as words of the command line.

use nabe_filter::Lang;

/// The language that a filter is written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Language {
    /// Whichever it is: CEL, where CEL's grammar takes it
    #[default]
    Auto,
    /// The Common Expression Language, as psc has it
    Cel,
    /// sysdig's and Falco's
    Sysdig,
}

impl From<Language> for Lang {
    fn from(language: Language) -> Self {
        match language {
            Language::Auto => Self::Auto,
            Language::Cel => Self::Cel,
            Language::Sysdig => Self::Sysdig,
        }
    }
}
