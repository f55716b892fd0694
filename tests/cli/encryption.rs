//! Whose word is taken for who a service is.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::bed::{BUCKET, Done, Home, ID, KEY, Running, Service};

/// Speaks TLS before a service: the certificate, its key, and the port of the service.
const TERMINATOR: &str = "
import socket, ssl, sys, threading
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
listener = socket.create_server(('127.0.0.1', 0))
print(listener.getsockname()[1], flush=True)
def pump(source, sink):
    try:
        while data := source.recv(65536):
            sink.sendall(data)
    except OSError:
        pass
    sink.close()
def serve(connection):
    try:
        inside = context.wrap_socket(connection, server_side=True)
    except OSError:
        return
    service = socket.create_connection(('127.0.0.1', int(sys.argv[3])))
    threading.Thread(target=pump, args=(service, inside), daemon=True).start()
    pump(inside, service)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
";

/// An authority of our own, and what it says of 127.0.0.1 and of another host.
pub(crate) fn make_certificates(home: &Home) {
    let script = "set -e
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=authority \
            -keyout ca.key -out ca.pem
        for host in IP:127.0.0.1 DNS:other.example; do
            openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=service -keyout $host.key -out $host.csr
            echo subjectAltName=$host > $host.ext
            openssl x509 -req -in $host.csr -CA ca.pem -CAkey ca.key -days 2 -extfile $host.ext -out $host.pem
        done
        printf '[ca]\ndefault_ca=own\n[own]\ndatabase=index\nserial=serial\nnew_certs_dir=.\ndefault_md=sha256\npolicy=any\n\
            unique_subject=no\n[any]\ncommonName=supplied\n' > ca.cnf
        touch index; echo 1000 > serial
        issue() {
            openssl ca -batch -config ca.cnf -cert ca.pem -keyfile ca.key -in IP:127.0.0.1.csr -extfile IP:127.0.0.1.ext \
                -startdate $1 -enddate $2 -out $3
        }
        issue 20200101000000Z 20210101000000Z expired.pem
        issue 20990101000000Z 21000101000000Z early.pem
        cp IP:127.0.0.1.key expired.key
        cp IP:127.0.0.1.key early.key";
    let done = Done::of(Command::new("sh").args(["-c", script]).current_dir(home.path()).output().unwrap());
    assert_eq!(done.code, Some(0), "{done:?}");
}

/// The service behind TLS, and its endpoint.
pub(crate) fn terminated(home: &Home, service: &Service, host: &str) -> (Running, String) {
    let port = service.endpoint.rsplit(':').next().unwrap();
    let mut command = Command::new("python3");
    command.args(["-c", TERMINATOR, &format!("{host}.pem"), &format!("{host}.key"), port]);
    let mut process = Running(command.current_dir(home.path()).stdout(Stdio::piped()).spawn().unwrap());
    let mut told = String::new();
    BufReader::new(process.0.stdout.take().unwrap()).read_line(&mut told).unwrap();
    (process, format!("https://127.0.0.1:{}", told.trim()))
}

#[test]
fn a_service_is_believed_by_a_certificate_of_an_authority_that_is_trusted() {
    let home = Home::new();
    let service = Service::start(&home);
    make_certificates(&home);
    let mount = |endpoint: &str, more: &[&str]| {
        let mut command = home.program();
        command.args(["mount", BUCKET, "mnt", "--endpoint", endpoint]).args(more);
        Done::of(command.env("COS_SECRETID", ID).env("COS_SECRETKEY", KEY).output().unwrap())
    };
    let (_terminator, endpoint) = terminated(&home, &service, "IP:127.0.0.1");
    mount(&endpoint, &[]).failed(3, "is signed by no authority that this machine knows: name a file");
    assert!(service.requests().is_empty(), "no request was made");
    mount(&endpoint, &["--ca-bundle", "ca.pem"]).succeeded();
    std::fs::write(home.mount_point().join("a"), "hello").unwrap();
    home.unmount().succeeded();
    home.write("garbled.pem", "-----BEGIN CERTIFICATE-----\nbm9uZQ==\n-----END CERTIFICATE-----\n", 0o644);
    mount(&endpoint, &["--ca-bundle", "garbled.pem"]).failed(2, "a certificate in --ca-bundle cannot be read: ");
    let (_terminator, endpoint) = terminated(&home, &service, "DNS:other.example");
    mount(&endpoint, &["--ca-bundle", "ca.pem"]).failed(3, "is for another name: name the host that it is for");
    // The machine's own authorities are not asked where there is a bundle.
    mount(&endpoint, &["--ca-bundle", "DNS:other.example.pem"]).failed(3, "the certificate of https://127.0.0.1:");
}
