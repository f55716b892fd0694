//! Keys that end soon, a service that takes them, and everybody who could issue them: metadata, STS, files.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cosmount::server::{ServerOptions, TemporaryKeys, run};
use cosmount::wire::date;
use cosmount::wire::sign::Credentials;
use cosmount::wire::sign::tc3::{Tc3Request, authorization};

use crate::bed::{ID, KEY};

/// What every secret of a temporary key begins with, and nothing else.
pub(crate) const SECRET: &str = "hunter2";

/// What metadata of AWS want to be told, a secret as well.
const METADATA_TOKEN: &str = "hunter2-metadata";

/// The token of a workload, which is a secret too.
pub(crate) const WORKLOAD_TOKEN: &str = "workload-hunter2";

/// Issues keys for a life, each known to the service at once.
pub(crate) struct Issuer {
    shared: Arc<Shared>,
    pub(crate) endpoint: String,
    /// Where metadata and STS are.
    pub(crate) url: String,
    _runtime: tokio::runtime::Runtime,
}

struct Shared {
    keys: TemporaryKeys,
    life: Duration,
    issued: AtomicU32,
    is_down: AtomicBool,
    has_ended: AtomicBool,
    /// Where keys are put for those who read them in files.
    place: PathBuf,
}

impl Issuer {
    pub(crate) fn start(place: &Path, life: Duration) -> Issuer {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let keys = TemporaryKeys::default();
        let own = Credentials { secret_id: ID.into(), secret_key: KEY.into(), token: None };
        let options =
            ServerOptions { credentials: Some(own), temporary_keys: keys.clone(), ..ServerOptions::default() };
        runtime.spawn(run(listener, options, std::future::pending()));
        let (issued, is_down, has_ended) = Default::default();
        let shared = Arc::new(Shared { keys, life, issued, is_down, has_ended, place: place.to_owned() });
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        let serving = shared.clone();
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let serving = serving.clone();
                std::thread::spawn(move || drop(serving.answer(&connection)));
            }
        });
        shared.write_files().unwrap();
        let writing = shared.clone();
        std::thread::spawn(move || {
            while !writing.has_ended.load(Ordering::SeqCst) {
                std::thread::sleep(writing.life / 3);
                if !writing.is_down.load(Ordering::SeqCst) {
                    // The place may be gone with the test.
                    let _ = writing.write_files();
                }
            }
        });
        Issuer { shared, endpoint, url: format!("http://{address}"), _runtime: runtime }
    }

    /// Nobody gives a key any more, or they do again.
    pub(crate) fn set_down(&self, is_down: bool) {
        self.shared.is_down.store(is_down, Ordering::SeqCst);
        let up = self.shared.place.join("up");
        if is_down { fs::remove_file(up).unwrap() } else { fs::write(up, "").unwrap() }
    }

    pub(crate) fn issued(&self) -> u32 {
        self.shared.issued.load(Ordering::SeqCst)
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.shared.has_ended.store(true, Ordering::SeqCst);
    }
}

impl Shared {
    fn issue(&self) -> (Credentials, SystemTime) {
        let number = self.issued.fetch_add(1, Ordering::SeqCst);
        let credentials = Credentials {
            secret_id: format!("AKIDtmp{number}"),
            secret_key: format!("{SECRET}-key-{number}"),
            token: Some(format!("{SECRET}-token-{number}")),
        };
        // In whole seconds, as they are told.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let until = UNIX_EPOCH + Duration::from_secs(now) + self.life;
        self.keys.issue(credentials.clone(), until);
        (credentials, until)
    }

    /// For a program, and for who reads a file of cosfs's form.
    fn write_files(&self) -> std::io::Result<()> {
        let (Credentials { secret_id, secret_key, token }, until) = self.issue();
        let (token, end) = (token.unwrap(), date::iso_seconds(until));
        let json = format!(
            r#"{{"Version":1,"AccessKeyId":"{secret_id}","SecretAccessKey":"{secret_key}","SessionToken":"{token}","Expiration":"{end}"}}"#
        );
        let lines = format!(
            "COSAccessKeyId={secret_id}\nCOSSecretKey={secret_key}\nCOSAccessToken={token}\nCOSAccessTokenExpire={end}\n"
        );
        for (name, text) in [("key.json", json), ("key.passwd", lines)] {
            use std::os::unix::fs::PermissionsExt;
            let beside = self.place.join(format!("{name}.new"));
            fs::write(&beside, text)?;
            fs::set_permissions(&beside, fs::Permissions::from_mode(0o600))?;
            fs::rename(beside, self.place.join(name))?;
        }
        Ok(())
    }

    /// One request, as metadata and STS answer it.
    fn answer(&self, mut connection: &TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(connection);
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            match line.trim_end() {
                "" => break,
                line => lines.push(line.to_owned()),
            }
        }
        let header = |name: &str| {
            let of = |line: &String| {
                line.split_once(": ").filter(|(found, _)| *found == name).map(|(_, value)| value.to_owned())
            };
            lines.iter().find_map(of).unwrap_or_default()
        };
        let mut body = vec![0; header("content-length").parse().unwrap_or(0)];
        reader.read_exact(&mut body)?;
        if self.is_down.load(Ordering::SeqCst) {
            return Ok(());
        }
        let path = lines.first().and_then(|line| line.split(' ').nth(1)).unwrap_or_default();
        let method = lines.first().and_then(|line| line.split(' ').next()).unwrap_or_default();
        let has_token = header("x-aws-ec2-metadata-token") == METADATA_TOKEN;
        let form = String::from_utf8_lossy(&body);
        let roles = "/latest/meta-data/iam/security-credentials/";
        let text = match path {
            "/latest/api/token" if method == "PUT" => METADATA_TOKEN.to_owned(),
            path if path == roles && has_token => "reader".to_owned(),
            path if path == format!("{roles}reader") && has_token => self.told_by_aws(),
            "/container" if header("authorization") == WORKLOAD_TOKEN => self.told_by_aws(),
            "/" if form.starts_with("Action=AssumeRoleWithWebIdentity&") && form.contains(WORKLOAD_TOKEN) => {
                self.told_by_sts_of_aws()
            }
            "/m/cam/security-credentials/" => "reader".to_owned(),
            "/m/cam/security-credentials/reader" => self.told("", r#","Code":"Success"}"#, "{"),
            "/" if is_signed(&header, &body) => self.told("}", "}}", r#"{"Response":{"Credentials":{"#),
            _ => r#"{"Response":{"Error":{"Code":"AuthFailure.SignatureFailure","Message":"m"}}}"#.to_owned(),
        };
        let now = date::http(SystemTime::now());
        write!(
            connection,
            "HTTP/1.1 200 OK\r\ndate: {now}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{text}",
            text.len()
        )
    }

    fn told_by_aws(&self) -> String {
        let (Credentials { secret_id, secret_key, token }, until) = self.issue();
        let (token, end) = (token.unwrap(), date::iso_seconds(until));
        format!(
            r#"{{"Code":"Success","AccessKeyId":"{secret_id}","SecretAccessKey":"{secret_key}","Token":"{token}","Expiration":"{end}"}}"#
        )
    }

    fn told_by_sts_of_aws(&self) -> String {
        let (Credentials { secret_id, secret_key, token }, until) = self.issue();
        let (token, end) = (token.unwrap(), date::iso_seconds(until));
        format!(
            "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>\
             <AccessKeyId>{secret_id}</AccessKeyId><SecretAccessKey>{secret_key}</SecretAccessKey>\
             <SessionToken>{token}</SessionToken><Expiration>{end}</Expiration>\
             </Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
        )
    }

    /// A key in JSON, with what stands before it, between it and its end, and behind that.
    fn told(&self, between: &str, behind: &str, before: &str) -> String {
        let (Credentials { secret_id, secret_key, token }, until) = self.issue();
        let end = until.duration_since(UNIX_EPOCH).unwrap().as_secs();
        let token = token.unwrap();
        format!(
            r#"{before}"TmpSecretId":"{secret_id}","TmpSecretKey":"{secret_key}","Token":"{token}"{between},"ExpiredTime":{end}{behind}"#
        )
    }
}

/// Whether STS would believe who asks.
fn is_signed(header: &dyn Fn(&str) -> String, body: &[u8]) -> bool {
    if header("x-tc-action") == "AssumeRoleWithWebIdentity" {
        return String::from_utf8_lossy(body).contains(WORKLOAD_TOKEN);
    }
    let request = Tc3Request {
        method: "POST",
        query: "",
        content_type: &header("content-type"),
        host: &header("host"),
        service: "sts",
        body,
        timestamp: header("x-tc-timestamp").parse().unwrap_or(0),
    };
    let own = Credentials { secret_id: ID.into(), secret_key: KEY.into(), token: None };
    header("x-tc-action") == "AssumeRole" && header("authorization") == authorization(&request, &own)
}
