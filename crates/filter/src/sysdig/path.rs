//! Paths and what lies beneath them, as a trie of components.

use std::collections::HashMap;

/// A set of paths without wildcards.
#[derive(Debug, Default)]
pub(crate) struct Paths {
    nodes: Vec<Node>,
}

#[derive(Debug, Default)]
struct Node {
    /// Whether one of the paths ends here.
    is_end: bool,
    below: HashMap<Box<[u8]>, usize>,
}

fn components(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|component| !component.is_empty())
}

impl Paths {
    /// The set of these paths; `None` when one has a wildcard, or there are none.
    pub(super) fn new<'p>(paths: impl Iterator<Item = &'p [u8]>) -> Option<Self> {
        let mut set = Self { nodes: vec![Node::default()] };
        let mut any = false;
        for path in paths {
            any = true;
            if path.iter().any(|byte| b"*?[\\".contains(byte)) {
                return None;
            }
            let mut at = 0;
            for component in components(path) {
                let next = set.nodes.len();
                let node = set.nodes.get_mut(at)?;
                at = *node.below.entry(component.into()).or_insert(next);
                if at == next {
                    set.nodes.push(Node::default());
                }
            }
            set.nodes.get_mut(at)?.is_end = true;
        }
        any.then_some(set)
    }

    /// Whether one of the paths is this one, or leads to it.
    pub(crate) fn lead_to(&self, path: &[u8]) -> bool {
        let Some(mut node) = self.nodes.first() else { return false };
        let mut rest = components(path);
        while !node.is_end {
            let next = rest.next().and_then(|component| node.below.get(component));
            match next.and_then(|next| self.nodes.get(*next)) {
                Some(next) => node = next,
                None => return false,
            }
        }
        true
    }
}
