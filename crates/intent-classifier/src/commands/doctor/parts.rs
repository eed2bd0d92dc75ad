//! What the service is made of and depends on: models, pack, database, Redis, model server, certificate.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use intent_model::directory::ModelDirectory;

use super::Finding;
use crate::{
    cache,
    causes::in_full,
    config::{DatabaseChoice, DatabaseSettings, ModelSettings, RedisSettings, RemoteSettings, Settings, TlsSettings},
    health::DependencyCheck,
    remote::{ModelServerCheck, RemoteClient},
    serving,
    storage::Storage,
    tls::Tls,
};

/// From this time before its end on, a certificate is worth a look.
const EXPIRY_WARNING: Duration = Duration::from_secs(14 * 24 * 3600);
/// Clocks that differ by more than this are worth a look; by more than this, tokens and rollouts go wrong.
const CLOCK_SKEW: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(30)];

/// Checks every part.
pub(super) async fn check(settings: &Settings) -> Vec<Finding> {
    let mut findings = vec![pack(&settings.models), models(&settings.models), encoder(&settings.models)];
    findings.extend(database(&settings.database).await);
    findings.push(redis(&settings.redis).await);
    findings.push(model_server(&settings.remote).await);
    findings.push(certificate(&settings.tls));
    findings
}

fn pack(settings: &ModelSettings) -> Finding {
    match serving::default_pack(settings) {
        Ok(pack) => Finding::ok("pack", format!("`{}` {}, valid", pack.name, pack.version)),
        Err(error) => Finding::error(
            "pack",
            in_full(error),
            "correct it; `intent-classifier pack check PATH` explains each mistake",
        ),
    }
}

fn models(settings: &ModelSettings) -> Finding {
    let directory = ModelDirectory::new(&settings.directory);
    let opened = directory.current().and_then(|current| match current {
        Some(version) => directory.open(&version).map(|_| Some(version)),
        None => Ok(None),
    });
    match opened {
        Ok(Some(version)) => Finding::ok("models", format!("`{version}`: every file is as it was written")),
        Ok(None) => Finding::warning(
            "models",
            format!("no version serves from `{}`: only what needs no training answers", settings.directory.display()),
            "`intent-classifier train`, or mount a model directory and set `MODEL_DIR`",
        ),
        Err(error) => Finding::error(
            "models",
            in_full(error),
            "`intent-classifier models rollback` takes the version before; or copy this one again",
        ),
    }
}

fn encoder(settings: &ModelSettings) -> Finding {
    let folder = settings.encoder_directory();
    if folder.is_dir() {
        return Finding::ok("encoder", format!("in `{}`", folder.display()));
    }
    Finding::warning(
        "encoder",
        format!("`{}` is not there: zero_shot and hybrid cannot answer", folder.display()),
        "`scripts/fetch-encoder`, or set `ENCODER_DIR`",
    )
}

async fn database(settings: &DatabaseSettings) -> Vec<Finding> {
    let storage = match settings.choice() {
        Ok(DatabaseChoice::Sqlite(file)) if !file.exists() => {
            let found = format!("`{}` is not there yet; the first start makes it", file.display());
            return vec![Finding::ok("database", found)];
        }
        Ok(_) => match Storage::new(settings) {
            Ok(storage) => storage,
            Err(error) => return vec![Finding::error("database", error.to_string(), "correct the configuration")],
        },
        Err(error) => return vec![Finding::error("database", error.to_string(), "correct the configuration")],
    };
    let name = storage.database();
    let examined = match storage.examine().await {
        Ok(examined) => examined,
        Err(error) => {
            let advice = "see docs/runbooks/read-only-mode.md and docs/runbooks/dependency-down.md";
            return vec![Finding::error("database", format!("{name}: {}", in_full(error)), advice)];
        }
    };
    let Some(latency) = examined.write_latency else {
        let found = format!("{name}: its tables are not those of this version");
        let advice = "`intent-classifier migrate`; the server does it by itself when it starts and may change tables";
        return vec![Finding::warning("database", found, advice)];
    };
    let written = format!("{name}: up to date, a write took {:.1} ms", latency.as_secs_f64() * 1e3);
    let mut findings = vec![Finding::ok("database", written)];
    if storage.is_remote() {
        findings.push(clock(examined.clock_skew));
    }
    findings
}

fn clock(skew: Duration) -> Finding {
    let found = format!("differs from the database's by {} ms", skew.as_millis());
    let advice = "let both machines set their clocks by NTP (`timedatectl`)";
    let [some, much] = CLOCK_SKEW;
    if skew > much {
        Finding::error("clock", found, advice)
    } else if skew > some {
        Finding::warning("clock", found, advice)
    } else {
        Finding::ok("clock", found)
    }
}

async fn redis(settings: &RedisSettings) -> Finding {
    let advice = "start it, or unset `REDIS_URL` and `REDIS_HOST`: each process then has its own cache only";
    match settings.client() {
        Ok(None) => Finding::skipped("redis", "not configured"),
        Ok(Some(client)) => match cache::ping(&client).await {
            Ok(()) => Finding::ok("redis", "answers"),
            Err(error) => Finding::error("redis", error, advice),
        },
        Err(error) => Finding::error("redis", error.to_string(), advice),
    }
}

async fn model_server(settings: &RemoteSettings) -> Finding {
    let advice = "see docs/remote-models.md; without it other models answer in its place";
    match RemoteClient::configured(settings) {
        Ok(None) => Finding::skipped("torchserve", "not configured"),
        Ok(Some(client)) => match ModelServerCheck(Arc::clone(&client)).check().await {
            Ok(()) => Finding::ok("torchserve", format!("{} classifies", client.label())),
            Err(error) => Finding::error("torchserve", format!("{}: {error}", client.label()), advice),
        },
        Err(error) => Finding::error("torchserve", error.to_string(), advice),
    }
}

fn certificate(settings: &TlsSettings) -> Finding {
    let advice = "renew it; a changed file is taken within seconds, without a restart";
    let tls = match Tls::load(settings) {
        Ok(None) => return Finding::skipped("certificate", "none: the server speaks plain HTTP"),
        Ok(Some(tls)) => tls,
        Err(error) => return Finding::error("certificate", error.to_string(), advice),
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs().cast_signed();
    let left_seconds = tls.expires_at() - now;
    let days = left_seconds / (24 * 3600);
    if left_seconds <= 0 {
        Finding::error("certificate", "has expired", advice)
    } else if left_seconds < EXPIRY_WARNING.as_secs().cast_signed() {
        Finding::warning("certificate", format!("expires in {days} days"), advice)
    } else {
        Finding::ok("certificate", format!("expires in {days} days"))
    }
}
