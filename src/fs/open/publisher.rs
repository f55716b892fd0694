//! Who publishes files that are open.

use std::sync::{Arc, Weak};

use super::FileHandle;
use crate::fs::context::{Context, Handles};
use crate::fs::markers::Markers;
use crate::fs::names::Names;

/// Publishes what is open, when it is closed or has waited long enough.
pub(crate) struct Publisher {
    pub(crate) context: Arc<Context>,
    pub(crate) names: Arc<Names>,
    pub(crate) markers: Arc<Markers>,
    pub(crate) handles: Handles<FileHandle>,
    /// For tasks that publish what has waited.
    pub(crate) me: Weak<Publisher>,
}

impl Publisher {
    pub(crate) fn new(context: Arc<Context>, names: Arc<Names>, markers: Arc<Markers>) -> Arc<Publisher> {
        let handles = Handles::default();
        Arc::new_cyclic(|me| Publisher { context, names, markers, handles, me: me.clone() })
    }
}
