use std::collections::BTreeMap;

use super::*;
use crate::{
    Calibration, Labels, ModelKind,
    linear::Linear,
    ngram::{NgramOptions, Ngrams},
};

fn manifest(version: &str, created_at: &str) -> Manifest {
    let metrics = ModelMetrics {
        measured_on: MeasuredOn::OutOfFold,
        rows: 4,
        accuracy: 1.0,
        macro_f1: 1.0,
        ece: 0.0,
        brier: Some(0.0),
        auroc: None,
        coverage: 1.0,
        accepted_error: 0.0,
        hyper_parameters: BTreeMap::new(),
    };
    let linear = ModelEntry { path: Some("linear.bin".to_owned()), calibration: Calibration::IDENTITY, metrics };
    Manifest {
        schema: SCHEMA_VERSION,
        version: version.to_owned(),
        created_at: created_at.to_owned(),
        pack: PackReference { name: "demo".to_owned(), version: "1".to_owned() },
        labels: Labels::new(["music", "weather"]),
        data: DataSummary::default(),
        encoder: None,
        training: TrainingSettings { seed: 0, target_error: 0.02, in_scope_retention: 0.97 },
        models: BTreeMap::from([(ModelKind::Linear, linear)]),
        files: BTreeMap::new(),
    }
}

fn linear(labels: [&str; 2]) -> Linear {
    let ngrams = Ngrams::fit(["play", "rain"], NgramOptions::default());
    let weights = vec![0.5; ngrams.len() * 2];
    Linear::new(Labels::new(labels), ngrams, &weights, vec![0.0, 0.0])
}

fn write(directory: &ModelDirectory, version: &str, created_at: &str) {
    let files = vec![
        ("linear.bin".to_owned(), Content::Bytes(linear(["music", "weather"]).to_bytes())),
        ("notes/readme.txt".to_owned(), Content::Bytes(b"hello".to_vec())),
    ];
    directory.write(NewVersion { manifest: manifest(version, created_at), files }).expect("written");
}

/// A directory with the versions `a` and `b`, `b` the older one.
fn directory() -> (tempfile::TempDir, ModelDirectory) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let directory = ModelDirectory::new(folder.path());
    write(&directory, "a", "2025-01-02T00:00:00Z");
    write(&directory, "b", "2025-01-01T00:00:00Z");
    (folder, directory)
}

#[test]
fn a_written_version_opens_and_loads() {
    let (_folder, directory) = directory();
    let version = directory.open("a").expect("whole");
    assert_eq!(version.manifest().files.keys().collect::<Vec<_>>(), ["linear.bin", "notes/readme.txt"]);
    assert!(version.linear().expect("loads").is_some());
    assert_eq!(version.pack_path(), None);
}

#[test]
fn versions_are_listed_by_age_and_broken_ones_with_their_reason() {
    let (folder, directory) = directory();
    fs::create_dir(folder.path().join("versions/0-broken")).expect("created");
    directory.promote("b").expect("promoted");
    let listed = directory.list().expect("listed");
    let shown: Vec<(&str, bool, bool)> =
        listed.iter().map(|one| (one.name.as_str(), one.current, one.manifest.is_ok())).collect();
    assert_eq!(shown, [("b", true, true), ("a", false, true), ("0-broken", false, false)]);
}

#[test]
fn rollback_goes_back_the_way_promotions_came() {
    let (folder, directory) = directory();
    write(&directory, "c", "2025-01-03T00:00:00Z");
    assert_eq!(directory.current().expect("readable"), None);
    assert!(directory.rollback().is_err(), "nothing served yet");
    for version in ["a", "b", "b", "c"] {
        directory.promote(version).expect("promoted");
    }
    assert_eq!(directory.rollback().expect("b served before"), "b");
    assert_eq!(directory.current().expect("readable").as_deref(), Some("b"));
    assert_eq!(directory.rollback().expect("a served before"), "a");
    assert!(directory.rollback().is_err(), "nothing served before a");
    assert_eq!(directory.current().expect("readable").as_deref(), Some("a"));

    directory.promote("c").expect("promoted");
    directory.promote("b").expect("promoted");
    fs::remove_dir_all(folder.path().join("versions/c")).expect("removed");
    assert_eq!(directory.rollback().expect("a is still there"), "a");
}

#[test]
fn a_damaged_version_is_not_promoted_and_every_problem_is_named() {
    let (folder, directory) = directory();
    directory.promote("b").expect("promoted");
    let a = folder.path().join("versions/a");
    let mut bytes = fs::read(a.join("linear.bin")).expect("read");
    *bytes.last_mut().expect("not empty") ^= 1;
    fs::write(a.join("linear.bin"), bytes).expect("damaged");
    fs::remove_file(a.join("notes/readme.txt")).expect("removed");
    fs::write(a.join("extra.bin"), "x").expect("added");
    let message = directory.promote("a").expect_err("damaged").to_string();
    for part in ["`linear.bin` has SHA-256", "`notes/readme.txt` is missing", "`extra.bin` is not listed"] {
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(directory.current().expect("readable").as_deref(), Some("b"));
}

#[test]
fn an_unknown_version_names_the_known_ones() {
    let (_folder, directory) = directory();
    let message = directory.open("../a").expect_err("unknown").to_string();
    assert_eq!(message, "there is no version `../a`, expected one of `a`, `b`");
}

#[test]
fn a_version_never_changes() {
    let (_folder, directory) = directory();
    let again = NewVersion { manifest: manifest("a", "2025-01-02T00:00:00Z"), files: Vec::new() };
    assert!(directory.write(again).is_err());
    directory.open("a").expect("still whole");
}

#[test]
fn a_failed_write_leaves_nothing_behind() {
    let (folder, directory) = directory();
    let files = vec![("x".to_owned(), Content::CopyOf(folder.path().join("missing")))];
    directory.write(NewVersion { manifest: manifest("c", "2025"), files }).expect_err("no such file");
    let left: Vec<_> = fs::read_dir(folder.path().join("versions")).expect("listed").collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

#[test]
fn a_manifest_cannot_lead_out_of_its_folder_or_describe_another_version() {
    let (folder, directory) = directory();
    let path = folder.path().join("versions/a/model.json");
    let good = fs::read_to_string(&path).expect("read");
    for (from, to, reason) in [
        ("\"notes/readme.txt\"", "\"../b/model.json\"", "not within the version's folder"),
        ("\"path\": \"linear.bin\"", "\"path\": \"/etc/passwd\"", "not within the version's folder"),
        ("\"version\": \"a\"", "\"version\": \"b\"", "it describes version `b`"),
        ("\"schema\": 1", "\"schema\": 2", "it has schema 2, this program reads 1"),
        ("\"schema\"", "schema", "line 2"),
    ] {
        fs::write(&path, good.replacen(from, to, 1)).expect("written");
        let message = directory.open("a").expect_err("refused").to_string();
        assert!(message.contains(reason), "{message}");
    }
}

#[test]
fn a_model_with_other_labels_than_the_manifest_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let directory = ModelDirectory::new(folder.path());
    let files = vec![("linear.bin".to_owned(), Content::Bytes(linear(["weather", "music"]).to_bytes()))];
    directory.write(NewVersion { manifest: manifest("a", "2025"), files }).expect("written");
    let message = directory.open("a").expect("whole").linear().expect_err("other labels").to_string();
    assert!(message.contains("are not the 2 of `model.json`"), "{message}");
}

#[test]
fn names_of_versions_sort_by_time_and_hold_only_safe_characters() {
    assert_eq!(
        version_name("my/../pack", "2025-01-02T03:04:05Z", "0123456789abcdef"),
        "mypack-20250102T030405Z-01234567"
    );
    assert!(is_version_name(&version_name("", "", "")));
    assert!(!is_version_name(".hidden") && !is_version_name("a/b") && !is_version_name(""));
}

#[test]
fn a_version_that_anybody_may_change_or_that_leads_elsewhere_is_refused() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let (folder, directory) = directory();
    let file = folder.path().join("versions/a/linear.bin");
    let set_mode = |mode| fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("the test owns it");
    set_mode(0o666);
    let error = directory.open("a").expect_err("anybody may write it").to_string();
    assert!(error.contains("linear.bin") && error.contains("chmod o-w"), "{error}");
    set_mode(0o644);
    directory.open("a").expect("only the owner may write it");

    // The same content, but where nobody expects it.
    let elsewhere = tempfile::tempdir().expect("a temporary folder");
    let moved = elsewhere.path().join("linear.bin");
    fs::copy(&file, &moved).expect("copied");
    fs::remove_file(&file).expect("removed");
    symlink(&moved, &file).expect("linked");
    let error = directory.open("a").expect_err("it leads elsewhere").to_string();
    assert!(error.contains("not within"), "{error}");

    // Within the model directory links are how volumes are mounted.
    let shared = folder.path().join("shared.bin");
    fs::copy(&moved, &shared).expect("copied");
    fs::remove_file(&file).expect("removed");
    symlink(&shared, &file).expect("linked");
    directory.open("a").expect("it stays within");
}
