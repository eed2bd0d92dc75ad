//! The files of a pack as text, from a disk or from memory, with their lines.

use std::{
    fs, io,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    PackErrors, Place,
    problem::{ProblemCode, Problems, suggestion},
};

/// The most bytes one file of a pack may have: 64 MiB.
const MAX_FILE_BYTES: u64 = 64 * 1024 * 1024;

/// The file of a folder pack that defines it.
pub(super) const DEFINITION: &str = "pack.toml";

/// One file of a pack.
#[derive(Clone, Debug)]
pub(super) struct SourceFile {
    name: Arc<str>,
    text: String,
    line_starts: Vec<usize>,
}

impl SourceFile {
    /// Takes a text as the file `name`; a byte-order mark at its start is dropped.
    pub(super) fn new(name: impl Into<Arc<str>>, text: &str) -> Self {
        let text = text.strip_prefix('\u{FEFF}').unwrap_or(text).to_owned();
        let line_starts = std::iter::once(0).chain(text.match_indices('\n').map(|(offset, _)| offset + 1)).collect();
        Self { name: name.into(), text, line_starts }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The file as a whole.
    pub(super) fn whole(&self) -> Place {
        Place { file: self.name.clone(), line: None }
    }

    /// The line on which a span of bytes begins.
    pub(super) fn place(&self, span: &Range<usize>) -> Place {
        let line = self.line_starts.partition_point(|start| *start <= span.start);
        Place { file: self.name.clone(), line: Some(line) }
    }

    /// The lines with their places.
    pub(super) fn lines(&self) -> impl Iterator<Item = (Place, &str)> {
        let place = |index| Place { file: self.name.clone(), line: Some(index + 1) };
        self.text.lines().enumerate().map(move |(index, line)| (place(index), line))
    }

    /// Reads a file from disk, or says what is wrong with it.
    fn read(path: &Path, problems: &mut Problems) -> Option<Self> {
        let name = path.display().to_string();
        let place = Place { file: name.as_str().into(), line: None };
        let bytes = match read_limited(path) {
            Ok(bytes) => bytes,
            Err(ReadError::Io(error)) => {
                problems.add(ProblemCode::Unreadable, &place, None, format!("cannot be read: {error}"));
                return None;
            }
            Err(ReadError::TooLarge(bytes)) => {
                let message = format!("has {bytes} bytes, at most {MAX_FILE_BYTES} are read");
                problems.add(ProblemCode::TooLarge, &place, None, message);
                return None;
            }
        };
        match String::from_utf8(bytes) {
            Ok(text) => Some(Self::new(name, &text)),
            Err(error) => {
                let valid = error.utf8_error().valid_up_to();
                let line = 1 + error.as_bytes()[..valid].iter().filter(|byte| **byte == b'\n').count();
                let place = Place { line: Some(line), ..place };
                problems.add(ProblemCode::NotUtf8, &place, None, "is not UTF-8; save the file in that encoding");
                None
            }
        }
    }
}

enum ReadError {
    Io(io::Error),
    TooLarge(u64),
}

fn read_limited(path: &Path) -> Result<Vec<u8>, ReadError> {
    let bytes = fs::metadata(path).map_err(ReadError::Io)?.len();
    if bytes > MAX_FILE_BYTES {
        return Err(ReadError::TooLarge(bytes));
    }
    fs::read(path).map_err(ReadError::Io)
}

/// The files of one pack.
#[derive(Debug)]
pub(super) struct Sources {
    pub(super) definition: SourceFile,
    pub(super) train: Option<SourceFile>,
    pub(super) validation: Option<SourceFile>,
    pub(super) test: Option<SourceFile>,
    pub(super) out_of_scope_validation: Option<SourceFile>,
    pub(super) out_of_scope_test: Option<SourceFile>,
}

/// The names of the files with rows.
pub(super) const SPLIT_FILES: [&str; 5] =
    ["train.jsonl", "validation.jsonl", "test.jsonl", "out_of_scope_validation.jsonl", "out_of_scope_test.jsonl"];

impl Sources {
    /// Reads a folder with a `pack.toml`, or a single TOML file.
    pub(super) fn read(path: &Path) -> Result<Self, PackErrors> {
        let mut problems = Problems::default();
        let folder = path.is_dir();
        let definition = if folder { path.join(DEFINITION) } else { path.to_owned() };
        if folder {
            refuse_unknown_files(path, &mut problems);
        }
        let definition = SourceFile::read(&definition, &mut problems);
        let mut split = |name: &str| {
            let file: PathBuf = path.join(name);
            if folder && file.exists() { SourceFile::read(&file, &mut problems) } else { None }
        };
        let [train, validation, test, out_of_scope_validation, out_of_scope_test] = SPLIT_FILES.map(&mut split);
        match definition {
            Some(definition) => {
                problems.or(Self { definition, train, validation, test, out_of_scope_validation, out_of_scope_test })
            }
            None => Err(problems.or(()).expect_err("a file that was not read left a problem")),
        }
    }

    /// Takes files that are in memory, by name.
    pub(super) fn embedded(files: &[(&str, &str)]) -> Result<Self, PackErrors> {
        let mut problems = Problems::default();
        let find =
            |name: &str| files.iter().find(|(file, _)| *file == name).map(|(_, text)| SourceFile::new(name, text));
        for (name, _) in files.iter().filter(|(name, _)| *name != DEFINITION && !SPLIT_FILES.contains(name)) {
            refuse_unknown_file(name, (*name).into(), &mut problems);
        }
        let definition = find(DEFINITION).unwrap_or_else(|| {
            let place = Place { file: DEFINITION.into(), line: None };
            problems.add(ProblemCode::Unreadable, &place, None, "is missing");
            SourceFile::new(DEFINITION, "")
        });
        let [train, validation, test, out_of_scope_validation, out_of_scope_test] = SPLIT_FILES.map(find);
        problems.or(Self { definition, train, validation, test, out_of_scope_validation, out_of_scope_test })
    }
}

/// Finds misspelt names of splits, which would otherwise silently hold no examples.
fn refuse_unknown_files(folder: &Path, problems: &mut Problems) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.ends_with(".jsonl") && !SPLIT_FILES.contains(&name.as_ref()) {
            refuse_unknown_file(&name, path.display().to_string().into(), problems);
        }
    }
}

fn refuse_unknown_file(name: &str, file: Arc<str>, problems: &mut Problems) {
    let known = SPLIT_FILES.map(|file| format!("`{file}`")).join(", ");
    let message = format!("is no split of a pack, expected one of {known}{}", suggestion(name, SPLIT_FILES));
    problems.add(ProblemCode::UnknownFile, &Place { file, line: None }, None, message);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_is_on_the_line_that_holds_it() {
        let source = SourceFile::new("f", "\u{FEFF}ab\ncd\n\ne");
        let line = |offset: usize| source.place(&(offset..offset)).line.unwrap();
        assert_eq!([0, 2, 3, 5, 6, 7].map(line), [1, 1, 2, 2, 3, 4]);
    }
}
