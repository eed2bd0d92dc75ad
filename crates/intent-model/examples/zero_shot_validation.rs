//! How much each part of `zero_shot` adds, on a validation split: the figures of `docs/zero-shot.md`.
//!
//! ```sh
//! cargo run --release -p intent-model --example zero_shot_validation -- ENCODER_DIR PACK
//! cargo run --release -p intent-model --example zero_shot_validation -- ENCODER_DIR TRAIN.jsonl TEST.jsonl [OUT_OF_SCOPE.jsonl]
//! ```
//!
//! `PACK` is a folder with validation texts. The files hold rows `{"text", "intent"}`; the labels of `TRAIN.jsonl` are
//! the intents, and their names the only description.
#![expect(clippy::print_stdout, reason = "the table is what this program is for")]

use std::{collections::BTreeSet, env, error::Error, fs, path::Path, sync::Arc};

use intent_model::{
    Document, Labels, Model, Pack, Scores, SentenceEncoder, ZeroShot, encoder::Precision, pack::LabelledText,
};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let pack = match &arguments[..] {
        [_, pack] => Pack::load(Path::new(pack))?,
        [_, train, test, out_of_scope @ ..] => pack_of_files(train, test, out_of_scope.first())?,
        _ => return Err("usage: ENCODER_DIR PACK | ENCODER_DIR TRAIN.jsonl TEST.jsonl [OUT_OF_SCOPE.jsonl]".into()),
    };
    let encoder = Arc::new(SentenceEncoder::load(Path::new(&arguments[0]), Precision::Int8)?);
    let texts: Vec<Document> = pack.validation.iter().map(|row| Document::new(&*row.text)).collect();
    let foreign: Vec<Document> = pack.out_of_scope_validation.iter().map(|text| Document::new(&**text)).collect();
    println!("{}: {} intents, {} texts, {} out of scope", pack.name, pack.intents.len(), texts.len(), foreign.len());
    println!("{:42} {:>9}  {:>6}", "", "accuracy", "AUROC");

    let names: Vec<String> = pack.intents.iter().map(|intent| intent.name.replace('_', " ")).collect();
    let bare = BareNames::new(&names, &encoder)?;
    print_row("bare name", accuracy(&bare.rows(&texts, &encoder)?, &pack.validation), None);
    for examples in [0, 5, 10, 25, 100, usize::MAX] {
        let most = pack.intents.iter().map(|intent| intent.examples.len()).max().unwrap_or(0);
        if examples != usize::MAX && examples >= most.max(1) {
            continue;
        }
        let model = ZeroShot::new(&with_examples(&pack, examples), encoder.clone())?;
        let score = |texts: &[Document]| model.score(&texts.iter().collect::<Vec<_>>());
        let scores = score(&texts)?;
        let rows: Vec<Vec<f32>> = scores.iter().map(|scores| scores.logits.clone()).collect();
        let auroc = match foreign.is_empty() {
            true => None,
            false => Some(auroc(&out_of_scope(&scores), &out_of_scope(&score(&foreign)?))),
        };
        let title = match examples {
            0 => "name and description".to_owned(),
            usize::MAX => format!("name, description and all {} examples", pack.examples().count()),
            count => format!("name, description and {count} examples each"),
        };
        print_row(&title, accuracy(&rows, &pack.validation), auroc);
    }
    Ok(())
}

fn print_row(title: &str, accuracy: f64, auroc: Option<f64>) {
    let auroc = auroc.map_or_else(|| "-".to_owned(), |auroc| format!("{auroc:.3}"));
    println!("{title:42} {:8.1}%  {auroc:>6}", 100.0 * accuracy);
}

/// The baseline: the cosine of the text and the name as words.
struct BareNames(Vec<Arc<[f32]>>);

impl BareNames {
    fn new(names: &[String], encoder: &SentenceEncoder) -> Result<Self, Box<dyn Error>> {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        Ok(Self(encoder.embed(&names)?.into_iter().map(|embedding| embedding.values).collect()))
    }

    fn rows(&self, texts: &[Document], encoder: &SentenceEncoder) -> Result<Vec<Vec<f32>>, Box<dyn Error>> {
        encoder.embed_documents(&texts.iter().collect::<Vec<_>>())?;
        let similarity = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f32>();
        let row = |text: &Document| {
            let text = &text.embedding().expect("it was just embedded").values;
            self.0.iter().map(|name| similarity(name, text)).collect()
        };
        Ok(texts.iter().map(row).collect())
    }
}

fn with_examples(pack: &Pack, count: usize) -> Pack {
    let mut pack = pack.clone();
    pack.intents.iter_mut().for_each(|intent| intent.examples.truncate(count));
    pack
}

fn out_of_scope(scores: &[Scores]) -> Vec<f32> {
    scores.iter().map(|scores| scores.out_of_scope.expect("zero_shot has an out-of-scope score")).collect()
}

fn accuracy(rows: &[Vec<f32>], expected: &[LabelledText]) -> f64 {
    let best = |row: &Vec<f32>| (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b]));
    rows.iter().zip(expected).filter(|(row, expected)| best(row) == Some(expected.label)).count() as f64
        / expected.len() as f64
}

/// The chance that a foreign text has a higher out-of-scope score than one in scope.
fn auroc(inside: &[f32], foreign: &[f32]) -> f64 {
    let wins = |a: f32, b: f32| f64::from(u8::from(a > b)) + 0.5 * f64::from(u8::from(a == b));
    let sum: f64 = foreign.iter().flat_map(|&a| inside.iter().map(move |&b| wins(a, b))).sum();
    sum / (inside.len() * foreign.len()) as f64
}

fn pack_of_files(train: &str, test: &str, out_of_scope: Option<&String>) -> Result<Pack, Box<dyn Error>> {
    let train = read_rows(train)?;
    let names: BTreeSet<&str> = train.iter().map(|(_, intent)| &**intent).collect();
    let labels = Labels::new(names);
    let labelled: Vec<(&str, usize)> =
        train.iter().filter_map(|(text, intent)| Some((&**text, labels.index_of(intent)?))).collect();
    let mut pack = Pack::from_examples("files", &labels, labelled)?;
    let rows = read_rows(test)?.into_iter();
    pack.validation =
        rows.filter_map(|(text, intent)| Some(LabelledText { text, label: labels.index_of(&intent)? })).collect();
    if let Some(path) = out_of_scope {
        pack.out_of_scope_validation = read_rows(path)?.into_iter().map(|(text, _)| text).collect();
    }
    Ok(pack)
}

fn read_rows(path: &str) -> Result<Vec<(String, String)>, Box<dyn Error>> {
    let field = |row: &serde_json::Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
    let row = |line: &str| serde_json::from_str(line).map(|row| (field(&row, "text"), field(&row, "intent")));
    Ok(fs::read_to_string(path)?.lines().map(row).collect::<Result<_, _>>()?)
}
