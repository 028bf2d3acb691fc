//! A compiled filter and what can be asked of it.

use std::fmt::Write as _;
use std::sync::{Arc, OnceLock};

use nabe_event::field::Class;
use nabe_event::field::image::is_of_image;
use nabe_event::source::{EventInterest, EventSet};
use nabe_event::{FieldId, Fields, Interest, Needs};

use crate::cel::{parser, print};
use crate::classes::Classes;
use crate::compile::{Code, compile};
use crate::diagnostic::Diagnostic;
use crate::eval::{STEPS, Steps};
use crate::ir::{FieldRef, Pred};
use crate::possible::{self, Possible, possible};
use crate::resolve::Resolver;
use crate::sysdig::{self, Ast};
use crate::trace::{self, Trace};
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
    classes: Classes,
    possible: OnceLock<Possible>,
    /// The canonical text, when it was written in another language than CEL.
    text: Option<String>,
    /// The tree that it was written as, if that says everything.
    tree: Option<Ast>,
}

impl Program {
    /// Compiles an expression of CEL about subjects of a snapshot; a blank one selects everything.
    ///
    /// # Errors
    /// When the text is no expression that is true or false, or is nested too deeply or too long.
    pub fn cel(source: &str) -> Result<Self, Diagnostic> {
        Self::cel_for(source, Classes::SNAPSHOT)
    }

    /// Compiles an expression of CEL about events of the kernel: fields of events are known besides
    /// those of snapshots.
    ///
    /// # Errors
    /// As those of [`Self::cel`].
    pub fn cel_of_events(source: &str) -> Result<Self, Diagnostic> {
        Self::cel_for(source, Classes::SYSCALL)
    }

    pub(crate) fn cel_for(source: &str, classes: Classes) -> Result<Self, Diagnostic> {
        let tree = parser::parse(source).map_err(|error| Diagnostic::new(source, *error))?;
        let all = || Ok(Pred::Const(Some(true)));
        let pred = tree.map_or_else(all, |tree| Resolver::resolve(source, &tree, classes));
        pred.map(|pred| Self::about(pred, None, classes)).map_err(|error| Diagnostic::new(source, *error))
    }

    /// The filter that selects everything.
    #[must_use]
    pub fn all() -> Self {
        Self::about(Pred::Const(Some(true)), None, Classes::SNAPSHOT)
    }

    /// The same with the classes of its fields and the canonical text of another language than CEL.
    pub(crate) fn about(pred: Pred, text: Option<String>, classes: Classes) -> Self {
        Self::written(pred, text, None, classes)
    }

    /// The same with the tree that it was written as.
    pub(crate) fn written(
        mut pred: Pred,
        text: Option<String>,
        tree: Option<&Ast>,
        classes: Classes,
    ) -> Self {
        passes::run(&mut pred);
        let (code, needs) = (compile(&pred), interest::collectors(&pred));
        let tree = tree.filter(|tree| trace::is_whole(&tree.root)).cloned();
        Self(Arc::new(Plan { pred, code, needs, classes, possible: OnceLock::new(), text, tree }))
    }

    /// The filter that selects what both select.
    #[must_use]
    pub fn both(&self, other: &Self) -> Self {
        let text = match (self, other) {
            (all, one) | (one, all) if all.selects_all() => return one.clone(),
            (one, other) => one.0.text.as_ref().zip(other.0.text.as_ref()),
        };
        let text = text.map(|(one, other)| format!("({one} and {other})"));
        let pred = Pred::And(vec![self.0.pred.clone(), other.0.pred.clone()]);
        Self::about(pred, text, self.0.classes)
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

    /// Why the subject is selected or not: each part of the filter with its verdict and the values
    /// that it read. A filter of sysdig's language is shown as it was written, unless macros or
    /// lists by name stood in it ([`crate::sysdig::trace`] shows those); any other as it was compiled.
    #[must_use]
    pub fn trace(&self, subject: &dyn Fields) -> Trace {
        let tree = self.0.tree.as_ref();
        let written = tree.and_then(|tree| sysdig::trace(tree, &(), self.0.classes, subject).ok());
        written.unwrap_or_else(|| trace::of_pred(&self.0.pred, subject))
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

    /// The typed form, passes run.
    pub(crate) fn pred(&self) -> &Pred {
        &self.0.pred
    }

    fn possible(&self) -> &Possible {
        self.0.possible.get_or_init(|| possible(&self.0.pred))
    }

    /// The fields that it may name.
    #[must_use]
    pub fn classes(&self) -> Classes {
        self.0.classes
    }

    /// The events of the kernel that can be selected at all, by number, in captures of any age. An
    /// event whose number is not in the set is not selected, whatever else is known of it.
    #[must_use]
    pub fn events(&self) -> &EventSet {
        &self.possible().events
    }

    /// What a live source must hand out so that no match is lost: the union over all filters is
    /// what a probe is configured with.
    ///
    /// Names and user ids are the kernel's at the time of the event. `cgroups` and `follow` are left
    /// to the caller, who knows which container is where: see [`Self::containers`]. The snap length
    /// is sysdig's where bytes that were read or written are looked at, and 0 otherwise.
    #[must_use]
    pub fn event_interest(&self) -> EventInterest {
        let possible = self.possible();
        let interest = self.interest();
        let payload = &mut false;
        self.0.pred.fields(&mut |field| *payload |= possible::reads_payload(field));
        EventInterest {
            events: possible.current.clone(),
            snaplen: if *payload { EventInterest::default().snaplen } else { 0 },
            pids: interest.pids,
            names: interest.names,
            euids: interest.euids,
            only_failed: possible.only_failed,
            ..EventInterest::default()
        }
    }

    /// The values of `container.id` that can be selected, sorted; `None` when any can. A process
    /// outside containers has the id `host`.
    #[must_use]
    pub fn containers(&self) -> Option<Vec<Vec<u8>>> {
        interest::texts_of(&self.0.pred, nabe_event::field::container::ID)
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

    /// A weaker filter that reads only what stays as it is for as long as the image of a process does:
    /// see [`is_of_image`]. Its verdict may be kept by image.
    #[must_use]
    pub fn image_part(&self) -> Self {
        self.weaker(&|field| field.slot == 0 && is_of_image(field.id))
    }

    /// A weaker filter that reads only what is decided once for all threads of a container: its id and
    /// name, its pod. `None` when it selects everything: then the filter is not about containers.
    #[must_use]
    pub fn container_part(&self) -> Option<Self> {
        use nabe_event::field::container as c;
        const LASTING: [FieldId; 6] = [c::ID, c::FULL_ID, c::NAME, c::POD, c::POD_NAMESPACE, c::POD_UID];
        let part = self.weaker(&|field| field.slot == 0 && LASTING.contains(&field.id));
        (!part.selects_all()).then_some(part)
    }

    fn weaker(&self, readable: &dyn Fn(&FieldRef) -> bool) -> Self {
        Self::about(weaken::weaken(&self.0.pred, readable), None, self.0.classes)
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
        let mut pushed = interest::describe(&self.interest());
        if self.0.classes.of_events() {
            let events = self.event_interest();
            let _ = writeln!(out, "events     {}", possible::describe(&events.events));
            let payload = if events.snaplen == 0 { "none" } else { "read" };
            let _ = writeln!(out, "payload    {payload}");
            let _ = writeln!(out, "cost       about {} ns an event", passes::cost(&self.0.pred));
            // What only snapshots have is not pushed to a stream.
            let narrowed = Interest {
                pids: events.pids,
                names: events.names,
                euids: events.euids,
                ..Interest::default()
            };
            pushed = interest::describe(&narrowed);
            if events.only_failed {
                pushed.push("only what failed".to_owned());
            }
            pushed.extend(
                self.container_part()
                    .map(|part| format!("containers by their cgroups: {}", part.canonical())),
            );
        }
        let pushed = if pushed.is_empty() { "nothing".to_owned() } else { pushed.join("; ") };
        let _ = writeln!(out, "pushed     {pushed}");
        out
    }
}
