//! A compiled filter and what can be asked of it.

use std::fmt::Write as _;
use std::sync::Arc;

use nabe_event::field::Class;
use nabe_event::{FieldId, Fields, Interest, Needs};

use crate::cel::{parser, print};
use crate::compile::{Code, compile};
use crate::diagnostic::Diagnostic;
use crate::eval::{STEPS, Steps};
use crate::ir::{FieldRef, Pred};
use crate::resolve::Resolver;
use crate::{interest, passes, weaken};

/// A filter: a predicate over subjects, with what it reads and what it can be reduced to. Cheap to
/// clone.
#[derive(Clone, Debug)]
pub struct Program(Arc<Plan>);

#[derive(Debug)]
struct Plan {
    pred: Pred,
    code: Code,
    needs: Needs,
    /// The canonical text, when it was written in another language than CEL.
    text: Option<String>,
}

impl Program {
    /// Compiles an expression of CEL; a blank one selects everything.
    ///
    /// # Errors
    /// When the text is no expression that is true or false, or is nested too deeply or too long.
    pub fn cel(source: &str) -> Result<Self, Diagnostic> {
        let tree = parser::parse(source).map_err(|error| Diagnostic::new(source, *error))?;
        let pred = tree.map_or(Ok(Pred::Const(Some(true))), |tree| Resolver::resolve(source, &tree));
        pred.map(Self::new).map_err(|error| Diagnostic::new(source, *error))
    }

    /// Compiles an expression of CEL about events: fields of events are known besides those of
    /// snapshots.
    ///
    /// # Errors
    /// As those of [`Self::cel`].
    pub fn cel_of_events(source: &str) -> Result<Self, Diagnostic> {
        let tree = parser::parse(source).map_err(|error| Diagnostic::new(source, *error))?;
        let pred = tree.map_or(Ok(Pred::Const(Some(true))), |tree| Resolver::resolve_events(source, &tree));
        pred.map(Self::new).map_err(|error| Diagnostic::new(source, *error))
    }

    /// The filter that selects everything.
    #[must_use]
    pub fn all() -> Self {
        Self::new(Pred::Const(Some(true)))
    }

    fn new(pred: Pred) -> Self {
        Self::with_text(pred, None)
    }

    /// The same with the canonical text of another language than CEL.
    pub(crate) fn with_text(mut pred: Pred, text: Option<String>) -> Self {
        passes::run(&mut pred);
        Self(Arc::new(Plan { code: compile(&pred), needs: interest::collectors(&pred), pred, text }))
    }

    /// The filter that selects what both select.
    #[must_use]
    pub fn both(&self, other: &Self) -> Self {
        let text = match (self, other) {
            (all, one) | (one, all) if all.selects_all() => return one.clone(),
            (one, other) => one.0.text.as_ref().zip(other.0.text.as_ref()),
        };
        let text = text.map(|(one, other)| format!("({one} and {other})"));
        Self::with_text(Pred::And(vec![self.0.pred.clone(), other.0.pred.clone()]), text)
    }

    /// Whether the subject is selected; an undecided one is not.
    #[must_use]
    pub fn matches(&self, subject: &dyn Fields) -> bool {
        self.verdict(subject) == Some(true)
    }

    /// The verdict; `None` when what it depends on does not exist or is not known.
    #[must_use]
    pub fn verdict(&self, subject: &dyn Fields) -> Option<bool> {
        self.0.code.judge(subject, &Steps::new(STEPS))
    }

    /// The fields that are read, each once.
    #[must_use]
    pub fn fields(&self) -> Vec<FieldId> {
        let mut fields = Vec::new();
        self.0.pred.fields(&mut |field| fields.push(field.id));
        fields.sort_unstable();
        fields.dedup();
        fields
    }

    /// Whether fields of `class` are read of the row itself, not of items of `process.files`.
    #[must_use]
    pub fn reads(&self, class: Class) -> bool {
        let mut reads = false;
        self.0.pred.fields(&mut |field| reads |= field.slot == 0 && field.id.class() == class);
        reads
    }

    /// Whether everything is selected.
    #[must_use]
    pub fn selects_all(&self) -> bool {
        self.0.pred == Pred::Const(Some(true))
    }

    /// The collectors that must run to decide it.
    #[must_use]
    pub fn needs(&self) -> Needs {
        self.0.needs
    }

    /// What must be collected so that no match is lost: the processes and sockets that can match
    /// at all. Whoever also shows fields that speak of other subjects (`process.fdCount`,
    /// `container.pids`) joins this with what those fields want.
    #[must_use]
    pub fn interest(&self) -> Interest {
        interest::interest(&self.0.pred)
    }

    /// A weaker filter that reads only what `available` collectors know. Every subject that this
    /// filter selects the weaker one selects too, so what it rejects need not be looked at further.
    #[must_use]
    pub fn prefilter(&self, available: Needs) -> Self {
        self.weaker(&|field| available.contains(field.needs()))
    }

    /// A weaker filter that reads only what belongs to the process: its own fields, its
    /// container's, and its descriptors as a whole.
    #[must_use]
    pub fn process_part(&self) -> Self {
        self.weaker(&|field| field.slot > 0 || field.id.class() != Class::File)
    }

    fn weaker(&self, readable: &dyn Fn(&FieldRef) -> bool) -> Self {
        Self::new(weaken::weaken(&self.0.pred, readable))
    }

    /// The filter as canonical text. Of CEL it is what the filter was compiled to, of sysdig's
    /// language the filter as it was read; either compiles to an equal filter. What has been derived
    /// from a filter of sysdig's language is shown as CEL, which says nothing of absent values. Text
    /// of a filter nested near the limit may be beyond it: see [`crate::sysdig::parse_within`].
    #[must_use]
    pub fn canonical(&self) -> String {
        self.0.text.clone().unwrap_or_else(|| print::print(&self.0.pred))
    }

    /// The plan for people: canonical text, fields with types, collectors, what the kernel decides.
    #[must_use]
    pub fn explain(&self) -> String {
        let mut out = format!("filter     {}\n", self.canonical());
        for (at, id) in self.fields().into_iter().enumerate() {
            let field = id.field();
            let title = if at == 0 { "reads" } else { "" };
            let _ = writeln!(out, "{title:<10} {}: {} ({})", field.name, field.ty.name(), field.needs);
        }
        let needs = self.needs();
        if !needs.is_empty() {
            let _ = writeln!(out, "collects   {needs}");
        }
        let pushed = interest::describe(&self.interest());
        let pushed = if pushed.is_empty() { "nothing".to_owned() } else { pushed.join("; ") };
        let _ = writeln!(out, "pushed     {pushed}");
        out
    }
}
