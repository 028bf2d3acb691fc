//! A subject whose values are read once per event: some are costly to make.

use core::cell::Cell;

use nabe_event::{FieldId, Fields, Value};

/// Values that are kept; rules ask few fields of one event.
const KEPT: usize = 8;

/// A subject that remembers what it answered.
pub(crate) struct Remembering<'s> {
    inner: &'s dyn Fields,
    kept: [Cell<Option<(FieldId, Value<'s>)>>; KEPT],
}

impl<'s> Remembering<'s> {
    pub(crate) fn new(inner: &'s dyn Fields) -> Self {
        Self { inner, kept: [const { Cell::new(None) }; KEPT] }
    }
}

impl Fields for Remembering<'_> {
    #[inline]
    fn get(&self, field: FieldId, arg: Option<&[u8]>) -> Value<'_> {
        if arg.is_some() {
            return self.inner.get(field, arg);
        }
        for place in &self.kept {
            match place.get() {
                Some((known, value)) if known == field => return value,
                Some(_) => {}
                None => {
                    let value = self.inner.get(field, None);
                    place.set(Some((field, value)));
                    return value;
                }
            }
        }
        self.inner.get(field, None)
    }

    fn related(&self, relation: FieldId, visit: &mut dyn FnMut(&dyn Fields) -> bool) -> Option<usize> {
        self.inner.related(relation, visit)
    }
}
