//! Ways in for the fuzz targets in `fuzz/`: what strangers write, handed to the code that reads it. Part of no product.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::Arc,
};

use axum::{Router, body::Body, extract::Request, http::header};
use tokio::runtime::{self, Runtime};
use tower::ServiceExt;

use crate::{
    auth::Authenticator,
    config::Settings,
    flags,
    http::{self, App, Operation, Peer},
    screening,
    serving::{self, Serving},
    spool::record,
    storage::Feedback,
};

/// A server that serves by its rules alone, with a database in memory, and no network.
#[derive(Debug)]
pub struct Requests {
    runtime: Runtime,
    router: Router,
    operations: Vec<Operation>,
}

impl Requests {
    /// Starts it with its state in a folder.
    pub fn new(folder: &Path) -> Self {
        let runtime = runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be started");
        let guard = runtime.enter();
        let mut settings = Settings::defaults();
        settings.database.data_directory = folder.to_owned();
        settings.models.directory = folder.join("models");
        let authenticator = Authenticator::new(&settings.auth).expect("the defaults need no key");
        let app = Arc::new(App::new(&settings, authenticator, None).expect("the defaults are valid"));
        app.storage.start();
        let assembly = serving::assemble(&settings.models, None, None).expect("the default pack is valid");
        app.start_serving(Serving::start(assembly, &settings, app.flags.shared()));
        let router = http::router(&app);
        runtime.block_on(async {
            let mut status = app.storage.watch_status();
            status.wait_for(|status| status.access.is_writable()).await.expect("the database can be used");
        });
        drop(guard);
        Self { runtime, router, operations: http::operations() }
    }

    /// Sends a body to an operation; expects that the answer is no failure of the server.
    pub fn send(&self, operation: u8, body: &[u8]) {
        let operation = &self.operations[usize::from(operation) % self.operations.len()];
        let path = operation.path.replace("{name}", "caching").replace(['{', '}', '*'], "x");
        let request = Request::builder().method(operation.method).uri(path);
        let request = request.header(header::CONTENT_TYPE, "application/json").body(Body::from(body.to_vec()));
        let mut request = request.expect("templates of paths are paths");
        request.extensions_mut().insert(Peer(SocketAddr::from((Ipv4Addr::LOCALHOST, 40_000))));
        let response = self.runtime.block_on(self.router.clone().oneshot(request)).expect("a router answers");
        let status = response.status();
        assert!(!status.is_server_error(), "{} {}: {status}", operation.method, operation.path);
    }
}

/// Reads a file of flags.
pub fn flags_file(text: &str) {
    let name = if text.trim_start().starts_with('{') { "flags.json" } else { "flags.toml" };
    let _ = flags::parse_file(Path::new(name), text, None);
}

/// Finds records in a file of the spool, checks that they and the rest are the file, and reads them.
pub fn spool(bytes: &[u8]) {
    let found = record::scan(bytes);
    let mut parts: Vec<_> = found.records.iter().chain(&found.damaged).cloned().collect();
    parts.sort_by_key(|part| part.start);
    let mut at = 0;
    for part in parts {
        assert!(at <= part.start && part.start <= part.end && part.end <= found.end, "parts lie one after the other");
        at = part.end;
    }
    for content in found.records {
        let content = &bytes[content];
        let _ = serde_json::from_slice::<Feedback>(content);
        let mut written = Vec::new();
        record::encode(content, &mut written);
        let again = record::scan(&written);
        assert_eq!((again.records.len(), again.end), (1, written.len()), "a record is found again");
    }
}

/// Cleans a text as a request's; what is cleaned stays as it is.
pub fn clean(text: &str) -> String {
    let (cleaned, _) = screening::clean(text.to_owned());
    assert_eq!(screening::clean(cleaned.clone()).0, cleaned, "a clean text stays as it is");
    cleaned
}
