//! Whether the service answers, knows the key, and has the bucket: one question, taken apart.

use std::time::{Duration, SystemTime};

use tokio::time::timeout;

use super::report::Finding;
use crate::cli::diagnosis::{self, Diagnosis, Subject};
use crate::cli::topic::Topic;
use crate::store::{BucketFacts, CredentialCache, HttpStore};
use crate::wire::address::region_name;
use crate::wire::date;

/// The longest that the question may take, with all that is asked to make the answer better.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(12);

/// Clocks that differ by less are taken for equal; beyond the second the service refuses what is signed by the wrong one.
const CLOCK_NOTED_SECONDS: u64 = 30;
const CLOCK_REFUSED_SECONDS: u64 = 15 * 60;

/// A key that ends so soon is worth a word.
const ENDS_SOON: Duration = Duration::from_secs(3600);

/// What one question finds out, in the order in which it would fail.
const ORDER: [Topic; 6] = [Topic::Tls, Topic::Service, Topic::Clock, Topic::Credentials, Topic::Region, Topic::Bucket];

/// Asks for the bucket. What comes after a failure is left out.
pub(super) async fn check(store: &HttpStore, subject: &Subject) -> Vec<Finding> {
    let asked = timeout(ANSWER_TIMEOUT, diagnosis::check_bucket(store, subject)).await;
    let (facts, failed) = match asked.unwrap_or_else(|_| Err(diagnosis::no_answer(subject))) {
        Ok(facts) => (facts, None),
        Err(failed) => (None, Some(as_an_answer(failed))),
    };
    let passed = match failed.as_ref().map(|failed| failed.topic) {
        // The bucket is there, and only its listing is not for this key.
        None | Some(Topic::List | Topic::Prefix) => ORDER.len(),
        Some(topic) => ORDER.iter().position(|other| *other == topic).unwrap_or(0),
    };
    let well = |topic: &Topic| well(*topic, store, subject, facts.as_ref());
    let mut findings: Vec<Finding> = ORDER[..passed].iter().filter_map(well).collect();
    if let Some(failed) = failed {
        // A clock that is off explains much; it is told before what it may have caused.
        let is_clock_told = ORDER[..passed].contains(&Topic::Clock) || failed.topic == Topic::Clock;
        findings.extend(well(&Topic::Clock).filter(|_| !is_clock_told));
        let is_before_key = matches!(failed.topic, Topic::Proxy | Topic::Tls | Topic::Service);
        findings.push(failed.into());
        findings.extend(is_before_key.then(|| untried_key(store.credentials(), subject)));
    }
    findings
}

/// A connection was made before, so what breaks now is the answer.
fn as_an_answer(failed: Diagnosis) -> Diagnosis {
    match failed.topic {
        Topic::Dns | Topic::Tcp => Diagnosis { topic: Topic::Service, ..failed },
        _ => failed,
    }
}

/// What is to be said of something that did not fail.
fn well(topic: Topic, store: &HttpStore, subject: &Subject, facts: Option<&BucketFacts>) -> Option<Finding> {
    let Subject { origin, source, dialect, .. } = subject;
    Some(match topic {
        Topic::Tls if origin.starts_with("https://") => {
            Finding::ok(topic, "encrypted, with a certificate that this machine believes")
        }
        Topic::Tls => Finding::ok(topic, "none, as the endpoint says (http)"),
        Topic::Service => {
            let addressing = dialect.addressing().map(|how| format!(": {how}")).unwrap_or_default();
            Finding::ok(topic, format!("{origin} answers as {} does{addressing}", dialect.name()))
        }
        Topic::Clock => clock(store.clock_ahead()?),
        Topic::Credentials => key(store.credentials(), subject),
        Topic::Region => region(facts, subject)?,
        _ => Finding::ok(topic, format!("{} is there", source.bucket)),
    })
}

fn clock(ahead: i64) -> Finding {
    let apart = ahead.unsigned_abs();
    if apart < CLOCK_NOTED_SECONDS {
        return Finding::ok(Topic::Clock, format!("within {} s of the service's", apart + 1));
    }
    let span = match apart {
        0..7200 => format!("{} min", apart.div_ceil(60)),
        _ => format!("{} h", (apart + 1800) / 3600),
    };
    let side = if ahead > 0 { "behind" } else { "ahead of" };
    let more = match apart >= CLOCK_REFUSED_SECONDS {
        true => {
            ": requests are signed by the service's clock instead, but certificates, keys that end and times of files suffer"
        }
        false => "",
    };
    let detail = format!("this machine's clock is wrong: {span} {side} the service's{more}");
    Finding::warning(Topic::Clock, detail).fixed_by("timedatectl set-ntp true")
}

/// Which key it is, where the service was not asked.
pub(super) fn untried_key(credentials: &CredentialCache, subject: &Subject) -> Finding {
    let found = key(credentials, subject);
    Finding { detail: format!("{}; no service has heard of it", found.detail), ..found }
}

/// Which key it is, and until when.
fn key(credentials: &CredentialCache, subject: &Subject) -> Finding {
    let told = format!("the id {} from {}", subject.secret_id, subject.key_origin);
    let Some(ends) = credentials.ends() else { return Finding::ok(Topic::Credentials, told) };
    let detail = format!("{told}, until {}", date::iso_seconds(ends));
    let left = ends.duration_since(SystemTime::now());
    match left {
        Ok(left) if left > ENDS_SOON || credentials.can_renew() => Finding::ok(Topic::Credentials, detail),
        Ok(_) => Finding::warning(Topic::Credentials, format!("{detail}, and nobody gives another one then")).fixed_by(
            "get keys from where they are renewed: --cam-role, credential_process, or a file that is kept fresh",
        ),
        Err(_) => Finding::warning(Topic::Credentials, format!("{detail}, which is over by this machine's clock"))
            .fixed_by("timedatectl set-ntp true, or a new key"),
    }
}

/// Where the bucket is, where the service tells.
fn region(facts: Option<&BucketFacts>, subject: &Subject) -> Option<Finding> {
    let told = facts?.region.as_deref()?;
    Some(match &subject.region {
        Some(said) if region_name(said) != told => {
            let detail = format!("the bucket is in {told}, and --region says {said}, which --endpoint overrules");
            Finding::warning(Topic::Region, detail).fixed_by(format!("--region {told}"))
        }
        _ => Finding::ok(Topic::Region, told),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::report::Status;

    #[test]
    fn a_clock_is_told_with_its_side() {
        let table = [
            (0, Status::Ok, "within 1 s"),
            (-29, Status::Ok, "within 30 s"),
            (300, Status::Warning, "5 min behind the service's"),
            (-10_800, Status::Warning, "3 h ahead of the service's: requests are signed"),
        ];
        for (ahead, status, expected) in table {
            let finding = clock(ahead);
            assert!(finding.status == status && finding.detail.contains(expected), "{finding:?}");
        }
    }
}
