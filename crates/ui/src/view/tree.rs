//! Processes under their parents, in frames of the container, pod or unit in which they run.
//!
//! Built row by row, then arranged once. What is shown are the matches and their ancestors.
//! Parents come from outside: chains may be of any depth and may even run in circles, so nothing
//! here recurses and every circle is cut at its smallest id.

mod label;
mod order;

use std::collections::{BTreeSet, HashMap};

use nabe_event::field::{container, process};
use nabe_event::{FieldId, Fields, Needs, Value};

use crate::view::Table;
use crate::view::cell::{Cell, Cells, pack_text};
use crate::view::column::{Column, number_of, text_of};
pub(crate) use label::Tone;
use order::{Children, cut_circles};

/// A process or thread as the tree needs it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Node<'a> {
    /// Process id; of a thread its thread id.
    pub id: u64,
    /// Id of the parent; of a thread its process.
    pub parent: u64,
    /// Whether it is a thread.
    pub thread: bool,
    /// Whether it was asked for; others are shown only when they lead to such.
    pub matched: bool,
    /// Name.
    pub name: &'a [u8],
    /// Resident memory in bytes, if known.
    pub rss_bytes: Option<u64>,
    /// Where it runs.
    pub home: Home<'a>,
}

/// Where a process runs; texts are empty for what it is not in.
#[derive(Clone, Copy, Debug, Default)]
pub struct Home<'a> {
    /// Short id of the container.
    pub container_id: &'a [u8],
    /// Name of the container.
    pub container: &'a [u8],
    /// Engine of the container.
    pub runtime: &'a [u8],
    /// Image of the container.
    pub image: &'a [u8],
    /// Kubernetes namespace of the pod.
    pub namespace: &'a [u8],
    /// Name of the pod.
    pub pod: &'a [u8],
    /// systemd unit.
    pub unit: &'a [u8],
}

/// How a tree is arranged.
#[derive(Clone, Debug)]
pub struct Arrangement {
    /// Whether containers, pods and units stand as lines of their own.
    pub frames: bool,
    /// Levels to show below the roots.
    pub depth: usize,
    /// Ids whose descendants are not shown, only counted.
    pub folded: BTreeSet<u64>,
}

impl Default for Arrangement {
    fn default() -> Self {
        Self { frames: true, depth: usize::MAX, folded: BTreeSet::new() }
    }
}

/// What kind of frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Kind {
    Pod,
    Container,
    Unit,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    id: u64,
    parent: u64,
    name: (usize, usize),
    home: u32,
    rss_bytes: Option<u64>,
    thread: bool,
    matched: bool,
}

/// A tree of processes. Beside each process stand the cells of a table, if it has columns.
#[derive(Debug, Default)]
pub struct Tree {
    entries: Vec<Entry>,
    names: Vec<u8>,
    /// Distinct homes, packed.
    homes: Vec<Box<[u8]>>,
    known: HashMap<Box<[u8]>, u32>,
    table: Table,
    scratch: Vec<u8>,
}

/// A line of an arranged tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// What stands on it: an entry, or behind those a frame.
    item: u32,
    /// Its level, 0 for roots.
    pub(crate) depth: u32,
    /// Whether it is the last of its siblings.
    pub(crate) last: bool,
    /// How many processes below it are not shown.
    pub(crate) folded: u32,
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    kind: Kind,
    home: u32,
    parent: Option<u32>,
    processes: u32,
    rss_bytes: Option<u64>,
}

/// A tree whose lines have their order.
#[derive(Debug)]
pub struct Arranged<'a> {
    tree: &'a Tree,
    frames: Vec<Frame>,
    lines: Vec<Line>,
}

impl Tree {
    /// A tree with `columns` to the left of it.
    #[must_use]
    pub fn new(columns: Vec<Column>) -> Self {
        Self { table: Table::new(columns), ..Self::default() }
    }

    /// What must be collected for the tree itself.
    #[must_use]
    pub fn needs(frames: bool) -> Needs {
        let fields = [process::PID, process::NAME, container::NAME];
        let more: &[_] = if frames { &[process::UNIT, container::POD] } else { &[] };
        fields.iter().chain(more).fold(Needs::NONE, |needs, id| needs | id.field().needs)
    }

    /// The columns to the left.
    #[must_use]
    pub fn columns(&self) -> &[Column] {
        self.table.columns()
    }

    /// Number of processes and threads.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Reads a process or thread; one that was not asked for may still be an ancestor.
    pub fn push(&mut self, row: &dyn Fields, matched: bool) {
        let Some(pid) = number_of(row, process::PID) else { return };
        let tid = number_of(row, process::TID).unwrap_or(pid);
        let thread = tid != pid;
        let rss_bytes = match row.get(process::RSS, None) {
            Value::Uint(bytes) if !thread => Some(bytes),
            _ => None,
        };
        let node = Node {
            id: tid,
            parent: if thread { pid } else { number_of(row, process::PPID).unwrap_or(0) },
            thread,
            matched,
            name: text_of(row, process::NAME),
            rss_bytes,
            home: Home {
                container_id: inside(row, container::ID),
                container: inside(row, container::NAME),
                runtime: inside(row, container::RUNTIME),
                image: text_of(row, container::IMAGE),
                namespace: text_of(row, container::POD_NAMESPACE),
                pod: text_of(row, container::POD),
                unit: text_of(row, process::UNIT),
            },
        };
        self.push_node(&node);
        self.table.push(row);
    }

    /// Adds a node without cells: for trees without columns.
    pub fn push_node(&mut self, node: &Node<'_>) {
        let home = self.home(&node.home);
        let start = self.names.len();
        self.names.extend_from_slice(node.name);
        self.entries.push(Entry {
            id: node.id,
            parent: node.parent,
            name: (start, self.names.len()),
            home,
            rss_bytes: node.rss_bytes,
            thread: node.thread,
            matched: node.matched,
        });
    }

    /// Index of a home; few processes have one of their own.
    fn home(&mut self, home: &Home<'_>) -> u32 {
        self.scratch.clear();
        for text in
            [home.container_id, home.container, home.runtime, home.image, home.namespace, home.pod, home.unit]
        {
            pack_text(&mut self.scratch, text, usize::MAX);
        }
        if let Some(index) = self.known.get(&*self.scratch) {
            return *index;
        }
        let index = short(self.homes.len());
        let packed: Box<[u8]> = self.scratch.as_slice().into();
        self.homes.push(packed.clone());
        self.known.insert(packed, index);
        index
    }

    fn home_at(&self, index: u32) -> Home<'_> {
        let mut cells = Cells::new(self.homes.get(index as usize).map_or(&[][..], |packed| packed));
        let mut next = || match cells.next() {
            Some(Cell::Text(text)) => text,
            _ => &[],
        };
        Home {
            container_id: next(),
            container: next(),
            runtime: next(),
            image: next(),
            namespace: next(),
            pod: next(),
            unit: next(),
        }
    }

    /// Puts every process under its parent.
    #[must_use]
    pub fn arrange(&self, how: &Arrangement) -> Arranged<'_> {
        let mut parents = self.parents();
        cut_circles(&mut parents, &self.entries);
        let kept = self.kept(&parents);
        let mut frames = Vec::new();
        // Parent of each item: entries first, then frames.
        let mut above: Vec<Option<u32>> = parents;
        if how.frames {
            frames = self.frame(&mut above, &kept);
            above.extend(frames.iter().map(|frame| frame.parent));
        }
        let children = Children::new(&above, &kept, &self.entries);
        let lines = self.lines(&children, &mut frames, &above, how);
        Arranged { tree: self, frames, lines }
    }

    /// Index of each entry's parent; none for those whose parent is not here.
    fn parents(&self) -> Vec<Option<u32>> {
        let mut by_id: HashMap<u64, u32> = HashMap::with_capacity(self.entries.len());
        for (index, entry) in self.entries.iter().enumerate() {
            // A process may come more than once, with each of its descriptors.
            by_id.entry(entry.id).or_insert(short(index));
        }
        self.entries
            .iter()
            .map(|entry| by_id.get(&entry.parent).copied().filter(|_| entry.parent != entry.id))
            .collect()
    }

    /// Which entries are shown: matches and their ancestors.
    fn kept(&self, parents: &[Option<u32>]) -> Vec<bool> {
        let mut kept = vec![false; self.entries.len()];
        for index in 0..self.entries.len() {
            if !self.entries.get(index).is_some_and(|entry| entry.matched) {
                continue;
            }
            let mut at = Some(short(index));
            while let Some(index) = at {
                match kept.get_mut(index as usize) {
                    Some(known) if !*known => *known = true,
                    _ => break,
                }
                at = parents.get(index as usize).copied().flatten();
            }
        }
        kept
    }

    /// Puts a frame between a process and its parent wherever they run in different places; the
    /// children of one parent share them.
    fn frame(&self, above: &mut [Option<u32>], kept: &[bool]) -> Vec<Frame> {
        let mut frames: Vec<Frame> = Vec::new();
        let mut known: HashMap<(Option<u32>, Kind, u32), u32> = HashMap::new();
        let places = [Kind::Pod, Kind::Container, Kind::Unit].map(|kind| self.places(kind));
        for (index, entry) in self.entries.iter().enumerate() {
            let Some(place) = above.get_mut(index).filter(|_| kept.get(index) == Some(&true)) else {
                continue;
            };
            let outer = place.and_then(|parent| self.entries.get(parent as usize)).map(|parent| parent.home);
            if outer == Some(entry.home) {
                continue;
            }
            for kind in self.differences(outer, entry.home) {
                let next = short(self.entries.len() + frames.len());
                let same = places.get(kind as usize).and_then(|places| places.get(entry.home as usize));
                let home = same.copied().unwrap_or(entry.home);
                let frame = *known.entry((*place, kind, home)).or_insert_with(|| {
                    frames.push(Frame {
                        kind,
                        home: entry.home,
                        parent: *place,
                        processes: 0,
                        rss_bytes: None,
                    });
                    next
                });
                *place = Some(frame);
            }
        }
        frames
    }

    /// For each home the first one that is the same place for frames of `kind`: homes that differ in
    /// something else share a frame.
    fn places(&self, kind: Kind) -> Vec<u32> {
        let mut first = HashMap::new();
        let count = short(self.homes.len());
        (0..count)
            .map(|index| {
                let home = self.home_at(index);
                let place = match kind {
                    Kind::Pod => (home.namespace, home.pod),
                    Kind::Container => (home.container_id, &[][..]),
                    Kind::Unit => (home.unit, &[][..]),
                };
                *first.entry(place).or_insert(index)
            })
            .collect()
    }

    /// Frames to put around a process that runs in `inner` below one that runs in `outer`.
    fn differences(&self, outer: Option<u32>, inner: u32) -> impl Iterator<Item = Kind> {
        let (outer, inner) =
            (outer.map(|index| self.home_at(index)).unwrap_or_default(), self.home_at(inner));
        let pod = !inner.pod.is_empty() && (inner.pod, inner.namespace) != (outer.pod, outer.namespace);
        let contained = !inner.container_id.is_empty();
        let container = contained && inner.container_id != outer.container_id;
        // PID 1 is nobody's unit in anyone's eyes.
        let unit = !contained && !inner.unit.is_empty() && inner.unit != b"init.scope";
        let unit = unit && (inner.unit != outer.unit || !outer.container_id.is_empty());
        [(pod, Kind::Pod), (container, Kind::Container), (unit, Kind::Unit)]
            .into_iter()
            .filter_map(|(due, kind)| due.then_some(kind))
    }

    /// Walks the items from the roots down and sums up the matches in each frame.
    fn lines(
        &self,
        children: &Children,
        frames: &mut [Frame],
        above: &[Option<u32>],
        how: &Arrangement,
    ) -> Vec<Line> {
        let mut lines: Vec<Line> = Vec::new();
        let mut totals: Vec<(u32, Option<u64>)> = vec![(0, None); above.len()];
        let mut order: Vec<u32> = Vec::with_capacity(above.len());
        // Item, level, whether it is the last child, the line that counts it when it is not shown.
        let mut stack: Vec<(u32, u32, bool, Option<usize>)> = Vec::new();
        let open = |stack: &mut Vec<_>, parent: Option<u32>, depth: u32, hidden: Option<usize>| {
            let below = children.of(parent);
            let pairs = below.iter().enumerate().rev();
            stack.extend(pairs.map(|(index, (.., item))| (*item, depth, index + 1 == below.len(), hidden)));
        };
        open(&mut stack, None, 0, None);
        while let Some((item, depth, last, mut hidden)) = stack.pop() {
            order.push(item);
            let entry = self.entries.get(item as usize);
            let matched = entry.filter(|entry| entry.matched);
            if let (Some(entry), Some(total)) = (matched, totals.get_mut(item as usize)) {
                *total = (u32::from(!entry.thread), entry.rss_bytes);
            }
            match hidden {
                Some(line) => {
                    if let (Some(line), Some(_)) = (lines.get_mut(line), entry) {
                        line.folded += 1;
                    }
                }
                None => {
                    lines.push(Line { item, depth, last, folded: 0 });
                    let folded = entry.is_some_and(|entry| how.folded.contains(&entry.id));
                    if folded || depth as usize >= how.depth {
                        hidden = Some(lines.len() - 1);
                    }
                }
            }
            open(&mut stack, Some(item), depth + 1, hidden);
        }
        for item in order.iter().rev() {
            let (count, bytes) = totals.get(*item as usize).copied().unwrap_or_default();
            let parent = above.get(*item as usize).copied().flatten();
            if let Some(total) = parent.and_then(|parent| totals.get_mut(parent as usize)) {
                total.0 += count;
                total.1 = match (total.1, bytes) {
                    (Some(a), Some(b)) => Some(a.saturating_add(b)),
                    (a, b) => a.or(b),
                };
            }
        }
        for (frame, total) in frames.iter_mut().zip(totals.iter().skip(self.entries.len())) {
            (frame.processes, frame.rss_bytes) = *total;
        }
        lines
    }
}

/// More items than 2^32 do not fit into any memory.
pub(super) fn short(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX - 1)
}
/// A part of a container's identity; empty outside containers.
fn inside(row: &dyn Fields, field: FieldId) -> &[u8] {
    Some(text_of(row, field)).filter(|text| *text != container::HOST).unwrap_or_default()
}
