//! What is in a pack, how good its rules are on its own texts, and what may be better.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
};

use serde::Serialize;

use super::{Pack, Pattern};
use crate::{Calibration, Document, Model, Rules, text::fold};

/// Below so many examples, trained models are guesswork.
const FEW_EXAMPLES: usize = 20;
/// So many times more examples than another intent bias a trained model towards the larger.
const IMBALANCE: usize = 5;
/// A description of fewer words says little more than the name.
const FEW_WORDS: usize = 4;
/// How far below its weight the measured precision of a rule may be, and on how many matches that is judged.
const OVERCONFIDENCE: f64 = 0.05;
const ENOUGH_MATCHES: usize = 10;
/// The confidence from which the router takes an answer of the rules.
const ACCEPT_THRESHOLD: f32 = 0.85;

/// Everything `pack check` says of a pack that loads; see [`Pack::report`]. Its `Display` is for people.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PackReport {
    /// The name of the pack.
    pub name: String,
    /// Its version.
    pub version: String,
    /// [`Pack::content_hash`].
    pub content_hash: String,
    /// How many texts there are of each use.
    pub texts: SplitSizes,
    /// The intents in the order of the pack.
    pub intents: Vec<IntentSummary>,
    /// How the rules alone answer the validation texts, when there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rules_on_validation: Option<RulesCoverage>,
    /// What may be better; the pack works as it is.
    pub warnings: Vec<String>,
}

/// The number of texts of each use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct SplitSizes {
    /// Examples in `pack.toml` and `train.jsonl`.
    pub examples: usize,
    /// Rows of `validation.jsonl`.
    pub validation: usize,
    /// Rows of `test.jsonl`.
    pub test: usize,
    /// Rows of `out_of_scope_validation.jsonl`.
    pub out_of_scope_validation: usize,
    /// Rows of `out_of_scope_test.jsonl`.
    pub out_of_scope_test: usize,
}

/// What there is of one intent.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct IntentSummary {
    /// The name of the intent.
    pub name: String,
    /// How many examples it has.
    pub examples: usize,
    /// How many validation texts.
    pub validation: usize,
    /// How many test texts.
    pub test: usize,
    /// Its rules, measured.
    pub rules: Vec<RuleSummary>,
}

/// How one rule does on the texts of the pack.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RuleSummary {
    /// The name of the rule within its intent.
    pub name: String,
    /// The confidence that the pack gives it.
    pub weight: f32,
    /// On the examples of all intents.
    pub on_examples: Matches,
    /// On those of them that no rule of another intent matches: what its weight should say.
    pub on_undisputed_examples: Matches,
    /// On the validation texts of all intents.
    pub on_validation: Matches,
}

/// How often a rule matched, and how often rightly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Matches {
    /// Texts that the rule matches.
    pub matched: usize,
    /// Those of them that have the rule's intent.
    pub correct: usize,
}

/// How far the rules alone get.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RulesCoverage {
    /// The confidence from which an answer counts.
    pub threshold: f32,
    /// All texts.
    pub texts: usize,
    /// Those answered with at least that confidence.
    pub answered: usize,
    /// Those answered so, and rightly.
    pub correct: usize,
    /// Out-of-scope texts that were answered so, each of them wrongly.
    pub out_of_scope_answered: usize,
}

impl Matches {
    /// Returns the share of the matches that were right; `None` when nothing matched.
    pub fn precision(&self) -> Option<f64> {
        (self.matched > 0).then(|| self.correct as f64 / self.matched as f64)
    }

    fn add(&mut self, correct: bool) {
        self.matched += 1;
        self.correct += usize::from(correct);
    }
}

pub(super) fn report(pack: &Pack) -> PackReport {
    let mut warnings = Vec::new();
    let rules = Rules::compile(pack);
    let intents = match &rules {
        Ok(rules) => summarise(pack, rules),
        Err(error) => {
            warnings.push(format!("the rules do not compile: {error}"));
            Vec::new()
        }
    };
    warn_of_intents(pack, &mut warnings);
    warn_of_texts(pack, &mut warnings);
    warn_of_rules(pack, &intents, &mut warnings);
    PackReport {
        name: pack.name.clone(),
        version: pack.version.clone(),
        content_hash: pack.content_hash(),
        texts: SplitSizes {
            examples: pack.examples().count(),
            validation: pack.validation.len(),
            test: pack.test.len(),
            out_of_scope_validation: pack.out_of_scope_validation.len(),
            out_of_scope_test: pack.out_of_scope_test.len(),
        },
        intents,
        rules_on_validation: rules.ok().filter(|_| !pack.validation.is_empty()).and_then(|rules| cover(pack, &rules)),
        warnings,
    }
}

fn summarise(pack: &Pack, rules: &Rules) -> Vec<IntentSummary> {
    let owners: Vec<usize> =
        pack.intents.iter().enumerate().flat_map(|(label, intent)| vec![label; intent.rules.len()]).collect();
    let measure = |texts: &mut dyn Iterator<Item = (&str, usize)>| {
        let mut counts = vec![(Matches::default(), Matches::default()); owners.len()];
        for (text, label) in texts {
            let matched = rules.matches(text);
            let undisputed = matched.windows(2).all(|pair| owners[pair[0]] == owners[pair[1]]);
            for rule in matched {
                counts[rule].0.add(owners[rule] == label);
                if undisputed {
                    counts[rule].1.add(owners[rule] == label);
                }
            }
        }
        counts
    };
    let on_examples = measure(&mut pack.examples());
    let on_validation = measure(&mut pack.validation.iter().map(|row| (&*row.text, row.label)));
    let mut counts = on_examples.into_iter().zip(on_validation);
    let rows_of = |rows: &[super::LabelledText], label| rows.iter().filter(|row| row.label == label).count();
    let summary = |(label, intent): (usize, &super::Intent)| IntentSummary {
        name: intent.name.clone(),
        examples: intent.examples.len(),
        validation: rows_of(&pack.validation, label),
        test: rows_of(&pack.test, label),
        rules: intent
            .rules
            .iter()
            .zip(counts.by_ref())
            .map(|(rule, ((on_examples, on_undisputed_examples), (on_validation, _)))| RuleSummary {
                name: rule.name.clone(),
                weight: rule.weight,
                on_examples,
                on_undisputed_examples,
                on_validation,
            })
            .collect(),
    };
    pack.intents.iter().enumerate().map(summary).collect()
}

fn cover(pack: &Pack, rules: &Rules) -> Option<RulesCoverage> {
    let answer = |text: &str| {
        let scores = rules.score(&[&Document::new(text)]).ok()?.pop()?;
        let prediction = Calibration::IDENTITY.apply(&scores);
        let best = prediction.ranking()[0];
        (prediction.confidences[best] >= ACCEPT_THRESHOLD).then_some(best)
    };
    let answers: Vec<(usize, usize)> =
        pack.validation.iter().filter_map(|row| Some((row.label, answer(&row.text)?))).collect();
    Some(RulesCoverage {
        threshold: ACCEPT_THRESHOLD,
        texts: pack.validation.len(),
        answered: answers.len(),
        correct: answers.iter().filter(|(expected, found)| expected == found).count(),
        out_of_scope_answered: pack.out_of_scope_validation.iter().filter(|text| answer(text).is_some()).count(),
    })
}

fn warn_of_intents(pack: &Pack, warnings: &mut Vec<String>) {
    for intent in &pack.intents {
        let name = &intent.name;
        let snake_case = |char: char| char.is_lowercase() || char.is_numeric() || char == '_';
        if !name.chars().all(snake_case) || name.starts_with('_') {
            warnings.push(format!("intent `{name}`: the name is not snake_case, as it will stand in URLs and metrics"));
        }
        if intent.description.split_whitespace().count() < FEW_WORDS {
            warnings.push(format!(
                "intent `{name}`: the description says little; name what belongs here and what does not, for \
                 `zero_shot` and for people"
            ));
        }
        if intent.examples.is_empty() && intent.rules.is_empty() {
            warnings.push(format!("intent `{name}`: has neither examples nor rules; only `zero_shot` can find it"));
        }
    }
    for (description, names) in groups(pack.intents.iter().map(|intent| (fold(&intent.description), &*intent.name))) {
        if names.len() > 1 {
            let names = names.join("`, `");
            warnings.push(format!("intents `{names}` have the same description: {description}"));
        }
    }
}

fn warn_of_texts(pack: &Pack, warnings: &mut Vec<String>) {
    let trained = pack.intents.iter().any(|intent| !intent.examples.is_empty());
    let few = |intent: &&super::Intent| intent.examples.len() < FEW_EXAMPLES;
    for intent in pack.intents.iter().filter(few).filter(|_| trained) {
        let (name, found) = (&intent.name, intent.examples.len());
        warnings.push(format!("intent `{name}`: has {found} examples; trained models need at least {FEW_EXAMPLES}"));
    }
    let by_size = |intent: &&super::Intent| intent.examples.len();
    if let (Some(least), Some(most)) =
        (pack.intents.iter().min_by_key(by_size), pack.intents.iter().max_by_key(by_size))
        && most.examples.len() > IMBALANCE * least.examples.len().max(1)
    {
        warnings.push(format!(
            "intent `{}` has {} examples and `{}` only {}; trained models will prefer the former",
            most.name,
            most.examples.len(),
            least.name,
            least.examples.len()
        ));
    }
    if trained && pack.validation.is_empty() {
        warnings.push("there is no `validation.jsonl`; thresholds come from cross-validation alone".to_owned());
    }
    if trained && pack.out_of_scope_validation.is_empty() {
        warnings.push("there is no `out_of_scope_validation.jsonl`; the out-of-scope threshold is a guess".to_owned());
    }
}

fn warn_of_rules(pack: &Pack, summaries: &[IntentSummary], warnings: &mut Vec<String>) {
    for intent in summaries {
        for rule in intent.rules.iter().filter(|rule| rule.on_undisputed_examples.matched >= ENOUGH_MATCHES) {
            let Matches { matched, correct } = rule.on_undisputed_examples;
            if (correct as f64) < matched as f64 * (f64::from(rule.weight) - OVERCONFIDENCE) {
                warnings.push(format!(
                    "rule `{}/{}`: weight {} but right in only {correct} of {matched} examples that no rule of another intent \
                     matches",
                    intent.name, rule.name, rule.weight
                ));
            }
        }
    }
    let phrases = pack.intents.iter().flat_map(|intent| {
        intent.rules.iter().flat_map(move |rule| match &rule.pattern {
            Pattern::Phrases(entries) => {
                entries.iter().map(|entry| (fold(entry), format!("{}/{}", intent.name, rule.name))).collect()
            }
            _ => Vec::new(),
        })
    });
    for (phrase, rules) in groups(phrases).into_iter().filter(|(_, rules)| rules.len() > 1) {
        warnings.push(format!("phrase `{phrase}` stands in several rules: `{}`", rules.join("`, `")));
    }
}

/// Gathers what has the same key, in the order of the keys.
fn groups<T>(pairs: impl Iterator<Item = (String, T)>) -> Vec<(String, Vec<T>)> {
    let mut groups: HashMap<String, Vec<T>> = HashMap::new();
    pairs.for_each(|(key, value)| groups.entry(key).or_default().push(value));
    groups.into_iter().collect::<BTreeMap<_, _>>().into_iter().collect()
}

impl fmt::Display for PackReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "pack `{}` version {} ({})", self.name, self.version, &self.content_hash[..12])?;
        let SplitSizes { examples, validation, test, out_of_scope_validation, out_of_scope_test } = self.texts;
        writeln!(
            f,
            "{} intents, {examples} examples, {validation} validation and {test} test texts, \
             {out_of_scope_validation} and {out_of_scope_test} out of scope",
            self.intents.len()
        )?;
        let width =
            self.intents.iter().flat_map(|intent| intent.rules.iter().map(|rule| rule.name.chars().count() + 2));
        let width = width.chain(self.intents.iter().map(|intent| intent.name.chars().count())).max().unwrap_or(0);
        writeln!(f, "\n{:width$}  examples  validation    test  rules", "intent")?;
        for intent in &self.intents {
            let IntentSummary { name, examples, validation, test, rules } = intent;
            writeln!(f, "{name:width$}  {examples:8}  {validation:10}  {test:6}  {:5}", rules.len())?;
        }
        if self.intents.iter().any(|intent| !intent.rules.is_empty()) {
            writeln!(f, "\n{:width$}  weight  right/matched in examples, undisputed, in validation", "rule")?;
        }
        for intent in self.intents.iter().filter(|intent| !intent.rules.is_empty()) {
            writeln!(f, "{}", intent.name)?;
            for rule in &intent.rules {
                let RuleSummary { name, weight, on_examples, on_undisputed_examples, on_validation } = rule;
                let rule_width = width - 2;
                write!(f, "  {name:rule_width$}  {weight:6.3}  {on_examples}  {on_undisputed_examples}")?;
                writeln!(f, "  {on_validation}")?;
            }
        }
        if let Some(coverage) = &self.rules_on_validation {
            writeln!(f, "\n{coverage}")?;
        }
        for (index, warning) in self.warnings.iter().enumerate() {
            write!(f, "{}warning: {warning}", if index == 0 { "\n" } else { "" })?;
            writeln!(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Matches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = self.precision().map_or_else(|| "     -".to_owned(), |share| format!("{:5.1}%", 100.0 * share));
        write!(f, "{:5}/{:<5} {share}", self.correct, self.matched)
    }
}

impl fmt::Display for RulesCoverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { threshold, texts, answered, correct, out_of_scope_answered } = self;
        let share = |part: usize, whole: usize| 100.0 * part as f64 / whole.max(1) as f64;
        write!(
            f,
            "rules alone answer {answered} of {texts} validation texts ({:.1}%) with confidence {threshold} or more, \
             {correct} of them rightly ({:.1}%), and {out_of_scope_answered} out-of-scope texts",
            share(*answered, *texts),
            share(*correct, *answered)
        )
    }
}
