//! The sentences of ARCHITECTURE.md about what each crate must not know, kept true.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs,
    path::{Path, PathBuf},
};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, PackageId};

use crate::program::repository;

/// What speaks to the outside.
const HTTP: [&str; 6] = ["axum", "hyper", "reqwest", "tower", "tower-http", "tonic"];
const STORAGE: [&str; 4] = ["sqlx", "redis", "rusqlite", "tokio-postgres"];
const METRICS: [&str; 4] = ["prometheus", "prometheus-client", "metrics", "opentelemetry"];
const COMMAND_LINE: [&str; 4] = ["clap", "confique", "dotenvy", "indicatif"];
const ASYNC: [&str; 3] = ["tokio", "async-std", "smol"];

fn metadata() -> Metadata {
    MetadataCommand::new()
        .manifest_path(repository().join("Cargo.toml"))
        .other_options(["--offline".to_owned(), "--locked".to_owned()])
        .exec()
        .expect("the workspace is complete")
}

/// Everything that ends up in a crate, tests and build scripts aside.
fn dependencies(metadata: &Metadata, name: &str) -> BTreeSet<String> {
    let names: HashMap<&PackageId, &str> =
        metadata.packages.iter().map(|package| (&package.id, package.name.as_str())).collect();
    let resolve = metadata.resolve.as_ref().expect("dependencies are resolved");
    let nodes: HashMap<&PackageId, _> = resolve.nodes.iter().map(|node| (&node.id, node)).collect();
    let root = metadata.workspace_packages().into_iter().find(|package| package.name.as_str() == name);
    let mut waiting = vec![&root.unwrap_or_else(|| panic!("there is a crate `{name}`")).id];
    let mut found = BTreeSet::new();
    while let Some(id) = waiting.pop() {
        for dependency in &nodes[id].deps {
            let is_normal = dependency.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal);
            if is_normal && found.insert(names[&dependency.pkg].to_owned()) {
                waiting.push(&dependency.pkg);
            }
        }
    }
    found
}

fn assert_without(name: &str, forbidden: &[&[&str]]) {
    let found = dependencies(&metadata(), name);
    let known: Vec<&str> = forbidden.concat().into_iter().filter(|&forbidden| found.contains(forbidden)).collect();
    assert!(known.is_empty(), "`{name}` must not know {known:?}; see ARCHITECTURE.md");
}

#[test]
fn the_models_know_nothing_of_the_outside() {
    let others: &[&str] = &["intent-engine", "intent-training", "intent-classifier", "tracing"];
    assert_without("intent-model", &[&ASYNC, &HTTP, &STORAGE, &METRICS, &COMMAND_LINE, others]);
}

#[test]
fn training_knows_no_server() {
    let others: &[&str] = &["intent-engine", "intent-classifier", "tracing"];
    assert_without("intent-training", &[&ASYNC, &HTTP, &STORAGE, &METRICS, &COMMAND_LINE, others]);
}

#[test]
fn the_engine_knows_no_outside_and_of_tokio_only_time_and_channels() {
    let others: &[&str] = &["intent-training", "intent-classifier"];
    assert_without("intent-engine", &[&HTTP, &STORAGE, &METRICS, &COMMAND_LINE, others]);
    let metadata = metadata();
    let engine = metadata.packages.iter().find(|package| package.name.as_str() == "intent-engine").expect("a crate");
    let tokio = engine
        .dependencies
        .iter()
        .find(|dependency| dependency.name == "tokio" && dependency.kind == DependencyKind::Normal)
        .expect("the engine uses tokio");
    let features: BTreeSet<&str> = tokio.features.iter().map(String::as_str).collect();
    assert!(features.is_subset(&BTreeSet::from(["sync", "time"])), "{features:?}");
}

#[test]
fn the_inner_crates_read_no_environment_and_the_models_no_clock() {
    let environment = ["env::var", "std::env"];
    let clock = ["Instant::now", "SystemTime", "chrono::", "std::time"];
    let rules: [(&str, &[&str]); 4] = [
        ("intent-model", &environment),
        ("intent-model", &clock),
        ("intent-training", &environment),
        ("intent-engine", &environment),
    ];
    for (name, forbidden) in rules {
        for file in sources(&repository().join("crates").join(name).join("src")) {
            let source = fs::read_to_string(&file).expect("a source file is text");
            let own = source.split("#[cfg(test)]").next().unwrap_or_default();
            let found: Vec<&&str> = forbidden.iter().filter(|word| own.contains(**word)).collect();
            assert!(found.is_empty(), "{} must not use {found:?}", file.display());
        }
    }
}

#[test]
fn unsafe_code_stands_only_where_this_list_says() {
    // Files that switch the lint off, with their reason beside it.
    const UNSAFE_IN: &[&str] = &["crates/intent-classifier/src/memory.rs"];
    let workspace = fs::read_to_string(repository().join("Cargo.toml")).expect("a manifest");
    assert!(workspace.contains("unsafe_code = \"deny\""));
    for folder in fs::read_dir(repository().join("crates")).expect("there are crates") {
        let folder = folder.expect("the folder can be listed").path();
        let manifest = fs::read_to_string(folder.join("Cargo.toml")).expect("a manifest");
        assert!(manifest.contains("[lints]\nworkspace = true"), "{}", folder.display());
        for file in sources(&folder.join("src")) {
            let source = fs::read_to_string(&file).expect("a source file is text");
            let name = file.strip_prefix(repository()).expect("it is in the repository").display().to_string();
            let is_listed = UNSAFE_IN.contains(&name.as_str());
            assert_eq!(source.contains("(unsafe_code"), is_listed, "{name}");
        }
    }
}

#[test]
fn no_two_types_share_a_name_in_the_description_of_the_interface() {
    let mut places = BTreeMap::<String, PathBuf>::new();
    for file in sources(&repository().join("crates/intent-classifier/src/http")) {
        let source = fs::read_to_string(&file).expect("a source file is text");
        let derived = source
            .split("#[derive(")
            .skip(1)
            .filter(|rest| rest.split(')').next().is_some_and(|traits| traits.contains("ToSchema")));
        for rest in derived {
            let words: Vec<&str> = rest.split_whitespace().collect();
            let kind = words.iter().position(|word| matches!(*word, "struct" | "enum")).expect("it derives for a type");
            let name: String = words[kind + 1].chars().take_while(|letter| letter.is_alphanumeric()).collect();
            // One of the two would silently describe both.
            if let Some(other) = places.insert(name.clone(), file.clone()) {
                panic!("`{name}` is in {} and in {}", other.display(), file.display());
            }
        }
    }
    assert!(places.len() > 30, "{places:?}");
}

/// The source files below a folder, those of tests aside.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("a crate has sources") {
        let path = entry.expect("the folder can be listed").path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("tests.rs") {
            files.push(path);
        }
    }
    files
}

/// Files outside of the crates that the program is compiled with, such as migrations and the default pack.
fn compiled_in(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).expect("a folder of the crate") {
        let path = entry.expect("a file of the crate").path();
        if path.is_dir() {
            compiled_in(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let source = fs::read_to_string(&path).expect("text");
            let included = source.split("include_str!(\"../../../../").skip(1);
            found.extend(included.filter_map(|rest| rest.split_once('"')).map(|(file, _)| file.to_owned()));
        }
    }
}

#[test]
fn the_image_is_built_from_everything_that_is_compiled_in() {
    let mut files = BTreeSet::new();
    compiled_in(&repository().join("crates/intent-classifier/src"), &mut files);
    assert!(files.contains("migrations/0001_initial.sql"), "found only {files:?}");
    let read = |path: &str| fs::read_to_string(repository().join(path)).expect(path);
    let (dockerfile, ignored) = (read("deploy/docker/Dockerfile"), read(".dockerignore"));
    let copied: Vec<&str> =
        dockerfile.lines().filter_map(|line| line.strip_prefix("COPY ")?.split(' ').next()).collect();
    let let_through: Vec<&str> = ignored.lines().filter_map(|line| line.strip_prefix('!')).collect();
    for file in files {
        let is_below = |folders: &[&str]| folders.iter().any(|&folder| Path::new(&file).starts_with(folder));
        assert!(is_below(&copied), "deploy/docker/Dockerfile does not copy `{file}`");
        assert!(is_below(&let_through), ".dockerignore keeps `{file}` out");
    }
}
