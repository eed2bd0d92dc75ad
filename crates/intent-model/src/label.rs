//! Intent names in a fixed order.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The intent that an answer names when no intent of the pack fits. It is never a label of a model.
pub const OUT_OF_SCOPE: &str = "out_of_scope";

/// The intents a model tells apart, in the order of its scores. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<String>", into = "Vec<String>")]
pub struct Labels(Arc<[String]>);

impl Labels {
    /// Takes the names in the order in which every model of one version scores them.
    pub fn new(names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self(names.into_iter().map(Into::into).collect())
    }

    /// Returns how many intents there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Tells whether there is no intent at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the name at `index`.
    ///
    /// # Panics
    /// When `index` is not below [`Labels::len`].
    pub fn name(&self, index: usize) -> &str {
        &self.0[index]
    }

    /// Finds the position of a name.
    pub fn index_of(&self, name: &str) -> Option<usize> {
        self.0.iter().position(|label| label == name)
    }

    /// Iterates over the names in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

impl From<Vec<String>> for Labels {
    fn from(names: Vec<String>) -> Self {
        Self(names.into())
    }
}

impl From<Labels> for Vec<String> {
    fn from(labels: Labels) -> Self {
        labels.0.to_vec()
    }
}
