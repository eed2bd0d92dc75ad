//! Whole reports, of predictions made up here.

use intent_model::{Labels, OutOfScopeGate, Prediction};

use super::{to_html, to_text};
use crate::{
    dataset::Labelled,
    evaluation::{
        Evaluation, EvaluationSet, LatencyMs, ModelPredictions, Scored, evaluate,
        strategy::{Step, evaluate_strategy},
    },
};

/// A model that gives the right label of each row its confidence, and what is left of it to the next label.
fn model(name: &str, set: &EvaluationSet, right: &[f32], p50: f64) -> ModelPredictions {
    let labels = set.labels.len();
    let scored = |label: usize, confidence: f32, score: f32| {
        let mut confidences = vec![0.0; labels];
        confidences[label] = confidence;
        confidences[(label + 1) % labels] = 1.0 - confidence;
        let out_of_scope = (score > 0.5).then_some(score);
        Scored {
            prediction: Prediction { confidences, out_of_scope },
            out_of_scope_score: Some(score),
            truncated: false,
        }
    };
    let rows = set.rows.iter().zip(right);
    ModelPredictions {
        name: name.to_owned(),
        in_scope: rows.map(|(row, &right)| scored(row.label as usize, right, 1.0 - right)).collect(),
        foreign: (0..set.out_of_scope.len()).map(|at| scored(at % labels, 0.6, 0.4 + 0.2 * at as f32)).collect(),
        gate: Some(OutOfScopeGate { threshold: 0.5, scale: 0.1 }),
        accept_threshold: 0.75,
        latency_ms: LatencyMs { p50, p95: 2.0 * p50, p99: 3.0 * p50, texts: 8 },
    }
}

fn evaluation() -> Evaluation {
    let rows: Vec<Labelled> =
        (0..8).map(|row| Labelled { text: format!("row {row}"), label: if row < 5 { 0 } else { 1 } }).collect();
    let set = EvaluationSet {
        labels: Labels::new(["music", "weather & <tides>", "news"]),
        rows,
        out_of_scope: vec!["qwerty".to_owned(), "zzz".to_owned()],
    };
    let models = [
        model("linear", &set, &[0.9, 0.8, 0.2, 0.4, 0.9, 0.9, 0.3, 0.8], 0.05),
        model("hybrid", &set, &[0.9, 0.9, 0.8, 0.7, 0.9, 0.9, 0.4, 0.9], 4.0),
    ];
    let steps = [("linear", 0.85), ("hybrid", 0.0)];
    let steps = steps.map(|(model, threshold)| Step { model: model.to_owned(), threshold });
    let strategy = evaluate_strategy("control", &steps, &set, &models).expect("both models are there");
    evaluate(&set, &models, vec![strategy])
}

#[test]
fn the_text_report_tells_the_figures_that_matter() {
    let text = to_text(&evaluation());
    let figures = [
        "8 rows of 3 intents, 2 out-of-scope texts",
        "hybrid over linear: +25.0 points",
        "only hybrid is right on 2 rows, only linear on 0; may be luck (p = 0.5000)",
        "strategy control:",
        "the same by lot:",
        "accepting from confidence 0.750:",
    ];
    for figure in figures {
        assert!(text.contains(figure), "`{figure}` is missing:\n{text}");
    }
}

#[test]
fn a_cross_validation_says_how_its_figures_came_about() {
    let evaluation = Evaluation { folds: Some(5), ..evaluation() };
    let sentence = "trained 5 times; each row is answered by the models that were trained without it";
    assert!(to_text(&evaluation).contains(sentence));
    assert!(to_html(&evaluation, "title").contains(sentence));
}

#[test]
fn the_page_is_whole_escapes_names_and_needs_nothing_from_elsewhere() {
    let page = to_html(&evaluation(), "a < b");
    assert!(page.contains("<h1>a &lt; b</h1>") && page.contains("weather &amp; &lt;tides&gt;"));
    assert!(!page.contains("<tides>"));
    for element in ["section", "table", "svg", "figure", "details", "tr", "td", "div", "p"] {
        let (opened, closed) = (format!("<{element}"), format!("</{element}>"));
        let opened = page.match_indices(&opened).filter(|(at, _)| {
            let next = page[at + opened.len()..].chars().next();
            next.is_some_and(|next| next == '>' || next.is_whitespace())
        });
        assert_eq!(opened.count(), page.matches(&closed).count(), "<{element}> is closed");
    }
    assert!(!page.contains("http") && !page.contains("<script"), "it opens offline");
}

#[test]
fn intents_are_named_in_the_confusion_matrix_however_many_there_are() {
    let labels = Labels::new((0..150).map(|at| format!("intent_{at}")));
    let rows = (0..300).map(|row| Labelled { text: String::new(), label: row % 150 }).collect();
    let set = EvaluationSet { labels, rows, out_of_scope: Vec::new() };
    let right: Vec<f32> = (0..300).map(|row| if row % 7 == 0 { 0.3 } else { 0.9 }).collect();
    let page = to_html(&evaluate(&set, &[model("linear", &set, &right, 0.1)], Vec::new()), "many");
    assert!(page.contains("<title>intent_7 answered as intent_8: 1 of 2</title>"));
    assert!(page.contains(">intent_149</text>"), "the rows are named");
}
