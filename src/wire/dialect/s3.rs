//! S3's words for what COS calls otherwise, and signature version 4.

use std::borrow::Cow;
use std::time::{Duration, UNIX_EPOCH};

use aws_credential_types::Credentials as AwsCredentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings, UriPathNormalizationMode,
    sign,
};
use aws_sigv4::sign::v4;

use crate::object::{BucketName, ETag, Encryption};
use crate::wire::answer::CRC64;
use crate::wire::attributes::ENCRYPTION;
use crate::wire::digest::{ContentMd5, DigestAlgorithm};
use crate::wire::request::{HeaderPair, RequestHead};
use crate::wire::sign::{Credentials, KeyTime};

/// What the names of COS's own headers begin with, and those of S3.
const COS: &str = "x-cos-";
pub(super) const AMZ: &str = "x-amz-";

/// Headers that mean something to COS alone.
const COS_ALONE: [&str; 2] = ["x-cos-content-sha1", "x-cos-traffic-limit"];

/// Instead of the digest of a body, which `Content-MD5` vouches for.
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";

/// S3, as one bucket of a service speaks it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3 {
    /// What signatures name.
    region: String,
    /// The bucket where the path names it, and not the host.
    in_path: Option<BucketName>,
}

impl S3 {
    pub(super) fn new(region: &str, in_path: Option<BucketName>) -> S3 {
        S3 { region: region.to_owned(), in_path }
    }

    pub(super) fn region(&self) -> &str {
        &self.region
    }

    pub(super) fn is_in_path(&self) -> bool {
        self.in_path.is_some()
    }

    pub(super) fn addressing(&self) -> String {
        let place = if self.is_in_path() { "the path (--path-style)" } else { "the host" };
        format!("the bucket in {place}, signed for the region {}", self.region)
    }

    pub(super) fn outgoing(&self, head: &RequestHead) -> RequestHead {
        let mut out = head.clone();
        if let Some(bucket) = &self.in_path {
            out.path = if head.path == "/" { format!("/{bucket}") } else { format!("/{bucket}{}", head.path) };
        }
        // Escaped names have blanks as `+` at some services and as `%20` at others; as they are, they are the same.
        out.query.retain(|(name, _)| name != "encoding-type");
        out.headers.retain(|(name, _)| !COS_ALONE.contains(&&**name));
        for (name, value) in &mut out.headers {
            if let Some(rest) = name.strip_prefix(COS) {
                if let "metadata-directive" | "tagging-directive" = rest {
                    *value = if value.eq_ignore_ascii_case("copy") { "COPY".into() } else { "REPLACE".into() };
                }
                if let Some(theirs) = their_value(name, value) {
                    theirs.clone_into(value);
                }
                if rest == "forbid-overwrite" {
                    (*name, *value) = (Cow::Borrowed("if-none-match"), "*".to_owned());
                } else if let Some(theirs) = their_name(name) {
                    *name = Cow::Owned(theirs);
                }
            }
        }
        out
    }

    pub(super) fn key(&self, credentials: &Credentials, key_time: KeyTime) -> V4Key {
        let Credentials { secret_id, secret_key, token } = credentials.clone();
        let credentials = AwsCredentials::new(secret_id, secret_key, token, None, "cosmount");
        V4Key { credentials, region: self.region.clone(), key_time }
    }
}

/// A header of S3 as COS has it. The checksum of all bytes is told as COS tells its own, as a number; [`crate::object::Limits`] say
/// of which kind it is.
pub(super) fn own_header(name: &str, value: &str) -> Option<(String, Option<String>)> {
    let own = own_name(name)?;
    if own.eq_ignore_ascii_case(CRC64) {
        // Of a gateway to COS, whose checksum is of another kind than is counted by here.
        return None;
    }
    let digest = DigestAlgorithm::Crc64Nvme;
    if own.eq_ignore_ascii_case(digest.header()) {
        return Some((CRC64.to_owned(), Some(digest.crc64(value)?.to_string())));
    }
    let other = own_value(&own, value).map(str::to_owned);
    Some((own, other))
}

/// S3's name of an encryption by a key service, which COS has as [`Encryption::OF_KMS`].
const AWS_KMS: &str = "aws:kms";

/// What COS says where S3 has this value in the header that COS calls `own`, where that is something else.
pub(super) fn own_value(own: &str, value: &str) -> Option<&'static str> {
    (own.eq_ignore_ascii_case(ENCRYPTION) && value == AWS_KMS).then_some(Encryption::OF_KMS)
}

/// The reverse of [`own_value`].
pub(super) fn their_value(own: &str, value: &str) -> Option<&'static str> {
    (own == ENCRYPTION && value == Encryption::OF_KMS).then_some(AWS_KMS)
}

/// What names an encryption's key, at COS and in S3, after what all names begin with.
const KMS_KEYS: [&str; 2] = ["server-side-encryption-cos-kms-key-id", "server-side-encryption-aws-kms-key-id"];

/// COS's name of a header of S3.
pub(super) fn own_name(name: &str) -> Option<String> {
    let [of_cos, of_s3] = KMS_KEYS;
    let rest = name.get(AMZ.len()..).filter(|_| name[..AMZ.len()].eq_ignore_ascii_case(AMZ))?;
    Some(format!("{COS}{}", if rest.eq_ignore_ascii_case(of_s3) { of_cos } else { rest }))
}

/// S3's name of a header of COS.
pub(super) fn their_name(name: &str) -> Option<String> {
    let [of_cos, of_s3] = KMS_KEYS;
    let rest = name.strip_prefix(COS)?;
    Some(format!("{AMZ}{}", if rest == of_cos { of_s3 } else { rest }))
}

/// The MD5 of the MD5s of all parts, and their number.
pub(super) fn etag_of_parts(parts: &[ETag]) -> Option<ETag> {
    let digests: Vec<[u8; 16]> = parts.iter().map(|part| digest_of(&part.text())).collect::<Option<_>>()?;
    let whole = ContentMd5::new(digests.iter().map(|digest| &digest[..]));
    Some(ETag::new(format!("{}-{}", whole.hex(), parts.len())))
}

/// Sixteen bytes of their hex digits.
fn digest_of(hex: &str) -> Option<[u8; 16]> {
    let is_hex = hex.len() == 32 && hex.bytes().all(|digit| digit.is_ascii_hexdigit());
    u128::from_str_radix(hex, 16).ok().filter(|_| is_hex).map(u128::to_be_bytes)
}

/// Signs by version 4.
#[derive(Clone)]
pub struct V4Key {
    credentials: AwsCredentials,
    region: String,
    key_time: KeyTime,
}

impl std::fmt::Debug for V4Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("V4Key")
            .field("access_key_id", &self.credentials.access_key_id())
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

impl V4Key {
    pub(super) fn key_time(&self) -> KeyTime {
        self.key_time
    }

    pub(super) fn sign(&self, head: &RequestHead, host: &str, now: u64) -> Vec<HeaderPair> {
        let identity = self.credentials.clone().into();
        let mut settings = SigningSettings::default();
        // The path is escaped once, and `.` and `//` are names like others.
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name("s3")
            .time(UNIX_EPOCH + Duration::from_secs(now))
            .settings(settings)
            .build();
        let url = format!("http://{host}{}", head.target());
        let headers = head.headers.iter().map(|(name, value)| (&**name, value.as_str()));
        let headers = headers.chain(std::iter::once(("host", host)));
        let body = SignableBody::Precomputed(UNSIGNED.to_owned());
        let signed = params.ok().and_then(|params| {
            let request = SignableRequest::new(head.method.as_str(), url, headers, body).ok()?;
            Some(sign(request, &params.into()).ok()?.into_parts().0)
        });
        let Some(instructions) = signed else { return Vec::new() };
        let (headers, _) = instructions.into_parts();
        headers.into_iter().map(|header| (Cow::Owned(header.name().to_owned()), header.value().to_owned())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::request::Method;

    fn head(headers: &[(&'static str, &str)]) -> RequestHead {
        RequestHead {
            method: Method::Put,
            path: "/a b/c".into(),
            query: vec![("encoding-type".into(), Some("url".into())), ("prefix".into(), Some("x y".into()))],
            headers: headers.iter().map(|(name, value)| ((*name).into(), (*value).to_owned())).collect(),
            body: None,
        }
    }

    #[test]
    fn what_cos_calls_otherwise_has_its_name_in_s3() {
        let bucket = BucketName::of_s3("photos").unwrap();
        let out = S3::new("us-east-1", Some(bucket)).outgoing(&head(&[
            ("content-type", "text/plain"),
            ("x-cos-meta-mode", "33188"),
            ("x-cos-metadata-directive", "Replaced"),
            ("x-cos-copy-source", "/photos/a"),
            ("x-cos-forbid-overwrite", "true"),
            ("x-cos-traffic-limit", "1"),
        ]));
        assert_eq!((out.path.as_str(), out.query.len()), ("/photos/a b/c", 1));
        let headers: Vec<(&str, &str)> = out.headers.iter().map(|(name, value)| (&**name, value.as_str())).collect();
        assert_eq!(
            headers,
            [
                ("content-type", "text/plain"),
                ("x-amz-meta-mode", "33188"),
                ("x-amz-metadata-directive", "REPLACE"),
                ("x-amz-copy-source", "/photos/a"),
                ("if-none-match", "*"),
            ]
        );
        let root = RequestHead { path: "/".into(), ..head(&[]) };
        assert_eq!(S3::new("r", None).outgoing(&root).path, "/");
        assert_eq!(own_name("X-Amz-Request-Id").as_deref(), Some("x-cos-Request-Id"));
        assert_eq!((own_name("etag"), own_name("x-am")), (None, None));
        let told = own_header("X-Amz-Checksum-Crc64nvme", "rosUhgp5mIg=");
        assert_eq!(told, Some((CRC64.to_owned(), Some(0xae8b_1486_0a79_9888_u64.to_string()))));
        assert_eq!(own_header("x-amz-checksum-crc64nvme", "strange"), None);
        assert_eq!(own_header("x-amz-hash-crc64ecma", "1"), None);
    }

    #[test]
    fn an_object_of_parts_has_the_digest_of_their_digests() {
        let part = |hex: &str| ETag::new(hex);
        let whole =
            etag_of_parts(&[part("d41d8cd98f00b204e9800998ecf8427e"), part("900150983cd24fb0d6963f7d28e17f72")]);
        assert_eq!(whole.unwrap().text(), "66027c6d92d43d01c4f2aa8759629be3-2");
        assert_eq!(etag_of_parts(&[part("d41d8cd98f00b204e9800998ecf8427e-3")]), None);
    }

    /// The example of the documentation of signature version 4 for S3, "GET Object", but with a body that is not signed.
    #[test]
    fn a_signature_covers_all_headers_and_names_the_region() {
        let credentials = Credentials {
            secret_id: "AKIAIOSFODNN7EXAMPLE".into(),
            secret_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into(),
            token: Some("token".into()),
        };
        let key = S3::new("us-east-1", None).key(&credentials, KeyTime { start: 0, end: u64::MAX });
        let signed = key.sign(&head(&[("x-amz-meta-a", "1")]), "photos.s3.amazonaws.com", 1_369_353_600);
        let value = |name: &str| signed.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str());
        assert_eq!(value("x-amz-date"), Some("20130524T000000Z"));
        assert_eq!((value("x-amz-content-sha256"), value("x-amz-security-token")), (Some(UNSIGNED), Some("token")));
        let authorization = value("authorization").unwrap();
        assert!(authorization.starts_with(
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, SignedHeaders=host;"
        ));
        assert!(authorization.contains("x-amz-meta-a"), "{authorization}");
        assert!(!format!("{key:?}").contains("wJalr"));
    }
}
