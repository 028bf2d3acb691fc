//! Cheap and selective tests first: what needs no costly collector before what does, numbers
//! before texts, texts before patterns, loops last. "And" and "or" of three values do not mind.

use nabe_event::field::{Class, event as e, process as p, thread as t};
use nabe_event::{FieldId, Needs};

use crate::ir::{Const, FieldRef, Operand, Order, Pred, Set};

/// Sorts the terms of one node.
pub(super) fn node(pred: &mut Pred) {
    if let Pred::And(terms) | Pred::Or(terms) = pred {
        terms.sort_by_cached_key(cost);
    }
}

/// The costliest collector, then whether it is more than the event's number that is asked, then the
/// work of the test itself.
fn cost(pred: &Pred) -> (usize, bool, u32) {
    let needs = pred.needs();
    let collector = Needs::ALL.iter().rposition(|(need, ..)| needs.contains(*need)).unwrap_or(0);
    let mut by_number = true;
    pred.fields(&mut |field| by_number &= is_by_number(field.id));
    (collector, !by_number, work(pred))
}

/// Whether a field says what kind of event it is, which sorts out most events.
fn is_by_number(field: FieldId) -> bool {
    matches!(
        field,
        e::TYPE
            | e::SYSCALL_TYPE
            | e::DIR
            | e::IS_IO
            | e::IS_IO_READ
            | e::IS_IO_WRITE
            | e::IO_DIR
            | e::IS_WAIT
            | e::IS_ASYNC
    )
}

/// Roughly nanoseconds.
pub(super) fn work(pred: &Pred) -> u32 {
    let sum = |terms: &[Pred]| terms.iter().fold(0_u32, |sum, term| sum.saturating_add(work(term)));
    match pred {
        Pred::Const(_) => 0,
        Pred::And(terms) | Pred::Or(terms) => sum(terms),
        Pred::Not(inner) => work(inner),
        Pred::If(parts) => sum(&**parts),
        Pred::Test(value, _) | Pred::Has(value) => 1 + value_work(value),
        Pred::Compare(order, sides, _) => {
            let text = u32::from(matches!(sides[1], Operand::Const(Const::Text(_)))) * 2;
            let open = u32::from(*order != Order::Eq);
            1 + text + open + value_work(&sides[0]) + value_work(&sides[1])
        }
        Pred::Bits { value, .. } => 3 + value_work(value),
        Pred::In(value, Set::Ints(_), _) => 4 + value_work(value),
        Pred::In(value, ..) => 6 + value_work(value),
        Pred::Member(sides, _) => 20 + value_work(&sides[0]) + value_work(&sides[1]),
        Pred::Text(_, sides, _) => 10 + value_work(&sides[0]) + value_work(&sides[1]),
        Pred::HasKey(sides, _) => 20 + value_work(&sides[0]),
        Pred::Matches(value, ..) => 100 + value_work(value),
        Pred::Each(_, _, body) => work(body).saturating_mul(50).saturating_add(200),
    }
}

/// What reading a field costs: most are there, some are looked for, some are texts that are made.
fn read_work(field: &FieldRef) -> u32 {
    match field.id {
        e::ARGS | e::INFO | p::ENV | t::AENV => 200,
        e::ARG | p::CMDLINE | t::EXELINE | t::PCMDLINE | t::ACMDLINE => 60,
        t::ANAME | t::AEXE | t::AEXEPATH | t::APID | t::SNAME | t::PNAME | t::PEXE => 20,
        id if matches!(id.class(), Class::Descriptor) => 20,
        id if matches!(id.class(), Class::Metadata) => 10,
        _ => 1,
    }
}

fn value_work(operand: &Operand) -> u32 {
    match operand {
        Operand::Const(_) => 0,
        Operand::Field(field) => read_work(field),
        Operand::Local(_) => 1,
        Operand::Pred(pred) => work(pred),
        Operand::Math(_, sides) => {
            value_work(&sides[0]).saturating_add(value_work(&sides[1])).saturating_add(2)
        }
        Operand::Negate(inner) => value_work(inner).saturating_add(1),
        Operand::Index(sides) => value_work(&sides[0]).saturating_add(20),
        _ => 200,
    }
}
