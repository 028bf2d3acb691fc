//! `nabe views`: the views there are; and what the verbs about events need of them: `--view`.

mod load;
mod machine;
mod sink;

use std::process::ExitCode;

use nabe_chisel::{Argument, BuiltIn, ViewError};

use crate::error::{CliError, Result};
use crate::output::{self, Color, Terminal};

pub(super) use sink::{Run, sink};

/// List views, or describe one.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  nabe views
  nabe views topprocs_net
  nabe views ./mine.toml
  nabe replay a.scap --view topprocs_net
  nabe replay a.scap 'proc.name = curl' --view fdbytes_by fd.type

A view is a file (.toml), in ~/.config/nabe/views, /etc/nabe/views or where you say; built in; or a
chisel in Lua, in ./chisels, ~/.chisels or $SYSDIG_CHISEL_DIR. docs/views.md has the format.

Exit status: 0 done, 1 failed, 2 wrong usage, or no such view.")]
pub struct Args {
    /// The view to describe, by name or file
    name: Option<String>,
    /// Print the declaration of a declared view, as a start for one of your own
    #[arg(long, requires = "name")]
    toml: bool,
    /// Do not use a pager
    #[arg(long)]
    no_pager: bool,
}

/// Options of verbs that run views.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct Choice {
    /// Show a view instead of events, with its arguments (`nabe views` lists them); the filter goes before
    #[arg(long, value_name = "NAME [ARG]…", num_args = 1.., help_heading = "Views",
          conflicts_with_all = ["quiet", "summary", "count"])]
    view: Vec<String>,
    /// Seconds between two tables of a live view
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, requires = "view", help_heading = "Views")]
    interval: f64,
}

impl Choice {
    /// Whether a view is asked for.
    pub(super) fn is_some(&self) -> bool {
        !self.view.is_empty()
    }
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<ExitCode> {
    let text = match &args.name {
        None => list(),
        Some(name) => describe(name, args.toml)?,
    };
    output::page(text.as_bytes(), &Terminal::detect(Color::Never), !args.no_pager)?;
    Ok(ExitCode::SUCCESS)
}

fn list() -> String {
    let mut text = String::new();
    let own = load::own();
    if !own.is_empty() {
        text.push_str("Your own\n");
    }
    for found in own {
        text.push_str(&format!(
            "  {:<22} {}\n",
            found.name,
            output::plain(found.path.display().to_string().as_bytes())
        ));
    }
    let mut category = String::new();
    for view in nabe_chisel::all() {
        if view.category != category {
            text.push_str(if text.is_empty() { "" } else { "\n" });
            text.push_str(&format!("{}\n", view.category));
            category.clone_from(&view.category);
        }
        text.push_str(&format!("  {:<34} {}\n", title(&view), view.summary));
    }
    text
}

/// The name and the arguments: `spy_file [read_or_write] [spy_on_file_name]`.
fn title(view: &BuiltIn) -> String {
    let mut text = view.name.clone();
    for Argument { name, default, .. } in &view.arguments {
        text.push_str(&if default.is_some() { format!(" [{name}]") } else { format!(" {name}") });
    }
    text
}

fn describe(name: &str, toml: bool) -> Result<String> {
    let view = match load::find(name)? {
        load::Found::Spec(spec, text) => {
            if toml {
                return Ok(text);
            }
            let load::Described { view, about, filter } = load::describe(&spec);
            return Ok(described(&view, &about, &filter));
        }
        load::Found::Lua(path) => {
            return Ok(format!(
                "{name}: a chisel in Lua, {}\n",
                output::plain(path.display().to_string().as_bytes())
            ));
        }
        load::Found::BuiltIn(view) => view,
    };
    match view.declaration {
        Some(declaration) if toml => Ok(declaration.to_owned()),
        None if toml => {
            Err(CliError::failed(format_args!("the view {} is code, not a declaration", view.name)))
        }
        declaration => {
            let spec = declaration.and_then(|text| nabe_chisel::Spec::parse(text, "built-in").ok());
            let (about, filter) = spec.map(|spec| (spec.about, spec.filter)).unwrap_or_default();
            Ok(described(&view, &about, &filter))
        }
    }
}

fn described(view: &BuiltIn, about: &str, filter: &str) -> String {
    let mut text = format!("{}\n  {}", title(view), view.summary);
    if !view.category.is_empty() {
        text.push_str(&format!(" ({})", view.category));
    }
    text.push('\n');
    if !about.is_empty() {
        text.push_str(&format!("  {}\n", about.trim().replace('\n', "\n  ")));
    }
    if !view.arguments.is_empty() {
        text.push_str("\nArguments\n");
    }
    for Argument { name, about, default } in &view.arguments {
        let optional = if default.is_some() { " (may be left out)" } else { "" };
        text.push_str(&format!("  {name:<20} {about}{optional}\n"));
    }
    if !filter.is_empty() {
        text.push_str(&format!("\nFilter\n  {filter}\n"));
    }
    text
}

impl From<ViewError> for CliError {
    fn from(error: ViewError) -> Self {
        let is_usage = matches!(
            error,
            ViewError::Argument { .. }
                | ViewError::Filter { .. }
                | ViewError::Field { .. }
                | ViewError::Unfit { .. }
        );
        let hint = match &error {
            ViewError::Argument { view, .. } => Some(format!("`nabe views {view}` describes the arguments")),
            _ => None,
        };
        let wrong = if is_usage { Self::usage(&error) } else { Self::failed(&error) };
        match hint {
            Some(hint) => wrong.hint(hint),
            None => wrong,
        }
    }
}
