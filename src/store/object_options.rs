//! What objects are made with beside what their makers say of them: encryption, access list, tags, headers by name.
//!
//! One layer in front of a store gives it to every PUT, Initiate and Copy, whoever asks for these: a new file, an edit, a rename.
//! What an object has of its own stays. Only files get what is for files. A directory's marker, a symbolic link, a special file,
//! and what is kept for a while in the hidden directory are encrypted like everything else, and that is all: an archived link
//! leads nowhere, and a class with a least duration is paid for a moment.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use wildmatch::WildMatch;

use super::layered::LayeredStore;
use super::{Body, Copied, CopyRequest, Initiated, ObjectStore, Overwrite, Published, StoreError, StoreErrorKind};
use crate::journal::HIDDEN_DIRECTORY;
use crate::object::{Crc64, ObjectAttributes, ObjectKey, Protection, Tags};

/// What objects are made with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectOptions {
    /// The class of new files; `None` is `STANDARD`. A file that is there keeps its own.
    pub storage_class: Option<String>,
    /// Encryption of everything that is written, and the access list of files.
    pub protection: Protection,
    /// Tags of files that have none. What the service copies has those of its source.
    pub tags: Tags,
    /// Headers by the names of files. Of several for one header the last that matches counts.
    pub headers: Vec<HeaderRule>,
}

/// A header of files whose names match a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderRule {
    /// The names, in which `*` and `?` stand for any characters and any one.
    pub pattern: String,
    /// Which header.
    pub header: ObjectHeader,
    /// Its value.
    pub value: String,
}

/// A header that the service keeps with an object.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the header of that name")]
pub enum ObjectHeader {
    CacheControl,
    ContentDisposition,
    ContentEncoding,
    ContentLanguage,
    ContentType,
    Expires,
    /// `x-cos-meta-*`, by lower-case suffix.
    Metadatum(String),
}

impl fmt::Display for ObjectHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ObjectHeader::CacheControl => f.write_str("Cache-Control"),
            ObjectHeader::ContentDisposition => f.write_str("Content-Disposition"),
            ObjectHeader::ContentEncoding => f.write_str("Content-Encoding"),
            ObjectHeader::ContentLanguage => f.write_str("Content-Language"),
            ObjectHeader::ContentType => f.write_str("Content-Type"),
            ObjectHeader::Expires => f.write_str("Expires"),
            ObjectHeader::Metadatum(suffix) => write!(f, "x-cos-meta-{suffix}"),
        }
    }
}

impl ObjectHeader {
    /// Its value in `attributes`.
    fn value<'a>(&self, attributes: &'a ObjectAttributes) -> Option<&'a str> {
        match self {
            ObjectHeader::CacheControl => attributes.cache_control.as_deref(),
            ObjectHeader::ContentDisposition => attributes.content_disposition.as_deref(),
            ObjectHeader::ContentEncoding => attributes.content_encoding.as_deref(),
            ObjectHeader::ContentLanguage => attributes.content_language.as_deref(),
            ObjectHeader::ContentType => attributes.content_type.as_deref(),
            ObjectHeader::Expires => attributes.expires.as_deref(),
            ObjectHeader::Metadatum(suffix) => attributes.user.get(suffix).map(String::as_str),
        }
    }

    fn set(&self, attributes: &mut ObjectAttributes, value: Option<&str>) {
        let value = value.map(str::to_owned);
        match self {
            ObjectHeader::CacheControl => attributes.cache_control = value,
            ObjectHeader::ContentDisposition => attributes.content_disposition = value,
            ObjectHeader::ContentEncoding => attributes.content_encoding = value,
            ObjectHeader::ContentLanguage => attributes.content_language = value,
            ObjectHeader::ContentType => attributes.content_type = value,
            ObjectHeader::Expires => attributes.expires = value,
            ObjectHeader::Metadatum(suffix) => match value {
                Some(value) => drop(attributes.user.insert(suffix.clone(), value)),
                None => drop(attributes.user.remove(suffix)),
            },
        }
    }
}

impl ObjectOptions {
    /// What the rules say of a header of a file of this name.
    fn value(&self, header: &ObjectHeader, name: &str) -> Option<&str> {
        let says = |rule: &&HeaderRule| rule.header == *header && WildMatch::new(&rule.pattern).matches(name);
        self.headers.iter().rfind(says).map(|rule| rule.value.as_str())
    }

    /// The content type that the rules give a file of this name.
    pub fn content_type(&self, name: &str) -> Option<&str> {
        self.value(&ObjectHeader::ContentType, name)
    }

    /// Whether a file of one of these names has a content type by rule.
    pub fn has_type_for(&self, names: [&str; 2]) -> bool {
        names.into_iter().any(|name| self.content_type(name).is_some())
    }

    /// The metadata of a file that gets another name: what the rules gave it for the old one makes room.
    #[must_use]
    pub fn renamed(&self, mut attributes: ObjectAttributes, old: &str, new: &str) -> ObjectAttributes {
        for HeaderRule { header, .. } in self.headers_but_type() {
            let is_by_rule = header.value(&attributes).is_some_and(|value| self.value(header, old) == Some(value));
            if is_by_rule {
                header.set(&mut attributes, self.value(header, new));
            }
        }
        attributes
    }

    /// Gives a file of this name what the rules say and it has not.
    fn fill_in(&self, attributes: &mut ObjectAttributes, name: &str, holds: impl Fn(&ObjectAttributes) -> bool) {
        for HeaderRule { header, .. } in self.headers_but_type() {
            let Some(value) = self.value(header, name).filter(|_| header.value(attributes).is_none()) else { continue };
            header.set(attributes, Some(value));
            // The file's own metadata go before ours.
            if !holds(attributes) {
                header.set(attributes, None);
            }
        }
    }

    /// The type of a file is that of its name in any case, which is for others to decide.
    fn headers_but_type(&self) -> impl Iterator<Item = &HeaderRule> {
        self.headers.iter().filter(|rule| rule.header != ObjectHeader::ContentType)
    }
}

/// A store that makes objects with what its options say.
pub struct OptionedStore {
    inner: Arc<dyn ObjectStore>,
    options: ObjectOptions,
    /// What keys in the hidden directory begin with.
    hidden: String,
}

/// What a key is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// A file, as far as its key tells.
    File,
    /// A marker of a directory.
    Marker,
    /// Something of a mount's own, for a while.
    Hidden,
}

impl OptionedStore {
    /// Makes objects of `inner` with these options. `prefix` is what keys of the mount begin with.
    pub fn new(inner: Arc<dyn ObjectStore>, options: ObjectOptions, prefix: &str) -> OptionedStore {
        OptionedStore { inner, options, hidden: format!("{prefix}{HIDDEN_DIRECTORY}/") }
    }

    fn purpose(&self, key: &ObjectKey) -> Purpose {
        match key.as_str() {
            key if key.starts_with(&self.hidden) => Purpose::Hidden,
            key if key.ends_with('/') => Purpose::Marker,
            _ => Purpose::File,
        }
    }

    /// The metadata that an object under `key` is to be written with, but for its tags.
    fn furnished(&self, key: &ObjectKey, attributes: &ObjectAttributes) -> ObjectAttributes {
        let (mut attributes, purpose) = (attributes.clone(), self.purpose(key));
        let protection = self.protection(purpose == Purpose::File && attributes.is_of_file());
        attributes.protection.encryption = attributes.protection.encryption.or(protection.encryption);
        attributes.protection.acl = protection.acl;
        match purpose {
            Purpose::File if attributes.is_of_file() => {
                let name = key.as_str().rsplit('/').next().unwrap_or_default();
                let limits = self.inner.limits();
                self.options.fill_in(&mut attributes, name, |filled| limits.hold_metadata(&filled.user));
            }
            Purpose::Hidden => {
                attributes.storage_class = None;
                // A copy has those of its source without anybody's help.
                attributes.tags = Tags::None;
            }
            Purpose::File | Purpose::Marker => {}
        }
        attributes
    }

    /// The same with the tags that it has, or is to have. Those of an object that is replaced are asked for where it has some.
    async fn furnished_and_tagged(
        &self,
        key: &ObjectKey,
        attributes: &ObjectAttributes,
    ) -> Result<ObjectAttributes, StoreError> {
        let mut furnished = self.furnished(key, attributes);
        if self.purpose(key) == Purpose::Hidden {
            furnished.tags = Tags::None;
            return Ok(furnished);
        }
        if furnished.tags == Tags::Unread {
            furnished.tags = tags_of(&*self.inner, key).await?;
        }
        if furnished.tags == Tags::None && furnished.is_of_file() && self.purpose(key) == Purpose::File {
            furnished.tags = self.options.tags.clone();
        }
        Ok(furnished)
    }

    fn protection(&self, is_file: bool) -> Protection {
        let Protection { acl, encryption } = self.options.protection.clone();
        Protection { acl: acl.filter(|_| is_file), encryption }
    }
}

/// The tags of an object, as far as they can be had. Who may not read them must not fail to write the object for it.
pub(crate) async fn tags_of(store: &dyn ObjectStore, key: &ObjectKey) -> Result<Tags, StoreError> {
    match store.tags(key).await {
        Ok(tags) => Ok(tags),
        Err(error) if error.kind == StoreErrorKind::NotFound => Ok(Tags::None),
        Err(error) if matches!(error.kind, StoreErrorKind::Denied | StoreErrorKind::Unsupported) => {
            log::warn!("{key} loses the tags that it has, because they cannot be read: {error}");
            Ok(Tags::None)
        }
        Err(error) => Err(error),
    }
}

#[async_trait]
impl LayeredStore for OptionedStore {
    fn inner(&self) -> &dyn ObjectStore {
        &*self.inner
    }

    async fn put_over(
        &self,
        key: &ObjectKey,
        body: Body,
        crc64: Crc64,
        attributes: &ObjectAttributes,
        overwrite: &Overwrite,
    ) -> Result<Published, StoreError> {
        let attributes = self.furnished_and_tagged(key, attributes).await?;
        self.inner.put_over(key, body, crc64, &attributes, overwrite).await
    }

    async fn copy(&self, mut request: CopyRequest) -> Result<Copied, StoreError> {
        let purpose = self.purpose(&request.key);
        request.replace = request.replace.map(|attributes| self.furnished(&request.key, &attributes));
        request.storage_class = request.storage_class.filter(|_| purpose != Purpose::Hidden);
        request.protection = self.protection(purpose == Purpose::File);
        self.inner.copy(request).await
    }

    async fn initiate(&self, key: &ObjectKey, attributes: &ObjectAttributes) -> Result<Initiated, StoreError> {
        let attributes = self.furnished_and_tagged(key, attributes).await?;
        self.inner.initiate(key, &attributes).await
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::object::Encryption;
    use crate::store::testing::MemoryStore;
    use crate::store::{Op, Source};

    fn rule(pattern: &str, header: ObjectHeader, value: &str) -> HeaderRule {
        HeaderRule { pattern: pattern.into(), header, value: value.into() }
    }

    fn options() -> ObjectOptions {
        let encryption = Encryption { algorithm: Encryption::OF_COS.into(), kms_key: None };
        ObjectOptions {
            storage_class: Some("ARCHIVE".into()),
            protection: Protection { acl: Some("public-read".into()), encryption: Some(encryption) },
            tags: Tags::Are("team=a".into()),
            headers: vec![
                rule("*", ObjectHeader::CacheControl, "no-cache"),
                rule("*.css", ObjectHeader::CacheControl, "max-age=60"),
                rule("*.css", ObjectHeader::Metadatum("colour".into()), "red"),
            ],
        }
    }

    fn key(text: &str) -> ObjectKey {
        ObjectKey::new(text).unwrap()
    }

    fn with_meta(name: &str, value: &str) -> ObjectAttributes {
        ObjectAttributes { user: [(name.to_owned(), value.to_owned())].into(), ..ObjectAttributes::default() }
    }

    async fn put(store: &dyn ObjectStore, name: &str, attributes: &ObjectAttributes) {
        let body = Body::from(Bytes::from("bytes"));
        store.put(&key(name), body, Crc64::of(b"bytes"), attributes).await.unwrap();
    }

    fn kept(memory: &MemoryStore, name: &str) -> ObjectAttributes {
        memory.object_head(name).unwrap().attributes
    }

    #[tokio::test]
    async fn files_get_all_of_it_and_what_is_none_is_encrypted_alone() {
        let memory = MemoryStore::new();
        let store: Arc<dyn ObjectStore> = Arc::new(OptionedStore::new(Arc::new(memory.clone()), options(), "p/"));
        put(&*store, "p/a.css", &ObjectAttributes::default()).await;
        let file = kept(&memory, "p/a.css");
        assert_eq!((file.cache_control.as_deref(), file.user["colour"].as_str()), (Some("max-age=60"), "red"));
        assert_eq!((&file.protection, &file.tags), (&options().protection, &options().tags));
        let archived = ObjectAttributes { storage_class: Some("ARCHIVE".into()), ..ObjectAttributes::default() };
        let hidden = format!("p/{HIDDEN_DIRECTORY}/x");
        let link = 0o120_777.to_string();
        for (name, attributes) in
            [("p/d/", ObjectAttributes::default()), ("p/l.css", with_meta("mode", &link)), (&hidden, archived)]
        {
            put(&*store, name, &attributes).await;
            let expected = ObjectAttributes {
                protection: Protection { acl: None, ..options().protection },
                storage_class: None,
                ..attributes
            };
            assert_eq!(kept(&memory, name), expected, "{name}");
        }
        let upload = store.initiate(&key("p/m"), &ObjectAttributes::default()).await.unwrap();
        assert!(!upload.may_be_doubled);
        assert_eq!(memory.ops().len(), 5, "no request more: {:?}", memory.ops());
    }

    #[tokio::test]
    async fn what_an_object_has_of_its_own_stays() {
        let memory = MemoryStore::new();
        let own = ObjectAttributes {
            cache_control: Some("private".into()),
            tags: Tags::Are("own=1".into()),
            ..with_meta("colour", "blue")
        };
        memory.insert_with("p/a.css", "old", &own);
        let store: Arc<dyn ObjectStore> = Arc::new(OptionedStore::new(Arc::new(memory.clone()), options(), "p/"));
        let told = store.head(&key("p/a.css")).await.unwrap().attributes;
        assert_eq!(told.tags, Tags::Unread);
        put(&*store, "p/a.css", &told).await;
        let edited = kept(&memory, "p/a.css");
        assert_eq!((edited.cache_control, edited.tags, edited.user), (own.cache_control, own.tags, own.user));
        assert_eq!(memory.ops(), [Op::HeadObject, Op::GetObjectTagging, Op::PutObject]);
    }

    #[tokio::test]
    async fn a_copy_has_the_tags_of_its_source_and_what_the_service_does_not_copy() {
        let memory = MemoryStore::new();
        memory.insert_with("p/a", "x", &ObjectAttributes { tags: Tags::Are("own=1".into()), ..Default::default() });
        let store: Arc<dyn ObjectStore> = Arc::new(OptionedStore::new(Arc::new(memory.clone()), options(), "p/"));
        for replace in [None, Some(ObjectAttributes { tags: Tags::Unread, ..ObjectAttributes::default() })] {
            let source = Source { key: key("p/a"), if_match: None };
            store.copy(CopyRequest { replace, ..CopyRequest::new(source, key("p/b")) }).await.unwrap();
            let copy = kept(&memory, "p/b");
            assert_eq!((copy.tags, copy.protection), (Tags::Are("own=1".into()), options().protection));
        }
    }

    #[test]
    fn a_new_name_has_its_own_headers() {
        let options = options();
        let by_rule = ObjectAttributes { cache_control: Some("max-age=60".into()), ..with_meta("colour", "red") };
        let plain = options.renamed(by_rule.clone(), "a.css", "a.txt");
        assert_eq!((plain.cache_control.as_deref(), plain.user.len()), (Some("no-cache"), 0));
        let own = ObjectAttributes { cache_control: Some("private".into()), ..with_meta("colour", "blue") };
        assert_eq!(options.renamed(own.clone(), "a.css", "a.txt"), own);
        assert_eq!(options.renamed(by_rule.clone(), "a.css", "b.css"), by_rule);
    }
}
