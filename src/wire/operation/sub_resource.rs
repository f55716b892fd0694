//! Requests about what an object has beside bytes and metadata: its tags, its access list, and where it is kept
//! (`cos-api.md` 3.9).

use super::body::{self, malformed};
use super::fields;
use super::object::head_of;
use super::{RequestError, push_version, version_of};
use crate::object::ObjectKey;
use crate::wire::code::Code;
use crate::wire::escape::QueryPair;
use crate::wire::request::{Method, RequestHead};
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
