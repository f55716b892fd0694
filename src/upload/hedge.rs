//! The slowest part of an upload, sent once more.
//!
//! When nearly all parts have landed and one takes much longer than the others did, it is more likely a connection that
//! stands still than a part that needs so long. The bytes are in memory still, so they go once more over another connection,
//! and the first answer counts. Not where that could do harm or no good: when the service has told to slow down, memory is
//! short, or much else is on the line.
//!
//! What lost is not forgotten: it has the same bytes, but it may arrive late, and must not do so when the part's number
//! stands for others by then. So it is waited for before the number is used again, and before the upload is aborted.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::sending::Sender;
use super::session::Session;
use crate::object::{Checksum, PartNumber, UploadId, UploadedPart};
use crate::stats::Stats;
use crate::store::{Body, StoreError};

/// Parts that have landed before it is known what is slow.
const LANDED_MIN: usize = 4;

/// How many times as long as others a part takes that is slow. Twice happens on a line with some loss.
const TIMES_AS_LONG: f64 = 3.0;

/// Nothing is slow before this: connections that are made anew and a service that is busy take some 100 ms.
const SPAN_MIN: Duration = Duration::from_secs(1);

/// Requests with data that may be on their way, of all files together. With more of them it may be the line that is slow.
const IN_FLIGHT_MAX: usize = 2;

/// Parts of one upload that are sent twice. If more than a few are slow, it is not the odd connection.
const HEDGES_MAX: usize = 3;

/// Parts that are remembered, for what is usual lately.
const PACES_MAX: usize = 64;

/// How often a part on its way is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// What is known of the parts of one upload.
#[derive(Default)]
pub(super) struct Hedges {
    /// Std mutex: map operations, and sorting a few numbers. Level 8 in the order of locks.
    state: Mutex<State>,
    /// Told when a request that lost has ended.
    ended: Notify,
}

#[derive(Default)]
struct State {
    /// Seconds that each byte took, of the parts that landed last.
    paces: VecDeque<f64>,
    hedges: usize,
    /// Parts of which one request is still on its way although the other was answered.
    losers: BTreeSet<usize>,
}

/// A part that is ready to be sent.
pub(super) struct Sendable {
    /// From 0.
    pub(super) index: usize,
    pub(super) number: PartNumber,
    pub(super) body: Body,
    pub(super) checksum: Checksum,
}

impl Hedges {
    /// Notes how long a part took.
    fn note(&self, bytes: u64, span: Duration) {
        let mut state = self.lock();
        if state.paces.len() == PACES_MAX {
            state.paces.pop_front();
        }
        state.paces.push_back(span.as_secs_f64() / bytes.max(1) as f64);
    }

    /// After how long a part of so many bytes is slow; `None` as long as nobody knows, or if there were enough of them.
    fn slow_after(&self, bytes: u64) -> Option<Duration> {
        let state = self.lock();
        if state.paces.len() < LANDED_MIN || state.hedges >= HEDGES_MAX {
            return None;
        }
        let mut paces: Vec<f64> = state.paces.iter().copied().collect();
        paces.sort_by(f64::total_cmp);
        let median = paces[paces.len() / 2];
        Some(Duration::from_secs_f64(median * bytes as f64 * TIMES_AS_LONG).max(SPAN_MIN))
    }

    /// Counts a part that is sent twice.
    fn begin(&self, index: usize) {
        let mut state = self.lock();
        state.hedges += 1;
        state.losers.insert(index);
    }

    fn end(&self, index: usize) {
        self.lock().losers.remove(&index);
        self.ended.notify_waiters();
    }

    /// Returns when no request is on its way any more that could arrive behind a new one for this part.
    pub(super) async fn until_ended(&self, index: usize) {
        loop {
            let mut ended = std::pin::pin!(self.ended.notified());
            ended.as_mut().enable();
            if !self.lock().losers.contains(&index) {
                return;
            }
            ended.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sender {
    /// Sends a part, once more if it is slow.
    pub(super) async fn send(
        self: &Arc<Sender>,
        session: &Arc<Session>,
        upload: &UploadId,
        part: Sendable,
    ) -> Result<UploadedPart, StoreError> {
        let Sendable { index, number, body, checksum } = part;
        let (bytes, began) = (body.len(), Instant::now());
        let send = || {
            let (store, session) = (self.transfers.store.clone(), session.clone());
            let (upload, body) = (upload.clone(), body.clone());
            async move { store.upload_part(&session.key, &upload, number, body, checksum).await }
        };
        let mut first = Box::pin(send());
        tokio::select! {
            sent = &mut first => {
                if sent.is_ok() {
                    session.hedges.note(bytes, began.elapsed());
                }
                return sent;
            }
            () = self.until_slow(session, bytes, began) => {}
        }
        log::info!(
            "{}: part {number} has taken {} ms, and is sent once more",
            session.key,
            began.elapsed().as_millis()
        );
        session.hedges.begin(index);
        Stats::add(&session.repeats, 1);
        let mut second = Box::pin(send());
        drop(body);
        let (sent, other) = tokio::select! {
            sent = &mut first => (sent, second),
            sent = &mut second => (sent, first),
        };
        match sent {
            Ok(part) => {
                self.await_loser(session.clone(), index, part.clone(), other);
                Ok(part)
            }
            Err(_) => {
                let sent = other.await;
                session.hedges.end(index);
                sent
            }
        }
    }

    /// Returns when a part has taken so long that sending it once more is worth it.
    async fn until_slow(&self, session: &Session, bytes: u64, began: Instant) {
        let mut next = SPAN_MIN;
        loop {
            tokio::time::sleep_until(began + next).await;
            let is_slow = session.hedges.slow_after(bytes).is_some_and(|span| span <= began.elapsed());
            let transfers = &self.transfers;
            let is_spare = || transfers.flights() <= IN_FLIGHT_MAX && !transfers.memory.is_short();
            if is_slow && is_spare() && !transfers.store.is_slowed() {
                return;
            }
            next = began.elapsed() + LOOK_EVERY;
        }
    }

    /// Waits for the request that was not the first to be answered.
    fn await_loser(
        self: &Arc<Sender>,
        session: Arc<Session>,
        index: usize,
        won: UploadedPart,
        loser: impl Future<Output = Result<UploadedPart, StoreError>> + Send + 'static,
    ) {
        let (sender, flight) = (self.clone(), self.transfers.flight());
        self.transfers.runtime.spawn(async move {
            // Its failure is nobody's: the upload may be complete by now.
            if let Ok(late) = loser.await
                && late.etag != won.etag
            {
                // The same bytes, by checksum. Complete names the first, and is refused if that does not count any more.
                log::warn!("{}: a part that was sent twice is {} and {}", session.key, won.etag, late.etag);
            }
            session.hedges.end(index);
            drop(session);
            sender.changed.notify_waiters();
            drop(flight);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn a_part_is_slow_that_takes_three_times_as_long_as_others_of_its_size() {
        let hedges = Hedges::default();
        for _ in 0..LANDED_MIN {
            assert_eq!(hedges.slow_after(MIB), None);
            hedges.note(MIB, Duration::from_secs(2));
        }
        let near = |span: Option<Duration>, seconds: f64| (span.unwrap().as_secs_f64() - seconds).abs() < 1e-6;
        assert!(near(hedges.slow_after(MIB), 6.0));
        assert!(near(hedges.slow_after(8 * MIB), 48.0));
        assert_eq!(hedges.slow_after(10), Some(SPAN_MIN));
        // The odd one moves nothing.
        hedges.note(MIB, Duration::from_secs(100));
        assert!(near(hedges.slow_after(MIB), 6.0));
    }

    #[tokio::test]
    async fn a_few_are_sent_twice_and_each_is_waited_for_before_its_number_is_used() {
        let hedges = Hedges::default();
        (0..LANDED_MIN).for_each(|_| hedges.note(MIB, Duration::from_secs(1)));
        for index in 0..HEDGES_MAX {
            assert!(hedges.slow_after(MIB).is_some());
            hedges.begin(index);
        }
        assert_eq!(hedges.slow_after(MIB), None);
        let mut waiting = std::pin::pin!(hedges.until_ended(1));
        assert!(futures_util::poll!(&mut waiting).is_pending());
        hedges.end(0);
        assert!(futures_util::poll!(&mut waiting).is_pending());
        hedges.end(1);
        waiting.await;
    }
}
