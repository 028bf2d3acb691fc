//! From definitions to rules that can be judged: lists put in as text, macros as trees, exceptions
//! as conditions, then names and types checked.

mod check;
mod doubt;
mod exception;
mod list;
mod resolve;

use std::collections::{BTreeMap, BTreeSet};

use nabe_event::alert::Priority;
use nabe_event::field;
use nabe_event::source::EventSet;
use nabe_filter::sysdig::{self, Ast, Expr, ExprKind, Op, Right, Term, TermKind, Value};
use nabe_filter::{Diagnostic, Program};

use check::Check;
use doubt::DEPRECATED;
use exception::with_exceptions;
use list::{put_in, quoted};
use resolve::{MAX_PARTS, Resolver};

use crate::catalogue::{Catalogue, SYSCALL};
use crate::definition::{Definitions, Exception, Macro, Rule};
use crate::events::Names;
use crate::extension::Extension;
use crate::load::Options;
use crate::output::Output;
use crate::place::Place;
use crate::report::{ErrorCode, Fault, Report, Result, WarningCode};

/// Bytes that a condition may come to with its lists put in.
const MAX_TEXT: usize = 16 << 20;
/// More event numbers than this are "too many".
const MANY_EVENTS: usize = 100;

const CONTAINER_INFO: &str = "%container.info";
/// More to be said by certain rules: `append_output` of falco.yaml.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addition {
    /// Only rules of this source.
    pub source: Option<String>,
    /// Only rules that have all of these tags.
    pub tags: Vec<String>,
    /// Only this rule.
    pub rule: Option<String>,
    /// Behind the output.
    pub output: Option<String>,
    /// Further fields of alerts: a key, a format, and whether it is one field with its own type.
    pub fields: Vec<(String, String, bool)>,
}

impl Addition {
    fn concerns(&self, rule: &Rule) -> bool {
        self.source.as_ref().is_none_or(|source| *source == rule.source)
            && self.tags.iter().all(|tag| rule.tags.contains(tag))
            && self.rule.as_ref().is_none_or(|name| *name == rule.name)
    }
}

/// A list with its lists put in.
#[derive(Clone, Debug)]
pub(crate) struct CompiledList {
    pub(crate) name: String,
    pub(crate) items: Vec<String>,
    pub(crate) used: bool,
    /// The items as they stand in a condition.
    text: String,
}

/// A macro with its lists and macros put in.
#[derive(Clone, Debug)]
pub(crate) struct CompiledMacro {
    pub(crate) name: String,
    pub(crate) tree: Expr,
    pub(crate) used: bool,
}

/// A rule that can be judged.
#[derive(Clone, Debug)]
pub struct CompiledRule {
    /// Its name.
    pub name: String,
    /// The source of the events that it judges.
    pub source: String,
    /// What it is about.
    pub desc: String,
    /// How grave a match is.
    pub priority: Priority,
    /// Its tags.
    pub tags: BTreeSet<String>,
    /// Whether the files switch it on.
    pub enabled: bool,
    /// Whether a match starts a capture.
    pub capture: bool,
    /// How long that capture goes on, in milliseconds; 0 for the default.
    pub capture_duration: u32,
    /// The condition as the files have it.
    pub condition: String,
    /// The output as the files have it.
    pub output_source: String,
    /// The condition with everything put in.
    pub tree: Ast,
    /// The condition, compiled.
    pub program: Program,
    /// What a match says.
    pub output: Output,
    /// The numbers of the events that it can be true of.
    pub events: EventSet,
    /// Their names.
    pub event_names: Vec<&'static str>,
    /// nabe's own keys.
    pub extension: Extension,
    pub(crate) exceptions: Vec<Exception>,
    pub(crate) exception_fields: BTreeSet<String>,
}

/// What definitions compile to.
#[derive(Debug, Default)]
pub(crate) struct Compiled {
    pub(crate) lists: Vec<CompiledList>,
    pub(crate) macros: Vec<CompiledMacro>,
    pub(crate) rules: Vec<CompiledRule>,
}

/// What goes wrong with a condition: unknown names may be tolerated.
struct Wrong {
    fault: Box<Fault>,
    unknown: bool,
}

impl From<Box<Fault>> for Wrong {
    fn from(fault: Box<Fault>) -> Self {
        Self { fault, unknown: false }
    }
}

pub(crate) struct Compiler<'c> {
    pub(crate) definitions: &'c Definitions,
    pub(crate) catalogue: &'c dyn Catalogue,
    pub(crate) options: &'c Options,
    pub(crate) report: &'c mut Report,
    pub(crate) content: &'c str,
    pub(crate) names: &'c Names,
    pub(crate) out: Compiled,
}

impl Compiler<'_> {
    /// Compiles everything; what stops it is in the report.
    pub(crate) fn run(mut self) -> Compiled {
        let done = self.lists().and_then(|()| self.macros()).and_then(|()| self.rules());
        if let Err(fault) = done {
            self.report.fault(*fault, self.content);
            return self.out;
        }
        self.unused();
        self.out
    }

    fn lists(&mut self) -> Result<()> {
        let all = &self.definitions.lists;
        let mut used = BTreeSet::new();
        for list in all.iter() {
            let mut items = Vec::with_capacity(list.items.len());
            for item in &list.items {
                match all.get(item).filter(|other| other.seen.index < list.seen.visibility) {
                    Some(other) => {
                        used.insert(other.name.clone());
                        items.extend(other.items.iter().cloned());
                    }
                    None => items.push(item.clone()),
                }
                if items.len() > MAX_PARTS * 8 {
                    let message = format!("list comes to more than {} items", MAX_PARTS * 8);
                    return Err(Fault::new(ErrorCode::Validate, message, &list.place));
                }
            }
            let text = items.iter().map(|item| quoted(item)).collect::<Vec<_>>().join(", ");
            self.out.lists.push(CompiledList { name: list.name.clone(), items, used: false, text });
        }
        for list in &mut self.out.lists {
            list.used = used.contains(&list.name);
        }
        Ok(())
    }

    /// The tree of a condition, its lists put in; and the text that it was read from.
    fn parse(&mut self, condition: &str, place: &Place) -> Result<(Ast, String)> {
        let mut text = condition.to_owned();
        for list in &mut self.out.lists {
            if put_in(&mut text, list) {
                list.used = true;
            }
            if text.len() > MAX_TEXT {
                let message = format!("the condition comes to more than {MAX_TEXT} bytes, lists put in");
                return Err(Fault::new(ErrorCode::CompileCondition, message, place));
            }
        }
        match sysdig::parse_within(&text, sysdig::RULE_DEPTH) {
            Ok(tree) => Ok((tree, text)),
            Err(error) => {
                let place = place.expression(&text, error.span.start);
                let (message, hint) = (parse_message(&text, &error), mend(&error));
                Err(Fault::new(ErrorCode::CompileCondition, message, &place).hint(hint))
            }
        }
    }

    fn macros(&mut self) -> Result<()> {
        let definitions = self.definitions;
        let mut texts = Vec::new();
        for one in definitions.macros.iter() {
            let (tree, text) = self.parse(&one.condition, &one.condition_place)?;
            texts.push(text);
            self.out.macros.push(CompiledMacro { name: one.name.clone(), tree: tree.root, used: false });
        }
        for (at, one) in definitions.macros.iter().enumerate() {
            let Some(tree) = self.out.macros.get(at).map(|one| one.tree.clone()) else { continue };
            let text = texts.get(at).map_or("", String::as_str);
            let tree = self.resolve(tree, text, Some(one), &one.place)?;
            if let Some(compiled) = self.out.macros.get_mut(at) {
                compiled.tree = tree;
            }
        }
        Ok(())
    }

    /// Puts macros in: of another macro those that were defined before it.
    fn resolve(&mut self, tree: Expr, text: &str, of: Option<&Macro>, place: &Place) -> Result<Expr> {
        let visibility = of.map_or(u32::MAX, |one| one.seen.visibility);
        let mut resolver = Resolver {
            definitions: self.definitions,
            macros: &self.out.macros,
            visibility,
            open: Vec::new(),
            used: BTreeSet::new(),
            parts: 0,
        };
        let resolved = resolver.expr(&tree, 0).map_err(|(message, span, unknown)| {
            let hint = unknown.and_then(|name| self.near_macro(&name, of, visibility));
            let code = ErrorCode::Validate;
            Fault::new(code, message, &place.expression(text, span.start)).hint(hint)
        });
        let used = core::mem::take(&mut resolver.used);
        for one in self.out.macros.iter_mut().filter(|one| used.contains(&one.name)) {
            one.used = true;
        }
        resolved
    }

    /// What may be meant by a macro that cannot be seen by another one.
    fn near_macro(&self, name: &str, of: Option<&Macro>, visibility: u32) -> Option<String> {
        let all = &self.definitions.macros;
        if let Some(of) = of
            && let Some(chain) = self.chain(name, &of.name)
        {
            let names: Vec<&str> = core::iter::once(of.name.as_str()).chain(chain).collect();
            return Some(match names.as_slice() {
                [_, _] => format!("`{name}` includes itself"),
                names => format!("`{}` includes itself: {}", of.name, names.join(" → ")),
            });
        }
        if let Some(later) = all.get(name).filter(|one| one.seen.index >= visibility) {
            let at = later.place.innermost()?;
            return Some(format!(
                "`{name}` is defined further down, at {}:{}; move it up",
                at.source,
                at.at.line + 1
            ));
        }
        if self.definitions.lists.get(name).is_some() {
            return Some(format!("`{name}` is a list; it stands on the right of `in`"));
        }
        field::nearest(name, all.iter().map(|one| one.name.as_str()))
            .map(|near| format!("did you mean `{near}`?"))
    }

    /// The macros through which `from` includes `to`, both in it; `None` when it does not.
    fn chain<'s>(&'s self, from: &'s str, to: &str) -> Option<Vec<&'s str>> {
        let (mut known, mut paths) = (BTreeSet::from([from]), vec![vec![from]]);
        while let Some(path) = paths.pop() {
            let last = *path.last()?;
            if last == to {
                return Some(path);
            }
            let Some(at) = self.definitions.macros.position(last) else { continue };
            let Some(tree) = self.out.macros.get(at).map(|one| &one.tree) else { continue };
            each_macro(tree, &mut |name| {
                if known.insert(name) {
                    paths.push(path.iter().copied().chain([name]).collect());
                }
            });
        }
        None
    }

    fn rules(&mut self) -> Result<()> {
        let definitions = self.definitions;
        for rule in definitions.rules.iter().filter(|rule| !rule.unknown_source) {
            self.rule(rule)?;
        }
        let names: BTreeMap<&str, &CompiledRule> =
            self.out.rules.iter().map(|rule| (rule.name.as_str(), rule)).collect();
        for rule in &self.out.rules {
            let Some(sequence) = &rule.extension.sequence else { continue };
            let Some(wrong) = sequence.before.iter().find(|step| !names.contains_key(step.as_str())) else {
                continue;
            };
            let place =
                &definitions.rules.get(&rule.name).map_or_else(|| Place::file(""), |rule| rule.place.clone());
            let near =
                field::nearest(wrong, names.keys().copied()).map(|near| format!("did you mean `{near}`?"));
            let message = format!("the sequence names the rule '{wrong}', which is not there");
            return Err(Fault::new(ErrorCode::Extension, message, place).hint(near));
        }
        Ok(())
    }

    fn rule(&mut self, rule: &Rule) -> Result<()> {
        let mut exception_fields = BTreeSet::new();
        let mut condition = rule.condition.clone();
        if !rule.exceptions.is_empty() {
            condition = with_exceptions(rule, &mut exception_fields)?;
        }
        let Some(output) = self.output(rule)? else { return Ok(()) };
        let (tree, program) = match self.condition(rule, &condition) {
            Ok(compiled) => compiled,
            Err(Wrong { fault, unknown: true }) if rule.skip_if_unknown_filter => {
                self.report.warn(WarningCode::UnknownFilter, fault.message, &fault.place, self.content);
                self.report.mend(fault.hint);
                return Ok(());
            }
            Err(Wrong { fault, .. }) => return Err(fault),
        };
        let set = self.names.matched(&tree.root, false);
        let (events, event_names) = if rule.source == SYSCALL {
            (self.names.numbers(&set), self.names.members(&set))
        } else {
            let names = vec!["asyncevent", "pluginevent"];
            let numbers = names
                .iter()
                .fold(EventSet::none(), |all, name| all.union(&crate::catalogue::event_ids(name)));
            (numbers, names)
        };
        if rule.source == SYSCALL && rule.warn_evttypes && events.iter().count() > MANY_EVENTS {
            let message =
                "Rule matches too many evt.type values. This has a significant performance penalty.";
            self.report.warn(WarningCode::NoEvttype, message, &rule.place, self.content);
            let hint = "say which events it is about: `evt.type in (open, openat) and …`";
            self.report.mend(Some(hint.to_owned()));
        }
        self.check_extension(rule)?;
        self.out.rules.push(CompiledRule {
            name: rule.name.clone(),
            source: rule.source.clone(),
            desc: rule.desc.clone(),
            priority: rule.priority,
            tags: rule.tags.clone(),
            enabled: rule.enabled,
            capture: rule.capture,
            capture_duration: rule.capture_duration,
            condition: rule.condition.clone(),
            output_source: rule.output.clone(),
            tree,
            program,
            output,
            events,
            event_names,
            extension: rule.extension.clone(),
            exceptions: rule.exceptions.clone(),
            exception_fields,
        });
        Ok(())
    }

    /// The fields that nabe's own keys name must be there.
    fn check_extension(&self, rule: &Rule) -> Result<()> {
        for written in rule.extension.fields() {
            // An argument may stand behind the name.
            let name = written.split_once('[').map_or(written, |(name, _)| name);
            if self.catalogue.knows(&rule.source, name) {
                continue;
            }
            let near =
                self.catalogue.nearest(&rule.source, name).map(|near| format!("did you mean `{near}`?"));
            let message = format!("unknown field '{name}' below 'nabe'");
            return Err(Fault::new(ErrorCode::Extension, message, &rule.place).hint(near));
        }
        Ok(())
    }

    /// The output of a rule; nothing when the rule is to be left out.
    fn output(&mut self, rule: &Rule) -> Result<Option<Output>> {
        let mut text = rule.output.clone();
        let mut fields = Vec::new();
        for addition in self.options.additions.iter().filter(|addition| addition.concerns(rule)) {
            if let Some(more) = &addition.output {
                text = format!("{text} {more}");
            }
            fields.extend(addition.fields.iter().cloned());
        }
        if text.contains(CONTAINER_INFO) {
            let message = "%container.info is deprecated and no more useful, and will be dropped by Falco 1.0.0. The \
                container plugin will automatically add required fields to the output message.";
            self.report.warn(WarningCode::DeprecatedItem, message, &rule.place, self.content);
            text = text.replace(CONTAINER_INFO, "");
        }
        let knows = |name: &str| self.catalogue.knows(&rule.source, name);
        let output = match Output::parse(&text, &fields, &knows, self.options.payload) {
            Ok(output) => output,
            Err(error) => {
                let near = error.unknown.as_ref().and_then(|name| self.catalogue.nearest(&rule.source, name));
                let hint = near.map(|near| format!("did you mean `%{near}`?"));
                if error.unknown.is_some() && rule.skip_if_unknown_filter {
                    self.report.warn(
                        WarningCode::UnknownFilter,
                        error.message,
                        &rule.output_place,
                        self.content,
                    );
                    self.report.mend(hint);
                    return Ok(None);
                }
                return Err(
                    Fault::new(ErrorCode::CompileOutput, error.message, &rule.output_place).hint(hint)
                );
            }
        };
        let formats =
            core::iter::once(text.as_str()).chain(fields.iter().map(|(_, format, _)| format.as_str()));
        for format in formats {
            for (name, _) in DEPRECATED.iter().filter(|(name, _)| format.contains(name)) {
                let message =
                    format!("usage of deprecated field '{name}' has been detected in the rule output");
                self.report.warn(WarningCode::DeprecatedItem, message, &rule.output_place, self.content);
            }
        }
        Ok(Some(output))
    }

    fn condition(&mut self, rule: &Rule, condition: &str) -> core::result::Result<(Ast, Program), Wrong> {
        let place = &rule.condition_place;
        let (tree, text) = self.parse(condition, place)?;
        let tree = Ast { root: self.resolve(tree.root, &text, None, &rule.place)? };
        self.doubts(&tree.root, &text, place);
        let check = Check { catalogue: self.catalogue, source: &rule.source, names: self.names };
        if let Some((message, span, hint)) = check.expr(&tree.root) {
            let fault =
                Fault::new(ErrorCode::CompileCondition, message, &place.expression(&text, span.start));
            return Err(Wrong { fault: fault.hint(hint), unknown: true });
        }
        let classes = self.catalogue.classes(&rule.source);
        let program = Program::of_sysdig_for(&tree, &text, &(), classes).map_err(|error| {
            let place = place.expression(&text, error.span.start);
            let hint = mend(&error);
            Fault::new(ErrorCode::CompileCondition, error.message, &place).hint(hint)
        })?;
        self.misuses(&tree.root, &rule.source, &text, place);
        Ok((tree, program))
    }
}

/// Falco's words for what its parser cannot read, where they are known.
fn parse_message(text: &str, error: &Diagnostic) -> String {
    if !error.message.starts_with("unexpected text behind") {
        return error.message.clone();
    }
    let before = text.get(..error.span.start).unwrap_or("").trim_end();
    let token = match before.chars().next_back() {
        Some(')') => ")",
        Some('"' | '\'') => {
            let quote = before.chars().next_back().unwrap_or('"');
            let open = before[..before.len() - 1].rfind(quote).unwrap_or(0);
            before[open..].trim_matches(quote)
        }
        _ => before.rsplit(|c: char| c.is_whitespace() || "()=,".contains(c)).next().unwrap_or(""),
    };
    format!("unexpected token after '{token}', expecting 'or', 'and'")
}

/// What would mend an error of the filter.
fn mend(error: &Diagnostic) -> Option<String> {
    match (&error.hint, &error.expected) {
        (Some(hint), _) => Some(hint.clone()),
        (None, Some(expected)) => Some(format!("expected {expected}")),
        (None, None) => None,
    }
}

/// The constants on the right.
pub(crate) fn values(right: &Right) -> &[Value] {
    match right {
        Right::Value(value) => core::slice::from_ref(value),
        Right::List(values, _) => values,
        Right::Name(..) | Right::Term(_) => &[],
    }
}

/// Visits every macro that a condition names.
fn each_macro<'e>(expr: &'e Expr, visit: &mut dyn FnMut(&'e str)) {
    match &expr.kind {
        ExprKind::And(terms) | ExprKind::Or(terms) => terms.iter().for_each(|term| each_macro(term, visit)),
        ExprKind::Not(inner) => each_macro(inner, visit),
        ExprKind::Macro(name) => visit(name),
        ExprKind::Exists(_) | ExprKind::Check { .. } => {}
    }
}

/// Visits every check of a condition: its left side, its operator (none for `exists`), its right.
pub(crate) fn each_check(expr: &Expr, visit: &mut dyn FnMut(&Term, Option<Op>, &Right)) {
    match &expr.kind {
        ExprKind::And(terms) | ExprKind::Or(terms) => terms.iter().for_each(|term| each_check(term, visit)),
        ExprKind::Not(inner) => each_check(inner, visit),
        ExprKind::Macro(_) => {}
        ExprKind::Exists(term) => visit(term, None, &Right::List(Vec::new(), term.place)),
        ExprKind::Check { left, op, right, .. } => visit(left, Some(*op), right),
    }
}

/// Visits every field of a term.
pub(crate) fn each_field(term: &Term, visit: &mut dyn FnMut(&str)) {
    match &term.kind {
        TermKind::Field { name, .. } => visit(name),
        TermKind::Call { args, .. } | TermKind::List(args) => {
            args.iter().for_each(|arg| each_field(arg, visit))
        }
        TermKind::Value(_) => {}
    }
}
