//! A running server, as its own interface shows it.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Finding;
use crate::commands::client::Client;

/// Larger shares of failed requests than these are worth a look, or wrong.
const ERROR_SHARES: [f64; 2] = [0.01, 0.05];
/// A p95 above this misses the target of the tier `standard`, in seconds.
const P95_SECONDS: f64 = 0.2;
/// The share of the requests that a p95 may leave out.
const SLOW_SHARE: f64 = 0.05;
/// Single texts and batches.
const CLASSIFY: &str = r#"endpoint="/api/v1/intents/classify"#;

/// Checks the server; what it does not let be seen is a finding, too.
pub(super) async fn check(client: &Client) -> Vec<Finding> {
    let ready = match client.fetch("/health/ready").await {
        Ok((200, _)) => Finding::ok("ready", format!("{} takes requests", client.url())),
        Ok((status, body)) => {
            let body: Value = serde_json::from_str(&body).unwrap_or_default();
            let found = format!("{} answers {status}, status `{}`", client.url(), word(&body, "status"));
            Finding::error("ready", found, "wait while it starts or drains; else see docs/runbooks/not-ready.md")
        }
        Err(error) => {
            let advice = "start it, or give its address with `--url`; see docs/runbooks/service-down.md";
            return vec![Finding::error("ready", format!("{error:#}"), advice)];
        }
    };
    let mut findings = vec![ready];
    findings.push(asked(client, "server models", "/health/models", models).await);
    findings.push(asked(client, "dependencies", "/health/dependencies", dependencies).await);
    match client.fetch("/metrics").await {
        Ok((200, page)) => findings.extend([errors(&page), latency(&page), read_only(&page)]),
        Ok((status, _)) => findings.push(unseen("metrics", status)),
        Err(error) => findings.push(Finding::error("metrics", format!("{error:#}"), "look at the server's log")),
    }
    let rollouts = client.fetch("/api/v1/rollouts").await;
    let under_way = match &rollouts {
        Ok((200, body)) => serde_json::from_str(body).unwrap_or_default(),
        _ => Value::Null,
    };
    findings.push(asked(client, "flags", "/api/v1/feature-flags", |body| flags(body, &under_way)).await);
    findings.push(match rollouts {
        Ok((200, _)) => rollout(&under_way),
        Ok((status, _)) => unseen("rollouts", status),
        Err(error) => Finding::error("rollouts", format!("{error:#}"), "look at the server's log"),
    });
    findings
}

async fn asked(client: &Client, check: &'static str, path: &str, judge: impl FnOnce(&Value) -> Finding) -> Finding {
    match client.fetch(path).await {
        Ok((status @ (200 | 503), body)) => match serde_json::from_str(&body) {
            Ok(body) if status == 200 => judge(&body),
            _ => unseen(check, status),
        },
        Ok((status, _)) => unseen(check, status),
        Err(error) => Finding::error(check, format!("{error:#}"), "look at the server's log"),
    }
}

fn unseen(check: &'static str, status: u16) -> Finding {
    let advice = match status {
        401 | 403 => "give a token with `--token` that has the scope `flags:read`",
        503 => "the database is away: see docs/runbooks/read-only-mode.md",
        _ => "is that an intent-classifier server of this version?",
    };
    Finding::warning(check, format!("cannot be seen: the server answers {status}"), advice)
}

fn word<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or("unknown")
}

/// Names the entries of an object of objects that have one of these statuses.
fn with_status(entries: &Value, statuses: &[&str]) -> Vec<String> {
    let entries = entries.as_object().into_iter().flatten();
    let matching = entries.filter(|(_, entry)| statuses.contains(&word(entry, "status")));
    matching.map(|(name, entry)| format!("`{name}` is {}", word(entry, "status"))).collect()
}

fn models(body: &Value) -> Finding {
    let advice = "see docs/runbooks/model-unhealthy.md";
    let (unhealthy, degraded) =
        (with_status(&body["models"], &["unhealthy"]), with_status(&body["models"], &["degraded"]));
    if !unhealthy.is_empty() {
        Finding::error("server models", unhealthy.join(", "), advice)
    } else if !degraded.is_empty() {
        Finding::warning("server models", degraded.join(", "), advice)
    } else {
        let healthy = with_status(&body["models"], &["healthy"]).len();
        Finding::ok("server models", format!("{healthy} healthy"))
    }
}

fn dependencies(body: &Value) -> Finding {
    let entries = if body["dependencies"].is_object() { &body["dependencies"] } else { body };
    let unhealthy = with_status(entries, &["unhealthy"]);
    if unhealthy.is_empty() {
        return Finding::ok("dependencies", "all that are configured answer");
    }
    Finding::error("dependencies", unhealthy.join(", "), "see docs/runbooks/dependency-down.md")
}

/// Returns the samples of a metric: labels and value.
fn samples<'a>(page: &'a str, name: &'a str) -> impl Iterator<Item = (&'a str, f64)> {
    page.lines().filter_map(move |line| {
        let rest = line.strip_prefix(name)?;
        let (labels, value) = match rest.strip_prefix('{') {
            Some(rest) => rest.split_once("} ")?,
            None => ("", rest.strip_prefix(' ')?),
        };
        Some((labels, value.split(' ').next()?.parse().ok()?))
    })
}

fn errors(page: &str) -> Finding {
    let of_texts = samples(page, "http_requests_total").filter(|(labels, _)| labels.contains(CLASSIFY));
    let (mut all, mut failed) = (0.0, 0.0);
    for (labels, count) in of_texts {
        all += count;
        if labels.contains(r#"status="5"#) {
            failed += count;
        }
    }
    if all == 0.0 {
        return Finding::ok("error rate", "no text was classified yet");
    }
    let share = failed / all;
    let found = format!("{:.2} % of {all} requests since the start", share * 100.0);
    let advice = "see docs/runbooks/high-error-rate.md";
    let [some, many] = ERROR_SHARES;
    if share > many {
        Finding::error("error rate", found, advice)
    } else if share > some {
        Finding::warning("error rate", found, advice)
    } else {
        Finding::ok("error rate", found)
    }
}

fn latency(page: &str) -> Finding {
    let mut below: BTreeMap<u64, f64> = BTreeMap::new();
    for (labels, count) in samples(page, "http_request_duration_seconds_bucket") {
        if !labels.contains(CLASSIFY) {
            continue;
        }
        let bound = labels.split(r#"le=""#).nth(1).and_then(|rest| rest.split('"').next());
        let bound: f64 = bound.and_then(|bound| bound.replace("+Inf", "inf").parse().ok()).unwrap_or(f64::INFINITY);
        // Bounds are positive, so that their bits are in their order.
        *below.entry(bound.to_bits()).or_default() += count;
    }
    let all = below.values().next_back().copied().unwrap_or_default();
    if all == 0.0 {
        return Finding::ok("p95", "no text was classified yet");
    }
    let reached = below.iter().find(|(_, count)| **count >= (1.0 - SLOW_SHARE) * all);
    let bound = reached.map_or(f64::INFINITY, |(bits, _)| f64::from_bits(*bits));
    let found = format!("at most {} ms for {all} texts since the start", bound * 1e3);
    if bound > P95_SECONDS {
        return Finding::warning("p95", found, "see docs/runbooks/high-latency.md");
    }
    Finding::ok("p95", found)
}

fn read_only(page: &str) -> Finding {
    if samples(page, "read_only_mode").any(|(_, value)| value != 0.0) {
        let advice = "see docs/runbooks/read-only-mode.md";
        return Finding::error("changes", "are refused: the database takes none, feedback is spooled", advice);
    }
    Finding::ok("changes", "are taken")
}

fn flags(body: &Value, rollouts: &Value) -> Finding {
    let is_rolled_out = |name: &str| {
        let rollouts = rollouts["rollouts"].as_array().into_iter().flatten();
        rollouts.filter(|rollout| rollout["flag"] == name).any(|rollout| rollout["status"] == "running")
    };
    let is_on = |name: &str| body["flags"][name]["enabled"] == true;
    let mut odd = Vec::new();
    for (name, flag) in body["flags"].as_object().into_iter().flatten() {
        let percent = flag["rollout_percentage"].as_f64().unwrap_or(100.0);
        if flag["enabled"] == true && percent < 100.0 && !is_rolled_out(name) {
            odd.push(format!("`{name}` is on for {percent} % and no rollout of it is running"));
        }
    }
    if is_on("performance_mode") && is_on("quality_mode") {
        odd.push("`performance_mode` and `quality_mode` are both on: `quality_mode` wins".to_owned());
    }
    if is_on("enhanced_logging") {
        odd.push("`enhanced_logging` is on: the beginnings of texts are in the log".to_owned());
    }
    if odd.is_empty() {
        return Finding::ok("flags", "nothing left half done");
    }
    let advice = "`intent-classifier flags history FLAG` tells who did it; `flags set` or `flags reset` ends it";
    Finding::warning("flags", odd.join("; "), advice)
}

fn rollout(body: &Value) -> Finding {
    let of = |status: &str| -> Vec<String> {
        let rollouts = body["rollouts"].as_array().into_iter().flatten();
        let matching = rollouts.filter(|rollout| rollout["status"] == status);
        matching.map(|rollout| format!("`{}` ({})", word(rollout, "flag"), word(rollout, "reason"))).collect()
    };
    let (back, paused) = (of("rolled_back"), of("paused"));
    if !back.is_empty() {
        let advice = "see docs/runbooks/rollout-rolled-back.md";
        Finding::error("rollouts", format!("taken back: {}", back.join(", ")), advice)
    } else if !paused.is_empty() {
        let advice = "`intent-classifier rollout resume FLAG`, or `rollout abort FLAG`";
        Finding::warning("rollouts", format!("paused: {}", paused.join(", ")), advice)
    } else {
        Finding::ok("rollouts", "none is taken back or paused")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::commands::doctor::Status;

    fn page(errors: u32, slow: u32) -> String {
        format!(
            "http_requests_total{{method=\"POST\",endpoint=\"/api/v1/intents/classify\",status=\"200\"}} {}\n\
             http_requests_total{{method=\"POST\",endpoint=\"/api/v1/intents/classify\",status=\"503\"}} {errors}\n\
             http_requests_total{{method=\"GET\",endpoint=\"/health/ready\",status=\"503\"}} 9000\n\
             http_request_duration_seconds_bucket{{method=\"POST\",endpoint=\"/api/v1/intents/classify\",le=\"0.1\"}} {}\n\
             http_request_duration_seconds_bucket{{method=\"POST\",endpoint=\"/api/v1/intents/classify\",le=\"0.5\"}} 1000\n\
             http_request_duration_seconds_bucket{{method=\"POST\",endpoint=\"/api/v1/intents/classify\",le=\"+Inf\"}} 1000\n\
             read_only_mode 0\n",
            1000 - errors,
            1000 - slow,
        )
    }

    #[test]
    fn the_page_of_metrics_tells_errors_and_latency() {
        for (failed, status) in [(0, Status::Ok), (10, Status::Ok), (11, Status::Warning), (51, Status::Error)] {
            assert_eq!(errors(&page(failed, 0)).status, status, "{failed}");
        }
        assert_eq!(errors("").found, "no text was classified yet");
        assert_eq!(latency(&page(0, 50)).found, "at most 100 ms for 1000 texts since the start");
        let slow = latency(&page(0, 51));
        assert_eq!(
            (slow.status, slow.found.as_str()),
            (Status::Warning, "at most 500 ms for 1000 texts since the start")
        );
        assert_eq!(latency("").found, "no text was classified yet");
        assert_eq!(read_only(&page(0, 0)).status, Status::Ok);
        assert_eq!(read_only("read_only_mode 1\n").status, Status::Error);
    }

    #[test]
    fn a_flag_that_is_half_on_is_odd_unless_it_is_being_rolled_out() {
        let body = json!({"flags": {"quality_mode": {"enabled": true, "rollout_percentage": 25}}});
        let rollouts = |status: &str| json!({"rollouts": [{"flag": "quality_mode", "status": status, "reason": "x"}]});
        assert_eq!(flags(&body, &rollouts("running")).status, Status::Ok);
        assert_eq!(flags(&body, &Value::Null).status, Status::Warning);
        assert_eq!(rollout(&rollouts("running")).status, Status::Ok);
        assert_eq!(rollout(&rollouts("paused")).status, Status::Warning);
        assert_eq!(rollout(&rollouts("rolled_back")).found, "taken back: `quality_mode` (x)");
    }
}
