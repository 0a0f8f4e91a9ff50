//! Parcels that wait.

use std::collections::VecDeque;

use crate::parcel::Parcel;

/// Parcels in the order in which they came. One that waits alone, as nearly always, takes no memory of its
/// own: a bird that is called seldom looks at fewer cold lines.
#[derive(Default)]
pub(crate) struct Inbox {
    first: Option<Parcel>,
    /// Never filled without a first one.
    #[expect(clippy::box_collection, reason = "most inboxes never hold two")]
    rest: Option<Box<VecDeque<Parcel>>>,
}

impl Inbox {
    pub(crate) fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest.as_ref().map_or(0, |rest| rest.len())
    }

    #[inline]
    pub(crate) const fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    #[inline(always)]
    pub(super) fn push(&mut self, parcel: Parcel) {
        match &self.first {
            None => self.first = Some(parcel),
            Some(_) => self.rest.get_or_insert_default().push_back(parcel),
        }
    }

    #[inline(always)]
    pub(super) fn pop(&mut self) -> Option<Parcel> {
        match &mut self.rest {
            None => self.first.take(),
            Some(rest) => std::mem::replace(&mut self.first, rest.pop_front()),
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Parcel> {
        self.first.iter().chain(self.rest.iter().flat_map(|rest| rest.iter()))
    }

    /// All of them.
    pub(crate) fn take(&mut self) -> Vec<Parcel> {
        let rest = self.rest.take().map_or_else(VecDeque::new, |rest| *rest);
        self.first.take().into_iter().chain(rest).collect()
    }

    /// Leaves those in for which `stays` is true, and gives the others.
    pub(crate) fn take_unless(&mut self, stays: impl Fn(&Parcel) -> bool) -> Vec<Parcel> {
        let (stay, gone): (Vec<_>, Vec<_>) = self.take().into_iter().partition(stays);
        stay.into_iter().for_each(|parcel| self.push(parcel));
        gone
    }
}
