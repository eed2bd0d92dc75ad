//! Fine-tuning: a pretrained encoder and labelled texts to a `DistilBertForSequenceClassification`.

mod architecture;
mod network;
mod parameters;

pub use architecture::Architecture;
