//! `nabe ps --tree`: processes under their parents, in frames of container, pod and unit.

use nabe_event::Needs;
use nabe_state::Snapshot;
use nabe_ui::Tree;
use nabe_ui::print::tree::print_tree;
use nabe_ui::view::tree::Arrangement;

use super::{Request, show};

/// What the tree reads beyond the columns.
pub fn needs() -> Needs {
    Tree::needs(true) | Needs::RSS
}

/// Appends the tree of what the filter selects and its ancestors.
pub fn print(request: &Request<'_>, snapshot: &Snapshot, out: &mut Vec<u8>) {
    let columns = if request.args.output.is_some() { request.columns.clone() } else { Vec::new() };
    let mut tree = Tree::new(columns);
    for process in snapshot.processes() {
        if process.tid() != process.pid() && !request.args.threads {
            continue;
        }
        let alone = process.alone();
        tree.push(&alone, request.query.selects(&process, &alone));
    }
    let arranged = tree.arrange(&Arrangement::default());
    print_tree(&arranged, &show::context(snapshot), &request.options(), out);
}
