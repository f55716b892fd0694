//! Who changes names.

use std::sync::Arc;

use crate::fs::context::Context;
use crate::fs::locks::FileLocks;
use crate::fs::markers::Markers;
use crate::fs::names::Names;
use crate::fs::open::{Files, Publisher};
use crate::fs::traffic::Traffic;

/// Makes, removes and renames.
pub(crate) struct Changes {
    pub(crate) context: Arc<Context>,
    pub(crate) names: Arc<Names>,
    pub(crate) traffic: Arc<Traffic>,
    pub(crate) markers: Arc<Markers>,
    pub(crate) publisher: Arc<Publisher>,
    pub(crate) files: Arc<Files>,
    pub(crate) locks: Arc<FileLocks>,
}
