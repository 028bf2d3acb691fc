//! `a == 1 || a == 2 || a in [3]` becomes `a in [1, 2, 3]`: one look-up in place of many tests.
//!
//! Only under "or": for an unset value `a != 1 && a != 2` is false and `!(a in [1, 2])` is true.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use nabe_event::FieldId;

use crate::ir::{Absent, Const, FieldRef, Net, Operand, Order, Pred, Set, Slot};

/// Merges the alternatives of one node.
pub(super) fn node(pred: &mut Pred) {
    if let Pred::Or(terms) = pred {
        *pred = merge(core::mem::take(terms));
    }
}

/// A field, how absence decides, and the kind of set: what terms must share to become one.
type Key = (FieldId, Slot, Option<Box<[u8]>>, bool, u8);

#[derive(Default)]
struct Items {
    ints: Vec<i128>,
    texts: Vec<Box<[u8]>>,
    nets: Vec<Net>,
}

fn key(term: &Pred) -> Option<Key> {
    let (field, absent, kind) = match term {
        Pred::Compare(Order::Eq, sides, absent) => match &**sides {
            [Operand::Field(field), Operand::Const(Const::Int(_))] => (field, absent, 0),
            [Operand::Field(field), Operand::Const(Const::Text(_))] => (field, absent, 1),
            [Operand::Field(field), Operand::Const(Const::Ip(_))] => (field, absent, 2),
            _ => return None,
        },
        Pred::In(Operand::Field(field), Set::Ints(_), absent) => (field, absent, 0),
        Pred::In(Operand::Field(field), Set::Texts(_), absent) => (field, absent, 1),
        Pred::In(Operand::Field(field), Set::Nets(_), absent) => (field, absent, 2),
        _ => return None,
    };
    let FieldRef { id, slot, arg } = field;
    Some((*id, *slot, arg.clone(), *absent == Absent::Doubt, kind))
}

fn merge(terms: Vec<Pred>) -> Pred {
    let mut groups: HashMap<Key, usize> = HashMap::new();
    let mut kept: Vec<(Pred, Option<Items>)> = Vec::new();
    for term in terms {
        match key(&term).map(|key| groups.entry(key)) {
            None => kept.push((term, None)),
            Some(Entry::Vacant(entry)) => {
                entry.insert(kept.len());
                kept.push((term, None));
            }
            Some(Entry::Occupied(entry)) => {
                let (first, items) = &mut kept[*entry.get()];
                let items = items.get_or_insert_with(|| {
                    let mut items = Items::default();
                    items.add(first);
                    items
                });
                items.add(&term);
            }
        }
    }
    let mut terms: Vec<Pred> = kept
        .into_iter()
        .map(|(term, items)| match items {
            Some(items) => items.into_pred(term),
            None => term,
        })
        .collect();
    if terms.len() == 1 { terms.swap_remove(0) } else { Pred::Or(terms) }
}

impl Items {
    fn add(&mut self, term: &Pred) {
        match term {
            Pred::Compare(_, sides, _) => match &sides[1] {
                Operand::Const(Const::Int(n)) => self.ints.push(*n),
                Operand::Const(Const::Text(text)) => self.texts.push(text.clone()),
                Operand::Const(Const::Ip(ip)) => self.nets.push(Net::host(*ip)),
                _ => {}
            },
            Pred::In(_, Set::Ints(items), _) => self.ints.extend(items.iter()),
            Pred::In(_, Set::Texts(items), _) => self.texts.extend(items.iter().cloned()),
            Pred::In(_, Set::Nets(items), _) => self.nets.extend(items.iter()),
            _ => {}
        }
    }

    fn into_pred(self, first: Pred) -> Pred {
        let set = if !self.ints.is_empty() {
            Set::ints(self.ints)
        } else if !self.texts.is_empty() {
            Set::texts(self.texts)
        } else {
            Set::nets(self.nets)
        };
        match first {
            Pred::Compare(_, sides, absent) => {
                let [needle, _] = *sides;
                Pred::In(needle, set, absent)
            }
            Pred::In(needle, _, absent) => Pred::In(needle, set, absent),
            other => other,
        }
    }
}
