//! A compiled filter and what can be asked of it.

use std::sync::Arc;

use nabe_event::field::Class;
use nabe_event::{FieldId, Fields, Interest, Needs};

use crate::cel::parser;
use crate::diagnostic::Diagnostic;
use crate::eval::{Bind, Env, STEPS, Steps};
use crate::ir::Pred;
use crate::resolve::Resolver;

/// A filter: a predicate over subjects, with what it reads and what it can be reduced to. Cheap to
/// clone.
#[derive(Clone, Debug)]
pub struct Program(Arc<Plan>);

#[derive(Debug)]
struct Plan {
    pred: Pred,
}

impl Program {
    /// Compiles an expression of CEL; a blank one selects everything.
    ///
    /// # Errors
    /// When the text is no expression that is true or false, or is nested too deeply or too long.
    pub fn cel(source: &str) -> Result<Self, Diagnostic> {
        let lower = || match parser::parse(source)? {
            Some(tree) => Resolver::resolve(source, &tree),
            None => Ok(Pred::Const(Some(true))),
        };
        lower().map(Self::new).map_err(|error| Diagnostic::new(source, *error))
    }

    /// The filter that selects everything.
    #[must_use]
    pub fn all() -> Self {
        Self::new(Pred::Const(Some(true)))
    }

    fn new(pred: Pred) -> Self {
        Self(Arc::new(Plan { pred }))
    }

    /// Whether the subject is selected; an undecided one is not.
    #[must_use]
    pub fn matches(&self, subject: &dyn Fields) -> bool {
        self.verdict(subject) == Some(true)
    }

    /// The verdict; `None` when what it depends on does not exist or is not known.
    #[must_use]
    pub fn verdict(&self, subject: &dyn Fields) -> Option<bool> {
        let steps = Steps::new(STEPS);
        self.0.pred.eval(&Env::root(Bind::Subject(subject), &steps))
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

    /// The collectors that must run to decide it.
    #[must_use]
    pub fn needs(&self) -> Needs {
        self.0.pred.needs()
    }

    /// What must be collected so that no match is lost.
    #[must_use]
    pub fn interest(&self) -> Interest {
        Interest::all(self.needs())
    }
}

impl Program {
    /// The typed plan.
    #[must_use]
    pub fn explain(&self) -> String {
        format!("{:?}", self.0.pred)
    }
}
