//! Calls on what an object has beside its bytes: tags, its access list, whether it is archived, and what is appended to it
//! (`cos-api.md` 3.7, 3.9).

use crate::object::ETag;
use crate::wire::answer::{AccessControlPolicy, GetObjectAttributesOutput, Tagging};
use crate::wire::attributes::STANDARD;
use crate::wire::code::Code;
use crate::wire::condition::Overwrite;
use crate::wire::operation::{
    AppendObject, DeleteObjectTagging, GetObjectAcl, GetObjectAttributes, GetObjectTagging, PutObjectAcl,
    PutObjectTagging, RestoreObject,
};

use super::answer::Answer;
use super::object_calls::{NEXT_APPEND_POSITION, stored_answer};
use super::refusal::Refusal;
use super::request_body::RequestBody;
use super::service::{Service, Target, judge_written, tags_of};

impl Service {
    pub(super) fn get_object_tagging(&self, target: &Target, get: &GetObjectTagging) -> Result<Answer, Refusal> {
        let record = self.storage.object(target.bucket()?, &get.key, get.version.as_deref())?;
        let tagging = record.attributes.tagging.as_deref().map(Tagging::of_header).unwrap_or_default();
        Ok(Answer::xml(tagging.encode()))
    }

    pub(super) fn get_object_acl(&self, target: &Target, get: &GetObjectAcl) -> Result<Answer, Refusal> {
        let bucket = target.bucket()?;
        let record = self.storage.object(bucket, &get.key, None)?;
        Ok(Answer::xml(access_list(record.attributes.acl.as_deref(), bucket.appid())))
    }

    pub(super) async fn restore_object(&self, target: &Target, restore: RestoreObject) -> Result<Answer, Refusal> {
        if restore.version.is_some() {
            return Err(Refusal::new(Code::NotImplemented, "older versions are not restored here"));
        }
        let write = self.write(target, restore.key, Overwrite::Allowed)?;
        let was_there = self.storage.restore(write, restore.days, self.restore_delay.as_secs()).await?;
        Ok(Answer { status: if was_there { 200 } else { 202 }, ..Answer::empty() })
    }

    pub(super) async fn put_object_tagging(&self, target: &Target, put: PutObjectTagging) -> Result<Answer, Refusal> {
        let PutObjectTagging { key, version, tagging } = put;
        let header = tagging.header();
        let tagging = if tags_of(&header)?.is_empty() { None } else { Some(header) };
        let write = self.write(target, key, Overwrite::Allowed)?;
        self.storage.amend(write, version, move |attributes| attributes.tagging = tagging).await?;
        Ok(Answer::empty())
    }

    pub(super) async fn delete_object_tagging(
        &self,
        target: &Target,
        delete: DeleteObjectTagging,
    ) -> Result<Answer, Refusal> {
        let write = self.write(target, delete.key, Overwrite::Allowed)?;
        self.storage.amend(write, delete.version, |attributes| attributes.tagging = None).await?;
        Ok(Answer::no_content())
    }

    pub(super) async fn put_object_acl(&self, target: &Target, put: PutObjectAcl) -> Result<Answer, Refusal> {
        let PutObjectAcl { key, named, document } = put;
        let acl = named.unwrap_or(document);
        let write = self.write(target, key, Overwrite::Allowed)?;
        self.storage.amend(write, None, move |attributes| attributes.acl = Some(acl)).await?;
        Ok(Answer::empty())
    }

    pub(super) async fn append_object(
        &self,
        target: &Target,
        append: AppendObject,
        body: &mut RequestBody,
    ) -> Result<Answer, Refusal> {
        if body.length.is_none() {
            return Err(Code::MissingContentLength.into());
        }
        let attributes = judge_written(append.attributes, &append.passed)?;
        let write = self.write(target, append.key, Overwrite::Allowed)?;
        self.require_bucket(target)?;
        let bytes_max = target.rules.limits.put_bytes_max;
        let received = body.receive(&self.storage, &append.checks, bytes_max, None).await?;
        let record = self.storage.append(write, attributes, append.position, received, bytes_max).await?;
        Ok(stored_answer(&record.etag, record.crc64).with(NEXT_APPEND_POSITION, record.size.to_string()))
    }

    pub(super) fn get_object_attributes(&self, target: &Target, get: &GetObjectAttributes) -> Result<Answer, Refusal> {
        let record = self.storage.object(target.bucket()?, &get.key, get.version.as_deref())?;
        let wants = |name: &str| get.wanted.iter().any(|wanted| wanted == name);
        let digest = record.digest.clone().map(|digest| (digest.kind(), digest.text));
        let class = record.attributes.fields.storage_class.clone().unwrap_or_else(|| STANDARD.to_owned());
        let attributes = GetObjectAttributesOutput {
            etag: wants("ETag").then(|| ETag::new(&record.etag)),
            digest: digest.filter(|_| wants("Checksum")),
            storage_class: wants("StorageClass").then_some(class),
            size: wants("ObjectSize").then_some(record.size),
        };
        let mut answer = Answer::xml(attributes.encode());
        let described = self.described(target, &get.key, &record).headers.into_iter();
        answer.headers.extend(described.filter(|(name, _)| name == "last-modified" || name == "x-cos-version-id"));
        Ok(answer)
    }
}

/// An access list that is kept by its name, or as it was sent.
pub(super) fn access_list(kept: Option<&str>, owner: &str) -> String {
    if let Some(document) = kept.filter(|kept| kept.starts_with('<')) {
        return document.to_owned();
    }
    let everybody = |permission: &str| (AccessControlPolicy::ALL_USERS.to_owned(), permission.to_owned());
    let mut grants = vec![(owner.to_owned(), "FULL_CONTROL".to_owned())];
    match kept {
        Some("public-read") => grants.push(everybody("READ")),
        Some("public-read-write") => grants.extend([everybody("READ"), everybody("WRITE")]),
        _ => {}
    }
    AccessControlPolicy { owner: owner.to_owned(), grants }.encode()
}
