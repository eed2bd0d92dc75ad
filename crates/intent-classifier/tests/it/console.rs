//! The console as it is served; what it does in a browser is in `tests/console`.

use std::{collections::BTreeSet, fs};

use crate::{
    program::repository,
    server::{Server, client_builder},
    token::SECRET,
};

/// Everything in quotes that the page and its files name beside themselves.
fn named_in(content: &str) -> BTreeSet<String> {
    let quoted = content.split(['"', '\'']).filter(|text| {
        let name = text.strip_prefix("console/").or_else(|| text.strip_prefix("./")).unwrap_or_default();
        [".js", ".css", ".svg"].iter().any(|kind| name.ends_with(kind))
    });
    quoted.map(|text| text.rsplit('/').next().expect("it has a last part").to_owned()).collect()
}

#[tokio::test]
async fn the_console_is_whole_and_may_load_nothing_from_elsewhere() {
    let server = Server::with(&[("AUTH_ENABLED", "true"), ("JWT_SECRET", SECRET)]);
    let mut wanted = BTreeSet::from(["".to_owned()]);
    let mut seen = BTreeSet::new();
    while let Some(name) = wanted.pop_first() {
        let path = if name.is_empty() { "/console".to_owned() } else { format!("/console/{name}") };
        let response = server.get(&path).send().await.expect("the server answers");
        assert_eq!(response.status(), 200, "{path} without a token");
        let kind = match name.rsplit('.').next() {
            Some("js") => "text/javascript; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            Some("svg") => "image/svg+xml",
            _ => "text/html; charset=utf-8",
        };
        assert_eq!(response.headers()["content-type"], kind, "{path}");
        assert_eq!(response.headers()["x-content-type-options"], "nosniff");
        let policy = response.headers()["content-security-policy"].to_str().expect("ASCII").to_owned();
        assert!(policy.starts_with("default-src 'none';") && !policy.contains("unsafe"), "{path}: {policy}");
        let content = response.text().await.expect("text");
        assert!(
            !content.contains("://") || name == "icon.svg" || content.contains("www.w3.org"),
            "{path} names a host"
        );
        seen.insert(name);
        wanted.extend(named_in(&content).difference(&seen).cloned());
    }
    let folder = fs::read_dir(repository().join("crates/intent-classifier/console")).expect("the folder is there");
    let files = folder.map(|entry| entry.expect("it can be read").file_name().to_string_lossy().into_owned());
    let unused: Vec<String> = files.filter(|name| name != "index.html" && !seen.contains(name)).collect();
    assert!(unused.is_empty(), "{unused:?} is not used by the page");
}

#[tokio::test]
async fn whoever_comes_to_the_root_is_sent_to_the_console_and_unknown_files_are_not_found() {
    let server = Server::start();
    let client = client_builder().redirect(reqwest::redirect::Policy::none()).build().expect("a client");
    for (path, location) in [("/", "console"), ("/console/", "../console")] {
        let url = format!("http://{}{path}", server.address());
        let response = client.get(url).send().await.expect("the server answers");
        assert_eq!(
            (response.status().as_u16(), &response.headers()["location"]),
            (307, &location.parse().expect("text"))
        );
        // Followed, it leads to the page.
        assert_eq!(server.get(path).send().await.expect("the server answers").status(), 200, "{path}");
    }
    for path in ["/console/index.html", "/console/nothing.js", "/console/..%2fCargo.toml"] {
        let response = server.get(path).send().await.expect("the server answers");
        assert_eq!(response.status(), 404, "{path}");
        assert_eq!(response.headers()["content-type"], "application/problem+json");
    }
    assert_eq!(server.post("/console").send().await.expect("the server answers").status(), 405);
}
