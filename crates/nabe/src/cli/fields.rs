//! `nabe fields`: the catalogue as people and machines read it.

use std::fmt::Write as _;
use std::process::ExitCode;

use nabe_event::constant::{CONSTANTS, Constant};
use nabe_event::field::{self, Arg, Class, Field, Marks};
use nabe_event::need::Needs;
use nabe_event::preset::PRESETS;
use nabe_event::value::Type;
use serde_json::{Value, json};

use crate::error::Result;
use crate::output::{self, Color, Terminal};

/// List the fields, constants and presets of expressions and columns.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  nabe fields\n  nabe fields socket\n  nabe fields --json | jq '.fields[].name'"
)]
pub struct Args {
    /// Only fields whose name or meaning holds this text
    search: Option<String>,
    /// As JSON
    #[arg(long)]
    json: bool,
    /// Do not use a pager
    #[arg(long)]
    no_pager: bool,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<ExitCode> {
    let wanted: Vec<&Field> = field::all().filter(|field| matches(field, args.search.as_deref())).collect();
    if args.json {
        let mut text = serde_json::to_string_pretty(&as_json(&wanted)).unwrap_or_default();
        text.push('\n');
        output::write(text.as_bytes())?;
    } else {
        let text = as_text(&wanted, args.search.is_none());
        output::page(text.as_bytes(), &Terminal::detect(Color::Never), !args.no_pager)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn matches(field: &Field, search: Option<&str>) -> bool {
    let Some(text) = search.map(str::to_lowercase) else { return true };
    let text = text.strip_prefix("socket.").map(|rest| format!("file.{rest}")).unwrap_or(text);
    field.name.to_lowercase().contains(&text)
        || field.doc.to_lowercase().contains(&text)
        || field.aliases.iter().any(|alias| alias.to_lowercase().contains(&text))
}

fn as_text(fields: &[&Field], everything: bool) -> String {
    let mut out = String::new();
    for class in Class::ALL {
        let title = match class {
            Class::File => "file. or socket.",
            Class::Event => "event (of trace and replay only, as all below)",
            Class::Thread => "thread of an event",
            Class::Descriptor => "descriptor of an event",
            Class::Metadata => "container and Kubernetes objects of an event",
            Class::Audit => "Kubernetes audit events and JSON (of detect only)",
            _ => class.name(),
        };
        let of_class: Vec<_> = fields.iter().filter(|field| field.id.class() == class).collect();
        if of_class.is_empty() {
            continue;
        }
        let _ = writeln!(out, "{}", title.to_uppercase());
        for field in of_class {
            let mut notes = vec![field.ty.name().to_owned()];
            notes.extend(field.unit().map(str::to_owned));
            match field.arg {
                Arg::None => {}
                Arg::Allowed => notes.push("argument allowed".to_owned()),
                Arg::Required => notes.push("argument required".to_owned()),
            }
            if field.marks.has(Marks::DEPRECATED) {
                notes.push("deprecated".to_owned());
            }
            if !field.column {
                notes.push("not a column".to_owned());
            }
            if !field.aliases.is_empty() {
                notes.push(format!("also {}", field.aliases.join(", ")));
            }
            let _ = writeln!(out, "  {:<32} {}", field.name, notes.join("; "));
            let _ = writeln!(out, "      {}", field.doc);
        }
        out.push('\n');
    }
    if everything {
        constants_and_presets(&mut out);
    }
    out
}

fn constants_and_presets(out: &mut String) {
    out.push_str("CONSTANTS (without quotes; names in quotes work as well: socket.state == \"LISTEN\")\n");
    let mut group = "";
    for (of, name, value) in CONSTANTS {
        if *of != group {
            let _ = writeln!(out, "  {of}");
            group = of;
        }
        let _ = match value {
            Constant::Uint(number) => writeln!(out, "    {name:<14} {number}"),
            Constant::Text(text) => writeln!(out, "    {name:<14} \"{text}\""),
        };
    }
    out.push_str("\nPRESETS (for -o, mixed with fields as you like)\n");
    for preset in PRESETS {
        let columns: Vec<_> = preset.columns.iter().map(|id| id.field().name).collect();
        let _ = writeln!(out, "  {:<12} {}\n      {}", preset.name, preset.doc, columns.join(","));
    }
    out.push_str(
        "\nEXAMPLES\n  nabe ps 'process.user == \"root\" && process.rss > 100MB'\n  \
         nabe ps 'socket.state == listen && socket.srcPort < 1024' -o sockets\n  \
         nabe ps 'container.labels[\"app\"] == \"web\"' -o containers\n  \
         nabe ps 'process.files.exists(f, f.path.startsWith(\"/etc\"))'\n",
    );
}

fn as_json(fields: &[&Field]) -> Value {
    let costs = |needs: Needs| -> Vec<Value> {
        let part = Needs::ALL.iter().filter(|(need, ..)| needs.contains(*need));
        part.map(|(_, name, cost)| json!({"collector": name, "cost": cost})).collect()
    };
    let symbols = |ty: Type| match ty {
        Type::Symbol(symbols) | Type::Mask(symbols) => {
            symbols.entries.iter().map(|(number, name)| json!({"number": number, "name": name})).collect()
        }
        _ => Vec::new(),
    };
    let fields: Vec<_> = fields
        .iter()
        .map(|field| {
            let mut entry = json!({
                "name": field.name,
                "class": field.id.class().name(),
                "type": field.ty.name(),
                "unit": field.unit(),
                "aliases": field.aliases,
                "column": field.column,
                "title": field.title,
                "needs": costs(field.needs),
                "doc": field.doc,
            });
            let values: Vec<Value> = symbols(field.ty);
            if !values.is_empty() {
                entry["values"] = Value::Array(values);
            }
            entry
        })
        .collect();
    let constants: Vec<_> = CONSTANTS
        .iter()
        .map(|(group, name, value)| {
            let value = match value {
                Constant::Uint(number) => json!(number),
                Constant::Text(text) => json!(text),
            };
            json!({"group": group, "name": name, "value": value})
        })
        .collect();
    let presets: Vec<_> = PRESETS
        .iter()
        .map(|preset| {
            let columns: Vec<_> = preset.columns.iter().map(|id| id.field().name).collect();
            json!({"name": preset.name, "doc": preset.doc, "columns": columns})
        })
        .collect();
    json!({"fields": fields, "constants": constants, "presets": presets})
}
