//! What is worth knowing of a bucket that can be used: rules, leftovers, versions, and how far away it is.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::probe::{self, NAME};
use super::report::{Finding, shown_time};
use crate::cli::diagnosis::Subject;
use crate::cli::mount_point::{self, MountEntry};
use crate::cli::topic::Topic;
use crate::cli::uploads;
use crate::config::MountConfig;
use crate::journal::HIDDEN_DIRECTORY;
use crate::object::UploadId;
use crate::store::{HttpStore, ListRequest, ListedUpload, ObjectStore, StoreError, StoreErrorKind};
use crate::wire::answer::{Lifecycle, Versioning};

/// The longest that looking for leftovers may take: a bucket may have very many.
const LEFTOVERS_TIMEOUT: Duration = Duration::from_secs(5);

/// Requests that latency is judged by.
const LATENCY_REQUESTS: usize = 5;
/// Each file that is opened or listed costs one or two requests; from here on that is felt.
const LATENCY_NOTED: Duration = Duration::from_millis(250);
/// After so long there have been enough requests.
const LATENCY_TIMEOUT: Duration = Duration::from_secs(5);

/// Whether something ends unfinished uploads, and whether something ends or hides objects.
pub(super) async fn lifecycle(store: &HttpStore, subject: &Subject) -> Finding {
    match store.lifecycle().await {
        Ok(lifecycle) => judge_lifecycle(&lifecycle, subject),
        Err(error) => not_told(Topic::Lifecycle, &error, subject),
    }
}

fn judge_lifecycle(lifecycle: &Lifecycle, subject: &Subject) -> Finding {
    let prefix = &subject.source.prefix;
    let named = |id: &str| if id.is_empty() { String::new() } else { format!(" ({id})") };
    let uploads = match lifecycle.abort_days(prefix) {
        Some(days) => Finding::ok(Topic::Lifecycle, format!("unfinished uploads are aborted after {days} days")),
        None => {
            let detail = "no rule of the bucket ends unfinished uploads, whose parts are stored and paid for";
            let fix = format!(
                "in the console, a lifecycle rule that deletes incomplete multipart uploads after 7 days; or now and \
                 then: cosmount uploads abort {} --older-than 7d",
                subject.source
            );
            Finding::warning(Topic::Lifecycle, detail).fixed_by(fix)
        }
    };
    let deleting = lifecycle.deleting(prefix).map(|rule| {
        let detail = format!("a rule{} deletes objects here when they grow old", named(&rule.id));
        Finding::warning(Topic::Lifecycle, detail).fixed_by("take the rule away, or mount another prefix")
    });
    let archiving = lifecycle.archiving(prefix).map(|(rule, class)| {
        let detail = format!("a rule{} moves objects to {class}, where they cannot be read", named(&rule.id));
        Finding::warning(Topic::Lifecycle, detail).fixed_by("take the transition away, or mount another prefix")
    });
    [deleting, archiving].into_iter().flatten().fold(uploads, Finding::and)
}

/// Whether older versions are kept, which every change of a file makes another one of.
pub(super) async fn versioning(store: &HttpStore, subject: &Subject) -> Finding {
    match store.versioning().await {
        Ok(Versioning::Never) => Finding::ok(Topic::Versioning, "off: no older versions are kept"),
        Ok(Versioning::Suspended) => Finding::ok(Topic::Versioning, "suspended: only versions from before are kept"),
        Ok(Versioning::Enabled) => {
            let detail = "on: each change of a file keeps the older version, which is stored and paid for";
            let fix = "suspend it in the console, or set a lifecycle rule that deletes older versions";
            Finding::warning(Topic::Versioning, detail).fixed_by(fix)
        }
        Err(error) => not_told(Topic::Versioning, &error, subject),
    }
}

/// What a key need not know for a mount to work is not told where it may not.
fn not_told(topic: Topic, error: &StoreError, subject: &Subject) -> Finding {
    let op = error.op.map_or("it", crate::store::Op::name);
    match error.kind {
        StoreErrorKind::Denied => Finding::skipped(topic, &format!("{op} is denied to the id {}", subject.secret_id)),
        StoreErrorKind::Unsupported => Finding::skipped(topic, &format!("{} does not do {op}", subject.origin)),
        _ => probe::refused(topic, error, subject),
    }
}

/// What mounts that were killed have left in the bucket and on this machine. Keys that begin with `own` are this check's.
pub(super) async fn leftovers(store: &HttpStore, subject: &Subject, config: &MountConfig, own: &str) -> Finding {
    let looked = timeout(LEFTOVERS_TIMEOUT, in_bucket(store, subject, config, own)).await;
    let found = match looked {
        Ok(Ok(found)) => found,
        Ok(Err(error)) if error.kind == StoreErrorKind::Denied => probe::refused(Topic::Leftovers, &error, subject),
        Ok(Err(error)) => not_told(Topic::Leftovers, &error, subject),
        Err(_) => Finding::warning(Topic::Leftovers, "so many unfinished uploads that they cannot be counted in time")
            .fixed_by(format!("cosmount uploads list {}", subject.source)),
    };
    dead_mounts().await.into_iter().fold(found, Finding::and)
}

async fn in_bucket(
    store: &HttpStore,
    subject: &Subject,
    config: &MountConfig,
    own: &str,
) -> Result<Finding, StoreError> {
    let prefix = &subject.source.prefix;
    let is_own = |key: &str| !own.is_empty() && key.starts_with(own);
    let mut listed = store.list_uploads(prefix).await?;
    listed.retain(|upload| !is_own(&upload.key));
    let [living, dead] = uploads::known(&subject.origin, config).unwrap_or_default();
    let now = store.service_time();
    let age = |upload: &ListedUpload| now.duration_since(upload.initiated).unwrap_or_default();
    let uploads = judge_uploads(&listed, &living, &dead, age, subject);
    let page = |name: &str| ListRequest {
        prefix: format!("{prefix}{name}"),
        delimited: false,
        max_keys: Some(1000),
        ..ListRequest::default()
    };
    let hidden = store.list(page(&format!("{HIDDEN_DIRECTORY}/"))).await?.objects.len();
    let mut probes = store.list(page(NAME)).await?.objects;
    probes.retain(|probe| !is_own(&probe.key));
    let hidden = (hidden > 0).then(|| {
        let detail =
            format!("{hidden} objects below {prefix}{HIDDEN_DIRECTORY}/, of files that were removed while open");
        Finding::warning(Topic::Leftovers, detail)
            .fixed_by("the next mount removes what one that was killed here has left")
    });
    let probes = probes.first().map(|first| {
        let detail = format!("{} objects of checks that were killed, as {}", probes.len(), first.key);
        Finding::warning(Topic::Leftovers, detail).fixed_by(format!("remove what begins with {prefix}{NAME}"))
    });
    Ok([hidden, probes].into_iter().flatten().fold(uploads, Finding::and))
}

fn judge_uploads(
    listed: &[ListedUpload],
    living: &HashSet<UploadId>,
    dead: &HashSet<UploadId>,
    age: impl Fn(&ListedUpload) -> Duration,
    subject: &Subject,
) -> Finding {
    let source = &subject.source;
    let others: Vec<&ListedUpload> = listed.iter().filter(|upload| !living.contains(&upload.upload)).collect();
    let Some(oldest) = others.iter().map(|upload| age(upload)).max() else {
        let at_work =
            if listed.is_empty() { String::new() } else { format!(", but {} of mounts that live", listed.len()) };
        return Finding::ok(Topic::Leftovers, format!("no unfinished uploads{at_work}"));
    };
    let killed = others.iter().filter(|upload| dead.contains(&upload.upload)).count();
    let count = others.len();
    let plural = if count == 1 { "" } else { "s" };
    let whose = match killed {
        0 => "that no mount on this machine is about".to_owned(),
        killed if killed == count => "of mounts that were killed here".to_owned(),
        killed => format!("that no mount on this machine is about, {killed} of them of mounts that were killed here"),
    };
    let detail = format!("{count} unfinished upload{plural} {whose}, begun up to {} ago", uploads::age_of(oldest));
    let fix = match killed == count {
        true => format!("the next mount ends them, or: cosmount uploads abort {source} --mine"),
        false => format!(
            "cosmount uploads list {source}; others may be at work: cosmount uploads abort {source} --older-than 1d"
        ),
    };
    Finding::warning(Topic::Leftovers, detail).fixed_by(fix)
}

/// Mounts of this program whose process has ended.
async fn dead_mounts() -> Option<Finding> {
    // One that hangs holds up who asks.
    let looked = tokio::task::spawn_blocking(|| {
        let ours = mount_point::all().into_iter().filter(MountEntry::may_be_ours);
        ours.map(|entry| entry.mount_point).filter(|place| mount_point::is_dead(place)).collect::<Vec<_>>()
    });
    let dead = timeout(LEFTOVERS_TIMEOUT, looked).await.ok()?.ok()?;
    let first = dead.first()?.display();
    let detail = match dead.len() {
        1 => format!("{first} is a mount whose process has ended"),
        count => format!("{count} mounts here have no process any more, as {first}"),
    };
    Some(Finding::warning(Topic::Leftovers, detail).fixed_by(format!("cosmount unmount {first}")))
}

/// How long one small request takes, by several.
pub(super) async fn latency(store: &HttpStore, subject: &Subject) -> Finding {
    let mut took = Vec::with_capacity(LATENCY_REQUESTS);
    let began = Instant::now();
    while took.len() < LATENCY_REQUESTS && began.elapsed() < LATENCY_TIMEOUT {
        let asked = Instant::now();
        let listing =
            ListRequest { prefix: subject.source.prefix.clone(), max_keys: Some(1), ..ListRequest::default() };
        if let Err(error) = store.list(listing).await {
            return probe::refused(Topic::Latency, &error, subject);
        }
        took.push(asked.elapsed());
    }
    took.sort_unstable();
    judge_latency(&took)
}

/// By the median, which one slow request does not move.
fn judge_latency(sorted: &[Duration]) -> Finding {
    let median = sorted.get(sorted.len() / 2).copied().unwrap_or_default();
    let longest = sorted.last().copied().unwrap_or_default();
    let detail = format!("{} for a small request, {} at most", shown_time(median), shown_time(longest));
    if median < LATENCY_NOTED {
        return Finding::ok(Topic::Latency, detail);
    }
    let fix = "use a machine or a bucket in a region that is near; or --metadata-ttl 1m and --attributes listing, which ask less";
    Finding::warning(Topic::Latency, format!("slow: {detail}")).fixed_by(fix)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::cli::doctor::report::Status;

    fn subject() -> Subject {
        Subject {
            source: "photos-125:/a".parse().unwrap(),
            origin: "https://photos-125.cos.ap-beijing.myqcloud.com".into(),
            dialect: crate::wire::dialect::Dialect::Cos,
            region: None,
            proxy: None,
            secret_id: "AKIDx".into(),
            key_origin: "environment".into(),
            key_flaw: None,
            key_ended: None,
        }
    }

    #[test]
    fn rules_are_judged_by_what_they_do_to_uploads_and_objects() {
        let rule = |more: &str| {
            let text = format!(
                "<LifecycleConfiguration><Rule><ID>r</ID><Status>Enabled</Status>{more}</Rule></LifecycleConfiguration>"
            );
            judge_lifecycle(&Lifecycle::decode(text.as_bytes()).unwrap(), &subject())
        };
        let abort = "<AbortIncompleteMultipartUpload><DaysAfterInitiation>7</DaysAfterInitiation></AbortIncompleteMultipartUpload>";
        let deletes = "<Expiration><Days>30</Days></Expiration>";
        assert_eq!(rule(abort), Finding::ok(Topic::Lifecycle, "unfinished uploads are aborted after 7 days"));
        let none = judge_lifecycle(&Lifecycle::default(), &subject());
        assert!(none.status == Status::Warning && none.fix.unwrap().ends_with("abort photos-125:/a --older-than 7d"));
        let both = rule(&format!("{abort}{deletes}"));
        assert!(both.status == Status::Warning && both.detail.contains("a rule (r) deletes objects here"), "{both:?}");
        let moved = rule(&format!("{abort}<Transition><StorageClass>ARCHIVE</StorageClass></Transition>"));
        assert!(moved.detail.contains("moves objects to ARCHIVE"), "{moved:?}");
    }

    #[test]
    fn uploads_are_told_by_whose_they_are() {
        let upload =
            |id: &str| ListedUpload { key: "a/k".into(), upload: UploadId::new(id), initiated: SystemTime::UNIX_EPOCH };
        let listed = [upload("1"), upload("2")];
        let ids = |ids: &[&str]| ids.iter().map(UploadId::new).collect::<HashSet<_>>();
        let judged = |living: &[&str], dead: &[&str]| {
            judge_uploads(&listed, &ids(living), &ids(dead), |_| Duration::from_secs(90), &subject())
        };
        assert_eq!(judged(&["1", "2"], &[]).status, Status::Ok);
        let killed = judged(&[], &["1", "2"]);
        assert_eq!(killed.detail, "2 unfinished uploads of mounts that were killed here, begun up to 1m30s ago");
        assert!(killed.fix.unwrap().ends_with("uploads abort photos-125:/a --mine"));
        let unknown = judged(&["1"], &[]);
        assert!(
            unknown.detail.starts_with("1 unfinished upload that no mount on this machine is about"),
            "{unknown:?}"
        );
    }

    #[test]
    fn a_slow_service_is_a_warning_and_one_slow_request_is_not() {
        let times =
            |millis: &[u64]| judge_latency(&millis.iter().copied().map(Duration::from_millis).collect::<Vec<_>>());
        assert_eq!(times(&[3, 3, 4, 5, 900]).status, Status::Ok);
        let slow = times(&[300, 310, 320, 330, 900]);
        assert_eq!(
            (slow.status, slow.detail.as_str()),
            (Status::Warning, "slow: 320 ms for a small request, 900 ms at most")
        );
    }
}
