//! What feedback teaches: texts with the intents that users want for them, and what a person should look at first.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
    path::Path,
    sync::Arc,
};

use intent_model::{Labels, Prediction, text::fold};
use intent_training::data::{Example, Origin};
use serde::Serialize;
use uuid::Uuid;

use crate::storage::Feedback;

/// Under this probability of the corrected intent, a correction is worth a second look.
const OUTLIER_BELOW: f32 = 0.05;

/// What users want for one text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TextOpinions {
    /// The text, as it was sent last.
    pub(crate) text: String,
    /// How often somebody said anything about it.
    pub(crate) count: usize,
    /// The feedback for each intent that somebody wants; of one user the latest counts.
    pub(crate) intents: BTreeMap<String, Vec<Uuid>>,
}

/// What a person should look at before models learn from feedback.
#[derive(Debug, Serialize)]
pub(crate) struct Review {
    /// Texts for which users want different intents, the most frequent first; none of them is learnt.
    pub(crate) conflicts: Vec<Conflict>,
    /// Corrections that the models find very unlikely, the unlikeliest first.
    pub(crate) outliers: Vec<Outlier>,
    /// Texts by uncertainty times frequency, the most wanted first.
    pub(crate) most_wanted: Vec<Wanted>,
}

/// A text for which users want different intents.
#[derive(Debug, Serialize)]
pub(crate) struct Conflict {
    /// The text.
    pub(crate) text: String,
    /// The feedback for each intent.
    pub(crate) intents: BTreeMap<String, Vec<Uuid>>,
}

/// A correction that the models find very unlikely.
#[derive(Debug, Serialize)]
pub(crate) struct Outlier {
    /// The text.
    pub(crate) text: String,
    /// What users want.
    pub(crate) intent: String,
    /// How likely the model finds that, 0 to 1.
    pub(crate) probability: f32,
    /// What the model would answer.
    pub(crate) model_says: String,
    /// The feedback.
    pub(crate) feedback: Vec<Uuid>,
}

/// A text that is worth a label.
#[derive(Debug, Serialize)]
pub(crate) struct Wanted {
    /// The text.
    pub(crate) text: String,
    /// How often somebody said anything about it.
    pub(crate) count: usize,
    /// How unsure the model is of its answer, 0 to 1.
    pub(crate) uncertainty: f32,
    /// What the model would answer.
    pub(crate) model_says: String,
}

/// What of the feedback is learnt, and what is not.
#[derive(Debug)]
pub(crate) struct Lessons {
    /// Texts with the intent that users agree on.
    pub(crate) examples: Vec<Example>,
    /// How many texts are left out because users want different intents.
    pub(crate) conflicts: usize,
    /// How many are left out because models are measured on them.
    pub(crate) held_out: usize,
}

impl fmt::Display for Lessons {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { examples, conflicts, held_out } = self;
        let learnt = examples.len();
        write!(
            f,
            "feedback: {learnt} texts are learnt, {conflicts} with conflicts and {held_out} held-out ones are not"
        )
    }
}

/// Picks the texts that are learnt: those whose users agree, and on which no model is measured.
pub(crate) fn lessons<'a>(texts: &[TextOpinions], held_out: impl Iterator<Item = &'a str>) -> Lessons {
    let held_out: HashSet<String> = held_out.map(|text| fold(text.trim())).collect();
    let file: Arc<Path> = Path::new("feedback").into();
    let mut lessons = Lessons { examples: Vec::new(), conflicts: 0, held_out: 0 };
    for text in texts {
        let Some(intent) = text.unanimous() else {
            lessons.conflicts += 1;
            continue;
        };
        if held_out.contains(&fold(text.text.trim())) {
            lessons.held_out += 1;
            continue;
        }
        let origin = Origin { file: Arc::clone(&file), line: None };
        lessons.examples.push(Example { text: text.text.clone(), intent: intent.to_owned(), origin });
    }
    lessons
}

impl TextOpinions {
    /// Returns the intent that everybody wants.
    pub(crate) fn unanimous(&self) -> Option<&str> {
        match self.intents.len() {
            1 => self.intents.keys().next().map(String::as_str),
            _ => None,
        }
    }

    fn take_back(&mut self, intent: &str, id: Uuid) {
        if let Some(ids) = self.intents.get_mut(intent) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.intents.remove(intent);
            }
        }
    }
}

/// Brings feedback that may be learnt from together by text, in the order in which texts came first. Case and white space
/// around a text do not make another one.
pub(crate) fn gather(feedback: impl IntoIterator<Item = Feedback>) -> Vec<TextOpinions> {
    let mut texts: Vec<TextOpinions> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut latest: HashMap<(usize, String), (String, Uuid)> = HashMap::new();
    for one in feedback.into_iter().filter(|one| one.learn) {
        let place = *places.entry(fold(one.text.trim())).or_insert(texts.len());
        if place == texts.len() {
            texts.push(TextOpinions { text: String::new(), count: 0, intents: BTreeMap::new() });
        }
        let opinions = &mut texts[place];
        if let Some(user) = one.user_id
            && let Some((intent, id)) = latest.insert((place, user), (one.correct_intent.clone(), one.id))
        {
            opinions.take_back(&intent, id);
        }
        opinions.text = one.text;
        opinions.count += 1;
        opinions.intents.entry(one.correct_intent).or_default().push(one.id);
    }
    texts
}

/// Lists what a person should look at; `predictions` are what the most accurate model says of each text. At most `limit`
/// of each kind.
pub(crate) fn review(texts: &[TextOpinions], predictions: &[Prediction], labels: &Labels, limit: usize) -> Review {
    let names: Vec<&str> = labels.iter().collect();
    let answer = |prediction: &Prediction| match prediction.out_of_scope {
        Some(_) => intent_model::OUT_OF_SCOPE.to_owned(),
        None => prediction.ranking().first().map_or_else(String::new, |&best| names[best].to_owned()),
    };
    let mut conflicts: Vec<&TextOpinions> = texts.iter().filter(|text| text.intents.len() > 1).collect();
    conflicts.sort_by_key(|text| std::cmp::Reverse(text.count));
    let conflicts = conflicts
        .into_iter()
        .take(limit)
        .map(|text| Conflict { text: text.text.clone(), intents: text.intents.clone() })
        .collect();

    let mut outliers: Vec<Outlier> = texts
        .iter()
        .zip(predictions)
        .filter_map(|(text, prediction)| {
            let intent = text.unanimous()?;
            let probability = prediction.confidences[names.iter().position(|name| *name == intent)?];
            (probability < OUTLIER_BELOW).then(|| Outlier {
                text: text.text.clone(),
                intent: intent.to_owned(),
                probability,
                model_says: answer(prediction),
                feedback: text.intents[intent].clone(),
            })
        })
        .collect();
    outliers.sort_by(|a, b| a.probability.total_cmp(&b.probability));
    outliers.truncate(limit);

    let mut most_wanted: Vec<Wanted> = texts
        .iter()
        .zip(predictions)
        .map(|(text, prediction)| Wanted {
            text: text.text.clone(),
            count: text.count,
            uncertainty: 1.0 - prediction.confidence(),
            model_says: answer(prediction),
        })
        .collect();
    let weight = |wanted: &Wanted| wanted.uncertainty * wanted.count as f32;
    most_wanted.sort_by(|a, b| weight(b).total_cmp(&weight(a)));
    most_wanted.truncate(limit);
    Review { conflicts, outliers, most_wanted }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feedback(id: u128, text: &str, intent: &str, user: Option<&str>) -> Feedback {
        let (correct_intent, user_id) = (intent.to_owned(), user.map(str::to_owned));
        Feedback { correct_intent, user_id, ..Feedback::correction(id, text) }
    }

    #[test]
    fn one_text_is_one_however_it_is_written_and_of_one_user_the_latest_opinion_counts() {
        let texts = gather([
            feedback(1, "Money back", "refund", Some("ada")),
            feedback(2, "hello", "greeting", None),
            feedback(3, " money BACK ", "greeting", Some("ada")),
            feedback(4, "money back", "greeting", None),
            Feedback { learn: false, ..feedback(5, "money back", "farewell", None) },
        ]);
        assert_eq!(texts.len(), 2);
        assert_eq!((texts[0].count, texts[0].unanimous()), (3, Some("greeting")));
        assert_eq!(texts[0].intents["greeting"], [Uuid::from_u128(3), Uuid::from_u128(4)]);
    }

    #[test]
    fn what_users_disagree_on_and_what_models_are_measured_on_is_not_learnt() {
        let texts = gather([
            feedback(1, "a", "refund", None),
            feedback(2, "a", "greeting", None),
            feedback(3, "Held out", "greeting", None),
            feedback(4, "c", "refund", None),
        ]);
        let lessons = lessons(&texts, ["held OUT "].into_iter());
        let learnt: Vec<(&str, &str)> =
            lessons.examples.iter().map(|example| (example.text.as_str(), example.intent.as_str())).collect();
        assert_eq!(learnt, [("c", "refund")]);
        insta::assert_snapshot!(lessons, @"feedback: 1 texts are learnt, 1 with conflicts and 1 held-out ones are not");
    }

    #[test]
    fn a_review_names_conflicts_outliers_and_what_is_wanted_most() {
        let texts = gather([
            feedback(1, "a", "refund", None),
            feedback(2, "a", "greeting", None),
            feedback(3, "b", "greeting", None),
            feedback(4, "c", "refund", None),
            feedback(5, "c", "refund", None),
            feedback(6, "c", "refund", None),
        ]);
        let labels = Labels::new(["greeting", "refund"]);
        let prediction = |greeting: f32| Prediction { confidences: vec![greeting, 1.0 - greeting], out_of_scope: None };
        let predictions = [prediction(0.6), prediction(0.01), prediction(0.3)];
        let review = review(&texts, &predictions, &labels, 2);

        assert_eq!(review.conflicts.iter().map(|conflict| conflict.text.as_str()).collect::<Vec<_>>(), ["a"]);
        let outlier = &review.outliers[0];
        assert_eq!(
            (outlier.text.as_str(), outlier.intent.as_str(), outlier.model_says.as_str()),
            ("b", "greeting", "refund")
        );
        assert_eq!(review.outliers.len(), 1);
        // 3 × 0.3 before 2 × 0.4; 1 × 0.01 is cut off.
        assert_eq!(review.most_wanted.iter().map(|wanted| wanted.text.as_str()).collect::<Vec<_>>(), ["c", "a"]);
    }
}
