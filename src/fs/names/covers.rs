//! Which names a page of a listing tells of.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::{Entry, FileName};

/// The names that a listing would have shown if they existed: those between two keys, the second of them included, in the
/// order of keys, in which a directory `d` stands at `d/`. `None` is no limit.
#[derive(Clone, Debug)]
pub(crate) struct Covers {
    pub(crate) after: Option<String>,
    pub(crate) up_to: Option<String>,
}

impl Covers {
    pub(crate) const ALL: Covers = Covers { after: None, up_to: None };

    pub(super) fn is_all(&self) -> bool {
        self.after.is_none() && self.up_to.is_none()
    }

    /// Whether a name is covered in both of its forms, as a file and as a directory.
    pub(super) fn includes(&self, name: &FileName) -> bool {
        self.after.as_ref().is_none_or(|after| name.as_str() > after.as_str())
            && self.up_to.as_ref().is_none_or(|last| format!("{name}/").as_str() <= last.as_str())
    }

    /// Whether a file of this name would be here.
    pub(super) fn has_place_of(&self, name: &FileName) -> bool {
        self.after.as_ref().is_none_or(|after| name.as_str() > after.as_str())
            && self.up_to.as_ref().is_none_or(|last| name.as_str() <= last.as_str())
    }

    /// Those that may be covered.
    pub(super) fn range<'a>(
        &self,
        children: &'a BTreeMap<FileName, Box<Entry>>,
    ) -> impl Iterator<Item = (&'a FileName, &'a Box<Entry>)> {
        let after = self.after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let up_to = self.up_to.as_deref().map_or(Bound::Unbounded, Bound::Included);
        // An empty range would panic.
        let is_empty = matches!((&self.after, &self.up_to), (Some(after), Some(up_to)) if after >= up_to);
        let range = (!is_empty).then(|| children.range::<str, _>((after, up_to)));
        range.into_iter().flatten()
    }
}
