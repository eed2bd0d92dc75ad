//! The one way in which every model folds a text before it looks at words or characters.

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// Returns the text as models compare it, so that texts which read the same are the same.
///
/// Compatibility-normalised (NFKC, Unicode Standard Annex 15), lower case, every run of white space and control
/// characters one space, none at either end; typographic quotes and dashes become their ASCII forms, and characters
/// that take no room (zero-width space, joiners, soft hyphen, byte-order mark, direction marks) are dropped, so that
/// they cannot hide a word. Linear in the length of the text; the result is at most 18 times as long (U+FDFA).
pub fn fold(text: &str) -> String {
    let mut output = Output { folded: String::with_capacity(text.len()), space_due: false };
    let mut rest = text;
    while !rest.is_empty() {
        let ascii = rest.bytes().position(|byte| !byte.is_ascii()).unwrap_or(rest.len());
        // What follows may be a combining mark, which belongs to the last ASCII character.
        let plain = if ascii == rest.len() { ascii } else { ascii.saturating_sub(1) };
        rest[..plain].bytes().for_each(|byte| output.push_ascii(byte));
        rest = &rest[plain..];

        let start = ascii - plain;
        let end = rest[start..].bytes().position(|byte| byte.is_ascii()).map_or(rest.len(), |length| start + length);
        rest[..end].nfkc().for_each(|char| output.push(char));
        rest = &rest[end..];
    }
    output.folded
}

/// Returns the folded text without punctuation and symbols, or the folded text when nothing else is in it.
///
/// Two texts with the same key say the same thing to every model: one must not train what the other tests.
pub fn comparison_key(text: &str) -> String {
    let folded = fold(text);
    let words: Vec<&str> = folded.split(|char: char| !is_letter(char)).filter(|word| !word.is_empty()).collect();
    if words.is_empty() { folded } else { words.join(" ") }
}

/// Tells whether a word of folded text cannot end between two characters if both are of this kind.
///
/// Letters, digits, combining marks and the underscore, except in scripts that write words without spaces between
/// them (Chinese, Japanese, Thai, Lao, Khmer, Burmese), where every position may be the edge of a word.
pub(crate) fn is_word_character(char: char) -> bool {
    if char.is_ascii() {
        return char.is_ascii_alphanumeric() || char == '_';
    }
    is_letter(char) && !is_written_without_spaces(char)
}

fn is_letter(char: char) -> bool {
    char.is_alphanumeric() || char == '_' || is_combining_mark(char)
}

fn is_written_without_spaces(char: char) -> bool {
    matches!(u32::from(char),
        0x0E00..=0x0EFF                       // Thai, Lao
        | 0x1000..=0x109F | 0x1780..=0x17FF   // Burmese, Khmer
        | 0x3005..=0x3007 | 0x3040..=0x30FF | 0x31F0..=0x31FF  // Japanese
        | 0x3400..=0x4DBF | 0x4E00..=0x9FFF | 0xF900..=0xFAFF | 0x20000..=0x3FFFF) // Han
}

struct Output {
    folded: String,
    space_due: bool,
}

impl Output {
    fn push_ascii(&mut self, byte: u8) {
        if byte <= b' ' || byte == 0x7F {
            self.space_due = true;
        } else {
            self.push_visible(char::from(byte.to_ascii_lowercase()));
        }
    }

    fn push(&mut self, char: char) {
        match char {
            _ if char.is_whitespace() || char.is_control() => self.space_due = true,
            '\u{AD}' | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{2064}' | '\u{FEFF}' => {}
            '\u{2018}'..='\u{201B}' | '\u{2BC}' => self.push_visible('\''),
            '\u{201C}'..='\u{201F}' => self.push_visible('"'),
            '\u{2010}'..='\u{2015}' => self.push_visible('-'),
            // Lower case of the capital sigma depends on its place in the word; one form for all places.
            'ς' => self.push_visible('σ'),
            _ => char.to_lowercase().for_each(|lower| self.push_visible(lower)),
        }
    }

    fn push_visible(&mut self, char: char) {
        if self.space_due && !self.folded.is_empty() {
            self.folded.push(' ');
        }
        self.space_due = false;
        self.folded.push(char);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn texts_that_read_the_same_fold_to_the_same() {
        let cases = [
            ("  Write\ta\r\n POEM ", "write a poem"),
            ("What’s “this” — now", "what's \"this\" - now"),
            ("cafe\u{301}", "café"),
            ("ＦＵＬＬ　ｗｉｄｔｈ ＣＡＦÉ", "full width café"),
            ("ﬁne", "fine"),
            ("tra\u{200B}ns\u{AD}late", "translate"),
            ("ΣΊΣΥΦΟΣ", "σίσυφοσ"),
            ("σίσυφος", "σίσυφοσ"),
            ("Straße", "straße"),
            ("a\u{0}b", "a b"),
            ("\u{FEFF}\u{200B} ", ""),
            ("東京 の 天気", "東京 の 天気"),
        ];
        for (text, folded) in cases {
            assert_eq!(fold(text), folded, "for {text:?}");
        }
    }

    #[test]
    fn a_comparison_ignores_punctuation_but_not_a_text_of_punctuation_alone() {
        assert_eq!(comparison_key("Hello, world!!"), comparison_key("hello world"));
        assert_eq!(comparison_key("?!"), "?!");
        assert_ne!(comparison_key("a b"), comparison_key("ab"));
    }

    #[test]
    fn the_folded_text_of_one_character_folds_to_itself() {
        let changed: Vec<char> =
            (char::MIN..=char::MAX).filter(|char| fold(&fold(&char.to_string())) != fold(&char.to_string())).collect();
        assert_eq!(changed, [], "these characters fold to something that folds further");
    }

    proptest! {
        #[test]
        fn folding_in_pieces_at_ascii_spaces_equals_folding_at_once(a in "\\PC*", b in "\\PC*") {
            let (left, right) = (fold(&a), fold(&b));
            let expected = [left, right].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ");
            // A piece that begins with a combining mark combines with the space before it; nothing else does.
            prop_assume!(!b.starts_with(is_combining_mark));
            prop_assert_eq!(fold(&format!("{a} {b}")), expected);
        }

        #[test]
        fn any_text_folds_without_outer_or_double_spaces(text in any::<String>()) {
            let folded = fold(&text);
            prop_assert_eq!(folded.trim(), folded.as_str());
            prop_assert!(!folded.contains("  "));
        }
    }
}
