//! Who publishes files that are open.

use std::sync::{Arc, Weak};

use super::FileHandle;
use crate::fs::context::{Context, Handles};
use crate::fs::markers::Markers;
use crate::fs::names::Names;

/// Publishes what is open, when it is closed or has waited long enough.
pub(in crate::fs) struct Publisher {
    pub(in crate::fs) context: Arc<Context>,
    pub(in crate::fs) names: Arc<Names>,
    pub(in crate::fs) markers: Arc<Markers>,
    pub(in crate::fs) handles: Handles<FileHandle>,
    /// For tasks that publish what has waited.
    pub(in crate::fs) me: Weak<Publisher>,
}

impl Publisher {
    pub(in crate::fs) fn new(context: Arc<Context>, names: Arc<Names>, markers: Arc<Markers>) -> Arc<Publisher> {
        let handles = Handles::default();
        Arc::new_cyclic(|me| Publisher { context, names, markers, handles, me: me.clone() })
    }
}
