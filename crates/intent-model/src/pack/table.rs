//! Typed access to a TOML table that collects what is wrong with it.

use std::ops::Range;

use toml::{
    Spanned,
    de::{DeArray, DeTable, DeValue},
};

use super::{
    Place,
    problem::{ProblemCode, Problems, suggestion},
    source::SourceFile,
};

/// A string of a file and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Text {
    pub(super) text: String,
    pub(super) place: Place,
}

/// One table of a pack, read key by key.
#[derive(Debug)]
pub(super) struct Table<'a> {
    source: &'a SourceFile,
    table: &'a DeTable<'a>,
    /// The line on which the table begins.
    pub(super) place: Place,
    /// What the table describes, for messages.
    what: &'static str,
    intent: Option<String>,
}

impl<'a> Table<'a> {
    /// Looks at a table that describes `what`.
    pub(super) fn new(source: &'a SourceFile, table: &'a Spanned<DeTable<'a>>, what: &'static str) -> Self {
        Self { source, table: table.get_ref(), place: source.place(&table.span()), what, intent: None }
    }

    /// Records the keys that are not `known`.
    pub(super) fn refuse_unknown_keys(&self, known: &[&str], problems: &mut Problems) {
        for key in self.table.keys().filter(|key| !known.contains(&key.get_ref().as_ref())) {
            let known_keys = known.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ");
            let (name, what) = (key.get_ref(), self.what);
            let hint = suggestion(name, known.iter().copied());
            let message = format!("unknown key `{name}` in {what}, expected one of {known_keys}{hint}");
            self.problem(problems, ProblemCode::UnknownKey, &self.source.place(&key.span()), message);
        }
    }

    /// Names the intent that problems of this table belong to.
    pub(super) fn set_intent(&mut self, name: &str) {
        self.intent = Some(name.to_owned());
    }

    pub(super) fn intent(&self) -> Option<&str> {
        self.intent.as_deref()
    }

    /// Records a problem with this table.
    pub(super) fn problem(&self, problems: &mut Problems, code: ProblemCode, place: &Place, message: String) {
        problems.add(code, place, self.intent(), message);
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// A string that must be there and hold more than white space.
    pub(super) fn required_string(&self, key: &str, problems: &mut Problems) -> Option<Text> {
        if !self.has(key) {
            let message = format!("{} has no `{key}`, which is required", self.what);
            self.problem(problems, ProblemCode::MissingKey, &self.place, message);
            return None;
        }
        self.optional_string(key, problems)
    }

    /// A string that, if there, must hold more than white space.
    pub(super) fn optional_string(&self, key: &str, problems: &mut Problems) -> Option<Text> {
        let value = self.table.get(key)?;
        let place = self.source.place(&value.span());
        match value.get_ref() {
            DeValue::String(text) if text.trim().is_empty() => {
                self.problem(problems, ProblemCode::Empty, &place, format!("`{key}` is empty"));
                None
            }
            DeValue::String(text) => Some(Text { text: text.to_string(), place }),
            other => self.wrong_type(key, "a string", other, &place, problems),
        }
    }

    /// A list of strings, empty when the key is missing; a single string counts as a list of one if `single`.
    pub(super) fn strings(&self, key: &str, single: bool, problems: &mut Problems) -> Vec<Text> {
        let Some(value) = self.table.get(key) else { return Vec::new() };
        let place = self.source.place(&value.span());
        match value.get_ref() {
            DeValue::String(text) if single => vec![Text { text: text.to_string(), place }],
            DeValue::Array(array) => self.array_of_strings(key, array, problems),
            other => {
                let expected = if single { "a string or a list of strings" } else { "a list of strings" };
                self.wrong_type::<()>(key, expected, other, &place, problems);
                Vec::new()
            }
        }
    }

    fn array_of_strings(&self, key: &str, array: &DeArray<'_>, problems: &mut Problems) -> Vec<Text> {
        let mut texts = Vec::with_capacity(array.len());
        for value in array.iter() {
            let place = self.source.place(&value.span());
            match value.get_ref() {
                DeValue::String(text) => texts.push(Text { text: text.to_string(), place }),
                other => {
                    self.wrong_type::<()>(&format!("an entry of `{key}`"), "a string", other, &place, problems);
                }
            }
        }
        texts
    }

    /// A number, with its place.
    pub(super) fn number(&self, key: &str, problems: &mut Problems) -> Option<(f64, Place)> {
        let Some(value) = self.table.get(key) else {
            let message = format!("{} has no `{key}`, which is required", self.what);
            self.problem(problems, ProblemCode::MissingKey, &self.place, message);
            return None;
        };
        let place = self.source.place(&value.span());
        match json(value.get_ref()) {
            Some(serde_json::Value::Number(number)) => Some((number.as_f64().unwrap_or(f64::NAN), place)),
            _ if matches!(value.get_ref(), DeValue::Float(_) | DeValue::Integer(_)) => Some((f64::NAN, place)),
            _ => self.wrong_type(key, "a number", value.get_ref(), &place, problems),
        }
    }

    /// A table as JSON, empty when the key is missing.
    pub(super) fn json_table(&self, key: &str, problems: &mut Problems) -> serde_json::Map<String, serde_json::Value> {
        let Some(value) = self.table.get(key) else { return serde_json::Map::new() };
        let place = self.source.place(&value.span());
        match (value.get_ref(), json(value.get_ref())) {
            (_, Some(serde_json::Value::Object(map))) => map,
            (DeValue::Table(_), _) => {
                let message = format!("`{key}` holds a number that JSON cannot write (nan, inf, or beyond 64 bits)");
                self.problem(problems, ProblemCode::WrongType, &place, message);
                serde_json::Map::new()
            }
            (other, _) => {
                self.wrong_type::<()>(key, "a table", other, &place, problems);
                serde_json::Map::new()
            }
        }
    }

    /// A list of tables, each describing `what`, in order.
    pub(super) fn tables(&self, key: &str, what: &'static str, problems: &mut Problems) -> Vec<Table<'a>> {
        let Some(value) = self.table.get(key) else { return Vec::new() };
        let DeValue::Array(array) = value.get_ref() else {
            let place = self.source.place(&value.span());
            self.wrong_type::<()>(key, "a list of tables", value.get_ref(), &place, problems);
            return Vec::new();
        };
        let mut tables = Vec::with_capacity(array.len());
        for value in array.iter() {
            let place = self.source.place(&value.span());
            match value.get_ref() {
                DeValue::Table(table) => {
                    let (source, intent) = (self.source, self.intent.clone());
                    tables.push(Table { source, table, place, what, intent });
                }
                other => {
                    self.wrong_type::<()>(&format!("an entry of `{key}`"), "a table", other, &place, problems);
                }
            }
        }
        tables
    }

    fn wrong_type<T>(
        &self,
        key: &str,
        expected: &str,
        found: &DeValue<'_>,
        place: &Place,
        problems: &mut Problems,
    ) -> Option<T> {
        let key = if key.contains('`') { key.to_owned() } else { format!("`{key}`") };
        let message = format!("{key} is of type {}, expected {expected}", found.type_str());
        self.problem(problems, ProblemCode::WrongType, place, message);
        None
    }
}

/// The span of the first byte, for a message about a whole table.
pub(super) const START: Range<usize> = 0..0;

/// Returns a TOML value as JSON, dates as strings; `None` for numbers that JSON cannot hold.
fn json(value: &DeValue<'_>) -> Option<serde_json::Value> {
    Some(match value {
        DeValue::String(text) => text.as_ref().into(),
        DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix()).ok()?.into(),
        DeValue::Float(float) => serde_json::Number::from_f64(float.as_str().parse().ok()?)?.into(),
        DeValue::Boolean(boolean) => (*boolean).into(),
        DeValue::Datetime(datetime) => datetime.to_string().into(),
        DeValue::Array(array) => array.iter().map(|item| json(item.get_ref())).collect::<Option<Vec<_>>>()?.into(),
        DeValue::Table(table) => {
            let entry = |(key, value): (&Spanned<toml::de::DeString<'_>>, &Spanned<DeValue<'_>>)| {
                Some((key.get_ref().to_string(), json(value.get_ref())?))
            };
            serde_json::Value::Object(table.iter().map(entry).collect::<Option<_>>()?)
        }
    })
}
