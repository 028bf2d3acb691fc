//! Which events a filter can select at all.
//!
//! Much of an event is fixed by its number: its name and direction, whether it works on a
//! descriptor, which parameters it has. A test of such a fact is answered for each number before
//! there is an event; any other test may come out either way. What can be true of no event with a
//! number rules that number out, so a match is never lost.

use std::collections::HashMap;
use std::sync::OnceLock;

use nabe_event::field::{Class, event as e};
use nabe_event::source::EventSet;
use nabe_event::table::{EventId, Flags, ParamType, syscall_name};
use nabe_event::{FieldId, Fields, Missing, Value};

use crate::eval::{Bind, Env, Steps};
use crate::ir::{Absent, Const, FieldRef, Operand, Order, Pred, Set};

/// Items that loops over known values may visit.
const STEPS: u32 = 4096;
/// Tests of one filter that are judged for each event; nobody writes more by hand.
const MAX_JUDGED: usize = 2048;
/// Combinations of values that one test is tried with.
const MAX_TRIED: usize = 4096;

/// Whether an event gave an error: what is known of it besides its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Failed,
    /// It succeeded, or has no result.
    Fine,
}

/// What events with the number of a system call that has no event of its own are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Generic {
    /// As any system call is: an old capture knew fewer events.
    Any,
    /// As system calls are that have no event of their own today.
    Nameless,
    /// So.
    Named(&'static str),
}

/// What can be selected.
#[derive(Clone, Debug)]
pub(crate) struct Possible {
    /// Events in captures of any age.
    pub(crate) events: EventSet,
    /// The same without the names that a generic event no longer stands for.
    pub(crate) current: EventSet,
    /// Only events that gave an error.
    pub(crate) only_failed: bool,
}

pub(crate) fn possible(pred: &Pred) -> Possible {
    let mut judged = Judged::default();
    let [fine, mut failed, old_fine, mut old_failed] =
        verdicts(pred, &mut judged).map(|verdicts| verdicts.yes);
    for set in [&mut failed, &mut old_failed] {
        *set = set.iter().filter(|id| has_result(*id)).collect();
    }
    Possible {
        only_failed: fine.is_empty() && !failed.is_empty(),
        events: old_fine.union(&old_failed),
        current: fine.union(&failed),
    }
}

/// The answer to a test that the number of an event decides; `None` when it does not. `name` is what
/// an event of the system calls without an event of their own is called, if that is known.
pub(crate) fn decided(pred: &Pred, id: EventId, name: Option<&'static str>) -> Option<Option<bool>> {
    let mut fields = Vec::new();
    collect(pred, &mut fields);
    if !fields.iter().any(|field| is_fixed(field.id)) {
        return None;
    }
    let mut answers = [Outcome::Failed, Outcome::Fine]
        .into_iter()
        .filter(|outcome| *outcome == Outcome::Fine || has_result(id))
        .map(|outcome| {
            Scope { generic: name.map_or(Generic::Any, Generic::Named), outcome }.answers(pred, &fields, id)
        });
    let first = answers.next()?;
    let same = answers.all(|other| other == first);
    match first {
        Answers { yes: true, no: false, doubt: false } if same => Some(Some(true)),
        Answers { yes: false, no: true, doubt: false } if same => Some(Some(false)),
        Answers { yes: false, no: false, doubt: true } if same => Some(None),
        _ => None,
    }
}

/// Whether the number of an event may decide a test.
pub(crate) fn is_decidable(pred: &Pred) -> bool {
    let mut fixed = false;
    pred.fields(&mut |field| fixed |= is_fixed(field.id));
    fixed
}

/// For which events a predicate may be true, and for which false.
#[derive(Clone)]
struct Verdicts {
    yes: EventSet,
    no: EventSet,
}

/// How a test may come out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Answers {
    yes: bool,
    no: bool,
    doubt: bool,
}

const EITHER: Answers = Answers { yes: true, no: true, doubt: true };

#[derive(Clone, Copy)]
struct Scope {
    generic: Generic,
    outcome: Outcome,
}

/// The scopes that verdicts are given for, in this order.
const SCOPES: [Scope; 4] = [
    Scope { generic: Generic::Nameless, outcome: Outcome::Fine },
    Scope { generic: Generic::Nameless, outcome: Outcome::Failed },
    Scope { generic: Generic::Any, outcome: Outcome::Fine },
    Scope { generic: Generic::Any, outcome: Outcome::Failed },
];

/// The verdicts in each of [`SCOPES`].
type Each = [Verdicts; 4];

/// Tests that were looked at closely, each once; further ones may come out either way.
#[derive(Default)]
struct Judged<'p> {
    tests: usize,
    by_digest: HashMap<u64, Vec<(&'p Pred, Each)>>,
}

impl<'p> Judged<'p> {
    fn test(&mut self, pred: &'p Pred) -> Each {
        let known = self.by_digest.entry(pred.digest()).or_default();
        if let Some((_, each)) = known.iter().find(|(known, _)| *known == pred) {
            return each.clone();
        }
        if self.tests >= MAX_JUDGED {
            return core::array::from_fn(|_| Verdicts::any());
        }
        self.tests += 1;
        let each = test(pred);
        known.push((pred, each.clone()));
        each
    }
}

fn verdicts<'p>(pred: &'p Pred, judged: &mut Judged<'p>) -> Each {
    let same = |yes: fn() -> EventSet, no: fn() -> EventSet| {
        core::array::from_fn(|_| Verdicts { yes: yes(), no: no() })
    };
    match pred {
        Pred::Const(Some(true)) => same(EventSet::all, EventSet::none),
        Pred::Const(Some(false)) => same(EventSet::none, EventSet::all),
        Pred::Const(None) => same(EventSet::none, EventSet::none),
        Pred::And(terms) => chain(terms, true, judged),
        Pred::Or(terms) => chain(terms, false, judged),
        Pred::Not(inner) => verdicts(inner, judged).map(|Verdicts { yes, no }| Verdicts { yes: no, no: yes }),
        Pred::If(parts) => {
            let [condition, then, otherwise] = parts.each_ref().map(|part| verdicts(part, judged));
            core::array::from_fn(|at| {
                let joined = |then: &EventSet, otherwise: &EventSet| {
                    let one = then.clone().intersection(&condition[at].yes);
                    one.union(&otherwise.clone().intersection(&condition[at].no))
                };
                Verdicts {
                    yes: joined(&then[at].yes, &otherwise[at].yes),
                    no: joined(&then[at].no, &otherwise[at].no),
                }
            })
        }
        _ if !is_decidable(pred) => core::array::from_fn(|_| Verdicts::any()),
        _ => judged.test(pred),
    }
}

fn chain<'p>(terms: &'p [Pred], and: bool, judged: &mut Judged<'p>) -> Each {
    let mut chained: Each = core::array::from_fn(|_| {
        let (every, some) = (EventSet::all(), EventSet::none());
        if and { Verdicts { yes: every, no: some } } else { Verdicts { yes: some, no: every } }
    });
    for term in terms {
        for (chained, term) in chained.iter_mut().zip(verdicts(term, judged)) {
            let Verdicts { yes, no } = core::mem::replace(chained, Verdicts::none());
            *chained = if and {
                Verdicts { yes: yes.intersection(&term.yes), no: no.union(&term.no) }
            } else {
                Verdicts { yes: yes.union(&term.yes), no: no.intersection(&term.no) }
            };
        }
    }
    chained
}

impl Verdicts {
    fn none() -> Self {
        Self { yes: EventSet::none(), no: EventSet::none() }
    }

    fn any() -> Self {
        Self { yes: EventSet::all(), no: EventSet::all() }
    }
}

fn test(pred: &Pred) -> Each {
    let (mut named, mut outcome) = (false, false);
    pred.fields(&mut |field| {
        named |= matches!(field.id, e::TYPE | e::SYSCALL_TYPE);
        outcome |= matches!(field.id, e::FAILED | e::RES | e::RAWRES);
    });
    let mut found: Each = core::array::from_fn(|_| Verdicts::none());
    for at in 0..SCOPES.len() {
        // What does not depend on the scope is found once.
        let like = (if named { at & 2 } else { 0 }) | (if outcome { at & 1 } else { 0 });
        found[at] = if like == at {
            SCOPES[at].test(pred)
        } else {
            Verdicts { yes: found[like].yes.clone(), no: found[like].no.clone() }
        };
    }
    found
}

impl Scope {
    fn test(self, pred: &Pred) -> Verdicts {
        let mut fields = Vec::new();
        collect(pred, &mut fields);
        let mut verdicts = Verdicts::none();
        for id in EventId::all() {
            let answers = self.answers(pred, &fields, id);
            if answers.yes {
                verdicts.yes.insert(id);
            }
            if answers.no {
                verdicts.no.insert(id);
            }
        }
        verdicts
    }

    /// How a test of an event with this number may come out.
    fn answers<'p>(self, pred: &'p Pred, fields: &[&'p FieldRef], id: EventId) -> Answers {
        if self.lacks_a_side(pred, id) {
            return Answers { no: true, ..Answers::default() };
        }
        let mut known = Vec::new();
        let mut tried = 1_usize;
        for field in fields.iter().copied() {
            let Some(values) = self.values(pred, field, id) else { return EITHER };
            tried = tried.saturating_mul(values.len().max(1));
            known.push((field, values));
        }
        if tried > MAX_TRIED {
            return EITHER;
        }
        let mut answers = Answers::default();
        for at in 0..tried {
            let mut rest = at;
            let chosen: Vec<(&FieldRef, Value<'_>)> = known
                .iter()
                .filter_map(|(field, values)| {
                    let value = *values.get(rest % values.len().max(1))?;
                    rest /= values.len().max(1);
                    Some((*field, value))
                })
                .collect();
            let stub = Stub(&chosen);
            match pred.eval(&Env::root(Bind::Subject(&stub), &Steps::new(STEPS))) {
                Some(true) => answers.yes = true,
                Some(false) => answers.no = true,
                None => answers.doubt = true,
            }
        }
        answers
    }

    /// Whether a test is false because a value that it needs is never there.
    fn lacks_a_side(self, pred: &Pred, id: EventId) -> bool {
        let lacks = |operand: &Operand| match operand {
            Operand::Field(field) if field.slot == 0 => {
                matches!(self.values(pred, field, id).as_deref(), Some([Value::Missing(_)]))
            }
            _ => false,
        };
        match pred {
            Pred::Test(value, Absent::False)
            | Pred::In(value, _, Absent::False)
            | Pred::Matches(value, _, Absent::False)
            | Pred::Bits { value, absent: Absent::False, .. } => lacks(value),
            Pred::Compare(_, sides, Absent::False)
            | Pred::Member(sides, Absent::False)
            | Pred::Text(_, sides, Absent::False) => sides.iter().any(lacks),
            _ => false,
        }
    }

    /// All values that a field can have, as far as tests such as this one tell them apart; `None`
    /// when they cannot be listed.
    fn values<'p>(self, pred: &'p Pred, field: &'p FieldRef, id: EventId) -> Option<Vec<Value<'p>>> {
        if field.slot != 0 {
            return None;
        }
        let row = id.row();
        let truth = |value: bool| Some(vec![Value::Bool(value)]);
        let text = |value: &'static str| Value::Text(value.as_bytes());
        let unset = || Some(vec![UNSET]);
        let (reads, writes) = (row.flags.has(Flags::READS_FROM_FD), row.flags.has(Flags::WRITES_TO_FD));
        match field.id {
            e::TYPE => Some(self.names(id)),
            e::SYSCALL_TYPE if !id.is_syscall() => unset(),
            e::SYSCALL_TYPE => Some(self.names(id)),
            e::TYPE_IS if !is_generic(id) => {
                let arg = field.arg.as_deref().and_then(|arg| core::str::from_utf8(arg).ok());
                let is = arg.is_some_and(|arg| arg.parse() == Ok(id.number()) || arg == id.name());
                Some(vec![Value::Uint(is.into())])
            }
            e::DIR => Some(vec![text(if id.is_enter() { ">" } else { "<" })]),
            e::CATEGORY if !is_generic(id) => {
                let Some(class) = row.category.class() else { return Some(vec![text("unknown")]) };
                Some(class.words().iter().map(|word| text(word)).collect())
            }
            e::IS_IO => truth(reads || writes),
            e::IS_IO_READ => truth(reads),
            e::IS_IO_WRITE => truth(writes),
            e::IO_DIR if reads => Some(vec![text("read")]),
            e::IO_DIR if writes => Some(vec![text("write")]),
            e::IO_DIR => unset(),
            e::IS_WAIT => truth(row.flags.has(Flags::WAITS)),
            e::IS_SYSLOG if !writes => truth(false),
            e::IS_ASYNC => truth(id.name() == "asyncevent"),
            e::ASYNCTYPE if id.name() != "asyncevent" => unset(),
            e::IS_OPEN_READ | e::IS_OPEN_WRITE | e::IS_OPEN_EXEC | e::IS_OPEN_CREATE if !opens(id) => {
                truth(false)
            }
            e::FAILED => truth(self.outcome == Outcome::Failed),
            e::RES | e::RAWRES if !has_result(id) => unset(),
            e::RES => self.results(pred),
            e::RAWRES => self.raw_results(pred),
            e::ARG | e::RAWARG if lacks_parameter(id, field.arg.as_deref()) => unset(),
            e::FS_PATH_NAME
            | e::FS_PATH_NAMERAW
            | e::FS_PATH_SOURCE
            | e::FS_PATH_SOURCERAW
            | e::FS_PATH_TARGET
            | e::FS_PATH_TARGETRAW
                if !row.params.iter().any(|param| param.ty.is_text()) =>
            {
                unset()
            }
            other if is_of_descriptor(other) && !has_descriptor(id) => unset(),
            _ => None,
        }
    }

    fn names(self, id: EventId) -> Vec<Value<'static>> {
        if !is_generic(id) {
            return vec![Value::Text(id.name().as_bytes())];
        }
        if let Generic::Named(name) = self.generic {
            return vec![Value::Text(name.as_bytes())];
        }
        static ALL: OnceLock<Vec<(&str, bool)>> = OnceLock::new();
        let all = ALL.get_or_init(|| {
            let names = (0..1024).filter_map(syscall_name);
            names.map(|name| (name, EventId::named(name).next().is_none())).collect()
        });
        let known = all.iter().filter(|(_, nameless)| *nameless || self.generic == Generic::Any);
        let names = known.map(|(name, _)| *name).chain(["<unknown>"]);
        names.map(|name| Value::Text(name.as_bytes())).collect()
    }

    fn results<'p>(self, pred: &'p Pred) -> Option<Vec<Value<'p>>> {
        if self.outcome == Outcome::Fine {
            return Some(vec![UNSET, Value::Text(b"SUCCESS")]);
        }
        let mut texts = vec![Value::Text(b"\xff")];
        let compared = constants(pred, &mut |constant| {
            if let Constant::Text(text) = constant
                && text != b"SUCCESS"
            {
                texts.push(Value::Text(text));
            }
        });
        compared.then_some(texts)
    }

    fn raw_results(self, pred: &Pred) -> Option<Vec<Value<'static>>> {
        let (low, high) = match self.outcome {
            Outcome::Failed => (i64::MIN, -1),
            Outcome::Fine => (0, i64::MAX),
        };
        let mut numbers = vec![low, high];
        let compared = constants(pred, &mut |constant| {
            if let Constant::Int(number) = constant
                && let Ok(number) = i64::try_from(number)
            {
                let near = [number.saturating_sub(1), number, number.saturating_add(1)];
                numbers.extend(near.into_iter().filter(|number| (low..=high).contains(number)));
            }
        });
        if !compared {
            return None;
        }
        numbers.sort_unstable();
        numbers.dedup();
        let unset = (self.outcome == Outcome::Fine).then_some(UNSET);
        Some(unset.into_iter().chain(numbers.into_iter().map(Value::Int)).collect())
    }
}

const UNSET: Value<'static> = Value::Missing(Missing::Unset);

/// The only values that a test knows.
struct Stub<'v>(&'v [(&'v FieldRef, Value<'v>)]);

impl Fields for Stub<'_> {
    fn get(&self, field: FieldId, arg: Option<&[u8]>) -> Value<'_> {
        let found = self.0.iter().find(|(known, _)| known.id == field && known.arg.as_deref() == arg);
        found.map_or(UNSET, |(_, value)| *value)
    }

    fn related(&self, _: FieldId, _: &mut dyn FnMut(&dyn Fields) -> bool) -> Option<usize> {
        None
    }
}

/// The fields that a predicate reads, each once.
fn collect<'p>(pred: &'p Pred, fields: &mut Vec<&'p FieldRef>) {
    pred.fields(&mut |field| {
        if !fields.contains(&field) {
            fields.push(field);
        }
    });
}

enum Constant<'p> {
    Int(i128),
    Text(&'p [u8]),
}

/// Calls `see` with the constants that a value is compared with; whether there is nothing else to
/// tell values apart by.
fn constants<'p>(pred: &'p Pred, see: &mut dyn FnMut(Constant<'p>)) -> bool {
    match pred {
        Pred::Compare(order, sides, _) => match &**sides {
            [Operand::Field(_), Operand::Const(Const::Int(number))] => see(Constant::Int(*number)),
            [Operand::Field(_), Operand::Const(Const::Text(text))]
                if matches!(order, Order::Eq | Order::Ne) =>
            {
                see(Constant::Text(text));
            }
            // Whether it has a value.
            [Operand::Field(one), Operand::Field(other)] if one == other => {}
            _ => return false,
        },
        Pred::In(Operand::Field(_), Set::Ints(items), _) => {
            items.iter().for_each(|item| see(Constant::Int(*item)));
        }
        Pred::In(Operand::Field(_), Set::Texts(items), _) => {
            items.iter().for_each(|item| see(Constant::Text(item)));
        }
        _ => return false,
    }
    true
}

/// Whether the number of an event says something about the field.
pub(crate) fn is_fixed(field: FieldId) -> bool {
    is_of_descriptor(field)
        || matches!(
            field,
            e::TYPE
                | e::SYSCALL_TYPE
                | e::TYPE_IS
                | e::DIR
                | e::CATEGORY
                | e::IS_IO
                | e::IS_IO_READ
                | e::IS_IO_WRITE
                | e::IO_DIR
                | e::IS_WAIT
                | e::IS_SYSLOG
                | e::IS_ASYNC
                | e::ASYNCTYPE
                | e::IS_OPEN_READ
                | e::IS_OPEN_WRITE
                | e::IS_OPEN_EXEC
                | e::IS_OPEN_CREATE
                | e::FAILED
                | e::RES
                | e::RAWRES
                | e::ARG
                | e::RAWARG
                | e::FS_PATH_NAME
                | e::FS_PATH_NAMERAW
                | e::FS_PATH_SOURCE
                | e::FS_PATH_SOURCERAW
                | e::FS_PATH_TARGET
                | e::FS_PATH_TARGETRAW
        )
}

fn is_of_descriptor(field: FieldId) -> bool {
    matches!(field.class(), Class::Descriptor | Class::File)
}

fn has_descriptor(id: EventId) -> bool {
    let flags = id.row().flags;
    flags.has(Flags::USES_FD) || flags.has(Flags::CREATES_FD) || flags.has(Flags::DESTROYS_FD)
}

/// The names of system calls that tests of names tell apart; all others are one to them.
pub(crate) fn names_told_apart<'p>(preds: impl Iterator<Item = &'p Pred>) -> Vec<&'static str> {
    let all = || (0..1024).filter_map(syscall_name);
    let mut told: Vec<&[u8]> = Vec::new();
    for pred in preds {
        let mut named = false;
        pred.fields(&mut |field| named |= matches!(field.id, e::TYPE | e::SYSCALL_TYPE));
        let compared = !named
            || constants(pred, &mut |constant| {
                if let Constant::Text(text) = constant {
                    told.push(text);
                }
            });
        if !compared {
            return all().collect();
        }
    }
    let told: std::collections::HashSet<&[u8]> = told.into_iter().collect();
    all().filter(|name| told.contains(name.as_bytes())).collect()
}

pub(crate) fn is_generic(id: EventId) -> bool {
    matches!(id, EventId::GENERIC_E | EventId::GENERIC_X)
}

fn opens(id: EventId) -> bool {
    !id.is_enter() && matches!(id.name(), "open" | "openat" | "openat2" | "creat" | "open_by_handle_at")
}

/// Whether an event has a result: `res`, or the descriptor that it makes.
fn has_result(id: EventId) -> bool {
    let row = id.row();
    let creates = row.flags.has(Flags::CREATES_FD) && row.param("fd").is_some();
    !id.is_enter() && (creates || row.param("res").is_some())
}

fn lacks_parameter(id: EventId, arg: Option<&[u8]>) -> bool {
    let Some(arg) = arg.and_then(|arg| core::str::from_utf8(arg).ok()) else { return false };
    match arg.parse::<usize>() {
        Ok(at) => at >= id.row().params.len(),
        Err(_) => id.row().param(arg).is_none(),
    }
}

/// Whether a field shows bytes that were read or written.
pub(crate) fn reads_payload(field: &FieldRef) -> bool {
    match field.id {
        e::BUFFER | e::ARGS | e::INFO => true,
        e::ARG | e::RAWARG => {
            let arg = field.arg.as_deref().and_then(|arg| core::str::from_utf8(arg).ok()).unwrap_or_default();
            let position = arg.parse::<usize>().ok();
            EventId::all().map(EventId::row).any(|row| {
                let io = row.flags.has(Flags::READS_FROM_FD) || row.flags.has(Flags::WRITES_TO_FD);
                let found = position.map_or_else(
                    || row.param(arg).map(|(_, param)| param),
                    |position| row.params.get(position),
                );
                io && found.is_some_and(|param| param.ty == ParamType::ByteBuf)
            })
        }
        _ => false,
    }
}

/// Names of events, for people.
pub(crate) fn describe(events: &EventSet) -> String {
    const SHOWN: usize = 12;
    if *events == EventSet::all() {
        return "all".to_owned();
    }
    let mut names: Vec<&str> = events.iter().map(EventId::name).collect();
    names.sort_unstable();
    names.dedup();
    match names.len() {
        0 => "none".to_owned(),
        count @ 0..=SHOWN => format!("{} ({count} names)", names.join(" ")).replace("(1 names)", "(1 name)"),
        count => format!("{} … ({count} names)", names[..SHOWN].join(" ")),
    }
}
