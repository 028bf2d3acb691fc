//! `cargo xtask codegen`: files whose one source is Rust, and the check that they are fresh.

use std::fmt::Write as _;
use std::path::Path;

use nabe_event::field::{Class, Field};
use nabe_event::need::Needs;
use nabe_event::table::native;
use nabe_event::value::Type;
use nabe_event::{constant, field, preset, record};

use crate::Outcome;

/// A generated file: its path from the root, and what makes its text.
type Generated = (&'static str, fn() -> String);

const GENERATED: &[Generated] = &[
    ("crates/probe/bpf/record.gen.h", record::c_header),
    ("crates/probe/bpf/event.gen.h", native::c_header),
    ("docs/fields.md", fields_page),
];

/// Writes every generated file that differs; always true.
pub(crate) fn write(root: &Path) -> Outcome {
    for (path, text) in GENERATED {
        let (file, text) = (root.join(path), text());
        if std::fs::read_to_string(&file).ok().as_ref() != Some(&text) {
            std::fs::write(&file, text)?;
            eprintln!("codegen: wrote {path}");
        }
    }
    Ok(true)
}

/// The generated files that are missing or differ from what would be written.
pub(crate) fn stale(root: &Path) -> std::io::Result<Vec<String>> {
    let mut stale = Vec::new();
    for (path, text) in GENERATED {
        match std::fs::read_to_string(root.join(path)) {
            Ok(committed) if committed == text() => {}
            Ok(_) => stale.push(format!("{path}: is not fresh; run cargo xtask codegen")),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                stale.push(format!("{path}: is missing; run cargo xtask codegen"));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(stale)
}

/// `docs/fields.md`: the field catalogue for readers without the binary.
fn fields_page() -> String {
    let mut page = String::from(
        "# Fields\n\n\
         Made by `cargo xtask codegen` from the field catalogue (`crates/event/src/field/`): do not edit.\n\
         `nabe fields` prints the same, `nabe fields --json` for programs.\n\n\
         *needs*: the collectors that run when a filter or a column reads the field; what each costs stands \
         at the end. A field marked † is for expressions only, not for `-o`. `socket.` is another name of `file.`.\n",
    );
    for class in Class::ALL {
        let _ = write!(
            page,
            "\n## {}\n\n| field | type | unit | needs | meaning |\n|---|---|---|---|---|\n",
            class.name()
        );
        class.fields().iter().for_each(|field| field_row(&mut page, field));
    }
    symbols(&mut page);
    page.push_str("\n## Constants\n\nBare words in expressions. Names that stand above are meant as texts: `\"LISTEN\"`.\n\n| group | name | value |\n|---|---|---|\n");
    for (group, name, value) in constant::CONSTANTS {
        let value = match value {
            constant::Constant::Uint(number) => number.to_string(),
            constant::Constant::Text(text) => format!("\"{text}\""),
        };
        let _ = writeln!(page, "| {group} | `{name}` | `{value}` |");
    }
    page.push_str("\n## Presets for `-o`\n\n| preset | columns | for |\n|---|---|---|\n");
    for preset in preset::PRESETS {
        let columns: Vec<String> = preset.columns.iter().map(|id| format!("`{}`", id.field().name)).collect();
        let _ = writeln!(page, "| `{}` | {} | {} |", preset.name, columns.join(" "), cell(preset.doc));
    }
    page.push_str("\n## Collectors, cheapest first\n\n| collector | cost |\n|---|---|\n");
    for (_, name, cost) in Needs::ALL {
        let _ = writeln!(page, "| {name} | {} |", cell(cost));
    }
    page
}

fn field_row(page: &mut String, field: &Field) {
    let mut names = format!("`{}`", field.name);
    if !field.column {
        names.push_str(" †");
    }
    for alias in field.aliases {
        let _ = write!(names, "<br>`{alias}`");
    }
    let (kind, unit) = (cell(field.ty.name()), field.unit().unwrap_or_default());
    let _ = writeln!(page, "| {names} | {kind} | {unit} | {} | {} |", field.needs, cell(field.doc));
}

/// The names of symbols and masks, once for each table of them.
fn symbols(page: &mut String) {
    page.push_str("\n## Names of symbols and masks\n\n| names | of fields |\n|---|---|\n");
    let mut seen: Vec<&nabe_event::symbol::Symbols> = Vec::new();
    for one in field::all() {
        let (Type::Symbol(table) | Type::Mask(table)) = one.ty else { continue };
        if seen.iter().any(|known| std::ptr::eq(*known, table)) {
            continue;
        }
        seen.push(table);
        let same = |other: &&'static Field| matches!(other.ty, Type::Symbol(known) | Type::Mask(known) if std::ptr::eq(known, table));
        let fields: Vec<String> =
            field::all().filter(same).map(|field| format!("`{}`", field.name)).collect();
        let names: Vec<&str> = table.names().collect();
        let _ = writeln!(page, "| {} | {} |", cell(&names.join(" ")), fields.join(" "));
    }
}

/// Text that cannot end a cell of a Markdown table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_names_every_field_constant_preset_and_collector_once() {
        let page = fields_page();
        for field in field::all() {
            assert_eq!(page.matches(&format!("\n| `{}`", field.name)).count(), 1, "{}", field.name);
        }
        for (_, name, _) in constant::CONSTANTS {
            assert!(page.contains(&format!(" | `{name}` | `")), "{name}");
        }
        for preset in preset::PRESETS {
            assert!(page.contains(&format!("\n| `{}` | `", preset.name)), "{}", preset.name);
        }
        for (_, name, cost) in Needs::ALL {
            assert!(page.contains(&format!("\n| {name} | {}", cell(cost))), "{name}");
        }
    }

    #[test]
    fn every_table_row_has_as_many_cells_as_its_head() {
        let mut columns = 0;
        for line in fields_page().lines() {
            let cells = line.replace("\\|", "").matches('|').count();
            if !line.starts_with('|') {
                columns = 0;
            } else if columns == 0 {
                columns = cells;
            } else {
                assert_eq!(cells, columns, "{line}");
            }
        }
    }
}
