//! Orphan cleanup: copies that a failed rename of a directory has left are removed in the background.

use std::sync::{Arc, Mutex, PoisonError};

/// Removals that go on in the background of what directories that were not renamed have left at their new names. Std mutex,
/// 7 in the order of locks: list operations only.
#[derive(Default)]
pub(crate) struct Cleanups(Mutex<Vec<Arc<Cleanup>>>);

pub(crate) struct Cleanup {
    pub(crate) prefix: String,
    /// Whether it is over. Tokio's mutex, 2 in the order of locks: held while a request is on its way.
    pub(crate) is_over: tokio::sync::Mutex<bool>,
}

impl Cleanups {
    /// Somebody makes something under `key`: what goes on there ends before.
    pub(crate) async fn stop(&self, key: &str) {
        let concerned: Vec<Arc<Cleanup>> = {
            let mut cleanups = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let is_concerned = |cleanup: &Arc<Cleanup>| {
                let prefix = &cleanup.prefix;
                let is_around = key.ends_with('/') && prefix.starts_with(key) || *prefix == format!("{key}/");
                key.starts_with(prefix) || is_around
            };
            let (concerned, others) = std::mem::take(&mut *cleanups).into_iter().partition(is_concerned);
            *cleanups = others;
            concerned
        };
        for cleanup in concerned {
            *cleanup.is_over.lock().await = true;
        }
    }

    pub(crate) fn begin(&self, prefix: String) -> Arc<Cleanup> {
        let cleanup = Arc::new(Cleanup { prefix, is_over: tokio::sync::Mutex::default() });
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(cleanup.clone());
        cleanup
    }

    pub(crate) fn end(&self, cleanup: &Arc<Cleanup>) {
        let mut cleanups = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cleanups.retain(|other| !Arc::ptr_eq(other, cleanup));
    }
}
