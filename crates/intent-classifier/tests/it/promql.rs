//! Which metrics a query names.

use std::collections::BTreeSet;

/// Words of the language that are neither functions nor metrics.
const KEYWORDS: [&str; 12] =
    ["and", "or", "unless", "by", "on", "ignoring", "group_left", "group_right", "without", "bool", "offset", "inf"];

/// Returns the names of the metrics in a query: what is left without strings, selectors, ranges, label lists and functions.
pub(crate) fn metrics_in(query: &str) -> BTreeSet<String> {
    let bare = without_label_lists(&without_enclosed(&without_strings(query)));
    let mut names = BTreeSet::new();
    let is_part = |character: char| character.is_ascii_alphanumeric() || matches!(character, '_' | ':' | '$');
    let mut rest = bare.as_str();
    while let Some(start) = rest.find(is_part) {
        rest = &rest[start..];
        let end = rest.find(|character| !is_part(character)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let is_name = !word.starts_with(|first: char| first.is_ascii_digit() || first == '$');
        if is_name && !after.trim_start().starts_with('(') && !KEYWORDS.contains(&word) {
            names.insert(word.to_owned());
        }
        rest = after;
    }
    names
}

fn without_strings(query: &str) -> String {
    query.split('"').step_by(2).collect()
}

fn without_enclosed(query: &str) -> String {
    let mut depth = 0_u32;
    let outside = |character: &char| match character {
        '{' | '[' => {
            depth += 1;
            false
        }
        '}' | ']' => {
            depth -= 1;
            false
        }
        _ => depth == 0,
    };
    query.chars().filter(outside).collect()
}

fn without_label_lists(query: &str) -> String {
    let mut query = query.replace('\n', " ");
    for word in [" by (", " on (", " ignoring ("] {
        while let Some(at) = query.find(word) {
            let end = query[at..].find(')').expect("a list ends") + at;
            query.replace_range(at..=end, " ");
        }
    }
    query
}

#[test]
fn the_names_of_a_query_are_found() {
    let query =
        r#"sum by (le, job) (rate(a_bucket{le="x", b="c"}[5m])) / on (job) group_left job:e:rate5m > 0.5 and f"#;
    let names: Vec<String> = metrics_in(query).into_iter().collect();
    assert_eq!(names, ["a_bucket", "f", "job:e:rate5m"]);
}
