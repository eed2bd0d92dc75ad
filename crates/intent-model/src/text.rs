//! The one way in which every model folds a text before it looks at words or characters.

use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfkc_quick};

/// Returns the text in Unicode normalisation form NFKC (UAX #15) and in lower case.
///
/// `Ｗrite`, `WRITE` and `write` are the same word afterwards. The result may be longer or shorter than the text.
pub fn fold(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    match is_nfkc_quick(text.chars()) {
        IsNormalized::Yes => text.to_lowercase(),
        _ => text.nfkc().collect::<String>().to_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn width_case_and_composition_do_not_matter() {
        assert_eq!(fold("ＣＡＦÉ ﬁ"), "café fi");
        assert_eq!(fold("CAFE\u{301}"), "café");
        assert_eq!(fold("Hello"), "hello");
    }
}
