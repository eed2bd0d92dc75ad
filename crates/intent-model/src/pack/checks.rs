//! Checks that need more than one place of a pack: names that clash, texts that stand twice.

use std::collections::HashMap;

use super::{
    Place,
    definition::{Draft, DraftIntent},
    problem::{ProblemCode, Problems},
    table::Text,
};
use crate::{
    OUT_OF_SCOPE,
    text::{comparison_key, fold},
};

/// The most intents of a pack.
const MAX_INTENTS: usize = 1_000;
/// The most rules of a pack.
const MAX_RULES: usize = 10_000;
/// The most characters of an example.
const MAX_TEXT_CHARS: usize = 20_000;

/// Records everything that is wrong with a draft as a whole.
pub(super) fn check(draft: &Draft, problems: &mut Problems) {
    check_intents(draft, problems);
    check_texts(draft, problems);
    check_splits(draft, problems);
}

fn check_intents(draft: &Draft, problems: &mut Problems) {
    let intents = draft.intents.len();
    if intents < 2 {
        let message = format!("has {intents} `[[intents]]`, at least 2 are needed to tell anything apart");
        problems.add(ProblemCode::TooFewIntents, &draft.place, None, message);
    }
    let rules: usize = draft.intents.iter().map(|intent| intent.rules.len()).sum();
    for (found, limit, what) in [(intents, MAX_INTENTS, "intents"), (rules, MAX_RULES, "rules")] {
        if found > limit {
            let message = format!("has {found} {what}, at most {limit} are allowed");
            problems.add(ProblemCode::TooLarge, &draft.place, None, message);
        }
    }
    let mut places: HashMap<&str, &Place> = HashMap::new();
    for DraftIntent { name, place, .. } in draft.intents.iter().filter(|intent| !intent.name.is_empty()) {
        if name == OUT_OF_SCOPE {
            let message = "the name is reserved for texts of no intent; they are recognised without being described";
            problems.add(ProblemCode::ReservedName, place, Some(name), message);
        } else if let Some(first) = places.get(name.as_str()) {
            let message = format!("is defined a second time, first at {first}");
            problems.add(ProblemCode::DuplicateIntent, place, Some(name), message);
        } else {
            places.insert(name, place);
        }
    }
}

/// Every text of a draft with the intent it belongs to.
fn all_texts(draft: &Draft) -> impl Iterator<Item = (&Text, Option<&str>)> {
    let examples = draft.intents.iter().flat_map(|intent| intent.examples.iter().map(|text| (text, &*intent.name)));
    let rows = draft.validation.iter().chain(&draft.test).map(|row| (&row.text, &*draft.intents[row.label].name));
    let foreign = draft.out_of_scope_validation.iter().chain(&draft.out_of_scope_test);
    examples.chain(rows).map(|(text, intent)| (text, Some(intent))).chain(foreign.map(|text| (text, None)))
}

fn check_texts(draft: &Draft, problems: &mut Problems) {
    for (text, intent) in all_texts(draft) {
        let chars = text.text.chars().count();
        if text.text.trim().is_empty() {
            problems.add(ProblemCode::Empty, &text.place, intent, "the example is empty");
        } else if chars > MAX_TEXT_CHARS {
            let message = format!("the example has {chars} characters, at most {MAX_TEXT_CHARS} are allowed");
            problems.add(ProblemCode::TooLarge, &text.place, intent, message);
        }
    }
}

/// Where a text stands for the first time.
struct First<'a> {
    place: &'a Place,
    split: &'static str,
    intent: &'a str,
}

/// The splits in the order in which a repeated text is blamed on the later one.
fn splits(draft: &Draft) -> impl Iterator<Item = (&'static str, &str, &Text)> {
    let train = draft.intents.iter().flat_map(|intent| intent.examples.iter().map(|text| (&*intent.name, text)));
    let name = |label: usize| &*draft.intents[label].name;
    let validation = draft.validation.iter().map(move |row| (name(row.label), &row.text));
    let test = draft.test.iter().map(move |row| (name(row.label), &row.text));
    std::iter::empty()
        .chain(train.map(|(intent, text)| ("training", intent, text)))
        .chain(validation.map(|(intent, text)| ("validation", intent, text)))
        .chain(draft.out_of_scope_validation.iter().map(|text| ("validation", OUT_OF_SCOPE, text)))
        .chain(test.map(|(intent, text)| ("test", intent, text)))
        .chain(draft.out_of_scope_test.iter().map(|text| ("test", OUT_OF_SCOPE, text)))
}

fn check_splits(draft: &Draft, problems: &mut Problems) {
    let mut folded: HashMap<String, First<'_>> = HashMap::new();
    let mut keys: HashMap<String, First<'_>> = HashMap::new();
    for (split, intent, text) in splits(draft) {
        let shown: String = text.text.chars().take(60).collect();
        if text.text.trim().is_empty() {
            continue;
        }
        let key = comparison_key(&text.text);
        if let Some(first) = keys.get(&key).filter(|first| first.split != split) {
            let (place, other) = (first.place, first.split);
            let message = format!("`{shown}` of the {split} split stands in the {other} split too, at {place}");
            problems.add(ProblemCode::Leak, &text.place, Some(intent), message);
            continue;
        }
        let same = fold(&text.text);
        if let Some(first) = folded.get(&same) {
            let place = first.place;
            let (code, message) = if first.intent == intent {
                (ProblemCode::DuplicateExample, format!("`{shown}` stands here a second time, first at {place}"))
            } else {
                let other = first.intent;
                (ProblemCode::ConflictingExample, format!("`{shown}` is also an example of `{other}`, at {place}"))
            };
            problems.add(code, &text.place, Some(intent), message);
            continue;
        }
        folded.insert(same, First { place: &text.place, split, intent });
        keys.entry(key).or_insert(First { place: &text.place, split, intent });
    }
}
