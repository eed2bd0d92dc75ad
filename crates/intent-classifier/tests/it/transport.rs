//! What goes over the wire before any handler sees it: encryption, slow and crooked clients, browsers.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    time::Duration,
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use reqwest::{Certificate, Client, Identity, tls};
use serde_json::json;
use tempfile::TempDir;

use crate::{
    program::{program, transcript},
    server::Server,
};

const CLASSIFY: &str = "/api/v1/intents/classify";

pub(crate) type Authority = CertifiedIssuer<'static, KeyPair>;

pub(crate) fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    // OpenSSL takes a certificate whose issuer has its own name for one that it issued itself.
    params.distinguished_name.push(DnType::CommonName, "authority of the tests");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a certificate")
}

/// Writes a certificate for this machine; returns it in PEM.
pub(crate) fn write_certificate(folder: &Path, authority: &Authority) -> String {
    let key = KeyPair::generate().expect("a key");
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let params = CertificateParams::new(names).expect("names");
    let certificate = params.signed_by(&key, authority).expect("a certificate").pem();
    fs::write(folder.join("key.pem"), key.serialize_pem()).expect("a file can be written");
    fs::write(folder.join("cert.pem"), &certificate).expect("a file can be written");
    certificate
}

fn encrypted(folder: &Path, more: &[(&str, &str)]) -> Server {
    let (certificate, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    let mut settings = vec![
        ("TLS_CERT_FILE", certificate.to_str().expect("a path in ASCII")),
        ("TLS_KEY_FILE", key.to_str().expect("a path in ASCII")),
    ];
    settings.extend(more);
    Server::with(&settings)
}

fn client(authority: &Authority) -> reqwest::ClientBuilder {
    crate::server::client_builder()
        .tls_certs_only([Certificate::from_pem(authority.pem().as_bytes()).expect("a certificate")])
}

fn url(server: &Server, path: &str) -> String {
    format!("https://localhost:{}{path}", server.address().port())
}

#[tokio::test]
async fn both_versions_of_tls_are_spoken_and_browsers_are_told_to_stay() {
    let (folder, authority) = (TempDir::new().expect("there is room"), authority());
    write_certificate(folder.path(), &authority);
    let server = encrypted(folder.path(), &[]);
    for version in [tls::Version::TLS_1_2, tls::Version::TLS_1_3] {
        let client = client(&authority).tls_version_max(version).tls_version_min(version).build().expect("a client");
        let response = client.post(url(&server, CLASSIFY)).json(&json!({"text": "refund"})).send().await;
        let response = response.expect("the certificate is trusted");
        assert_eq!(response.status(), 200, "{version:?}");
        assert!(response.headers()["strict-transport-security"].to_str().expect("ASCII").contains("max-age="));
    }
    let plain = TcpStream::connect(server.address()).expect("the server listens");
    let answer = exchange(plain, b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");

    let strict = encrypted(folder.path(), &[("TLS_MIN_VERSION", "1.3")]);
    let old = client(&authority).tls_version_max(tls::Version::TLS_1_2).build().expect("a client");
    assert!(old.get(url(&strict, "/health")).send().await.is_err());
}

#[tokio::test]
async fn a_new_certificate_is_taken_without_a_restart_and_a_broken_one_is_not() {
    let (folder, first, second) = (TempDir::new().expect("there is room"), authority(), authority());
    write_certificate(folder.path(), &first);
    let server = encrypted(folder.path(), &[]);
    let ask = async |authority: &Authority| {
        // A client of its own for each: connections are not shared.
        let client: Client = client(authority).build().expect("a client");
        client.get(url(&server, "/health")).send().await.map(|response| response.status().as_u16())
    };
    assert_eq!(ask(&first).await.expect("the first certificate"), 200);

    fs::write(folder.path().join("cert.pem"), "nonsense").expect("a file can be written");
    server.signal("HUP");
    server.wait_for_log("certificate not reloaded; the old one goes on");
    assert_eq!(ask(&first).await.expect("still the first certificate"), 200);

    write_certificate(folder.path(), &second);
    server.signal("HUP");
    server.wait_for_log("certificate reloaded");
    assert_eq!(ask(&second).await.expect("the second certificate"), 200);
    assert!(ask(&first).await.is_err(), "the first certificate is gone");
}

#[tokio::test]
async fn the_health_check_of_a_container_speaks_tls() {
    let (folder, authority) = (TempDir::new().expect("there is room"), authority());
    write_certificate(folder.path(), &authority);
    let server = encrypted(folder.path(), &[]);
    let check = || {
        program(folder.path())
            .args(["healthcheck", "--timeout-ms", "30000"])
            .env("PORT", server.address().port().to_string())
            .env("TLS_CERT_FILE", "cert.pem")
            .env("TLS_KEY_FILE", "key.pem")
            .output()
            .expect("the program runs")
    };
    let healthy = check();
    assert_eq!(healthy.status.code(), Some(0), "{}", transcript(&healthy));
}

#[tokio::test]
async fn clients_show_a_certificate_where_that_is_asked() {
    let (folder, authority, others) = (TempDir::new().expect("there is room"), authority(), authority());
    write_certificate(folder.path(), &authority);
    let file = folder.path().join("ca.pem");
    fs::write(&file, authority.pem()).expect("a file can be written");
    let server = encrypted(folder.path(), &[("TLS_CLIENT_CA_FILE", file.to_str().expect("ASCII"))]);
    let identity = |authority: &Authority| {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec!["client".to_owned()]).expect("names");
        let certificate = params.signed_by(&key, authority).expect("a certificate");
        Identity::from_pem((key.serialize_pem() + &certificate.pem()).as_bytes()).expect("an identity")
    };
    let known = client(&authority).identity(identity(&authority)).build().expect("a client");
    assert_eq!(known.get(url(&server, "/health")).send().await.expect("it is let in").status(), 200);
    let stranger = client(&authority).identity(identity(&others)).build().expect("a client");
    assert!(stranger.get(url(&server, "/health")).send().await.is_err());
    let nobody = client(&authority).build().expect("a client");
    assert!(nobody.get(url(&server, "/health")).send().await.is_err());
}

#[test]
fn a_certificate_that_cannot_be_used_stops_the_start() {
    let (folder, authority) = (TempDir::new().expect("there is room"), authority());
    write_certificate(folder.path(), &authority);
    fs::write(folder.path().join("other.pem"), KeyPair::generate().expect("a key").serialize_pem()).expect("a file");
    fs::write(folder.path().join("empty.pem"), "").expect("a file can be written");
    let cases: [&[(&str, &str)]; 6] = [
        &[("TLS_CERT_FILE", "cert.pem")],
        &[("TLS_KEY_FILE", "key.pem")],
        &[("TLS_CERT_FILE", "missing.pem"), ("TLS_KEY_FILE", "key.pem")],
        &[("TLS_CERT_FILE", "empty.pem"), ("TLS_KEY_FILE", "key.pem")],
        &[("TLS_CERT_FILE", "cert.pem"), ("TLS_KEY_FILE", "other.pem")],
        &[("TLS_CERT_FILE", "cert.pem"), ("TLS_KEY_FILE", "key.pem"), ("TLS_CLIENT_CA_FILE", "empty.pem")],
    ];
    let mut outcomes = String::new();
    for settings in cases {
        let output = program(folder.path()).envs(settings.iter().copied()).output().expect("the program runs");
        assert_eq!(output.status.code(), Some(78), "{settings:?}");
        outcomes.push_str(&format!("{settings:?}\n{}\n", transcript(&output)));
    }
    insta::assert_snapshot!(outcomes);
}

/// Sends bytes and reads until the server closes the connection, or for long enough that it never will.
fn exchange(mut stream: TcpStream, bytes: &[u8]) -> String {
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a time above 0");
    // The server may close before all is sent.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).expect("the server listens")
}

#[tokio::test]
async fn who_is_slow_to_ask_is_not_waited_for() {
    let server = Server::with(&[("IDLE_TIMEOUT_MS", "300")]);
    let beginnings: [&[u8]; 5] = [
        b"",
        b"P",
        b"POST /api/v1/intents/classify HTTP/1.1\r\nHost: a\r\n",
        // An HTTP/2 connection without any stream.
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
        b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n",
    ];
    for beginning in beginnings {
        let mut stream = connect(server.address());
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a time above 0");
        stream.write_all(beginning).expect("the connection is open");
        let mut answer = Vec::new();
        let ended = stream.read_to_end(&mut answer);
        let was_reset = ended.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset);
        assert!(ended.is_ok() || was_reset, "{beginning:?}: the connection is closed, not left open: {ended:?}");
    }
    assert_eq!(server.get("/health").send().await.expect("others are served").status(), 200);
}

#[tokio::test]
async fn a_head_without_end_is_refused() {
    let server = Server::start();
    let long = format!("GET /health HTTP/1.1\r\nHost: a\r\nX-Long: {}\r\n\r\n", "a".repeat(100_000));
    let many = format!("GET /health HTTP/1.1\r\nHost: a\r\n{}\r\n", "X-Many: a\r\n".repeat(200));
    let path = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(100_000));
    for head in [long, many, path] {
        let answer = exchange(connect(server.address()), head.as_bytes());
        let status = answer.get(9..12).unwrap_or_default();
        assert!(["431", "414", ""].contains(&status), "{answer}");
    }
}

/// What a proxy and a server may read differently, and how many answers there may be: whoever smuggles a request gets
/// one more.
#[tokio::test]
async fn requests_cannot_be_smuggled() {
    let server = Server::start();
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let head = "POST /api/v1/intents/classify HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n";
    let refused = [
        ("two lengths", format!("{head}Content-Length: 0\r\nContent-Length: 40\r\n\r\n{smuggled}")),
        ("a list of lengths", format!("{head}Content-Length: 0, 40\r\n\r\n{smuggled}")),
        ("a signed length", format!("{head}Content-Length: +0\r\n\r\n{smuggled}")),
        ("a negative length", format!("{head}Content-Length: -1\r\n\r\n{smuggled}")),
        ("a length in hexadecimal", format!("{head}Content-Length: 0x0\r\n\r\n{smuggled}")),
        ("an endless length", format!("{head}Content-Length: 99999999999999999999\r\n\r\n{smuggled}")),
        ("an unknown coding", format!("{head}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{smuggled}")),
        ("chunked, but not last", format!("{head}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n{smuggled}")),
        ("a space before the colon", format!("{head}Content-Length : 0\r\n\r\n{smuggled}")),
        ("a folded header", format!("{head}X: a\r\n Content-Length: 0\r\n\r\n{smuggled}")),
        ("a bare line feed in a value", format!("{head}X: a\nContent-Length: 0\r\n\r\n")),
        ("a NUL in a value", format!("{head}X: a\0b\r\n\r\n{smuggled}")),
        ("a chunk size with a sign", format!("{head}Transfer-Encoding: chunked\r\n\r\n+1\r\na\r\n0\r\n\r\n")),
        ("a chunk size beyond all bounds", format!("{head}Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n")),
        ("HTTP/0.9", "GET /health\r\n\r\n".to_owned()),
        ("HTTP/3.0", "GET /health HTTP/3.0\r\nHost: a\r\n\r\n".to_owned()),
        ("a method with a space", format!("G ET /health HTTP/1.1\r\nHost: a\r\n\r\n{smuggled}")),
    ];
    for (name, request) in refused {
        let answer = exchange(connect(server.address()), request.as_bytes());
        let answers = answer.matches("HTTP/1.1 ").count();
        assert!(answers <= 1, "{name}: {answer}");
        assert!(!answer.contains(" 200 ") && !answer.contains("no such path"), "{name}: {answer}");
    }
}

#[tokio::test]
async fn a_page_of_another_origin_may_not_call_unless_it_is_listed() {
    let preflight = async |server: &Server, origin: &str| {
        let url = format!("http://{}{CLASSIFY}", server.address());
        let request = crate::server::client_builder()
            .build()
            .expect("a client needs nothing")
            .request(reqwest::Method::OPTIONS, url)
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "content-type,authorization");
        request.send().await.expect("the server answers")
    };
    let closed = Server::start();
    let response = preflight(&closed, "https://console.example").await;
    assert!(!response.headers().contains_key("access-control-allow-origin"));

    let open = Server::with(&[
        ("CORS_ALLOWED_ORIGINS", "https://console.example, http://localhost:3000"),
        ("AUTH_ENABLED", "true"),
        ("JWT_SECRET", crate::token::SECRET),
    ]);
    for (origin, allowed) in [
        ("https://console.example", true),
        ("http://localhost:3000", true),
        ("https://console.example.evil", false),
        ("http://console.example", false),
        ("null", false),
    ] {
        let response = preflight(&open, origin).await;
        let found = response.headers().get("access-control-allow-origin").map(|value| value.as_bytes().to_vec());
        assert_eq!(found, allowed.then(|| origin.as_bytes().to_vec()), "{origin}");
        let request = open.post(CLASSIFY).header("origin", origin).json(&json!({"text": "refund"}));
        let refused = request.send().await.expect("the server answers");
        assert_eq!(refused.status(), 401, "a preflight needs no token, a request does");
        assert_eq!(refused.headers().contains_key("access-control-allow-origin"), allowed, "{origin}");
    }
    let folder = TempDir::new().expect("there is room");
    for origins in ["console.example", "https://console.example/path", "ftp://console.example"] {
        let output = program(folder.path()).env("CORS_ALLOWED_ORIGINS", origins).output().expect("the program runs");
        assert_eq!(output.status.code(), Some(78), "{origins}");
    }
}

#[tokio::test]
async fn every_answer_has_the_headers_that_keep_browsers_from_harm() {
    let server = Server::start();
    let mut found = String::new();
    for path in ["/health", "/api/v1/nothing", "/docs/"] {
        let response = server.get(path).send().await.expect("the server answers");
        found.push_str(&format!("{path} {}\n", response.status().as_u16()));
        let mut names: Vec<_> = response.headers().keys().map(|name| name.as_str().to_owned()).collect();
        names.retain(|name| !["date", "content-length", "x-request-id", "etag"].contains(&name.as_str()));
        names.sort();
        for name in names {
            found.push_str(&format!("    {name}: {}\n", response.headers()[&name].to_str().expect("ASCII")));
        }
    }
    insta::assert_snapshot!(found);
}
