//! Reads a page of metrics, and refuses what is not exactly as the format says.

use std::collections::{BTreeMap, BTreeSet};

/// A page of metrics in OpenMetrics or classic format.
#[derive(Debug, Default)]
pub(crate) struct Page {
    /// The kind of each family by the name that its `# TYPE` line has.
    pub(crate) families: BTreeMap<String, String>,
    /// Each series with its value.
    pub(crate) samples: BTreeMap<Series, f64>,
}

/// A series: the name of the sample and its labels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
}

impl Page {
    /// Reads a page.
    pub(crate) fn parse(text: &str) -> Self {
        let mut page = Self::default();
        let mut family = String::new();
        let mut helped = BTreeSet::new();
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, help) = help.split_once(' ').expect("a help line has a text");
                assert!(!help.is_empty() && helped.insert(name.to_owned()), "one help text for `{name}`");
                name.clone_into(&mut family);
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').expect("a type line has a kind");
                assert_eq!(name, family, "the type follows the help");
                assert!(page.families.insert(name.to_owned(), kind.to_owned()).is_none(), "one type for `{name}`");
            } else if !line.starts_with("# UNIT ") && line != "# EOF" {
                let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value in `{line}`"));
                let series = Series::parse(series);
                assert!(series.name.starts_with(&family), "`{line}` is not of the family `{family}`");
                let value = value.parse().unwrap_or_else(|_| panic!("`{line}` has a number"));
                assert!(page.samples.insert(series, value).is_none(), "`{line}` is there once");
            }
        }
        page
    }

    /// Returns the sum of all series of a name whose labels include these.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let has =
            |series: &Series| labels.iter().all(|(label, value)| series.labels.get(*label).is_some_and(|v| v == value));
        let of_name = self.samples.iter().filter(|(series, _)| series.name == name && has(series));
        of_name.map(|(_, value)| value).sum()
    }

    /// Returns the value of a series, when it is there.
    pub(crate) fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let labels = labels.iter().map(|(label, value)| ((*label).to_owned(), (*value).to_owned())).collect();
        self.samples.get(&Series { name: name.to_owned(), labels }).copied()
    }
}

impl Series {
    fn parse(text: &str) -> Self {
        let Some((name, labels)) = text.split_once('{') else {
            return Self { name: text.to_owned(), labels: BTreeMap::new() };
        };
        let labels = labels.strip_suffix('}').expect("labels end with a brace");
        let mut parsed = BTreeMap::new();
        let mut rest = labels;
        while !rest.is_empty() {
            let (label, after) = rest.split_once("=\"").expect("a label has a quoted value");
            // No value of ours holds a quote or a backslash; one that does would need escapes here.
            let (value, after) = after.split_once('"').expect("a value ends with a quote");
            assert!(!value.contains('\\') && parsed.insert(label.to_owned(), value.to_owned()).is_none(), "{text}");
            rest = after.strip_prefix(',').unwrap_or(after);
        }
        Self { name: name.to_owned(), labels: parsed }
    }
}
