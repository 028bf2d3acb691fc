//! Values that are made while fields of one event are read, and live as long as it.

use std::cell::OnceCell;

use nabe_event::value::List;
use nabe_event::{Missing, Value};

/// What a field has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    None,
    Text(String),
    List(Texts),
}

impl Answer {
    pub(crate) fn value(&self) -> Value<'_> {
        match self {
            Self::None => Value::Missing(Missing::Unset),
            Self::Text(text) => Value::Text(text.as_bytes()),
            Self::List(texts) => Value::List(texts),
        }
    }
}

/// A list of texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Texts(pub(crate) Vec<String>);

impl List for Texts {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn get(&self, index: usize) -> Value<'_> {
        self.0.get(index).map_or(Value::Missing(Missing::Unset), |text| Value::Text(text.as_bytes()))
    }
}

/// Answers by what was asked. It only grows, so that what was lent stays where it is.
#[derive(Debug, Default)]
pub(crate) struct Memory(OnceCell<Box<Entry>>);

#[derive(Debug)]
struct Entry {
    field: u16,
    arg: Option<Box<[u8]>>,
    answer: Answer,
    next: Memory,
}

impl Memory {
    /// The answer to a question that was asked before, else the one that `make` makes.
    pub(crate) fn ask(&self, field: u16, arg: Option<&[u8]>, make: impl FnOnce() -> Answer) -> &Answer {
        let mut memory = self;
        while let Some(entry) = memory.0.get() {
            if entry.field == field && entry.arg.as_deref() == arg {
                return &entry.answer;
            }
            memory = &entry.next;
        }
        let new =
            || Box::new(Entry { field, arg: arg.map(Into::into), answer: make(), next: Self::default() });
        &memory.0.get_or_init(new).answer
    }
}

/// Without recursion, however many questions there were.
impl Drop for Memory {
    fn drop(&mut self) {
        let mut next = self.0.take();
        while let Some(mut entry) = next {
            next = entry.next.0.take();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_worked_on_once() {
        let memory = Memory::default();
        let answer = |text: &str| Answer::Text(text.to_owned());
        assert_eq!(*memory.ask(1, None, || answer("a")), answer("a"));
        assert_eq!(*memory.ask(1, Some(b"x"), || answer("b")), answer("b"));
        assert_eq!(*memory.ask(1, None, || unreachable!()), answer("a"));
        for n in 0..100_000 {
            memory.ask(2, Some(&u32::to_le_bytes(n)[..]).filter(|_| n % 10_000 == 0), || Answer::None);
        }
    }
}
