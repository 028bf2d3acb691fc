//! From programs to a plan: equal parts become one node, what an event's number decides is put in,
//! and what depends on the image or the path alone is split off.

use core::hash::{Hash, Hasher};
use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;

use nabe_event::source::EventSet;
use nabe_event::table::EventId;

use super::depends::Depends;
use super::{NO_GROUP, Plan};
use crate::Program;
use crate::cel::print;
use crate::compile::{Code, compile, is_one_search, searches};
use crate::ir::Pred;
use crate::passes;
use crate::possible::{decided, is_decidable, is_generic, names_told_apart};

/// A node of the plan, by its position.
pub(crate) type NodeId = u32;

/// A part of one or more programs.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    pub(crate) depends: Depends,
    pub(crate) slot: Slot,
    /// Roughly nanoseconds.
    cost: u32,
    /// Whether an event's number may decide some of it.
    decidable: bool,
}

#[derive(Debug)]
pub(crate) enum Kind {
    Known(Option<bool>),
    And(Box<[NodeId]>),
    Or(Box<[NodeId]>),
    Not(NodeId),
    Test(Box<Pred>, Code),
}

/// Where the verdict of a node is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    Nowhere,
    /// Within an event.
    Memo(u32),
    Image(u32),
    Path(u32),
}

/// How events of some numbers are judged.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) rules: Vec<Rule>,
    /// Its number, for what is remembered of it.
    pub(crate) at: usize,
    /// Where its words begin in masks.
    pub(crate) words: core::ops::Range<usize>,
    /// Whether any program depends on the image, or on the path.
    pub(crate) by_image: bool,
    pub(crate) by_path: bool,
}

/// What is left of a program.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Rule {
    pub(crate) program: usize,
    /// True whenever the program is, of the image alone.
    pub(crate) image: Option<NodeId>,
    /// The same of the path.
    pub(crate) path: Option<NodeId>,
    /// What must be true beside those.
    pub(crate) rest: Option<NodeId>,
}

pub(super) fn build(programs: &[Program]) -> Plan {
    let mut builder = Builder::default();
    let roots: Vec<NodeId> = programs.iter().map(|program| builder.intern(program.pred())).collect();
    let mut grouping = Grouping { programs, roots, groups: Vec::new(), known: HashMap::new(), words: 0 };
    let mut by_event = vec![NO_GROUP; usize::from(EventId::COUNT)].into_boxed_slice();
    let mut by_name = HashMap::new();
    let mut events = EventSet::none();
    let names = names_told_apart(builder.nodes.iter().filter_map(|node| match &node.kind {
        Kind::Test(pred, _) => Some(&**pred),
        _ => None,
    }));
    for id in EventId::all() {
        // What no test knows by name.
        let other = is_generic(id).then_some("<unknown>");
        let group = grouping.group(&mut builder, id, other);
        if let Some(place) = by_event.get_mut(usize::from(id.number())) {
            *place = group;
        }
        let mut any = group != NO_GROUP;
        for name in names.iter().filter(|_| is_generic(id)) {
            let group = grouping.group(&mut builder, id, Some(*name));
            any |= group != NO_GROUP;
            by_name.insert((id.is_enter(), name.as_bytes()), group);
        }
        if any {
            events.insert(id);
        }
    }
    let Grouping { groups, words, .. } = grouping;
    let slots = builder.place(&groups);
    Plan {
        id: 0,
        programs: programs.to_vec(),
        nodes: builder.nodes,
        groups,
        by_event,
        by_name,
        events,
        words,
        image_slots: slots[0],
        path_slots: slots[1],
        memo_slots: slots[2],
    }
}

/// Groups that were found.
struct Grouping<'p> {
    programs: &'p [Program],
    /// The nodes of the programs.
    roots: Vec<NodeId>,
    groups: Vec<Group>,
    /// What is left of which programs, and the group for that.
    known: HashMap<Vec<(usize, NodeId)>, u16>,
    words: usize,
}

impl Grouping<'_> {
    /// The group of an event; [`NO_GROUP`] when nothing can match.
    fn group(&mut self, builder: &mut Builder, id: EventId, name: Option<&'static str>) -> u16 {
        let mut put_in = HashMap::new();
        let mut left: Vec<(usize, NodeId)> = Vec::new();
        for (at, (program, root)) in self.programs.iter().zip(&self.roots).enumerate() {
            if program.events().contains(id) {
                left.push((at, builder.specialise(*root, (id, name), &mut put_in)));
            }
        }
        left.retain(|(_, left)| !matches!(builder.node(*left).kind, Kind::Known(Some(false) | None)));
        if left.is_empty() {
            return NO_GROUP;
        }
        if let Some(group) = self.known.get(&left) {
            return *group;
        }
        let at = self.groups.len();
        let rules: Vec<Rule> = left.iter().map(|(program, node)| builder.split(*program, *node)).collect();
        let words = self.words..self.words + rules.len().div_ceil(64);
        self.words = words.end;
        self.groups.push(Group {
            by_image: rules.iter().any(|rule| rule.image.is_some()),
            by_path: rules.iter().any(|rule| rule.path.is_some()),
            rules,
            at,
            words,
        });
        let group = u16::try_from(at).unwrap_or(NO_GROUP);
        self.known.insert(left, group);
        group
    }
}

impl Plan {
    /// A part as it could be written.
    pub(super) fn text(&self, at: NodeId) -> String {
        print::print(&self.pred(at))
    }

    fn pred(&self, at: NodeId) -> Pred {
        let all = |terms: &[NodeId]| terms.iter().map(|term| self.pred(*term)).collect();
        match self.nodes.get(at as usize).map(|node| &node.kind) {
            Some(Kind::Known(value)) => Pred::Const(*value),
            Some(Kind::And(terms)) => Pred::And(all(terms)),
            Some(Kind::Or(terms)) => Pred::Or(all(terms)),
            Some(Kind::Not(inner)) => self.pred(*inner).not(),
            Some(Kind::Test(pred, _)) => (**pred).clone(),
            None => Pred::Const(None),
        }
    }
}

/// Parts of parts that are looked at while rules are specialised; what is left then is judged with
/// every event.
const MAX_SPECIALISED: usize = 1 << 22;
/// Tests that are asked about an event's number.
const MAX_DECIDED: usize = 1 << 17;

#[derive(Default)]
struct Builder {
    specialised: usize,
    decided: usize,
    nodes: Vec<Node>,
    /// Nodes by their digest.
    found: HashMap<u64, Vec<NodeId>>,
    /// Upper and lower bounds that were found.
    bounds: HashMap<(NodeId, bool, bool), NodeId>,
}

impl Builder {
    fn node(&self, at: NodeId) -> &Node {
        // Ids are made by `add` only.
        &self.nodes[at as usize]
    }

    fn add(&mut self, digest: u64, kind: Kind, depends: Depends, cost: u32, decidable: bool) -> NodeId {
        let at = NodeId::try_from(self.nodes.len()).unwrap_or(NodeId::MAX);
        self.nodes.push(Node { kind, depends, slot: Slot::Nowhere, cost, decidable });
        self.found.entry(digest).or_default().push(at);
        at
    }

    fn find(&self, digest: u64, same: impl Fn(&Kind) -> bool) -> Option<NodeId> {
        let candidates = self.found.get(&digest)?;
        candidates.iter().copied().find(|at| same(&self.node(*at).kind))
    }

    fn known(&mut self, value: Option<bool>) -> NodeId {
        let digest = digest_of(&(0_u8, value));
        self.find(digest, |kind| matches!(kind, Kind::Known(known) if *known == value))
            .unwrap_or_else(|| self.add(digest, Kind::Known(value), Depends::default(), 0, false))
    }

    fn intern(&mut self, pred: &Pred) -> NodeId {
        match pred {
            Pred::Const(value) => self.known(*value),
            Pred::Not(inner) => {
                let inner = self.intern(inner);
                self.negated(inner)
            }
            Pred::And(terms) => {
                let terms = terms.iter().map(|term| self.intern(term)).collect();
                self.chain(terms, true)
            }
            Pred::Or(terms) if !is_one_search(terms) => {
                let (searches, others) = searches(terms);
                let mut nodes: Vec<NodeId> = others.into_iter().map(|term| self.intern(term)).collect();
                nodes.extend(searches.iter().map(|search| self.test(search)).collect::<Vec<_>>());
                self.chain(nodes, false)
            }
            test => self.test(test),
        }
    }

    fn test(&mut self, pred: &Pred) -> NodeId {
        let digest = pred.digest();
        let same = self.find(digest, |kind| matches!(kind, Kind::Test(known, _) if **known == *pred));
        same.unwrap_or_else(|| {
            let kind = Kind::Test(Box::new(pred.clone()), compile(pred));
            self.add(digest, kind, Depends::of(pred), passes::cost(pred), is_decidable(pred))
        })
    }

    fn negated(&mut self, inner: NodeId) -> NodeId {
        match self.node(inner).kind {
            Kind::Known(value) => return self.known(value.map(|value| !value)),
            Kind::Not(twice) => return twice,
            _ => {}
        }
        let digest = digest_of(&(1_u8, inner));
        self.find(digest, |kind| matches!(kind, Kind::Not(known) if *known == inner)).unwrap_or_else(|| {
            let Node { depends, cost, decidable, .. } = *self.node(inner);
            self.add(digest, Kind::Not(inner), depends, cost, decidable)
        })
    }

    /// "And" or "or" of nodes, without what has no influence.
    fn chain(&mut self, terms: Vec<NodeId>, and: bool) -> NodeId {
        let mut flat = Vec::with_capacity(terms.len());
        for term in terms {
            match &self.node(term).kind {
                Kind::Known(Some(value)) if *value == and => {}
                Kind::Known(Some(value)) => return self.known(Some(*value)),
                Kind::And(inner) if and => flat.extend_from_slice(inner),
                Kind::Or(inner) if !and => flat.extend_from_slice(inner),
                _ => flat.push(term),
            }
        }
        flat.sort_by_key(|at| (self.node(*at).cost, *at));
        let mut seen = std::collections::HashSet::new();
        flat.retain(|at| seen.insert(*at));
        match flat[..] {
            [] => return self.known(Some(and)),
            [one] => return one,
            _ => {}
        }
        let digest = digest_of(&(2_u8, and, &flat));
        let same = |kind: &Kind| match kind {
            Kind::And(known) => and && **known == *flat,
            Kind::Or(known) => !and && **known == *flat,
            _ => false,
        };
        if let Some(found) = self.find(digest, same) {
            return found;
        }
        let nodes = || flat.iter().map(|at| self.node(*at));
        let depends = nodes().fold(Depends::default(), |all, node| all.and(node.depends));
        let cost = nodes().fold(1_u32, |sum, node| sum.saturating_add(node.cost));
        let decidable = nodes().any(|node| node.decidable);
        let kind = if and { Kind::And(flat.into()) } else { Kind::Or(flat.into()) };
        self.add(digest, kind, depends, cost, decidable)
    }

    /// What is left of a node when what the number of an event decides is put in.
    fn specialise(
        &mut self,
        at: NodeId,
        event: (EventId, Option<&'static str>),
        done: &mut HashMap<NodeId, NodeId>,
    ) -> NodeId {
        if !self.node(at).decidable || self.specialised > MAX_SPECIALISED {
            return at;
        }
        if let Some(done) = done.get(&at) {
            return *done;
        }
        let left = match &self.node(at).kind {
            Kind::Known(_) => at,
            Kind::Test(..) if self.decided > MAX_DECIDED => at,
            Kind::Test(pred, _) => {
                let answer = decided(pred, event.0, event.1);
                self.decided += 1;
                answer.map_or(at, |value| self.known(value))
            }
            Kind::Not(inner) => {
                let inner = *inner;
                let inner = self.specialise(inner, event, done);
                self.negated(inner)
            }
            Kind::And(terms) | Kind::Or(terms) => {
                let and = matches!(self.node(at).kind, Kind::And(_));
                let terms = terms.to_vec();
                self.specialised += terms.len();
                let terms = terms.into_iter().map(|term| self.specialise(term, event, done)).collect();
                self.chain(terms, and)
            }
        };
        done.insert(at, left);
        left
    }

    /// Splits off what depends on the image or the path alone.
    fn split(&mut self, program: usize, at: NodeId) -> Rule {
        let part = |at: NodeId, builder: &Self| match builder.node(at).kind {
            Kind::Known(Some(true)) => None,
            _ => Some(at),
        };
        let (image, path) = (self.bound(at, true, true), self.bound(at, true, false));
        let (image, path) = (part(image, self), part(path, self));
        let terms = match &self.node(at).kind {
            Kind::And(terms) => terms.to_vec(),
            _ => vec![at],
        };
        // The masks have answered these.
        let alone = |at: &NodeId| {
            let depends = self.node(*at).depends;
            depends.is_image() || depends.is_path()
        };
        let rest: Vec<NodeId> = terms.into_iter().filter(|at| !alone(at)).collect();
        let rest = self.chain(rest, true);
        Rule { program, image, path, rest: part(rest, self) }
    }

    /// With `above`, a node that is true wherever this one is true; without, one that is false
    /// wherever this one is false. It depends on the image alone, or on the path alone.
    fn bound(&mut self, at: NodeId, above: bool, of_image: bool) -> NodeId {
        let depends = self.node(at).depends;
        if if of_image { depends.is_image() } else { depends.is_path() } {
            return at;
        }
        if let Some(found) = self.bounds.get(&(at, above, of_image)) {
            return *found;
        }
        let bound = match &self.node(at).kind {
            Kind::Known(_) => at,
            Kind::Test(..) => self.known(Some(above)),
            Kind::Not(inner) => {
                let inner = *inner;
                let inner = self.bound(inner, !above, of_image);
                self.negated(inner)
            }
            Kind::And(terms) | Kind::Or(terms) => {
                let and = matches!(self.node(at).kind, Kind::And(_));
                let terms = terms.to_vec();
                let terms = terms.into_iter().map(|term| self.bound(term, above, of_image)).collect();
                self.chain(terms, and)
            }
        };
        self.bounds.insert((at, above, of_image), bound);
        bound
    }

    /// Decides what is remembered; the number of slots for images, paths and within an event.
    fn place(&mut self, groups: &[Group]) -> [usize; 3] {
        let mut uses = vec![0_u32; self.nodes.len()];
        let mut open = Vec::new();
        for rule in groups.iter().flat_map(|group| &group.rules) {
            for part in [rule.image, rule.path, rule.rest].into_iter().flatten() {
                uses[part as usize] += 1;
                open.push(part);
            }
        }
        // Parts of a rule that depend on the image alone are worth remembering where they are used
        // by a rule or by a part that depends on more.
        let mut outer = vec![false; self.nodes.len()];
        open.iter().for_each(|at| outer[*at as usize] = true);
        let mut visited = vec![false; self.nodes.len()];
        while let Some(at) = open.pop() {
            if core::mem::replace(&mut visited[at as usize], true) {
                continue;
            }
            let node = &self.nodes[at as usize];
            let children: &[NodeId] = match &node.kind {
                Kind::And(terms) | Kind::Or(terms) => terms,
                Kind::Not(inner) => core::slice::from_ref(inner),
                _ => &[],
            };
            for child in children {
                uses[*child as usize] += 1;
                outer[*child as usize] |= node.depends != self.nodes[*child as usize].depends;
                open.push(*child);
            }
        }
        let mut slots = [0_usize; 3];
        for (at, node) in self.nodes.iter_mut().enumerate() {
            if !visited[at] || matches!(node.kind, Kind::Known(_)) {
                continue;
            }
            let mut next = |which: usize| {
                slots[which] += 1;
                u32::try_from(slots[which] - 1).unwrap_or(0)
            };
            node.slot = match node.depends {
                depends if depends.is_image() && (outer[at] || uses[at] > 1) => Slot::Image(next(0)),
                depends if depends.is_path() && (outer[at] || uses[at] > 1) => Slot::Path(next(1)),
                _ if uses[at] > 1 => Slot::Memo(next(2)),
                _ => Slot::Nowhere,
            };
        }
        slots
    }
}

fn digest_of(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
