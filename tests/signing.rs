//! Signatures against what others make of the same requests: published vectors, the crate `reqsign-tencent-cos`, and
//! the spellings that official clients have been seen to send.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use cosmount::wire::escape::{QueryPair, parse_query, push_query, unescape};
use cosmount::wire::request::{Method, RequestHead, split_target};
use cosmount::wire::sign::{Credentials, KeyTime, Signable, SignatureError, SigningKey, verify};
use proptest::prelude::*;
use reqsign_core::{Context, SignRequest};

const HOST: &str = "examplebucket-1250000000.cos.ap-beijing.myqcloud.com";
const NOW: u64 = 1557989200;
const KEY_TIME: KeyTime = KeyTime { start: 1557989151, end: 1557996351 };

fn credentials() -> Credentials {
    Credentials {
        secret_id: "AKIDQjz3ltompVjBni5LitkWHFlFpwkn9U5q".into(),
        secret_key: "BQYIM75p8x0iWVFSIgqEKwFprpRSVHlz".into(),
        token: None,
    }
}

fn known(credentials: Credentials) -> impl Fn(&str) -> Option<Credentials> {
    move |id| (id == credentials.secret_id).then(|| credentials.clone())
}

/// Verifies a request as a server gets it: a target and header lines.
fn check(method: &str, target: &str, headers: &[(&str, &str)], now: u64) -> Result<(), SignatureError> {
    check_with(credentials(), method, target, headers, now)
}

fn check_with(
    credentials: Credentials,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    now: u64,
) -> Result<(), SignatureError> {
    let (_, path, query) = split_target(target);
    let (path, query) = (unescape(path).unwrap(), parse_query(query).unwrap());
    verify(&Signable { method, path: &path, query: &query, headers }, known(credentials), now)
}

fn get(path: &str, query: &[(&'static str, &str)]) -> RequestHead {
    let query = query.iter().map(|&(name, value)| (name.into(), Some(value.to_owned()))).collect();
    RequestHead { method: Method::Get, path: path.into(), query, headers: Vec::new(), body: None }
}

/// The presigned vectors of `cos-api.md` 2.10, which the official Python and Node SDKs make alike.
#[test]
fn presigned_urls_are_the_published_ones() {
    let key = SigningKey::new(&credentials(), KEY_TIME);
    let query = [("response-content-type", "text/plain; charset=utf-8"), ("x-cos-security-token", "tok/en+with=chars")];
    let target = key.presign(&get("/dir/a b+c%d~e/腾讯云.txt", &query), HOST);
    let expected = "/dir/a%20b%2Bc%25d~e/%E8%85%BE%E8%AE%AF%E4%BA%91.txt?q-sign-algorithm=sha1\
        &q-ak=AKIDQjz3ltompVjBni5LitkWHFlFpwkn9U5q&q-sign-time=1557989151%3B1557996351\
        &q-key-time=1557989151%3B1557996351&q-header-list=host\
        &q-url-param-list=response-content-type%3Bx-cos-security-token\
        &q-signature=4b2a306642af18016c9f67621f2f9ae3f7cd663e\
        &response-content-type=text%2Fplain%3B%20charset%3Dutf-8&x-cos-security-token=tok%2Fen%2Bwith%3Dchars";
    assert_eq!(target, expected);
    assert_eq!(check("GET", &target, &[("Host", HOST)], NOW), Ok(()));
    let from_python = target.replace("%3B%20charset", "%3B+charset");
    assert_eq!(check("GET", &from_python, &[("Host", HOST)], NOW), Ok(()), "a plus in a query is a space");
    let from_node = target.replace("1557989151%3B", "1557989151;").replace("type%3Bx-cos", "type;x-cos");
    assert_eq!(check("GET", &from_node, &[("Host", HOST)], NOW), Ok(()), "semicolons may be raw");

    let part =
        RequestHead { method: Method::Put, ..get("/exampleobject", &[("partNumber", "2"), ("uploadId", "abc")]) };
    let target = key.presign(&part, HOST);
    assert!(target.contains("&q-signature=e8852ae832183a5a9ede70ea5a9f547772bf12f6&partNumber=2&uploadId=abc"));
    assert_eq!(check("PUT", &target, &[("Host", HOST)], NOW), Ok(()));
    assert_eq!(check("GET", &target, &[("Host", HOST)], NOW), Err(SignatureError::Mismatch));
}

/// The Go SDK can put the whole `Authorization` into one parameter (`cos-api.md` 2.8).
#[test]
fn a_signature_merged_into_one_parameter_counts() {
    let head = get("/a b", &[("versionId", "1")]);
    let key = SigningKey::new(&credentials(), KEY_TIME);
    let signed = key.sign(&head, HOST);
    let mut query = head.query.clone();
    query.insert(0, ("sign".into(), Some(signed[0].1.clone())));
    let target = RequestHead { query, ..head }.target();
    assert_eq!(check("GET", &target, &[("host", HOST)], NOW), Ok(()));
}

/// The sample of the seed page: unlowered lists, a host of the old form, an end in the year 3001.
#[test]
fn the_oldest_published_header_is_understood() {
    const SAMPLE: &str = "q-sign-algorithm=sha1&q-ak=AKIDWtTCBYjM5OwLB9CAwA1Qb2ThTSUjfGFO\
        &q-sign-time=1484727403;32557623403&q-key-time=1484727403;32557623403&q-header-list=host\
        &q-url-param-list=partNumber;uploadId&q-signature=bfc54518ca8fc31b3ea287f1ed2a0dd8c8e88a1d";
    let host = "arlenhuangtestsgnoversion-1251668577.sg.myqcloud.com";
    let upload = "1484727270323ddb949d528c629235314a9ead80f0ba5d993a3d76b460e6a9cceb9633b08e";
    let target = format!("/ObjectName?partNumber=1&uploadId={upload}");
    let now = 1484727423;
    let headers = [("Host", host), ("Authorization", SAMPLE), ("Content-Length", "10485760")];
    assert_eq!(check("PUT", &target, &headers, now), Err(SignatureError::UnknownKey));
    let owner = Credentials { secret_id: "AKIDWtTCBYjM5OwLB9CAwA1Qb2ThTSUjfGFO".into(), ..credentials() };
    assert_eq!(check_with(owner.clone(), "PUT", &target, &headers, now), Err(SignatureError::Mismatch));

    let head = RequestHead { method: Method::Put, ..get("/ObjectName", &[("partNumber", "1"), ("uploadId", upload)]) };
    let key_time = KeyTime::parse("1484727403;32557623403").unwrap();
    let ours = SigningKey::new(&owner, key_time).sign(&head, host)[0].1.clone();
    let unlowered = ours.replace("partnumber;uploadid", "partNumber;uploadId");
    assert_eq!(unlowered.rsplit_once('=').unwrap().0, SAMPLE.rsplit_once('=').unwrap().0, "all but the signature");
    for now in [now, 4_000_000_000, 32557623403] {
        let headers = [("host", host), ("authorization", &*unlowered), ("content-length", "10485760")];
        assert_eq!(check_with(owner.clone(), "PUT", &target, &headers, now), Ok(()), "at {now}");
    }
}

#[test]
fn spellings_of_real_clients_are_accepted() {
    let key = SigningKey::new(&credentials(), KEY_TIME);
    let sign =
        |headers: &[(&str, &str)]| key.authorization(&Signable { method: "get", path: "/k", query: &[], headers });
    let with = |authorization: &str, headers: &[(&str, &str)]| {
        let mut lines = vec![("Authorization", authorization)];
        lines.extend(headers);
        check("GET", "/k", &lines, NOW)
    };
    let port = [("Host", "127.0.0.1:9000")];
    assert_eq!(with(&sign(&port), &port), Ok(()), "host with its port, as Node signs it");
    assert_eq!(with(&sign(&[("Host", "127.0.0.1")]), &port), Ok(()), "host without its port, as Python signs it");
    assert_eq!(with(&sign(&[("Host", "127.0.0.2")]), &port), Err(SignatureError::Mismatch));

    let signed = sign(&[("Host", HOST)]);
    let swapped = signed.replace("q-header-list=host&q-url-param-list=", "q-url-param-list=&q-header-list=host");
    assert_ne!(swapped, signed);
    assert_eq!(with(&swapped, &[("Host", HOST)]), Ok(()), "lists swapped, as cosfs sends them");
    assert_eq!(with(&sign(&[]), &[("Host", HOST)]), Ok(()), "empty lists");
    assert_eq!(with(&signed, &[("Host", HOST), ("Range", "bytes=0-1")]), Ok(()), "an unsigned header more");
    let empty = [("Host", HOST), ("Content-Type", "")];
    assert_eq!(with(&sign(&empty), &empty), Ok(()), "an empty header that is signed");
    assert_eq!(with(&sign(&empty), &empty[..1]), Err(SignatureError::Mismatch), "a listed header that is absent");
    let escaped = signed.replace(';', "%3B");
    assert_eq!(with(&escaped, &[("Host", HOST)]), Ok(()), "escaped semicolons");
}

#[test]
fn every_failure_has_its_name() {
    use SignatureError as E;
    let key = SigningKey::new(&credentials(), KEY_TIME);
    let good = key.authorization(&Signable { method: "GET", path: "/k", query: &[], headers: &[("host", HOST)] });
    let altered = |from: &str, to: &str| good.replace(from, to);
    let (start, end) = (KEY_TIME.start, KEY_TIME.end);
    let table = [
        ("good", good.clone(), NOW, Ok(())),
        ("first second", good.clone(), start, Ok(())),
        ("last second", good.clone(), end, Ok(())),
        ("one too late", good.clone(), end + 1, Err(E::Expired)),
        ("clock a little ahead", good.clone(), start - 900, Ok(())),
        ("clock too far ahead", good.clone(), start - 901, Err(E::Skewed)),
        ("other key", altered("AKID", "AKIE"), NOW, Err(E::UnknownKey)),
        ("other method", altered("sha1", "md5"), NOW, Err(E::Malformed("q-sign-algorithm"))),
        ("other signature", altered("q-signature=", "q-signature=0"), NOW, Err(E::Malformed("q-signature"))),
        ("no times", altered(";1557996351", ""), NOW, Err(E::Malformed("q-sign-time"))),
        (
            "longer time",
            altered("q-sign-time=1557989151;1557996351", "q-sign-time=1557989151;1557996352"),
            NOW,
            Err(E::Mismatch),
        ),
        (
            "longer key time",
            altered("q-key-time=1557989151;1557996351", "q-key-time=1557989151;1557996352"),
            NOW,
            Err(E::Mismatch),
        ),
        ("another scheme", "AWS4-HMAC-SHA256 Credential=x".to_owned(), NOW, Err(E::Malformed("q-sign-algorithm"))),
        ("none", String::new(), NOW, Err(E::Missing)),
    ];
    for (name, authorization, now, expected) in table {
        let headers = [("host", HOST), ("authorization", &*authorization)];
        assert_eq!(check("GET", "/k", &headers, now), expected, "{name}");
    }
    let date = |date| check("GET", "/k", &[("host", HOST), ("authorization", &*good), ("Date", date)], NOW);
    assert_eq!(date("Thu, 16 May 2019 06:46:40 GMT"), Ok(()));
    assert_eq!(date("Thu, 16 May 2019 07:01:41 GMT"), Err(E::Skewed));
    assert_eq!(date("Thu, 16 May 2019 06:31:39 GMT"), Err(E::Skewed));
    assert_eq!(E::Expired.code().name(), "AccessDenied");
    assert_eq!(E::Expired.message(), "Request has expired");
    assert_eq!(E::Skewed.code().name(), "RequestTimeTooSkewed");
}

#[test]
fn the_token_of_a_temporary_key_must_be_there_but_need_not_be_signed() {
    let temporary = Credentials { token: Some("tok/en+with=chars".into()), ..credentials() };
    let head = get("/k", &[]);
    let signed = SigningKey::new(&temporary, KEY_TIME).sign(&head, HOST);
    assert_eq!(signed[1], ("x-cos-security-token".into(), "tok/en+with=chars".to_owned()));
    assert!(signed[0].1.contains("q-header-list=host;x-cos-security-token&"));
    let unsigned = SigningKey::new(&credentials(), KEY_TIME).sign(&head, HOST);
    for authorization in [&signed[0].1, &unsigned[0].1] {
        let headers = [("host", HOST), ("authorization", authorization), ("X-Cos-Security-Token", "tok/en+with=chars")];
        assert_eq!(check_with(temporary.clone(), "GET", "/k", &headers, NOW), Ok(()));
        for wrong in ["", "tok/en+with=char", "tok/en+with=charsx", "Tok/en+with=chars"] {
            let headers = [("host", HOST), ("authorization", authorization), ("x-cos-security-token", wrong)];
            assert_eq!(check_with(temporary.clone(), "GET", "/k", &headers, NOW), Err(SignatureError::Token));
        }
    }
    let url = SigningKey::new(&temporary, KEY_TIME).presign(&head, HOST);
    assert_eq!(check_with(temporary.clone(), "GET", &url, &[("host", HOST)], NOW), Ok(()));
    let appended = SigningKey::new(&credentials(), KEY_TIME).presign(&head, HOST);
    let appended = format!("{appended}&x-cos-security-token=tok%2Fen%2Bwith%3Dchars");
    assert_eq!(check_with(temporary, "GET", &appended, &[("host", HOST)], NOW), Ok(()));
}

/// A request with distinct parameter and header names, and awkward values.
fn any_request() -> impl Strategy<Value = RequestHead> {
    let method =
        prop_oneof![Just(Method::Get), Just(Method::Head), Just(Method::Put), Just(Method::Post), Just(Method::Delete)];
    let path = "/[a-z +%&=?#\"'~!*()./腾讯😀\\\\-]{0,40}";
    let params =
        proptest::collection::btree_map("[a-zA-Z-]{1,12}", proptest::option::of("[a-z +%&=/;:腾-]{0,20}"), 0..5);
    let headers = proptest::collection::btree_map("x-cos-[a-z-]{1,12}", "([!-~]([ -~]{0,20}[!-~])?)?", 0..5);
    (method, path, params, headers).prop_map(|(method, path, params, headers)| {
        // Names that differ in case alone are one name in a signature.
        let mut query: Vec<QueryPair> = params.into_iter().map(|(name, value)| (name.into(), value)).collect();
        query.sort_by_key(|(name, _)| name.to_ascii_lowercase());
        query.dedup_by_key(|(name, _)| name.to_ascii_lowercase());
        let headers = headers.into_iter().map(|(name, value)| (name.into(), value)).collect();
        RequestHead { method, path, query, headers, body: None }
    })
}

/// The request as the other crate signs it: in its headers, or in its query for `expires_in`.
fn signed_by_reqsign(head: &RequestHead, expires_in: Option<std::time::Duration>) -> http::request::Parts {
    let uri = format!("https://{HOST}{}", head.target());
    let mut request = http::Request::builder().method(head.method.as_str()).uri(uri).header("host", HOST);
    for (name, value) in &head.headers {
        request = request.header(&**name, value);
    }
    let mut parts = request.body(()).unwrap().into_parts().0;
    let credential = reqsign_tencent_cos::Credential {
        secret_id: credentials().secret_id,
        secret_key: credentials().secret_key,
        ..Default::default()
    };
    let signer = reqsign_tencent_cos::RequestSigner::new();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(signer.sign_request(&Context::new(), &mut parts, Some(&credential), expires_in)).unwrap();
    parts
}

fn header_lines(parts: &http::request::Parts) -> Vec<(&str, &str)> {
    parts.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect()
}

proptest! {
    #[test]
    fn headers_are_signed_as_another_implementation_signs_them(head in any_request()) {
        let theirs = signed_by_reqsign(&head, None);
        let authorization = theirs.headers["authorization"].to_str().unwrap();
        let key_time = authorization.split('&').find_map(|pair| pair.strip_prefix("q-sign-time=")).unwrap();
        let key_time = KeyTime::parse(key_time).unwrap();
        let ours = SigningKey::new(&credentials(), key_time).sign(&head, HOST);
        prop_assert_eq!(&*ours[0].1, authorization);

        let target = theirs.uri.path_and_query().unwrap().as_str();
        prop_assert_eq!(check(theirs.method.as_str(), target, &header_lines(&theirs), key_time.start), Ok(()));
        let other_path = target.replacen('/', "/x", 1);
        let verdict = check(theirs.method.as_str(), &other_path, &header_lines(&theirs), key_time.start);
        prop_assert_eq!(verdict, Err(SignatureError::Mismatch));
    }

    #[test]
    fn presigned_requests_of_another_implementation_verify(head in any_request()) {
        let theirs = signed_by_reqsign(&head, Some(std::time::Duration::from_secs(600)));
        let target = theirs.uri.path_and_query().unwrap().as_str();
        let key_time = target.split('&').find_map(|pair| pair.strip_prefix("q-key-time=")).unwrap();
        let now = KeyTime::parse(key_time).unwrap().start;
        prop_assert_eq!(check(theirs.method.as_str(), target, &header_lines(&theirs), now), Ok(()));
        prop_assert_eq!(check(theirs.method.as_str(), target, &header_lines(&theirs), now + 601), Err(SignatureError::Expired));
    }

    #[test]
    fn what_we_presign_verifies(head in any_request()) {
        let target = SigningKey::new(&credentials(), KEY_TIME).presign(&head, HOST);
        prop_assert_eq!(check(head.method.as_str(), &target, &[("host", HOST)], NOW), Ok(()));
        let mut appended = target.clone();
        appended.push('&');
        push_query(&mut appended, &[("z".into(), Some("1".into()))]);
        let listed = head.query.iter().any(|(name, _)| name.eq_ignore_ascii_case("z"));
        let expected = if listed { Err(SignatureError::Mismatch) } else { Ok(()) };
        prop_assert_eq!(check(head.method.as_str(), &appended, &[("host", HOST)], NOW), expected);
    }

    #[test]
    fn hostile_signatures_are_refused_without_a_panic(authorization in "\\PC{0,200}", query in "[ -~]{0,80}") {
        let query = parse_query(&query).unwrap_or_default();
        let headers = [("host", HOST), ("authorization", &*authorization)];
        let request = Signable { method: "GET", path: "/k", query: &query, headers: &headers };
        prop_assert!(verify(&request, known(credentials()), NOW).is_err());
    }
}
