//! What the parts of an upload have to be like, as planner and content are told.

use crate::object::Limits;
use crate::upload::ladder::Ladder;
use crate::upload::plan::{Action, Rules, Stretch, TooManyParts, plan};

/// What the parts of an upload have to be like.
#[derive(Clone, Copy, Debug)]
pub(in crate::upload) struct PartRules {
    pub(in crate::upload) limits: Limits,
    pub(in crate::upload) ladder: Ladder,
    /// The size, roughly, of a part some bytes of which have to be fetched first.
    pub(in crate::upload) mixed_bytes: u64,
    /// Holes that are longer wait for the publishing, which has the service copy zeros; `None` where it cannot.
    pub(in crate::upload) hole_bytes_min: Option<u64>,
}

impl PartRules {
    pub(super) fn plan(&self, stretches: &[Stretch]) -> Result<Vec<Action>, TooManyParts> {
        self.with(|rules| plan(stretches, rules))
    }

    /// Calls `plan` with the rules as the planner knows them.
    pub(super) fn with<T>(&self, plan: impl FnOnce(&Rules) -> T) -> T {
        let upload_bytes = |index| self.ladder.part_bytes(index);
        plan(&Rules { limits: self.limits, upload_bytes: &upload_bytes, mixed_upload_bytes: self.mixed_bytes })
    }

    /// The most that is fetched at once, in bytes: what a part is at most that has fetched bytes in it.
    pub(super) fn fetch_bytes_max(&self) -> u64 {
        self.mixed_bytes + self.limits.part_bytes_min
    }
}
