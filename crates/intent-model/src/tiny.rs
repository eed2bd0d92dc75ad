//! Tiny real transformers, built in code, so that tests need no download: the files are those of Hugging Face, the
//! graphs those of [`crate::import`], only the weights are random.
//!
//! The weights are the same on every machine. Token embeddings are nearly orthogonal and the layers change little, so
//! that texts with common words are nearer to each other than texts without.

use std::{collections::BTreeMap, fs, path::Path, sync::OnceLock};

use safetensors::{Dtype, tensor::TensorView};
use serde_json::json;

use crate::{
    Labels, SentenceEncoder, SequenceClassifier,
    import::{ImportOptions, import_unchecked},
    transformer::Precision,
};

/// The two architectures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Token types, and a pooler under a classifier.
    Bert,
    /// Neither.
    DistilBert,
}

/// What to write.
#[derive(Clone, Debug)]
pub struct Spec {
    /// The architecture.
    pub family: Family,
    /// The labels of a classifier; empty for an encoder.
    pub labels: Vec<String>,
    /// How the weights are stored: `F32`, `F16` or `BF16`.
    pub dtype: Dtype,
    /// How many tokens a text may have.
    pub positions: usize,
    /// How large it is.
    pub shape: Shape,
}

/// How large a transformer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// The dimension of embeddings and hidden states.
    pub dimension: usize,
    /// Attention heads.
    pub heads: usize,
    /// The dimension inside the feed-forward blocks.
    pub intermediate: usize,
    /// Layers.
    pub layers: usize,
    /// At least so many tokens in the vocabulary; those that no text has fill it up.
    pub vocabulary: usize,
}

impl Shape {
    /// As small as does for tests.
    pub const TINY: Self = Self { dimension: DIMENSION, heads: 4, intermediate: 64, layers: 2, vocabulary: 0 };
    /// The size of all-MiniLM-L6-v2, for measurements of speed.
    pub const MINI_LM: Self =
        Self { dimension: 384, heads: 12, intermediate: 1536, layers: 6, vocabulary: BERT_VOCABULARY };
    /// The size of DistilBERT-base, for measurements of speed.
    pub const BASE: Self =
        Self { dimension: 768, heads: 12, intermediate: 3072, layers: 6, vocabulary: BERT_VOCABULARY };
}

const BERT_VOCABULARY: usize = 30_522;

impl Spec {
    /// An encoder in f32 for texts of up to 64 tokens.
    pub fn encoder(family: Family) -> Self {
        Self { family, labels: Vec::new(), dtype: Dtype::F32, positions: 64, shape: Shape::TINY }
    }

    /// A classifier in f32 for texts of up to 64 tokens.
    pub fn classifier(family: Family, labels: &[&str]) -> Self {
        let labels = labels.iter().map(|&label| label.to_owned()).collect();
        Self { labels, ..Self::encoder(family) }
    }
}

/// The dimension of the embeddings of [`encoder`].
pub const DIMENSION: usize = 32;

/// Returns a tiny encoder in fp32; built once per process.
///
/// # Panics
/// When the temporary directory cannot be written.
pub fn encoder() -> SentenceEncoder {
    static ENCODER: OnceLock<SentenceEncoder> = OnceLock::new();
    let build = || {
        let directory = tempfile::tempdir().expect("the temporary directory can be written");
        let out = directory.path().join("encoder");
        write_encoder(&out);
        SentenceEncoder::load(&out, Precision::Fp32).expect("the tiny encoder loads")
    };
    ENCODER.get_or_init(build).clone()
}

/// Writes the model directory of the tiny encoder, as `models import` would.
///
/// # Panics
/// When `out` cannot be written.
pub fn write_encoder(out: &Path) {
    write_model(out, &Spec::encoder(Family::Bert));
}

/// Returns a tiny DistilBERT classifier in fp32 with random weights.
///
/// # Panics
/// When the temporary directory cannot be written or there are less than two labels.
pub fn sequence_classifier(labels: &Labels) -> SequenceClassifier {
    let directory = tempfile::tempdir().expect("the temporary directory can be written");
    let out = directory.path().join("classifier");
    write_model(&out, &Spec::classifier(Family::DistilBert, &labels.iter().collect::<Vec<_>>()));
    SequenceClassifier::load(&out, Precision::Fp32, labels).expect("the tiny classifier loads")
}

/// Writes a model directory of the given kind, as `models import` would, without its checks.
///
/// # Panics
/// When `out` cannot be written.
pub fn write_model(out: &Path, spec: &Spec) {
    let source = tempfile::tempdir().expect("the temporary directory can be written");
    write_hugging_face_dir(source.path(), spec);
    import_unchecked(source.path(), out, &ImportOptions::default()).expect("the tiny model can be imported");
}

/// Writes `config.json`, `model.safetensors` and `tokenizer.json` as Hugging Face would.
///
/// # Panics
/// When `path` cannot be written.
pub fn write_hugging_face_dir(path: &Path, spec: &Spec) {
    let vocabulary = vocabulary(spec.shape);
    let write = |name: &str, content: Vec<u8>| {
        fs::write(path.join(name), content).expect("the directory can be written");
    };
    fs::create_dir_all(path).expect("the directory can be made");
    write("config.json", config(spec, vocabulary.len()).to_string().into_bytes());
    write("tokenizer.json", tokenizer(&vocabulary, spec.positions).to_string().into_bytes());
    write("model.safetensors", weights(spec, vocabulary.len()));
}

fn config(spec: &Spec, vocabulary: usize) -> serde_json::Value {
    let Shape { dimension, heads, intermediate, layers, .. } = spec.shape;
    let head = if spec.labels.is_empty() { "Model" } else { "ForSequenceClassification" };
    let mut config = match spec.family {
        Family::Bert => json!({
            "model_type": "bert", "architectures": [format!("Bert{head}")],
            "hidden_size": dimension, "num_attention_heads": heads, "intermediate_size": intermediate,
            "num_hidden_layers": layers, "type_vocab_size": 2, "layer_norm_eps": 1e-12, "hidden_act": "gelu",
        }),
        Family::DistilBert => json!({
            "model_type": "distilbert", "architectures": [format!("DistilBert{head}")],
            "dim": dimension, "n_heads": heads, "hidden_dim": intermediate, "n_layers": layers, "activation": "gelu",
        }),
    };
    config["vocab_size"] = json!(vocabulary);
    config["max_position_embeddings"] = json!(spec.positions);
    config["pad_token_id"] = json!(0);
    if !spec.labels.is_empty() {
        let labels = spec.labels.iter().enumerate().map(|(id, label)| (id.to_string(), label));
        config["id2label"] = json!(labels.collect::<BTreeMap<_, _>>());
    }
    config
}

const SPECIAL: [&str; 5] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];

/// Whole words; all else is spelt out.
const WORDS: &str = "a about add all am an and are as at be book buy by can cancel capital card change charge code \
    compare could country day delivery describe do does email error explain file find fix for from function get give \
    good hello help her hi how i in invoice is it joke language last late light like list long lost me meaning mean \
    message money month more morning my name new next no not of on open or order our package paid pay payment phone \
    plan please poem price problem program python question read refund return reverse say sell send set she ship shop \
    should show song sort story string summarize summary take tell text thank thanks the them this time to today \
    tomorrow track translate travel trip turn up was weather week what when where which who why will with word world \
    write year yes you your";

/// Special tokens, single characters (at the start of a word and inside it), whole words, and what fills it up.
fn vocabulary(shape: Shape) -> Vec<String> {
    let characters = || ('a'..='z').chain('0'..='9');
    let mut pieces: Vec<String> = SPECIAL.iter().map(|&piece| piece.to_owned()).collect();
    pieces.extend(characters().map(String::from));
    pieces.extend(characters().map(|character| format!("##{character}")));
    pieces.extend((' '..='~').filter(char::is_ascii_punctuation).map(String::from));
    pieces.extend(WORDS.split_whitespace().filter(|word| word.len() > 1).map(str::to_owned));
    let missing = shape.vocabulary.saturating_sub(pieces.len());
    pieces.extend((0..missing).map(|index| format!("[unused{index}]")));
    pieces
}

fn tokenizer(vocabulary: &[String], positions: usize) -> serde_json::Value {
    let ids: BTreeMap<&str, usize> = vocabulary.iter().enumerate().map(|(id, piece)| (piece.as_str(), id)).collect();
    let special = |piece: &str| json!({"id": piece, "ids": [ids[piece]], "tokens": [piece]});
    let added = SPECIAL.iter().map(|&piece| {
        json!({"id": ids[piece], "content": piece, "special": true,
               "single_word": false, "lstrip": false, "rstrip": false, "normalized": false})
    });
    json!({
        "version": "1.0",
        "truncation": {"max_length": positions, "strategy": "LongestFirst", "stride": 0, "direction": "Right"},
        "padding": null,
        "added_tokens": added.collect::<Vec<_>>(),
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                       "strip_accents": null, "lowercase": true},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                       {"SpecialToken": {"id": "[SEP]", "type_id": 0}}],
            "pair": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                     {"SpecialToken": {"id": "[SEP]", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}},
                     {"SpecialToken": {"id": "[SEP]", "type_id": 1}}],
            "special_tokens": {"[CLS]": special("[CLS]"), "[SEP]": special("[SEP]")},
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                  "max_input_chars_per_word": 100, "vocab": ids},
    })
}

fn weights(spec: &Spec, vocabulary: usize) -> Vec<u8> {
    let prefix = match (spec.labels.is_empty(), spec.family) {
        (true, _) => "",
        (false, Family::Bert) => "bert.",
        (false, Family::DistilBert) => "distilbert.",
    };
    let mut tensors = Tensors { shape: spec.shape, random: Random(1), by_name: BTreeMap::new() };
    tensors.embeddings(prefix, spec, vocabulary);
    for layer in 0..spec.shape.layers {
        tensors.layer(prefix, spec.family, layer);
    }
    if !spec.labels.is_empty() {
        let dense = if spec.family == Family::Bert { "bert.pooler.dense" } else { "pre_classifier" };
        let dimension = spec.shape.dimension;
        tensors.linear(dense, dimension, dimension, 0.3);
        tensors.linear("classifier", dimension, spec.labels.len(), 0.3);
    }
    tensors.serialize(spec.dtype)
}

struct Tensors {
    shape: Shape,
    random: Random,
    by_name: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
}

impl Tensors {
    fn embeddings(&mut self, prefix: &str, spec: &Spec, vocabulary: usize) {
        let dimension = self.shape.dimension;
        let mut words = self.random.normal(vocabulary * dimension, 1.0);
        // Every text has these two; as opposites they leave the mean to the words.
        let row = |id: usize| id * dimension..(id + 1) * dimension;
        let start: Vec<f32> = words[row(2)].iter().map(|value| -value).collect();
        words[row(3)].copy_from_slice(&start);
        let name = |part: &str| format!("{prefix}embeddings.{part}");
        self.insert(name("word_embeddings.weight"), vec![vocabulary, dimension], words);
        let places = self.random.normal(spec.positions * dimension, 0.05);
        self.insert(name("position_embeddings.weight"), vec![spec.positions, dimension], places);
        if spec.family == Family::Bert {
            let types = self.random.normal(2 * dimension, 0.05);
            self.insert(name("token_type_embeddings.weight"), vec![2, dimension], types);
        }
        self.norm(&name("LayerNorm"));
    }

    fn layer(&mut self, prefix: &str, family: Family, index: usize) {
        let (layers, parts, norms) = match family {
            Family::Bert => (
                "encoder.layer",
                ["attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"],
                ["intermediate.dense", "output.dense", "attention.output.LayerNorm", "output.LayerNorm"],
            ),
            Family::DistilBert => (
                "transformer.layer",
                ["attention.q_lin", "attention.k_lin", "attention.v_lin", "attention.out_lin"],
                ["ffn.lin1", "ffn.lin2", "sa_layer_norm", "output_layer_norm"],
            ),
        };
        let name = |part: &str| format!("{prefix}{layers}.{index}.{part}");
        let Shape { dimension, intermediate, .. } = self.shape;
        for part in parts {
            self.linear(&name(part), dimension, dimension, 0.1);
        }
        let [up, down, attention_norm, output_norm] = norms;
        self.linear(&name(up), dimension, intermediate, 0.1);
        self.linear(&name(down), intermediate, dimension, 0.1);
        self.norm(&name(attention_norm));
        self.norm(&name(output_norm));
    }

    fn linear(&mut self, name: &str, inputs: usize, outputs: usize, deviation: f32) {
        let weight = self.random.normal(inputs * outputs, deviation);
        let bias = self.random.normal(outputs, 0.05);
        self.insert(format!("{name}.weight"), vec![outputs, inputs], weight);
        self.insert(format!("{name}.bias"), vec![outputs], bias);
    }

    fn norm(&mut self, name: &str) {
        let dimension = self.shape.dimension;
        let gamma = self.random.normal(dimension, 0.05).into_iter().map(|value| 1.0 + value).collect();
        let beta = self.random.normal(dimension, 0.02);
        self.insert(format!("{name}.weight"), vec![dimension], gamma);
        self.insert(format!("{name}.bias"), vec![dimension], beta);
    }

    fn insert(&mut self, name: String, shape: Vec<usize>, values: Vec<f32>) {
        self.by_name.insert(name, (shape, values));
    }

    fn serialize(&self, dtype: Dtype) -> Vec<u8> {
        let encoded: BTreeMap<&str, Vec<u8>> =
            self.by_name.iter().map(|(name, (_, values))| (name.as_str(), encode(values, dtype))).collect();
        let views = self.by_name.iter().map(|(name, (shape, _))| {
            let view = TensorView::new(dtype, shape.clone(), &encoded[name.as_str()]).expect("the shapes fit");
            (name.as_str(), view)
        });
        safetensors::serialize(views, None).expect("the tensors can be serialized")
    }
}

fn encode(values: &[f32], dtype: Dtype) -> Vec<u8> {
    match dtype {
        Dtype::F16 => values.iter().flat_map(|&value| f16_bits(value).to_le_bytes()).collect(),
        Dtype::BF16 => values.iter().flat_map(|value| ((value.to_bits() >> 16) as u16).to_le_bytes()).collect(),
        _ => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
    }
}

/// Truncates to binary16; enough for the magnitudes of weights.
fn f16_bits(value: f32) -> u16 {
    let bits = value.to_bits();
    let exponent = (bits >> 23 & 0xff) as i32 - 127 + 15;
    let sign = (bits >> 16 & 0x8000) as u16;
    if exponent <= 0 { sign } else { sign | (exponent as u16) << 10 | (bits >> 13 & 0x3ff) as u16 }
}

/// SplitMix64 (Steele, Lea and Flood 2014): a few lines, the same everywhere.
struct Random(u64);

impl Random {
    fn uniform(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 40) as f32 / (1u32 << 24) as f32
    }

    /// Twelve uniform numbers add up to a nearly normal one of deviation 1.
    fn normal(&mut self, count: usize, deviation: f32) -> Vec<f32> {
        (0..count).map(|_| ((0..12).map(|_| self.uniform()).sum::<f32>() - 6.0) * deviation).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_share_words_are_nearer() {
        let texts = ["where is my order", "my order is late", "write a poem in python"];
        let embeddings = encoder().embed(&texts).expect("the tiny encoder embeds");
        let cosine = |a: usize, b: usize| crate::transformer::cosine(&embeddings[a].values, &embeddings[b].values);
        assert!(cosine(0, 1) > cosine(0, 2) + 0.2, "{} and {}", cosine(0, 1), cosine(0, 2));
    }
}
