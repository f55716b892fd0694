//! The contents of an in-memory bucket and the service's rules about them, as plain state without locks or tasks.
//!
//! [`super::MemoryStore`] wraps it in the trait. Every refusal bears the status and code that COS answers
//! (`cos-api.md` 6.4), so that callers are tested against the errors they will meet.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use crate::object::time::whole_seconds;
use crate::object::{
    ByteRange, Crc64, ETag, Limits, ObjectAttributes, ObjectHead, ObjectKey, PartNumber, Tags, UploadId, UploadedPart,
};
use crate::store::{
    CopyRequest, ListPage, ListRequest, ListedObject, ListedPart, ListedUpload, Op, Published, StoreError,
    StoreErrorKind,
};

/// Keys of one listing page at most (`cos-api.md` 5.2).
const LIST_KEYS_MAX: u16 = 1000;

/// One object: its bytes and what is kept beside them.
#[derive(Clone, Debug)]
pub(super) struct StoredObject {
    pub(super) bytes: Bytes,
    pub(super) head: ObjectHead,
}

impl StoredObject {
    /// What HEAD and GET say of it: not who may read it, and not which tags it has.
    pub(super) fn told(&self) -> ObjectHead {
        let mut head = self.head.clone();
        head.attributes.protection.acl = None;
        if head.attributes.tags != Tags::None {
            head.attributes.tags = Tags::Unread;
        }
        head
    }
}

/// One unfinished upload.
#[derive(Debug)]
struct Upload {
    key: String,
    initiated: SystemTime,
    attributes: ObjectAttributes,
    parts: BTreeMap<PartNumber, (Bytes, UploadedPart)>,
}

/// What one bucket holds.
#[derive(Debug)]
pub(super) struct MemoryBucket {
    limits: Limits,
    objects: BTreeMap<String, StoredObject>,
    uploads: BTreeMap<String, Upload>,
    /// Grows with every upload and multipart object, so that their names never repeat.
    serial: u64,
}

impl MemoryBucket {
    pub(super) fn new(limits: Limits) -> MemoryBucket {
        MemoryBucket { limits, objects: BTreeMap::new(), uploads: BTreeMap::new(), serial: 0 }
    }

    pub(super) fn limits(&self) -> Limits {
        self.limits
    }

    pub(super) fn objects(&self) -> &BTreeMap<String, StoredObject> {
        &self.objects
    }

    /// The object, if it is there and is the version wanted.
    pub(super) fn find(&self, op: Op, key: &ObjectKey, if_match: Option<&ETag>) -> Result<&StoredObject, StoreError> {
        let Some(object) = self.objects.get(key.as_str()) else {
            return Err(refusal(op, key.as_str(), StoreErrorKind::NotFound, 404, "NoSuchKey"));
        };
        if if_match.is_some_and(|wanted| *wanted != object.head.etag) {
            return Err(refusal(op, key.as_str(), StoreErrorKind::Changed, 412, "PreconditionFailed"));
        }
        Ok(object)
    }

    /// The bytes of a range of an object, clipped to its end.
    pub(super) fn read(
        &self,
        op: Op,
        key: &ObjectKey,
        if_match: Option<&ETag>,
        range: Option<ByteRange>,
    ) -> Result<(ObjectHead, Bytes), StoreError> {
        let object = self.find(op, key, if_match)?;
        let Some(range) = range else { return Ok((object.told(), object.bytes.clone())) };
        let start = usize::try_from(range.start()).unwrap_or(usize::MAX);
        if start >= object.bytes.len() {
            return Err(refusal(op, key.as_str(), StoreErrorKind::InvalidRange, 416, "InvalidRange"));
        }
        let end = usize::try_from(range.end()).unwrap_or(usize::MAX).min(object.bytes.len());
        Ok((object.told(), object.bytes.slice(start..end)))
    }

    /// Stores an object made by one request.
    pub(super) fn put(
        &mut self,
        op: Op,
        key: &ObjectKey,
        bytes: Bytes,
        attributes: &ObjectAttributes,
        now: SystemTime,
    ) -> Result<ObjectHead, StoreError> {
        if bytes.len() as u64 > self.limits.put_bytes_max {
            return Err(refusal(op, key.as_str(), StoreErrorKind::TooLarge, 400, "EntityTooLarge"));
        }
        // Equal bytes have equal ETags when they come in one request, as with the service's MD5.
        let crc64 = Crc64::of(&bytes);
        let etag = ETag::new(format!("{:016x}{:016x}", crc64.0, bytes.len()));
        Ok(self.insert(key, bytes, etag, crc64, attributes.clone(), now))
    }

    fn insert(
        &mut self,
        key: &ObjectKey,
        bytes: Bytes,
        etag: ETag,
        crc64: Crc64,
        attributes: ObjectAttributes,
        now: SystemTime,
    ) -> ObjectHead {
        let head = ObjectHead {
            size: bytes.len() as u64,
            etag,
            last_modified: whole_seconds(now),
            crc64: Some(crc64),
            attributes,
            told_at: None,
        };
        self.objects.insert(key.as_str().to_owned(), StoredObject { bytes, head: head.clone() });
        head
    }

    pub(super) fn tag(&mut self, key: &str, tags: Tags) {
        if let Some(object) = self.objects.get_mut(key) {
            object.head.attributes.tags = tags;
        }
    }

    pub(super) fn delete(&mut self, key: &str) {
        self.objects.remove(key);
    }

    /// Copies an object; onto itself only with new metadata (`cos-api.md` 3.6).
    pub(super) fn copy(&mut self, wanted: &CopyRequest, now: SystemTime) -> Result<ObjectHead, StoreError> {
        let CopyRequest { source, key, replace, storage_class, protection, bytes: _ } = wanted;
        let op = Op::CopyObject;
        let object = self.find(op, &source.key, source.if_match.as_ref())?;
        let own = &object.head.attributes;
        let is_other = replace.is_some() || own.storage_class != *storage_class || own.protection != *protection;
        if source.key == *key && !is_other {
            return Err(refusal(op, key.as_str(), StoreErrorKind::Invalid, 400, "InvalidRequest"));
        }
        let mut attributes = replace.clone().unwrap_or_else(|| ObjectAttributes {
            storage_class: storage_class.clone(),
            protection: protection.clone(),
            ..own.clone()
        });
        if !matches!(attributes.tags, Tags::Are(_)) {
            attributes.tags = own.tags.clone();
        }
        let bytes = object.bytes.clone();
        self.put(op, key, bytes, &attributes, now)
    }

    /// One page of keys in byte order (`cos-api.md` 5.2).
    pub(super) fn list(&self, request: &ListRequest) -> ListPage {
        let room = usize::from(request.max_keys.unwrap_or(LIST_KEYS_MAX).clamp(1, LIST_KEYS_MAX));
        let marker = request.marker.as_deref().unwrap_or("");
        let from = if marker > request.prefix.as_str() {
            Bound::Excluded(marker)
        } else {
            Bound::Included(request.prefix.as_str())
        };
        let mut page = ListPage::default();
        let mut last: Option<String> = None;
        for (key, object) in self.objects.range::<str, _>((from, Bound::Unbounded)) {
            let Some(rest) = key.strip_prefix(request.prefix.as_str()) else { break };
            let group = rest.find('/').filter(|_| request.delimited).map(|at| &key[..request.prefix.len() + at + 1]);
            let name = group.unwrap_or(key);
            // A common prefix stands once, and not again on the page after the one that ended with it.
            if name <= marker || last.as_deref() == Some(name) {
                continue;
            }
            if page.objects.len() + page.prefixes.len() == room {
                page.next_marker = last;
                return page;
            }
            match group {
                Some(group) => page.prefixes.push(group.to_owned()),
                None => page.objects.push(listed(key, object)),
            }
            last = Some(name.to_owned());
        }
        page
    }

    pub(super) fn initiate(&mut self, key: &ObjectKey, attributes: &ObjectAttributes, now: SystemTime) -> UploadId {
        self.serial += 1;
        let seconds = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        // The shape that the service's ids have (`cos-api.md` 4.1): ten digits of time, 64 hexadecimal digits.
        let id = format!("{seconds:010}{:064x}", self.serial);
        let upload = Upload {
            key: key.as_str().to_owned(),
            initiated: now,
            attributes: attributes.clone(),
            parts: BTreeMap::new(),
        };
        self.uploads.insert(id.clone(), upload);
        UploadId::new(id)
    }

    fn upload(&mut self, op: Op, key: &ObjectKey, id: &UploadId) -> Result<&mut Upload, StoreError> {
        self.uploads
            .get_mut(id.as_str())
            .filter(|upload| upload.key == key.as_str())
            .ok_or_else(|| refusal(op, key.as_str(), StoreErrorKind::NoSuchUpload, 404, "NoSuchUpload"))
    }

    /// Keeps a part; the same number again overwrites.
    pub(super) fn put_part(
        &mut self,
        op: Op,
        key: &ObjectKey,
        id: &UploadId,
        number: PartNumber,
        bytes: Bytes,
    ) -> Result<UploadedPart, StoreError> {
        let limits = self.limits;
        let upload = self.upload(op, key, id)?;
        if bytes.len() as u64 > limits.part_bytes_max {
            return Err(refusal(op, key.as_str(), StoreErrorKind::TooLarge, 400, "EntityTooLarge"));
        }
        if u64::from(number.get()) > limits.part_count_max {
            return Err(refusal(op, key.as_str(), StoreErrorKind::TooManyParts, 400, "InvalidArgument"));
        }
        let crc64 = Crc64::of(&bytes);
        let part = UploadedPart {
            etag: ETag::new(format!("{:016x}{:016x}", crc64.0, bytes.len())),
            size: bytes.len() as u64,
            crc64: Some(crc64),
        };
        upload.parts.insert(number, (bytes, part.clone()));
        Ok(part)
    }

    /// Makes an object of the parts 1 to `etags.len()` (`cos-api.md` 4.4).
    pub(super) fn complete(
        &mut self,
        key: &ObjectKey,
        id: &UploadId,
        etags: &[ETag],
        now: SystemTime,
    ) -> Result<(Published, u64), StoreError> {
        let op = Op::CompleteMultipartUpload;
        let part_bytes_min = self.limits.part_bytes_min;
        let upload = self.upload(op, key, id)?;
        if etags.is_empty() {
            return Err(refusal(op, key.as_str(), StoreErrorKind::Invalid, 400, "MalformedXML"));
        }
        let mut whole = Vec::new();
        for (index, etag) in etags.iter().enumerate() {
            let part = PartNumber::new(index as u64 + 1).and_then(|number| upload.parts.get(&number));
            let Some((bytes, _)) = part.filter(|(_, part)| part.etag == *etag) else {
                return Err(refusal(op, key.as_str(), StoreErrorKind::Invalid, 400, "InvalidPart"));
            };
            if index + 1 < etags.len() && (bytes.len() as u64) < part_bytes_min {
                return Err(refusal(op, key.as_str(), StoreErrorKind::Invalid, 400, "EntityTooSmall"));
            }
            whole.extend_from_slice(bytes);
        }
        let attributes = upload.attributes.clone();
        self.uploads.remove(id.as_str());
        self.serial += 1;
        let crc64 = Crc64::of(&whole);
        // Two uploads of equal bytes differ in their ETags (`cos-api.md` 4.5).
        let etag = ETag::new(format!("{:016x}{:016x}-{}", crc64.0, self.serial, etags.len()));
        let size = whole.len() as u64;
        self.insert(key, whole.into(), etag.clone(), crc64, attributes, now);
        Ok((Published { etag, crc64: Some(crc64) }, size))
    }

    pub(super) fn abort(&mut self, key: &ObjectKey, id: &UploadId) {
        if self.upload(Op::AbortMultipartUpload, key, id).is_ok() {
            self.uploads.remove(id.as_str());
        }
    }

    /// The parts that an upload has, by number.
    pub(super) fn parts(&mut self, key: &ObjectKey, id: &UploadId) -> Result<Vec<ListedPart>, StoreError> {
        let upload = self.upload(Op::ListParts, key, id)?;
        let last_modified = upload.initiated;
        let listed = |(number, (_, part)): (&PartNumber, &(Bytes, UploadedPart))| ListedPart {
            number: *number,
            last_modified,
            etag: part.etag.clone(),
            size: part.size,
        };
        Ok(upload.parts.iter().map(listed).collect())
    }

    /// Unfinished uploads, by key and then in the order they were begun.
    pub(super) fn uploads(&self) -> Vec<ListedUpload> {
        let mut listed: Vec<ListedUpload> = self
            .uploads
            .iter()
            .map(|(id, upload)| ListedUpload {
                key: upload.key.clone(),
                upload: UploadId::new(id),
                initiated: upload.initiated,
            })
            .collect();
        listed.sort_by(|a, b| a.key.cmp(&b.key));
        listed
    }
}

fn listed(key: &str, object: &StoredObject) -> ListedObject {
    ListedObject {
        key: key.to_owned(),
        size: object.head.size,
        etag: object.head.etag.clone(),
        last_modified: object.head.last_modified,
        storage_class: object.head.attributes.storage_class.clone().unwrap_or_else(|| "STANDARD".to_owned()),
    }
}

fn refusal(op: Op, key: &str, kind: StoreErrorKind, status: u16, code: &str) -> StoreError {
    let mut error = StoreError::new(kind, op, key, "");
    error.status = status;
    error.code = code.to_owned();
    error
}
