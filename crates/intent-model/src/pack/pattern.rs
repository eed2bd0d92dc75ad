//! The patterns of rules: what is a good one.

use super::{Pattern, expression::Expression};
use crate::text::{fold, is_word_character};

/// Texts without a common word, letter by letter as unlike as their script allows. What matches all texts of the script
/// in which a pack's language is written recognises that script, not an intent.
const UNRELATED_TEXTS: [(Script, &[&str]); 4] = [
    (Script::Latin, &["hello", "tax form 1040", "why?", "big cats jump", "my dog ran up", "fix it", "ok", "wynn"]),
    (Script::Han, &["你好", "税表", "为什么", "大猫跳", "天気"]),
    (Script::Cyrillic, &["привет", "как суп", "мы тут", "эхо"]),
    (Script::Arabic, &["مرحبا", "كيف", "لون", "شجرة"]),
];

/// The scripts for which there are unrelated texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Script {
    Latin,
    Han,
    Cyrillic,
    Arabic,
}

impl Script {
    /// Returns the script that texts in a language, given as a BCP 47 tag, are mostly written in.
    pub(super) fn of_language(tag: &str) -> Self {
        match tag.split(['-', '_']).next().unwrap_or_default().to_ascii_lowercase().as_str() {
            "zh" | "ja" | "yue" => Self::Han,
            "ru" | "uk" | "bg" | "sr" | "mk" | "be" | "kk" | "ky" | "mn" | "tg" => Self::Cyrillic,
            "ar" | "fa" | "ur" | "ps" | "ckb" => Self::Arabic,
            _ => Self::Latin,
        }
    }
}

/// Tells whether all texts of a script match; of any script, when it is not known which one counts.
fn matches_everything(script: Option<Script>, matches: impl Fn(&str) -> bool) -> bool {
    UNRELATED_TEXTS
        .iter()
        .filter(|(of, _)| script.is_none_or(|script| script == *of))
        .any(|(_, texts)| texts.iter().all(|text| matches(&fold(text))))
}

/// Returns the alternatives of one keyword entry, folded.
pub(crate) fn keyword_alternatives(entry: &str) -> impl Iterator<Item = String> {
    entry.split('|').map(fold)
}

const MATCHES_EVERYTHING: &str = "matches unrelated texts of every kind";

/// Says why a phrase or a keyword entry is no good for texts of a script, if it is none.
pub(super) fn words_fault(pattern: &Pattern, entry: &str, script: Option<Script>) -> Option<&'static str> {
    let alternatives: Vec<String> = match pattern {
        Pattern::Keywords(_) => keyword_alternatives(entry).collect(),
        _ => vec![fold(entry)],
    };
    if alternatives.iter().any(String::is_empty) {
        return Some("is empty, so that it would match every text");
    }
    let occurs = |text: &str| alternatives.iter().any(|words| occurs_as_words(text, words));
    matches_everything(script, occurs).then_some(MATCHES_EVERYTHING)
}

/// Says why an expression that compiles is no good for texts of a script, if it is none.
pub(super) fn expression_fault(expression: &Expression, script: Option<Script>) -> Option<&'static str> {
    match expression.shortest() {
        None => Some("can never match"),
        Some(0) => Some("can match without reading a character, so that it matches every text"),
        Some(_) => matches_everything(script, |text| expression.is_match(text)).then_some(MATCHES_EVERYTHING),
    }
}

fn occurs_as_words(text: &str, words: &str) -> bool {
    text.match_indices(words).any(|(start, found)| is_whole(text, start, start + found.len()))
}

/// Tells whether `text[start..end]` does not cut a word of a folded text in two.
pub(crate) fn is_whole(text: &str, start: usize, end: usize) -> bool {
    is_boundary(text, start) && is_boundary(text, end)
}

fn is_boundary(text: &str, offset: usize) -> bool {
    let before = text[..offset].chars().next_back();
    let after = text[offset..].chars().next();
    !(before.is_some_and(is_word_character) && after.is_some_and(is_word_character))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_that_matches_everything_is_found_out() {
        for expression in [".*", "a*", "", "^", r"\b", "(x|)", ".+", r"\w", r"\w+", "[a-z]", "(?s).", "[^0-9]", r"\S+$"]
        {
            let compiled = Expression::compile(expression).unwrap();
            assert!(expression_fault(&compiled, None).is_some(), "{expression:?} matches everything");
        }
        for expression in ["^hello", r"\bfix\b", "[0-9]", r"\?$", r"translate .* into \w+", "今日"] {
            let compiled = Expression::compile(expression).unwrap();
            assert_eq!(expression_fault(&compiled, None), None, "{expression:?} is a good rule");
        }
    }

    #[test]
    fn a_script_is_everything_only_in_the_languages_that_use_it() {
        let han = Expression::compile(r"\p{Han}").unwrap();
        assert!(expression_fault(&han, Some(Script::of_language("zh-Hant"))).is_some());
        assert!(expression_fault(&han, None).is_some());
        assert_eq!(expression_fault(&han, Some(Script::of_language("en"))), None);
    }

    #[test]
    fn a_phrase_begins_and_ends_between_words() {
        assert!(occurs_as_words("say hi!", "hi"));
        assert!(!occurs_as_words("this", "hi"));
        assert!(occurs_as_words("write c++ code", "c++"));
        assert!(occurs_as_words("请翻译这句话", "翻译"));
        assert!(!occurs_as_words("naïveté", "naïvet"));
    }
}
