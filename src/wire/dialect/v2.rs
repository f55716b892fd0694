//! Signature version 2, by which clients of S3 still sign URLs where they do not know the service.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use std::time::{Duration, UNIX_EPOCH};

use super::s3::AMZ;
use crate::wire::date;
use crate::wire::escape::escape_path;
use crate::wire::request::{Headers, query_value};
use crate::wire::sign::{Credentials, SKEW_SECONDS_MAX, Signable, SignatureError};

/// What `Authorization` begins with.
const SCHEME: &str = "AWS ";
/// The parameters that are signed, beside those that replace headers of the answer.
const SIGNED: [&str; 24] = [
    "accelerate",
    "acl",
    "append",
    "cors",
    "delete",
    "encryption",
    "lifecycle",
    "location",
    "logging",
    "notification",
    "partNumber",
    "policy",
    "position",
    "replication",
    "requestPayment",
    "restore",
    "tagging",
    "torrent",
    "uploadId",
    "uploads",
    "versionId",
    "versioning",
    "versions",
    "website",
];

/// Whether a request is signed by this version.
pub(super) fn is_used(request: &Signable<'_>) -> bool {
    let in_header = Headers(request.headers).get("authorization").is_some_and(|value| value.starts_with(SCHEME));
    in_header || query_value(request.query, "AWSAccessKeyId").is_some()
}

/// Checks the signature of a request as it was received. It covers nothing of the body.
pub(super) fn verify(
    request: &Signable<'_>,
    key_of: impl FnOnce(&str) -> Option<Credentials>,
    now: u64,
) -> Result<(), SignatureError> {
    let headers = Headers(request.headers);
    let (secret_id, signature, time) = match headers.get("authorization") {
        Some(value) => {
            let claim = value.strip_prefix(SCHEME).and_then(|claim| claim.split_once(':'));
            let (secret_id, signature) = claim.ok_or(SignatureError::Malformed("Authorization"))?;
            // Some write the zone as RFC 822 has it.
            let read = |text: &str| date::parse(&text.replace(" +0000", " GMT"));
            let dated = headers.get("x-amz-date").or_else(|| headers.get("date")).and_then(read);
            let dated = dated.ok_or(SignatureError::Malformed("Date"))?;
            let now = UNIX_EPOCH.checked_add(Duration::from_secs(now)).unwrap_or(dated);
            let apart = now.duration_since(dated).unwrap_or_else(|error| error.duration());
            if apart > Duration::from_secs(SKEW_SECONDS_MAX) {
                return Err(SignatureError::Skewed);
            }
            // That of S3's own is among the headers that are signed by name.
            let time = if headers.get("x-amz-date").is_some() { "" } else { headers.get("date").unwrap_or("") };
            (secret_id, signature, time)
        }
        None => {
            let text = |name: &'static str| query_value(request.query, name).ok_or(SignatureError::Malformed(name));
            let expires = text("Expires")?;
            let end: u64 = expires.parse().map_err(|_| SignatureError::Malformed("Expires"))?;
            if end < now {
                return Err(SignatureError::Expired);
            }
            (text("AWSAccessKeyId")?, text("Signature")?, expires)
        }
    };
    let credentials = key_of(secret_id).ok_or(SignatureError::UnknownKey)?;
    let token = headers.get("x-amz-security-token").or_else(|| query_value(request.query, "x-amz-security-token"));
    if credentials.token.is_some() && credentials.token.as_deref() != token {
        return Err(SignatureError::Token);
    }
    let signature = BASE64.decode(signature).map_err(|_| SignatureError::Malformed("Signature"))?;
    let path = escape_path(request.path);
    // The bucket is signed with the path, wherever it stands.
    let label = headers.get("host").and_then(|host| host.split_once('.')).map(|(label, _)| format!("/{label}{path}"));
    let is_right = |path: &str| {
        let mut mac = Hmac::<Sha1>::new_from_slice(credentials.secret_key.as_bytes()).expect("HMAC takes any key");
        mac.update(string_to_sign(request, time, path).as_bytes());
        mac.verify_slice(&signature).is_ok()
    };
    // And with a slash after it, if that is all.
    let bare = (!path.trim_start_matches('/').contains('/')).then(|| format!("{path}/"));
    let matches = [Some(path), label, bare].into_iter().flatten().any(|path| is_right(&path));
    if matches { Ok(()) } else { Err(SignatureError::Mismatch) }
}

fn string_to_sign(request: &Signable<'_>, time: &str, path: &str) -> String {
    let headers = Headers(request.headers);
    let header = |name| headers.get(name).unwrap_or("");
    let mut text = format!("{}\n{}\n{}\n{time}\n", request.method, header("content-md5"), header("content-type"));
    let mut named: Vec<(String, &str)> = headers.with_prefix(AMZ).collect();
    named.sort();
    for (name, value) in named {
        text.push_str(&format!("{AMZ}{name}:{value}\n"));
    }
    text.push_str(path);
    let is_signed = |name: &str| SIGNED.contains(&name) || name.starts_with("response-");
    let mut signed: Vec<(&str, Option<&str>)> = request
        .query
        .iter()
        .filter(|(name, _)| is_signed(name))
        .map(|(name, value)| (&**name, value.as_deref()))
        .collect();
    signed.sort_unstable();
    for (at, (name, value)) in signed.into_iter().enumerate() {
        text.push(if at == 0 { '?' } else { '&' });
        text.push_str(name);
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            text.push('=');
            text.push_str(value);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example "Object GET" of the documentation of signature version 2, and the one with parameters.
    #[test]
    fn the_documented_signatures_are_right() {
        let credentials = |_: &str| {
            Some(Credentials {
                secret_id: "AKIAIOSFODNN7EXAMPLE".into(),
                secret_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into(),
                token: None,
            })
        };
        const THEN: u64 = 1_175_024_202;
        let headers = [
            ("host", "awsexamplebucket1.us-west-1.s3.amazonaws.com"),
            ("date", "Tue, 27 Mar 2007 19:36:42 +0000"),
            ("authorization", "AWS AKIAIOSFODNN7EXAMPLE:qgk2+6Sv9/oM7G3qLEjTH1a1l1g="),
        ];
        let request = Signable { method: "GET", path: "/photos/puppy.jpg", query: &[], headers: &headers };
        assert!(is_used(&request));
        assert_eq!(
            string_to_sign(&request, "Tue, 27 Mar 2007 19:36:42 +0000", "/awsexamplebucket1/photos/puppy.jpg"),
            { "GET\n\n\nTue, 27 Mar 2007 19:36:42 +0000\n/awsexamplebucket1/photos/puppy.jpg" }
        );
        assert_eq!(verify(&request, credentials, THEN), Ok(()));
        assert_eq!(verify(&request, credentials, THEN + 901), Err(SignatureError::Skewed));
        assert_eq!(verify(&Signable { method: "PUT", ..request }, credentials, THEN), Err(SignatureError::Mismatch));
    }
}
