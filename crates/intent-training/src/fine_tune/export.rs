//! Writes a Hugging Face directory.

use std::{fs, path::Path};

use serde_json::{Map, Value, json};

use super::{
    FineTuneError,
    checkpoint::{Floats, write_atomically},
    network::Network,
    parameters::WORD_EMBEDDINGS,
    pretrained::Pretrained,
};

/// Writes `config.json`, `model.safetensors`, `tokenizer.json`, `tokenizer_config.json`, `special_tokens_map.json` and
/// `vocab.txt`; the weights come last, so that a directory with weights is complete.
pub(crate) fn write(
    directory: &Path,
    pretrained: &Pretrained,
    network: &Network,
    vocabulary: &[u32],
    parameters: &[f32],
    labels: &[&str],
) -> Result<(), FineTuneError> {
    let save = |name: &str, bytes: &[u8]| write_atomically(&directory.join(name), bytes);
    save("config.json", &pretty(&config(network, labels, pretrained.model.config.pad_token_id)))?;
    write_tokenizer(&save, pretrained)?;

    let dim = network.architecture.dim;
    let mut words = pretrained.model.parameters.token_embeddings.clone();
    for (row, &token) in parameters[network.layout.words.clone()].chunks_exact(dim).zip(vocabulary) {
        words[token as usize * dim..][..dim].copy_from_slice(row);
    }
    let tensors = network.layout.tensors.iter().map(|tensor| {
        let values = if tensor.name == WORD_EMBEDDINGS {
            Floats(&words, vec![network.architecture.vocabulary, dim])
        } else {
            Floats(&parameters[tensor.range.clone()], tensor.shape.clone())
        };
        (tensor.name.as_str(), values)
    });
    // `transformers` refuses a file that does not say which framework's layout its tensors have.
    let metadata = [("format".to_owned(), "pt".to_owned())].into();
    let path = directory.join("model.safetensors");
    let bytes = safetensors::serialize(tensors, Some(metadata))
        .map_err(|error| FineTuneError::invalid(&path, error.to_string()))?;
    write_atomically(&path, &bytes)
}

fn config(network: &Network, labels: &[&str], pad_token: u32) -> Value {
    let architecture = &network.architecture;
    let id2label: Map<String, Value> =
        labels.iter().enumerate().map(|(id, label)| (id.to_string(), json!(label))).collect();
    let label2id: Map<String, Value> =
        labels.iter().enumerate().map(|(id, label)| ((*label).to_owned(), json!(id))).collect();
    json!({
        "architectures": ["DistilBertForSequenceClassification"],
        "model_type": "distilbert",
        "activation": "gelu",
        "attention_dropout": 0.1,
        "dim": architecture.dim,
        "dropout": 0.1,
        "hidden_dim": architecture.hidden_dim,
        "id2label": id2label,
        "initializer_range": 0.02,
        "label2id": label2id,
        "max_position_embeddings": architecture.positions,
        "n_heads": architecture.heads,
        "n_layers": architecture.layers,
        "pad_token_id": pad_token,
        "problem_type": "single_label_classification",
        "qa_dropout": 0.1,
        "seq_classif_dropout": 0.2,
        "sinusoidal_pos_embds": false,
        "tie_weights_": true,
        "torch_dtype": "float32",
        "vocab_size": architecture.vocabulary,
    })
}

/// Copies the tokenizer; what the base lacks of its side files is derived from `tokenizer.json`.
fn write_tokenizer(
    save: &impl Fn(&str, &[u8]) -> Result<(), FineTuneError>,
    pretrained: &Pretrained,
) -> Result<(), FineTuneError> {
    let source = |name: &str| {
        let path = pretrained.model.directory.join(name);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(FineTuneError::io(path)(error)),
        }
    };
    save("tokenizer.json", &source("tokenizer.json")?.unwrap_or_default())?;
    save("vocab.txt", &source("vocab.txt")?.unwrap_or_else(|| vocabulary(pretrained)))?;
    let special = json!({
        "cls_token": "[CLS]", "mask_token": "[MASK]", "pad_token": "[PAD]", "sep_token": "[SEP]", "unk_token": "[UNK]",
    });
    save("special_tokens_map.json", &source("special_tokens_map.json")?.unwrap_or_else(|| pretty(&special)))?;

    let given = source("tokenizer_config.json")?.and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
    let mut config = given.filter(Value::is_object).unwrap_or(special);
    config["tokenizer_class"] = json!("DistilBertTokenizer");
    config["model_max_length"] = json!(pretrained.architecture.positions);
    if config.get("do_lower_case").is_none() {
        config["do_lower_case"] = json!(pretrained.lower_cases());
    }
    if let Some(members) = config.as_object_mut() {
        // Where the base lay on the machine that saved it says nothing of this model.
        members.remove("name_or_path");
    }
    save("tokenizer_config.json", &pretty(&config))
}

/// Returns the tokens in the order of their numbers, one a line.
fn vocabulary(pretrained: &Pretrained) -> Vec<u8> {
    let mut tokens: Vec<(u32, String)> =
        pretrained.tokenizer.get_vocab(true).into_iter().map(|(token, id)| (id, token)).collect();
    tokens.sort_unstable();
    tokens.into_iter().flat_map(|(_, token)| token.into_bytes().into_iter().chain([b'\n'])).collect()
}

fn pretty(value: &Value) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(value).expect("a JSON value always serialises");
    bytes.push(b'\n');
    bytes
}
