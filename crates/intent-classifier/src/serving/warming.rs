//! Answers expected texts before anybody asks, so that they are in the cache.

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    path::Path,
    time::{Duration, Instant},
};

use intent_engine::{ClassifyRequest, Engine, EngineError};
use serde::Deserialize;
use tokio::time::sleep;
use tracing::{info, warn};

/// Texts that are asked together: enough to batch, few beside those of callers.
const TEXTS_AT_ONCE: usize = 16;
/// How long a text may take; nobody waits for it.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long to wait when the engine is full; callers go first.
const FULL: Duration = Duration::from_millis(200);
/// How often progress is logged.
const PROGRESS: Duration = Duration::from_secs(5);

/// What a warming did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Warmed {
    /// Texts that were answered.
    pub(crate) answered: usize,
    /// Lines that hold no text that could be answered.
    pub(crate) skipped: usize,
}

/// Reads the texts to ask: one per line, or JSON lines with `text`. Also returns how many lines are none of these, or
/// longer than `max_chars`; the first is logged.
///
/// # Errors
/// When the file cannot be read.
pub(crate) fn read_texts(path: &Path, max_chars: usize) -> io::Result<(Vec<String>, usize)> {
    #[derive(Deserialize)]
    struct Row {
        text: String,
    }

    let (mut texts, mut skipped) = (Vec::new(), 0);
    for (index, line) in BufReader::new(File::open(path)?).lines().enumerate() {
        let line = line?;
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        let text = if line.starts_with('{') {
            serde_json::from_str(line).map(|row: Row| row.text).map_err(|error| error.to_string())
        } else {
            Ok(line.to_owned())
        };
        let text = text.and_then(|text| match text.chars().count() {
            0 => Err("the text is empty".to_owned()),
            chars if chars > max_chars => {
                Err(format!("the text has {chars} characters, at most {max_chars} are allowed"))
            }
            _ => Ok(text),
        });
        match text {
            Ok(text) => texts.push(text),
            Err(reason) => {
                if skipped == 0 {
                    warn!(file = %path.display(), line = index + 1, reason, "a line cannot warm the cache");
                }
                skipped += 1;
            }
        }
    }
    Ok((texts, skipped))
}

/// Answers texts in small batches, beside the requests of callers.
pub(crate) async fn warm(engine: &Engine, texts: &[String]) -> Warmed {
    let (mut warmed, mut logged) = (Warmed::default(), Instant::now());
    for batch in texts.chunks(TEXTS_AT_ONCE) {
        let answered = loop {
            let request = |text: &String| ClassifyRequest {
                latency_budget: Some(PATIENCE),
                ..ClassifyRequest::new(text.as_str())
            };
            match engine.classify_batch(batch.iter().map(request).collect()).await {
                Ok(decisions) => break decisions.len(),
                Err(EngineError::Overloaded { .. }) => sleep(FULL).await,
                Err(error) => {
                    warn!(%error, "texts cannot warm the cache");
                    break 0;
                }
            }
        };
        warmed.answered += answered;
        warmed.skipped += batch.len() - answered;
        if logged.elapsed() >= PROGRESS {
            info!(answered = warmed.answered, texts = texts.len(), "warming the cache");
            logged = Instant::now();
        }
    }
    warmed
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn texts_come_plain_or_as_json_lines_and_the_rest_is_counted() {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        write!(file, "hello there\n\n{{\"text\": \"good bye\", \"intent\": \"x\"}}\n{{\"txt\": 1}}\n{{\"text\": \"\"}}\nfar too long\n")
            .expect("it is written");
        let (texts, skipped) = read_texts(file.path(), 11).expect("it is read");
        assert_eq!(texts, ["hello there", "good bye"]);
        assert_eq!(skipped, 3);
    }
}
