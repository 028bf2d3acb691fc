//! An event judged.

use core::ops::ControlFlow;

use nabe_event::field::descriptor as d;
use nabe_event::{Missing, Value};

use super::build::{Group, Kind, NodeId, Rule, Slot};
use super::cache::{Cache, Entry, Image, MAX_PATH, Memo, Path, Table};
use super::{Keys, Plan};
use crate::eval::Env;

/// Longest kind of a descriptor, in bytes.
const MAX_KIND: usize = 8;

/// One event on its way through a plan.
pub(super) struct Run<'r> {
    plan: &'r Plan,
    env: &'r Env<'r>,
    images: &'r mut Table<Image>,
    paths: &'r mut Table<Path>,
    mask: &'r mut Vec<u64>,
    memo: &'r mut Memo,
}

/// Evaluates nodes.
struct Judge<'r> {
    plan: &'r Plan,
    env: &'r Env<'r>,
    memo: &'r mut Memo,
    image: Option<&'r mut Entry>,
    path: Option<&'r mut Entry>,
}

impl<'r> Run<'r> {
    pub(super) fn new(plan: &'r Plan, env: &'r Env<'r>, cache: &'r mut Cache) -> Self {
        let Cache { images, paths, memo, mask, .. } = cache;
        Self { plan, env, images, paths, mask, memo }
    }

    pub(super) fn group(self, group: &Group, keys: Keys, selected: &mut dyn FnMut(usize) -> ControlFlow<()>) {
        let Self { plan, env, images, paths, mask, memo } = self;
        mask.clear();
        mask.resize(group.words.len(), u64::MAX);
        if let (Some(last), rest @ 1..) = (mask.last_mut(), group.rules.len() % 64) {
            *last = u64::MAX >> (64 - rest);
        }
        let mut judge = Judge { plan, env, memo, image: None, path: None };
        if group.by_image && keys.image != 0 {
            judge.image = images.entry(keys.image, || Entry::new(plan, plan.image_slots));
            judge.narrow(group, mask, true);
            if mask.iter().all(|word| *word == 0) {
                return;
            }
        }
        if group.by_path {
            if let Some(asked) = judge.path_key() {
                judge.path = paths.entry(asked, || Entry::new(plan, plan.path_slots));
            }
            judge.narrow(group, mask, false);
        }
        let (by_image, by_path) = (judge.image.is_some(), judge.path.is_some());
        for (at, word) in mask.iter().enumerate() {
            let mut left = *word;
            while left != 0 {
                let bit = left.trailing_zeros() as usize;
                left &= left - 1;
                let Some(rule) = group.rules.get(at * 64 + bit) else { return };
                if judge.selects(rule, by_image, by_path) && selected(rule.program).is_break() {
                    return;
                }
            }
        }
    }
}

impl<'r> Judge<'r> {
    /// What the path is remembered by; `None` where it is not to be remembered.
    fn path_key(&self) -> Option<[Option<&'r [u8]>; 2]> {
        let subject = self.env.subject(0)?;
        let text = |field, longest| match subject.get(field, None) {
            Value::Text(text) if text.len() <= longest => Some(Some(text)),
            Value::Missing(Missing::Unset) => Some(None),
            // Tests may tell other reasons apart.
            _ => None,
        };
        Some([text(d::NAME, MAX_PATH)?, text(d::TYPECHAR, MAX_KIND)?])
    }

    fn narrow(&mut self, group: &Group, mask: &mut [u64], of_image: bool) {
        let entry = if of_image { self.image.as_deref() } else { self.path.as_deref() };
        let Some(entry) = entry else { return };
        if let Some(known) = entry.mask(group.at, group.words.clone()) {
            mask.iter_mut().zip(known).for_each(|(word, known)| *word &= known);
            return;
        }
        self.learn(group, mask, of_image);
    }

    /// Judges the part of every program and keeps the mask.
    #[cold]
    fn learn(&mut self, group: &Group, mask: &mut [u64], of_image: bool) {
        let mut known = vec![0_u64; mask.len()];
        for (at, rule) in group.rules.iter().enumerate() {
            let part = if of_image { rule.image } else { rule.path };
            if part.is_none_or(|part| self.eval(part) == Some(true))
                && let Some(word) = known.get_mut(at / 64)
            {
                *word |= 1 << (at % 64);
            }
        }
        mask.iter_mut().zip(&known).for_each(|(word, known)| *word &= known);
        let entry = if of_image { self.image.as_deref_mut() } else { self.path.as_deref_mut() };
        if let Some(entry) = entry {
            entry.set_mask(group.at, group.words.clone(), &known);
        }
    }

    fn selects(&mut self, rule: &Rule, by_image: bool, by_path: bool) -> bool {
        let mut holds = |part: Option<NodeId>| part.is_none_or(|part| self.eval(part) == Some(true));
        (by_image || holds(rule.image)) && (by_path || holds(rule.path)) && holds(rule.rest)
    }

    fn eval(&mut self, at: NodeId) -> Option<bool> {
        let node = self.plan.nodes.get(at as usize)?;
        let known = match node.slot {
            Slot::Nowhere => None,
            Slot::Memo(slot) => self.memo.get(slot),
            Slot::Image(slot) => self.image.as_deref().and_then(|entry| entry.get(slot)),
            Slot::Path(slot) => self.path.as_deref().and_then(|entry| entry.get(slot)),
        };
        if let Some(known) = known {
            return known;
        }
        let value = self.compute(&node.kind);
        match node.slot {
            Slot::Nowhere => {}
            Slot::Memo(slot) => self.memo.set(slot, value),
            Slot::Image(slot) => {
                if let Some(entry) = self.image.as_deref_mut() {
                    entry.set(slot, value);
                }
            }
            Slot::Path(slot) => {
                if let Some(entry) = self.path.as_deref_mut() {
                    entry.set(slot, value);
                }
            }
        }
        value
    }

    fn compute(&mut self, kind: &'r Kind) -> Option<bool> {
        match kind {
            Kind::Known(value) => *value,
            Kind::Test(_, code) => code.run(self.env),
            Kind::Not(inner) => self.eval(*inner).map(|value| !value),
            Kind::And(terms) => self.chain(terms, true),
            Kind::Or(terms) => self.chain(terms, false),
        }
    }

    fn chain(&mut self, terms: &[NodeId], and: bool) -> Option<bool> {
        let mut verdict = Some(and);
        for term in terms {
            match self.eval(*term) {
                Some(value) if value == and => {}
                Some(value) => return Some(value),
                None => verdict = None,
            }
        }
        verdict
    }
}
