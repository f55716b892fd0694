//! Answers about what an object has beside bytes and metadata: its tags and its access list (`cos-api.md` 3.9).

use super::multipart::write_digest;
use super::{AnswerError, root_of};
use crate::object::ETag;
use crate::wire::digest::ObjectDigest;
use crate::wire::escape::{escape, parse_query};
use crate::wire::xml::{Element, XmlWriter};

/// The answer to GET Object tagging.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tagging {
    /// Names and values.
    pub tags: Vec<(String, String)>,
}

impl Tagging {
    /// The tags of an `x-cos-tagging` header.
    pub fn of_header(tagging: &str) -> Tagging {
        let pairs = parse_query(tagging).unwrap_or_default().into_iter();
        Tagging { tags: pairs.map(|(name, value)| (name.into_owned(), value.unwrap_or_default())).collect() }
    }

    /// The value of `x-cos-tagging` that gives an object these tags.
    pub fn header(&self) -> String {
        let pairs: Vec<String> =
            self.tags.iter().map(|(name, value)| format!("{}={}", escape(name), escape(value))).collect();
        pairs.join("&")
    }

    /// Writes the body.
    pub fn encode(&self) -> String {
        let mut xml = XmlWriter::with_capacity(64 + self.tags.len() * 80);
        xml.element("Tagging", |xml| {
            xml.element("TagSet", |xml| {
                for (name, value) in &self.tags {
                    xml.element("Tag", |xml| {
                        xml.leaf("Key", name);
                        xml.leaf("Value", value);
                    });
                }
            });
        });
        xml.finish()
    }

    /// Reads the body.
    pub fn decode(body: &[u8]) -> Result<Tagging, AnswerError> {
        let root = root_of(body, "Tagging")?;
        let mut tags = Vec::new();
        for tag in root.child("TagSet").into_iter().flat_map(|set| set.children("Tag")) {
            tags.push((tag.text("Key")?.to_owned(), tag.text_or_empty("Value").to_owned()));
        }
        Ok(Tagging { tags })
    }
}

/// Where the attribute `type` is defined.
const SCHEMA_INSTANCE: &str = "http://www.w3.org/2001/XMLSchema-instance";

/// The answer to GET Object acl.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessControlPolicy {
    /// The account that owns the object.
    pub owner: String,
    /// Who may do what: an account or the address of a group, and a permission.
    pub grants: Vec<(String, String)>,
}

impl AccessControlPolicy {
    /// Everybody, as grants name them.
    pub const ALL_USERS: &str = "http://cam.qcloud.com/groups/global/AllUsers";

    /// Writes the body.
    pub fn encode(&self) -> String {
        let mut xml = XmlWriter::with_capacity(256);
        xml.element("AccessControlPolicy", |xml| {
            xml.element("Owner", |xml| {
                xml.leaf("ID", &self.owner);
                xml.leaf("DisplayName", &self.owner);
            });
            xml.element("AccessControlList", |xml| {
                for (grantee, permission) in &self.grants {
                    xml.element("Grant", |xml| {
                        let (kind, name) =
                            if grantee.contains("://") { ("Group", "URI") } else { ("CanonicalUser", "ID") };
                        // What it is stands in an attribute, and clients that send the list again look for it.
                        let attributes = format!("xmlns:xsi=\"{SCHEMA_INSTANCE}\" xsi:type=\"{kind}\"");
                        xml.element_with("Grantee", &attributes, |xml| xml.leaf(name, grantee));
                        xml.leaf("Permission", permission);
                    });
                }
            });
        });
        xml.finish()
    }

    /// Reads the body.
    pub fn decode(body: &[u8]) -> Result<AccessControlPolicy, AnswerError> {
        let root = root_of(body, "AccessControlPolicy")?;
        let grantee = |grant: &Element| {
            let grantee = grant.child("Grantee")?;
            grantee.optional("URI").or_else(|| grantee.optional("ID")).map(str::to_owned)
        };
        let grants = root.child("AccessControlList").into_iter().flat_map(|list| list.children("Grant"));
        let grants = grants.filter_map(|grant| Some((grantee(grant)?, grant.optional("Permission")?.to_owned())));
        Ok(AccessControlPolicy {
            owner: root.child("Owner").map(|owner| owner.text_or_empty("ID").to_owned()).unwrap_or_default(),
            grants: grants.collect(),
        })
    }
}

/// The answer to GET Object attributes, as far as they were asked for. S3's alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GetObjectAttributesOutput {
    /// The version.
    pub etag: Option<ETag>,
    /// The digest: how it was taken, and in base64.
    pub digest: Option<(ObjectDigest, String)>,
    /// The storage class.
    pub storage_class: Option<String>,
    /// Bytes in it.
    pub size: Option<u64>,
}

impl GetObjectAttributesOutput {
    /// Writes the body.
    pub fn encode(&self) -> String {
        let mut xml = XmlWriter::with_capacity(512);
        xml.element("GetObjectAttributesResponse", |xml| {
            xml.leaf_if("ETag", self.etag.as_ref().map(ETag::text));
            if self.digest.is_some() {
                xml.element("Checksum", |xml| write_digest(xml, self.digest.as_ref()));
            }
            xml.leaf_if("StorageClass", self.storage_class.as_ref());
            xml.leaf_if("ObjectSize", self.size);
        });
        xml.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_the_same_in_a_header_and_in_a_body() {
        let tagging = Tagging { tags: vec![("team".into(), "a b&c".into()), ("empty".into(), String::new())] };
        assert_eq!(tagging.header(), "team=a%20b%26c&empty=");
        assert_eq!(Tagging::of_header(&tagging.header()), tagging);
        assert_eq!(Tagging::decode(tagging.encode().as_bytes()).unwrap(), tagging);
        assert_eq!(Tagging::decode(b"<Tagging><TagSet/></Tagging>").unwrap(), Tagging::default());
    }

    #[test]
    fn an_access_list_comes_back() {
        let grants =
            vec![("125".into(), "FULL_CONTROL".into()), (AccessControlPolicy::ALL_USERS.into(), "READ".into())];
        let policy = AccessControlPolicy { owner: "125".into(), grants };
        assert_eq!(AccessControlPolicy::decode(policy.encode().as_bytes()).unwrap(), policy);
    }
}
