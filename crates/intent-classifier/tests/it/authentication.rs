//! Who may call what.

use std::{
    fs,
    io::{Read, Write},
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    program::{program, transcript},
    server::{Server, json as body_of},
    token::{SECRET, claims, hs256, now, part, signed, token},
};

const CLASSIFY: &str = "/api/v1/intents/classify";
const RELOAD: &str = "/api/v1/models/reload";

fn guarded(more: &[(&str, &str)]) -> Server {
    let mut settings = vec![("AUTH_ENABLED", "true"), ("JWT_SECRET", SECRET)];
    settings.extend(more);
    Server::with(&settings)
}

/// Classifies with a token; returns the status, `WWW-Authenticate` and the body.
async fn classify(server: &Server, authorization: &str) -> (u16, String, Value) {
    let request = server.post(CLASSIFY).json(&json!({"text": "refund"})).header("authorization", authorization);
    let response = request.send().await.expect("the server answers");
    let challenge = response.headers().get("www-authenticate").map(|value| value.to_str().expect("ASCII").to_owned());
    (response.status().as_u16(), challenge.unwrap_or_default(), body_of(response).await)
}

#[tokio::test]
async fn nobody_is_let_in_without_proof_and_the_answer_says_what_to_show() {
    let server = guarded(&[]);
    let response = server.post_json(CLASSIFY, &json!({"text": "refund"})).await;
    assert_eq!(response.status(), 401);
    assert_eq!(response.headers()["www-authenticate"], r#"Bearer realm="intent-classifier""#);
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    insta::assert_json_snapshot!(body_of(response).await, {".request_id" => "[uuid]"});

    let (status, challenge, body) = classify(&server, &format!("Bearer {}", token("alice", "feedback"))).await;
    assert_eq!(status, 403);
    assert!(challenge.contains(r#"error="insufficient_scope""#) && challenge.contains(r#"scope="classify""#));
    insta::assert_json_snapshot!(body, {".request_id" => "[uuid]"});

    for scopes in ["classify", "feedback classify", "admin", "of:another classify"] {
        let (status, _, body) = classify(&server, &format!("bearer {}", token("alice", scopes))).await;
        assert_eq!(status, 200, "{scopes}: {body}");
    }
    let reload = server.post(RELOAD).bearer_auth(token("alice", "classify")).send().await.expect("an answer");
    assert_eq!(reload.status(), 403);
}

#[tokio::test]
async fn every_attack_on_a_token_is_refused_with_its_reason() {
    let server = guarded(&[("JWT_ISSUER", "https://id.example"), ("JWT_AUDIENCE", "intent-classifier")]);
    let good = || {
        let mut claims = claims("alice", "classify");
        claims["iss"] = json!("https://id.example");
        claims["aud"] = json!(["another", "intent-classifier"]);
        claims
    };
    let with = |name: &str, value: Value| {
        let mut claims = good();
        claims[name] = value;
        claims
    };
    let without = |name: &str| {
        let mut claims = good();
        claims.as_object_mut().expect("claims").remove(name);
        claims
    };
    let header = json!({"alg": "HS256"});
    let sign = |claims: &Value| signed(&header, claims, |message| hs256(SECRET.as_bytes(), message));
    let headed = |header: Value| signed(&header, &good(), |message| hs256(SECRET.as_bytes(), message));
    let whole = sign(&good());
    let (message, signature) = whole.rsplit_once('.').expect("a token has three parts");
    let (head, payload) = message.split_once('.').expect("a token has three parts");
    let none = |alg: &str| format!("{}.{payload}.", part(json!({"alg": alg}).to_string()));
    let mut bits = part_bytes(signature);
    bits[0] ^= 1;

    let invalid = 401;
    let malformed = 400;
    let cases: Vec<(&str, String, u16, &str)> = vec![
        ("alg none", none("none"), invalid, "not a JSON Web Token"),
        ("alg None", none("None"), invalid, "not a JSON Web Token"),
        ("alg nOnE with the old signature", none("nOnE") + signature, invalid, "not a JSON Web Token"),
        ("HS256 without a signature", format!("{message}."), invalid, "signature is wrong"),
        ("two parts", message.to_owned(), invalid, "not a JSON Web Token"),
        ("four parts", format!("{whole}.{signature}"), invalid, "not a JSON Web Token"),
        ("one bit of the signature turned", format!("{message}.{}", part(&bits)), invalid, "signature is wrong"),
        (
            "other claims under the old signature",
            format!("{head}.{}.{signature}", part(with("scope", json!("admin")).to_string())),
            invalid,
            "signature is wrong",
        ),
        (
            "another secret",
            signed(&header, &good(), |message| hs256(b"another secret of more than 32 bytes", message)),
            invalid,
            "signature is wrong",
        ),
        ("the empty secret", signed(&header, &good(), |message| hs256(b"", message)), invalid, "signature is wrong"),
        ("HS384", headed(json!({"alg": "HS384"})), invalid, "algorithm is not the one"),
        ("RS256", headed(json!({"alg": "RS256"})), invalid, "algorithm is not the one"),
        ("an unknown algorithm", headed(json!({"alg": "HS257"})), invalid, "not a JSON Web Token"),
        ("no algorithm", headed(json!({"typ": "JWT"})), invalid, "not a JSON Web Token"),
        ("extensions that must be understood", headed(json!({"alg": "HS256", "crit": ["exp"]})), invalid, "extensions"),
        (
            "a key of its own",
            headed(json!({"alg": "none", "jwk": {"kty": "oct", "k": "AA"}})),
            invalid,
            "not a JSON Web Token",
        ),
        ("expired", sign(&with("exp", json!(now() - 31))), invalid, "has expired"),
        ("never expires", sign(&without("exp")), invalid, "`exp` is missing"),
        ("expires in words", sign(&with("exp", json!("tomorrow"))), invalid, "`exp` is missing"),
        ("expires before time began", sign(&with("exp", json!(-1))), invalid, "`exp` is missing"),
        ("not valid yet", sign(&with("nbf", json!(now() + 3600))), invalid, "not valid yet"),
        ("another issuer", sign(&with("iss", json!("https://id.example.evil"))), invalid, "another issuer"),
        ("no issuer", sign(&without("iss")), invalid, "`iss` is missing"),
        ("another audience", sign(&with("aud", json!("another"))), invalid, "another audience"),
        ("no audience", sign(&without("aud")), invalid, "`aud` is missing"),
        ("nobody", sign(&without("sub")), invalid, "`sub` is missing"),
        (
            "a name that forges a log line",
            sign(&with("sub", json!("alice\n{\"level\":\"ERROR\"}"))),
            invalid,
            "control characters",
        ),
        ("a name without end", sign(&with("sub", json!("a".repeat(257)))), invalid, "too long"),
        (
            "claims that are a list",
            signed(&header, &json!([1]), |message| hs256(SECRET.as_bytes(), message)),
            invalid,
            "not of the expected form",
        ),
        ("huge", format!("{head}.{}.{signature}", "a".repeat(9_000)), invalid, "too long"),
        ("not base64", "a.b!.c".to_owned(), invalid, "not a JSON Web Token"),
        ("dots", "..".to_owned(), invalid, "not a JSON Web Token"),
        ("two words", format!("{whole} {whole}"), malformed, "not of the form"),
    ];
    for (name, token, status, reason) in cases {
        let (found, challenge, body) = classify(&server, &format!("Bearer {token}")).await;
        let detail = body["detail"].as_str().unwrap_or_default();
        assert_eq!(found, status, "{name}: {body}");
        assert!(detail.contains(reason), "{name}: {detail}");
        let code = if status == 400 { "invalid_request" } else { "invalid_token" };
        assert!(challenge.contains(&format!(r#"error="{code}""#)), "{name}: {challenge}");
    }
    for (name, authorization) in [("no scheme", whole.clone()), ("basic", format!("Basic {}", STANDARD.encode("a:b")))]
    {
        assert_eq!(classify(&server, &authorization).await.0, 400, "{name}");
    }
    for good in
        [good(), with("exp", json!(now() - 5)), with("nbf", json!(now() + 5)), with("aud", json!("intent-classifier"))]
    {
        let (status, _, body) = classify(&server, &format!("Bearer {}", sign(&good))).await;
        assert_eq!(status, 200, "{good}: {body}");
    }
    let both = server.post(CLASSIFY).json(&json!({"text": "refund"})).bearer_auth(&whole).header("x-api-key", "a");
    assert_eq!(both.send().await.expect("an answer").status(), 400, "two proofs");
    let twice = server.post(CLASSIFY).json(&json!({"text": "refund"})).bearer_auth(&whole).bearer_auth(&whole);
    assert_eq!(twice.send().await.expect("an answer").status(), 400, "the same proof twice");
}

fn part_bytes(part: &str) -> Vec<u8> {
    base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(part).expect("base64")
}

/// Writes a public key as `openssl pkey -pubout` does: the prefix says of what kind the bits are.
fn pem(prefix: &[u8], key: &[u8]) -> String {
    let der = [prefix, key].concat();
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der))
}

const ED25519_PREFIX: &[u8] = &[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
const P256_PREFIX: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// A key of 2048 bits, made once for these tests with `openssl genpkey -algorithm RSA | openssl pkcs8 -topk8 -nocrypt`.
const RSA_PKCS8: &[u8] = include_bytes!("keys/rsa.pkcs8.der");
const RSA_PUBLIC: &[u8] = include_bytes!("keys/rsa.public.pem");

fn ed25519() -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a seed has 32 bytes")
}

fn p256() -> EcdsaKeyPair {
    let random = SystemRandom::new();
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).expect("a key");
    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random).expect("a key")
}

fn rs256(message: &[u8]) -> Vec<u8> {
    let key = RsaKeyPair::from_pkcs8(RSA_PKCS8).expect("a key");
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(&ring::signature::RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).expect("a signature");
    signature
}

#[tokio::test]
async fn a_public_key_verifies_its_own_algorithm_and_is_no_secret_of_another() {
    let folder = TempDir::new().expect("there is room for a folder");
    let (ed25519, p256) = (ed25519(), p256());
    let ed = |message: &[u8]| ed25519.sign(message).as_ref().to_vec();
    let ec = |message: &[u8]| p256.sign(&SystemRandom::new(), message).expect("a signature").as_ref().to_vec();
    let files = [
        ("EdDSA", pem(ED25519_PREFIX, ed25519.public_key().as_ref()), &ed as &dyn Fn(&[u8]) -> Vec<u8>),
        ("ES256", pem(P256_PREFIX, p256.public_key().as_ref()), &ec),
        ("RS256", String::from_utf8(RSA_PUBLIC.to_vec()).expect("PEM is text"), &rs256),
    ];
    for (algorithm, pem, sign) in files {
        let file = folder.path().join(format!("{algorithm}.pem"));
        fs::write(&file, &pem).expect("a file can be written");
        let server =
            Server::with(&[("AUTH_ENABLED", "true"), ("JWT_PUBLIC_KEY_FILE", file.to_str().expect("a path in ASCII"))]);
        let claims = claims("alice", "classify");
        let good = signed(&json!({"alg": algorithm}), &claims, sign);
        let (status, _, body) = classify(&server, &format!("Bearer {good}")).await;
        assert_eq!(status, 200, "{algorithm}: {body}");

        // The file is public: an attacker can sign with it as if it were a secret.
        let confused = signed(&json!({"alg": "HS256"}), &claims, |message| hs256(pem.as_bytes(), message));
        let (status, _, body) = classify(&server, &format!("Bearer {confused}")).await;
        assert_eq!(status, 401, "{algorithm}");
        assert!(body["detail"].to_string().contains("algorithm"), "{algorithm}: {body}");
        let other = signed(&json!({"alg": "HS256"}), &claims, |message| hs256(b"", message));
        assert_eq!(classify(&server, &format!("Bearer {other}")).await.0, 401, "{algorithm}");
    }
}

/// An identity provider that counts how often it is asked.
fn provider(document: String) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let url = format!("http://{}/keys", listener.local_addr().expect("it is bound"));
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { break };
            count.fetch_add(1, Ordering::SeqCst);
            let mut request = [0; 1024];
            let _ = stream.read(&mut request);
            let length = document.len();
            let _ =
                write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{document}");
        }
    });
    (url, asked)
}

#[tokio::test]
async fn published_keys_are_fetched_once_however_many_unknown_keys_tokens_name() {
    let ed25519 = ed25519();
    let keys = json!({"keys": [
        {"kty": "oct", "kid": "secret", "k": part(SECRET)},
        {"kty": "EC", "crv": "P-384", "kid": "too-large", "x": "AA", "y": "AA"},
        "nonsense",
        {"kty": "OKP", "crv": "Ed25519", "kid": "of-encryption", "use": "enc", "x": part(ed25519.public_key())},
        {"kty": "OKP", "crv": "Ed25519", "kid": "current", "x": part(ed25519.public_key())},
    ]});
    let (url, asked) = provider(keys.to_string());
    let server = Server::with(&[("AUTH_ENABLED", "true"), ("JWT_JWKS_URL", &url)]);
    let sign = |header: Value| {
        signed(&header, &claims("alice", "classify"), |message| ed25519.sign(message).as_ref().to_vec())
    };
    for header in [json!({"alg": "EdDSA", "kid": "current"}), json!({"alg": "EdDSA"})] {
        let (status, _, body) = classify(&server, &format!("Bearer {}", sign(header))).await;
        assert_eq!(status, 200, "{body}");
    }
    for number in 0..200 {
        let token = sign(json!({"alg": "EdDSA", "kid": format!("unknown-{number}")}));
        assert_eq!(classify(&server, &format!("Bearer {token}")).await.0, 401);
    }
    for kid in ["of-encryption", "secret"] {
        assert_eq!(classify(&server, &format!("Bearer {}", sign(json!({"alg": "EdDSA", "kid": kid})))).await.0, 401);
    }
    let symmetric = signed(&json!({"alg": "HS256", "kid": "secret"}), &claims("alice", "admin"), |message| {
        hs256(SECRET.as_bytes(), message)
    });
    assert_eq!(classify(&server, &format!("Bearer {symmetric}")).await.0, 401);
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_identity_provider_that_is_away_is_a_503_and_not_a_401() {
    let closed = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
    let server = Server::with(&[("AUTH_ENABLED", "true"), ("JWT_JWKS_URL", &format!("http://{closed}/keys"))]);
    let (status, _, body) = classify(&server, &format!("Bearer {}", token("alice", "classify"))).await;
    assert_eq!(status, 503, "{body}");
    assert_eq!(body["type"], "urn:intent-classifier:problem:keys-unavailable");
}

#[test]
fn an_open_door_is_said_loudly() {
    let folder = TempDir::new().expect("there is room for a folder");
    // An address of no machine (RFC 5737): the program warns, and then cannot listen there.
    let start = |more: &[(&str, &str)]| {
        let output = program(folder.path())
            .env("HOST", "192.0.2.1")
            .envs(more.iter().copied())
            .output()
            .expect("the program runs");
        assert_eq!(output.status.code(), Some(1));
        transcript(&output)
    };
    assert!(start(&[]).contains("AUTHENTICATION IS OFF"));
    assert!(!start(&[("AUTH_ENABLED", "true"), ("JWT_SECRET", SECRET)]).contains("AUTHENTICATION IS OFF"));
    assert!(start(&[("AUTH_ENABLED", "true")]).contains("only API keys are taken"));
}

#[tokio::test]
async fn settings_say_which_paths_are_open() {
    type Paths = &'static [&'static str];
    type Settings = &'static [(&'static str, &'static str)];
    let cases: [(Settings, Paths, Paths); 2] = [
        (
            &[],
            &["/health", "/health/live", "/health/ready", "/metrics", "/openapi.json", "/docs/"],
            &["/api/v1/intents/types"],
        ),
        (
            &[("AUTH_OPEN_HEALTH", "none"), ("AUTH_OPEN_METRICS", "false"), ("AUTH_OPEN_DOCS", "false")],
            &[],
            &["/health", "/health/live", "/health/ready", "/metrics", "/openapi.json", "/docs/", "/docs/index.css"],
        ),
    ];
    for (settings, open, closed) in cases {
        let server = guarded(settings);
        for path in open {
            assert_eq!(server.get(path).send().await.expect("an answer").status(), 200, "{path}");
        }
        for path in closed {
            assert_eq!(server.get(path).send().await.expect("an answer").status(), 401, "{path}");
            let known = server.get(path).bearer_auth(token("prometheus", "classify")).send().await.expect("an answer");
            assert_eq!(known.status(), 200, "{path}");
        }
    }
}

#[test]
fn what_can_be_guessed_or_contradicts_itself_stops_the_start() {
    let folder = TempDir::new().expect("there is room for a folder");
    let private = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    fs::write(folder.path().join("private.pem"), private).expect("a file can be written");
    fs::write(folder.path().join("nonsense.pem"), "nonsense").expect("a file can be written");
    let cases: [&[(&str, &str)]; 10] = [
        &[("JWT_SECRET", "")],
        &[("JWT_SECRET", "secret")],
        &[("JWT_SECRET", "your-secret-key-change-in-production")],
        &[("JWT_SECRET", SECRET), ("JWT_JWKS_URL", "https://id.example/keys")],
        &[("JWT_PUBLIC_KEY_FILE", "missing.pem")],
        &[("JWT_PUBLIC_KEY_FILE", "private.pem")],
        &[("JWT_PUBLIC_KEY_FILE", "nonsense.pem")],
        &[("JWT_JWKS_URL", "http://id.example/keys")],
        &[("JWT_JWKS_URL", "id.example")],
        &[("TRUSTED_PROXIES", "10.0.0.0/33")],
    ];
    let mut outcomes = String::new();
    for settings in cases {
        let output = program(folder.path())
            .envs(settings.iter().copied())
            .env("AUTH_ENABLED", "true")
            .output()
            .expect("the program runs");
        assert_eq!(output.status.code(), Some(78), "{settings:?}");
        outcomes.push_str(&format!("{settings:?}\n{}\n", transcript(&output)));
    }
    insta::assert_snapshot!(outcomes);
}

#[test]
fn no_command_shows_a_secret() {
    let folder = TempDir::new().expect("there is room for a folder");
    for format in ["text", "json"] {
        let output = program(folder.path())
            .args(["config", "show", "--format", format])
            .env("JWT_SECRET", SECRET)
            .output()
            .expect("the program runs");
        let shown = transcript(&output);
        assert!(shown.contains("***") && !shown.contains(SECRET), "{shown}");
    }
}

#[test]
fn every_route_has_its_scope() {
    let output = program(std::path::Path::new("/")).arg("openapi").output().expect("the program runs");
    let document: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let mut lines = Vec::new();
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            let scopes = &operation["security"][1]["bearer"];
            let scopes: Vec<&str> = scopes.as_array().expect("scopes").iter().filter_map(Value::as_str).collect();
            let needs = if scopes.is_empty() { "by setting".to_owned() } else { scopes.join(" ") };
            lines.push(format!("{:<7} {path:<50} {needs}", method.to_uppercase()));
        }
    }
    lines.sort();
    insta::assert_snapshot!(lines.join("\n"));
}
