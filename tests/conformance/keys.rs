//! Keys that are renewed: what the client does when one is refused, and what it asks of those who issue them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use async_trait::async_trait;
use cosmount::clock::Clock;
use cosmount::store::{
    AssumedRole, CredentialCache, CredentialProvider, FixedKey, HttpStore, Identity, InstanceRole, NetworkOptions,
    ObjectStore, ProviderError, RoleOptions, StoreErrorKind,
};
use cosmount::wire::issued::Issued;
use cosmount::wire::sign::Credentials;

use crate::misbehaviour::{head_lines, key, options, partial};
use crate::scripted::{Asked, Reply, Scripted, answer, error};

/// 2023-11-14 22:13:20.
const NOW: u64 = 1_700_000_000;
const DATE_NOW: &str = "date: Tue, 14 Nov 2023 22:13:20 GMT\r\n";
const DATE_LATER: &str = "date: Wed, 15 Nov 2023 00:13:20 GMT\r\n";

/// Gives key 1, then 2, and so on; fails as often as it was told to before each but the first.
#[derive(Debug, Default)]
struct Counting {
    given: AtomicU32,
    failures: AtomicU32,
}

#[async_trait]
impl CredentialProvider for Counting {
    fn origin(&self) -> String {
        "the test".into()
    }

    async fn provide(&self) -> Result<Issued, ProviderError> {
        let fails = |left: u32| left.checked_sub(1);
        let is_first = self.given.load(Ordering::SeqCst) == 0;
        if !is_first && self.failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fails).is_ok() {
            return Err(ProviderError::passing("down"));
        }
        let number = self.given.fetch_add(1, Ordering::SeqCst) + 1;
        Ok(credentials(&format!("id{number}")).into())
    }
}

fn credentials(id: &str) -> Credentials {
    Credentials { secret_id: id.into(), secret_key: "hunter2".into(), token: Some(format!("token-of-{id}")) }
}

async fn client(server: &Scripted, provider: Arc<Counting>) -> HttpStore {
    let mut options = options(server);
    options.credentials = CredentialCache::begin(provider, options.clock.clone()).await.unwrap();
    HttpStore::new(options).unwrap()
}

/// Ids and tokens that requests were signed with.
fn signers(server: &Scripted) -> Vec<(String, String)> {
    let id = |asked: &Asked| {
        let (_, rest) = asked.header("authorization").unwrap().split_once("q-ak=").unwrap();
        rest.split('&').next().unwrap().to_owned()
    };
    let token = |asked: &Asked| asked.header("x-cos-security-token").unwrap_or_default().to_owned();
    server.requests().iter().map(|asked| (id(asked), token(asked))).collect()
}

fn signer(number: u32) -> (String, String) {
    (format!("id{number}"), format!("token-of-id{number}"))
}

fn gone() -> Reply {
    Reply::Answer(answer(204, "", ""))
}

#[tokio::test]
async fn a_key_that_is_refused_is_renewed_and_the_request_sent_once_more() {
    let codes = [(400, "ExpiredToken"), (403, "ExpiredToken"), (403, "InvalidAccessKeyId"), (403, "TokenExpired")];
    for (status, code) in codes {
        let server = Scripted::start([Reply::Answer(error(status, code)), gone(), gone()]).await;
        let store = client(&server, Arc::default()).await;
        store.delete(&key()).await.unwrap();
        store.delete(&key()).await.unwrap();
        assert_eq!(signers(&server), [signer(1), signer(2), signer(2)], "{code}");
    }
}

#[tokio::test]
async fn a_second_key_that_is_refused_is_an_error() {
    let refused = || Reply::Answer(error(403, "InvalidAccessKeyId"));
    let server = Scripted::start([refused(), refused(), refused()]).await;
    let denied = client(&server, Arc::default()).await.delete(&key()).await.unwrap_err();
    assert_eq!((denied.kind, denied.code.as_str()), (StoreErrorKind::Denied, "InvalidAccessKeyId"));
    assert_eq!(signers(&server), [signer(1), signer(2)]);
}

/// The body of an answer to HEAD would tell, and there is none. Policies deny like this too, so it is not done each time.
#[tokio::test]
async fn a_refusal_that_does_not_say_why_makes_the_key_be_renewed_now_and_then() {
    let server = Scripted::start((0..4).map(|_| Reply::Answer(partial(403, DATE_NOW, 0, "")))).await;
    let provider = Arc::<Counting>::default();
    let store = client(&server, provider.clone()).await;
    for _ in 0..2 {
        assert_eq!(store.head(&key()).await.unwrap_err().kind, StoreErrorKind::Denied);
    }
    assert_eq!(server.requests().len(), 2, "the key has just been asked for");
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(31)).await;
    tokio::time::resume();
    assert_eq!(store.head(&key()).await.unwrap_err().kind, StoreErrorKind::Denied);
    assert_eq!(signers(&server)[2..], [signer(1), signer(2)]);
}

#[tokio::test]
async fn a_request_without_a_good_key_waits_for_the_provider() {
    let server = Scripted::start([Reply::Answer(error(400, "ExpiredToken")), gone()]).await;
    let provider = Arc::<Counting>::default();
    let store = client(&server, provider.clone()).await;
    provider.failures.store(2, Ordering::SeqCst);
    store.delete(&key()).await.unwrap();
    assert_eq!(signers(&server), [signer(1), signer(2)]);

    let server = Scripted::start([Reply::Answer(error(400, "ExpiredToken"))]).await;
    let store = client(&server, provider.clone()).await.with_deadline(Duration::from_millis(300));
    provider.failures.store(u32::MAX, Ordering::SeqCst);
    let denied = store.delete(&key()).await.unwrap_err();
    assert_eq!(denied.kind, StoreErrorKind::Denied);
    assert!(denied.message.contains("there is no new one: down"), "{denied}");
}

const ISSUED: &str = r#"{"TmpSecretId":"i","TmpSecretKey":"k","ExpiredTime":1700007200,"Token":"t","Code":"Success"}"#;

fn seconds(issued: &Issued) -> u64 {
    issued.expires.unwrap().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

#[tokio::test]
async fn the_role_of_a_machine_is_asked_of_its_metadata() {
    let replies = ["reader\nother\n", ISSUED].map(|body| Reply::Answer(answer(200, DATE_NOW, body)));
    let server = Scripted::start(replies.into_iter().chain([Reply::Answer(answer(200, DATE_LATER, ISSUED))])).await;
    let url = format!("http://{}/latest/meta-data/", server.address);
    let clock = Clock::manual(NOW);
    let issued = InstanceRole::new(&url, None, clock.clone()).unwrap().provide().await.unwrap();
    assert_eq!((issued.credentials.secret_id.as_str(), issued.credentials.token.as_deref()), ("i", Some("t")));
    assert_eq!(seconds(&issued), NOW + 7200);
    // By a clock that is two hours behind the key is over when the other one says so.
    let issued = InstanceRole::new(&url, Some("writer".into()), clock).unwrap().provide().await.unwrap();
    assert_eq!(seconds(&issued), NOW);
    let expected =
        ["", "reader", "writer"].map(|role| format!("GET /latest/meta-data/cam/security-credentials/{role}"));
    assert_eq!(server.lines(), expected);
}

#[tokio::test]
async fn what_metadata_do_not_have_is_told() {
    let table = [
        (404, "", None, ProviderError::lasting("this machine has no role: attach one to it")),
        (404, "", Some("writer"), ProviderError::lasting("this machine does not have the role writer")),
        (500, "", Some("writer"), ProviderError::passing("the metadata answer with status 500")),
        (200, r#"{"Code":"Failed"}"#, Some("writer"), ProviderError::passing("Failed")),
    ];
    for (status, body, role, expected) in table {
        let server = Scripted::start([Reply::Answer(answer(status, "", body))]).await;
        let url = format!("http://{}/m", server.address);
        let role = InstanceRole::new(&url, role.map(str::to_owned), Clock::System).unwrap();
        assert_eq!(role.provide().await.unwrap_err(), expected);
    }
}

fn role(server: &Scripted) -> RoleOptions {
    RoleOptions {
        url: format!("http://{}", server.address),
        region: "ap-beijing".into(),
        role_arn: "qcs::cam::uin/1:roleName/reader".into(),
        session_name: "s".into(),
    }
}

fn issued_by_sts() -> String {
    r#"{"Response":{"Credentials":{"Token":"t","TmpSecretId":"i","TmpSecretKey":"k"},"ExpiredTime":1700007200}}"#.into()
}

#[tokio::test]
async fn a_role_is_assumed_with_a_key_by_a_signed_call() {
    let server = Scripted::start([Reply::Answer(answer(200, DATE_NOW, issued_by_sts()))]).await;
    let identity = Identity::Key(Arc::new(FixedKey::new(credentials("id1"), "the test")));
    let role = AssumedRole::new(role(&server), identity, &NetworkOptions::default(), Clock::manual(NOW)).unwrap();
    let issued = role.provide().await.unwrap();
    assert_eq!((issued.credentials.secret_id.as_str(), seconds(&issued)), ("i", NOW + 7200));
    let asked = &server.requests()[0];
    let header = |name| asked.header(name).unwrap_or_default();
    let names = ["x-tc-action", "x-tc-version", "x-tc-region", "x-tc-timestamp", "x-tc-token", "content-type"];
    let values = ["AssumeRole", "2018-08-13", "ap-beijing", "1700000000", "token-of-id1", "application/json"];
    assert_eq!(names.map(header), values);
    let scope =
        "TC3-HMAC-SHA256 Credential=id1/2023-11-14/sts/tc3_request, SignedHeaders=content-type;host, Signature=";
    assert!(header("authorization").starts_with(scope), "{asked:?}");
    let body: serde_json::Value = serde_json::from_slice(&asked.body).unwrap();
    assert_eq!((&body["RoleArn"], &body["RoleSessionName"]), (&"qcs::cam::uin/1:roleName/reader".into(), &"s".into()));
}

#[tokio::test]
async fn a_role_is_assumed_with_a_token_that_is_read_each_time() {
    let server = Scripted::start((0..2).map(|_| Reply::Answer(answer(200, DATE_NOW, issued_by_sts())))).await;
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("token");
    let identity = Identity::Token { provider_id: "tke".into(), file: file.clone() };
    let role = AssumedRole::new(role(&server), identity, &NetworkOptions::default(), Clock::manual(NOW)).unwrap();
    assert!(role.provide().await.unwrap_err().message.contains("the token in "));
    for token in ["first", "second"] {
        std::fs::write(&file, format!("{token}\n")).unwrap();
        role.provide().await.unwrap();
        let asked = server.requests().pop().unwrap();
        assert_eq!(asked.header("x-tc-action"), Some("AssumeRoleWithWebIdentity"));
        assert_eq!(asked.header("authorization"), Some("SKIP"), "the token is what STS believes");
        let body: serde_json::Value = serde_json::from_slice(&asked.body).unwrap();
        assert_eq!((&body["WebIdentityToken"], &body["ProviderId"]), (&token.into(), &"tke".into()));
    }
}

/// STS takes no time that is more than five minutes off.
#[tokio::test]
async fn a_clock_that_is_off_is_corrected_for_sts_too() {
    let refusal = |code: &str| format!(r#"{{"Response":{{"Error":{{"Code":"{code}","Message":"m"}}}}}}"#);
    let expired = Reply::Answer(answer(200, DATE_LATER, refusal("AuthFailure.SignatureExpire")));
    let server = Scripted::start([expired, Reply::Answer(answer(200, DATE_LATER, issued_by_sts()))]).await;
    let identity = Identity::Key(Arc::new(FixedKey::new(credentials("id1"), "the test")));
    let role_of = |server: &Scripted| {
        AssumedRole::new(role(server), identity.clone(), &NetworkOptions::default(), Clock::manual(NOW))
    };
    let issued = role_of(&server).unwrap().provide().await.unwrap();
    assert_eq!(seconds(&issued), NOW, "by the clock of this machine");
    let sent: Vec<_> =
        server.requests().iter().map(|asked| asked.header("x-tc-timestamp").unwrap().to_owned()).collect();
    assert_eq!(sent, ["1700000000", "1700007200"]);

    for (code, is_lasting) in [("AuthFailure.SecretIdNotFound", true), ("InternalError", false)] {
        let server = Scripted::start([Reply::Answer(answer(200, DATE_NOW, refusal(code)))]).await;
        let refused = role_of(&server).unwrap().provide().await.unwrap_err();
        assert_eq!((refused.message, refused.is_lasting), (format!("STS refuses: {code}: m"), is_lasting));
    }
}

/// A head without an end fills no memory.
#[tokio::test]
async fn an_answer_with_a_head_without_an_end_is_an_error() {
    let endless = |line: &str| format!("HTTP/1.1 200 OK\r\n{}", line.repeat((1 << 20) / line.len())).into_bytes();
    for line in ["x-more: of the same kind, and no end of it\r\n", "x"] {
        let server = Scripted::start((0..20).map(|_| Reply::Answer(endless(line)))).await;
        let mut options = options(&server);
        options.retry.deadline = Duration::from_millis(300);
        let error = HttpStore::new(options).unwrap().head(&key()).await.unwrap_err();
        assert!(matches!(error.kind, StoreErrorKind::Unreachable | StoreErrorKind::TimedOut), "{error}");
    }
    assert!(head_lines("e", None).len() < 200, "that is what an ordinary one is");
}
