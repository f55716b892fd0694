//! Those who have the page open: one look at the mount for all of them, and none while there is nobody.
//!
//! Whoever is slow gets what is shown by then and misses what was shown in between, so that nothing is kept for anybody.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::MissedTickBehavior;

use super::page::View;

/// How often the page changes.
const TICK: Duration = Duration::from_millis(500);

/// Those who may have it open at the same time.
const VIEWERS_MAX: usize = 32;

/// Looks at the mount, for the page.
pub(super) type Look = Arc<dyn Fn() -> View + Send + Sync>;

/// Looks for as long as somebody has the page open.
pub(super) struct Live {
    look: Look,
    /// What is shown; nothing as long as nobody looks.
    shown: watch::Sender<Option<Arc<View>>>,
    /// Whether a task looks. Std mutex: one assignment. Level 9 in the order of locks.
    is_looking: Mutex<bool>,
    places: Arc<Semaphore>,
}

/// One page that is open.
pub(super) struct Viewer {
    shown: watch::Receiver<Option<Arc<View>>>,
    seen: Option<Arc<View>>,
    _place: OwnedSemaphorePermit,
}

impl Live {
    pub(super) fn new(look: Look) -> Arc<Live> {
        let places = Arc::new(Semaphore::new(VIEWERS_MAX));
        Arc::new(Live { look, shown: watch::Sender::new(None), is_looking: Mutex::new(false), places })
    }

    /// One more who looks, unless there are as many as there may be.
    pub(super) fn viewer(self: &Arc<Live>) -> Option<Viewer> {
        let place = self.places.clone().try_acquire_owned().ok()?;
        let mut is_looking = self.lock();
        let shown = self.shown.subscribe();
        if !std::mem::replace(&mut *is_looking, true) {
            tokio::spawn(self.clone().look_on());
        }
        Some(Viewer { shown, seen: None, _place: place })
    }

    async fn look_on(self: Arc<Live>) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let look = self.look.clone();
            // Looking takes locks that calls of programs take, and drawing takes a while.
            if let Ok(view) = tokio::task::spawn_blocking(move || look()).await {
                self.shown.send_replace(Some(Arc::new(view)));
            }
            let mut is_looking = self.lock();
            if self.shown.receiver_count() == 0 {
                self.shown.send_replace(None);
                *is_looking = false;
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        self.is_looking.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Viewer {
    /// What has changed since it was asked last, all of it at first. `None` at the end of the mount.
    pub(super) async fn next(&mut self) -> Option<String> {
        loop {
            let now = self.shown.borrow_and_update().clone();
            let is_new = |now: &Arc<View>| self.seen.as_ref().is_none_or(|seen| !Arc::ptr_eq(seen, now));
            if let Some(now) = now.filter(is_new) {
                let changes = now.changes_since(self.seen.as_deref());
                self.seen = Some(now);
                return Some(changes);
            }
            self.shown.changed().await.ok()?;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::super::samples;
    use super::*;

    fn counted() -> (Arc<Live>, Arc<AtomicUsize>) {
        let looks = Arc::new(AtomicUsize::new(0));
        let counted = looks.clone();
        let live = Live::new(Arc::new(move || {
            counted.fetch_add(1, Ordering::SeqCst);
            View::of(&samples::status())
        }));
        (live, looks)
    }

    #[tokio::test]
    async fn one_look_serves_all_who_have_it_open_and_nobody_is_looked_for() {
        let (live, looks) = counted();
        let mut viewers: Vec<_> = (0..VIEWERS_MAX).map(|_| live.viewer().unwrap()).collect();
        assert!(live.viewer().is_none(), "no more than there may be");
        for viewer in &mut viewers {
            assert!(viewer.next().await.unwrap().contains("fragments"));
        }
        assert_eq!(looks.load(Ordering::SeqCst), 1);
        let again = viewers[0].next().await.unwrap();
        assert!(!again.contains("fragments"), "{again}");
        drop(viewers);
        while *live.lock() {
            tokio::task::yield_now().await;
        }
        let before = looks.load(Ordering::SeqCst);
        assert!(live.shown.borrow().is_none());
        let mut viewer = live.viewer().unwrap();
        assert!(viewer.next().await.unwrap().contains("fragments"), "the next one gets all of it");
        assert_eq!(looks.load(Ordering::SeqCst), before + 1);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_slow_gets_what_is_shown_by_then() {
        let (live, looks) = counted();
        let mut viewer = live.viewer().unwrap();
        viewer.next().await.unwrap();
        while looks.load(Ordering::SeqCst) < 5 {
            tokio::time::sleep(TICK).await;
        }
        let seen = looks.load(Ordering::SeqCst);
        viewer.next().await.unwrap();
        assert_eq!(looks.load(Ordering::SeqCst), seen, "nothing was kept for it");
    }
}
