//! Who stands below whom, and in which order.

use crate::view::tree::{Entry, short};

/// Cuts each circle of parents: the smallest id in it becomes a root.
pub(super) fn cut_circles(parents: &mut [Option<u32>], entries: &[Entry]) {
    // 0 for not seen, otherwise the walk in which it was.
    let mut seen = vec![0u32; parents.len()];
    for start in 0..parents.len() {
        let walk = short(start + 1);
        let mut at = start;
        while seen.get(at) == Some(&0) {
            if let Some(mark) = seen.get_mut(at) {
                *mark = walk;
            }
            match parents.get(at).copied().flatten() {
                Some(parent) => at = parent as usize,
                None => break,
            }
        }
        let closed = seen.get(at) == Some(&walk) && parents.get(at).copied().flatten().is_some();
        if !closed {
            continue;
        }
        let next = |at: usize| parents.get(at).copied().flatten().map_or(at, |parent| parent as usize);
        let id = |at: usize| entries.get(at).map_or(0, |entry| entry.id);
        let (mut smallest, mut step) = (at, next(at));
        while step != at {
            if id(step) < id(smallest) {
                smallest = step;
            }
            step = next(step);
        }
        if let Some(parent) = parents.get_mut(smallest) {
            *parent = None;
        }
    }
}

/// The children of every item, in order: by id, frames at the place of their smallest.
pub(super) struct Children {
    /// Parent (0 for none, else index + 1), then rank, then the item.
    sorted: Vec<(u32, u64, u32)>,
}

impl Children {
    pub(super) fn new(above: &[Option<u32>], kept: &[bool], entries: &[Entry]) -> Self {
        let mut rank: Vec<u64> = entries.iter().map(|entry| entry.id).collect();
        rank.resize(above.len(), u64::MAX);
        for (index, parent) in above.iter().enumerate().take(entries.len()) {
            let own = rank.get(index).copied().unwrap_or_default();
            let mut parent = parent.filter(|_| kept.get(index) == Some(&true));
            // Up through the frames around it: at most a pod and a container.
            while let Some(frame) = parent.filter(|parent| *parent as usize >= entries.len()) {
                if let Some(rank) = rank.get_mut(frame as usize) {
                    *rank = own.min(*rank);
                }
                parent = above.get(frame as usize).copied().flatten();
            }
        }
        let shown = |index: &usize| kept.get(*index).is_none_or(|kept| *kept);
        let mut sorted: Vec<(u32, u64, u32)> = (0..above.len())
            .filter(shown)
            .map(|index| {
                let parent = above.get(index).copied().flatten().map_or(0, |parent| parent + 1);
                (parent, rank.get(index).copied().unwrap_or_default(), short(index))
            })
            .collect();
        sorted.sort_unstable();
        Self { sorted }
    }

    pub(super) fn of(&self, parent: Option<u32>) -> &[(u32, u64, u32)] {
        let parent = parent.map_or(0, |parent| parent + 1);
        let start = self.sorted.partition_point(|(known, ..)| *known < parent);
        let rest = self.sorted.get(start..).unwrap_or_default();
        rest.get(..rest.partition_point(|(known, ..)| *known == parent)).unwrap_or_default()
    }
}
