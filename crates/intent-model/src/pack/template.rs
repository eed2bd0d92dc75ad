//! The text that `pack new` writes.

/// Returns a commented pack named `name`.
pub(super) fn template(name: &str) -> String {
    let name = toml::Value::from(name).to_string();
    format!("name = {name}{TEMPLATE}")
}

const TEMPLATE: &str = r#"
version = "0.1.0"
description = "What the texts are and what the answer is used for."
language = "en"

# One block per intent. Two intents are the least; `out_of_scope` needs no block: it is the answer for texts that
# belong to none of them.
[[intents]]
name = "opening_hours"
# For people and for the `zero_shot` model: what belongs here, and what looks similar but does not. One to three
# sentences. The better this is, the less examples are needed.
description = "The customer wants to know when a shop is open or closed. Not whether something is in stock."
# Anything you want back with every answer of this intent.
attributes = { team = "shops", priority = 2 }
# Real texts, as different from each other as possible: short and long, polite and curt, with typos. Ten make
# `zero_shot` good, a hundred make the trained models very good. Many examples are better kept beside this file, in
# `train.jsonl`, one {"text": "...", "intent": "opening_hours"} a line; `validation.jsonl` and `test.jsonl` are read
# too, and are never trained on.
examples = [
    "when do you open on sundays",
    "Are you still open at eight tonight?",
    "what time does the shop in the station close",
    "open on bank holidays??",
]

# A rule recognises an intent without any training, within microseconds. It has exactly one of `phrases`, `keywords`
# and `regex`, and a weight: the share of the texts it matches that really have this intent. Rules ignore case, kinds
# of quotes, and how many spaces there are.
[[intents.rules]]
# Any of these, anywhere in the text, as whole words.
phrases = ["opening hours", "opening times", "what time do you open", "what time do you close"]
weight = 0.95

[[intents.rules]]
# All of these, in any order, as whole words; `|` separates alternatives.
keywords = ["open|close|closed", "sunday|sundays|holiday|holidays|tonight|tomorrow"]
weight = 0.9

[[intents.rules]]
# A regular expression in Rust `regex` syntax, or a list of them. `name` appears in answers and logs.
name = "until-when"
regex = '\b(until|till) when\b.*\bopen\b'
weight = 0.9

[[intents]]
name = "stock"
description = "The customer wants to know whether an article is available, where, or when it will be again."
attributes = { team = "warehouse" }
examples = [
    "do you have the blue one in size 42",
    "Is the espresso machine back in stock?",
    "which of your shops still has garden chairs",
    "when will you get more of those lamps",
]

[[intents.rules]]
phrases = ["in stock", "out of stock", "sold out"]
weight = 0.95
"#;
