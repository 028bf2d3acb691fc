//! Definitions as the files have them, put together: what later files define, append and replace.

use std::collections::{BTreeSet, HashMap};

use nabe_event::alert::Priority;
use nabe_filter::sysdig::{Modifier, Op};

use crate::catalogue::Catalogue;
use crate::extension::Extension;
use crate::place::Place;
use crate::report::{ErrorCode, Fault, Report, Result, WarningCode};
use crate::version::{ENGINE, Version};

pub(crate) const NO_PREVIOUS_MACRO: &str =
    "Macro uses 'append' or 'override.condition: append' but no macro by that name already exists";
pub(crate) const NO_PREVIOUS_LIST: &str =
    "List uses 'append' or 'override.items: append' but no list by that name already exists";
pub(crate) const NO_PREVIOUS_RULE_APPEND: &str =
    "Rule uses 'append' or 'override.<key>: append' but no rule by that name already exists";
pub(crate) const NO_PREVIOUS_RULE_REPLACE: &str =
    "An 'override.<key>: replace' to a rule was requested but no rule by that name already exists";

/// Things with names, in the order in which they were first defined.
#[derive(Clone, Debug)]
pub(crate) struct Ordered<T> {
    items: Vec<T>,
    by_name: HashMap<String, usize>,
}

impl<T> Default for Ordered<T> {
    fn default() -> Self {
        Self { items: Vec::new(), by_name: HashMap::new() }
    }
}

impl<T> Ordered<T> {
    pub(crate) fn get(&self, name: &str) -> Option<&T> {
        self.items.get(*self.by_name.get(name)?)
    }

    pub(crate) fn position(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    pub(crate) fn get_mut(&mut self, name: &str) -> Option<&mut T> {
        self.items.get_mut(*self.by_name.get(name)?)
    }

    pub(crate) fn iter(&self) -> core::slice::Iter<'_, T> {
        self.items.iter()
    }

    pub(crate) fn insert(&mut self, name: &str, item: T) {
        match self.by_name.get(name) {
            Some(at) => self.items[*at] = item,
            None => {
                self.by_name.insert(name.to_owned(), self.items.len());
                self.items.push(item);
            }
        }
    }
}

/// When something was first defined and last changed: macros and lists see what was there before.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    /// Its position among all definitions of its first definition.
    pub(crate) index: u32,
    /// The position of its last one.
    pub(crate) visibility: u32,
}

/// A list.
#[derive(Clone, Debug)]
pub(crate) struct List {
    pub(crate) name: String,
    pub(crate) place: Place,
    pub(crate) items: Vec<String>,
    pub(crate) seen: Seen,
}

/// A macro.
#[derive(Clone, Debug)]
pub(crate) struct Macro {
    pub(crate) name: String,
    pub(crate) place: Place,
    pub(crate) condition: String,
    pub(crate) condition_place: Place,
    pub(crate) seen: Seen,
}

/// A text or a list of entries, as the parts of exceptions are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    Absent,
    One(String),
    Many(Vec<Entry>),
}

impl Entry {
    pub(crate) fn is_present(&self) -> bool {
        match self {
            Self::Absent => false,
            Self::One(text) => !text.is_empty(),
            Self::Many(items) => !items.is_empty(),
        }
    }

    /// The text of a single entry; nothing for others.
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::One(text) => text,
            _ => "",
        }
    }
}

/// An exception of a rule.
#[derive(Clone, Debug)]
pub(crate) struct Exception {
    pub(crate) place: Place,
    pub(crate) name: String,
    pub(crate) fields: Entry,
    pub(crate) comps: Entry,
    pub(crate) values: Vec<Entry>,
}

/// A rule.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) name: String,
    pub(crate) place: Place,
    pub(crate) condition: String,
    pub(crate) condition_place: Place,
    pub(crate) output: String,
    pub(crate) output_place: Place,
    pub(crate) desc: String,
    pub(crate) source: String,
    pub(crate) unknown_source: bool,
    pub(crate) priority: Priority,
    pub(crate) enabled: bool,
    pub(crate) capture: bool,
    pub(crate) capture_duration: u32,
    pub(crate) tags: BTreeSet<String>,
    pub(crate) exceptions: Vec<Exception>,
    pub(crate) warn_evttypes: bool,
    pub(crate) skip_if_unknown_filter: bool,
    pub(crate) extension: Extension,
    pub(crate) seen: Seen,
}

/// What a later item changes of a rule.
#[derive(Debug)]
pub(crate) struct Update {
    pub(crate) name: String,
    pub(crate) place: Place,
    pub(crate) source: String,
    pub(crate) condition: Option<String>,
    pub(crate) output: Option<String>,
    pub(crate) desc: Option<String>,
    pub(crate) tags: Option<BTreeSet<String>>,
    pub(crate) exceptions: Option<Vec<Exception>>,
    pub(crate) priority: Option<Priority>,
    pub(crate) enabled: Option<bool>,
    pub(crate) capture: Option<bool>,
    pub(crate) capture_duration: Option<u32>,
    pub(crate) warn_evttypes: Option<bool>,
    pub(crate) skip_if_unknown_filter: Option<bool>,
}

impl Update {
    pub(crate) fn new(name: &str, place: &Place) -> Self {
        Self {
            name: name.to_owned(),
            place: place.clone(),
            source: String::new(),
            condition: None,
            output: None,
            desc: None,
            tags: None,
            exceptions: None,
            priority: None,
            enabled: None,
            capture: None,
            capture_duration: None,
            warn_evttypes: None,
            skip_if_unknown_filter: None,
        }
    }

    fn has_any(&self) -> bool {
        self.condition.is_some()
            || self.output.is_some()
            || self.desc.is_some()
            || self.tags.is_some()
            || self.exceptions.is_some()
            || self.priority.is_some()
            || self.enabled.is_some()
            || self.capture.is_some()
            || self.capture_duration.is_some()
            || self.warn_evttypes.is_some()
            || self.skip_if_unknown_filter.is_some()
    }
}

/// A plugin that rules require, or one that may stand for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// Its name.
    pub name: String,
    /// The least version.
    pub version: String,
}

/// Everything that files define.
#[derive(Clone, Debug, Default)]
pub(crate) struct Definitions {
    pub(crate) lists: Ordered<List>,
    pub(crate) macros: Ordered<Macro>,
    pub(crate) rules: Ordered<Rule>,
    /// The highest version of the engine that is required.
    pub(crate) engine: Version,
    /// Each requirement with what may stand for it.
    pub(crate) plugins: Vec<(Vec<Requirement>, Place)>,
    next: u32,
}

fn invalid(message: impl Into<String>, place: &Place) -> Box<Fault> {
    Fault::new(ErrorCode::Validate, message, place)
}

fn ensure(holds: bool, message: impl Into<String>, place: &Place) -> Result<()> {
    if holds { Ok(()) } else { Err(invalid(message, place)) }
}

impl Definitions {
    fn tick(&mut self) -> u32 {
        let now = self.next;
        self.next += 1;
        now
    }

    pub(crate) fn require_engine(&mut self, version: Version, place: &Place) -> Result<()> {
        let message = format!("Rules require engine version {version}, but engine version is {ENGINE}");
        ensure(ENGINE.satisfies(version), message, place)?;
        self.engine = self.engine.max(version);
        Ok(())
    }

    pub(crate) fn require_plugin(&mut self, alternatives: Vec<Requirement>, place: &Place) -> Result<()> {
        let mut names = BTreeSet::new();
        for one in &alternatives {
            let message = format!("Invalid required version '{}' for plugin '{}'", one.version, one.name);
            ensure(Version::parse(&one.version).is_some(), message, place)?;
            let message =
                format!("Defined multiple alternative version requirements for plugin '{}'", one.name);
            ensure(names.insert(one.name.as_str()), message, place)?;
        }
        self.plugins.push((alternatives, place.clone()));
        Ok(())
    }

    pub(crate) fn define_list(&mut self, mut list: List) {
        let now = self.tick();
        list.seen = seen(self.lists.get(&list.name).map(|before| before.seen), now);
        let name = list.name.clone();
        self.lists.insert(&name, list);
    }

    pub(crate) fn append_list(&mut self, list: List) -> Result<()> {
        let now = self.tick();
        let Some(before) = self.lists.get_mut(&list.name) else {
            return Err(invalid(NO_PREVIOUS_LIST, &list.place));
        };
        before.items.extend(list.items);
        before.seen.visibility = now;
        Ok(())
    }

    pub(crate) fn define_macro(&mut self, mut one: Macro) {
        let now = self.tick();
        one.seen = seen(self.macros.get(&one.name).map(|before| before.seen), now);
        let name = one.name.clone();
        self.macros.insert(&name, one);
    }

    pub(crate) fn append_macro(&mut self, one: Macro) -> Result<()> {
        let now = self.tick();
        let Some(before) = self.macros.get_mut(&one.name) else {
            return Err(invalid(NO_PREVIOUS_MACRO, &one.place));
        };
        append(&mut before.condition, &one.condition);
        before.seen.visibility = now;
        Ok(())
    }

    pub(crate) fn define_rule(
        &mut self,
        mut rule: Rule,
        catalogue: &dyn Catalogue,
        report: &mut Report,
        content: &str,
    ) -> Result<()> {
        self.previous(&rule.name, &rule.source, &rule.place)?;
        if !catalogue.has_source(&rule.source) {
            rule.unknown_source = true;
            let message = format!("Unknown source {}, skipping", rule.source);
            report.warn(WarningCode::UnknownSource, message, &rule.place, content);
            report.mend(
                nabe_event::field::nearest(&rule.source, catalogue.sources().iter().copied())
                    .map(|near| format!("did you mean `{near}`?")),
            );
        }
        for exception in &mut rule.exceptions {
            let message = "Rule exception item must have fields property with a list of fields";
            ensure(exception.fields.is_present(), message, &exception.place)?;
            check_exception(exception, known_source(&rule.source, rule.unknown_source), catalogue)?;
        }
        let now = self.tick();
        rule.seen = seen(self.rules.get(&rule.name).map(|before| before.seen), now);
        let name = rule.name.clone();
        self.rules.insert(&name, rule);
        Ok(())
    }

    /// The rule of this name, which an item of another source may not touch.
    fn previous(&mut self, name: &str, source: &str, place: &Place) -> Result<Option<&mut Rule>> {
        let before = self.rules.get_mut(name);
        let same = before
            .as_ref()
            .is_none_or(|before| before.source.is_empty() || source.is_empty() || before.source == source);
        ensure(same, "Rule has been re-defined with a different source", place)?;
        Ok(before)
    }

    pub(crate) fn append_rule(&mut self, update: Update, catalogue: &dyn Catalogue) -> Result<()> {
        let now = self.tick();
        let Some(before) = self.previous(&update.name, &update.source, &update.place)? else {
            return Err(invalid(NO_PREVIOUS_RULE_APPEND, &update.place));
        };
        let message = "Appended rule must have exceptions or condition property";
        ensure(update.has_any(), message, &update.place)?;
        let source = known_source(&before.source, before.unknown_source).map(str::to_owned);
        let texts = [
            (&mut before.condition, &update.condition),
            (&mut before.output, &update.output),
            (&mut before.desc, &update.desc),
        ];
        for (text, more) in texts {
            if let Some(more) = more.as_ref().filter(|more| !more.is_empty()) {
                append(text, more);
            }
        }
        before.tags.extend(update.tags.unwrap_or_default());
        for mut one in update.exceptions.unwrap_or_default() {
            match before.exceptions.iter_mut().find(|known| known.name == one.name) {
                None => {
                    let message = "Rule exception must have fields property with a list of fields";
                    ensure(one.fields.is_present(), message, &one.place)?;
                    let message = "Rule exception must have values property with a list of values";
                    ensure(!one.values.is_empty(), message, &one.place)?;
                    check_exception(&mut one, source.as_deref(), catalogue)?;
                    before.exceptions.push(one);
                }
                Some(known) => {
                    let message = "Can not append exception fields to existing exception, only values";
                    ensure(!one.fields.is_present(), message, &one.place)?;
                    let message = "Can not append exception comps to existing exception, only values";
                    ensure(!one.comps.is_present(), message, &one.place)?;
                    known.values.append(&mut one.values);
                }
            }
        }
        before.seen.visibility = now;
        Ok(())
    }

    pub(crate) fn replace_rule(&mut self, update: Update, catalogue: &dyn Catalogue) -> Result<()> {
        let now = self.tick();
        let Some(before) = self.previous(&update.name, &update.source, &update.place)? else {
            return Err(invalid(NO_PREVIOUS_RULE_REPLACE, &update.place));
        };
        let message = "The rule must have at least one field that can be replaced";
        ensure(update.has_any(), message, &update.place)?;
        let source = known_source(&before.source, before.unknown_source).map(str::to_owned);
        if let Some(mut exceptions) = update.exceptions {
            for one in &mut exceptions {
                let message = "Rule exception item must have fields property with a list of fields";
                ensure(one.fields.is_present(), message, &one.place)?;
                check_exception(one, source.as_deref(), catalogue)?;
            }
            before.exceptions = exceptions;
        }
        set(&mut before.condition, update.condition);
        set(&mut before.output, update.output);
        set(&mut before.desc, update.desc);
        set(&mut before.tags, update.tags);
        set(&mut before.priority, update.priority);
        set(&mut before.enabled, update.enabled);
        set(&mut before.capture, update.capture);
        set(&mut before.capture_duration, update.capture_duration);
        set(&mut before.warn_evttypes, update.warn_evttypes);
        set(&mut before.skip_if_unknown_filter, update.skip_if_unknown_filter);
        before.seen.visibility = now;
        Ok(())
    }

    /// The old way to switch a rule on or off: an item with nothing but `enabled`.
    pub(crate) fn switch_rule(&mut self, name: &str, enabled: bool, place: &Place) -> Result<()> {
        let Some(before) = self.rules.get_mut(name) else {
            return Err(invalid("Rule has 'enabled' key but no rule by that name already exists", place));
        };
        before.enabled = enabled;
        Ok(())
    }
}

fn known_source(source: &str, unknown: bool) -> Option<&str> {
    (!unknown).then_some(source)
}

fn seen(before: Option<Seen>, now: u32) -> Seen {
    Seen { index: before.map_or(now, |before| before.index), visibility: now }
}

fn append(text: &mut String, more: &str) {
    text.push(' ');
    text.push_str(more);
}

fn set<T>(old: &mut T, new: Option<T>) {
    if let Some(new) = new {
        *old = new;
    }
}

/// A comparison operator of an exception: `startswith oneof` is one, too.
#[derive(Clone, Copy)]
pub(crate) struct Comparison {
    pub(crate) op: Op,
    pub(crate) modifier: Option<Modifier>,
}

impl Comparison {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_ascii_whitespace();
        let word = words.next()?;
        let word = if word == "==" { "=" } else { word };
        let op = Op::ALL.iter().copied().find(|op| op.word() == word)?;
        let modifier = match words.next() {
            None => None,
            Some(word) => Some(Modifier::ALL.iter().copied().find(|one| one.word() == word)?),
        };
        let numeric = matches!(op, Op::Lt | Op::Le | Op::Gt | Op::Ge);
        let allowed = modifier.is_none() || !(numeric || takes_list(op));
        (words.next().is_none() && allowed).then_some(Self { op, modifier })
    }

    /// Whether a list in brackets stands on its right.
    pub(crate) fn wants_list(self) -> bool {
        self.modifier.is_some() || takes_list(self.op)
    }
}

fn takes_list(op: Op) -> bool {
    matches!(op, Op::In | Op::Intersects | Op::Pmatch)
}

fn check_exception(one: &mut Exception, source: Option<&str>, catalogue: &dyn Catalogue) -> Result<()> {
    let place = one.place.clone();
    let check_field = |field: &str| {
        let known = source.is_none_or(|source| catalogue.accepts_left(source, field));
        let fault = || {
            let near = source.and_then(|source| catalogue.nearest(source, field));
            invalid(format!("'{field}' is not a supported filter field"), &place)
                .hint(near.map(|near| format!("did you mean `{near}`?")))
        };
        if known { Ok(()) } else { Err(fault()) }
    };
    match &one.fields {
        Entry::Many(fields) => {
            if !one.comps.is_present() {
                one.comps = Entry::Many(vec![Entry::One("=".to_owned()); fields.len()]);
            }
            let comps = match &mut one.comps {
                Entry::Many(comps) => comps.as_mut_slice(),
                _ => &mut [],
            };
            ensure(comps.len() == fields.len(), "Fields and comps lists must have equal length", &place)?;
            for comp in comps {
                *comp = Entry::One(comp.text().trim().to_owned());
                let known = comp.text() == "exists" || Comparison::parse(comp.text()).is_some();
                let message = format!("'{}' is not a supported comparison operator", comp.text());
                ensure(known, message, &place)?;
            }
            fields.iter().try_for_each(|field| check_field(field.text()))
        }
        fields => {
            let field = fields.text().to_owned();
            if !one.comps.is_present() {
                one.comps = Entry::One("in".to_owned());
            }
            ensure(!matches!(one.comps, Entry::Many(_)), "Fields and comps must both be strings", &place)?;
            let comp = one.comps.text().trim().to_owned();
            let known = Comparison::parse(&comp).is_some_and(Comparison::wants_list);
            let message = "When fields is a single value, comps must be one of \
                (in, pmatch, intersects) or a modifier operator (e.g. startswith oneof)";
            ensure(known, message, &place)?;
            one.comps = Entry::One(comp);
            check_field(&field)
        }
    }
}
