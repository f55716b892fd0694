//! Requests about what a bucket is told and a service only keeps: rules for other origins, for what ends by itself, for who may do
//! what, and the like (`cos-api.md` 5.3, 5.4).

use super::body::{self, malformed};
use super::bucket::plain;
use super::fields;
use super::{Operation, RequestError};
use crate::wire::attributes::{ACL, ACLS};
use crate::wire::code::Code;
use crate::wire::escape::QueryPair;
use crate::wire::request::{Headers, Method, RequestHead};
use crate::wire::xml;

/// The longest one, in bytes.
const BODY_BYTES_MAX: usize = 1 << 20;

macro_rules! configurations {
    ($($(#[$doc:meta])* $name:ident $parameter:literal $root:literal $absent:ident;)+) => {
        /// What a bucket can be told, by the parameter that names it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum BucketConfiguration {
            $($(#[$doc])* $name,)+
        }

        impl BucketConfiguration {
            /// Every one.
            pub const ALL: &[BucketConfiguration] = &[$(BucketConfiguration::$name,)+];

            /// The parameter that names it, which is also what it is kept under.
            pub fn parameter(self) -> &'static str {
                match self { $(BucketConfiguration::$name => $parameter,)+ }
            }

            /// The root of its document; empty for the one that is no XML.
            pub fn root(self) -> &'static str {
                match self { $(BucketConfiguration::$name => $root,)+ }
            }

            /// What a bucket answers that was not told; `None` answers an empty document.
            pub fn absent(self) -> Option<Code> {
                match self { $(BucketConfiguration::$name => configurations!(@ $absent),)+ }
            }
        }
    };
    (@ Empty) => { None };
    (@ $code:ident) => { Some(Code::$code) };
}

configurations! {
    /// What ends by itself.
    Lifecycle "lifecycle" "LifecycleConfiguration" NoSuchLifecycleConfiguration;
    /// Which pages of other origins may ask.
    Cors "cors" "CORSConfiguration" NoSuchCORSConfiguration;
    /// Tags of the bucket itself.
    Tagging "tagging" "Tagging" NoSuchTagSet;
    /// Who may do what, in JSON.
    Policy "policy" "" NoSuchBucketPolicy;
    /// How objects are encrypted that do not say so.
    Encryption "encryption" "ServerSideEncryptionConfiguration" NoSuchEncryptionConfiguration;
    /// Its pages.
    Website "website" "WebsiteConfiguration" NoSuchWebsiteConfiguration;
    /// Where it goes a second time.
    Replication "replication" "ReplicationConfiguration" ReplicationConfigurationNotFoundError;
    /// Where requests are noted.
    Logging "logging" "BucketLoggingStatus" Empty;
    /// Who is told of changes.
    Notification "notification" "NotificationConfiguration" Empty;
    /// Whether it is near everywhere.
    Accelerate "accelerate" "AccelerateConfiguration" Empty;
    /// Which pages may lead to it.
    Referer "referer" "RefererConfiguration" Empty;
    /// Its own domains.
    Domain "domain" "DomainConfiguration" Empty;
    /// Where missing objects come from.
    Origin "origin" "OriginConfiguration" Empty;
    /// Whether classes follow the use.
    IntelligentTiering "intelligenttiering" "IntelligentTieringConfiguration" Empty;
    /// Who pays.
    RequestPayment "requestPayment" "RequestPaymentConfiguration" Empty;
    /// Whether public access lists count. S3's alone, as the next one.
    PublicAccessBlock "publicAccessBlock" "PublicAccessBlockConfiguration" NoSuchPublicAccessBlockConfiguration;
    /// To whom objects of other accounts belong.
    OwnershipControls "ownershipControls" "OwnershipControls" OwnershipControlsNotFoundError;
    /// Who may do what, by accounts.
    Acl "acl" "AccessControlPolicy" Empty;
}

impl BucketConfiguration {
    /// The one that a query names.
    pub(super) fn of(query: &[QueryPair]) -> Option<BucketConfiguration> {
        let asks = |name: &str| query.iter().any(|(parameter, _)| parameter == name);
        BucketConfiguration::ALL.iter().copied().find(|kind| asks(kind.parameter()))
    }

    /// The operation that a request about it is.
    pub(super) fn decode(self, method: Method, headers: Headers<'_>) -> Result<Operation, RequestError> {
        match method {
            Method::Get if self == BucketConfiguration::Lifecycle => Ok(Operation::GetBucketLifecycle),
            Method::Get => Ok(Operation::GetBucketConfiguration(self)),
            Method::Put => {
                let named = headers.get(ACL).filter(|_| self == BucketConfiguration::Acl);
                let document = named.unwrap_or("").to_owned();
                Ok(Operation::PutBucketConfiguration(PutBucketConfiguration { kind: self, document }))
            }
            Method::Delete => Ok(Operation::DeleteBucketConfiguration(self)),
            Method::Head | Method::Post => Err(RequestError::plain(Code::MethodNotAllowed)),
        }
    }

    pub(super) fn encode(self, method: Method) -> RequestHead {
        plain(method, Some(self.parameter()))
    }
}

/// PUT Bucket lifecycle, cors, tagging and so on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutBucketConfiguration {
    /// Which.
    pub kind: BucketConfiguration,
    /// Its document, which is empty until the body is read; the name of an access list where a header has that.
    pub document: String,
}

impl PutBucketConfiguration {
    pub(super) fn encode(&self) -> RequestHead {
        let mut head = self.kind.encode(Method::Put);
        let is_name = self.kind == BucketConfiguration::Acl && !self.document.starts_with('<');
        if is_name {
            head.headers.push((ACL.into(), self.document.clone()));
        }
        body::set_xml(&mut head, if is_name { String::new() } else { self.document.clone() });
        head
    }

    pub(super) fn read_body(&mut self, document: &[u8]) -> Result<(), RequestError> {
        let text = std::str::from_utf8(document).map_err(|error| malformed(&error))?;
        if document.len() > BODY_BYTES_MAX {
            return Err(RequestError::plain(Code::XMLSizeLimit));
        }
        match self.kind {
            BucketConfiguration::Policy if text.trim_start().starts_with('{') => {}
            BucketConfiguration::Policy => return Err(fields::invalid("a policy is a JSON object")),
            BucketConfiguration::Acl if text.is_empty() && ACLS.contains(&self.document.as_str()) => return Ok(()),
            kind => {
                body::root_of(document, kind.root())?;
            }
        }
        text.clone_into(&mut self.document);
        Ok(())
    }
}

/// Whether the body of a PUT Bucket asks for nothing but a place.
///
/// # Errors
/// `MalformedXML`.
pub fn asks_for_place_alone(document: &[u8]) -> Result<bool, RequestError> {
    if document.is_empty() {
        return Ok(true);
    }
    let root = xml::parse(document).map_err(|error| malformed(&error))?;
    Ok(root.name == "CreateBucketConfiguration" && root.all_children().all(|child| child.name == "LocationConstraint"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_documents_of_their_kind_are_taken() {
        let read = |kind, document: &str| {
            let mut put = PutBucketConfiguration { kind, document: String::new() };
            put.read_body(document.as_bytes()).map(|()| put.document).map_err(|error| error.code)
        };
        let cors = "<CORSConfiguration><CORSRule/></CORSConfiguration>";
        assert_eq!(read(BucketConfiguration::Cors, cors).as_deref(), Ok(cors));
        assert_eq!(read(BucketConfiguration::Lifecycle, cors), Err(Code::MalformedXML));
        assert_eq!(read(BucketConfiguration::Policy, "{}").as_deref(), Ok("{}"));
        assert_eq!(read(BucketConfiguration::Policy, cors), Err(Code::InvalidArgument));
        assert_eq!(read(BucketConfiguration::Acl, ""), Err(Code::MalformedXML));
        assert_eq!(read(BucketConfiguration::Website, ""), Err(Code::MalformedXML));
    }

    #[test]
    fn a_bucket_is_made_in_a_place_and_with_nothing_else() {
        let table = [
            ("", Ok(true)),
            (
                "<CreateBucketConfiguration><LocationConstraint>eu</LocationConstraint></CreateBucketConfiguration>",
                Ok(true),
            ),
            ("<CreateBucketConfiguration><BucketAZConfig>MAZ</BucketAZConfig></CreateBucketConfiguration>", Ok(false)),
            ("<a", Err(Code::MalformedXML)),
        ];
        for (document, expected) in table {
            assert_eq!(asks_for_place_alone(document.as_bytes()).map_err(|error| error.code), expected, "{document}");
        }
    }
}
