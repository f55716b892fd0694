//! The XML bodies of requests, written and read.

use std::fmt;

use super::{CompletedPart, DeleteMultipleObjects, ObjectVersion, RequestError};
use crate::object::{ETag, PartNumber};
use crate::wire::code::Code;
use crate::wire::digest::content_md5;
use crate::wire::request::RequestHead;
use crate::wire::xml::{Element, XmlWriter, parse};

/// The most keys of one Delete Multiple Objects (`cos-api.md` 3.5).
pub(super) const DELETE_COUNT_MAX: usize = 1000;

/// Makes `xml` the body. The calls on buckets insist on `Content-MD5` (`cos-api.md` 6.1); of the others the service
/// refuses what was damaged on the way only where it has one.
pub(super) fn set_xml(head: &mut RequestHead, xml: String) {
    head.headers.push(("content-type".into(), "application/xml".to_owned()));
    head.headers.push(("content-md5".into(), content_md5(xml.as_bytes())));
    head.body = Some(xml);
}

pub(super) fn encode_parts(parts: &[CompletedPart]) -> String {
    // A part is 40 bytes of tags, up to 5 digits, and an ETag that has been 32 to 42 bytes with its quotes.
    let mut xml = XmlWriter::with_capacity(parts.len() * 128 + 64);
    xml.element("CompleteMultipartUpload", |xml| {
        for part in parts {
            xml.element("Part", |xml| {
                xml.leaf("PartNumber", part.number);
                xml.leaf("ETag", part.etag.quoted());
            });
        }
    });
    xml.finish()
}

pub(super) fn decode_parts(xml: &[u8]) -> Result<Vec<CompletedPart>, RequestError> {
    let root = root_of(xml, "CompleteMultipartUpload")?;
    let parts: Vec<CompletedPart> = root.children("Part").map(decode_part).collect::<Result<_, _>>()?;
    if parts.is_empty() {
        return Err(RequestError::new(Code::MalformedXML, "a Complete needs at least one Part"));
    }
    Ok(parts)
}

fn decode_part(part: &Element) -> Result<CompletedPart, RequestError> {
    let number: u64 = part.number("PartNumber").map_err(|error| malformed(&error))?;
    let number = PartNumber::new(number)
        .ok_or_else(|| RequestError::new(Code::InvalidPart, format!("{number} is not the number of a part")))?;
    let etag = ETag::new(part.text("ETag").map_err(|error| malformed(&error))?);
    Ok(CompletedPart { number, etag })
}

pub(super) fn encode_delete(delete: &DeleteMultipleObjects) -> String {
    let mut xml = XmlWriter::with_capacity(delete.objects.len() * 128 + 64);
    xml.element("Delete", |xml| {
        xml.leaf("Quiet", delete.quiet);
        for object in &delete.objects {
            xml.element("Object", |xml| {
                xml.leaf("Key", &object.key);
                xml.leaf_if("VersionId", object.version.as_ref());
            });
        }
    });
    xml.finish()
}

pub(super) fn decode_delete(xml: &[u8]) -> Result<DeleteMultipleObjects, RequestError> {
    let root = root_of(xml, "Delete")?;
    let decode_object = |object: &Element| {
        let key = object.text("Key").map_err(|error| malformed(&error))?.to_owned();
        let version = object.optional("VersionId").filter(|version| !version.is_empty());
        Ok(ObjectVersion { key, version: version.map(str::to_owned) })
    };
    let objects: Vec<ObjectVersion> = root.children("Object").map(decode_object).collect::<Result<_, _>>()?;
    if objects.is_empty() || objects.len() > DELETE_COUNT_MAX {
        let message = format!("a Delete names 1 to {DELETE_COUNT_MAX} objects, not {}", objects.len());
        return Err(RequestError::new(Code::MalformedXML, message));
    }
    let quiet = root.optional("Quiet").is_some_and(|quiet| quiet.trim().eq_ignore_ascii_case("true"));
    Ok(DeleteMultipleObjects { quiet, objects })
}

pub(super) fn root_of(xml: &[u8], name: &str) -> Result<Element, RequestError> {
    let root = parse(xml).map_err(|error| malformed(&error))?;
    if root.name != name {
        return Err(RequestError::new(Code::MalformedXML, format!("the root is {:?} and not {name}", root.name)));
    }
    Ok(root)
}

pub(super) fn malformed(error: &dyn fmt::Display) -> RequestError {
    RequestError::new(Code::MalformedXML, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn etags_are_read_in_every_kind_of_quotes() {
        let xml = b"\n <?xml version='1.0'?><CompleteMultipartUpload xmlns=\"x\">\
            <Part><PartNumber>1</PartNumber><ETag>\"a\"</ETag></Part>\
            <Part><ETag>&quot;b&quot;</ETag><PartNumber> 2 </PartNumber></Part>\
            <Part><PartNumber>3</PartNumber><ETag>c</ETag></Part></CompleteMultipartUpload>";
        let etags: Vec<_> = decode_parts(xml).unwrap().iter().map(|part| part.etag.to_string()).collect();
        assert_eq!(etags, ["a", "b", "c"]);
    }

    #[test]
    fn bodies_that_cannot_be_are_refused() {
        let part = |number: &str| {
            format!(
                "<CompleteMultipartUpload><Part><PartNumber>{number}</PartNumber><ETag>a</ETag></Part></CompleteMultipartUpload>"
            )
        };
        let table = [
            (String::new(), Code::MalformedXML),
            ("<CompleteMultipartUpload/>".to_owned(), Code::MalformedXML),
            ("<Other/>".to_owned(), Code::MalformedXML),
            (part("x"), Code::MalformedXML),
            (part("0"), Code::InvalidPart),
            (part("10001"), Code::InvalidPart),
        ];
        for (xml, code) in table {
            assert_eq!(decode_parts(xml.as_bytes()).unwrap_err().code, code, "{xml}");
        }
    }

    #[test]
    fn quiet_may_come_last_and_keys_are_plain_text() {
        let xml = b"<Delete><Object><Key>a%20+ &amp;&#10;\xE8\x85\xBE </Key><VersionId/></Object><Quiet>true</Quiet></Delete>";
        let delete = decode_delete(xml).unwrap();
        assert!(delete.quiet);
        assert_eq!(delete.objects, [ObjectVersion { key: "a%20+ &\n腾 ".into(), version: None }]);
        let too_many = DeleteMultipleObjects { quiet: false, objects: vec![delete.objects[0].clone(); 1001] };
        assert_eq!(decode_delete(encode_delete(&too_many).as_bytes()).unwrap_err().code, Code::MalformedXML);
    }
}
