//! A Hugging Face directory of a few kilobytes to start from in tests.

use std::{fs, path::Path};

use serde_json::{Value, json};

use super::{checkpoint::Floats, network::mix};

const DIM: usize = 8;
const HIDDEN_DIM: usize = 16;
const LAYERS: usize = 2;
const POSITIONS: usize = 16;
const WORDS: [&str; 14] = [
    "[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]", "play", "some", "music", "loud", "will", "it", "rain", "today", "##s",
];

/// Writes an untrained BERT; `token_types` is the vector that it adds to every token of a single text.
pub(crate) fn write_bert(directory: &Path, token_types: f32) {
    write_json(
        &directory.join("config.json"),
        &json!({
            "model_type": "bert", "hidden_act": "gelu", "vocab_size": WORDS.len(), "hidden_size": DIM,
            "intermediate_size": HIDDEN_DIM, "num_attention_heads": 2, "num_hidden_layers": LAYERS,
            "max_position_embeddings": POSITIONS, "type_vocab_size": 2,
        }),
    );
    write_tokenizer(directory);
    let mut tensors: Vec<(String, Vec<usize>)> = vec![
        ("embeddings.word_embeddings.weight".to_owned(), vec![WORDS.len(), DIM]),
        ("embeddings.position_embeddings.weight".to_owned(), vec![POSITIONS, DIM]),
        ("embeddings.token_type_embeddings.weight".to_owned(), vec![2, DIM]),
        ("pooler.dense.weight".to_owned(), vec![DIM, DIM]),
    ];
    let mut with_bias = |name: String, shape: &[usize]| {
        tensors.push((format!("{name}.weight"), shape.to_vec()));
        tensors.push((format!("{name}.bias"), vec![shape[0]]));
    };
    with_bias("embeddings.LayerNorm".to_owned(), &[DIM]);
    for layer in 0..LAYERS {
        let prefix = format!("encoder.layer.{layer}");
        for part in ["attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"] {
            with_bias(format!("{prefix}.{part}"), &[DIM, DIM]);
        }
        with_bias(format!("{prefix}.attention.output.LayerNorm"), &[DIM]);
        with_bias(format!("{prefix}.intermediate.dense"), &[HIDDEN_DIM, DIM]);
        with_bias(format!("{prefix}.output.dense"), &[DIM, HIDDEN_DIM]);
        with_bias(format!("{prefix}.output.LayerNorm"), &[DIM]);
    }
    let values: Vec<Vec<f32>> =
        tensors.iter().enumerate().map(|(index, (name, shape))| values(index, name, shape, token_types)).collect();
    let views = tensors.iter().zip(&values).map(|((name, shape), values)| (name, Floats(values, shape.clone())));
    let bytes = safetensors::serialize(views, None).expect("shapes fit their values");
    fs::write(directory.join("model.safetensors"), bytes).expect("writable");
}

fn values(seed: usize, name: &str, shape: &[usize], token_types: f32) -> Vec<f32> {
    let count = shape.iter().product::<usize>();
    let uniform = (0..count as u64).map(|index| (mix(seed as u64, index) >> 40) as f32 / (1_u64 << 24) as f32 - 0.5);
    match name {
        "embeddings.token_type_embeddings.weight" => (0..count).map(|_| token_types).collect(),
        _ if name.contains("LayerNorm.weight") => vec![1.0; count],
        _ => uniform.collect(),
    }
}

fn write_tokenizer(directory: &Path) {
    let vocabulary: Value = WORDS.iter().enumerate().map(|(id, word)| ((*word).to_owned(), json!(id))).collect();
    let special = |id: usize| {
        json!({"id": id, "content": WORDS[id], "single_word": false, "lstrip": false, "rstrip": false,
               "normalized": false, "special": true})
    };
    write_json(
        &directory.join("tokenizer.json"),
        &json!({
            "version": "1.0", "truncation": null, "padding": null,
            "added_tokens": (0..5).map(special).collect::<Vec<_>>(),
            "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                           "strip_accents": null, "lowercase": true},
            "pre_tokenizer": {"type": "BertPreTokenizer"},
            "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 2], "cls": ["[CLS]", 1]},
            "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
            "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                      "max_input_chars_per_word": 100, "vocab": vocabulary},
        }),
    );
}

fn write_json(path: &Path, value: &Value) {
    fs::write(path, value.to_string()).expect("writable");
}
