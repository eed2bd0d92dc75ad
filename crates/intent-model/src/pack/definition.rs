//! Reads `pack.toml`.

use std::collections::HashSet;

use toml::de::DeTable;

use super::{
    Intent, LabelledText, Pack, Pattern, Place, Rule,
    expression::Expression,
    pattern::{Script, expression_fault, words_fault},
    problem::{ProblemCode, Problems},
    source::SourceFile,
    table::{START, Table, Text},
};
use crate::text::fold;

const PACK_KEYS: [&str; 5] = ["name", "version", "description", "language", "intents"];
const INTENT_KEYS: [&str; 5] = ["name", "description", "attributes", "examples", "rules"];
const RULE_KEYS: [&str; 5] = ["phrases", "keywords", "regex", "weight", "name"];

/// The most characters of a name.
const MAX_NAME_CHARS: usize = 100;
/// The most characters of one phrase, keyword or expression.
const MAX_PATTERN_CHARS: usize = 2_000;
/// The most patterns of one rule; for keywords, each of which takes a bit of a mask, 64.
const MAX_PATTERNS: usize = 1_000;
const MAX_KEYWORDS: usize = 64;

/// A pack as it was read, with the place of everything that other files may clash with.
#[derive(Debug)]
pub(super) struct Draft {
    name: String,
    version: String,
    description: Option<String>,
    language: Option<String>,
    pub(super) place: Place,
    pub(super) intents: Vec<DraftIntent>,
    pub(super) validation: Vec<Row>,
    pub(super) test: Vec<Row>,
    pub(super) out_of_scope_validation: Vec<Text>,
    pub(super) out_of_scope_test: Vec<Text>,
}

/// An intent as it was read.
#[derive(Debug)]
pub(super) struct DraftIntent {
    pub(super) name: String,
    pub(super) place: Place,
    description: String,
    attributes: serde_json::Map<String, serde_json::Value>,
    pub(super) examples: Vec<Text>,
    pub(super) rules: Vec<Rule>,
}

/// A row of a split.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) text: Text,
    pub(super) label: usize,
}

/// Reads the definition; `None` when it is not TOML, so that nothing more can be said of it.
pub(super) fn read(source: &SourceFile, problems: &mut Problems) -> Option<Draft> {
    let (document, errors) = DeTable::parse_recoverable(source.text());
    for error in &errors {
        let place = error.span().map_or_else(|| source.whole(), |span| source.place(&span));
        problems.add(ProblemCode::Syntax, &place, None, format!("is not TOML: {}", error.message()));
    }
    if !errors.is_empty() {
        return None;
    }
    let pack = Table::new(source, &document, "the pack");
    pack.refuse_unknown_keys(&PACK_KEYS, problems);
    let tables = pack.tables("intents", "the intent", problems);
    let language = pack.optional_string("language", problems).map(|text| text.text);
    let script = language.as_deref().map(Script::of_language);
    let intents = tables.into_iter().map(|table| read_intent(table, script, problems)).collect();
    Some(Draft {
        name: read_name(&pack, "name", problems),
        version: read_name(&pack, "version", problems),
        description: pack.optional_string("description", problems).map(|text| text.text),
        language,
        place: source.place(&START),
        intents,
        validation: Vec::new(),
        test: Vec::new(),
        out_of_scope_validation: Vec::new(),
        out_of_scope_test: Vec::new(),
    })
}

fn read_name(table: &Table<'_>, key: &str, problems: &mut Problems) -> String {
    let Some(Text { text, place }) = table.required_string(key, problems) else { return String::new() };
    if text.chars().count() > MAX_NAME_CHARS || text.chars().any(char::is_control) || text.trim() != text {
        let message = format!(
            "`{key}` cannot be {text:?}, expected at most {MAX_NAME_CHARS} characters without line breaks, \
             control characters, and spaces at its ends"
        );
        table.problem(problems, ProblemCode::InvalidName, &place, message);
    }
    text
}

fn read_intent(mut table: Table<'_>, script: Option<Script>, problems: &mut Problems) -> DraftIntent {
    let name = read_name(&table, "name", problems);
    if !name.is_empty() {
        table.set_intent(&name);
    }
    table.refuse_unknown_keys(&INTENT_KEYS, problems);
    let description = table.required_string("description", problems).map_or_else(String::new, |text| text.text);
    let rules = table.tables("rules", "the rule", problems);
    DraftIntent {
        rules: read_rules(&rules, script, problems),
        attributes: table.json_table("attributes", problems),
        examples: table.strings("examples", false, problems),
        place: table.place.clone(),
        name,
        description,
    }
}

fn read_rules(tables: &[Table<'_>], script: Option<Script>, problems: &mut Problems) -> Vec<Rule> {
    let given: Vec<Option<String>> =
        tables.iter().map(|table| table.has("name").then(|| read_name(table, "name", problems))).collect();
    let mut names = HashSet::new();
    for (table, name) in tables.iter().zip(&given) {
        if let Some(name) = name.as_ref().filter(|name| !names.insert((*name).clone())) {
            let message = format!("a second rule has the name `{name}`; give each rule of an intent its own");
            table.problem(problems, ProblemCode::DuplicateRule, &table.place, message);
        }
    }
    let mut rules = Vec::with_capacity(tables.len());
    for ((index, table), name) in tables.iter().enumerate().zip(given) {
        table.refuse_unknown_keys(&RULE_KEYS, problems);
        let (pattern, weight) = (read_pattern(table, script, problems), read_weight(table, problems));
        let (Some(pattern), Some(weight)) = (pattern, weight) else { continue };
        let name = name.unwrap_or_else(|| unused_name(&pattern, index, &mut names));
        rules.push(Rule { name, pattern, weight });
    }
    rules
}

fn read_weight(table: &Table<'_>, problems: &mut Problems) -> Option<f32> {
    let (weight, place) = table.number("weight", problems)?;
    // What rounds to 1 would be an infinite logit.
    if weight > 0.0 && weight < 1.0 && (weight as f32) < 1.0 && (weight as f32) > 0.0 {
        return Some(weight as f32);
    }
    let message = "`weight` is not between 0 and 1; it is the confidence that this rule alone deserves, such as 0.9";
    table.problem(problems, ProblemCode::WeightOutOfRange, &place, message.to_owned());
    None
}

fn read_pattern(table: &Table<'_>, script: Option<Script>, problems: &mut Problems) -> Option<Pattern> {
    let kinds: Vec<&str> = ["phrases", "keywords", "regex"].into_iter().filter(|kind| table.has(kind)).collect();
    let [kind] = kinds[..] else {
        let found = if kinds.is_empty() { "none".to_owned() } else { kinds.join(" and ") };
        let message = format!("a rule has exactly one of `phrases`, `keywords` and `regex`, found {found}");
        table.problem(problems, ProblemCode::RuleKind, &table.place, message);
        return None;
    };
    let texts = table.strings(kind, kind == "regex", problems);
    let limit = if kind == "keywords" { MAX_KEYWORDS } else { MAX_PATTERNS };
    if texts.is_empty() {
        table.problem(problems, ProblemCode::Empty, &table.place, format!("`{kind}` has no entry to look for"));
    } else if texts.len() > limit {
        let message = format!("`{kind}` has {} entries, at most {limit} are allowed in one rule", texts.len());
        table.problem(problems, ProblemCode::TooLarge, &table.place, message);
        return None;
    }
    let entries = texts.iter().map(|text| text.text.clone()).collect();
    let pattern = match kind {
        "phrases" => Pattern::Phrases(entries),
        "keywords" => Pattern::Keywords(entries),
        _ => Pattern::Regex(entries),
    };
    for text in &texts {
        check_entry(table, &pattern, text, script, problems);
    }
    Some(pattern)
}

fn check_entry(table: &Table<'_>, pattern: &Pattern, entry: &Text, script: Option<Script>, problems: &mut Problems) {
    let shown: String = entry.text.chars().take(60).collect();
    let mut problem = |code, message| table.problem(problems, code, &entry.place, message);
    if entry.text.chars().count() > MAX_PATTERN_CHARS {
        problem(ProblemCode::TooLarge, format!("`{shown}…` is longer than {MAX_PATTERN_CHARS} characters"));
        return;
    }
    let fault = match pattern {
        Pattern::Phrases(_) | Pattern::Keywords(_) => words_fault(pattern, &entry.text, script),
        Pattern::Regex(_) => match Expression::compile(&entry.text) {
            Ok(expression) => expression_fault(&expression, script),
            Err(message) => {
                problem(ProblemCode::InvalidRegex, format!("`{shown}` is not a regular expression: {message}"));
                return;
            }
        },
    };
    if let Some(fault) = fault {
        problem(ProblemCode::MatchesEverything, format!("`{shown}` {fault}; say more precisely what decides"));
    }
}

/// Makes a name from the first pattern that no other rule of the intent has.
fn unused_name(pattern: &Pattern, index: usize, names: &mut HashSet<String>) -> String {
    let words = match pattern {
        Pattern::Phrases(entries) => entries.first().map_or_else(String::new, |entry| fold(entry)),
        Pattern::Keywords(entries) => {
            let first = |entry: &String| entry.split('|').next().map(fold).unwrap_or_default();
            entries.iter().map(first).collect::<Vec<_>>().join(" ")
        }
        Pattern::Regex(_) => String::new(),
    };
    let slug: Vec<&str> = words.split(|char: char| !char.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let mut base: String = slug.join("-").chars().take(40).collect();
    if base.is_empty() {
        base = format!("rule-{}", index + 1);
    }
    let name = (2..).map(|number| format!("{base}-{number}"));
    let name = std::iter::once(base.clone()).chain(name).find(|name| !names.contains(name));
    let name = name.expect("infinitely many names are tried");
    names.insert(name.clone());
    name
}

impl Draft {
    /// Lets go of the places.
    pub(super) fn into_pack(self) -> Pack {
        let labelled = |rows: Vec<Row>| {
            rows.into_iter().map(|row| LabelledText { text: row.text.text, label: row.label }).collect()
        };
        let plain = |texts: Vec<Text>| texts.into_iter().map(|text| text.text).collect();
        Pack {
            name: self.name,
            version: self.version,
            description: self.description,
            language: self.language,
            intents: self.intents.into_iter().map(DraftIntent::into_intent).collect(),
            validation: labelled(self.validation),
            test: labelled(self.test),
            out_of_scope_validation: plain(self.out_of_scope_validation),
            out_of_scope_test: plain(self.out_of_scope_test),
        }
    }
}

impl DraftIntent {
    fn into_intent(self) -> Intent {
        Intent {
            name: self.name,
            description: self.description.trim().to_owned(),
            attributes: self.attributes,
            examples: self.examples.into_iter().map(|text| text.text).collect(),
            rules: self.rules,
        }
    }
}
