//! `POST /api/v1/intents/classify/batch`: several texts at once.

use std::{sync::Arc, time::Instant};

use axum::{
    Extension, Json,
    extract::State,
    response::{IntoResponse, Response},
};
use intent_engine::{ClassifyRequest, Decision, LatencyRequirement};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    App,
    body::{JsonBody, JsonRequest},
    caller::Caller,
    classify::{self, ClassifyAnswer, Millis, check_text, decided, subject},
    error::{BodyProblems, FieldError, Problem},
    request_id::RequestId,
    suspicions::Screener,
    user_id::{check_user_id, optional_user_id_schema},
};
use crate::{config::InputSettings, telemetry};

/// Texts to classify.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"texts": ["Write a haiku about rain", "What is 17 * 23?"]}))]
pub(crate) struct BatchBody {
    /// 1 to 100 texts, each as `text` of a single request. One that is not valid fails the batch.
    #[schema(inline, schema_with = texts_schema)]
    texts: Vec<String>,
    /// Who asks; keeps flags and experiments the same for one user.
    #[schema(inline, schema_with = optional_user_id_schema)]
    user_id: Option<String>,
    /// How soon each answer is needed.
    #[serde(default)]
    #[schema(inline, schema_with = classify::latency_requirement_schema)]
    latency_requirement: Option<LatencyRequirement>,
}

/// The answers, in the order of the texts.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BatchAnswer<'a> {
    /// One for each text. Each has a request id of its own; the batch's is in `X-Request-ID`.
    results: Vec<ClassifyAnswer<'a>>,
    /// Time from the request to the answer, in milliseconds.
    #[schema(example = 3.4)]
    processing_time_ms: Millis,
}

/// Classifies several texts, all or none.
#[utoipa::path(
    post, path = "/api/v1/intents/classify/batch", tag = "intents",
    request_body = BatchBody, responses((status = 200, body = BatchAnswer<'_>), BodyProblems)
)]
pub(super) async fn classify_batch(
    State(app): State<Arc<App>>,
    Extension(request_id): Extension<RequestId>,
    Extension(caller): Extension<Caller>,
    JsonBody(body): JsonBody<BatchBody>,
) -> Result<Response, Problem> {
    let began = Instant::now();
    let screener = Screener { app: &app, request_id, caller: &caller };
    let mut requests = body.into_requests(screener)?;
    let request_ids: Vec<RequestId> = requests.iter().map(|_| RequestId::new()).collect();
    for (request, request_id) in requests.iter_mut().zip(&request_ids) {
        request.request_id = request_id.to_string();
    }
    let texts: Vec<String> = requests.iter().map(|request| request.text.clone()).collect();
    let serving = app.serving()?;
    let user_id = requests.first().and_then(|request| request.user_id.clone());
    let user_id = user_id.as_deref();
    let decisions = match serving.engine().classify_batch(requests).await {
        Ok(decisions) => decisions,
        Err(error) => {
            for request_id in &request_ids {
                app.rollouts.observer.decided(subject(user_id, &request_id.to_string()), Err(&error));
            }
            telemetry::decision::record(&app.metrics, RequestId::new(), Err(&error), "");
            return Err(error.into());
        }
    };
    let named: Vec<(RequestId, Decision)> = request_ids.into_iter().zip(decisions).collect();
    let pack = serving.pack();
    let results = named
        .iter()
        .zip(&texts)
        .map(|((request_id, decision), text)| {
            decided(screener, *request_id, user_id, decision, text, None);
            let attributes = pack.attributes(&decision.best().intent);
            ClassifyAnswer::new(*request_id, decision, attributes, decision.timings.total)
        })
        .collect();
    Ok(Json(BatchAnswer { results, processing_time_ms: Millis(began.elapsed()) }).into_response())
}

impl BatchBody {
    fn into_requests(mut self, screener: Screener<'_>) -> Result<Vec<ClassifyRequest>, Problem> {
        let mut errors = Vec::new();
        if self.texts.is_empty() || self.texts.len() > InputSettings::MAX_BATCH_TEXTS {
            let message = format!("has {} texts, expected 1 to {}", self.texts.len(), InputSettings::MAX_BATCH_TEXTS);
            errors.push(FieldError::new("texts", message));
        } else {
            for (index, text) in self.texts.iter().enumerate() {
                check_text(&format!("texts[{index}]"), text, &screener.app.input, &mut errors);
            }
        }
        check_user_id(self.user_id.as_deref(), &mut errors);
        if errors.is_empty() {
            let screened = self.texts.into_iter().enumerate();
            self.texts =
                screened.map(|(index, text)| screener.screen(&format!("texts[{index}]"), text, &mut errors)).collect();
        }
        if !errors.is_empty() {
            return Err(Problem::invalid(errors));
        }
        let Self { texts, user_id, latency_requirement } = self;
        let user_id = screener.caller.user_id(user_id);
        let requests = texts.into_iter().map(|text| ClassifyRequest {
            user_id: user_id.clone(),
            latency_requirement: latency_requirement.unwrap_or_default(),
            ..ClassifyRequest::new(text)
        });
        Ok(requests.collect())
    }
}

fn texts_schema() -> utoipa::openapi::schema::Schema {
    use utoipa::openapi::{
        RefOr,
        schema::{ArrayBuilder, Schema},
    };
    Schema::Array(
        ArrayBuilder::new()
            .items(RefOr::T(classify::text_schema()))
            .min_items(Some(1))
            .max_items(Some(InputSettings::MAX_BATCH_TEXTS))
            .build(),
    )
}

impl JsonRequest for BatchBody {
    fn max_bytes(input: &InputSettings) -> usize {
        input.max_batch_body_bytes()
    }

    fn texts(&self) -> usize {
        self.texts.len()
    }
}
