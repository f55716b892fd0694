//! When something was asked about a directory.

use std::sync::Arc;
use std::time::SystemTime;

/// When something was asked about a directory, and what was known of it by then.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) at: SystemTime,
    /// Of that directory; another one each time that something of it is forgotten, or found to be wrong.
    pub(super) knowledge: Option<Arc<()>>,
}
