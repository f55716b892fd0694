//! A store that writes down what it begins in the bucket, so that the next mount can end it or go on with it.
//!
//! Every upload is in the journal from before it is asked for until it is completed or aborted, whoever begins it: files,
//! copies of large objects, zeros. One that cannot be aborted becomes an orphan, as those of dead mounts are.

use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use tokio::runtime::Handle;

use super::layered::LayeredStore;
use super::orphans::Orphans;
pub use super::orphans::ResumeWindow;
use super::{Body, Initiated, ObjectStore, Overwrite, Published, Resumed, Source, StoreError, StoreErrorKind};
use crate::journal::{Entry, Journal, SentPart, UnfinishedUpload};
use crate::object::{ByteRange, Crc64, ETag, ObjectAttributes, ObjectKey, PartNumber, UploadId, UploadedPart};
use crate::stats::Stats;

/// A store whose uploads are written down.
pub struct JournaledStore {
    inner: Arc<dyn ObjectStore>,
    journal: Arc<Journal>,
    orphans: Arc<Orphans>,
    stats: Arc<Stats>,
}

impl JournaledStore {
    /// Writes down in `journal` what is begun through it, and ends on `runtime` what dead mounts have left of `inherited`
    /// uploads, for which files may be written again within `window`.
    pub fn new(
        inner: Arc<dyn ObjectStore>,
        journal: Arc<Journal>,
        inherited: Vec<(Entry, UnfinishedUpload)>,
        window: ResumeWindow,
        stats: Arc<Stats>,
        runtime: &Handle,
    ) -> Arc<JournaledStore> {
        let orphans = Orphans::new(inner.clone(), journal.clone());
        let (asked, of_dead) = (journal.take_asked_before(), orphans.clone());
        if !asked.is_empty() {
            runtime.spawn(async move { of_dead.abort_unknown_of_dead(asked).await });
        }
        for (entry, upload) in inherited {
            orphans.inherit(entry, upload, window);
        }
        runtime.spawn(Orphans::end_when_due(Arc::downgrade(&orphans)));
        Arc::new(JournaledStore { inner, journal, orphans, stats })
    }

    /// The mount ends: ends all that is left now, and returns when nothing is, and whether that is certain. The caller says
    /// how long that may take.
    pub async fn end_orphans(&self) -> bool {
        if Stats::get(&self.stats.retries) > 0 {
            self.orphans.suspect();
        }
        self.orphans.end_all().await
    }

    /// Notes whether a call has failed.
    fn heard<T>(&self, answer: Result<T, StoreError>) -> Result<T, StoreError> {
        answer.inspect_err(|_| self.orphans.suspect())
    }

    /// Uploads that are in the bucket because of this mount, or of a dead one, and are no object yet: key and id.
    pub fn unfinished_uploads(&self) -> Vec<String> {
        let named = |(key, upload)| format!("{key} (upload {upload})");
        self.journal.unfinished_uploads().into_iter().map(named).collect()
    }

    /// Where it is written down.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    fn note_part(&self, upload: &UploadId, number: PartNumber, part: &UploadedPart) {
        self.journal.part(upload, number, part, self.inner.service_time());
    }
}

/// A question for an upload whose answer is not there yet.
struct Asking<'a> {
    store: &'a JournaledStore,
    key: &'a ObjectKey,
    entry: Entry,
    at: SystemTime,
    is_answered: bool,
}

impl Asking<'_> {
    fn answered(mut self, answer: &Result<Initiated, StoreError>, attributes: &ObjectAttributes) {
        let JournaledStore { journal, orphans, .. } = self.store;
        match answer {
            Ok(Initiated { upload, may_be_doubled }) => {
                journal.begun(self.entry, self.key, upload, attributes);
                if *may_be_doubled {
                    orphans.look_for_unknown(journal.initiating(self.key, self.at), self.key, self.at);
                }
                self.is_answered = true;
            }
            Err(error) if is_refusal(error.kind) => {
                journal.ended(self.entry);
                self.is_answered = true;
            }
            Err(_) => {}
        }
    }
}

impl Drop for Asking<'_> {
    /// Whoever asked has given up, or has not heard: there may be an upload.
    fn drop(&mut self) {
        if !self.is_answered {
            self.store.orphans.look_for_unknown(self.entry, self.key, self.at);
        }
    }
}

/// Whether the service has said that it did nothing.
fn is_refusal(kind: StoreErrorKind) -> bool {
    use StoreErrorKind::*;
    !matches!(kind, TimedOut | Unreachable | Internal | Corrupted | Protocol | Throttled)
}

#[async_trait]
impl LayeredStore for JournaledStore {
    fn inner(&self) -> &dyn ObjectStore {
        &*self.inner
    }

    async fn initiate(&self, key: &ObjectKey, attributes: &ObjectAttributes) -> Result<Initiated, StoreError> {
        let at = self.inner.service_time();
        let asking = Asking { store: self, key, entry: self.journal.initiating(key, at), at, is_answered: false };
        let answer = self.inner.initiate(key, attributes).await;
        self.orphans.note_asked(key, at);
        asking.answered(&answer, attributes);
        self.heard(answer)
    }

    async fn resume(&self, key: &ObjectKey) -> Option<Resumed> {
        self.orphans.resume(key).await
    }

    async fn upload_part(
        &self,
        key: &ObjectKey,
        upload: &UploadId,
        number: PartNumber,
        body: Body,
        crc64: Crc64,
    ) -> Result<UploadedPart, StoreError> {
        self.journal.sending(upload, number, SentPart { size: body.len(), crc64 });
        let part = self.heard(self.inner.upload_part(key, upload, number, body, crc64).await)?;
        self.note_part(upload, number, &UploadedPart { crc64: Some(crc64), ..part.clone() });
        Ok(part)
    }

    async fn upload_part_copy(
        &self,
        key: &ObjectKey,
        upload: &UploadId,
        number: PartNumber,
        source: &Source,
        range: ByteRange,
    ) -> Result<UploadedPart, StoreError> {
        let part = self.heard(self.inner.upload_part_copy(key, upload, number, source, range).await)?;
        self.note_part(upload, number, &part);
        Ok(part)
    }

    async fn complete_over(
        &self,
        key: &ObjectKey,
        upload: &UploadId,
        parts: &[ETag],
        size: u64,
        crc64: Option<Crc64>,
        overwrite: &Overwrite,
    ) -> Result<Published, StoreError> {
        let published = self.heard(self.inner.complete_over(key, upload, parts, size, crc64, overwrite).await)?;
        if let Some(entry) = self.journal.upload(upload) {
            self.journal.ended(entry);
        }
        Ok(published)
    }

    async fn abort(&self, key: &ObjectKey, upload: &UploadId) -> Result<(), StoreError> {
        let answer = self.heard(self.inner.abort(key, upload).await);
        if let Some(entry) = self.journal.upload(upload) {
            match &answer {
                Ok(()) => self.journal.ended(entry),
                Err(_) => self.orphans.abort_later(entry, key, upload),
            }
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;
    use crate::journal::{Owner, Unfinished};
    use crate::store::testing::{Fault, FaultStore, MemoryStore};
    use crate::store::{Op, StoreErrorKind};

    /// A bucket, and the mounts of it.
    struct Bed {
        home: tempfile::TempDir,
        bucket: MemoryStore,
        faults: Arc<FaultStore>,
    }

    impl Bed {
        fn new() -> Bed {
            let bucket = MemoryStore::new();
            let faults = Arc::new(FaultStore::new(bucket.clone()));
            Bed { home: tempfile::tempdir().unwrap(), bucket, faults }
        }

        fn mount(&self, window: ResumeWindow) -> Arc<JournaledStore> {
            mount(self.home.path(), self.faults.clone(), window)
        }

        /// The process of a mount ends: nothing of it runs any more, and its lock is gone.
        async fn die(store: Arc<JournaledStore>) {
            // Under a clock that stands still this returns when every task waits for something.
            tokio::time::sleep(Duration::from_millis(1)).await;
            drop(store);
        }

        fn unfinished(&self) -> Vec<String> {
            self.bucket.unfinished_uploads().into_iter().map(|upload| upload.key).collect()
        }

        /// Waits until the bucket has these unfinished uploads and no others.
        async fn until_unfinished(&self, keys: &[&str]) {
            while self.unfinished() != keys {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    }

    fn mount(home: &Path, inner: Arc<dyn ObjectStore>, window: ResumeWindow) -> Arc<JournaledStore> {
        let owner = Owner { bucket: "b".into(), prefix: String::new(), machine: String::new(), process: 1 };
        let (journal, inherited) = Journal::open(home, &owner).unwrap();
        let uploads = inherited.into_iter().filter_map(|(entry, what)| match what {
            Unfinished::Upload(upload) => Some((entry, upload)),
            _ => None,
        });
        JournaledStore::new(inner, journal, uploads.collect(), window, Arc::default(), &Handle::current())
    }

    fn key(name: &str) -> ObjectKey {
        ObjectKey::new(name).unwrap()
    }

    async fn begin(store: &JournaledStore, name: &str) -> Result<UploadId, StoreError> {
        Ok(ObjectStore::initiate(store, &key(name), &ObjectAttributes::default()).await?.upload)
    }

    async fn send(store: &JournaledStore, name: &str, upload: &UploadId, number: u64, text: &'static str) {
        let (number, body) = (PartNumber::new(number).unwrap(), Body::from(Bytes::from(text)));
        let sent = ObjectStore::upload_part(store, &key(name), upload, number, body, Crc64::of(text.as_bytes())).await;
        sent.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_mount_aborts_what_a_dead_one_left_and_nothing_else() {
        let bed = Bed::new();
        bed.bucket.initiate(&key("strangers"), &ObjectAttributes::default()).await.unwrap();
        let (first, living) = (bed.mount(ResumeWindow::ByWorth), bed.mount(ResumeWindow::ByWorth));
        begin(&living, "of the living").await.unwrap();
        let upload = begin(&first, "left").await.unwrap();
        send(&first, "left", &upload, 1, "12345").await;
        Bed::die(first).await;
        let _second = bed.mount(ResumeWindow::ByWorth);
        bed.until_unfinished(&["of the living", "strangers"]).await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_aborted_is_tried_again_until_it_is() {
        let bed = Bed::new();
        let store = bed.mount(ResumeWindow::ByWorth);
        let upload = begin(&store, "a").await.unwrap();
        bed.faults.inject(Fault::nth(Op::AbortMultipartUpload, 1, StoreErrorKind::Unreachable).times(4));
        ObjectStore::abort(&*store, &key("a"), &upload).await.unwrap_err();
        assert_eq!(store.unfinished_uploads().len(), 1);
        bed.until_unfinished(&[]).await;
        store.end_orphans().await;
        assert!(store.unfinished_uploads().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn an_upload_whose_id_was_lost_is_found_and_others_are_not_touched() {
        let bed = Bed::new();
        let store = bed.mount(ResumeWindow::ByWorth);
        // One of the same moment and key that somebody else has sent a part of.
        let other = bed.bucket.initiate(&key("a"), &ObjectAttributes::default()).await.unwrap().upload;
        let body = Body::from(Bytes::from("x"));
        bed.bucket.upload_part(&key("a"), &other, PartNumber::FIRST, body, Crc64::of(b"x")).await.unwrap();
        bed.bucket.initiate(&key("ab"), &ObjectAttributes::default()).await.unwrap();
        let known = begin(&store, "a").await.unwrap();
        bed.faults.inject(Fault::nth(Op::InitiateMultipartUpload, 1, StoreErrorKind::TimedOut).answer_lost());
        begin(&store, "a").await.unwrap_err();
        bed.until_unfinished(&["a", "a", "ab"]).await;
        let left: Vec<UploadId> = bed.bucket.unfinished_uploads().into_iter().map(|upload| upload.upload).collect();
        assert!(left.contains(&other) && left.contains(&known), "{left:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_mount_that_dies_over_a_question_leaves_it_to_the_next_to_look() {
        let bed = Bed::new();
        let store = bed.mount(ResumeWindow::ByWorth);
        let gate = crate::store::testing::Gate::new();
        bed.faults.inject(Fault::hold(Op::InitiateMultipartUpload, &gate).answer_lost());
        let asking = tokio::spawn({
            let store = store.clone();
            async move { begin(&store, "a").await }
        });
        gate.reached_by(1).await;
        // As a process that is killed would: nothing of it runs any more.
        std::mem::forget(asking);
        assert_eq!(bed.unfinished(), ["a"]);
        let copy = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(bed.home.path()).unwrap() {
            let path = entry.unwrap().path();
            std::fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
        }
        let _next = mount(copy.path(), bed.faults.clone(), ResumeWindow::ByWorth);
        bed.until_unfinished(&[]).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_is_written_again_goes_on_with_the_parts_that_the_service_has() {
        let bed = Bed::new();
        let first = bed.mount(ResumeWindow::ByWorth);
        let upload = begin(&first, "a").await.unwrap();
        for (number, text) in [(1, "one"), (2, "two"), (3, "three")] {
            send(&first, "a", &upload, number, text).await;
        }
        Bed::die(first).await;
        // Somebody has sent another second part since.
        let body = Body::from(Bytes::from("TWO"));
        bed.bucket.upload_part(&key("a"), &upload, PartNumber::new(2).unwrap(), body, Crc64::of(b"TWO")).await.unwrap();
        let window = ResumeWindow::For(Duration::from_secs(60));
        let second = bed.mount(window);
        tokio::time::sleep(Duration::from_secs(59)).await;
        let resumed = ObjectStore::resume(&*second, &key("a")).await.unwrap();
        assert_eq!(resumed.parts.keys().map(|number| number.get()).collect::<Vec<_>>(), [1, 3]);
        assert!(ObjectStore::resume(&*second, &key("a")).await.is_none(), "it has one owner");
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert_eq!(bed.unfinished(), ["a"]);
        // If that one dies, it is known with what it had.
        Bed::die(second).await;
        let third = bed.mount(window);
        assert_eq!(ObjectStore::resume(&*third, &key("a")).await.unwrap().parts.len(), 2);
        Bed::die(third).await;
        let _fourth = bed.mount(window);
        tokio::time::sleep(Duration::from_secs(61)).await;
        bed.until_unfinished(&[]).await;
    }

    /// The answer to a part came too late for the mount, which had said what it was sending.
    #[tokio::test(start_paused = true)]
    async fn a_part_that_landed_unheard_is_known_by_what_was_sent() {
        let bed = Bed::new();
        let first = bed.mount(ResumeWindow::ByWorth);
        let upload = begin(&first, "a").await.unwrap();
        send(&first, "a", &upload, 1, "one").await;
        // The second lands over another one unheard, the third over another one not at all.
        for (number, text) in [(2, "two"), (3, "three")] {
            send(&first, "a", &upload, number, text).await;
        }
        let lost = Fault::every(Op::UploadPart, StoreErrorKind::TimedOut);
        bed.faults.inject(lost.clone().part(2).answer_lost());
        bed.faults.inject(lost.part(3));
        for (number, text) in [(2, "TWO"), (3, "THREE")] {
            let (body, number) = (Body::from(Bytes::from(text)), PartNumber::new(number).unwrap());
            let (key, crc64) = (key("a"), Crc64::of(text.as_bytes()));
            ObjectStore::upload_part(&*first, &key, &upload, number, body, crc64).await.unwrap_err();
        }
        Bed::die(first).await;
        let second = bed.mount(ResumeWindow::For(Duration::from_secs(60)));
        let parts = ObjectStore::resume(&*second, &key("a")).await.unwrap().parts;
        let told: Vec<_> = parts.iter().map(|(number, part)| (number.get(), part.crc64.unwrap())).collect();
        assert_eq!(told, [(1, Crc64::of(b"one")), (2, Crc64::of(b"TWO")), (3, Crc64::of(b"three"))]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_upload_that_is_gone_is_not_gone_on_with() {
        let bed = Bed::new();
        let first = bed.mount(ResumeWindow::ByWorth);
        let upload = begin(&first, "a").await.unwrap();
        send(&first, "a", &upload, 1, "one").await;
        Bed::die(first).await;
        bed.bucket.abort(&key("a"), &upload).await.unwrap();
        let second = bed.mount(ResumeWindow::For(Duration::from_secs(60)));
        assert!(ObjectStore::resume(&*second, &key("a")).await.is_none());
        second.end_orphans().await;
        assert!(second.unfinished_uploads().is_empty());
    }

    /// A service that carries a request out twice, or an id that is damaged on the way.
    #[tokio::test(start_paused = true)]
    async fn what_the_service_told_nobody_of_is_looked_for_at_the_end_of_a_mount_that_met_with_failures() {
        for (has_failed, dies) in [(false, false), (true, false), (false, true)] {
            let bed = Bed::new();
            let store = bed.mount(ResumeWindow::ByWorth);
            let upload = begin(&store, "d/a").await.unwrap();
            bed.bucket.initiate(&key("d/a"), &ObjectAttributes::default()).await.unwrap();
            bed.bucket.initiate(&key("d/b"), &ObjectAttributes::default()).await.unwrap();
            ObjectStore::abort(&*store, &key("d/a"), &upload).await.unwrap();
            if has_failed {
                bed.faults.inject(Fault::nth(Op::UploadPart, 1, StoreErrorKind::NoSuchUpload));
                let (body, key) = (Body::from(Bytes::from("x")), key("d/a"));
                let sent = ObjectStore::upload_part(&*store, &key, &upload, PartNumber::FIRST, body, Crc64::of(b"x"));
                sent.await.unwrap_err();
            }
            bed.bucket.forget_requests();
            if dies {
                Bed::die(store).await;
                let _next = bed.mount(ResumeWindow::ByWorth);
                bed.until_unfinished(&["d/b"]).await;
                continue;
            }
            assert!(store.end_orphans().await);
            assert_eq!(bed.unfinished(), if has_failed { vec!["d/b"] } else { vec!["d/a", "d/b"] });
            assert_eq!(bed.bucket.count(Op::ListMultipartUploads), usize::from(has_failed));
        }
    }

    #[test]
    fn what_holds_much_is_kept_in_proportion_to_what_it_took() {
        use std::collections::BTreeMap;

        use crate::journal::BegunUpload;
        let window = |bytes: u64, seconds: u64| {
            let asked_at = SystemTime::UNIX_EPOCH;
            let part = UploadedPart { etag: ETag::new("e"), size: bytes, crc64: None };
            let (parts, last_at) =
                (BTreeMap::from([(PartNumber::FIRST, part)]), asked_at + Duration::from_secs(seconds));
            let (upload, attributes) = (UploadId::new("u"), ObjectAttributes::default());
            let begun = BegunUpload { upload, attributes, parts, sent: BTreeMap::new(), last_at };
            let begun = Some(Box::new(begun));
            ResumeWindow::ByWorth.of(&UnfinishedUpload { key: key("a"), asked_at, begun }).as_secs()
        };
        assert_eq!(window(31 << 20, 1000), 0);
        assert_eq!(window(32 << 20, 1), 30);
        assert_eq!(window(32 << 20, 60), 600);
        assert_eq!(window(32 << 20, 1 << 40), 24 * 3600);
    }
}
