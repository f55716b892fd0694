//! TC3-HMAC-SHA256, the signature of Tencent Cloud's other services, of which STS is asked for temporary keys.
//!
//! Covers the method, the path `/`, the query, `Content-Type`, `Host` and the body. The action, the version and the time go
//! in headers of their own (`X-TC-*`), of which the signature covers the time.

use std::time::{Duration, UNIX_EPOCH};

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use super::{Credentials, hex};
use crate::wire::date;

const ALGORITHM: &str = "TC3-HMAC-SHA256";
const SIGNED_HEADERS: &str = "content-type;host";

/// A request to sign.
#[derive(Clone, Copy, Debug)]
pub struct Tc3Request<'a> {
    /// The method, in capitals.
    pub method: &'a str,
    /// The query as it is on the wire, without `?`. Empty for a POST.
    pub query: &'a str,
    /// The exact value of `Content-Type`.
    pub content_type: &'a str,
    /// The exact value of `Host`.
    pub host: &'a str,
    /// The name of the service, for example `sts`.
    pub service: &'a str,
    /// The body.
    pub body: &'a [u8],
    /// `X-TC-Timestamp`, in Unix seconds.
    pub timestamp: u64,
}

/// The value of `Authorization`.
pub fn authorization(request: &Tc3Request<'_>, credentials: &Credentials) -> String {
    let day = date::iso_day(UNIX_EPOCH + Duration::from_secs(request.timestamp));
    let scope = format!("{day}/{}/tc3_request", request.service);
    let signature = signature(request, &credentials.secret_key, &day, &scope);
    let id = &credentials.secret_id;
    format!("{ALGORITHM} Credential={id}/{scope}, SignedHeaders={SIGNED_HEADERS}, Signature={signature}")
}

fn signature(request: &Tc3Request<'_>, secret_key: &str, day: &str, scope: &str) -> String {
    let Tc3Request { method, query, content_type, host, body, .. } = request;
    let canonical = format!(
        "{method}\n/\n{query}\ncontent-type:{content_type}\nhost:{host}\n\n{SIGNED_HEADERS}\n{}",
        hex(&Sha256::digest(body))
    );
    let hashed = hex(&Sha256::digest(canonical.as_bytes()));
    let string_to_sign = format!("{ALGORITHM}\n{}\n{scope}\n{hashed}", request.timestamp);
    let of_day = keyed_hash(format!("TC3{secret_key}").as_bytes(), day);
    let of_service = keyed_hash(&of_day, request.service);
    let of_request = keyed_hash(&of_service, "tc3_request");
    hex(&keyed_hash(&of_request, &string_to_sign))
}

fn keyed_hash(key: &[u8], message: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(message.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed(request: &Tc3Request<'_>) -> String {
        let credentials = Credentials {
            secret_id: "AKIDz8krbsJ5yKBZQpn74WFkmLPx3EXAMPLE".into(),
            secret_key: "Gu5t9xGARNpq86cd98joQYCN3EXAMPLE".into(),
            token: None,
        };
        authorization(request, &credentials)
    }

    /// The example of the documentation before the key in it was masked (Signature v3, "DescribeInstances" by GET).
    #[test]
    fn the_documented_example_comes_out() {
        let request = Tc3Request {
            method: "GET",
            query: "Limit=10&Offset=0",
            content_type: "application/x-www-form-urlencoded",
            host: "cvm.tencentcloudapi.com",
            service: "cvm",
            body: b"",
            timestamp: 1539084154,
        };
        let expected = "TC3-HMAC-SHA256 Credential=AKIDz8krbsJ5yKBZQpn74WFkmLPx3EXAMPLE/2018-10-09/cvm/tc3_request, \
                        SignedHeaders=content-type;host, \
                        Signature=5da7a33f6993f0614b047e5df4582db9e9bf4672ba50567dba16c6ccf174c474";
        assert_eq!(signed(&request), expected);
    }

    /// Values that `AbstractClient._get_tc3_signature` of tencentcloud-sdk-python-common 3.1.195 gives for the same key: the
    /// body of the documented example of 2019-02-25, with either type, and a call of STS.
    #[test]
    fn bodies_are_signed_as_the_official_client_signs_them() {
        let described = r#"{"Limit": 1, "Filters": [{"Values": ["\u672a\u547d\u540d"], "Name": "instance-name"}]}"#;
        let assumed = r#"{"DurationSeconds":7200,"RoleArn":"qcs::cam::uin/100000000001:roleName/reader","RoleSessionName":"cosmount"}"#;
        let (json, with_charset) = ("application/json", "application/json; charset=utf-8");
        let table = [
            ("cvm", with_charset, described, "72e494ea809ad7a8c8f7a4507b9bddcbaa8e581f516e8da2f66e2c5a96525168"),
            ("cvm", json, described, "683bd0b53659853c39699162253251192320a09b3937e27bf8e08a559b1465b8"),
            ("sts", json, assumed, "87c4d30ae7e5529e334694f0e92449d3af5afa3f836d97c0117c37ce57d7fda8"),
        ];
        for (service, content_type, body, expected) in table {
            let host = format!("{service}.tencentcloudapi.com");
            let request = Tc3Request {
                method: "POST",
                query: "",
                content_type,
                host: &host,
                service,
                body: body.as_bytes(),
                timestamp: 1551113065,
            };
            let signed = signed(&request);
            assert!(signed.ends_with(&format!("Signature={expected}")), "{service} {content_type}: {signed}");
            assert!(signed.contains("/2019-02-25/"), "{signed}");
        }
    }
}
