//! Answers about buckets and the service (`cos-api.md` 5.4, 5.5).

use std::time::SystemTime;

use super::{AnswerError, root_of};
use crate::wire::date;
use crate::wire::xml::{Element, XmlError, XmlWriter};

/// Whether a bucket keeps the versions of its objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Versioning {
    /// It never did.
    #[default]
    Never,
    /// It does.
    Enabled,
    /// It did, and keeps those it has.
    Suspended,
}

impl Versioning {
    /// Writes the body.
    pub fn encode(self) -> String {
        let status = match self {
            Versioning::Never => None,
            Versioning::Enabled => Some("Enabled"),
            Versioning::Suspended => Some("Suspended"),
        };
        let mut xml = XmlWriter::with_capacity(128);
        xml.element("VersioningConfiguration", |xml| xml.leaf_if("Status", status));
        xml.finish()
    }

    /// Reads the body.
    pub fn decode(body: &[u8]) -> Result<Versioning, AnswerError> {
        let root = root_of(body, "VersioningConfiguration")?;
        match root.text_or_empty("Status").trim() {
            "" => Ok(Versioning::Never),
            "Enabled" => Ok(Versioning::Enabled),
            "Suspended" => Ok(Versioning::Suspended),
            other => Err(XmlError::BadText { name: "Status", text: other.to_owned() }.into()),
        }
    }
}

/// The region of a bucket, for example `ap-beijing`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location(pub String);

impl Location {
    /// Writes the body.
    pub fn encode(&self) -> String {
        let mut xml = XmlWriter::with_capacity(128);
        xml.leaf("LocationConstraint", &self.0);
        xml.finish()
    }

    /// Reads the body; a `cos.` before the region is cut off (`cos-api.md` 5.4).
    pub fn decode(body: &[u8]) -> Result<Location, AnswerError> {
        let root = root_of(body, "LocationConstraint")?;
        let region = root.own_text().trim();
        Ok(Location(region.strip_prefix("cos.").unwrap_or(region).to_owned()))
    }
}

/// The answer to GET Service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListAllMyBucketsResult {
    /// The account.
    pub owner: String,
    /// Its buckets.
    pub buckets: Vec<BucketEntry>,
}

/// What GET Service says of a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketEntry {
    /// The full name.
    pub name: String,
    /// The region.
    pub location: String,
    /// When it was made, in whole seconds.
    pub created: SystemTime,
}

impl ListAllMyBucketsResult {
    /// Writes the body.
    pub fn encode(&self) -> String {
        let mut xml = XmlWriter::with_capacity(256 + self.buckets.len() * 200);
        xml.element("ListAllMyBucketsResult", |xml| {
            super::listing::write_party(xml, "Owner", &self.owner);
            xml.element("Buckets", |xml| {
                for bucket in &self.buckets {
                    xml.element("Bucket", |xml| {
                        xml.leaf("Name", &bucket.name);
                        xml.leaf("Location", &bucket.location);
                        xml.leaf("CreationDate", date::iso_seconds(bucket.created));
                        xml.leaf("BucketType", "cos");
                    });
                }
            });
        });
        xml.finish()
    }

    /// Reads the body.
    pub fn decode(body: &[u8]) -> Result<ListAllMyBucketsResult, AnswerError> {
        let root = root_of(body, "ListAllMyBucketsResult")?;
        let entry = |bucket: &Element| {
            Ok(BucketEntry {
                name: bucket.text("Name")?.to_owned(),
                location: bucket.text_or_empty("Location").to_owned(),
                created: bucket.date("CreationDate")?,
            })
        };
        let buckets = root.child("Buckets").into_iter().flat_map(|buckets| buckets.children("Bucket"));
        Ok(ListAllMyBucketsResult {
            owner: super::listing::read_party(&root, "Owner"),
            buckets: buckets.map(entry).collect::<Result<_, XmlError>>()?,
        })
    }
}
