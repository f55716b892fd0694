//! Questions for metadata that are on their way: each is asked once, however many wait for the answer.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, PoisonError};

use tokio::sync::Notify;
use tracing_mutex::stdsync::{Mutex, MutexGuard};

use super::{FileName, Ino, Kind};

/// So many small objects are asked whether they are symbolic links or special files when they are listed. If none of them
/// was, a bucket is taken to have none, until one is met.
const KIND_QUESTIONS_MAX: i64 = 10_000;

/// Questions that are on their way, and what has been learned from the answers.
pub(crate) struct Questions {
    /// Std mutex, 7 in the order of locks: map operations only.
    asked: Mutex<HashMap<(Ino, FileName), Arc<Notify>>>,
    /// How many more small objects are asked; more than at first once one was a symbolic link or a special file.
    kind_questions: AtomicI64,
}

/// One question on its way; dropping it lets those go on who wait for the answer.
pub(super) struct Question<'a> {
    questions: &'a Questions,
    about: (Ino, FileName),
}

impl Default for Questions {
    fn default() -> Questions {
        Questions { asked: Mutex::default(), kind_questions: AtomicI64::new(KIND_QUESTIONS_MAX) }
    }
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
        self.kind_questions.load(Ordering::Relaxed) > KIND_QUESTIONS_MAX
    }

    /// Whether small objects may be symbolic links or special files, as far as anybody has seen.
    pub(super) fn may_be_links(&self) -> bool {
        self.kind_questions.load(Ordering::Relaxed) > 0
    }

    /// Takes note of what a small object was.
    pub(crate) fn learn(&self, kind: Kind) {
        match kind {
            Kind::File => drop(self.kind_questions.fetch_sub(1, Ordering::Relaxed)),
            _ => self.kind_questions.store(i64::MAX, Ordering::Relaxed),
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
