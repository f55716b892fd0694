//! Who changes names.

use std::sync::Arc;

use crate::fs::context::Context;
use crate::fs::locks::FileLocks;
use crate::fs::markers::Markers;
use crate::fs::names::Names;
use crate::fs::open::{Files, Publisher};
use crate::fs::traffic::Traffic;

/// Makes, removes and renames.
pub(in crate::fs) struct Changes {
    pub(in crate::fs) context: Arc<Context>,
    pub(in crate::fs) names: Arc<Names>,
    pub(in crate::fs) traffic: Arc<Traffic>,
    pub(in crate::fs) markers: Arc<Markers>,
    pub(in crate::fs) publisher: Arc<Publisher>,
    pub(in crate::fs) files: Arc<Files>,
    pub(in crate::fs) locks: Arc<FileLocks>,
}
