//! The Open Inference Protocol, version 2 over REST, as MLServer, Triton and KServe speak it.
//!
//! The text goes in as one `BYTES` element of the input `text`. The model must answer with the output `labels` (`BYTES`)
//! and, in the same order, `logits` or `probabilities`; `truncated` (`BOOL`) is welcome.

use reqwest::{StatusCode, Url};
use serde::Deserialize;
use serde_json::{Value, json};

use super::protocol::{LabelledScores, Protocol, Refusal, Scale, quote};
use crate::config::{ConfigError, RemoteSettings};

/// A model behind the Open Inference Protocol.
#[derive(Debug)]
pub(super) struct OpenInference {
    inference: Url,
    readiness: Url,
}

#[derive(Debug, Deserialize)]
struct Answer {
    outputs: Vec<Tensor>,
}

#[derive(Debug, Deserialize)]
struct Tensor {
    name: String,
    /// Numbers, texts or truth values; nested or flat.
    data: Value,
}

impl OpenInference {
    pub(super) fn new(settings: &RemoteSettings) -> Result<Self, ConfigError> {
        let version = settings.model_version.as_deref().map_or(String::new(), |version| format!("/versions/{version}"));
        let model = format!("v2/models/{}{version}", settings.model_name);
        let (mut inference, mut readiness) = (settings.inference_url()?, settings.inference_url()?);
        inference.set_path(&format!("{model}/infer"));
        readiness.set_path(&format!("{model}/ready"));
        Ok(Self { inference, readiness })
    }
}

impl Protocol for OpenInference {
    fn inference_url(&self) -> &Url {
        &self.inference
    }

    fn question(&self, text: &str) -> Vec<u8> {
        let input = json!({
            "name": "text", "shape": [1], "datatype": "BYTES", "parameters": {"content_type": "str"}, "data": [text],
        });
        json!({ "inputs": [input] }).to_string().into_bytes()
    }

    fn read_scores(&self, body: &[u8]) -> Result<LabelledScores, String> {
        let answer: Answer =
            serde_json::from_slice(body).map_err(|error| format!("the answer is not one of the protocol: {error}"))?;
        let output = |name: &str| answer.outputs.iter().find(|output| output.name == name);
        let labels = output("labels").ok_or("the answer has no output `labels`, so that its scores have no names")?;
        let (scores, scale) = match (output("logits"), output("probabilities")) {
            (Some(logits), _) => (logits, Scale::Logits),
            (None, Some(probabilities)) => (probabilities, Scale::Probabilities),
            (None, None) => return Err("the answer has neither the output `logits` nor `probabilities`".to_owned()),
        };
        let labels = flat(labels, |value| value.as_str().map(str::to_owned))?;
        let scores = flat(scores, |value| value.as_f64().map(|score| score as f32))?;
        if labels.len() != scores.len() {
            return Err(format!("the answer has {} labels and {} scores", labels.len(), scores.len()));
        }
        let truncated = match output("truncated") {
            Some(tensor) => flat(tensor, Value::as_bool)?.first().copied().unwrap_or(false),
            None => false,
        };
        Ok(LabelledScores { scores: labels.into_iter().zip(scores).collect(), scale, truncated })
    }

    fn readiness_url(&self) -> &Url {
        &self.readiness
    }

    fn read_readiness(&self, status: StatusCode, body: &[u8]) -> Result<(), String> {
        if status == StatusCode::OK { Ok(()) } else { Err(describe(status, body)) }
    }

    fn read_refusal(&self, status: StatusCode, body: &[u8]) -> Refusal {
        let reason = describe(status, body);
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Refusal::Unauthorised(reason),
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => Refusal::Overloaded(reason),
            _ => Refusal::Failed(reason),
        }
    }
}

/// Returns the elements of a tensor in row-major order, all of one type.
fn flat<T>(tensor: &Tensor, read: fn(&Value) -> Option<T>) -> Result<Vec<T>, String> {
    let mut elements = Vec::new();
    // Last in, first out: what comes first must go in last.
    let mut waiting = vec![&tensor.data];
    while let Some(value) = waiting.pop() {
        match value {
            Value::Array(values) => waiting.extend(values.iter().rev()),
            value => {
                let element =
                    read(value).ok_or_else(|| format!("the output `{}` has elements of a wrong type", tensor.name))?;
                elements.push(element);
            }
        }
    }
    Ok(elements)
}

fn describe(status: StatusCode, body: &[u8]) -> String {
    /// The body of an error; MLServer and KServe say `error`, FastAPI, which they build on, `detail`.
    #[derive(Deserialize)]
    struct Problem {
        #[serde(alias = "detail")]
        error: String,
    }
    match serde_json::from_slice::<Problem>(body) {
        Ok(Problem { error }) => format!("status {}: {}", status.as_u16(), quote(&error)),
        Err(_) => format!("status {}", status.as_u16()),
    }
}
