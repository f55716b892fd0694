//! The key that requests are signed with, renewed before it ends.
//!
//! Who signs gets the key at once as long as it is good, whatever the provider does meanwhile: a task in the background asks
//! ahead of the end, and goes on with what there is until then when the provider is down. A request waits for the provider only
//! when its key is over, or was refused. One asks for all.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;
use tokio::time::Instant;

use super::provider::{CredentialProvider, FixedKey, ProviderError};
use crate::clock::Clock;
use crate::wire::date;
use crate::wire::issued::Issued;
use crate::wire::key_flaw::KeyFlaw;
use crate::wire::sign::Credentials;

/// The most that a key is renewed before its end: as early as the official Go client does it.
const AHEAD_MAX: Duration = Duration::from_secs(600);
/// Of shorter lives it is one part in so many.
const AHEAD_PART: u32 = 10;
/// The pauses between two attempts to renew ahead of the end: a few fit into the time that is left, and none is a burden.
const AGAIN_MIN: Duration = Duration::from_millis(200);
const AGAIN_MAX: Duration = Duration::from_secs(30);
/// How many of them fit into the time by which a key is renewed early.
const AGAIN_PART: u32 = 6;
/// The background looks at the clock so often at least, because clocks are set and machines sleep.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// Requests that wait for a key do not ask a provider that has just failed more often than this.
const FAILED_FOR: Duration = Duration::from_millis(500);
/// An answer that may be about the key, and does not say so, makes the provider be asked if this has not happened for so long.
const VAGUE_AFTER: Duration = Duration::from_secs(30);
/// How long the request waits that got such an answer.
const VAGUE_PATIENCE: Duration = Duration::from_secs(1);
/// The pause before the second key in a row is asked for because the service refuses; doubles with each further one.
const REFUSED_PAUSE: Duration = Duration::from_millis(500);
/// How often it doubles: up to 32 s.
const REFUSED_DOUBLINGS_MAX: u32 = 6;
/// Refusals further apart have nothing to do with each other.
const REFUSALS_FORGOTTEN_AFTER: Duration = Duration::from_secs(60);
/// Attempts at the first key, for which somebody waits.
const FIRST_ATTEMPTS: u32 = 3;

/// The key of one or more stores. Copies share it.
#[derive(Clone)]
pub struct CredentialCache(Arc<Shared>);

struct Shared {
    clock: Clock,
    /// Std mutex: comparisons and copies of `Arc`s, never held across an await. Level 9 in the order of locks.
    state: Mutex<State>,
    /// Tokio's mutex: whoever has it asks the provider, and the others wait for what comes of it. Level 5 in the order of locks.
    asking: tokio::sync::Mutex<()>,
    /// Wakes the task in the background.
    wake: Arc<Notify>,
}

struct State {
    provider: Arc<dyn CredentialProvider>,
    key: Arc<CurrentKey>,
    asked_at: Instant,
    /// How the service has refused `key`, if it has.
    refused: Option<Suspicion>,
    /// How often in a row a key was refused, and when the last time.
    refusals: u32,
    refused_at: Option<Instant>,
    /// Since when the provider gives nothing, and why.
    failure: Option<(Instant, ProviderError)>,
}

/// How the key of a mount fares. The key itself is not in it.
#[derive(Clone, Debug)]
pub struct CredentialState {
    /// The id.
    pub secret_id: String,
    /// Where it comes from.
    pub origin: String,
    /// When it ends, by the clock of this machine; `None` if it does not.
    pub expires: Option<SystemTime>,
    /// Why there is no newer one, where there should be.
    pub problem: Option<String>,
}

/// A key as it is used.
#[derive(Debug)]
pub(super) struct CurrentKey {
    pub(super) credentials: Credentials,
    /// Counts up with each other key.
    pub(super) generation: u64,
    term: Option<Term>,
    /// As it was told, though it may be in the past.
    expires: Option<SystemTime>,
}

/// By the clock of this machine.
#[derive(Clone, Copy, Debug)]
struct Term {
    ends: SystemTime,
    renew_at: SystemTime,
    again: Duration,
}

/// What an answer says of the key that its request was signed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Suspicion {
    /// It is over.
    Over,
    /// It is not known, or not the one of that id.
    Unknown,
    /// One of these, or something else: an answer to HEAD says no more than that it is a refusal.
    Vague,
}

impl From<Credentials> for CredentialCache {
    /// A key that is never renewed.
    fn from(credentials: Credentials) -> CredentialCache {
        let provider = Arc::new(FixedKey::new(credentials.clone(), "the caller"));
        CredentialCache::of(provider, credentials.into(), Clock::System)
    }
}

impl fmt::Debug for CredentialCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CredentialCache").field(&self.0.state().key).finish()
    }
}

impl CredentialCache {
    /// Asks for the first key, and renews it from then on in a task of the runtime that this is called on, for as long as
    /// there is a copy.
    ///
    /// # Errors
    /// The provider's, after up to three attempts.
    pub async fn begin(provider: Arc<dyn CredentialProvider>, clock: Clock) -> Result<CredentialCache, ProviderError> {
        let mut attempts = 1;
        let issued = loop {
            match provider.provide().await {
                Ok(issued) => break issued,
                Err(error) if error.is_lasting || attempts == FIRST_ATTEMPTS => return Err(error),
                Err(_) => tokio::time::sleep(AGAIN_MIN).await,
            }
            attempts += 1;
        };
        let cache = CredentialCache::of(provider, issued, clock);
        tokio::spawn(keep_fresh(Arc::downgrade(&cache.0)));
        Ok(cache)
    }

    fn of(provider: Arc<dyn CredentialProvider>, issued: Issued, clock: Clock) -> CredentialCache {
        let Issued { credentials, expires } = issued;
        let key = Arc::new(CurrentKey { credentials, generation: 0, term: Term::until(expires, clock.now()), expires });
        let state = State {
            provider,
            key,
            asked_at: Instant::now(),
            refused: None,
            refusals: 0,
            refused_at: None,
            failure: None,
        };
        let (state, asking, wake) = (Mutex::new(state), tokio::sync::Mutex::default(), Arc::default());
        CredentialCache(Arc::new(Shared { clock, state, asking, wake }))
    }

    /// A sentence for the log: which id it is, where it comes from and when it ends.
    pub fn describe(&self) -> String {
        let state = self.0.state();
        let end = state.key.term.map_or_else(String::new, |term| format!(", until {}", date::iso_seconds(term.ends)));
        format!("the id {} from {}{end}", state.key.credentials.secret_id, state.provider.origin())
    }

    /// How it fares, for people who look.
    pub fn state(&self) -> CredentialState {
        let state = self.0.state();
        CredentialState {
            secret_id: state.key.credentials.secret_id.clone(),
            origin: state.provider.origin(),
            expires: state.key.term.map(|term| term.ends),
            problem: state.failure.as_ref().map(|(_, error)| error.to_string()),
        }
    }

    /// The id of the key.
    pub fn secret_id(&self) -> String {
        self.0.state().key.credentials.secret_id.clone()
    }

    /// Where the key comes from.
    pub fn origin(&self) -> String {
        self.0.state().provider.origin()
    }

    /// When the key ends, or has ended, where that is told.
    pub fn ends(&self) -> Option<SystemTime> {
        self.0.state().key.expires
    }

    /// Whether somebody gives another key before this one ends.
    pub fn can_renew(&self) -> bool {
        self.0.state().provider.can_renew()
    }

    /// What can be seen to be wrong with the key.
    pub fn flaw(&self) -> Option<KeyFlaw> {
        KeyFlaw::of(&self.0.state().key.credentials)
    }

    /// Asks another provider from now on, and at once. The key stays what it is until there is another.
    pub fn replace_provider(&self, provider: Arc<dyn CredentialProvider>) {
        self.0.state().provider = provider;
        self.renew_soon();
    }

    /// Asks the provider at once, in the background.
    pub fn renew_soon(&self) {
        let shared = self.0.clone();
        tokio::spawn(async move { drop(shared.renew(Instant::now()).await) });
    }

    /// The key to sign with. Waits only where the one that there is cannot be used.
    pub(super) async fn usable(&self) -> Result<Arc<CurrentKey>, ProviderError> {
        let arrived = Instant::now();
        if let Some(key) = self.0.good_key() {
            return Ok(key);
        }
        if !self.0.is_vague() {
            return self.0.renew(arrived).await;
        }
        // It need not be the key, so this does not wait for long, and what there is counts if nothing comes. The question is a
        // task, which goes on without whoever waited.
        let shared = self.0.clone();
        let asking = tokio::spawn(async move { shared.renew(arrived).await });
        match tokio::time::timeout(VAGUE_PATIENCE, asking).await {
            Ok(Ok(Ok(key))) => Ok(key),
            _ => Ok(self.0.believed_key()),
        }
    }

    /// Hears that a request was refused that was signed with a key. Returns whether the next one may be signed with another.
    pub(super) fn suspect(&self, generation: u64, suspicion: Suspicion) -> bool {
        let mut state = self.0.state();
        if state.key.generation != generation || state.refused.is_some() {
            return true;
        }
        if !state.provider.can_renew() || !state.may_ask_again(suspicion) {
            return false;
        }
        state.refused = Some(suspicion);
        state.refusals += 1;
        state.refused_at = Some(Instant::now());
        drop(state);
        self.0.wake.notify_one();
        true
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The key, if nothing speaks against it.
    fn good_key(&self) -> Option<Arc<CurrentKey>> {
        let state = self.state();
        let is_over = state.key.term.is_some_and(|term| term.ends <= self.clock.now());
        let is_bad = is_over && state.provider.can_renew() || state.refused.is_some();
        (!is_bad).then(|| state.key.clone())
    }

    /// Whether nothing but a refusal that may have another reason speaks against the key.
    fn is_vague(&self) -> bool {
        let state = self.state();
        let is_over = state.key.term.is_some_and(|term| term.ends <= self.clock.now());
        state.refused == Some(Suspicion::Vague) && !is_over
    }

    /// The key, against which nothing counts any more.
    fn believed_key(&self) -> Arc<CurrentKey> {
        let mut state = self.state();
        state.refused = None;
        state.key.clone()
    }

    /// Asks the provider, unless somebody else does since `arrived`: then what came of that counts.
    async fn renew(&self, arrived: Instant) -> Result<Arc<CurrentKey>, ProviderError> {
        let _turn = self.asking.lock().await;
        let provider = {
            let state = self.state();
            match &state.failure {
                Some((at, error)) if *at >= arrived || at.elapsed() < FAILED_FOR => return Err(error.clone()),
                _ if state.asked_at > arrived => return Ok(state.key.clone()),
                _ => state.provider.clone(),
            }
        };
        let provided = provider.provide().await;
        let mut state = self.state();
        match provided {
            Ok(issued) if state.is_over(&issued, self.clock.now()) => {
                let error = ProviderError::passing("it still gives the key that is over");
                state.note_failure(&error);
                Err(error)
            }
            Ok(issued) => {
                state.take_over(issued, self.clock.now());
                Ok(state.key.clone())
            }
            Err(error) => {
                state.note_failure(&error);
                Err(error)
            }
        }
    }

    /// How long the background may sleep.
    fn idle(&self) -> Duration {
        let state = self.state();
        let now = self.clock.now();
        let until = |at: SystemTime| at.duration_since(now).unwrap_or_default();
        let again = state.key.term.map_or(AGAIN_MAX, |term| term.again);
        let renewal = match (&state.failure, state.key.term) {
            (Some(_), _) => again,
            (None, Some(term)) => until(term.renew_at),
            (None, None) => LOOK_EVERY,
        };
        let asking =
            state.provider.ask_every().map_or(LOOK_EVERY, |span| span.saturating_sub(state.asked_at.elapsed()));
        renewal.min(asking.max(AGAIN_MIN)).min(LOOK_EVERY)
    }

    /// Whether it is time to ask.
    fn is_due(&self) -> bool {
        let state = self.state();
        let by_term = state.key.term.is_some_and(|term| term.renew_at <= self.clock.now());
        let by_habit = state.provider.ask_every().is_some_and(|span| state.asked_at.elapsed() >= span);
        state.provider.can_renew() && (by_term || by_habit || state.refused.is_some())
    }
}

impl State {
    fn may_ask_again(&mut self, suspicion: Suspicion) -> bool {
        if self.refused_at.is_some_and(|at| at.elapsed() >= REFUSALS_FORGOTTEN_AFTER) {
            self.refusals = 0;
        }
        let doubled = |refusals: u32| REFUSED_PAUSE * (1 << (refusals - 1).min(REFUSED_DOUBLINGS_MAX));
        let pause = if self.refusals == 0 { Duration::ZERO } else { doubled(self.refusals) };
        let pause = if suspicion == Suspicion::Vague { pause.max(VAGUE_AFTER) } else { pause };
        self.asked_at.elapsed() >= pause
    }

    /// Whether this is the same key as before, and that one has ended.
    fn is_over(&self, issued: &Issued, now: SystemTime) -> bool {
        let has_ended = self.key.term.is_some_and(|term| term.ends <= now) || self.refused == Some(Suspicion::Over);
        has_ended && issued.credentials == self.key.credentials && Term::until(issued.expires, now).is_none()
    }

    fn take_over(&mut self, issued: Issued, now: SystemTime) {
        let Issued { credentials, expires } = issued;
        let is_other = credentials != self.key.credentials;
        let generation = self.key.generation + u64::from(is_other);
        let term = Term::until(expires, now);
        if is_other {
            let end = term.map_or_else(String::new, |term| format!(", until {}", date::iso_seconds(term.ends)));
            log::info!("requests are signed with the id {} from now on{end}", credentials.secret_id);
        }
        self.key = Arc::new(CurrentKey { credentials, generation, term, expires });
        self.asked_at = Instant::now();
        self.refused = None;
        self.failure = None;
    }

    fn note_failure(&mut self, error: &ProviderError) {
        if self.failure.is_none() {
            let id = &self.key.credentials.secret_id;
            log::warn!(
                "no new key from {}: {error}; the id {id} is used as long as it is good",
                self.provider.origin()
            );
        }
        self.failure = Some((Instant::now(), error.clone()));
    }
}

impl Term {
    /// `None` where nothing is told, and where the key is over when it comes: one of the two clocks is wrong then, and the
    /// service will say whether the key is.
    fn until(expires: Option<SystemTime>, now: SystemTime) -> Option<Term> {
        let ends = expires?;
        let life = ends.duration_since(now).ok().filter(|life| !life.is_zero())?;
        let ahead = (life / AHEAD_PART).min(AHEAD_MAX);
        Some(Term { ends, renew_at: ends - ahead, again: (ahead / AGAIN_PART).clamp(AGAIN_MIN, AGAIN_MAX) })
    }
}

/// Renews ahead of the end, until nobody has the cache any more.
async fn keep_fresh(cache: Weak<Shared>) {
    loop {
        let Some((idle, wake)) = cache.upgrade().map(|shared| (shared.idle(), shared.wake.clone())) else { return };
        let _ = tokio::time::timeout(idle, wake.notified()).await;
        let Some(shared) = cache.upgrade() else { return };
        if shared.is_due() {
            // Said by whoever asked.
            let _ = shared.renew(Instant::now()).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use async_trait::async_trait;

    use super::*;

    const NOW: u64 = 1_700_000_000;

    /// Gives what it was told to, and then fails.
    #[derive(Debug)]
    struct Scripted {
        answers: Mutex<VecDeque<Result<Issued, ProviderError>>>,
        asked: Mutex<u32>,
        takes: Duration,
        every: Option<Duration>,
    }

    #[async_trait]
    impl CredentialProvider for Scripted {
        fn origin(&self) -> String {
            "the test".into()
        }

        async fn provide(&self) -> Result<Issued, ProviderError> {
            *self.asked.lock().unwrap() += 1;
            tokio::time::sleep(self.takes).await;
            let next = self.answers.lock().unwrap().pop_front();
            next.unwrap_or_else(|| Err(ProviderError::passing("down")))
        }

        fn ask_every(&self) -> Option<Duration> {
            self.every
        }
    }

    /// A key of that number, which ends so many seconds after the clock of the tests begins.
    fn key(number: u32, ends: impl Into<Option<u64>>) -> Result<Issued, ProviderError> {
        let credentials = Credentials { secret_id: format!("id{number}"), secret_key: "k".into(), token: None };
        let expires = ends.into().map(|ends| SystemTime::UNIX_EPOCH + Duration::from_secs(NOW + ends));
        Ok(Issued { credentials, expires })
    }

    struct Bed {
        clock: Clock,
        provider: Arc<Scripted>,
        cache: CredentialCache,
    }

    impl Bed {
        async fn new(answers: impl IntoIterator<Item = Result<Issued, ProviderError>>) -> Bed {
            Bed::with(answers, Duration::ZERO, None).await
        }

        async fn with(
            answers: impl IntoIterator<Item = Result<Issued, ProviderError>>,
            takes: Duration,
            every: Option<Duration>,
        ) -> Bed {
            let (clock, answers) = (Clock::manual(NOW), Mutex::new(answers.into_iter().collect()));
            let provider = Arc::new(Scripted { answers, asked: Mutex::new(0), takes, every });
            let cache = CredentialCache::begin(provider.clone(), clock.clone()).await.unwrap();
            Bed { clock, provider, cache }
        }

        fn answers_next(&self, answer: Result<Issued, ProviderError>) {
            self.provider.answers.lock().unwrap().push_back(answer);
        }

        /// Lets time pass, for the clock and for those who wait.
        async fn pass(&self, milliseconds: u64) {
            for _ in 0..milliseconds / 100 {
                self.clock.advance(Duration::from_millis(100));
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }

        async fn id(&self) -> Result<String, ProviderError> {
            self.cache.usable().await.map(|key| key.credentials.secret_id.clone())
        }

        fn asked(&self) -> u32 {
            *self.provider.asked.lock().unwrap()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_is_renewed_ahead_of_its_end_in_the_background() {
        let bed = Bed::new([key(1, 60), key(2, 120)]).await;
        bed.pass(53_000).await;
        assert_eq!(bed.cache.secret_id(), "id1");
        bed.pass(2_000).await;
        assert_eq!((bed.cache.secret_id(), bed.asked()), ("id2".into(), 2));
        let long = Bed::new([key(1, 7200), key(2, 14_400)]).await;
        long.pass(6_590_000).await;
        assert_eq!((long.cache.secret_id(), long.asked()), ("id1".into(), 1));
        long.pass(40_000).await;
        assert_eq!(long.cache.secret_id(), "id2");
    }

    #[tokio::test(start_paused = true)]
    async fn a_provider_that_is_down_holds_up_nobody_until_the_key_ends() {
        let bed = Bed::with([key(1, 60)], Duration::from_secs(3), None).await;
        bed.pass(56_000).await;
        assert!(bed.asked() >= 2, "it is tried ahead");
        let began = Instant::now();
        assert_eq!((bed.id().await, began.elapsed()), (Ok("id1".into()), Duration::ZERO), "and nobody waits for it");
        bed.pass(8_000).await;
        assert!(bed.id().await.unwrap_err().message.contains("down"), "the key is over");
        bed.answers_next(key(2, 120));
        bed.pass(5_000).await;
        assert_eq!(bed.id().await, Ok("id2".into()), "it is asked until it answers");
    }

    #[tokio::test(start_paused = true)]
    async fn one_asks_for_all_who_need_another_key() {
        let bed = Bed::with([key(1, None), key(2, None)], Duration::from_secs(1), None).await;
        let refused = bed.cache.usable().await.unwrap().generation;
        for _ in 0..5 {
            assert!(bed.cache.suspect(refused, Suspicion::Unknown));
        }
        let waiting = (0..5).map(|_| bed.id());
        let ids = futures_util::future::join_all(waiting).await;
        assert!(ids.iter().all(|id| *id == Ok("id2".into())), "{ids:?}");
        assert_eq!(bed.asked(), 2);
        assert!(bed.cache.suspect(refused, Suspicion::Unknown), "there is a newer one already");
        assert_eq!((bed.id().await, bed.asked()), (Ok("id2".into()), 2));
        // Failures are shared as well.
        let refused = bed.cache.usable().await.unwrap().generation;
        bed.pass(1_000).await;
        assert!(bed.cache.suspect(refused, Suspicion::Unknown));
        let failed = futures_util::future::join_all((0..5).map(|_| bed.id())).await;
        assert!(failed.iter().all(Result::is_err) && bed.asked() == 3, "{failed:?} {}", bed.asked());
    }

    /// A service that refuses whatever it is shown does not make the provider be asked for each request.
    #[tokio::test(start_paused = true)]
    async fn keys_that_are_refused_again_and_again_are_asked_for_less_and_less() {
        let bed = Bed::new((1..1000).map(|number| key(number, None))).await;
        for _ in 0..600 {
            let generation = bed.cache.usable().await.unwrap().generation;
            bed.cache.suspect(generation, Suspicion::Unknown);
            bed.pass(100).await;
        }
        assert!((5..=9).contains(&bed.asked()), "{} questions in a minute", bed.asked());
        let vague = Bed::new((1..1000).map(|number| key(number, None))).await;
        for _ in 0..600 {
            let generation = vague.cache.usable().await.unwrap().generation;
            vague.cache.suspect(generation, Suspicion::Vague);
            vague.pass(100).await;
        }
        assert!((2..=3).contains(&vague.asked()), "{} questions in a minute", vague.asked());
    }

    #[tokio::test(start_paused = true)]
    async fn keys_that_change_without_a_word_are_looked_at_now_and_then() {
        let every = Some(Duration::from_secs(10));
        let bed = Bed::with([key(1, None), key(1, None), key(2, None)], Duration::ZERO, every).await;
        bed.pass(11_000).await;
        assert_eq!((bed.cache.secret_id(), bed.asked()), ("id1".into(), 2));
        bed.pass(10_000).await;
        assert_eq!(bed.cache.secret_id(), "id2");
        let idle = Bed::new([key(1, None)]).await;
        idle.pass(100_000).await;
        assert_eq!(idle.asked(), 1);
    }

    /// The clock of this machine, or of whoever issues keys, is an hour off: the service decides whether the key is over.
    #[tokio::test(start_paused = true)]
    async fn a_key_that_is_over_when_it_comes_is_tried() {
        let bed = Bed::new([Ok(Issued { expires: Some(SystemTime::UNIX_EPOCH), ..key(1, None).unwrap() })]).await;
        assert_eq!((bed.id().await, bed.asked()), (Ok("id1".into()), 1));
        bed.pass(100_000).await;
        assert_eq!((bed.id().await, bed.asked()), (Ok("id1".into()), 1));
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_key_is_asked_for_three_times_and_not_at_all_where_that_is_of_no_use() {
        for (error, expected) in [(ProviderError::passing("down"), 3), (ProviderError::lasting("no such role"), 1)] {
            let answers = Mutex::new(std::iter::repeat_n(Err(error.clone()), 9).collect());
            let provider = Arc::new(Scripted { answers, asked: Mutex::new(0), takes: Duration::ZERO, every: None });
            let failed = CredentialCache::begin(provider.clone(), Clock::System).await;
            assert_eq!((failed.unwrap_err(), *provider.asked.lock().unwrap()), (error, expected));
        }
    }

    /// Whoever puts keys into a file may be late.
    #[tokio::test(start_paused = true)]
    async fn a_key_that_is_over_and_given_again_is_waited_for_like_no_key() {
        let bed = Bed::new([key(1, 60), key(1, 60), key(1, 60)]).await;
        bed.pass(61_000).await;
        assert!(bed.id().await.is_err());
        bed.answers_next(key(2, 120));
        bed.pass(2_000).await;
        assert_eq!(bed.id().await, Ok("id2".into()));
        // Of a key whose end nobody tells the service says it.
        let bed = Bed::new([key(1, None), key(1, None), key(2, None)]).await;
        assert!(bed.cache.suspect(0, Suspicion::Over));
        assert!(bed.id().await.unwrap_err().message.contains("still gives the key that is over"));
        bed.pass(1_000).await;
        assert_eq!(bed.id().await, Ok("id2".into()));
        // What is unknown may be so for another reason.
        let bed = Bed::new([key(1, None), key(1, None)]).await;
        assert!(bed.cache.suspect(0, Suspicion::Unknown));
        assert_eq!(bed.id().await, Ok("id1".into()));
    }

    /// A policy that denies, while the provider is down, must not make anybody wait for it.
    #[tokio::test(start_paused = true)]
    async fn a_refusal_that_may_have_another_reason_makes_nobody_wait_for_long() {
        let bed = Bed::with([key(1, None)], Duration::from_secs(9), None).await;
        bed.pass(31_000).await;
        assert!(bed.cache.suspect(0, Suspicion::Vague));
        let began = Instant::now();
        assert_eq!((bed.id().await, bed.asked()), (Ok("id1".into()), 2));
        assert!(began.elapsed() <= VAGUE_PATIENCE, "{:?}", began.elapsed());
        assert_eq!((bed.id().await, bed.asked()), (Ok("id1".into()), 2), "and this one does not wait at all");
    }

    #[test]
    fn nothing_of_a_cache_that_is_shown_is_a_secret() {
        let secret =
            Credentials { secret_id: "ours".into(), secret_key: "hunter2".into(), token: Some("hunter2".into()) };
        let cache = CredentialCache::from(secret);
        let shown = format!("{cache:?} {}", cache.describe());
        assert!(shown.contains("ours") && !shown.contains("hunter2"), "{shown}");
    }
}
