//! Archives for TorchServe, written without Python.

use std::{
    fs, io,
    io::{Cursor, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use intent_model::import::HuggingFaceModel;
use serde_json::{Value, json};
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

/// Our side of TorchServe.
const HANDLER: (&str, &str) = ("intent_handler.py", include_str!("../../../../deploy/torchserve/intent_handler.py"));
const WEIGHTS: &str = "model.safetensors";
const TOKENIZER: &str = "tokenizer.json";

/// What to write.
#[derive(Debug)]
pub(crate) struct Archive<'a> {
    /// A directory of Hugging Face with a sequence classifier.
    pub(crate) model: &'a Path,
    /// The name of the model on TorchServe.
    pub(crate) name: &'a str,
    /// Its version on TorchServe.
    pub(crate) version: &'a str,
}

/// What was written.
#[derive(Debug)]
pub(crate) struct Written {
    /// The labels, in the order of the logits.
    pub(crate) labels: Vec<String>,
    /// The size of the archive.
    pub(crate) bytes: usize,
}

impl Archive<'_> {
    /// Writes the archive under another name and renames it when it is whole. The same model gives the same bytes.
    ///
    /// Only files of this list go in, under the names of this list: nothing that a directory holds decides where a file is
    /// unpacked.
    ///
    /// # Errors
    /// When the directory holds no classifier that can be served, or a file cannot be read or written.
    pub(crate) fn write(&self, out: &Path) -> anyhow::Result<Written> {
        check_name("name", self.name)?;
        check_name("version", self.version)?;
        if out.extension().is_none_or(|extension| extension != "mar") {
            bail!("`{}` must end with `.mar`: TorchServe takes nothing else", out.display());
        }
        for name in ["config.json", WEIGHTS, TOKENIZER] {
            if !self.model.join(name).is_file() {
                let folder = self.model.display();
                bail!(
                    "there is no `{name}` in `{folder}`; expected the Hugging Face directory of a fine-tuned classifier"
                );
            }
        }
        // Reading it whole proves that the weights are complete and fit the configuration.
        let model = HuggingFaceModel::load(self.model)?;
        let labels = model.labels();
        if labels.is_empty() {
            bail!("`{}` is an encoder, not a classifier", self.model.display());
        }
        let max_tokens = model.max_tokens()?;
        drop(model);

        let tokenizer = self.read(TOKENIZER)?;
        let serving = json!({
            "labels": labels, "max_tokens": max_tokens, "pad_token": self.pad_token(&tokenizer)?,
        });
        let manifest = json!({
            "runtime": "python",
            "model": {
                "modelName": self.name,
                "modelVersion": self.version,
                "handler": HANDLER.0,
                "serializedFile": WEIGHTS,
            },
            "archiverVersion": "0.12.0",
        });
        let files = [
            ("MAR-INF/MANIFEST.json", pretty(&manifest)),
            (HANDLER.0, HANDLER.1.as_bytes().to_vec()),
            ("config.json", self.read("config.json")?),
            ("serving.json", pretty(&serving)),
            (TOKENIZER, tokenizer),
            (WEIGHTS, self.read(WEIGHTS)?),
        ];
        let archive = zip(&files)?;
        let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(folder).with_context(|| format!("cannot make `{}`", folder.display()))?;
        replace(out, &archive).with_context(|| format!("cannot write `{}`", out.display()))?;
        Ok(Written { labels, bytes: archive.len() })
    }

    fn read(&self, name: &str) -> anyhow::Result<Vec<u8>> {
        let path = self.model.join(name);
        fs::read(&path).with_context(|| format!("cannot read `{}`", path.display()))
    }

    /// Returns what fills up short texts in a batch, as the tokenizer's own files have it.
    fn pad_token(&self, tokenizer: &[u8]) -> anyhow::Result<String> {
        let broken = || format!("`{}` is not readable", self.model.join(TOKENIZER).display());
        let tokenizer: Value = serde_json::from_slice(tokenizer).with_context(broken)?;
        if let Some(token) = tokenizer["padding"]["pad_token"].as_str() {
            return Ok(token.to_owned());
        }
        let config: Value = serde_json::from_slice(&self.read("config.json")?)?;
        let id = config["pad_token_id"].as_u64().unwrap_or(0);
        let vocabulary = tokenizer["model"]["vocab"].as_object().with_context(broken)?;
        let token = vocabulary.iter().find(|(_, number)| number.as_u64() == Some(id)).map(|(token, _)| token.clone());
        token.with_context(|| format!("the tokenizer has no token {id}, which `config.json` names for padding"))
    }
}

fn zip(files: &[(&str, Vec<u8>)]) -> anyhow::Result<Vec<u8>> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in files {
        // Weights are noise, which only costs time to squeeze. The time of writing stays out.
        let method = if *name == WEIGHTS { CompressionMethod::Stored } else { CompressionMethod::Deflated };
        let options = SimpleFileOptions::default()
            .compression_method(method)
            .last_modified_time(zip::DateTime::default())
            .unix_permissions(0o644);
        archive.start_file(*name, options)?;
        archive.write_all(content)?;
    }
    Ok(archive.finish()?.into_inner())
}

fn replace(out: &Path, content: &[u8]) -> io::Result<()> {
    let mut staged = out.as_os_str().to_owned();
    staged.push(format!(".{}", std::process::id()));
    let staged = PathBuf::from(staged);
    let written = fs::write(&staged, content).and_then(|()| fs::rename(&staged, out));
    if written.is_err() {
        // The error says what matters.
        let _ = fs::remove_file(&staged);
    }
    written
}

/// Names and versions become parts of paths, on TorchServe's disk and in its addresses.
fn check_name(what: &str, name: &str) -> anyhow::Result<()> {
    let allowed = |character: char| character.is_ascii_alphanumeric() || matches!(character, '.' | '_' | '-');
    if name.is_empty() || name.starts_with('.') || !name.chars().all(allowed) {
        bail!(
            "the {what} `{name}` cannot be used; expected letters, digits, `.`, `_` and `-`, not beginning with a dot"
        );
    }
    Ok(())
}

fn pretty(value: &Value) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(value).expect("a JSON value always serialises");
    bytes.push(b'\n');
    bytes
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use intent_model::tiny::{Family, Spec, write_hugging_face_dir};
    use zip::ZipArchive;

    use super::*;

    fn classifier(folder: &Path) -> PathBuf {
        let model = folder.join("model");
        write_hugging_face_dir(&model, &Spec::classifier(Family::DistilBert, &["refund", "greeting"]));
        model
    }

    #[test]
    fn an_archive_holds_what_torchserve_unpacks_and_nothing_else() {
        let folder = tempfile::tempdir().expect("there is room for a folder");
        let model = classifier(folder.path());
        fs::write(model.join("evil.py"), "import os").expect("a file can be written");
        let out = folder.path().join("store/intent_classifier.mar");
        let archive = Archive { model: &model, name: "intent_classifier", version: "1.0" };
        let written = archive.write(&out).expect("the model is whole");
        assert_eq!(written.labels, ["refund", "greeting"]);

        let bytes = fs::read(&out).expect("the archive is there");
        assert_eq!(bytes.len(), written.bytes);
        let mut zip = ZipArchive::new(Cursor::new(&bytes)).expect("it is a zip");
        let names: Vec<String> = zip.file_names().map(|name| name.expect("a plain name").into_owned()).collect();
        assert_eq!(
            names,
            [
                "MAR-INF/MANIFEST.json",
                "intent_handler.py",
                "config.json",
                "serving.json",
                "tokenizer.json",
                "model.safetensors"
            ]
        );
        let mut read = |name: &str| {
            let mut content = Vec::new();
            zip.by_name(name).expect("it is listed").read_to_end(&mut content).expect("it unpacks");
            content
        };
        assert_eq!(read("model.safetensors"), fs::read(model.join("model.safetensors")).expect("it is there"));
        let json = |bytes: Vec<u8>| serde_json::from_slice::<Value>(&bytes).expect("JSON");
        insta::assert_json_snapshot!(json(read("MAR-INF/MANIFEST.json")));
        assert_eq!(
            json(read("serving.json")),
            json!({"labels": ["refund", "greeting"], "max_tokens": 64, "pad_token": "[PAD]"})
        );

        let again = folder.path().join("again.mar");
        archive.write(&again).expect("the model is whole");
        assert_eq!(fs::read(&again).expect("it is there"), bytes, "the same model gives the same bytes");
        let left: Vec<_> = fs::read_dir(folder.path().join("store")).expect("it is there").collect();
        assert_eq!(left.len(), 1, "nothing half-written is left");
    }

    #[test]
    fn what_cannot_be_served_is_refused() {
        let folder = tempfile::tempdir().expect("there is room for a folder");
        let model = classifier(folder.path());
        let encoder = folder.path().join("encoder");
        write_hugging_face_dir(&encoder, &Spec::encoder(Family::Bert));
        let broken = folder.path().join("broken");
        write_hugging_face_dir(&broken, &Spec::classifier(Family::DistilBert, &["a", "b"]));
        fs::write(broken.join("model.safetensors"), "no weights").expect("a file can be written");
        let (empty, out) = (folder.path().join("empty"), folder.path().join("x.mar"));
        let cases: [(&Path, &str, &str, &Path, &str); 9] = [
            (&encoder, "m", "1", &out, "is an encoder, not a classifier"),
            (&broken, "m", "1", &out, "model.safetensors"),
            (&empty, "m", "1", &out, "there is no `config.json`"),
            (&model, "m", "1", Path::new("x.zip"), "must end with `.mar`"),
            (&model, "../m", "1", &out, "the name `../m` cannot be used"),
            (&model, "a/b", "1", &out, "the name `a/b` cannot be used"),
            (&model, "", "1", &out, "the name `` cannot be used"),
            (&model, "m", "..", &out, "the version `..` cannot be used"),
            (&model, "m", "1 0", &out, "the version `1 0` cannot be used"),
        ];
        for (model, name, version, out, reason) in cases {
            let error = Archive { model, name, version }.write(out).expect_err(reason);
            let message = format!("{error:#}");
            assert!(message.contains(reason), "{message}");
            assert!(!out.exists());
        }
    }
}
