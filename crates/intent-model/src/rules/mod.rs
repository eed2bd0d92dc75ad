//! The model that needs no training: phrases, keywords and expressions of the intent pack.
//!
//! All phrases and keywords, and for every expression the words without which it cannot match, are looked for at once
//! by one Aho-Corasick automaton (Aho and Corasick 1975) over the folded text. Only the expressions whose words
//! occurred are run, and only on the part of the text around them; the few without such words are looked for together
//! as one set. Every part is linear in the length of the text, whatever the text, so no input can make it slow: with
//! 1,000 rules, 5,000 characters take some 40 microseconds (`cargo bench -p intent-model --bench rules`).
//!
//! # From rules to logits
//! A rule of weight `w` is evidence of `ln(w / (1 - w)) + ln(K - 1)` for its intent in a pack of `K` intents: the
//! logit that, with all others at 0, gives a confidence of exactly `w`. Rules of one intent rarely are independent, so
//! the strongest counts in full, the next half, the next a quarter, and so on; together they never take away more than
//! three quarters of the doubt that the strongest leaves. A rule counts once however often it matches. Rules of
//! different intents compete in the softmax. When nothing matches, all logits are 0: an abstention, whose confidence
//! is `1 / K`.

mod literals;
mod matcher;

use matcher::Matcher;

use crate::{Document, Labels, Model, ModelError, ModelKind, Scores, pack::Pack, text::fold};

/// The rules of a pack, compiled.
#[derive(Debug)]
pub struct Rules {
    labels: Labels,
    rules: Vec<CompiledRule>,
    matcher: Matcher,
}

/// What remains of a rule beside its patterns.
#[derive(Debug)]
struct CompiledRule {
    /// `intent/rule`, as answers name it.
    name: String,
    label: usize,
    weight: f32,
}

impl Rules {
    /// Compiles the rules of a pack.
    ///
    /// # Errors
    /// [`ModelError::InvalidFile`] when the patterns together are too large, or when a pack that was not loaded but
    /// put together by hand holds an expression that does not compile or a weight outside (0, 1).
    pub fn compile(pack: &Pack) -> Result<Self, ModelError> {
        let mut rules = Vec::new();
        let mut patterns = Vec::new();
        for (label, intent) in pack.intents.iter().enumerate() {
            for rule in &intent.rules {
                let name = format!("{}/{}", intent.name, rule.name);
                if !(rule.weight > 0.0 && rule.weight < 1.0) {
                    let reason = format!("the weight {} of rule `{name}` is not between 0 and 1", rule.weight);
                    return Err(ModelError::invalid(&pack.name, reason));
                }
                rules.push(CompiledRule { name, label, weight: rule.weight });
                patterns.push(&rule.pattern);
            }
        }
        let matcher = Matcher::compile(&patterns).map_err(|fault| {
            let rule = fault.rule.map_or_else(String::new, |rule| format!("rule `{}`: ", rules[rule].name));
            ModelError::invalid(&pack.name, format!("{rule}{}", fault.reason))
        })?;
        Ok(Self { labels: pack.labels(), rules, matcher })
    }

    /// Returns how many rules there are.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Tells whether there is no rule at all, so that every answer is an abstention.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Returns the name of a rule as `intent/rule`; rules are counted through all intents in the order of the pack.
    ///
    /// # Panics
    /// When `index` is not below [`Rules::len`].
    pub fn name(&self, index: usize) -> &str {
        &self.rules[index].name
    }

    /// Returns the indices of the rules that match a text, in ascending order.
    pub fn matches(&self, text: &str) -> Vec<usize> {
        self.matcher.matches(&fold(text))
    }

    fn score_one(&self, text: &str) -> Scores {
        let mut matched: Vec<&CompiledRule> = self.matches(text).into_iter().map(|index| &self.rules[index]).collect();
        // Stable: of two rules equally strong, the one that comes first in the pack decides.
        matched.sort_by(|a, b| a.label.cmp(&b.label).then(b.weight.total_cmp(&a.weight)));

        let mut scores = Scores {
            out_of_scope: Some(if matched.is_empty() { 1.0 } else { 0.0 }),
            ..Scores::from_logits(vec![0.0; self.labels.len()])
        };
        let mut best = 0.0;
        for rules in matched.chunk_by(|a, b| a.label == b.label) {
            let logit = self.logit(rules);
            scores.logits[rules[0].label] = logit;
            if logit > best {
                best = logit;
                scores.rule = Some(rules[0].name.clone());
            }
        }
        scores
    }

    /// Adds the evidence of rules of one intent, strongest first.
    fn logit(&self, rules: &[&CompiledRule]) -> f32 {
        let others = ((self.labels.len().max(2) - 1) as f32).ln();
        let evidence = |weight: f32| (weight / (1.0 - weight)).ln() + others;
        let strongest = rules[0].weight;
        let mut share = 1.0;
        let mut sum = 0.0;
        for rule in rules {
            sum += share * evidence(rule.weight);
            share /= 2.0;
        }
        sum.min(evidence(1.0 - (1.0 - strongest) / 4.0))
    }
}

impl Model for Rules {
    fn kind(&self) -> ModelKind {
        ModelKind::Rules
    }

    fn labels(&self) -> &Labels {
        &self.labels
    }

    fn score(&self, documents: &[&Document]) -> Result<Vec<Scores>, ModelError> {
        Ok(documents.iter().map(|document| self.score_one(document.text())).collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        Calibration,
        conformance::{self, Tolerance},
    };

    fn rules(toml: &str) -> Rules {
        let pack = Pack::load_embedded(&[("pack.toml", toml)]).unwrap();
        Rules::compile(&pack).unwrap()
    }

    fn sample() -> Rules {
        rules(
            r#"
            name = "sample"
            version = "1"
            [[intents]]
            name = "greeting"
            description = "hello"
            rules = [
                { phrases = ["good morning", "hello"], weight = 0.9, name = "hello" },
                { keywords = ["good|lovely", "morning|evening"], weight = 0.7, name = "time-of-day" },
                { regex = ['^hey\b', '\bGr[uü]ß(e|gott)?\b'], weight = 0.6, name = "hey" },
            ]
            [[intents]]
            name = "question"
            description = "asks"
            rules = [{ regex = '\?$', weight = 0.8, name = "mark" }, { phrases = ["翻译"], weight = 0.5, name = "cjk" }]
            [[intents]]
            name = "rest"
            description = "anything else"
            "#,
        )
    }

    fn names<'a>(rules: &'a Rules, text: &str) -> Vec<&'a str> {
        rules.matches(text).into_iter().map(|index| rules.name(index)).collect()
    }

    fn confidence(rules: &Rules, text: &str, label: usize) -> f32 {
        Calibration::IDENTITY.apply(&rules.score_one(text)).confidences[label]
    }

    #[test]
    fn rules_keep_the_contract_of_a_model() {
        conformance::check(&sample(), Tolerance::EXACT);
        let none = rules(
            "name='n'\nversion='1'\n[[intents]]\nname='a'\ndescription='a'\n[[intents]]\nname='b'\ndescription='b'",
        );
        conformance::check(&none, Tolerance::EXACT);
    }

    #[test]
    fn each_kind_of_rule_matches_what_it_says() {
        let rules = sample();
        let cases: [(&str, &[&str]); 13] = [
            ("Good   MORNING all", &["greeting/hello", "greeting/time-of-day"]),
            ("Othello", &[]),
            ("say hello!", &["greeting/hello"]),
            ("an evening so lovely", &["greeting/time-of-day"]),
            ("lovely goods", &[]),
            ("good good", &[]),
            ("hey you", &["greeting/hey"]),
            ("they say", &[]),
            ("Grüße aus Köln", &["greeting/hey"]),
            ("GRÜẞ dich", &["greeting/hey"]),
            ("请翻译这句话", &["question/cjk"]),
            ("well?  ", &["question/mark"]),
            ("hel\u{200B}lo", &["greeting/hello"]),
        ];
        for (text, expected) in cases {
            assert_eq!(names(&rules, text), expected, "for {text:?}");
        }
    }

    #[test]
    fn one_rule_alone_gives_its_weight_as_confidence() {
        let rules = sample();
        assert!((confidence(&rules, "hello", 0) - 0.9).abs() < 1e-6);
        assert!((confidence(&rules, "hey", 0) - 0.6).abs() < 1e-6);
        assert!((confidence(&rules, "what?", 1) - 0.8).abs() < 1e-6);
        assert_eq!(rules.score_one("hello hello hello"), rules.score_one("hello"));
    }

    #[test]
    fn two_rules_of_one_intent_are_surer_than_the_stronger_alone() {
        let both = confidence(&sample(), "good morning", 0);
        assert!(both > 0.9 && both <= 0.975 + 1e-6, "{both}");
    }

    #[test]
    fn rules_of_two_intents_compete_and_the_stronger_is_named() {
        let scores = sample().score_one("hello?");
        assert!(scores.logits[0] > scores.logits[1] && scores.logits[1] > 0.0);
        assert_eq!(scores.rule.as_deref(), Some("greeting/hello"));
        assert!(confidence(&sample(), "hello?", 0) < 0.9);
    }

    #[test]
    fn nothing_matched_is_an_abstention() {
        let scores = sample().score_one("the weather is fine");
        assert_eq!(scores.logits, [0.0; 3]);
        assert_eq!(scores.rule, None);
        assert_eq!(scores.out_of_scope, Some(1.0));
    }

    #[test]
    fn an_expression_put_in_by_hand_that_does_not_compile_is_named() {
        let mut pack = Pack::load_embedded(&[("pack.toml", &Pack::template("t"))]).unwrap();
        pack.intents[0].rules[0].pattern = crate::pack::Pattern::Regex(vec!["(".into()]);
        let error = Rules::compile(&pack).unwrap_err().to_string();
        assert!(error.contains("opening_hours/opening-hours") && error.contains("unclosed group"), "{error}");
    }

    proptest! {
        #[test]
        fn any_text_is_scored(text in any::<String>()) {
            let scores = sample().score_one(&text);
            prop_assert!(scores.logits.iter().all(|logit| logit.is_finite()));
        }

        #[test]
        fn a_phrase_is_found_in_any_surroundings(before in "\\PC*", after in "\\PC*") {
            // A combining mark would change the last letter of the phrase or the space before it.
            prop_assume!(!after.starts_with(unicode_normalization::char::is_combining_mark));
            let rules = sample();
            let text = format!("{before} Hello {after}");
            prop_assert!(names(&rules, &text).contains(&"greeting/hello"));
        }

        #[test]
        fn confidence_grows_with_the_weight(low in 0.01f32..0.98, step in 0.001f32..0.01) {
            let at = |weight: f32| {
                let mut pack = Pack::load_embedded(&[("pack.toml", &Pack::template("t"))]).unwrap();
                pack.intents[1].rules[0].weight = weight;
                confidence(&Rules::compile(&pack).unwrap(), "sold out", 1)
            };
            prop_assert!(at(low) < at(low + step));
        }
    }
}
