//! TorchServe, as version 0.12 answers; see `docs/remote-models.md`.

use std::collections::BTreeMap;

use reqwest::{StatusCode, Url};
use serde::Deserialize;
use serde_json::json;

use super::protocol::{LabelledScores, Protocol, Refusal, Scale, quote};
use crate::config::{ConfigError, RemoteSettings};

/// A model on TorchServe.
#[derive(Debug)]
pub(super) struct TorchServe {
    inference: Url,
    management: Url,
}

/// What our own handler answers for a text, or, as `index_to_name.json` makes TorchServe's own handlers do, a
/// probability per label.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Answer {
    Ours {
        logits: BTreeMap<String, f32>,
        #[serde(default)]
        truncated: bool,
    },
    Probabilities(BTreeMap<String, f32>),
}

/// The body of an error.
#[derive(Debug, Deserialize)]
struct Problem {
    #[serde(rename = "type")]
    kind: String,
    message: String,
}

/// One version of a model, as management describes it.
#[derive(Debug, Deserialize)]
struct Description {
    #[serde(default)]
    workers: Vec<Worker>,
    #[serde(rename = "jobQueueStatus")]
    queue: Option<Queue>,
}

#[derive(Debug, Deserialize)]
struct Worker {
    status: String,
}

#[derive(Debug, Deserialize)]
struct Queue {
    #[serde(rename = "remainingCapacity")]
    remaining_capacity: i64,
}

impl TorchServe {
    pub(super) fn new(settings: &RemoteSettings) -> Result<Self, ConfigError> {
        let version = settings.model_version.as_deref().map_or(String::new(), |version| format!("/{version}"));
        let (mut inference, mut management) = (settings.inference_url()?, settings.management_url()?);
        inference.set_path(&format!("predictions/{}{version}", settings.model_name));
        management.set_path(&format!("models/{}{version}", settings.model_name));
        Ok(Self { inference, management })
    }
}

impl Protocol for TorchServe {
    fn inference_url(&self) -> &Url {
        &self.inference
    }

    fn question(&self, text: &str) -> Vec<u8> {
        json!({ "text": text }).to_string().into_bytes()
    }

    fn read_scores(&self, body: &[u8]) -> Result<LabelledScores, String> {
        let expected = "expected `{\"logits\": {LABEL: NUMBER}}` or `{LABEL: PROBABILITY}`";
        let answer =
            serde_json::from_slice(body).map_err(|_| format!("the answer is not scores by label; {expected}"))?;
        let (scores, scale, truncated) = match answer {
            Answer::Ours { logits, truncated } => (logits, Scale::Logits, truncated),
            Answer::Probabilities(probabilities) => (probabilities, Scale::Probabilities, false),
        };
        Ok(LabelledScores { scores: scores.into_iter().collect(), scale, truncated })
    }

    fn readiness_url(&self) -> &Url {
        &self.management
    }

    fn read_readiness(&self, status: StatusCode, body: &[u8]) -> Result<(), String> {
        if status != StatusCode::OK {
            return Err(describe(status, body));
        }
        let versions: Vec<Description> = serde_json::from_slice(body)
            .map_err(|error| format!("the description of the model is not readable: {error}"))?;
        let model = versions.first().ok_or("the description of the model is empty")?;
        if !model.workers.iter().any(|worker| worker.status == "READY") {
            return Err(format!("none of its {} workers is ready", model.workers.len()));
        }
        match &model.queue {
            Some(queue) if queue.remaining_capacity <= 0 => Err("its queue is full".to_owned()),
            Some(_) | None => Ok(()),
        }
    }

    fn read_refusal(&self, status: StatusCode, body: &[u8]) -> Refusal {
        let reason = describe(status, body);
        let kind = serde_json::from_slice::<Problem>(body).map(|problem| problem.kind).unwrap_or_default();
        match (status, kind.as_str()) {
            (_, "InvalidKeyException") | (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _) => {
                Refusal::Unauthorised(reason)
            }
            // The same status with another type means that the handler failed.
            (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailableException") | (StatusCode::TOO_MANY_REQUESTS, _) => {
                Refusal::Overloaded(reason)
            }
            _ => Refusal::Failed(reason),
        }
    }
}

fn describe(status: StatusCode, body: &[u8]) -> String {
    match serde_json::from_slice::<Problem>(body) {
        Ok(Problem { kind, message }) => format!("status {}, {}: {}", status.as_u16(), quote(&kind), quote(&message)),
        Err(_) => format!("status {}", status.as_u16()),
    }
}
