//! Faults on purpose: which request is struck by which rule of a plan, and what becomes of it.
//!
//! [`Faults::strike`] chooses; `request` and `answer` do the damage. Chance has one source for each rule, which is asked
//! once for each request that the rule is about, so that the same requests in the same order meet the same faults. A
//! service without a plan has none of this and asks only whether there is one.

mod answer;
mod body;
mod plan;
mod request;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use wildmatch::WildMatch;

use crate::wire::operation::Operation;
use crate::wire::request::Headers;

pub(super) use answer::BodyDamage;
pub(super) use body::FaultyBody;
pub use plan::{Fault, FaultPlan, FaultRule, FaultWhen, FixedAnswer, Moment, PageFault, Side};
pub(super) use request::BodyFault;

/// The rules of one service, and how far each has come.
pub(super) struct Faults {
    /// Std mutex: a walk over the rules. Level 8 in the order of locks.
    rules: Mutex<Vec<Rule>>,
}

/// A rule and its count.
struct Rule {
    rule: FaultRule,
    key: Option<WildMatch>,
    /// Requests that it was about.
    seen: u64,
    /// Those that it struck.
    struck: u64,
    random: fastrand::Rng,
    pace: Allowance,
}

/// Requests that may still come, of so many a second.
struct Allowance {
    left: f64,
    since: Instant,
}

/// A fault that strikes one request.
pub(super) struct Struck {
    pub fault: Fault,
    /// Where in the request or its answer.
    pub random: fastrand::Rng,
}

impl Faults {
    pub(super) fn new(plan: FaultPlan) -> Faults {
        let numbered = plan.rules.into_iter().zip(0_u64..);
        let rules = numbered.map(|(rule, number)| {
            let random = fastrand::Rng::with_seed(plan.seed ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
            let key = rule.key.as_deref().map(WildMatch::new);
            let left = if let Fault::Throttle(rate) = rule.fault { rate.max(1.0) } else { 0.0 };
            Rule { rule, key, seen: 0, struck: 0, random, pace: Allowance { left, since: Instant::now() } }
        });
        Faults { rules: Mutex::new(rules.collect()) }
    }

    /// The fault that this request meets. Rules behind the one that strikes it do not hear of it.
    pub(super) fn strike(&self, operation: &Operation, headers: Headers<'_>) -> Option<Struck> {
        let mut rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        rules.iter_mut().find_map(|rule| rule.strike(operation, headers))
    }
}

impl Rule {
    fn strike(&mut self, operation: &Operation, headers: Headers<'_>) -> Option<Struck> {
        let has = |name: &str| headers.get(name).is_some();
        if !self.is_about(operation) || self.rule.without.as_deref().is_some_and(has) {
            return None;
        }
        self.seen += 1;
        // Drawn for each, struck or not, so that a limit moves nothing.
        let mut random = self.random.fork();
        let is_chosen = match self.rule.when {
            FaultWhen::Always => true,
            FaultWhen::Nth(nth) => self.seen == nth,
            FaultWhen::From(first) => self.seen >= first,
            FaultWhen::Probability(probability) => random.f64() < probability,
        };
        let strikes = is_chosen && self.rule.limit.is_none_or(|limit| self.struck < limit) && self.is_too_fast();
        if !strikes {
            return None;
        }
        self.struck += 1;
        Some(Struck { fault: self.rule.fault.clone(), random })
    }

    fn is_about(&self, operation: &Operation) -> bool {
        let FaultRule { ops, part, .. } = &self.rule;
        let (key, number) = match operation {
            Operation::ListObjects(list) => (list.prefix.as_str(), None),
            Operation::UploadPart(part) => (part.key.as_str(), Some(part.number.get())),
            Operation::UploadPartCopy(part) => (part.key.as_str(), Some(part.number.get())),
            other => (other.key().map_or("", |key| key.as_str()), None),
        };
        (ops.is_empty() || ops.contains(&operation.op()))
            && self.key.as_ref().is_none_or(|pattern| pattern.matches(key))
            && (part.is_none() || *part == number)
    }

    /// Whether a rule that throttles has let as many pass as it may; others have nothing to do with it.
    fn is_too_fast(&mut self) -> bool {
        let Fault::Throttle(rate) = self.rule.fault else { return true };
        let Allowance { left, since } = &mut self.pace;
        // A second's worth may come at once.
        *left = (*left + since.elapsed().min(Duration::from_secs(60)).as_secs_f64() * rate).min(rate.max(1.0));
        *since = Instant::now();
        if *left < 1.0 {
            return true;
        }
        *left -= 1.0;
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::ObjectKey;
    use crate::wire::Op;
    use crate::wire::operation::{GetObject, HeadObject, ListObjects};

    fn rule(ops: &[Op], when: FaultWhen) -> FaultRule {
        FaultRule {
            ops: ops.to_vec(),
            key: None,
            part: None,
            without: None,
            when,
            limit: None,
            fault: Fault::WrongEtag,
        }
    }

    fn get(key: &str) -> Operation {
        Operation::GetObject(GetObject::new(ObjectKey::new(key).unwrap(), None))
    }

    /// Which of a hundred requests are struck.
    fn strikes(rules: &[FaultRule], seed: u64) -> Vec<usize> {
        let faults = Faults::new(FaultPlan { seed, rules: rules.to_vec() });
        (1..=100).filter(|_| faults.strike(&get("a/b"), Headers(&[])).is_some()).collect()
    }

    #[test]
    fn the_same_seed_and_order_meet_the_same_faults() {
        let by_chance = [rule(&[], FaultWhen::Probability(0.1))];
        let once = strikes(&by_chance, 7);
        assert!((3..25).contains(&once.len()), "{once:?}");
        assert_eq!(once, strikes(&by_chance, 7));
        assert_ne!(once, strikes(&by_chance, 8));
    }

    #[test]
    fn rules_count_what_they_are_about() {
        assert_eq!(strikes(&[rule(&[Op::GetObject], FaultWhen::Nth(3))], 0), [3]);
        assert_eq!(strikes(&[rule(&[Op::PutObject], FaultWhen::Always)], 0), [0; 0]);
        let limited = FaultRule { limit: Some(2), ..rule(&[], FaultWhen::From(98)) };
        assert_eq!(strikes(std::slice::from_ref(&limited), 0), [98, 99]);
        // The second does not see what the first has struck.
        let second = rule(&[], FaultWhen::Nth(98));
        assert_eq!(strikes(&[limited, second], 0), [98, 99, 100]);
    }

    #[test]
    fn keys_fit_patterns_and_listings_have_their_prefix() {
        let below = FaultRule { key: Some("a/*.txt".into()), ..rule(&[], FaultWhen::Always) };
        let faults = Faults::new(FaultPlan { seed: 0, rules: vec![below] });
        let list =
            |prefix: &str| Operation::ListObjects(ListObjects { prefix: prefix.into(), ..ListObjects::default() });
        let head = Operation::HeadObject(HeadObject::new(ObjectKey::new("a/x/y.txt").unwrap()));
        assert!(faults.strike(&head, Headers(&[])).is_some());
        assert!(faults.strike(&get("b.txt"), Headers(&[])).is_none());
        assert!(faults.strike(&list("a/.txt"), Headers(&[])).is_some());
        assert!(faults.strike(&list("a/"), Headers(&[])).is_none());
    }

    #[test]
    fn a_rule_may_be_about_what_has_no_such_header() {
        let bare = FaultRule { without: Some("x-cos-acl".into()), ..rule(&[], FaultWhen::Always) };
        let faults = Faults::new(FaultPlan { seed: 0, rules: vec![bare] });
        assert!(faults.strike(&get("a"), Headers(&[("X-Cos-Acl", "private")])).is_none());
        assert!(faults.strike(&get("a"), Headers(&[("x-cos-meta-a", "b")])).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_too_fast_is_throttled() {
        let throttle = FaultRule { fault: Fault::Throttle(10.0), ..rule(&[], FaultWhen::Always) };
        let faults = Faults::new(FaultPlan { seed: 0, rules: vec![throttle] });
        let struck = || (0..100).filter(|_| faults.strike(&get("a"), Headers(&[])).is_some()).count();
        assert_eq!(struck(), 90);
        tokio::time::advance(Duration::from_millis(500)).await;
        assert_eq!(struck(), 95);
    }
}
