//! `POST /api/v1/intents/classify`: text in, intent out, one at a time.

use std::{
    borrow::Cow,
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Extension, Json,
    extract::State,
    response::{IntoResponse, Response},
};
use intent_engine::{ClassifyRequest, Decision, EngineError, LatencyRequirement, RankedIntent};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser::SerializeMap};
use serde_json::value::RawValue;
use utoipa::{PartialSchema, ToSchema};

use super::{
    App,
    body::{JsonBody, JsonRequest, whole_number},
    caller::Caller,
    error::{BodyProblems, FieldError, Kind, Problem},
    request_id::RequestId,
    suspicions::Screener,
    user_id::{check_user_id, optional_user_id_schema},
};
use crate::{
    config::InputSettings,
    rollouts::Subject,
    screening::{INVISIBLE, is_visible},
    telemetry,
};

/// The most intents an answer lists.
const MAX_TOP_K: u64 = 1000;
/// The longest latency budget, in milliseconds.
const MAX_BUDGET_MS: f64 = 60_000.0;

/// A text to classify.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"text": "Write a Python function to reverse a string", "user_id": "user123"}))]
pub(crate) struct ClassifyBody {
    /// The text: 1 to `MAX_TEXT_CHARS` characters (5000 unless configured otherwise), not only white space, no NUL.
    #[schema(inline, schema_with = text_schema)]
    text: String,
    /// Who asks; keeps flags and experiments the same for one user.
    #[schema(inline, schema_with = optional_user_id_schema)]
    user_id: Option<String>,
    /// How soon the answer is needed.
    #[serde(default)]
    #[schema(inline, schema_with = latency_requirement_schema)]
    latency_requirement: Option<LatencyRequirement>,
    /// Replaces the time that `latency_requirement` allows, in milliseconds.
    #[schema(exclusive_minimum = 0, maximum = 60000)]
    latency_budget_ms: Option<f64>,
    /// How many intents to list, best first.
    #[serde(default, deserialize_with = "whole_number")]
    #[schema(minimum = 1, maximum = 1000, default = 3)]
    top_k: Option<u64>,
    /// Anything that describes the situation; it is not read, only kept with feedback.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    context: Option<Context>,
}

/// Any JSON object, its nesting checked, as JSON.
#[derive(Debug)]
pub(crate) struct Context(Box<str>);

/// What a text was taken for, and why.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ClassifyAnswer<'a> {
    /// Names this decision; in `X-Request-ID` too.
    #[schema(value_type = uuid::Uuid)]
    request_id: RequestId,
    /// An intent of the pack, or `out_of_scope`.
    #[schema(example = "code_generation")]
    intent: &'a str,
    /// How sure the model is: a calibrated probability, 0 to 1.
    #[schema(example = 0.97)]
    #[serde(serialize_with = "six_decimals")]
    confidence: f32,
    /// The best intents, best first; the first is the answer.
    alternatives: Vec<Alternative<'a>>,
    /// What the intent pack attaches to the intent.
    #[schema(value_type = Object)]
    attributes: &'a RawValue,
    /// The model that decided.
    #[schema(example = "rules", value_type = String)]
    model_used: &'static str,
    /// The version of the models.
    #[schema(example = "20260102T030405")]
    model_version: &'a str,
    /// Whether the answer was remembered.
    cached: bool,
    /// Whether a model, cache or store that was wanted was not used.
    degraded: bool,
    /// Whether the text was longer than the deciding model reads, so that its end had no part in the answer.
    truncated: bool,
    /// How the answer came about.
    routing: Routing<'a>,
    /// Time from the request to the answer, in milliseconds.
    #[schema(example = 0.21)]
    processing_time_ms: Millis,
}

/// An intent and its probability.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Alternative<'a> {
    /// An intent of the pack, or `out_of_scope`.
    #[schema(example = "code_generation")]
    intent: Cow<'a, str>,
    /// Calibrated probability, 0 to 1.
    #[schema(example = 0.97)]
    #[serde(serialize_with = "six_decimals")]
    confidence: f32,
}

/// How an answer came about.
#[derive(Debug, Serialize, ToSchema)]
struct Routing<'a> {
    /// The strategy that chose the models.
    #[schema(example = "control")]
    strategy: &'static str,
    /// The group of the running experiment.
    #[schema(example = "control")]
    experiment_group: &'static str,
    /// The latency requirement that applied.
    #[schema(example = "standard")]
    latency_requirement: &'static str,
    /// Where the time went, in milliseconds: `total` and each model that was asked.
    #[schema(value_type = std::collections::BTreeMap<String, f64>, example = json!({"total": 0.21, "rules": 0.03}))]
    latency_ms: LatencyMs<'a>,
    /// The rule that decided, when the rules did.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, nullable = false)]
    rule: Option<&'a str>,
    /// Why this model, step by step.
    #[schema(example = json!(["rules confidence 0.97 >= 0.85"]))]
    reasons: &'a [String],
    /// The models that could not answer, and who did instead.
    fallbacks: Vec<FallbackStep>,
}

/// A model that could not answer, and who did instead.
#[derive(Debug, Serialize, ToSchema)]
struct FallbackStep {
    /// The model that could not answer.
    #[schema(example = "distilbert")]
    from: &'static str,
    /// The one that was asked instead.
    #[schema(example = "zero_shot")]
    to: &'static str,
    /// What was wrong.
    #[schema(example = "circuit open")]
    reason: &'static str,
}

/// A time in milliseconds, to the microsecond.
#[derive(Clone, Copy, Debug)]
pub(super) struct Millis(pub(super) Duration);

#[derive(Debug)]
struct LatencyMs<'a>(&'a Decision);

/// Classifies a text.
#[utoipa::path(
    post, path = "/api/v1/intents/classify", tag = "intents",
    request_body = ClassifyBody, responses((status = 200, body = ClassifyAnswer<'_>), BodyProblems)
)]
pub(super) async fn classify(
    State(app): State<Arc<App>>,
    Extension(request_id): Extension<RequestId>,
    Extension(caller): Extension<Caller>,
    JsonBody(body): JsonBody<ClassifyBody>,
) -> Result<Response, Problem> {
    let began = Instant::now();
    let screener = Screener { app: &app, request_id, caller: &caller };
    let (request, context) = body.into_request(screener)?;
    let request = ClassifyRequest { request_id: request_id.to_string(), ..request };
    let (text, user_id) = (request.text.clone(), request.user_id.clone());
    let user_id = user_id.as_deref();
    let serving = app.serving()?;
    let decision = match serving.engine().classify(request).await {
        Ok(decision) => decision,
        Err(error) => {
            app.rollouts.observer.decided(subject(user_id, &request_id.to_string()), Err(&error));
            telemetry::decision::record(&app.metrics, request_id, Err(&error), &text);
            return Err(error.into());
        }
    };
    decided(screener, request_id, user_id, &decision, &text, context);
    let pack = serving.pack();
    Ok(Json(ClassifyAnswer::new(request_id, &decision, pack.attributes(&decision.best().intent), began.elapsed()))
        .into_response())
}

impl ClassifyBody {
    fn into_request(self, screener: Screener<'_>) -> Result<(ClassifyRequest, Option<Box<str>>), Problem> {
        let mut errors = Vec::new();
        check_text("text", &self.text, &screener.app.input, &mut errors);
        check_user_id(self.user_id.as_deref(), &mut errors);
        if self.latency_budget_ms.is_some_and(|budget_ms| !(budget_ms > 0.0 && budget_ms <= MAX_BUDGET_MS)) {
            errors.push(FieldError::new("latency_budget_ms", format!("must be above 0 and at most {MAX_BUDGET_MS}")));
        }
        if self.top_k.is_some_and(|top_k| !(1..=MAX_TOP_K).contains(&top_k)) {
            errors.push(FieldError::new("top_k", format!("must be 1 to {MAX_TOP_K}")));
        }
        let text = if errors.is_empty() { screener.screen("text", self.text, &mut errors) } else { self.text };
        if !errors.is_empty() {
            return Err(Problem::invalid(errors));
        }
        let request = ClassifyRequest {
            user_id: screener.caller.user_id(self.user_id),
            latency_requirement: self.latency_requirement.unwrap_or_default(),
            latency_budget: self.latency_budget_ms.map(|budget_ms| Duration::from_secs_f64(budget_ms / 1000.0)),
            top_k: self.top_k.map_or(ClassifyRequest::DEFAULT_TOP_K, |top_k| top_k as usize),
            ..ClassifyRequest::new(text)
        };
        Ok((request, self.context.map(|context| context.0)))
    }
}

impl JsonRequest for ClassifyBody {
    fn max_bytes(input: &InputSettings) -> usize {
        input.max_body_bytes()
    }
}

/// Tells everybody who follows decisions of one; `request_id` is the decision's own, of which a batch has one per text.
pub(super) fn decided(
    screener: Screener<'_>,
    request_id: RequestId,
    user_id: Option<&str>,
    decision: &Decision,
    text: &str,
    context: Option<Box<str>>,
) {
    let app = screener.app;
    app.rollouts.observer.decided(subject(user_id, &request_id.to_string()), Ok(decision));
    telemetry::decision::record(&app.metrics, request_id, Ok(decision), text);
    screener.decided(decision, text);
    app.known_decisions.remember(request_id.uuid(), decision, user_id, context);
    app.exposures.record(request_id, decision);
    app.low_confidence.note(request_id, decision, text);
}

/// Returns whom flags go by: the user, or the request itself.
pub(super) fn subject<'a>(user_id: Option<&'a str>, request_id: &'a str) -> Subject<'a> {
    user_id.map_or(Subject::Request(request_id), Subject::User)
}

/// Notes what is wrong with a text.
pub(super) fn check_text(field: &str, text: &str, input: &InputSettings, errors: &mut Vec<FieldError>) {
    let limit = input.max_text_chars;
    let message = if text.is_empty() {
        "must not be empty".to_owned()
    } else if text.contains('\0') {
        // No text of a person holds one, and databases refuse it later.
        "must not hold the character NUL (U+0000)".to_owned()
    } else if text.len() > limit && text.chars().count() > limit {
        format!("has {} characters, at most {limit} are allowed", text.chars().count())
    } else if text.trim().is_empty() {
        "must not be only white space".to_owned()
    } else if !text.chars().any(is_visible) {
        "must have a character that people see".to_owned()
    } else {
        return;
    };
    errors.push(FieldError::new(field, message));
}

impl From<EngineError> for Problem {
    fn from(error: EngineError) -> Self {
        let detail = error.to_string();
        match error {
            EngineError::Overloaded { retry_after, .. } => Self::new(Kind::Overloaded, detail).retry_after(retry_after),
            _ => Self::new(Kind::NoModel, detail).retry_after(Duration::from_secs(1)),
        }
    }
}

impl<'a> ClassifyAnswer<'a> {
    /// Puts a decision into the shape of the interface.
    pub(crate) fn new(
        request_id: RequestId,
        decision: &'a Decision,
        attributes: &'a RawValue,
        processing_time: Duration,
    ) -> Self {
        let best = decision.best();
        Self {
            request_id,
            intent: &best.intent,
            confidence: best.confidence,
            alternatives: decision
                .ranking
                .iter()
                .map(|ranked| Alternative { intent: Cow::Borrowed(&ranked.intent), confidence: ranked.confidence })
                .collect(),
            attributes,
            model_used: decision.model.as_str(),
            model_version: &decision.model_version,
            cached: decision.cached,
            degraded: decision.degraded,
            truncated: decision.truncated,
            routing: Routing {
                strategy: decision.strategy.as_str(),
                experiment_group: decision.experiment_group.as_str(),
                latency_requirement: decision.latency_requirement.as_str(),
                latency_ms: LatencyMs(decision),
                rule: decision.rule.as_deref(),
                reasons: &decision.reasons,
                fallbacks: decision
                    .fallbacks
                    .iter()
                    .map(|step| FallbackStep {
                        from: step.from.as_str(),
                        to: step.to.as_str(),
                        reason: step.reason.as_str(),
                    })
                    .collect(),
            },
            processing_time_ms: Millis(processing_time),
        }
    }
}

impl From<RankedIntent> for Alternative<'static> {
    fn from(ranked: RankedIntent) -> Self {
        Self { intent: Cow::Owned(ranked.intent.to_string()), confidence: ranked.confidence }
    }
}

impl<'de> Deserialize<'de> for Context {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectOnly;

        impl<'de> de::Visitor<'de> for ObjectOnly {
            type Value = Context;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut object: A) -> Result<Context, A::Error> {
                // Read as values, not skipped: only then does the parser bound the nesting.
                let mut content = serde_json::Map::new();
                while let Some((key, value)) = object.next_entry::<String, serde_json::Value>()? {
                    content.insert(key, value);
                }
                Ok(Context(serde_json::Value::Object(content).to_string().into()))
            }
        }

        deserializer.deserialize_map(ObjectOnly)
    }
}

/// Writes a probability without the digits that only rounding made.
pub(super) fn six_decimals<S: Serializer>(probability: &f32, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((f64::from(*probability) * 1e6).round() / 1e6)
}

impl Serialize for Millis {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0.as_micros() as f64 / 1000.0)
    }
}

impl PartialSchema for Millis {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        f64::schema()
    }
}

impl ToSchema for Millis {}

impl Serialize for LatencyMs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let timings = &self.0.timings;
        let mut map = serializer.serialize_map(Some(1 + timings.models.len()))?;
        map.serialize_entry("total", &Millis(timings.total))?;
        for (kind, took) in &timings.models {
            map.serialize_entry(kind.as_str(), &Millis(*took))?;
        }
        map.end()
    }
}

/// Describes a text. What the pattern says, [`check_text`] demands: a visible character, no NUL.
pub(super) fn text_schema() -> utoipa::openapi::schema::Schema {
    use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
    let pattern = format!("^[^\\u0000]*[^{INVISIBLE}][^\\u0000]*$");
    Schema::Object(ObjectBuilder::new().schema_type(Type::String).min_length(Some(1)).pattern(Some(pattern)).build())
}

/// Describes [`LatencyRequirement`], whose crate knows no OpenAPI.
pub(super) fn latency_requirement_schema() -> utoipa::openapi::schema::Schema {
    use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaType, Type};
    let names = LatencyRequirement::ALL.map(LatencyRequirement::as_str).into_iter();
    Schema::Object(
        ObjectBuilder::new()
            .schema_type(SchemaType::from_iter([Type::String, Type::Null]))
            .enum_values(Some(names.map(serde_json::Value::from).chain([serde_json::Value::Null])))
            .default(Some("standard".into()))
            .build(),
    )
}

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, sync::Arc};

    use super::*;
    use crate::{
        auth::{Authenticated, Authenticator, Identity, Scopes},
        config::Settings,
    };

    #[tokio::test]
    async fn the_user_of_a_token_wins_over_the_one_of_the_body() {
        let source = Ipv4Addr::LOCALHOST.into();
        let identity = Identity::Token { subject: Arc::from("alice") };
        let alice = Caller::known(source, Authenticated { identity, scopes: Scopes::ALL });
        let nobody = Caller::anonymous(source, Scopes::ALL);
        let settings = Settings::defaults();
        let authenticator = Authenticator::new(&settings.auth).expect("the defaults name no key");
        let app = App::new(&settings, authenticator, None).expect("the defaults can be used");
        for (caller, body, expected) in [
            (&alice, r#"{"text": "a", "user_id": "bob"}"#, Some("alice")),
            (&alice, r#"{"text": "a"}"#, Some("alice")),
            (&nobody, r#"{"text": "a", "user_id": "bob"}"#, Some("bob")),
            (&nobody, r#"{"text": "a"}"#, None),
        ] {
            let body: ClassifyBody = serde_json::from_str(body).expect("a body");
            let request = body
                .into_request(Screener { app: &app, request_id: RequestId::new(), caller })
                .expect("a valid body")
                .0;
            assert_eq!(request.user_id.as_deref(), expected);
        }
    }
}
