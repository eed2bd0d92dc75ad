//! Directories made by others, and files that are broken.

use std::{fs, path::Path};

use proptest::prelude::*;
use tempfile::TempDir;

use crate::{
    Embedding, ModelError, SentenceEncoder,
    import::graph::{
        Attribute::{Int, Type},
        DataType, Graph, Value,
    },
    tiny::{self, Family, Spec},
    transformer::{Precision, cosine},
};

const TEXTS: [&str; 3] = ["hello", "where is my order, please?", "write a poem about the weather in python"];

/// A directory with the tokenizer of the tiny encoder and the graph that `build` writes.
fn directory(build: impl FnOnce(&mut Graph)) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    tiny::write_hugging_face_dir(directory.path(), &Spec::encoder(Family::Bert));
    for name in ["config.json", "model.safetensors"] {
        fs::remove_file(directory.path().join(name)).unwrap();
    }
    let mut graph = Graph::default();
    build(&mut graph);
    fs::write(directory.path().join("model.onnx"), graph.encode()).unwrap();
    directory
}

/// Looks tokens up in a table of 400 rows of 4 numbers.
fn look_up(graph: &mut Graph, ids: &Value) -> Value {
    let table: Vec<f32> = (0..1_600).map(|index| (index as f32 * 0.7).sin()).collect();
    let table = graph.floats(&[400, 4], &table);
    graph.op("Gather", [&table, ids], &[])
}

fn load(directory: &TempDir) -> Result<SentenceEncoder, ModelError> {
    SentenceEncoder::load(directory.path(), Precision::Int8)
}

fn refusal(directory: &TempDir) -> String {
    load(directory).expect_err("a broken directory is refused").to_string()
}

fn alone(encoder: &SentenceEncoder) -> Vec<Embedding> {
    TEXTS.iter().map(|text| encoder.embed(&[text]).unwrap().remove(0)).collect()
}

#[test]
fn a_graph_and_a_tokenizer_are_enough() {
    let directory = directory(|graph| {
        let ids = graph.token_input("input_ids");
        let states = look_up(graph, &ids);
        graph.output("last_hidden_state", &states, &["batch", "sequence", "hidden"]);
    });
    let encoder = load(&directory).unwrap();
    assert_eq!(encoder.dimension(), 4);
    assert_eq!(encoder.precision(), Precision::Fp32, "there is no other graph");
    assert_eq!(encoder.specification().max_tokens, 64, "as the tokenizer says");
    assert_eq!(encoder.embed(&TEXTS).unwrap(), alone(&encoder));
}

#[test]
fn a_graph_with_token_types_and_its_own_pooling_is_run_as_it_is() {
    let directory = directory(|graph| {
        let ids = graph.token_input("input_ids");
        let mask = graph.token_input("attention_mask");
        let types = graph.token_input("token_type_ids");
        let ids = graph.op("Add", [&ids, &types], &[]);
        let states = look_up(graph, &ids);
        let mask = graph.op("Cast", [&mask], &[("to", Type(DataType::Float))]);
        let last = graph.ints(&[-1]);
        let mask = graph.op("Unsqueeze", [&mask, &last], &[]);
        let masked = graph.op("Mul", [&states, &mask], &[]);
        let sequence = graph.ints(&[1]);
        let summed = graph.op("ReduceSum", [&masked, &sequence], &[("keepdims", Int(0))]);
        graph.output("sentence_embedding", &summed, &["batch", "hidden"]);
    });
    let encoder = load(&directory).unwrap();
    assert_eq!(encoder.dimension(), 4);
    for (a, b) in encoder.embed(&TEXTS).unwrap().iter().zip(alone(&encoder)) {
        assert!(cosine(&a.values, &b.values) > 0.99999);
    }
}

#[test]
fn a_graph_whose_texts_disturb_each_other_runs_them_one_by_one() {
    let directory = directory(|graph| {
        let ids = graph.token_input("input_ids");
        let states = look_up(graph, &ids);
        // One number for the whole batch, like the scale of a dynamically quantised tensor.
        let mean = graph.op("ReduceMean", [&states], &[("keepdims", Int(0))]);
        let states = graph.op("Sub", [&states, &mean], &[]);
        graph.output("last_hidden_state", &states, &["batch", "sequence", "hidden"]);
    });
    let encoder = load(&directory).unwrap();
    assert_eq!(encoder.embed(&TEXTS).unwrap(), alone(&encoder));
}

#[test]
fn graphs_that_are_no_encoders_are_refused_by_what_they_have() {
    let no_ids = directory(|graph| {
        let mask = graph.token_input("attention_mask");
        let states = look_up(graph, &mask);
        graph.output("last_hidden_state", &states, &["batch", "sequence", "hidden"]);
    });
    assert!(refusal(&no_ids).contains("it lacks the input `input_ids`"), "{}", refusal(&no_ids));

    let image = directory(|graph| {
        let pixels = graph.token_input("pixel_values");
        let states = look_up(graph, &pixels);
        graph.output("last_hidden_state", &states, &["batch", "sequence", "hidden"]);
    });
    assert!(refusal(&image).contains("the input `pixel_values`, expected only `input_ids`"), "{}", refusal(&image));

    let classifier = directory(|graph| {
        let ids = graph.token_input("input_ids");
        let states = look_up(graph, &ids);
        graph.output("logits", &states, &["batch", "sequence", "hidden"]);
    });
    assert!(refusal(&classifier).contains("the outputs `logits`, expected one of"), "{}", refusal(&classifier));

    let small = directory(|graph| {
        let ids = graph.token_input("input_ids");
        let table = graph.floats(&[10, 4], &[0.5; 40]);
        let states = graph.op("Gather", [&table, &ids], &[]);
        graph.output("last_hidden_state", &states, &["batch", "sequence", "hidden"]);
    });
    assert!(refusal(&small).contains("it loads but does not run"), "{}", refusal(&small));
}

fn imported() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    tiny::write_model(&directory.path().join("model"), &Spec::encoder(Family::Bert));
    directory
}

fn load_imported(directory: &TempDir, precision: Precision) -> Result<SentenceEncoder, ModelError> {
    SentenceEncoder::load(&directory.path().join("model"), precision)
}

#[test]
fn a_file_that_changed_since_the_import_is_refused() {
    type Damage = fn(&Path);
    let cases: [(&str, &str, Damage); 4] = [
        ("model.int8.onnx", "bytes, expected", |path| {
            let content = fs::read(path).unwrap();
            fs::write(path, &content[..content.len() / 2]).unwrap();
        }),
        ("tokenizer.json", "its content has changed", |path| {
            let content = fs::read_to_string(path).unwrap();
            fs::write(path, content.replace("hello", "hallo")).unwrap();
        }),
        ("model.int8.onnx", "cannot access", |path| fs::remove_file(path).unwrap()),
        ("encoder.json", "not the description of a model", |path| fs::write(path, "[]").unwrap()),
    ];
    for (file, reason, damage) in cases {
        let directory = imported();
        damage(&directory.path().join("model").join(file));
        let message = load_imported(&directory, Precision::Int8).expect_err(reason).to_string();
        assert!(message.contains(reason) && message.contains(file), "{message}\nexpected {reason} of {file}");
    }
}

#[test]
fn a_graph_that_computes_something_else_than_at_its_import_is_refused() {
    let directory = imported();
    let path = directory.path().join("model").join("encoder.json");
    let mut specification: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let wrong: Vec<f32> = (0..tiny::DIMENSION).map(|index| (index as f32).cos()).collect();
    specification["probes"] = serde_json::json!({"int8": wrong});
    fs::write(&path, specification.to_string()).unwrap();
    let message = load_imported(&directory, Precision::Int8).unwrap_err().to_string();
    assert!(message.contains("does not compute here what it computed when it was imported"), "{message}");
    load_imported(&directory, Precision::Fp32).expect("the other graph has nothing to compare with");
}

#[test]
fn precisions_have_fingerprints_of_their_own() {
    let directory = imported();
    let fingerprint = |precision| load_imported(&directory, precision).unwrap().fingerprint().to_owned();
    assert_ne!(fingerprint(Precision::Int8), fingerprint(Precision::Fp32));
    assert_eq!(fingerprint(Precision::Int8), fingerprint(Precision::Int8));
}

#[test]
fn int8_embeddings_do_not_depend_on_their_batch() {
    let encoder = load_imported(&imported(), Precision::Int8).unwrap();
    for (a, b) in encoder.embed(&TEXTS).unwrap().iter().zip(alone(&encoder)) {
        assert!(cosine(&a.values, &b.values) >= 0.9999);
    }
}

#[test]
fn a_text_at_the_limit_is_whole_and_one_beyond_is_cut() {
    let encoder = tiny::encoder();
    let words = |count: usize| "please ".repeat(count);
    let embeddings = encoder.embed(&[&words(62), &words(63), &words(5_000)]).unwrap();
    assert_eq!(embeddings.iter().map(|embedding| embedding.truncated).collect::<Vec<_>>(), [false, true, true]);
    assert_eq!(embeddings[0].values, embeddings[2].values, "only the first 62 words are read");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_damaged_graph_never_panics(damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4), cut in prop::option::of(any::<prop::sample::Index>())) {
        let directory = directory(|graph| {
            let ids = graph.token_input("input_ids");
            let states = look_up(graph, &ids);
            graph.output("last_hidden_state", &states, &["batch", "sequence", "hidden"]);
        });
        let path = directory.path().join("model.onnx");
        let mut content = fs::read(&path).unwrap();
        for (at, byte) in damage {
            // The table in the middle is mere numbers; the structure stands before and after it.
            let reach = content.len().min(600);
            let place = at.index(reach);
            let place = if place < 300 { place } else { content.len() - 1 - (place - 300) };
            content[place] = byte;
        }
        if let Some(cut) = cut {
            content.truncate(cut.index(content.len()));
        }
        fs::write(path, content).unwrap();
        if let Ok(encoder) = load(&directory) {
            let _ = encoder.embed(&TEXTS);
        }
    }
}
