//! How many requests may be on their way at once: as many as come, until the service tells to slow down.
//!
//! From then on the number is halved whenever it says so again, at most once in a round trip, and grows by one in each round
//! trip that goes well, until nobody waits for it any more. Requests that carry little go before those that carry much. A
//! request counts until its answer begins, so that nobody who reads slowly keeps others waiting.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::http::Weight;

/// With this many at once nothing is held back any more: more than a mount ever has on its way.
const ALL: f64 = 256.0;

/// How long a service that told to slow down is asked for nothing that need not be.
const SLOWED_SPAN: Duration = Duration::from_secs(30);

/// Requests of one service that are on their way.
#[derive(Debug)]
pub(super) struct Congestion {
    /// Std mutex: arithmetic and a queue's end. Level 8 in the order of locks.
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// How many may be on their way; [`ALL`] for any number.
    limit: f64,
    in_flight: usize,
    /// What was sent before that was sent at the old pace, and says nothing of the new one.
    slowed_at: Option<Instant>,
    light: VecDeque<oneshot::Sender<Passage>>,
    bulk: VecDeque<oneshot::Sender<Passage>>,
}

/// A request that counts, until it is dropped.
#[derive(Debug)]
pub(super) struct Passage {
    congestion: Arc<Congestion>,
    began: Instant,
}

impl Default for Congestion {
    fn default() -> Congestion {
        let (light, bulk) = (VecDeque::new(), VecDeque::new());
        Congestion { state: Mutex::new(State { limit: ALL, in_flight: 0, slowed_at: None, light, bulk }) }
    }
}

impl Congestion {
    /// Returns when one more request may go, or after `patience`: who has waited for that long goes in any case, so that a
    /// service which answers nobody holds up nobody for longer than his own deadline.
    pub(super) async fn enter(self: &Arc<Congestion>, weight: Weight, patience: Duration) -> Passage {
        let turn = {
            let mut state = self.lock();
            if state.has_room() {
                return self.count(&mut state);
            }
            let (sender, turn) = oneshot::channel();
            match weight {
                Weight::Light => state.light.push_back(sender),
                Weight::Bulk => state.bulk.push_back(sender),
            }
            turn
        };
        match tokio::time::timeout(patience, turn).await {
            Ok(Ok(passage)) => passage,
            Ok(Err(_)) | Err(_) => self.count(&mut self.lock()),
        }
    }

    fn count(self: &Arc<Congestion>, state: &mut State) -> Passage {
        state.in_flight += 1;
        Passage { congestion: self.clone(), began: Instant::now() }
    }

    /// Lets those go for whom there is room. Returns what is for those who have gone away meanwhile: to be dropped without the
    /// lock, which lets others go.
    fn let_go(self: &Arc<Congestion>, state: &mut State) -> Vec<Passage> {
        let mut unwanted = Vec::new();
        while state.has_room() {
            let Some(next) = state.light.pop_front().or_else(|| state.bulk.pop_front()) else { break };
            unwanted.extend(next.send(self.count(state)).err());
        }
        unwanted
    }

    /// Whether the service has told to slow down lately.
    pub(super) fn is_slowed(&self) -> bool {
        self.lock().slowed_at.is_some_and(|slowed| slowed.elapsed() < SLOWED_SPAN)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn has_room(&self) -> bool {
        self.limit >= ALL || self.in_flight < whole(self.limit)
    }
}

/// So many whole ones, where a sum of fractions misses the last by a hair.
fn whole(limit: f64) -> usize {
    (limit + 1e-6) as usize
}

impl Passage {
    /// The service told to slow down.
    pub(super) fn slowed(&self) {
        let mut state = self.congestion.lock();
        // Of all that were sent at the same pace the first says it.
        if state.slowed_at.is_some_and(|slowed| self.began < slowed) {
            return;
        }
        state.limit = (state.limit.min(state.in_flight as f64) / 2.0).max(1.0);
        state.slowed_at = Some(Instant::now());
    }

    /// The service did what it was asked.
    pub(super) fn went_well(&self) {
        let mut state = self.congestion.lock();
        if state.limit < ALL {
            // As many of these as may be on their way make a round trip.
            state.limit += 1.0 / whole(state.limit) as f64;
        }
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        let unwanted = {
            let mut state = self.congestion.lock();
            state.in_flight -= 1;
            self.congestion.let_go(&mut state)
        };
        drop(unwanted);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn enters(congestion: &Arc<Congestion>, weight: Weight) -> Option<Passage> {
        congestion.enter(weight, PATIENCE).now_or_never()
    }

    /// As many as may go at once.
    fn fill(congestion: &Arc<Congestion>) -> Vec<Passage> {
        std::iter::from_fn(|| enters(congestion, Weight::Bulk)).take(1000).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_held_back_until_the_service_says_so() {
        let congestion = Arc::new(Congestion::default());
        assert_eq!(fill(&congestion).len(), 1000);
        assert!(!congestion.is_slowed());
    }

    #[tokio::test(start_paused = true)]
    async fn the_number_is_halved_once_in_a_round_trip_and_grows_by_one() {
        let congestion = Arc::new(Congestion::default());
        let mut sent: Vec<Passage> = (0..16).map(|_| enters(&congestion, Weight::Bulk).unwrap()).collect();
        tokio::time::advance(Duration::from_millis(1)).await;
        sent.iter().for_each(Passage::slowed);
        sent.clear();
        let mut sent = fill(&congestion);
        assert_eq!(sent.len(), 8, "all 16 say the same");
        for expected in 9..=12 {
            sent.iter().for_each(Passage::went_well);
            sent.clear();
            sent = fill(&congestion);
            assert_eq!(sent.len(), expected);
        }
        tokio::time::advance(Duration::from_millis(1)).await;
        sent[0].slowed();
        sent.clear();
        assert_eq!(fill(&congestion).len(), 6);
        assert!(congestion.is_slowed());
    }

    #[tokio::test(start_paused = true)]
    async fn one_goes_on_however_often_it_is_said_and_all_of_them_in_the_end() {
        let congestion = Arc::new(Congestion::default());
        for _ in 0..20 {
            let one = enters(&congestion, Weight::Bulk).unwrap();
            tokio::time::advance(Duration::from_millis(1)).await;
            one.slowed();
        }
        assert_eq!(fill(&congestion).len(), 1);
        for _ in 0..100_000 {
            enters(&congestion, Weight::Bulk).unwrap().went_well();
        }
        assert_eq!(fill(&congestion).len(), 1000);
        assert!(congestion.is_slowed());
        tokio::time::advance(SLOWED_SPAN).await;
        assert!(!congestion.is_slowed());
    }

    #[tokio::test(start_paused = true)]
    async fn light_requests_go_first_and_who_has_waited_long_goes_in_any_case() {
        let congestion = Arc::new(Congestion::default());
        let one = enters(&congestion, Weight::Bulk).unwrap();
        one.slowed();
        let (order, mut tasks) = (Arc::new(Mutex::new(Vec::new())), tokio::task::JoinSet::new());
        for (name, weight) in [("bulk", Weight::Bulk), ("other bulk", Weight::Bulk), ("light", Weight::Light)] {
            let (congestion, order) = (congestion.clone(), order.clone());
            tasks.spawn(async move {
                let passage = congestion.enter(weight, PATIENCE).await;
                order.lock().unwrap().push(name);
                tokio::time::sleep(Duration::from_secs(1)).await;
                drop(passage);
            });
            tokio::task::yield_now().await;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        drop(one);
        tasks.join_all().await;
        assert_eq!(*order.lock().unwrap(), ["light", "bulk", "other bulk"]);
        let began = Instant::now();
        let _stays = enters(&congestion, Weight::Bulk).unwrap();
        let _goes = congestion.enter(Weight::Light, PATIENCE).await;
        assert_eq!(began.elapsed(), PATIENCE);
    }
}
