//! What compiles and is most likely not meant: warnings.

use std::collections::BTreeSet;

use nabe_filter::sysdig::{Expr, Op, TermKind, Transformer};

use super::{Compiler, each_check, each_field, values};
use crate::place::Place;
use crate::report::WarningCode;

/// Fields that say nothing any more, and why.
pub(super) const DEPRECATED: &[(&str, &str)] = &[
    (
        "evt.dir",
        "due to the drop of enter events, 'evt.dir = <' always evaluates to true, and 'evt.dir = >' always \
         evaluates to false. The rule expression can be simplified by removing the condition on 'evt.dir'",
    ),
    ("evt.latency", LATENCY),
    ("evt.latency.s", LATENCY),
    ("evt.latency.ns", LATENCY),
    ("evt.latency.human", LATENCY),
    ("evt.wait_latency", LATENCY),
];
const LATENCY: &str = "field is not available due to the drop of enter events.";
const UNSAFE_NA: &str = "Comparing a field value with <NA> is unsafe and can lead to unpredictable behavior of the rule \
     condition. If you need to check for the existence of a field, consider using the 'exists' operator instead.";

impl Compiler<'_> {
    /// Warns of comparisons with `<NA>` and of fields that say nothing any more.
    pub(super) fn doubts(&mut self, tree: &Expr, text: &str, place: &Place) {
        let mut compared = false;
        let mut old = BTreeSet::new();
        each_check(tree, &mut |left, op, right| {
            each_field(left, &mut |name| {
                old.extend(DEPRECATED.iter().position(|(deprecated, _)| *deprecated == name));
            });
            let audit = matches!(&left.kind, TermKind::Field { name, .. } if name.starts_with("ka.") || name.starts_with("jevt."));
            let equality = matches!(op, Some(Op::Eq | Op::Ne | Op::In | Op::Intersects | Op::Pmatch));
            compared |= audit && equality && values(right).iter().any(|value| value.text == b"<NA>");
        });
        let place = place.expression(text, 0);
        if compared {
            self.report.warn(WarningCode::UnsafeNaCheck, UNSAFE_NA, &place, self.content);
        }
        for (_, why) in old.into_iter().filter_map(|at| DEPRECATED.get(at)) {
            self.report.warn(WarningCode::DeprecatedItem, *why, &place, self.content);
        }
    }

    /// Warns of constants that look like fields, and of regular expressions that need not be ones.
    pub(super) fn misuses(&mut self, tree: &Expr, source: &str, text: &str, place: &Place) {
        let mut found = Vec::new();
        each_check(tree, &mut |_, op, right| {
            for value in values(right) {
                let written = String::from_utf8_lossy(&value.text);
                let bare: String = written.chars().filter(|c| !c.is_ascii_whitespace()).collect();
                let start = value.place.0.start;
                if op == Some(Op::Regex) && is_plain_regex(&written) {
                    found.push((format!(
                        "regex check with '{written}' may be optimized with simpler operators such as '=', \
                         'contains', 'startswith', 'endswith'"
                    ), start));
                }
                let name = bare.split('[').next().unwrap_or_default();
                if name.contains('.') && self.catalogue.knows(source, name) {
                    found.push((
                        format!("'{written}' may be a valid field misused as a const string value"),
                        start,
                    ));
                }
                let call = |one: &Transformer| {
                    bare.strip_prefix(one.word())
                        .is_some_and(|rest| rest.starts_with('(') && rest.ends_with(')'))
                };
                if Transformer::ALL.iter().any(call) {
                    let message = format!(
                        "'{written}' may be a valid field transformer misused as a const string value"
                    );
                    found.push((message, start));
                }
            }
        });
        for (message, start) in found {
            self.report.warn(
                WarningCode::CompileCondition,
                message,
                &place.expression(text, start),
                self.content,
            );
        }
    }

    pub(super) fn unused(&mut self) {
        for one in self.out.macros.iter().filter(|one| !one.used) {
            if let Some(defined) = self.definitions.macros.get(&one.name) {
                let message = "Macro not referred to by any other rule/macro";
                self.report.warn(WarningCode::UnusedMacro, message, &defined.place, self.content);
            }
        }
        for one in self.out.lists.iter().filter(|one| !one.used) {
            if let Some(defined) = self.definitions.lists.get(&one.name) {
                let message = "List not referred to by any other rule/macro";
                self.report.warn(WarningCode::UnusedList, message, &defined.place, self.content);
            }
        }
    }
}

/// Whether a regular expression has signs at its ends at most.
fn is_plain_regex(text: &str) -> bool {
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let anchor = at == 0 && *byte == b'^' || at + 1 == bytes.len() && *byte == b'$';
        let border = at == 0 && bytes.len() > 1 || at + 2 == bytes.len();
        let any = border && *byte == b'.' && bytes.get(at + 1).is_some_and(|next| b"+*?".contains(next));
        if any {
            at += 1;
        } else if !anchor && b".+*?^$()[]{}|\\".contains(byte) {
            return false;
        }
        at += 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_regular_expressions() {
        for (text, plain) in
            [("abc", true), ("^abc$", true), (".*abc.*", true), ("a.c", false), ("a|b", false)]
        {
            assert_eq!(is_plain_regex(text), plain, "{text}");
        }
    }
}
