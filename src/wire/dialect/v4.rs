//! Signature version 4 as a service checks it: of a request, in its headers or in its parameters, and of the chunks of a body that
//! is sent in such.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use crate::wire::date;
use crate::wire::escape::{escape, escape_path};
use crate::wire::request::{Headers, query_value};
use crate::wire::sign::{Credentials, SKEW_SECONDS_MAX, Signable, SignatureError, decode_hex, hex};

/// What the algorithm is called, in headers and parameters.
pub(super) const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// The header and parameter with the token of a temporary key.
const TOKEN: &str = "x-amz-security-token";
/// The header that says what is signed of the body.
pub(super) const CONTENT_SHA256: &str = "x-amz-content-sha256";
/// Instead of a digest, where the body is not signed.
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";
/// The longest that a signature in parameters is valid, in seconds: a week.
const EXPIRES_SECONDS_MAX: u64 = 7 * 86_400;

type Key = [u8; 32];

/// What a request that is signed says of its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignedBody {
    /// Nothing.
    Unsigned,
    /// The SHA-256 of its bytes.
    Sha256([u8; 32]),
    /// It comes in chunks with names and lengths of their own; with a key each of them is signed.
    Chunked(Option<ChunkKey>),
}

/// Checks the signatures of chunks, each of which covers the one before.
#[derive(Clone, PartialEq, Eq)]
pub struct ChunkKey {
    key: Key,
    time: String,
    scope: String,
    previous: String,
}

impl std::fmt::Debug for ChunkKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChunkKey").field("scope", &self.scope).finish_non_exhaustive()
    }
}

impl ChunkKey {
    /// Whether `signature` is that of the next chunk, whose bytes have the SHA-256 `digest`.
    pub(super) fn is_of_chunk(&mut self, digest: Sha256, signature: &str) -> bool {
        let (nothing, digest) = (hex(&Sha256::digest(b"")), hex(&digest.finalize()));
        self.is_next("AWS4-HMAC-SHA256-PAYLOAD", &format!("{nothing}\n{digest}"), signature)
    }

    /// Whether `signature` is that of what comes after the last chunk.
    pub(super) fn is_of_trailer(&mut self, lines: &str, signature: &str) -> bool {
        let digest = hex(&Sha256::digest(lines.as_bytes()));
        self.is_next("AWS4-HMAC-SHA256-TRAILER", &digest, signature)
    }

    fn is_next(&mut self, kind: &str, what: &str, signature: &str) -> bool {
        let text = format!("{kind}\n{}\n{}\n{}\n{what}", self.time, self.scope, self.previous);
        let is_right = is_mac_of(&self.key, &text, signature);
        signature.clone_into(&mut self.previous);
        is_right
    }
}

/// Whether a request is signed by this version.
pub(super) fn is_used(request: &Signable<'_>) -> bool {
    let in_header = Headers(request.headers).get("authorization").is_some_and(|value| value.starts_with(ALGORITHM));
    in_header || parameter(request, "x-amz-algorithm").is_some()
}

/// Checks the signature of a request as it was received, and tells what it says of the body.
pub(super) fn verify(
    request: &Signable<'_>,
    key_of: impl FnOnce(&str) -> Option<Credentials>,
    now: u64,
) -> Result<SignedBody, SignatureError> {
    let claim = Claim::of(request)?;
    claim.check_time(now)?;
    let credentials = key_of(&claim.secret_id).ok_or(SignatureError::UnknownKey)?;
    if let Some(expected) = &credentials.token {
        let given = Headers(request.headers).get(TOKEN).or_else(|| parameter(request, TOKEN));
        if given != Some(expected) {
            return Err(SignatureError::Token);
        }
    }
    let header = Headers(request.headers).get(CONTENT_SHA256);
    // A signature in parameters was made before there was a body.
    let unless_said = if claim.expires.is_some() { UNSIGNED.to_owned() } else { hex(&Sha256::digest(b"")) };
    let of_body = header.map_or(unless_said, str::to_owned);
    let key = signing_key(&credentials.secret_key, &claim.scope);
    let canonical = claim.canonical(request, &of_body);
    let digest = hex(&Sha256::digest(canonical.as_bytes()));
    let text = format!("{ALGORITHM}\n{}\n{}\n{digest}", claim.time, claim.scope);
    if !is_mac_of(&key, &text, &claim.signature) {
        return Err(SignatureError::Mismatch);
    }
    body_of(&of_body, || ChunkKey {
        key,
        time: claim.time.clone(),
        scope: claim.scope.clone(),
        previous: claim.signature.clone(),
    })
}

fn body_of(said: &str, key: impl FnOnce() -> ChunkKey) -> Result<SignedBody, SignatureError> {
    match said {
        UNSIGNED => Ok(SignedBody::Unsigned),
        "STREAMING-UNSIGNED-PAYLOAD-TRAILER" => Ok(SignedBody::Chunked(None)),
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" | "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER" => {
            Ok(SignedBody::Chunked(Some(key())))
        }
        digest => decode_hex(digest).map(SignedBody::Sha256).ok_or(SignatureError::Malformed(CONTENT_SHA256)),
    }
}

/// A parameter, whose name some clients spell with other capitals.
fn parameter<'r>(request: &'r Signable<'_>, name: &str) -> Option<&'r str> {
    let (name, _) = request.query.iter().find(|(key, _)| key.eq_ignore_ascii_case(name))?;
    query_value(request.query, name).filter(|value| !value.is_empty())
}

/// What a signature says of itself.
struct Claim {
    secret_id: String,
    /// Day, region, service and an end word, as they are hashed.
    scope: String,
    /// As received.
    time: String,
    signed_at: SystemTime,
    /// For how many seconds, where it stands in the parameters.
    expires: Option<u64>,
    /// Names of the signed headers, lower-case.
    headers: Vec<String>,
    signature: String,
}

impl Claim {
    fn of(request: &Signable<'_>) -> Result<Claim, SignatureError> {
        let headers = Headers(request.headers);
        match headers.get("authorization") {
            Some(value) => {
                let fields = value.strip_prefix(ALGORITHM).ok_or(SignatureError::Malformed("Authorization"))?;
                let field = |name: &str| {
                    let mut pairs = fields.split(',').filter_map(|pair| pair.trim().split_once('='));
                    pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
                };
                let time = headers.get("x-amz-date").or_else(|| headers.get("date"));
                Claim::read(field("Credential"), time, None, field("SignedHeaders"), field("Signature"))
            }
            None => {
                let field = |name| parameter(request, name);
                let expires = field("x-amz-expires").ok_or(SignatureError::Malformed("X-Amz-Expires"))?;
                let expires = expires.parse().ok().filter(|seconds| (1..=EXPIRES_SECONDS_MAX).contains(seconds));
                let expires = expires.ok_or(SignatureError::Malformed("X-Amz-Expires"))?;
                Claim::read(
                    field("x-amz-credential"),
                    field("x-amz-date"),
                    Some(expires),
                    field("x-amz-signedheaders"),
                    field("x-amz-signature"),
                )
            }
        }
    }

    fn read(
        credential: Option<&str>,
        time: Option<&str>,
        expires: Option<u64>,
        headers: Option<&str>,
        signature: Option<&str>,
    ) -> Result<Claim, SignatureError> {
        let (secret_id, scope) = credential
            .and_then(|credential| credential.split_once('/'))
            .ok_or(SignatureError::Malformed("Credential"))?;
        let words: Vec<&str> = scope.split('/').collect();
        let time = time.ok_or(SignatureError::Malformed("X-Amz-Date"))?;
        let signed_at = date::parse(time).ok_or(SignatureError::Malformed("X-Amz-Date"))?;
        let is_of_day = |day: &str| time.starts_with(day) || !time.starts_with(|first: char| first.is_ascii_digit());
        if !matches!(*words, [day, _, "s3", "aws4_request"] if is_of_day(day)) {
            return Err(SignatureError::Malformed("Credential"));
        }
        let headers = headers.ok_or(SignatureError::Malformed("SignedHeaders"))?;
        Ok(Claim {
            secret_id: secret_id.to_owned(),
            scope: scope.to_owned(),
            time: time.to_owned(),
            signed_at,
            expires,
            headers: headers.split(';').map(str::to_ascii_lowercase).collect(),
            signature: signature.ok_or(SignatureError::Malformed("Signature"))?.to_owned(),
        })
    }

    fn check_time(&self, now: u64) -> Result<(), SignatureError> {
        let now = UNIX_EPOCH.checked_add(Duration::from_secs(now)).unwrap_or(self.signed_at);
        let ahead = self.signed_at.duration_since(now).unwrap_or_default();
        let behind = now.duration_since(self.signed_at).unwrap_or_default();
        let skew_max = Duration::from_secs(SKEW_SECONDS_MAX);
        match self.expires {
            _ if ahead > skew_max => Err(SignatureError::Skewed),
            Some(expires) if behind > Duration::from_secs(expires) => Err(SignatureError::Expired),
            None if behind > skew_max => Err(SignatureError::Skewed),
            _ => Ok(()),
        }
    }

    /// The request in the form that is hashed.
    fn canonical(&self, request: &Signable<'_>, of_body: &str) -> String {
        let params = request.query.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("x-amz-signature"));
        let mut params: Vec<(String, String)> =
            params.map(|(name, value)| (escape(name), escape(value.as_deref().unwrap_or("")))).collect();
        params.sort();
        let params: Vec<String> = params.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut text = format!("{}\n{}\n{}\n", request.method, escape_path(request.path), params.join("&"));
        for name in &self.headers {
            let lines = request.headers.iter().filter(|(line, _)| line.eq_ignore_ascii_case(name));
            let values: Vec<String> = lines.map(|(_, value)| single_blanks(value)).collect();
            text.push_str(&format!("{name}:{}\n", values.join(",")));
        }
        text.push_str(&format!("\n{}\n{of_body}", self.headers.join(";")));
        text
    }
}

/// A header's value as it is signed.
fn single_blanks(value: &str) -> String {
    value.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// The key of a day, a region and a service.
fn signing_key(secret_key: &str, scope: &str) -> Key {
    let first = format!("AWS4{secret_key}").into_bytes();
    let key = scope.split('/').fold(first, |key, word| mac(&key, word).finalize().into_bytes().to_vec());
    key.try_into().unwrap_or_default()
}

fn mac(key: &[u8], text: &str) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(text.as_bytes());
    mac
}

/// Whether `signature` is that of a text. Takes the same time wherever the first difference is.
fn is_mac_of(key: &Key, text: &str, signature: &str) -> bool {
    decode_hex(signature).is_some_and(|signature: [u8; 32]| mac(key, text).verify_slice(&signature).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::escape::parse_query;

    fn credentials(id: &str) -> Option<Credentials> {
        (id == "AKIAIOSFODNN7EXAMPLE").then(|| Credentials {
            secret_id: id.to_owned(),
            secret_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into(),
            token: None,
        })
    }

    /// 2013-05-24, 00:00:00, when the examples of the documentation were signed.
    const THEN: u64 = 1_369_353_600;

    /// The examples "GET Object" and "PUT Object" of the documentation of signature version 4 for S3.
    #[test]
    fn the_documented_signatures_are_right_and_others_are_not() {
        let authorization = |headers: &str, signature: &str| {
            format!(
                "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,\
                 SignedHeaders={headers},Signature={signature}"
            )
        };
        let get = authorization(
            "host;range;x-amz-content-sha256;x-amz-date",
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        );
        let nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let headers = [
            ("Host", "examplebucket.s3.amazonaws.com"),
            ("Range", "bytes=0-9"),
            ("x-amz-date", "20130524T000000Z"),
            (CONTENT_SHA256, nothing),
            ("Authorization", &get),
        ];
        let request = Signable { method: "GET", path: "/test.txt", query: &[], headers: &headers };
        assert!(is_used(&request));
        assert!(matches!(verify(&request, credentials, THEN), Ok(SignedBody::Sha256(_))));
        assert_eq!(verify(&request, credentials, THEN + 901), Err(SignatureError::Skewed));
        assert_eq!(verify(&request, credentials, THEN - 901), Err(SignatureError::Skewed));
        assert_eq!(verify(&request, |_| None, THEN), Err(SignatureError::UnknownKey));
        for other in [Signable { path: "/other", ..request }, Signable { method: "HEAD", ..request }] {
            assert_eq!(verify(&other, credentials, THEN), Err(SignatureError::Mismatch));
        }
        let put = authorization(
            "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
        );
        let headers = [
            ("date", "Fri, 24 May 2013 00:00:00 GMT"),
            ("host", "examplebucket.s3.amazonaws.com"),
            (CONTENT_SHA256, "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"),
            ("x-amz-date", "20130524T000000Z"),
            ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
            ("authorization", &put),
        ];
        let request = Signable { method: "PUT", path: "/test$file.text", query: &[], headers: &headers };
        assert!(verify(&request, credentials, THEN).is_ok());
    }

    /// The example of a presigned URL.
    #[test]
    fn a_signature_in_parameters_ends_when_it_says() {
        let query = parse_query(
            "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request\
             &X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host\
             &X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404",
        )
        .unwrap();
        let headers = [("host", "examplebucket.s3.amazonaws.com")];
        let request = Signable { method: "GET", path: "/test.txt", query: &query, headers: &headers };
        assert_eq!(verify(&request, credentials, THEN + 86_400), Ok(SignedBody::Unsigned));
        assert_eq!(verify(&request, credentials, THEN + 86_401), Err(SignatureError::Expired));
        assert_eq!(verify(&Signable { query: &query[..4], ..request }, credentials, THEN), {
            Err(SignatureError::Malformed("SignedHeaders"))
        });
    }
}
