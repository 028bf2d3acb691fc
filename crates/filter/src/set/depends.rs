//! What a part of a filter depends on.

use nabe_event::FieldId;
use nabe_event::field::descriptor as d;
use nabe_event::field::image::is_of_image;

use crate::ir::{FieldRef, Pred};

/// Nothing, the image, the path, the event, or several of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Depends(u8);

impl Depends {
    pub(crate) const IMAGE: Self = Self(1);
    pub(crate) const PATH: Self = Self(2);
    pub(crate) const EVENT: Self = Self(4);

    /// What a predicate reads.
    pub(crate) fn of(pred: &Pred) -> Self {
        let mut depends = Self::default();
        pred.fields(&mut |field| depends = depends.and(Self::of_field(field)));
        depends
    }

    fn of_field(field: &FieldRef) -> Self {
        if is_of_image(field.id) {
            Self::IMAGE
        } else if is_of_path(field.id) {
            Self::PATH
        } else {
            Self::EVENT
        }
    }

    pub(crate) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// On the image and on nothing else.
    pub(crate) const fn is_image(self) -> bool {
        self.0 == Self::IMAGE.0
    }

    /// On the path and on nothing else.
    pub(crate) const fn is_path(self) -> bool {
        self.0 == Self::PATH.0
    }
}

/// Whether a field follows from `fd.name` and `fd.typechar`.
#[must_use]
pub fn is_of_path(field: FieldId) -> bool {
    matches!(field, d::NAME | d::TYPECHAR | d::DIRECTORY | d::FILENAME)
}
