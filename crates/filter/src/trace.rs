//! Why a filter selects a subject or does not: each part with its verdict and the values it read.

use core::fmt;

use nabe_event::{Fields, Missing, Value};

use crate::cel::print;
use crate::classes::Classes;
use crate::diagnostic::Diagnostic;
use crate::eval::{Bind, Env, STEPS, Steps};
use crate::ir::Pred;
use crate::sysdig::{Ast, Definitions, Expr, ExprKind, Right, lower_test};

/// Longest value that is shown, in bytes.
const MAX_SHOWN: usize = 1024;

/// A part of a filter as it was judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// The test as it is written; of what has parts `and`, `or`, `not`, or a macro's name.
    pub text: String,
    /// The verdict; `None` when it is undecided, which selects nothing.
    pub verdict: Option<bool>,
    /// What was read: fields with their arguments, and their values or why there is none.
    pub values: Vec<(String, String)>,
    /// What it consists of. All of it was judged, needed or not.
    pub parts: Vec<Trace>,
}

/// Judges a subject by a filter of sysdig's language, part by part; macros stay what they are called.
///
/// # Errors
/// When the filter does not compile with these names and for these classes of fields.
pub fn trace(
    ast: &Ast,
    names: &dyn Definitions,
    classes: Classes,
    subject: &dyn Fields,
) -> Result<Trace, Diagnostic> {
    // Reports what is wrong, and refuses macros that lead back to themselves.
    crate::Program::of_sysdig_for(ast, &ast.to_string(), names, classes)?;
    Tracer { names, classes, subject }.expr(&ast.root)
}

/// Whether a tree says everything itself.
pub(crate) fn is_whole(expr: &Expr) -> bool {
    match &expr.kind {
        ExprKind::And(terms) | ExprKind::Or(terms) => terms.iter().all(is_whole),
        ExprKind::Not(inner) => is_whole(inner),
        ExprKind::Macro(_) => false,
        ExprKind::Exists(_) => true,
        ExprKind::Check { right, .. } => !matches!(right, Right::Name(..)),
    }
}

struct Tracer<'t> {
    names: &'t dyn Definitions,
    classes: Classes,
    subject: &'t dyn Fields,
}

impl Tracer<'_> {
    fn expr(&self, expr: &Expr) -> Result<Trace, Diagnostic> {
        Ok(match &expr.kind {
            ExprKind::And(terms) => joined(true, "and", self.exprs(terms)?),
            ExprKind::Or(terms) => joined(false, "or", self.exprs(terms)?),
            ExprKind::Not(inner) => negated("not", self.expr(inner)?),
            ExprKind::Macro(name) => {
                let part = self.names.macro_named(name).map(|ast| self.expr(&ast.root)).transpose()?;
                let verdict = part.as_ref().and_then(|part| part.verdict);
                Trace { text: name.clone(), verdict, values: Vec::new(), parts: part.into_iter().collect() }
            }
            ExprKind::Exists(_) | ExprKind::Check { .. } => {
                let text = expr.to_string();
                let pred = lower_test(expr, self.names, self.classes)
                    .map_err(|error| Diagnostic::new(&text, *error))?;
                tested(text, &pred, self.subject)
            }
        })
    }

    fn exprs(&self, terms: &[Expr]) -> Result<Vec<Trace>, Diagnostic> {
        terms.iter().map(|term| self.expr(term)).collect()
    }
}

/// The typed form judged part by part.
pub(crate) fn of_pred(pred: &Pred, subject: &dyn Fields) -> Trace {
    let all = |terms: &[Pred]| terms.iter().map(|term| of_pred(term, subject)).collect();
    match pred {
        Pred::And(terms) => joined(true, "&&", all(terms)),
        Pred::Or(terms) => joined(false, "||", all(terms)),
        Pred::Not(inner) => negated("!", of_pred(inner, subject)),
        test => tested(print::print(test), test, subject),
    }
}

fn joined(and: bool, text: &str, parts: Vec<Trace>) -> Trace {
    let verdict = if parts.iter().any(|part| part.verdict == Some(!and)) {
        Some(!and)
    } else {
        parts.iter().all(|part| part.verdict == Some(and)).then_some(and)
    };
    Trace { text: text.to_owned(), verdict, values: Vec::new(), parts }
}

fn negated(text: &str, part: Trace) -> Trace {
    let verdict = part.verdict.map(|verdict| !verdict);
    Trace { text: text.to_owned(), verdict, values: Vec::new(), parts: vec![part] }
}

fn tested(text: String, pred: &Pred, subject: &dyn Fields) -> Trace {
    let verdict = pred.eval(&Env::root(Bind::Subject(subject), &Steps::new(STEPS)));
    let mut values: Vec<(String, String)> = Vec::new();
    pred.fields(&mut |field| {
        if field.slot != 0 {
            return;
        }
        let name = field.id.field().name;
        let name = match &field.arg {
            Some(arg) => format!("{name}[{}]", arg.escape_ascii()),
            None => name.to_owned(),
        };
        if !values.iter().any(|(known, _)| *known == name) {
            values.push((name, shown(subject.get(field.id, field.arg.as_deref()))));
        }
    });
    // Ancestors that are not there say nothing each.
    let absent = shown(Value::Missing(Missing::Unset));
    if values.len() > 4 {
        let first = values.iter().position(|(_, value)| *value == absent).unwrap_or(values.len());
        if values[first..].iter().all(|(_, value)| *value == absent) {
            values.truncate(first + 1);
        }
    }
    Trace { text, verdict, values, parts: Vec::new() }
}

/// A value for people.
fn shown(value: Value<'_>) -> String {
    match value {
        Value::Missing(Missing::Subject | Missing::Unset) => "(no value)".to_owned(),
        Value::Missing(Missing::Unread(_)) => "(not read)".to_owned(),
        Value::Missing(Missing::Pending) => "(not known yet)".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Uint(value) => value.to_string(),
        Value::Ip(value) => value.to_string(),
        Value::Text(text) => {
            let more = if text.len() > MAX_SHOWN { "…" } else { "" };
            format!("{}{more}", String::from_utf8_lossy(text.get(..MAX_SHOWN).unwrap_or(text)))
        }
        Value::List(list) => {
            let items: Vec<String> = (0..list.len().min(64)).map(|at| shown(list.get(at))).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Map(map) => {
            let entries = (0..map.len().min(64)).filter_map(|at| map.entry(at));
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let entries: Vec<String> =
                entries.map(|(key, value)| format!("{}={}", text(key), text(value))).collect();
            format!("{{{}}}", entries.join(", "))
        }
    }
}

/// As an indented tree: `yes`, `no` or `unknown` before each part, values behind it. Values are
/// escaped: they are what programs made of them.
impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, 0)
    }
}

impl Trace {
    fn write(&self, f: &mut fmt::Formatter<'_>, depth: usize) -> fmt::Result {
        let verdict = match self.verdict {
            Some(true) => "yes",
            Some(false) => "no",
            None => "unknown",
        };
        write!(f, "{verdict:<8}{:depth$}{}", "", self.text, depth = depth * 2)?;
        for (at, (name, value)) in self.values.iter().enumerate() {
            let before = if at == 0 { "   # " } else { ", " };
            write!(f, "{before}{name} = {}", value.escape_debug())?;
        }
        writeln!(f)?;
        self.parts.iter().try_for_each(|part| part.write(f, depth + 1))
    }
}
