//! What the kernel can decide: the processes and sockets that a filter can select at all.
//!
//! For every form of predicate: what must hold of a row for which it is true. What is not
//! understood demands nothing, so a match is never lost.

use nabe_event::field::{Class, container, file, process};
use nabe_event::{FieldId, Interest, Needs};

use crate::eval::value::holds;
use crate::ir::{Absent, Const, FieldRef, Operand, Order, Pred, Quantifier, Set, TextTest};

/// Longest name that the kernel keeps of a task.
const COMM: usize = 15;

/// What the filter demands of rows, and whether it demands a process.
#[derive(Clone, Debug, Default)]
struct Demand {
    interest: Interest,
    /// Every match has a process.
    process: bool,
}

/// What must be collected so that no match is lost.
pub(crate) fn interest(pred: &Pred) -> Interest {
    let demand = demand(pred);
    let mut interest = match &demand {
        Some(demand) => demand.interest.clone(),
        // Nothing can match.
        None => Interest { pids: Some(Vec::new()), ..Interest::default() },
    };
    let (mut others, mut all_files) = (false, false);
    pred.fields(&mut |field| {
        // The pids of a container are a fact about other processes too.
        others |= field.id == container::PIDS;
        // So is a number of descriptors about descriptors of other kinds.
        all_files |= [process::FILES, process::FD_COUNT].contains(&field.id);
    });
    if others {
        interest = Interest { pids: None, euids: None, names: None, ..interest };
    }
    if all_files {
        let Interest { needs, pids, euids, names, .. } = interest;
        interest = Interest { pids, euids, names, ..Interest::all(needs) };
    }
    interest.needs = needs(pred, demand.is_none_or(|demand| demand.process));
    interest
}

/// The collectors that must run. A socket without a descriptor has no process, so a filter that
/// demands a process does not need them.
pub(crate) fn collectors(pred: &Pred) -> Needs {
    needs(pred, demand(pred).is_none_or(|demand| demand.process))
}

fn needs(pred: &Pred, process: bool) -> Needs {
    let needs = pred.needs();
    if process { needs.without(Needs::ORPHAN_SOCKETS) } else { needs }
}

/// What holds of every row for which the predicate is true; `None` when there is no such row.
fn demand(pred: &Pred) -> Option<Demand> {
    match pred {
        Pred::Const(Some(true)) => Some(Demand::default()),
        Pred::Const(_) => None,
        Pred::And(terms) => {
            let mut all = Demand::default();
            for term in terms {
                all = all.meet(demand(term)?);
            }
            Some(all)
        }
        Pred::Or(terms) => either(terms),
        Pred::Not(inner) => Some(Demand { process: strict_not(inner), ..Demand::default() }),
        Pred::If(parts) => {
            let [condition, then, otherwise] = &**parts;
            let then = demand(condition).and_then(|first| Some(first.meet(demand(then)?)));
            match (then, demand(otherwise)) {
                (Some(a), Some(b)) => Some(a.join(b)),
                (a, b) => a.or(b),
            }
        }
        // Some item satisfies the body, so what the body says of the row holds.
        Pred::Each(Quantifier::Any, each, body) => {
            let mut demand = demand(body)?;
            demand.process |= matches!(&each.over, crate::ir::Over::Relation(field) if field.slot == 0);
            Some(demand)
        }
        Pred::Each(_, each, _) => {
            let process = matches!(&each.over, crate::ir::Over::Relation(field) if field.slot == 0);
            Some(Demand { process, ..Demand::default() })
        }
        _ => Some(leaf(pred)),
    }
}

/// The join of all, halved again and again so that sets are not copied once a term.
fn either(terms: &[Pred]) -> Option<Demand> {
    match terms {
        [] => None,
        [term] => demand(term),
        _ => {
            let (left, right) = terms.split_at(terms.len() / 2);
            match (either(left), either(right)) {
                (Some(a), Some(b)) => Some(a.join(b)),
                (a, b) => a.or(b),
            }
        }
    }
}

impl Demand {
    fn meet(self, other: Self) -> Self {
        Self { interest: self.interest.meet(other.interest), process: self.process || other.process }
    }

    fn join(self, other: Self) -> Self {
        Self { interest: self.interest.join(other.interest), process: self.process && other.process }
    }

    fn socket(mut self) -> Self {
        self.interest.only_sockets = true;
        self
    }
}

/// Whether the negation can only be true of a row with a process: a test of a process's field is
/// undecided without one, and so is its negation.
fn strict_not(pred: &Pred) -> bool {
    match pred {
        Pred::Not(inner) => demand(inner).is_none_or(|demand| demand.process),
        // Has is false, not undecided, for a subject that is not there.
        Pred::And(_) | Pred::Or(_) | Pred::If(_) | Pred::Has(_) => false,
        Pred::Each(_, each, _) => {
            matches!(&each.over, crate::ir::Over::Relation(field) if field.slot == 0)
        }
        leaf => {
            let of_process = |field: &FieldRef| field.slot == 0 && field.id.class() == Class::Process;
            leaf.absent() == Some(Absent::Doubt) && tested(leaf).is_some_and(of_process)
        }
    }
}

/// The field that decides a test: without a value of it the test is not true.
fn tested(pred: &Pred) -> Option<&FieldRef> {
    let operand = match pred {
        Pred::Test(value, _)
        | Pred::In(value, ..)
        | Pred::Matches(value, ..)
        | Pred::Bits { value, .. }
        | Pred::Has(value) => value,
        Pred::Compare(_, sides, _) | Pred::Member(sides, _) | Pred::Text(_, sides, _) => &sides[0],
        Pred::HasKey(sides, _) => &sides[0],
        _ => return None,
    };
    match operand {
        Operand::Field(field) => Some(field),
        _ => None,
    }
}

fn leaf(pred: &Pred) -> Demand {
    let mut demand = Demand::default();
    let Some(field) = tested(pred).filter(|field| field.slot == 0) else { return demand };
    demand.process = field.id.class() == Class::Process;
    if SOCKET_FIELDS.contains(&field.id) {
        demand = demand.socket();
    }
    let interest = &mut demand.interest;
    match field.id {
        process::PID | file::PID => interest.pids = numbers(pred),
        process::EUID => interest.euids = numbers(pred),
        process::NAME => interest.names = names(pred),
        file::FAMILY => interest.families = numbers(pred),
        file::TYPE => interest.types = numbers(pred),
        file::STATE => interest.states = numbers(pred),
        file::SRC_ADDR | file::DST_ADDR => interest.families = Some(vec![2, 10]),
        file::FD_TYPE => {
            interest.only_sockets = numbers::<u64>(pred).is_some_and(|types| types.iter().all(|ty| *ty == 2));
        }
        file::UNIX_PATH if never_empty(pred) => {
            interest.only_sockets = true;
            interest.families = Some(vec![1]);
        }
        _ => {}
    }
    demand
}

/// Fields that only sockets have; everything else leaves them unset.
static SOCKET_FIELDS: &[FieldId] = &[
    file::FAMILY,
    file::TYPE,
    file::STATE,
    file::PROTOCOL,
    file::SRC_PORT,
    file::DST_PORT,
    file::SRC_ADDR,
    file::DST_ADDR,
    file::NETNS,
];

/// The numbers for which a test of a field is true, if they are few and named; sorted.
fn numbers<T: TryFrom<i128> + Ord>(pred: &Pred) -> Option<Vec<T>> {
    let numbers = match pred {
        Pred::Compare(Order::Eq, sides, _) => match &sides[1] {
            Operand::Const(Const::Int(n)) => core::slice::from_ref(n),
            _ => return None,
        },
        Pred::In(_, Set::Ints(items), _) => items,
        _ => return None,
    };
    // A number that the field's type cannot hold is never met.
    Some(numbers.iter().filter_map(|n| T::try_from(*n).ok()).collect())
}

/// The names for which a test is true, if the kernel's own name of the task is compared: names of
/// kernel workers are completed from elsewhere, longer ones are a kernel thread's full name.
fn names(pred: &Pred) -> Option<Vec<Vec<u8>>> {
    let texts = match pred {
        Pred::Compare(Order::Eq, sides, _) => match &sides[1] {
            Operand::Const(Const::Text(text)) => core::slice::from_ref(text),
            _ => return None,
        },
        Pred::In(_, Set::Texts(items), _) => items,
        _ => return None,
    };
    let kept = |text: &[u8]| text.len() <= COMM && !text.starts_with(b"kworker");
    texts.iter().all(|text| kept(text)).then(|| texts.iter().map(|text| text.to_vec()).collect())
}

/// The texts that a field can have where the predicate is true, sorted; `None` when it can have any.
pub(crate) fn texts_of(pred: &Pred, field: FieldId) -> Option<Vec<Vec<u8>>> {
    let own =
        |operand: &Operand| matches!(operand, Operand::Field(read) if read.id == field && read.slot == 0);
    match pred {
        Pred::And(terms) => {
            let narrowed = terms.iter().filter_map(|term| texts_of(term, field));
            narrowed.reduce(|one, other| one.into_iter().filter(|text| other.contains(text)).collect())
        }
        Pred::Or(terms) => {
            let every = terms.iter().map(|term| texts_of(term, field)).collect::<Option<Vec<_>>>()?;
            let mut every = every.concat();
            every.sort_unstable();
            every.dedup();
            Some(every)
        }
        Pred::Const(Some(false) | None) => Some(Vec::new()),
        Pred::Compare(Order::Eq, sides, _) if own(&sides[0]) => match &sides[1] {
            Operand::Const(Const::Text(text)) => Some(vec![text.to_vec()]),
            _ => None,
        },
        Pred::In(value, Set::Texts(items), _) if own(value) => {
            Some(items.iter().map(|item| item.to_vec()).collect())
        }
        _ => None,
    }
}

/// Whether a test of a text is false for the empty text.
fn never_empty(pred: &Pred) -> bool {
    let text = |operand: &Operand| match operand {
        Operand::Const(Const::Text(text)) => Some(text.clone()),
        _ => None,
    };
    match pred {
        Pred::Compare(order, sides, _) => {
            text(&sides[1]).is_some_and(|text| !holds(*order, b"".as_slice().cmp(&text)))
        }
        Pred::In(_, Set::Texts(items), _) => items.iter().all(|item| !item.is_empty()),
        Pred::Text(TextTest::Contains | TextTest::StartsWith | TextTest::EndsWith, sides, _) => {
            text(&sides[1]).is_some_and(|text| !text.is_empty())
        }
        Pred::Matches(_, pattern, _) => !pattern.is_match(b""),
        Pred::Has(_) => true,
        _ => false,
    }
}

/// What is pushed down, in words.
pub(crate) fn describe(interest: &Interest) -> Vec<String> {
    fn list<T: ToString>(what: &str, items: &Option<Vec<T>>) -> Option<String> {
        let items = items.as_ref()?;
        let shown: Vec<String> = items.iter().take(8).map(ToString::to_string).collect();
        let more = if items.len() > 8 { format!(" and {} more", items.len() - 8) } else { String::new() };
        Some(format!("{what} {}{more}", if shown.is_empty() { "none".to_owned() } else { shown.join(" ") }))
    }
    let names = interest.names.as_ref().map(|names| {
        names.iter().map(|name| String::from_utf8_lossy(name).escape_debug().to_string()).collect::<Vec<_>>()
    });
    [
        list("pid", &interest.pids),
        list("euid", &interest.euids),
        list("name", &names),
        interest.only_sockets.then(|| "sockets only".to_owned()),
        list("family", &interest.families),
        list("type", &interest.types),
        list("state", &interest.states),
    ]
    .into_iter()
    .flatten()
    .collect()
}
