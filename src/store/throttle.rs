//! How many requests a second may begin, and how fast bytes may go, where somebody has said so.
//!
//! Shared by all connections to a service, so that what is said is what the whole mount takes of a line or of a quota. Who waits
//! is let go in the order in which he came. Bytes go by a token bucket. Requests go by a clock that ticks a little slower than
//! was said and saves nothing up, so that in any two seconds there are not more, however long each is on its way.

use std::num::NonZeroU32;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use leaky_bucket::{AcquireOwned, RateLimiter};
use tokio::sync::Mutex;
use tokio::time::{Interval, MissedTickBehavior};

/// The least that bytes may be limited to, in bytes a second. Sixteen parts at once have 8 KiB each then, which is above the
/// slowest that a request may be.
pub const BYTES_PER_SECOND_MIN: u64 = 128 << 10;

/// How often tokens for bytes come.
const BYTES_EVERY: Duration = Duration::from_millis(20);
/// Tokens that are saved up, in parts of a second: what a reader or writer who pauses may have at once.
const BYTES_SAVED: u64 = 8;
/// The largest piece of a body that goes for tokens that come within this part of a second, so that connections take turns.
const PIECES_PER_SECOND: u64 = 32;

/// Of a hundred requests that may begin so many do.
const REQUESTS_BEGUN: u32 = 95;
/// The clock of requests ticks so often in a second at most, which timers can still tell apart.
const TICKS_PER_SECOND_MAX: u32 = 50;

/// What may be limited; `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Requests that begin in a second, repeats included.
    pub requests: Option<NonZeroU32>,
    /// Bytes of bodies that leave in a second, at least [`BYTES_PER_SECOND_MIN`].
    pub up: Option<u64>,
    /// Bytes of bodies that are taken in a second, at least [`BYTES_PER_SECOND_MIN`].
    pub down: Option<u64>,
}

/// Holds up what would be more than was said. Shared by all who use one service.
#[derive(Debug, Default)]
pub struct Throttle {
    /// Std lock, 8 in the order of locks: replaced when other rates are said, and cloned.
    buckets: RwLock<Buckets>,
}

#[derive(Debug, Default)]
struct Buckets {
    /// Tokio's mutex, 4 in the order of locks: who holds it waits for the next tick, and those behind him for their turns.
    requests: Option<Arc<Mutex<RequestRate>>>,
    up: Option<ByteRate>,
    down: Option<ByteRate>,
}

/// A limit of requests.
#[derive(Debug)]
struct RequestRate {
    ticks: Interval,
    /// So many may begin with each tick.
    each: u32,
    /// Of the last tick so many are left.
    left: u32,
}

/// A wait for tokens.
pub(super) type Turn = AcquireOwned;

/// A limit of bytes.
#[derive(Clone, Debug)]
pub(super) struct ByteRate {
    tokens: Arc<RateLimiter>,
    piece_bytes: usize,
}

impl Throttle {
    /// Lets so much pass.
    pub fn new(rates: Rates) -> Throttle {
        Throttle { buckets: RwLock::new(Buckets::of(rates)) }
    }

    /// From now on these hold. What waits already goes by those that held before.
    pub fn set(&self, rates: Rates) {
        *self.buckets.write().unwrap_or_else(PoisonError::into_inner) = Buckets::of(rates);
    }

    fn buckets(&self) -> RwLockReadGuard<'_, Buckets> {
        self.buckets.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until one more request may begin.
    pub(super) async fn begin_request(&self) {
        let requests = self.buckets().requests.clone();
        if let Some(requests) = requests {
            requests.lock().await.begin().await;
        }
    }

    /// The limit of what leaves, if there is one.
    pub(super) fn up(&self) -> Option<ByteRate> {
        self.buckets().up.clone()
    }

    /// Waits until so many bytes more may be taken.
    pub(super) async fn take_in(&self, bytes: usize) {
        let down = self.buckets().down.clone();
        if let Some(down) = down {
            down.tokens.acquire(bytes).await;
        }
    }
}

impl Buckets {
    fn of(Rates { requests, up, down }: Rates) -> Buckets {
        let [up, down] = [up, down].map(|rate| rate.map(ByteRate::new));
        Buckets { requests: requests.map(|rate| Arc::new(Mutex::new(RequestRate::new(rate)))), up, down }
    }
}

impl RequestRate {
    fn new(rate: NonZeroU32) -> RequestRate {
        let each = rate.get().div_ceil(TICKS_PER_SECOND_MAX);
        let mut ticks = tokio::time::interval(Duration::from_secs(100) * each / REQUESTS_BEGUN / rate.get());
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        RequestRate { ticks, each, left: 0 }
    }

    async fn begin(&mut self) {
        if self.left == 0 {
            self.ticks.tick().await;
            self.left = self.each;
        }
        self.left -= 1;
    }
}

impl ByteRate {
    fn new(rate: u64) -> ByteRate {
        let rate = rate.max(BYTES_PER_SECOND_MIN);
        let whole = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX).max(1);
        let refill = whole(rate * BYTES_EVERY.as_millis() as u64 / 1000);
        let saved = whole(rate / BYTES_SAVED);
        let tokens = RateLimiter::builder().max(saved).initial(0).refill(refill).interval(BYTES_EVERY).build();
        ByteRate { tokens: Arc::new(tokens), piece_bytes: whole(rate / PIECES_PER_SECOND) }
    }

    /// The most bytes that should go at once.
    pub(super) fn piece_bytes(&self) -> usize {
        self.piece_bytes
    }

    /// Waits until so many bytes more may go.
    pub(super) fn acquire(&self, bytes: usize) -> Turn {
        self.tokens.clone().acquire_owned(bytes)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;
    use tokio::time::Instant;

    use super::*;

    /// However they come, in any two seconds there are not more than was said, and not much fewer where there is enough to do.
    #[tokio::test(start_paused = true)]
    async fn requests_are_never_more_than_was_said_in_any_two_seconds() {
        for rate in [1, 3, 10, 50, 500, 5_000] {
            let throttle = Throttle::new(Rates { requests: NonZeroU32::new(rate), ..Rates::default() });
            tokio::time::sleep(Duration::from_secs(100)).await;
            let begun = Instant::now();
            let begin = || async {
                throttle.begin_request().await;
                begun.elapsed()
            };
            let count = rate as usize * 10;
            let mut times = join_all((0..count).map(|_| begin())).await;
            times.sort();
            let most = (2 * rate) as usize;
            for pair in times.windows(most + 1) {
                assert!(
                    pair[most] - pair[0] > Duration::from_secs(2),
                    "{rate}: {most} within {:?}",
                    pair[most] - pair[0]
                );
            }
            assert!(times[count - 1] < Duration::from_secs(11), "{rate}: {:?}", times[count - 1]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_go_as_fast_as_was_said() {
        let rate = 20 << 20;
        let throttle = Throttle::new(Rates { up: Some(rate), down: Some(rate / 2), ..Rates::default() });
        let up = throttle.up().unwrap();
        let (begun, whole) = (Instant::now(), 100 << 20);
        let send = |connection: usize| {
            let up = up.clone();
            async move {
                for _ in 0..whole / 4 / up.piece_bytes() {
                    up.acquire(up.piece_bytes()).await;
                }
                connection
            }
        };
        assert_eq!(join_all((0..4).map(send)).await, [0, 1, 2, 3]);
        let took = begun.elapsed().as_secs_f64();
        assert!((4.8..5.2).contains(&took), "{took}");
        for _ in 0..100 {
            throttle.take_in(1 << 20).await;
        }
        let took = begun.elapsed().as_secs_f64() - took;
        assert!((9.6..10.4).contains(&took), "{took}");
    }

    #[tokio::test(start_paused = true)]
    async fn another_rate_holds_at_once() {
        let throttle = Throttle::new(Rates { down: Some(BYTES_PER_SECOND_MIN), ..Rates::default() });
        throttle.set(Rates::default());
        let begun = Instant::now();
        throttle.take_in(1 << 30).await;
        throttle.begin_request().await;
        assert!(throttle.up().is_none() && begun.elapsed().is_zero());
    }
}
