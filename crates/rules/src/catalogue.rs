//! Which sources of events there are, and which fields and events each of them has.

use nabe_event::field::{self, Arg, Class, Field};
use nabe_event::source::EventSet;
use nabe_event::table::{self, EventId, Flags};
use nabe_filter::Classes;
use nabe_filter::sysdig::{self, ExprKind, Term, TermKind};

/// The source of system calls.
pub const SYSCALL: &str = "syscall";
/// The source of audit events of Kubernetes.
pub const K8S_AUDIT: &str = "k8s_audit";
/// The source of events that are any JSON.
pub const JSON: &str = "json";

/// What rules may be about.
pub trait Catalogue {
    /// The sources whose events may be judged.
    fn sources(&self) -> &[&'static str];

    /// What the fields of events of `source` are.
    fn classes(&self, source: &str) -> Classes;

    /// Whether events of `source` have this field; an argument may follow behind a dot.
    fn knows(&self, source: &str, name: &str) -> bool {
        find(name).is_some_and(|found| self.has(source, found))
    }

    /// All names of fields of events of `source`, for the nearest one.
    fn names(&self, source: &str) -> Vec<&'static str> {
        let fields = field::all().filter(|found| self.has(source, found));
        fields.flat_map(|found| core::iter::once(found.name).chain(found.aliases.iter().copied())).collect()
    }

    /// Whether events of `source` have this field.
    fn has(&self, source: &str, field: &Field) -> bool {
        self.classes(source).contains(field.id)
    }

    /// Whether there is such a source.
    fn has_source(&self, source: &str) -> bool {
        self.sources().contains(&source)
    }

    /// The known field that is nearest to a wrong name.
    fn nearest(&self, source: &str, wrong: &str) -> Option<&'static str> {
        field::nearest(wrong, self.names(source))
    }

    /// Whether a field or a transformer may stand on the left of a comparison.
    fn accepts_left(&self, source: &str, text: &str) -> bool {
        let Ok(tree) = sysdig::parse(&format!("{text} exists")) else { return false };
        let ExprKind::Exists(term) = &tree.root.kind else { return false };
        unknown_in_term(term, &|name| self.knows(source, name)).is_none()
    }
}

/// nabe's own catalogue.
#[derive(Clone, Copy, Debug, Default)]
pub struct Native;

static AUDIT: Classes = Classes::of_source(K8S_AUDIT, &[Class::Audit]);
static DOCUMENT: Classes = Classes::of_source(JSON, &[Class::Audit]);

impl Catalogue for Native {
    fn sources(&self) -> &[&'static str] {
        &[SYSCALL, K8S_AUDIT, JSON]
    }

    fn classes(&self, source: &str) -> Classes {
        match source {
            SYSCALL => Classes::SYSCALL,
            JSON => DOCUMENT,
            _ => AUDIT,
        }
    }

    fn has(&self, source: &str, field: &Field) -> bool {
        // What is about Kubernetes is in no other document.
        self.classes(source).contains(field.id) && !(source == JSON && field.name.starts_with("ka."))
    }
}

/// The field of this name; an argument may follow behind a dot.
fn find(name: &str) -> Option<&'static Field> {
    field::find(name).or_else(|| {
        name.rmatch_indices('.')
            .find_map(|(dot, _)| field::find(name.get(..dot)?).filter(|found| found.arg != Arg::None))
    })
}

/// The first field of a term that is not known.
pub(crate) fn unknown_in_term<'e>(
    term: &'e Term,
    knows: &dyn Fn(&str) -> bool,
) -> Option<(&'e str, &'e Term)> {
    match &term.kind {
        TermKind::Field { name, .. } => (!knows(name)).then_some((name, term)),
        TermKind::Call { args, .. } | TermKind::List(args) => {
            args.iter().find_map(|arg| unknown_in_term(arg, knows))
        }
        TermKind::Value(_) => None,
    }
}

/// The highest code that a system call may have.
const MAX_SYSCALL: u16 = 1024;

/// Names of all events: of the table, and of system calls without a row of their own. Sorted.
pub(crate) fn event_names() -> Vec<&'static str> {
    let rows = EventId::all().filter(|id| {
        let row = id.row();
        !row.flags.has(Flags::UNUSED) && row.name != "NA"
    });
    let calls = (0..MAX_SYSCALL).filter_map(table::syscall_name);
    let mut names: Vec<_> = rows.map(EventId::name).chain(calls).collect();
    // The row that stands for all calls without a row of their own is no name of an event.
    names.retain(|name| !matches!(*name, "unknown" | "syscall"));
    names.sort_unstable();
    names.dedup();
    names
}

/// The numbers of the events of this name. A call without a row of its own comes as the general one.
pub(crate) fn event_ids(name: &str) -> EventSet {
    let rows: EventSet = EventId::named(name).collect();
    if rows.is_empty() && table::syscall_code(name).is_some() {
        return [EventId::GENERIC_E, EventId::GENERIC_X].into_iter().collect();
    }
    rows
}
