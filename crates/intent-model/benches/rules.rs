//! What the rules cost: loading and compiling, a short prompt, and 5,000 characters against 1,000 rules.

use std::{fmt::Write, hint::black_box, path::Path};

use criterion::{Criterion, criterion_group, criterion_main};
use intent_model::{Document, Model, Pack, Rules};

/// The length limit of a text in the service.
const MAX_TEXT_CHARS: usize = 5_000;

fn benches(criterion: &mut Criterion) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packs/prompt-tasks");
    let pack = Pack::load(&path).expect("the pack of the repository loads");
    let rules = Rules::compile(&pack).expect("its rules compile");
    criterion.bench_function("prompt-tasks/load", |bencher| bencher.iter(|| Pack::load(black_box(&path))));
    criterion.bench_function("prompt-tasks/compile", |bencher| bencher.iter(|| Rules::compile(black_box(&pack))));
    score(criterion, "prompt-tasks/short", &rules, "Write a Python function to reverse a string");
    score(criterion, "prompt-tasks/5000", &rules, &prose(&pack));

    let thousand = Rules::compile(&thousand_rules()).expect("the rules compile");
    assert_eq!(thousand.len(), 1_000);
    score(criterion, "1000-rules/short", &thousand, "Write a Python function to reverse a string");
    score(criterion, "1000-rules/5000", &thousand, &prose(&pack));
    score(criterion, "1000-rules/5000-non-ascii", &thousand, &"Über die Brücke führt ein schmaler Weg. ".repeat(125));
    score(criterion, "1000-rules/5000-one-letter", &thousand, &"a".repeat(MAX_TEXT_CHARS));
    score(criterion, "1000-rules/5000-every-phrase", &thousand, &every_phrase());
}

fn score(criterion: &mut Criterion, name: &str, rules: &Rules, text: &str) {
    let document = Document::new(text);
    criterion.bench_function(name, |bencher| bencher.iter(|| rules.score(black_box(&[&document]))));
}

/// As much of what people write as a text may hold.
fn prose(pack: &Pack) -> String {
    let mut text = String::new();
    pack.validation.iter().for_each(|row| text.extend([&row.text, " "]));
    text.chars().take(MAX_TEXT_CHARS).collect()
}

/// The phrases of [`thousand_rules`] one after the other, the worst text for its filters.
fn every_phrase() -> String {
    let words: Vec<String> = (0..1_000).map(|index| format!("{} {}", word(index), word(index * 7 + 3))).collect();
    words.join(" ").chars().take(MAX_TEXT_CHARS).collect()
}

/// Ten intents of a hundred rules: half phrases, a quarter keywords, a quarter expressions.
fn thousand_rules() -> Pack {
    let mut toml = "name = 'thousand'\nversion = '1'\n".to_owned();
    for intent in 0..10 {
        write!(toml, "[[intents]]\nname = 'intent_{intent}'\ndescription = 'intent {intent}'\n").expect("a string");
        for rule in 0..100 {
            let index = intent * 100 + rule;
            let (a, b, c) = (word(index), word(index * 7 + 3), word(index * 13 + 5));
            let pattern = match rule % 4 {
                0 | 1 => format!("phrases = ['{a} {b}', 'the {c}', '{c} of {a}', 'how to {b}']"),
                2 => format!("keywords = ['{a}|{b}', '{c}|please|can']"),
                _ => format!(r"regex = '\b(write|make|{a})\b.{{0,20}}\b({b}|{c})s?\b'"),
            };
            write!(toml, "[[intents.rules]]\n{pattern}\nweight = 0.9\n").expect("a string");
        }
    }
    Pack::load_embedded(&[("pack.toml", &toml)]).expect("the pack loads")
}

/// A word that can be spoken, a different one for every index below 8,000.
fn word(index: usize) -> String {
    const SYLLABLES: [&str; 20] = [
        "ba", "co", "di", "fu", "ga", "ho", "ji", "ku", "la", "mo", "ni", "pu", "ra", "so", "ti", "vu", "wa", "xo",
        "ye", "zu",
    ];
    let digit = |place: usize| SYLLABLES[index / 20_usize.pow(place as u32) % 20];
    format!("{}{}{}", digit(0), digit(1), digit(2))
}

criterion_group!(rules, benches);
criterion_main!(rules);
