//! Rate limits at the door: every request to a limited route costs one text, a batch as many as it holds.

use std::sync::{Arc, Mutex, PoisonError};

use axum::{
    http::{HeaderMap, HeaderName, HeaderValue},
    response::{IntoResponse, Response},
};

use super::{
    App,
    caller::Caller,
    error::{FieldError, Kind, Problem},
};
use crate::{
    limits::{Limit, Refused, Source, Standing},
    telemetry::labels::RateLimitScope,
};

/// What the limits are (draft-ietf-httpapi-ratelimit-headers-10).
pub(super) const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
/// What is left of them.
pub(super) const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// The limits that a request is under; an extension of the request, so that whoever reads its body can count the texts.
#[derive(Clone, Debug)]
pub(super) struct Meter {
    limits: Arc<[Limit]>,
    /// By the name of the limit.
    standings: Arc<Mutex<Vec<(&'static str, Standing)>>>,
}

impl Meter {
    /// Starts a request of a caller, and takes one text.
    ///
    /// # Errors
    /// The answer when there is nothing left.
    pub(super) async fn start(app: &App, caller: &Caller) -> Result<Self, Box<Response>> {
        let limits: Arc<[Limit]> = app.limiter.limits(caller.counted_as(), caller.source()).into();
        let meter = Self { limits, standings: Arc::default() };
        match meter.take(app, 1).await {
            Ok(()) => Ok(meter),
            Err(problem) => {
                let mut response = problem.into_response();
                meter.describe(response.headers_mut());
                Err(Box::new(response))
            }
        }
    }

    /// Takes what a body holds beyond its first text.
    ///
    /// # Errors
    /// 429 when there is not enough left, 422 when there never will be.
    pub(super) async fn take_more(&self, app: &App, texts: usize) -> Result<(), Problem> {
        let smallest = self.limits.iter().map(|limit| limit.quota.per_minute()).min();
        if let Some(per_minute) = smallest.filter(|&per_minute| texts > per_minute as usize) {
            let message =
                format!("has {texts} texts, more than the {per_minute} that the rate limit allows in a minute");
            return Err(Problem::invalid(vec![FieldError::new("texts", message)]));
        }
        if texts > 1 { self.take(app, texts as u32 - 1).await } else { Ok(()) }
    }

    async fn take(&self, app: &App, texts: u32) -> Result<(), Problem> {
        let taken = app.limiter.take(&self.limits, texts).await;
        let mut standings = self.standings.lock().unwrap_or_else(PoisonError::into_inner);
        match taken {
            Ok(now) => {
                *standings = self.limits.iter().map(|limit| limit.source.scope()).zip(now).collect();
                Ok(())
            }
            Err(Refused { limit, exhausted }) => {
                // Only the limit that refused is told: it is the one to wait for.
                *standings = vec![(limit.source.scope(), exhausted.standing)];
                app.metrics.rate_limited(match limit.source {
                    Source::User(_) => RateLimitScope::User,
                    Source::ApiKey(_) => RateLimitScope::ApiKey,
                    Source::Address(_) => RateLimitScope::Ip,
                });
                let per_minute = limit.quota.per_minute();
                let counted = limit.source.counted();
                let detail = format!("{counted} may send {per_minute} texts a minute, which are used up for now");
                Err(Problem::new(Kind::RateLimited, detail).retry_after(exhausted.retry_after))
            }
        }
    }

    /// Writes what the limits are and what is left of them.
    pub(super) fn describe(&self, headers: &mut HeaderMap) {
        let standings = self.standings.lock().unwrap_or_else(PoisonError::into_inner);
        let list = |items: Vec<String>| HeaderValue::from_str(&items.join(", ")).expect("numbers and names are ASCII");
        if self.limits.is_empty() {
            return;
        }
        let policies = self.limits.iter().map(|limit| {
            let (scope, per_minute) = (limit.source.scope(), limit.quota.per_minute());
            format!("\"{scope}\";q={per_minute};w=60")
        });
        headers.insert(RATE_LIMIT_POLICY, list(policies.collect()));
        let left = standings.iter().map(|(scope, standing)| {
            let whole_in_seconds = standing.whole_in.as_secs_f64().ceil() as u64;
            format!("\"{scope}\";r={};t={whole_in_seconds}", standing.remaining)
        });
        headers.insert(RATE_LIMIT, list(left.collect()));
    }
}
