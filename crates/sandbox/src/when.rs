//! How the conditions of a rule combine: `a and (b or not c)`.

/// A tree over conditions, by their positions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum When {
    Condition(usize),
    Not(Box<When>),
    And(Vec<When>),
    Or(Vec<When>),
}

/// Deepest nesting.
const DEPTH: usize = 32;

impl When {
    /// Reads an expression; `names` are the conditions that there are.
    pub(crate) fn parse(text: &str, names: &[&str]) -> Result<Self, String> {
        let words = words(text);
        let mut parser = Parser { words: &words, names, depth: 0 };
        let tree = parser.or()?;
        match parser.words.first() {
            None => Ok(tree),
            Some(word) => Err(format!("unexpected `{word}`")),
        }
    }

    /// Whether it holds; `fulfilled` says which conditions do.
    pub(crate) fn holds(&self, fulfilled: &dyn Fn(usize) -> bool) -> bool {
        match self {
            Self::Condition(at) => fulfilled(*at),
            Self::Not(inner) => !inner.holds(fulfilled),
            Self::And(terms) => terms.iter().all(|term| term.holds(fulfilled)),
            Self::Or(terms) => terms.iter().any(|term| term.holds(fulfilled)),
        }
    }

    /// Whether something that does not happen counts, so that only the end can tell.
    pub(crate) fn needs_end(&self) -> bool {
        match self {
            Self::Condition(_) => false,
            Self::Not(_) => true,
            Self::And(terms) | Self::Or(terms) => terms.iter().any(Self::needs_end),
        }
    }
}

/// Words and brackets.
fn words(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    for piece in text.split_whitespace() {
        let mut rest = piece;
        while let Some(at) = rest.find(['(', ')']) {
            let (before, after) = rest.split_at(at);
            let (bracket, after) = after.split_at(1);
            words.extend([before, bracket].into_iter().filter(|word| !word.is_empty()));
            rest = after;
        }
        words.extend(Some(rest).filter(|word| !word.is_empty()));
    }
    words
}

struct Parser<'a, 'w> {
    words: &'w [&'a str],
    names: &'w [&'w str],
    depth: usize,
}

impl<'a> Parser<'a, '_> {
    fn take(&mut self, wanted: &str) -> bool {
        let found = self.words.first().is_some_and(|word| word.eq_ignore_ascii_case(wanted));
        if found {
            self.words = self.words.get(1..).unwrap_or_default();
        }
        found
    }

    fn or(&mut self) -> Result<When, String> {
        let mut terms = vec![self.and()?];
        while self.take("or") {
            terms.push(self.and()?);
        }
        Ok(if terms.len() == 1 { terms.swap_remove(0) } else { When::Or(terms) })
    }

    fn and(&mut self) -> Result<When, String> {
        let mut terms = vec![self.term()?];
        while self.take("and") {
            terms.push(self.term()?);
        }
        Ok(if terms.len() == 1 { terms.swap_remove(0) } else { When::And(terms) })
    }

    fn term(&mut self) -> Result<When, String> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(format!("nested more than {DEPTH} levels deep"));
        }
        let term = if self.take("not") {
            When::Not(Box::new(self.term()?))
        } else if self.take("(") {
            let inner = self.or()?;
            if !self.take(")") {
                return Err("a bracket is not closed".to_owned());
            }
            inner
        } else {
            When::Condition(self.name()?)
        };
        self.depth -= 1;
        Ok(term)
    }

    fn name(&mut self) -> Result<usize, String> {
        let word: &'a str = self.words.first().copied().ok_or("the expression ends too early")?;
        self.words = self.words.get(1..).unwrap_or_default();
        self.names.iter().position(|name| *name == word).ok_or_else(|| {
            let near = nabe_event::field::nearest(word, self.names.iter().copied());
            let near = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
            format!("there is no condition `{word}`{near}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_combine_conditions() {
        let names = ["a", "b", "c"];
        for (text, fulfilled, expected) in [
            ("a", &[0][..], true),
            ("a and b", &[0], false),
            ("a and (b or not c)", &[0], true),
            ("a and (b or not c)", &[0, 2], false),
            ("not a or b and c", &[0, 1, 2], true),
            ("NOT (a OR b)", &[2], true),
        ] {
            let when = When::parse(text, &names).unwrap();
            assert_eq!(when.holds(&|at| fulfilled.contains(&at)), expected, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (text, expected) in [
            ("", "ends too early"),
            ("a and", "ends too early"),
            ("(a", "not closed"),
            ("a b", "unexpected `b`"),
            ("aa", "there is no condition `aa`; did you mean `a`?"),
        ] {
            let error = When::parse(text, &["a", "b"]).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
        assert!(When::parse(&"not ".repeat(1000), &["a"]).unwrap_err().contains("levels deep"));
    }
}
