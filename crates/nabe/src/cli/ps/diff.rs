//! `nabe ps --diff A B`: what differs between two snapshot files.

use std::path::Path;
use std::process::ExitCode;

use nabe_ui::print::Printer;
use nabe_ui::view::Diff;

use super::{Request, show};
use crate::error::Result;
use crate::output;

/// Compares the answers that two snapshots give to the same question.
pub fn run(request: &Request<'_>, before: &Path, after: &Path) -> Result<ExitCode> {
    let (old, new) = (show::load(before)?, show::load(after)?);
    let (old_table, new_table) = (show::table(request, &old)?, show::table(request, &new)?);
    let diff = Diff::between(&old_table, &new_table);
    let (context, options) = (show::context(&new), request.options());
    let mut out = Vec::new();
    Printer::with_changes(&new_table, &old_table, &diff, &context, &options).fill(&mut out, usize::MAX);
    output::page(&out, &request.terminal, !request.args.no_pager)?;
    Ok(ExitCode::SUCCESS)
}
