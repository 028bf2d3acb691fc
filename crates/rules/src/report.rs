//! What loading a file came to: errors and warnings with their codes, as text and as JSON.

use serde_json::{Value, json};

use crate::place::Place;

macro_rules! codes {
    ($(#[$about:meta])* $name:ident { $( $variant:ident = $code:literal, $text:literal; )* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum $name { $( #[doc = $text] $variant ),* }
        impl $name {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),*];
            /// Falco's code.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $(Self::$variant => $code),* }
            }
            /// Falco's words for it.
            #[must_use]
            pub const fn words(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }
        }
    };
}

codes! {
    /// Why rules do not load.
    ErrorCode {
        FileRead = "LOAD_ERR_FILE_READ", "File read error";
        YamlParse = "LOAD_ERR_YAML_PARSE", "YAML parse error";
        YamlValidate = "LOAD_ERR_YAML_VALIDATE", "Error validating internal structure of YAML file";
        CompileCondition = "LOAD_ERR_COMPILE_CONDITION", "Error compiling condition";
        CompileOutput = "LOAD_ERR_COMPILE_OUTPUT", "Error compiling output";
        Validate = "LOAD_ERR_VALIDATE", "Error validating rule/macro/list/exception objects";
        Extension = "LOAD_ERR_EXTENSION", "Error in extension item";
    }
}

codes! {
    /// What is doubtful about rules that load. The order is that of Falco's own warnings.
    WarningCode {
        UnknownSource = "LOAD_UNKNOWN_SOURCE", "Unknown event source";
        UnsafeNaCheck = "LOAD_UNSAFE_NA_CHECK", "Unsafe <NA> comparison in condition";
        NoEvttype = "LOAD_NO_EVTTYPE", "Condition has no event-type restriction";
        UnknownFilter = "LOAD_UNKNOWN_FILTER", "Unknown field or event-type in condition or output";
        UnusedMacro = "LOAD_UNUSED_MACRO", "Unused macro";
        UnusedList = "LOAD_UNUSED_LIST", "Unused list";
        UnknownItem = "LOAD_UNKNOWN_ITEM", "Unknown rules file item";
        DeprecatedItem = "LOAD_DEPRECATED_ITEM", "Used deprecated item";
        Extension = "LOAD_WARNING_EXTENSION", "Warning in extension item";
        AppendNoValues = "LOAD_APPEND_NO_VALUES", "Overriding/appending with no values";
        ExceptionNameNotUnique = "LOAD_EXCEPTION_NAME_NOT_UNIQUE", "Multiple exceptions defined with the same name";
        InvalidMacroName = "LOAD_INVALID_MACRO_NAME", "Invalid macro name";
        InvalidListName = "LOAD_INVALID_LIST_NAME", "Invalid list name";
        CompileCondition = "LOAD_COMPILE_CONDITION", "Warning in rule condition";
        UnknownKey = "LOAD_UNKNOWN_KEY", "Unknown key in item definition";
    }
}

/// An error or a warning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// The rules do not load.
    Error(ErrorCode),
    /// They do, but.
    Warning(WarningCode),
}

impl Code {
    /// Falco's code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Error(code) => code.code(),
            Self::Warning(code) => code.code(),
        }
    }

    /// Falco's words for it.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Error(code) => code.words(),
            Self::Warning(code) => code.words(),
        }
    }
}

/// Something that is wrong or doubtful.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What kind.
    pub code: Code,
    /// What is wrong, in Falco's words where Falco has words for it.
    pub message: String,
    /// How to mend it: the nearest name, what is expected.
    pub hint: Option<String>,
    /// Where.
    pub place: Place,
    /// The line and a mark under the place.
    pub snippet: String,
}

/// What stops the loading of a file.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) code: ErrorCode,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
    pub(crate) place: Place,
}

pub(crate) type Result<T> = core::result::Result<T, Box<Fault>>;

impl Fault {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>, place: &Place) -> Box<Self> {
        Box::new(Self { code, message: message.into(), hint: None, place: place.clone() })
    }

    pub(crate) fn hint(mut self: Box<Self>, hint: Option<String>) -> Box<Self> {
        self.hint = hint;
        self
    }
}

/// What loading one file came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The file's name.
    pub name: String,
    /// What stops it; empty when it loads.
    pub errors: Vec<Problem>,
    /// What is doubtful.
    pub warnings: Vec<Problem>,
    /// Where it departs from the schema of rule files; `None` when it was not looked at.
    pub schema: Option<Vec<String>>,
}

impl Report {
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    /// Whether the file loads.
    #[must_use]
    pub fn successful(&self) -> bool {
        self.errors.is_empty()
    }

    pub(crate) fn fault(&mut self, fault: Fault, content: &str) {
        let snippet = fault.place.snippet(content);
        let code = Code::Error(fault.code);
        self.errors.push(Problem {
            code,
            message: fault.message,
            hint: fault.hint,
            place: fault.place,
            snippet,
        });
    }

    pub(crate) fn warn(
        &mut self,
        code: WarningCode,
        message: impl Into<String>,
        place: &Place,
        content: &str,
    ) {
        let snippet = place.snippet(content);
        let (code, message) = (Code::Warning(code), message.into());
        self.warnings.push(Problem { code, message, hint: None, place: place.clone(), snippet });
    }

    /// The hint of the last warning.
    pub(crate) fn mend(&mut self, hint: Option<String>) {
        if let Some(last) = self.warnings.last_mut() {
            last.hint = hint;
        }
    }

    /// Falco's `Ok`, `Ok, with warnings` or `Invalid`.
    #[must_use]
    pub fn verdict(&self) -> &'static str {
        match (self.errors.is_empty(), self.warnings.is_empty()) {
            (false, _) => "Invalid",
            (true, false) => "Ok, with warnings",
            (true, true) => "Ok",
        }
    }

    /// All that there is to say, as Falco says it; with `hints`, also how to mend it.
    #[must_use]
    pub fn text(&self, hints: bool) -> String {
        let mut out = if self.name.is_empty() { String::new() } else { format!("{}: ", self.name) };
        out.push_str(self.verdict());
        if let Some(schema) = self.schema.as_ref().filter(|schema| !schema.is_empty()) {
            out.push_str(&format!("\n{} Schema warnings:\n", schema.len()));
            schema.iter().for_each(|one| out.push_str(&format!("------\n{one}\n")));
            out.push_str("------\n");
        }
        for (problems, title) in [(&self.errors, "Errors"), (&self.warnings, "Warnings")] {
            if problems.is_empty() {
                continue;
            }
            out.push_str(&format!("\n{} {title}:\n", problems.len()));
            for problem in problems {
                out.push_str(&format!(
                    "{}------\n{}------\n{} ({}): {}\n",
                    problem.place.text(),
                    problem.snippet,
                    problem.code.code(),
                    problem.code.words(),
                    problem.message
                ));
                if let Some(hint) = problem.hint.as_ref().filter(|_| hints) {
                    out.push_str(&format!("hint: {hint}\n"));
                }
            }
        }
        out
    }

    /// As an item of `falco_load_results`; with `hints`, also how to mend it.
    #[must_use]
    pub fn json(&self, hints: bool) -> Value {
        let problems = |problems: &[Problem]| -> Vec<Value> {
            let one = |problem: &Problem| {
                let mut context = problem.place.json();
                context["snippet"] = json!(problem.snippet);
                let mut value = json!({
                    "code": problem.code.code(),
                    "codedesc": problem.code.words(),
                    "message": problem.message,
                    "context": context,
                });
                if let Some(hint) = problem.hint.as_ref().filter(|_| hints) {
                    value["hint"] = json!(hint);
                }
                value
            };
            problems.iter().map(one).collect()
        };
        let mut value = json!({
            "name": self.name,
            "successful": self.successful(),
            "errors": problems(&self.errors),
            "warnings": problems(&self.warnings),
        });
        if let Some(schema) = &self.schema {
            value["schema_valid"] = json!(schema.is_empty());
            value["schema_warnings"] = json!(schema);
        }
        value
    }
}
