use std::{collections::BTreeMap, fs, path::Path, sync::OnceLock};

use proptest::prelude::*;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::{
    SentenceEncoder,
    tiny::{self, Family, Spec},
};

fn hugging_face_dir(spec: &Spec) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    tiny::write_hugging_face_dir(directory.path(), spec);
    directory
}

fn import_into_temp(source: &Path) -> Result<(TempDir, ImportReport), ModelError> {
    let out = tempfile::tempdir().unwrap();
    let report = import(source, &out.path().join("model"), &ImportOptions::default())?;
    Ok((out, report))
}

fn edit_config(directory: &Path, edit: impl FnOnce(&mut Value)) {
    let path = directory.join("config.json");
    let mut config = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    edit(&mut config);
    fs::write(path, config.to_string()).unwrap();
}

/// Writes the weights again under other names; `None` drops one.
fn rename_tensors(directory: &Path, rename: impl Fn(&str) -> Option<String>) {
    let path = directory.join("model.safetensors");
    let bytes = fs::read(&path).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let renamed: BTreeMap<_, _> = tensors.iter().filter_map(|(name, view)| Some((rename(name)?, view))).collect();
    fs::write(path, safetensors::serialize(renamed, None).unwrap()).unwrap();
}

#[test]
fn both_architectures_with_and_without_a_head_pass_every_check() {
    for family in [Family::Bert, Family::DistilBert] {
        for spec in [Spec::encoder(family), Spec::classifier(family, &["a", "b", "c"])] {
            let (_out, report) = import_into_temp(hugging_face_dir(&spec).path()).unwrap();
            assert!(report.fp32.largest_difference < 1e-4, "{report}");
            assert!(report.int8.is_some_and(|int8| int8.mean_cosine >= 0.993), "{report}");
            assert_eq!(report.labels, spec.labels);
        }
    }
}

#[test]
fn half_precision_weights_are_read() {
    let embed = |dtype| {
        let source = hugging_face_dir(&Spec { dtype, ..Spec::encoder(Family::Bert) });
        let (out, _) = import_into_temp(source.path()).unwrap();
        let encoder = SentenceEncoder::load(&out.path().join("model"), Precision::Fp32).unwrap();
        encoder.embed(&["where is my order"]).unwrap().remove(0)
    };
    let exact = embed(Dtype::F32);
    for dtype in [Dtype::F16, Dtype::BF16] {
        assert!(crate::transformer::cosine(&exact.values, &embed(dtype).values) > 0.999, "{dtype:?}");
    }
}

#[test]
fn names_of_other_savers_are_known() {
    let plain = hugging_face_dir(&Spec::encoder(Family::Bert));
    let (_, expected) = import_into_temp(plain.path()).unwrap();

    let other = hugging_face_dir(&Spec::encoder(Family::Bert));
    edit_config(other.path(), |config| config["architectures"] = json!(["BertForMaskedLM"]));
    rename_tensors(other.path(), |name| {
        let name = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta");
        Some(format!("bert.{name}"))
    });
    let (_, report) = import_into_temp(other.path()).unwrap();
    assert_eq!(report.files, expected.files);
}

#[test]
fn weights_in_several_files_are_joined() {
    let source = hugging_face_dir(&Spec::encoder(Family::Bert));
    let whole = source.path().join("model.safetensors");
    let bytes = fs::read(&whole).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let (mut weight_map, mut shards) = (BTreeMap::new(), [Vec::new(), Vec::new()]);
    for (index, (name, view)) in tensors.iter().enumerate() {
        weight_map.insert(name.to_owned(), format!("shard-{}.safetensors", index % 2));
        shards[index % 2].push((name.to_owned(), view));
    }
    for (index, shard) in shards.into_iter().enumerate() {
        let path = source.path().join(format!("shard-{index}.safetensors"));
        fs::write(path, safetensors::serialize(shard, None).unwrap()).unwrap();
    }
    let index = json!({"metadata": {}, "weight_map": weight_map});
    fs::write(source.path().join("model.safetensors.index.json"), index.to_string()).unwrap();
    fs::remove_file(whole).unwrap();
    import_into_temp(source.path()).unwrap();
}

#[test]
fn the_limit_of_the_sentence_encoder_goes_before_that_of_the_tokenizer() {
    let source = hugging_face_dir(&Spec::encoder(Family::Bert));
    fs::write(source.path().join("sentence_bert_config.json"), r#"{"max_seq_length": 20}"#).unwrap();
    assert_eq!(import_into_temp(source.path()).unwrap().1.max_tokens, 20);
    fs::write(source.path().join("sentence_bert_config.json"), r#"{"max_seq_length": 4000}"#).unwrap();
    assert_eq!(import_into_temp(source.path()).unwrap().1.max_tokens, 64, "there are no more positions");
}

#[test]
fn what_is_wrong_is_said_with_the_file() {
    type Breakage = fn(&Path);
    fn set(directory: &Path, key: &str, value: Value) {
        edit_config(directory, |config| config[key] = value);
    }
    fn truncate(path: &Path, bytes: usize) {
        let content = fs::read(path).unwrap();
        fs::write(path, &content[..bytes]).unwrap();
    }
    let cases: [(&str, &str, Breakage); 25] = [
        ("config.json", "cannot access", |d| fs::remove_file(d.join("config.json")).unwrap()),
        ("config.json", "not the configuration of a model", |d| fs::write(d.join("config.json"), "{").unwrap()),
        ("config.json", "`model_type` is `gpt2`, expected `bert` or `distilbert`", |d| {
            set(d, "model_type", json!("gpt2"))
        }),
        ("config.json", "`hidden_size` or `dim` is missing", |d| set(d, "hidden_size", Value::Null)),
        ("config.json", "`hidden_size` is 32 but `dim` is 64", |d| set(d, "dim", json!(64))),
        ("config.json", "not a multiple of the number of attention heads 5", |d| {
            set(d, "num_attention_heads", json!(5))
        }),
        ("config.json", "`num_hidden_layers` is 0", |d| set(d, "num_hidden_layers", json!(0))),
        ("config.json", "`layer_norm_eps` is 0", |d| set(d, "layer_norm_eps", json!(0.0))),
        ("config.json", "the activation is `swish`", |d| set(d, "hidden_act", json!("swish"))),
        ("config.json", "expected `absolute`", |d| set(d, "position_embedding_type", json!("relative_key"))),
        ("config.json", "`pad_token_id` 9999 is not below `vocab_size`", |d| set(d, "pad_token_id", json!(9999))),
        ("config.json", "none with the number 1, expected 0 to 1", |d| {
            set(d, "architectures", json!(["BertForSequenceClassification"]));
            set(d, "id2label", json!({"0": "a", "2": "b"}));
        }),
        ("config.json", "the name `a` to more than one label", |d| {
            set(d, "architectures", json!(["BertForSequenceClassification"]));
            set(d, "id2label", json!({"0": "a", "1": "a"}));
        }),
        ("", "expected `model.safetensors`", |d| fs::remove_file(d.join("model.safetensors")).unwrap()),
        ("", "found only `pytorch_model.bin`", |d| {
            fs::rename(d.join("model.safetensors"), d.join("pytorch_model.bin")).unwrap();
        }),
        ("model.safetensors", "not a whole safetensors file", |d| truncate(&d.join("model.safetensors"), 20_000)),
        ("model.safetensors", "not a whole safetensors file", |d| {
            fs::write(d.join("model.safetensors"), b"PK\x03\x04 this is a zip file").unwrap();
        }),
        ("model.safetensors", "`encoder.layer.1.output.dense.bias` is missing", |d| {
            rename_tensors(d, |name| (name != "encoder.layer.1.output.dense.bias").then(|| name.to_owned()));
        }),
        ("model.safetensors", "`encoder.layer.2.attention.self.query.weight` is missing", |d| {
            set(d, "num_hidden_layers", json!(3));
        }),
        ("model.safetensors", "the shape [64, 32], expected [96, 32]", |d| set(d, "intermediate_size", json!(96))),
        ("model.safetensors", "`bert.pooler.dense.weight` is missing", |d| {
            set(d, "architectures", json!(["BertForSequenceClassification"]));
            rename_tensors(d, |name| Some(format!("bert.{name}")));
        }),
        ("model.safetensors.index.json", "not a file beside the index", |d| {
            fs::remove_file(d.join("model.safetensors")).unwrap();
            let index = json!({"weight_map": {"x": "../../etc/passwd"}});
            fs::write(d.join("model.safetensors.index.json"), index.to_string()).unwrap();
        }),
        ("tokenizer.json", "cannot access", |d| fs::remove_file(d.join("tokenizer.json")).unwrap()),
        ("tokenizer.json", "not as expected", |d| truncate(&d.join("tokenizer.json"), 3_000)),
        ("1_Pooling/config.json", "expected exactly one of mean, cls and max", |d| {
            fs::create_dir(d.join("1_Pooling")).unwrap();
            fs::write(d.join("1_Pooling/config.json"), "{}").unwrap();
        }),
    ];
    for (file, reason, break_it) in cases {
        let source = hugging_face_dir(&Spec::encoder(Family::Bert));
        break_it(source.path());
        let error = import_into_temp(source.path()).expect_err(reason);
        let message = error.to_string();
        let path = source.path().join(file).display().to_string();
        assert!(message.contains(reason), "{message}\nexpected {reason}");
        assert!(message.contains(path.trim_end_matches('/')), "{message}\nexpected {path}");
    }
}

#[test]
fn a_tokenizer_with_more_tokens_than_the_model_is_refused() {
    let source = hugging_face_dir(&Spec::encoder(Family::Bert));
    let path = source.path().join("tokenizer.json");
    let mut tokenizer: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    tokenizer["model"]["vocab"]["extra"] = json!(5_000);
    fs::write(path, tokenizer.to_string()).unwrap();
    let message = import_into_temp(source.path()).unwrap_err().to_string();
    assert!(message.contains("it has 5001 tokens, expected at most"), "{message}");
}

#[test]
fn an_imported_model_is_replaced_but_nothing_else() {
    let source = hugging_face_dir(&Spec::encoder(Family::Bert));
    let out = tempfile::tempdir().unwrap();
    let model = out.path().join("model");
    for _ in 0..2 {
        import(source.path(), &model, &ImportOptions::default()).unwrap();
    }
    let left: Vec<_> = fs::read_dir(out.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["model"], "nothing temporary is left");

    let photos = out.path().join("photos");
    fs::create_dir(&photos).unwrap();
    fs::write(photos.join("cat.jpg"), "meow").unwrap();
    let message = import(source.path(), &photos, &ImportOptions::default()).unwrap_err().to_string();
    assert!(message.contains("holds other things"), "{message}");
    assert!(photos.join("cat.jpg").exists());
}

/// The files of one tiny directory, read once.
fn tiny_files() -> &'static [(String, Vec<u8>)] {
    static FILES: OnceLock<Vec<(String, Vec<u8>)>> = OnceLock::new();
    FILES.get_or_init(|| {
        let source = hugging_face_dir(&Spec::encoder(Family::Bert));
        let read = |name: &str| (name.to_owned(), fs::read(source.path().join(name)).unwrap());
        ["config.json", "tokenizer.json", "model.safetensors"].map(read).to_vec()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn random_damage_never_panics(file in 0usize..3, damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6), cut in prop::option::of(any::<prop::sample::Index>())) {
        let source = tempfile::tempdir().unwrap();
        for (index, (name, content)) in tiny_files().iter().enumerate() {
            let mut content = content.clone();
            if index == file {
                for (at, byte) in &damage {
                    // Damage to the header of the weights says more than to one weight of many.
                    let reach = content.len().min(4_000);
                    content[at.index(reach)] = *byte;
                }
                if let Some(cut) = cut {
                    content.truncate(cut.index(content.len()));
                }
            }
            fs::write(source.path().join(name), content).unwrap();
        }
        let out = tempfile::tempdir().unwrap();
        // Whether it is refused depends on what was hit; that it comes back is the point.
        let _ = import_unchecked(source.path(), &out.path().join("model"), &ImportOptions::default());
    }
}
