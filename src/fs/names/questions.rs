//! Questions for metadata that are on their way: each is asked once, however many wait for the answer.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::attributes::Kind;
use super::ino::Ino;
use super::name::FileName;

/// Questions that are on their way, and what has been learned from the answers.
#[derive(Default)]
pub(in crate::fs) struct Questions {
    /// Std mutex, 7 in the order of locks: map operations only.
    asked: Mutex<HashMap<(Ino, FileName), Arc<Notify>>>,
    /// Some small object was a symbolic link or a special file.
    has_met_link: AtomicBool,
}

/// One question on its way; dropping it lets those go on who wait for the answer.
pub(super) struct Question<'a> {
    questions: &'a Questions,
    about: (Ino, FileName),
}

impl Questions {
    fn asked(&self) -> MutexGuard<'_, HashMap<(Ino, FileName), Arc<Notify>>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a question, or waits until somebody else's is answered, and returns `None` then.
    pub(super) async fn ask(&self, parent: Ino, name: &FileName) -> Option<Question<'_>> {
        let about = (parent, name.clone());
        let answered = {
            let mut asked = self.asked();
            let Some(answered) = asked.get(&about).cloned() else {
                asked.insert(about.clone(), Arc::default());
                return Some(Question { questions: self, about });
            };
            // Registered under the lock, so that an answer that comes right now is not missed.
            answered.notified_owned()
        };
        answered.await;
        None
    }

    /// Whether some small object was a symbolic link or a special file.
    pub(super) fn has_met_link(&self) -> bool {
        self.has_met_link.load(Ordering::Relaxed)
    }

    /// Takes note of what a small object was.
    pub(in crate::fs) fn learn(&self, kind: Kind) {
        if kind != Kind::File {
            self.has_met_link.store(true, Ordering::Relaxed);
        }
    }
}

impl Drop for Question<'_> {
    fn drop(&mut self) {
        if let Some(answered) = self.questions.asked().remove(&self.about) {
            answered.notify_waiters();
        }
    }
}
