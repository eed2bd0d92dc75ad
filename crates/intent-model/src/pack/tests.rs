use std::fs;

use proptest::prelude::*;

use super::*;

/// Two intents that load; mistakes are put behind them.
const GOOD: &str = r#"name = "sample"
version = "1"
[[intents]]
name = "hello"
description = "opens a talk"
examples = ["hi", "good day"]
[[intents]]
name = "goodbye"
description = "ends a talk"
"#;

/// The problems of a pack as `code place intent`, and their messages.
fn problems(files: &[(&str, &str)]) -> Vec<(String, String)> {
    let Err(errors) = Pack::load_embedded(files) else { return Vec::new() };
    let shown = |problem: &Problem| {
        let intent = problem.intent.as_ref().map_or_else(String::new, |intent| format!(" {intent}"));
        (format!("{} {}{intent}", problem.code.as_str(), problem.place), problem.message.clone())
    };
    errors.problems().iter().map(shown).collect()
}

fn heads(files: &[(&str, &str)]) -> Vec<String> {
    problems(files).into_iter().map(|(head, _)| head).collect()
}

#[test]
fn every_mistake_in_the_definition_is_found_with_its_line_and_intent() {
    let rule = |rule: &str| format!("{GOOD}[[intents.rules]]\n{rule}");
    let cases = [
        (format!("{GOOD}[[intents]]\nname = \"hello\"\ndescription = \"x\""), "duplicate_intent pack.toml:10 hello"),
        (
            format!("{GOOD}[[intents]]\nname = \"out_of_scope\"\ndescription = \"x\""),
            "reserved_name pack.toml:10 out_of_scope",
        ),
        (format!("{GOOD}[[intents]]\nname = \"a\\nb\"\ndescription = \"x\""), "invalid_name pack.toml:11"),
        (format!("{GOOD}[[intents]]\nname = \"third\""), "missing_key pack.toml:10 third"),
        (format!("{GOOD}[[intents]]\ndescription = \"third\""), "missing_key pack.toml:10"),
        (format!("{GOOD}[[intents]]\nname = \"third\"\ndescription = \"  \""), "empty pack.toml:12 third"),
        (format!("{GOOD}examples = [\n\"a\",\n\" \"]"), "empty pack.toml:12 goodbye"),
        (format!("{GOOD}examples = [\n\"a\",\n\"A  \"]"), "duplicate_example pack.toml:12 goodbye"),
        (format!("{GOOD}examples = [\n\"a\",\n\"HI\"]"), "conflicting_example pack.toml:12 goodbye"),
        (format!("{GOOD}examples = [\n\"a\",\n3]"), "wrong_type pack.toml:12 goodbye"),
        (format!("{GOOD}examples = \"a\""), "wrong_type pack.toml:10 goodbye"),
        (format!("{GOOD}example = [\"a\"]"), "unknown_key pack.toml:10 goodbye"),
        (format!("{GOOD}attributes = 3"), "wrong_type pack.toml:10 goodbye"),
        (format!("{GOOD}attributes = {{ a = nan }}"), "wrong_type pack.toml:10 goodbye"),
        (format!("{GOOD}rules = [1]"), "wrong_type pack.toml:10 goodbye"),
        (rule("phrases = [\"bye\"]"), "missing_key pack.toml:10 goodbye"),
        (rule("phrases = [\"bye\"]\nweight = \"high\""), "wrong_type pack.toml:12 goodbye"),
        (rule("phrases = [\"bye\"]\nweight = 1"), "weight_out_of_range pack.toml:12 goodbye"),
        (rule("phrases = [\"bye\"]\nweight = 0.0"), "weight_out_of_range pack.toml:12 goodbye"),
        (rule("phrases = [\"bye\"]\nweight = nan"), "weight_out_of_range pack.toml:12 goodbye"),
        (rule("phrases = [\"bye\"]\nweight = 0.999999999999"), "weight_out_of_range pack.toml:12 goodbye"),
        (rule("phrases = [\"bye\"]\nregex = \"x\"\nweight = 0.5"), "rule_kind pack.toml:10 goodbye"),
        (rule("weight = 0.5"), "rule_kind pack.toml:10 goodbye"),
        (rule("phrases = []\nweight = 0.5"), "empty pack.toml:10 goodbye"),
        (rule("phrases = [\"x y\",\n\" \u{200B}\"]\nweight = 0.5"), "matches_everything pack.toml:12 goodbye"),
        (rule("keywords = [\"see|\"]\nweight = 0.5"), "matches_everything pack.toml:11 goodbye"),
        (rule("regex = \".*\"\nweight = 0.5"), "matches_everything pack.toml:11 goodbye"),
        (rule("regex = [\"bye\",\n\"(\"]\nweight = 0.5"), "invalid_regex pack.toml:12 goodbye"),
        (rule("regex = 3\nweight = 0.5"), "wrong_type pack.toml:11 goodbye"),
        (
            rule(
                "name = \"a\"\nphrases = [\"bye\"]\nweight = 0.5\n[[intents.rules]]\nname = \"a\"\nphrases = [\"see you\"]\nweight = 0.5",
            ),
            "duplicate_rule pack.toml:14 goodbye",
        ),
        (rule("phrase = [\"bye\"]\nphrases = [\"bye\"]\nweight = 0.5"), "unknown_key pack.toml:11 goodbye"),
        (format!("language = 3\n{GOOD}"), "wrong_type pack.toml:1"),
        (format!("{GOOD}name = "), "syntax pack.toml:10"),
        (format!("{GOOD}description = \"twice\""), "syntax pack.toml:10"),
        (GOOD.replace("[[intents]]", "[intents]"), "syntax pack.toml:7"),
        (GOOD[..GOOD.rfind("[[intents]]").unwrap()].to_owned(), "too_few_intents pack.toml:1"),
    ];
    for (toml, expected) in cases {
        assert!(
            heads(&[("pack.toml", &toml)]).contains(&expected.to_owned()),
            "{expected}: {:?}",
            problems(&[("pack.toml", &toml)])
        );
    }
    assert_eq!(problems(&[("pack.toml", GOOD)]), []);
}

#[test]
fn every_mistake_in_the_rows_is_found_with_its_line() {
    let row = |text: &str, intent: &str| format!("{{\"text\": \"{text}\", \"intent\": \"{intent}\"}}\n");
    let second = |line: String| format!("{}{line}", row("first", "hello"));
    let cases = [
        ("train.jsonl", second(row("x", "helo")), "unknown_intent train.jsonl:2"),
        ("train.jsonl", second(row("x", "out_of_scope")), "reserved_name train.jsonl:2"),
        ("train.jsonl", second("{\"text\": \"x\"}".into()), "missing_key train.jsonl:2"),
        ("train.jsonl", second("{\"text\": 3, \"intent\": \"hello\"}".into()), "syntax train.jsonl:2"),
        ("train.jsonl", second("{\"text\": \"x\", \"intent\": \"hello\", \"more\": 1}".into()), "syntax train.jsonl:2"),
        ("train.jsonl", second("not json".into()), "syntax train.jsonl:2"),
        ("train.jsonl", second(row(" ", "hello")), "empty train.jsonl:2 hello"),
        ("train.jsonl", second(row("HI", "hello")), "duplicate_example train.jsonl:2 hello"),
        ("train.jsonl", second(row("hi", "goodbye")), "conflicting_example train.jsonl:2 goodbye"),
        ("validation.jsonl", second(row("Good day!", "hello")), "leak validation.jsonl:2 hello"),
        ("test.jsonl", second(row("Hi.", "goodbye")), "leak test.jsonl:2 goodbye"),
        (
            "out_of_scope_validation.jsonl",
            "{\"text\": \"hi!\"}".into(),
            "leak out_of_scope_validation.jsonl:1 out_of_scope",
        ),
        ("out_of_scope_test.jsonl", row("blue seven", "hello"), "unknown_intent out_of_scope_test.jsonl:1"),
        ("trian.jsonl", String::new(), "unknown_file trian.jsonl"),
    ];
    for (file, rows, expected) in cases {
        assert_eq!(heads(&[("pack.toml", GOOD), (file, &rows)]), [expected], "{rows}");
    }
    let splits = [("pack.toml", GOOD), ("validation.jsonl", &*row("x", "hello")), ("test.jsonl", &*row("X?", "hello"))];
    assert_eq!(heads(&splits), ["leak test.jsonl:1 hello"]);
}

#[test]
fn all_problems_are_told_at_once_in_the_order_of_the_lines() {
    let toml = "nam = 'x'\nversion = 1\n[[intents]]\nname = 'out_of_scope'\nrules = [{ regex = '(', weight = 2 }]\n";
    let text = Pack::load_embedded(&[("pack.toml", toml)]).unwrap_err().to_string();
    insta::assert_snapshot!(text, @r"
    pack.toml:1: unknown key `nam` in the pack, expected one of `name`, `version`, `description`, `language`, `intents`, did you mean `name`? [unknown_key]
    pack.toml:1: the pack has no `name`, which is required [missing_key]
    pack.toml:1: has 1 `[[intents]]`, at least 2 are needed to tell anything apart [too_few_intents]
    pack.toml:2: `version` is of type integer, expected a string [wrong_type]
    pack.toml:3: intent `out_of_scope`: the intent has no `description`, which is required [missing_key]
    pack.toml:3: intent `out_of_scope`: the name is reserved for texts of no intent; they are recognised without being described [reserved_name]
    pack.toml:5: intent `out_of_scope`: `(` is not a regular expression: unclosed group [invalid_regex]
    pack.toml:5: intent `out_of_scope`: `weight` is not between 0 and 1; it is the confidence that this rule alone deserves, such as 0.9 [weight_out_of_range]
    ");
}

#[test]
fn a_slip_is_met_with_a_suggestion() {
    let toml = format!("{GOOD}[[intents.rules]]\nphrase = ['bye']\nweight = 0.5");
    let (_, message) = problems(&[("pack.toml", &toml)]).remove(1);
    assert_eq!(
        message,
        "unknown key `phrase` in the rule, expected one of `phrases`, `keywords`, `regex`, `weight`, `name`, \
         did you mean `phrases`?"
    );
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let code = |path: &Path| {
        let errors = Pack::load(path).unwrap_err();
        assert!(errors.problems()[0].place.file.starts_with(&folder.path().display().to_string()));
        (errors.problems()[0].code, errors.problems()[0].place.line)
    };
    assert_eq!(code(&folder.path().join("absent.toml")), (ProblemCode::Unreadable, None));
    assert_eq!(code(folder.path()), (ProblemCode::Unreadable, None));
    fs::write(folder.path().join("pack.toml"), b"name = 'x'\nversion = '\xFF'").unwrap();
    assert_eq!(code(folder.path()), (ProblemCode::NotUtf8, Some(2)));
    fs::write(folder.path().join("pack.toml"), GOOD).unwrap();
    assert!(Pack::load(folder.path()).is_ok());
    fs::write(folder.path().join("valid.jsonl"), "").unwrap();
    assert_eq!(code(folder.path()), (ProblemCode::UnknownFile, None));
}

#[test]
fn a_file_beyond_the_limit_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("big.toml");
    // A sparse file: its length is all that is looked at.
    fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
    assert_eq!(Pack::load(&path).unwrap_err().problems()[0].code, ProblemCode::TooLarge);
}

#[test]
fn a_folder_holds_the_splits_and_the_examples_of_both_places() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write("pack.toml", GOOD);
    write("README.md", "not read");
    write(
        "train.jsonl",
        "{\"text\": \"morning\", \"intent\": \"hello\"}\n\n{\"text\": \"bye\", \"intent\": \"goodbye\"}",
    );
    write("validation.jsonl", "\u{FEFF}{\"text\": \"see you\", \"intent\": \"goodbye\"}\r\n");
    write("out_of_scope_test.jsonl", "{\"text\": \"12\"}\n{\"text\": \"13\", \"intent\": \"out_of_scope\"}\n");
    let pack = Pack::load(folder.path()).unwrap();
    assert_eq!(pack.examples().collect::<Vec<_>>(), [("hi", 0), ("good day", 0), ("morning", 0), ("bye", 1)]);
    assert_eq!(pack.validation, [LabelledText { text: "see you".into(), label: 1 }]);
    assert_eq!(pack.out_of_scope_test, ["12", "13"]);
}

#[test]
fn a_pack_written_as_toml_loads_as_the_same_pack() {
    let toml = format!(
        "description = 'say \"hi\"'\nlanguage = 'en'\n{GOOD}examples = ['two\\nlines', \"three\\n\\\"lines\\\"\\t\\u0007\"]\n\
         [intents.attributes]\ndeep = {{ list = [1, 2.5, true, 'x'] }}\nwhen = 2020-01-01\n\
         [[intents.rules]]\nregex = ['\\bbye\\b', \"it's 'over'\"]\nweight = 0.9\n\
         [[intents.rules]]\nphrases = ['bye']\nweight = 0.123456\n\
         [[intents.rules]]\nphrases = ['Bye!', 'so long']\nweight = 1e-3\n\
         [[intents.rules]]\nkeywords = ['see|meet', 'later']\nweight = 0.5\n"
    );
    let pack = Pack::load_embedded(&[("pack.toml", &toml)]).unwrap();
    let names: Vec<&str> = pack.intents[1].rules.iter().map(|rule| &*rule.name).collect();
    assert_eq!(names, ["rule-1", "bye", "bye-2", "see-later"]);
    let again = Pack::load_embedded(&[("pack.toml", &pack.to_toml())]).unwrap();
    assert_eq!(again, pack);
    assert_eq!(again.content_hash(), pack.content_hash());
    assert_eq!(pack.content_hash().len(), 64);
}

#[test]
fn the_hash_follows_what_is_served_and_trained() {
    let pack = Pack::load_embedded(&[("pack.toml", GOOD)]).unwrap();
    let mut other = pack.clone();
    other.validation.push(LabelledText { text: "x".into(), label: 0 });
    assert_eq!(other.content_hash(), pack.content_hash());
    other.intents[0].examples.pop();
    assert_ne!(other.content_hash(), pack.content_hash());
}

#[test]
fn the_template_loads_under_any_name() {
    for name in ["support", "a \"quoted\" name", "päckchen"] {
        let pack = Pack::load_embedded(&[("pack.toml", &Pack::template(name))]).unwrap();
        assert_eq!((pack.name.as_str(), pack.intents.len()), (name, 2));
    }
}

#[test]
fn a_pack_is_made_of_labels_and_examples_alone() {
    let labels = Labels::new(["card_arrival", "Refund_not_showing_up", "reverted_card_payment?"]);
    let examples = [("where is it", 0), ("Where is  it", 1), ("give it back", 1), ("give it back", 1), (" ", 2)];
    let pack = Pack::from_examples("banking", &labels, examples).unwrap();
    assert_eq!(pack.labels(), labels);
    assert_eq!(pack.examples().collect::<Vec<_>>(), [("where is it", 0), ("give it back", 1)]);
    assert_eq!(pack.intents[1].description, "refund not showing up");
    assert_eq!(pack.intents[2].description, "reverted card payment");
    let one = Pack::from_examples("x", &Labels::new(["a"]), []).unwrap_err();
    assert_eq!(one.problems()[0].code, ProblemCode::TooFewIntents);
}

#[test]
fn a_report_counts_measures_and_warns() {
    let toml = format!(
        "{GOOD}examples = ['so long', 'bye then']\n[[intents.rules]]\nphrases = ['bye']\nweight = 0.9\n\
         [[intents.rules]]\nkeywords = ['good']\nweight = 0.3\n"
    );
    let rows = "{\"text\": \"bye\", \"intent\": \"goodbye\"}\n{\"text\": \"bye or not\", \"intent\": \"hello\"}\n{\"text\": \"hey\", \"intent\": \"hello\"}\n";
    let files =
        [("pack.toml", &*toml), ("validation.jsonl", rows), ("out_of_scope_validation.jsonl", "{\"text\": \"bye 5\"}")];
    let report = Pack::load_embedded(&files).unwrap().report();
    insta::assert_snapshot!(report.to_string().replace(&report.content_hash[..12], "HASH"), @r"
    pack `sample` version 1 (HASH)
    2 intents, 4 examples, 3 validation and 0 test texts, 1 and 0 out of scope

    intent   examples  validation    test  rules
    hello           2           2       0      0
    goodbye         2           1       0      2

    rule     weight  right/matched in examples, undisputed, in validation
    goodbye
      bye     0.900      1/1     100.0%      1/1     100.0%      1/2      50.0%
      good    0.300      0/1       0.0%      0/1       0.0%      0/0          -

    rules alone answer 2 of 3 validation texts (66.7%) with confidence 0.85 or more, 1 of them rightly (50.0%), and 1 out-of-scope texts

    warning: intent `hello`: the description says little; name what belongs here and what does not, for `zero_shot` and for people
    warning: intent `goodbye`: the description says little; name what belongs here and what does not, for `zero_shot` and for people
    warning: intent `hello`: has 2 examples; trained models need at least 20
    warning: intent `goodbye`: has 2 examples; trained models need at least 20
    ");
    assert_eq!(serde_json::to_value(&report).unwrap()["intents"][1]["rules"][0]["on_validation"]["matched"], 2);
}

#[test]
fn names_become_words() {
    for (name, words) in [
        ("card_arrival", "card arrival"),
        ("CardArrival2Go", "card arrival2 go"),
        ("ATM-fee?", "atm fee"),
        ("?!", "?!"),
    ] {
        assert_eq!(words_of_name(name), words);
    }
}

proptest! {
    #[test]
    fn no_file_makes_loading_panic(toml in any::<String>(), rows in any::<String>()) {
        let _ = Pack::load_embedded(&[("pack.toml", &toml)]);
        let _ = Pack::load_embedded(&[("pack.toml", GOOD), ("train.jsonl", &rows)]);
    }

    #[test]
    fn no_mutation_of_a_good_file_makes_loading_panic(position in 0usize..2_000, piece in "[\\[\\]{}=\"'#\\n,.a-z0-9|\\\\]{0,6}") {
        let mut toml = Pack::template("t");
        let position = (0..=position.min(toml.len())).rev().find(|offset| toml.is_char_boundary(*offset)).unwrap();
        toml.insert_str(position, &piece);
        if let Ok(pack) = Pack::load_embedded(&[("pack.toml", &toml)]) {
            prop_assert_eq!(Pack::load_embedded(&[("pack.toml", &pack.to_toml())]).unwrap(), pack);
        }
    }

    #[test]
    fn any_examples_make_a_pack_that_loads(texts in proptest::collection::vec((any::<String>(), 0usize..2), 0..20)) {
        let labels = Labels::new(["a", "b"]);
        let pack = Pack::from_examples("p", &labels, texts.iter().map(|(text, label)| (text.as_str(), *label))).unwrap();
        prop_assert!(pack.examples().count() <= texts.len());
    }
}
