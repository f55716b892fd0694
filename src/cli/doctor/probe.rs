//! What the key may do: every kind of request that a mount makes, on objects made for it and removed again.
//!
//! All keys begin with the probe's own, which is random. What was begun is written down before it is asked for, so that
//! [`Probe::clean`] finds it whatever was interrupted.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::TryStreamExt;
use tokio::time::timeout;

use super::report::{Finding, shown_time};
use crate::cli::diagnosis::{self, Diagnosis, Subject};
use crate::cli::topic::Topic;
use crate::config::MountConfig;
use crate::object::{ByteRange, Crc64, Encryption, Limits, ObjectAttributes, ObjectKey, PartNumber, UploadId};
use crate::store::{
    Body, CopyRequest, GetRequest, HttpStore, ListRequest, ObjectOptions, ObjectStore, Op, OptionedStore, Source,
    StoreError, StoreErrorKind, is_archive,
};

/// What the names of probes begin with, behind the prefix of the mount.
pub(super) const NAME: &str = ".cosmount-doctor-";

/// Settings of what objects are made with.
const OF_OBJECTS: [&str; 5] = ["storage_class", "sse", "acl", "tag", "header"];

/// A small object.
const SMALL_BYTES: usize = 1 << 10;
/// What goes up and down to find out how fast.
const BULK_BYTES: usize = 4 << 20;
/// The longest that each of the two may take.
const BULK_TIMEOUT: Duration = Duration::from_secs(10);
/// Slower than this, in bytes a second, and large files are no pleasure.
const RATE_MIN: f64 = 1024.0 * 1024.0;
/// The longest that cleaning up may take.
const CLEAN_TIMEOUT: Duration = Duration::from_secs(10);

/// What this run has made in the bucket.
pub(super) struct Probe {
    /// Makes objects as the mount would.
    store: Arc<dyn ObjectStore>,
    subject: Subject,
    /// What the mount would make objects with.
    options: ObjectOptions,
    /// The same in the words of who has said it.
    said: Vec<&'static str>,
    /// What all keys begin with.
    name: String,
    keys: Vec<ObjectKey>,
    uploads: Vec<(ObjectKey, UploadId)>,
    /// Whether an upload was asked for whose id may be unknown.
    has_asked_for_uploads: bool,
}

impl Probe {
    /// A probe that makes objects as a mount of `config` would.
    pub(super) fn new(store: HttpStore, subject: Subject, config: &MountConfig) -> Probe {
        let (options, prefix) = (config.fs.objects.clone(), &subject.source.prefix);
        let said = config.settings.said().into_iter().filter(|name| OF_OBJECTS.contains(name)).collect();
        let store = Arc::new(OptionedStore::new(Arc::new(store), options.clone(), prefix));
        let name = format!("{prefix}{NAME}{:016x}", fastrand::u64(..));
        let (keys, uploads) = (Vec::new(), Vec::new());
        Probe { store, subject, options, said, name, keys, uploads, has_asked_for_uploads: false }
    }

    /// What all its keys begin with.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The key of one of its objects, remembered.
    fn key(&mut self, suffix: &str) -> Result<ObjectKey, StoreError> {
        let text = format!("{}{suffix}", self.name);
        let key = ObjectKey::new(&text)
            .map_err(|error| StoreError::new(StoreErrorKind::Invalid, None, &text, error.to_string()))?;
        if !self.keys.contains(&key) {
            self.keys.push(key.clone());
        }
        Ok(key)
    }

    /// Writes a small object, as the mount would write a file.
    pub(super) async fn put(&mut self) -> Finding {
        let began = Instant::now();
        let done = self.store_small().await;
        let took = shown_time(began.elapsed());
        match done {
            Err(error) if error.kind == StoreErrorKind::Denied && self.is_taken_encrypted(&error).await => {
                let cause = format!("{} takes nothing that is not encrypted", self.subject.source.bucket);
                let remedy = "give --sse cos, or --sse kms:KEYID where the key is to be your own";
                Diagnosis::new(Topic::Put, cause, remedy).with(error.to_string()).into()
            }
            done => self.judge(Topic::Put, done, |()| {
                let made = if self.said.is_empty() { String::new() } else { format!(" with {}", self.flags()) };
                format!("an object of 1 KiB{made}, in {took}")
            }),
        }
    }

    /// One object to go on with and, where the mount would archive new files, another one to see whether it may.
    async fn store_small(&mut self) -> Result<(), StoreError> {
        self.store_bytes("", SMALL_BYTES).await?;
        if self.readable_class() != self.options.storage_class {
            let key = self.key("-archived")?;
            let archived =
                ObjectAttributes { storage_class: self.options.storage_class.clone(), ..ObjectAttributes::default() };
            let (body, crc64) = body_of(SMALL_BYTES, self.store.limits());
            self.store.put(&key, body, crc64, &archived).await?;
        }
        Ok(())
    }

    /// The class of new files, unless nobody could read them back.
    fn readable_class(&self) -> Option<String> {
        self.options.storage_class.clone().filter(|class| !is_archive(class))
    }

    fn attributes(&self) -> ObjectAttributes {
        ObjectAttributes { storage_class: self.readable_class(), ..ObjectAttributes::default() }
    }

    async fn store_bytes(&mut self, suffix: &str, bytes: usize) -> Result<ObjectKey, StoreError> {
        let key = self.key(suffix)?;
        let (body, crc64) = body_of(bytes, self.store.limits());
        self.store.put(&key, body, crc64, &self.attributes()).await?;
        Ok(key)
    }

    /// Whether the service takes, encrypted, what it has just refused. A policy of the bucket may demand that.
    async fn is_taken_encrypted(&mut self, refused: &StoreError) -> bool {
        let is_encrypted = self.options.protection.encryption.is_some();
        let Some(key) = self.keys.first().filter(|key| key.as_str() == refused.key && !is_encrypted) else {
            return false;
        };
        let (body, crc64) = body_of(SMALL_BYTES, self.store.limits());
        let mut attributes = self.attributes();
        attributes.protection.encryption = Some(Encryption { algorithm: Encryption::OF_COS.into(), kms_key: None });
        self.store.put(key, body, crc64, &attributes).await.is_ok()
    }

    /// What objects are made with, as flags.
    fn flags(&self) -> String {
        let flags: Vec<String> = self.said.iter().map(|name| format!("--{}", name.replace('_', "-"))).collect();
        flags.join(", ")
    }

    /// Reads it again, the head and the bytes.
    pub(super) async fn get(&mut self) -> Finding {
        let done = self.read_back("", SMALL_BYTES).await;
        self.judge(Topic::Get, done, |_| "the same bytes came back".to_owned())
    }

    async fn read_back(&mut self, suffix: &str, bytes: usize) -> Result<(), StoreError> {
        let key = self.key(suffix)?;
        self.store.head(&key).await?;
        let read = read_all(&*self.store, &key, bytes).await?;
        if read == bytes_of(bytes) {
            return Ok(());
        }
        let told = "other bytes came back than were written";
        Err(StoreError::new(StoreErrorKind::Corrupted, Op::GetObject, key.as_str(), told))
    }

    /// Copies it on the service.
    pub(super) async fn copy(&mut self) -> Finding {
        let done = self.copy_to("-copy").await;
        self.judge(Topic::Copy, done, |_| "a copy on the service".to_owned())
    }

    async fn copy_to(&mut self, suffix: &str) -> Result<(), StoreError> {
        let (from, key) = (self.key("")?, self.key(suffix)?);
        let source = Source { key: from, if_match: None };
        let bytes = Some(SMALL_BYTES as u64);
        self.store.copy(CopyRequest { bytes, ..CopyRequest::new(source, key) }).await.map(drop)
    }

    /// An upload of a part and, where `copies`, a part that is copied, completed; and one that is aborted.
    pub(super) async fn multipart(&mut self, copies: bool) -> Finding {
        let done = self.upload(copies).await;
        if done.is_err() {
            self.abort_uploads().await;
        }
        let parts = if copies { "a part, and one that was copied" } else { "a part" };
        self.judge(Topic::Multipart, done, |_| format!("begun, {parts}, listed, completed; and aborted"))
    }

    async fn upload(&mut self, copies: bool) -> Result<(), StoreError> {
        let (from, key) = (self.key("")?, self.key("-parts")?);
        let upload = self.begin(&key).await?;
        // One that is not the last: the service takes none below.
        let part_bytes = self.store.limits().part_bytes_min;
        let (body, crc64) = body_of(part_bytes as usize, self.store.limits());
        let number = |index: u64| PartNumber::new(index).ok_or_else(|| self.error_of("there is no such part"));
        let first = self.store.upload_part(&key, &upload, number(1)?, body, crc64).await?;
        let (mut etags, mut checksums) = (vec![first.etag], vec![(Some(crc64), part_bytes)]);
        if copies {
            let source = Source { key: from, if_match: None };
            let range = ByteRange::new(0, SMALL_BYTES as u64).ok_or_else(|| self.error_of("there is no such range"))?;
            let copied = self.store.upload_part_copy(&key, &upload, number(2)?, &source, range).await?;
            etags.push(copied.etag);
            checksums.push((Some(body_of(SMALL_BYTES, self.store.limits()).1), SMALL_BYTES as u64));
        }
        self.store.list_parts(&key, &upload).await?;
        let size = checksums.iter().map(|(_, bytes)| bytes).sum();
        let whole = self.store.limits().checksum.joined(checksums);
        self.store.complete(&key, &upload, &etags, size, whole).await?;
        self.uploads.retain(|(_, known)| *known != upload);
        let second = self.begin(&key).await?;
        self.store.abort(&key, &second).await?;
        self.uploads.retain(|(_, known)| *known != second);
        Ok(())
    }

    /// Whether the service tells checksums, and refuses what has another.
    pub(super) async fn checksums(&mut self, told: Option<bool>) -> Finding {
        if told != Some(true) {
            let detail = "not told: bodies are vouched for by MD5, and what is read is not verified";
            return Finding::ok(Topic::Checksums, detail);
        }
        let done = self.store_with_wrong_checksum().await;
        match done {
            Ok(()) => Finding::warning(Topic::Checksums, "told, and not compared: a body with another one was taken")
                .fixed_by("tell those who run the service: what is damaged on its way to it stays unnoticed"),
            Err(error) if error.kind == StoreErrorKind::Corrupted => {
                Finding::ok(Topic::Checksums, "CRC-64/NVME, told and compared")
            }
            Err(error) => self.with_flags(&error, refused(Topic::Checksums, &error, &self.subject)),
        }
    }

    async fn store_with_wrong_checksum(&mut self) -> Result<(), StoreError> {
        let key = self.key("-wrong")?;
        let (body, Crc64(right)) = body_of(SMALL_BYTES, self.store.limits());
        self.store.put(&key, body, Crc64(right ^ 1), &self.attributes()).await.map(drop)
    }

    /// Whether the service holds to what a write may replace.
    pub(super) async fn conditions(&mut self) -> Finding {
        let keys = [("-put", Op::PutObject), ("-complete", Op::CompleteMultipartUpload)];
        let mut kept = Vec::new();
        for (suffix, op) in keys {
            self.has_asked_for_uploads = true;
            match self.key(suffix) {
                Ok(trial) if self.store.keeps_conditions(op, &trial).await => kept.push(op.name()),
                _ => {}
            }
        }
        Finding::ok(
            Topic::Conditions,
            match kept.len() {
                2 => "held to: --on-conflict=fail and keep-both are exact".to_owned(),
                0 => "looked past: --on-conflict=fail and keep-both ask before each publishing".to_owned(),
                _ => format!(
                    "held to by {} alone: --on-conflict=fail and keep-both ask before each publishing",
                    kept.join(" and ")
                ),
            },
        )
    }

    fn error_of(&self, told: &str) -> StoreError {
        StoreError::new(StoreErrorKind::Invalid, None, self.name.as_str(), told)
    }

    async fn begin(&mut self, key: &ObjectKey) -> Result<UploadId, StoreError> {
        self.has_asked_for_uploads = true;
        let upload = self.store.initiate(key, &self.attributes()).await?.upload;
        self.uploads.push((key.clone(), upload.clone()));
        Ok(upload)
    }

    /// Removes all that was made so far, one by one and several at once, as a mount does both.
    pub(super) async fn delete(&mut self) -> Finding {
        let done = self.remove_keys().await;
        self.judge(Topic::Delete, done, |count: usize| format!("all {count} objects of this check are removed again"))
    }

    async fn remove_keys(&mut self) -> Result<usize, StoreError> {
        let count = self.keys.len();
        if let Some(first) = self.keys.first().cloned() {
            self.store.delete(&first).await?;
            self.keys.retain(|key| *key != first);
        }
        let failed = self.store.delete_many(&self.keys).await?;
        self.keys.retain(|key| failed.iter().any(|(other, _)| other == key));
        failed.into_iter().next().map_or(Ok(count), |(_, error)| Err(error))
    }

    /// How fast bytes go up and down.
    pub(super) async fn throughput(&mut self) -> Finding {
        let (began, limit) = (Instant::now(), BULK_TIMEOUT);
        let up = match timeout(limit, self.store_bytes("-bulk", BULK_BYTES)).await {
            Ok(Ok(_)) => Some(rate(began.elapsed())),
            Ok(Err(error)) => return self.judge(Topic::Throughput, Err::<(), _>(error), |()| String::new()),
            Err(_) => None,
        };
        let began = Instant::now();
        let down = match (up, timeout(limit, self.read_back("-bulk", BULK_BYTES)).await) {
            (None, _) => None,
            (_, Ok(Ok(()))) => Some(rate(began.elapsed())),
            (_, Ok(Err(error))) => return self.judge(Topic::Throughput, Err::<(), _>(error), |()| String::new()),
            (_, Err(_)) => None,
        };
        judge_rates(up, down)
    }

    /// What is said of something that was tried.
    fn judge<T>(&self, topic: Topic, done: Result<T, StoreError>, well: impl FnOnce(T) -> String) -> Finding {
        match done {
            Ok(value) => Finding::ok(topic, well(value)),
            Err(error) => self.with_flags(&error, refused(topic, &error, &self.subject)),
        }
    }

    /// A finding on a request that had more to it than bytes, where that may be what was refused.
    fn with_flags(&self, error: &StoreError, finding: Finding) -> Finding {
        let may_be = matches!(
            error.kind,
            StoreErrorKind::Denied | StoreErrorKind::Invalid | StoreErrorKind::Unsupported | StoreErrorKind::NotFound
        );
        let makes = matches!(error.op, Some(Op::PutObject | Op::InitiateMultipartUpload | Op::CopyObject));
        if self.said.is_empty() || !may_be || !makes {
            return finding;
        }
        let fix = finding.fix.clone().unwrap_or_default();
        let flags = self.flags();
        finding.fixed_by(format!("{fix}; or it is {flags} that is refused: try without"))
    }

    /// Removes whatever is left, and names what cannot be.
    pub(super) async fn clean(&mut self) -> Vec<String> {
        if self.keys.is_empty() && self.uploads.is_empty() && !self.has_asked_for_uploads {
            return Vec::new();
        }
        let _ = timeout(CLEAN_TIMEOUT, self.clean_up()).await;
        let keys = self.keys.iter().map(|key| key.as_str().to_owned());
        let uploads = self.uploads.iter().map(|(key, upload)| format!("an upload of {} ({upload})", key.as_str()));
        keys.chain(uploads).collect()
    }

    async fn abort_uploads(&mut self) {
        for (key, upload) in std::mem::take(&mut self.uploads) {
            if self.store.abort(&key, &upload).await.is_err() {
                self.uploads.push((key, upload));
            }
        }
    }

    async fn clean_up(&mut self) {
        // An upload whose answer was lost is found by its key, which nobody else has.
        if self.has_asked_for_uploads
            && let Ok(listed) = self.store.list_uploads(&self.name).await
        {
            let found = listed.into_iter().filter_map(|found| Some((ObjectKey::new(&found.key).ok()?, found.upload)));
            self.uploads = found.collect();
        }
        self.abort_uploads().await;
        for key in std::mem::take(&mut self.keys) {
            let is_gone = self.store.delete(&key).await.is_ok();
            // What could not be removed need not be there.
            if !is_gone && !self.store.head(&key).await.is_err_and(|error| error.kind == StoreErrorKind::NotFound) {
                self.keys.push(key);
            }
        }
    }
}

/// Reads an object that was there before, for who must not write.
pub(super) async fn read_one(store: &HttpStore, subject: &Subject) -> Finding {
    let listing = ListRequest {
        prefix: subject.source.prefix.clone(),
        delimited: false,
        max_keys: Some(100),
        ..ListRequest::default()
    };
    let page = match store.list(listing).await {
        Ok(page) => page,
        Err(_) => return Finding::skipped(Topic::Get, "nothing could be listed"),
    };
    let objects = page.objects.iter().filter(|object| !is_archive(&object.storage_class));
    let Some(key) = objects.filter_map(|object| ObjectKey::new(&object.key).ok()).next() else {
        return Finding::skipped(Topic::Get, "there is no object to read");
    };
    let read = async {
        let head = store.head(&key).await?;
        if head.size > 0 {
            let range = ByteRange::new(0, 1);
            let reading = store.get(GetRequest { key: key.clone(), range, if_match: None }).await?;
            reading.body.try_for_each(|_| async { Ok(()) }).await?;
        }
        Ok(())
    };
    match read.await {
        Ok(()) => Finding::ok(Topic::Get, format!("{} can be read", key.as_str())),
        Err(error) => refused(Topic::Get, &error, subject),
    }
}

/// What it means that one kind of request fails, where others have been answered.
pub(super) fn refused(topic: Topic, error: &StoreError, subject: &Subject) -> Finding {
    let op = error.op.map_or("the request", Op::name);
    let told = error.to_string();
    let (cause, remedy) = match error.kind {
        // The service takes a thousand times as much.
        StoreErrorKind::TooLarge => (
            format!("something before {} refuses bodies of this size", subject.origin),
            "raise its limit to 5 GiB, for example client_max_body_size of nginx",
        ),
        StoreErrorKind::Corrupted => (
            format!("bytes are damaged on their way to or from {}", subject.origin),
            "find what changes them: a proxy, bad memory; with https nothing in between can",
        ),
        StoreErrorKind::Full => (format!("{} has no room left", subject.origin), "make room there"),
        StoreErrorKind::NotFound => (
            format!("{op} does not find what was just written"),
            "check what else removes objects: lifecycle rules, other programs",
        ),
        StoreErrorKind::Unsupported => {
            (format!("{} does not do {op}", subject.origin), "use a bucket, or an endpoint, that does")
        }
        StoreErrorKind::Invalid | StoreErrorKind::Internal | StoreErrorKind::Protocol | StoreErrorKind::Busy => {
            (format!("{op} fails"), "ask the service's support, with the number of the request")
        }
        _ => return Diagnosis { topic, ..diagnosis::explain(error, subject) }.into(),
    };
    Diagnosis::new(topic, cause, remedy).with(told).into()
}

fn rate(took: Duration) -> f64 {
    BULK_BYTES as f64 / took.as_secs_f64().max(1e-6)
}

fn judge_rates(up: Option<f64>, down: Option<f64>) -> Finding {
    let mib = |rate: f64| rate / 1024.0 / 1024.0;
    let shown = |rate: Option<f64>| match rate {
        Some(rate) if mib(rate) >= 10.0 => format!("{:.0} MiB/s", mib(rate)),
        Some(rate) => format!("{:.1} MiB/s", mib(rate)),
        None => format!("less than {:.1} MiB/s", mib(BULK_BYTES as f64 / BULK_TIMEOUT.as_secs_f64())),
    };
    let size = BULK_BYTES >> 20;
    let detail = match (up, down) {
        (None, _) => format!("{} up, by one request of {size} MiB", shown(up)),
        _ => format!("{} up and {} down, by one request of {size} MiB each", shown(up), shown(down)),
    };
    let is_slow = [up, down].into_iter().any(|rate| rate.is_none_or(|rate| rate < RATE_MIN));
    if is_slow {
        let fix = "use a bucket in a region that is near, --accelerate, or --internal within Tencent Cloud";
        return Finding::warning(Topic::Throughput, format!("slow: {detail}")).fixed_by(fix);
    }
    Finding::ok(Topic::Throughput, detail)
}

/// Bytes that nothing compresses, the same each time.
fn bytes_of(count: usize) -> Bytes {
    let mut random = fastrand::Rng::with_seed(count as u64);
    let mut bytes = vec![0; count];
    random.fill(&mut bytes);
    bytes.into()
}

fn body_of(count: usize, limits: Limits) -> (Body, Crc64) {
    let bytes = bytes_of(count);
    let checksum = limits.checksum.of(&bytes);
    (Body::from(bytes), checksum)
}

async fn read_all(store: &dyn ObjectStore, key: &ObjectKey, bytes_max: usize) -> Result<Bytes, StoreError> {
    let reading = store.get(GetRequest { key: key.clone(), range: None, if_match: None }).await?;
    let collect = |mut whole: Vec<u8>, piece: Bytes| async move {
        // No more than is compared.
        let room = (bytes_max + 1).saturating_sub(whole.len());
        whole.extend_from_slice(&piece[..piece.len().min(room)]);
        Ok(whole)
    };
    reading.body.try_fold(Vec::with_capacity(bytes_max), collect).await.map(Bytes::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::report::Status;

    #[test]
    fn a_rate_is_told_and_a_slow_one_is_a_warning() {
        let mib = 1024.0 * 1024.0;
        let fast = judge_rates(Some(50.0 * mib), Some(5.25 * mib));
        assert_eq!(
            (fast.status, fast.detail.as_str()),
            (Status::Ok, "50 MiB/s up and 5.2 MiB/s down, by one request of 4 MiB each")
        );
        assert_eq!(judge_rates(Some(50.0 * mib), Some(0.5 * mib)).status, Status::Warning);
        let hopeless = judge_rates(None, None);
        assert!(
            hopeless.status == Status::Warning && hopeless.detail.contains("less than 0.4 MiB/s up"),
            "{hopeless:?}"
        );
    }
}
