//! Golden trees, and trees that no sane system has.

use proptest::prelude::*;

use crate::fixture::{Row, context};
use crate::print::{Options, Palette, print_tree};
use crate::view::tree::{Arrangement, Home, Node, Tree};
use crate::view::{Column, escape};

fn row(pid: i64, ppid: i64, name: &str) -> Row {
    Row::default()
        .with("process.pid", pid)
        .with("process.tid", pid)
        .with("process.ppid", ppid)
        .with("process.name", name)
        .with("process.rss", 1_048_576u64)
        .with("process.user", "root")
}

fn contained(row: Row, id: &str, name: &str, pod: &str) -> Row {
    let namespace = if pod.is_empty() { "" } else { "default" };
    row.with("container.id", id)
        .with("container.name", name)
        .with("container.image", "nginx:1.27")
        .with("container.runtime", "containerd")
        .with("container.pod", pod)
        .with("container.namespace", namespace)
        .with("process.unit", "pod.scope")
}

fn host() -> Vec<Row> {
    vec![
        row(1, 0, "systemd").with("process.unit", "init.scope"),
        row(2, 0, "kthreadd").with("container.id", "host").with("container.name", "host"),
        row(90, 2, "kworker/0:0"),
        row(300, 1, "sshd").with("process.unit", "ssh.service"),
        row(310, 300, "sshd").with("process.unit", "ssh.service"),
        row(311, 310, "bash").with("process.unit", "session-3.scope"),
        row(10, 1, "shim").with("process.unit", "containerd.service"),
        contained(row(20, 10, "pause"), "aaaaaaaaaaaa", "", "web"),
        contained(row(21, 10, "nginx"), "bbbbbbbbbbbb", "nginx", "web"),
        contained(row(22, 21, "nginx"), "bbbbbbbbbbbb", "nginx", "web"),
        contained(row(22, 21, "nginx"), "bbbbbbbbbbbb", "nginx", "web").with("process.tid", 23),
        contained(row(24, 10, "evil\x1b[2J\u{202e}"), "cccccccccccc", "lone", ""),
        row(500, 499, "orphan"),
    ]
}

fn tree(columns: &str, rows: &[Row], matched: impl Fn(usize) -> bool) -> Tree {
    let columns = if columns.is_empty() { Vec::new() } else { Column::parse_list(columns).unwrap() };
    let mut tree = Tree::new(columns);
    for (index, row) in rows.iter().enumerate() {
        tree.push(row, matched(index));
    }
    tree
}

fn printed(tree: &Tree, how: &Arrangement, options: &Options) -> String {
    let mut out = Vec::new();
    print_tree(&tree.arrange(how), &context(), options, &mut out);
    String::from_utf8(out).unwrap()
}

fn bare() -> Arrangement {
    Arrangement { frames: false, ..Arrangement::default() }
}

#[test]
fn trees_with_and_without_frames() {
    let all = tree("", &host(), |_| true);
    insta::assert_snapshot!("tree", printed(&all, &bare(), &Options::default()));
    insta::assert_snapshot!("tree_frames", printed(&all, &Arrangement::default(), &Options::default()));
    let ascii = Options { ascii: true, width: Some(40), ..Options::default() };
    insta::assert_snapshot!("tree_ascii_40", printed(&all, &Arrangement::default(), &ascii));
}

#[test]
fn ancestors_of_a_match_are_kept_and_dimmed() {
    let some = tree("", &host(), |index| index == 9 || index == 5);
    let options = Options { palette: Palette::ANSI, ..Options::default() };
    let text = printed(&some, &Arrangement::default(), &options);
    insta::assert_snapshot!("tree_matches", text.replace('\x1b', "ESC"));
    let none = tree("", &host(), |_| false);
    assert_eq!(printed(&none, &Arrangement::default(), &options), "");
}

#[test]
fn columns_stand_to_the_left() {
    let some = tree("user,rss", &host(), |_| true);
    insta::assert_snapshot!("tree_columns", printed(&some, &Arrangement::default(), &Options::default()));
    for width in 30..100 {
        let options = Options { width: Some(width), ..Options::default() };
        let text = printed(&some, &Arrangement::default(), &options);
        let widest = text.lines().map(|line| escape::width(line.as_bytes())).max().unwrap();
        assert!(widest <= width, "{width}: {text}");
    }
}

#[test]
fn folded_subtrees_are_counted() {
    let all = tree("", &host(), |_| true);
    let how = Arrangement { folded: [10].into(), ..bare() };
    let text = printed(&all, &how, &Options::default());
    assert!(text.contains("[10] shim [+5 below]\n") && !text.contains("nginx"), "{text}");
    let text = printed(&all, &Arrangement { depth: 0, ..bare() }, &Options::default());
    assert_eq!(text, "[1] systemd [+9 below]\n[2] kthreadd [+1 below]\n[500] orphan\n");
}

fn chain(parents: impl IntoIterator<Item = (u64, u64)>) -> Tree {
    let mut tree = Tree::default();
    for (id, parent) in parents {
        tree.push_node(&Node { id, parent, matched: true, name: b"x", ..Node::default() });
    }
    tree
}

#[test]
fn deep_chains_end() {
    let deep = chain((1..=20_000).map(|id| (id, id - 1)));
    let text = printed(&deep, &Arrangement::default(), &Options::default());
    assert_eq!(text.lines().count(), 20_000);
    let last = text.lines().last().unwrap();
    assert!(last.starts_with("(19935) ") && last.ends_with("└── [20000] x"), "{last}");
    // The other way round: every parent comes after its child.
    let deep = chain((1..=20_000).rev().map(|id| (id, id - 1)));
    assert_eq!(printed(&deep, &Arrangement::default(), &Options::default()), text);
}

#[test]
fn circles_are_cut() {
    let circles = chain([(1, 1), (5, 4), (4, 6), (6, 5), (7, 6), (9, 8), (8, 9), (9, 1)]);
    let text = printed(&circles, &Arrangement::default(), &Options::default());
    assert_eq!(
        text,
        "[1] x\n└── [9] x\n[4] x\n└── [5] x\n    └── [6] x\n        └── [7] x\n[8] x\n└── [9] x\n"
    );
}

#[test]
fn a_container_started_twice_below_one_parent_has_one_frame() {
    let mut tree = Tree::default();
    let home = Home { container_id: b"c1", container: b"web", ..Home::default() };
    // Another unit, the same container.
    let other = Home { unit: b"x.scope", ..home };
    for (id, parent, home) in [(1, 0, Home::default()), (2, 1, home), (3, 1, other), (4, 2, other)] {
        tree.push_node(&Node { id, parent, matched: true, name: b"n", home, ..Node::default() });
    }
    let text = printed(&tree, &Arrangement::default(), &Options::default());
    assert_eq!(text.matches("container web: 3 processes").count(), 1, "{text}");
    assert_eq!(text.lines().count(), 5, "{text}");
}

proptest! {
    #[test]
    fn every_match_stands_once_below_its_parent(
        nodes in prop::collection::vec((0u64..30, any::<bool>(), 0u8..4), 0..40),
        frames in any::<bool>(),
    ) {
        let mut tree = Tree::default();
        for (index, (parent, matched, home)) in nodes.iter().enumerate() {
            let home = match home {
                1 => Home { unit: b"u.service", ..Home::default() },
                2 => Home { container_id: b"c", pod: b"p", ..Home::default() },
                3 => Home { container_id: b"d", pod: b"p", ..Home::default() },
                _ => Home::default(),
            };
            let (id, parent, matched) = (index as u64, *parent, *matched);
            tree.push_node(&Node { id, parent, matched, name: b"n", home, ..Node::default() });
        }
        let text = printed(&tree, &Arrangement { frames, ..Arrangement::default() }, &Options::default());
        for (id, (_, matched, _)) in nodes.iter().enumerate() {
            let count = text.matches(&format!("[{id}] ")).count();
            prop_assert!(count == 1 || (!matched && count == 0), "{id} stands {count} times:\n{text}");
        }
        // Each process stands below its parent's level, or is a root.
        let depth = |line: &str| line.chars().take_while(|c| "│├└─ ".contains(*c)).count() / 4;
        for (index, line) in text.lines().enumerate().skip(1) {
            let before = text.lines().nth(index - 1).map_or(0, depth);
            prop_assert!(depth(line) <= before + 1, "{text}");
        }
    }
}
