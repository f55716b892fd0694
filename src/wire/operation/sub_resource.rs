//! Requests about what an object has beside bytes and metadata: its tags, its access list, and where it is kept
//! (`cos-api.md` 3.9).

use super::body::{self, malformed};
use super::fields;
use super::object::head_of;
use super::{RequestError, push_version, version_of};
use crate::object::ObjectKey;
use crate::wire::answer::Tagging;
use crate::wire::attributes::{ACL, ACLS};
use crate::wire::code::Code;
use crate::wire::escape::QueryPair;
use crate::wire::request::{Headers, Method, RequestHead};
use crate::wire::xml::XmlWriter;

/// GET Object tagging: names and values of an object's tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GetObjectTagging {
    /// The object.
    pub key: ObjectKey,
    /// Its version; `None` for the newest.
    pub version: Option<String>,
}

impl GetObjectTagging {
    pub(super) fn encode(&self) -> RequestHead {
        of_sub_resource(Method::Get, &self.key, "tagging", self.version.as_deref())
    }

    pub(super) fn decode(key: ObjectKey, query: &[QueryPair]) -> GetObjectTagging {
        GetObjectTagging { key, version: version_of(query) }
    }
}

/// PUT Object tagging: the tags that an object is to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutObjectTagging {
    /// The object.
    pub key: ObjectKey,
    /// Its version; `None` for the newest.
    pub version: Option<String>,
    /// The tags. Empty until the body is read.
    pub tagging: Tagging,
}

impl PutObjectTagging {
    pub(super) fn encode(&self) -> RequestHead {
        let mut head = of_sub_resource(Method::Put, &self.key, "tagging", self.version.as_deref());
        body::set_xml(&mut head, self.tagging.encode());
        head
    }

    pub(super) fn decode(key: ObjectKey, query: &[QueryPair]) -> PutObjectTagging {
        PutObjectTagging { key, version: version_of(query), tagging: Tagging::default() }
    }

    pub(super) fn read_body(&mut self, xml: &[u8]) -> Result<(), RequestError> {
        self.tagging = Tagging::decode(xml).map_err(|error| malformed(&error))?;
        Ok(())
    }
}

/// DELETE Object tagging.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteObjectTagging {
    /// The object.
    pub key: ObjectKey,
    /// Its version; `None` for the newest.
    pub version: Option<String>,
}

impl DeleteObjectTagging {
    pub(super) fn encode(&self) -> RequestHead {
        of_sub_resource(Method::Delete, &self.key, "tagging", self.version.as_deref())
    }

    pub(super) fn decode(key: ObjectKey, query: &[QueryPair]) -> DeleteObjectTagging {
        DeleteObjectTagging { key, version: version_of(query) }
    }
}

/// GET Object attributes: S3's way to ask for some of what it knows of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GetObjectAttributes {
    /// The object.
    pub key: ObjectKey,
    /// Its version; `None` for the newest.
    pub version: Option<String>,
    /// What is asked for: `ETag`, `Checksum`, `ObjectParts`, `StorageClass`, `ObjectSize`.
    pub wanted: Vec<String>,
}

/// The header with what is asked for.
const OBJECT_ATTRIBUTES: &str = "x-cos-object-attributes";

impl GetObjectAttributes {
    pub(super) fn encode(&self) -> RequestHead {
        let mut head = of_sub_resource(Method::Get, &self.key, "attributes", self.version.as_deref());
        head.headers.push((OBJECT_ATTRIBUTES.into(), self.wanted.join(",")));
        head
    }

    pub(super) fn decode(key: ObjectKey, query: &[QueryPair], headers: Headers<'_>) -> GetObjectAttributes {
        let lines = headers.0.iter().filter(|(name, _)| name.eq_ignore_ascii_case(OBJECT_ATTRIBUTES));
        let wanted = lines.flat_map(|(_, value)| value.split(',')).map(|name| name.trim().to_owned());
        GetObjectAttributes { key, version: version_of(query), wanted: wanted.collect() }
    }
}

/// PUT Object acl: who is to be allowed what, by the name of a list or by the list itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutObjectAcl {
    /// The object.
    pub key: ObjectKey,
    /// The name of a list.
    pub named: Option<String>,
    /// The list; empty where there is a name, and until the body is read.
    pub document: String,
}

impl PutObjectAcl {
    pub(super) fn encode(&self) -> RequestHead {
        let mut head = of_sub_resource(Method::Put, &self.key, "acl", None);
        fields::push_header(&mut head.headers, ACL, self.named.as_deref());
        body::set_xml(&mut head, self.document.clone());
        head
    }

    pub(super) fn decode(key: ObjectKey, headers: Headers<'_>) -> PutObjectAcl {
        PutObjectAcl { key, named: headers.get(ACL).map(str::to_owned), document: String::new() }
    }

    pub(super) fn read_body(&mut self, xml: &[u8]) -> Result<(), RequestError> {
        let is_named = self.named.is_some();
        if let Some(name) = self.named.as_deref().filter(|name| !ACLS.contains(name)) {
            return Err(fields::invalid(format!("{ACL}: there is no access list {name:?}")));
        }
        if is_named && xml.is_empty() {
            return Ok(());
        }
        body::root_of(xml, "AccessControlPolicy")?;
        self.document = String::from_utf8_lossy(xml).into_owned();
        Ok(())
    }
}

/// GET Object acl: who may do what with an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GetObjectAcl {
    /// The object.
    pub key: ObjectKey,
}

impl GetObjectAcl {
    pub(super) fn encode(&self) -> RequestHead {
        of_sub_resource(Method::Get, &self.key, "acl", None)
    }
}

/// How much in a hurry a restoration is, which decides what it costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RestoreTier {
    /// Within minutes. Not for what is archived deeply.
    Expedited,
    /// Within hours.
    #[default]
    Standard,
    /// Within half a day, and cheapest.
    Bulk,
}

impl RestoreTier {
    /// Every tier.
    pub const ALL: [RestoreTier; 3] = [RestoreTier::Expedited, RestoreTier::Standard, RestoreTier::Bulk];

    /// The service's name for it.
    pub fn name(self) -> &'static str {
        match self {
            RestoreTier::Expedited => "Expedited",
            RestoreTier::Standard => "Standard",
            RestoreTier::Bulk => "Bulk",
        }
    }

    /// The tier of that name, in any case.
    pub fn parse(name: &str) -> Option<RestoreTier> {
        RestoreTier::ALL.into_iter().find(|tier| tier.name().eq_ignore_ascii_case(name.trim()))
    }
}

/// POST Object restore: make a copy of an archived object that can be read for some days.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoreObject {
    /// The object.
    pub key: ObjectKey,
    /// Its version; `None` for the newest.
    pub version: Option<String>,
    /// For how many days. 0 until the body is read, and in no request.
    pub days: u32,
    /// How soon.
    pub tier: RestoreTier,
}

impl RestoreObject {
    pub(super) fn encode(&self) -> RequestHead {
        let mut head = of_sub_resource(Method::Post, &self.key, "restore", self.version.as_deref());
        let mut xml = XmlWriter::with_capacity(160);
        xml.element("RestoreRequest", |xml| {
            xml.leaf("Days", self.days);
            xml.element("CASJobParameters", |xml| xml.leaf("Tier", self.tier.name()));
        });
        body::set_xml(&mut head, xml.finish());
        head
    }

    pub(super) fn decode(key: ObjectKey, query: &[QueryPair]) -> RestoreObject {
        RestoreObject { key, version: version_of(query), days: 0, tier: RestoreTier::default() }
    }

    pub(super) fn read_body(&mut self, xml: &[u8]) -> Result<(), RequestError> {
        /// The longest that the service keeps a copy.
        const DAYS_MAX: u32 = 365;
        let root = body::root_of(xml, "RestoreRequest")?;
        self.days = root.number("Days").map_err(|error| malformed(&error))?;
        if !(1..=DAYS_MAX).contains(&self.days) {
            return Err(fields::invalid(format!("Days: {} is outside 1 to {DAYS_MAX}", self.days)));
        }
        let tier = root.child("CASJobParameters").and_then(|parameters| parameters.optional("Tier"));
        self.tier = match tier {
            None => RestoreTier::default(),
            Some(name) => RestoreTier::parse(name)
                .ok_or_else(|| RequestError::new(Code::MalformedXML, format!("Tier: there is no {name:?}")))?,
        };
        Ok(())
    }
}

fn of_sub_resource(method: Method, key: &ObjectKey, name: &'static str, version: Option<&str>) -> RequestHead {
    let mut head = head_of(method, key);
    head.query.push((name.into(), None));
    push_version(&mut head, version);
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restoration_that_cannot_be_is_refused() {
        let read = |xml: &str| {
            let mut restore = RestoreObject::decode(ObjectKey::new("a").unwrap(), &[]);
            restore.read_body(xml.as_bytes()).map(|()| (restore.days, restore.tier)).map_err(|error| error.code)
        };
        let table = [
            ("<RestoreRequest><Days>3</Days></RestoreRequest>", Ok((3, RestoreTier::Standard))),
            (
                "<RestoreRequest><Days>1</Days><CASJobParameters><Tier>Bulk</Tier></CASJobParameters></RestoreRequest>",
                Ok((1, RestoreTier::Bulk)),
            ),
            ("<RestoreRequest><Days>0</Days></RestoreRequest>", Err(Code::InvalidArgument)),
            ("<RestoreRequest><Days>366</Days></RestoreRequest>", Err(Code::InvalidArgument)),
            ("<RestoreRequest/>", Err(Code::MalformedXML)),
            ("", Err(Code::MalformedXML)),
        ];
        for (xml, expected) in table {
            assert_eq!(read(xml), expected, "{xml}");
        }
    }
}
