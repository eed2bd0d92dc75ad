//! What the sentence encoder costs over the bare run of its graph, and how many texts a second it embeds.
//!
//! `ENCODER_DIR=models/encoder cargo bench -p intent-model --bench encoder`; without a model there is nothing to
//! measure and the benchmark says so.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::{
    error::Error,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use intent_model::{
    SentenceEncoder,
    transformer::{Precision, compute_inline},
};
use rten::{Model, ModelOptions, RunOptions, ThreadPool, ValueView};

/// Sixteen tokens with the two special ones.
const TEXT: &str = "please help me find out why my last order has still not arrived yet";
const TOKENS: usize = 16;
const BLOCKS: usize = 20;
const RUNS_PER_BLOCK: usize = 40;
const BATCH: usize = 32;
const WORKERS: usize = 2;
const THROUGHPUT_TIME: Duration = Duration::from_secs(3);

fn main() -> Result<(), Box<dyn Error>> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let directory = std::env::var_os("ENCODER_DIR").map_or(Path::new(root).join("models/encoder"), PathBuf::from);
    if !directory.join("encoder.json").exists() {
        println!("no encoder in {}: set ENCODER_DIR to a directory that `models import` wrote", directory.display());
        return Ok(());
    }
    for precision in [Precision::Int8, Precision::Fp32] {
        let encoder = SentenceEncoder::load(&directory, precision)?;
        let bare = Bare::load(&directory, precision)?;
        let (ours, theirs) = compare(&encoder, &bare)?;
        println!(
            "{precision} {TOKENS} tokens, one text: encoder {:.3} ms, bare rten {:.3} ms, ratio {:.3}",
            ours * 1e3,
            theirs * 1e3,
            ours / theirs
        );
        let (alone, together) = (throughput(&encoder, 1)?, throughput(&encoder, BATCH)?);
        println!(
            "{precision} {TOKENS} tokens, {WORKERS} workers: {alone:.0} texts/s one by one, {together:.0} in batches of {BATCH}"
        );
    }
    Ok(())
}

/// Measures both in turn, block by block, each on a thread that runs nothing else; returns typical times in seconds.
fn compare(encoder: &SentenceEncoder, bare: &Bare) -> Result<(f64, f64), Box<dyn Error>> {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..BLOCKS {
        ours.extend(compute_inline(|| time_block(|| encoder.embed(&[TEXT]).map(drop).map_err(|e| e.to_string())))?);
        theirs.extend(bare.pool.run(|| time_block(|| bare.run().map_err(|e| e.to_string())))?);
    }
    Ok((typical(ours), typical(theirs)))
}

fn time_block(mut run: impl FnMut() -> Result<(), String>) -> Result<Vec<f64>, String> {
    let time = |_| {
        let start = Instant::now();
        run()?;
        Ok(start.elapsed().as_secs_f64())
    };
    (0..RUNS_PER_BLOCK).map(time).collect()
}

/// Returns the lower quartile: what a run takes when the machine does nothing else meanwhile.
fn typical(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 4]
}

/// Embeds the same batch again and again on all workers; returns texts per second.
fn throughput(encoder: &SentenceEncoder, batch: usize) -> Result<f64, Box<dyn Error>> {
    let texts = vec![TEXT; batch];
    let work = || {
        compute_inline(|| {
            let start = Instant::now();
            let mut done = 0;
            while start.elapsed() < THROUGHPUT_TIME {
                done += encoder.embed(&texts).map(|embeddings| embeddings.len()).map_err(|error| error.to_string())?;
            }
            Ok::<f64, String>(done as f64 / start.elapsed().as_secs_f64())
        })
    };
    let rates: Vec<Result<f64, String>> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(work)).collect();
        workers.into_iter().map(|worker| worker.join().expect("a worker does not panic")).collect()
    });
    Ok(rates.into_iter().sum::<Result<f64, String>>()?)
}

/// The graph without tokenizer, batches and pooling.
struct Bare {
    model: Model,
    ids: Vec<i32>,
    mask: Vec<i32>,
    pool: Arc<ThreadPool>,
}

impl Bare {
    fn load(directory: &Path, precision: Precision) -> Result<Self, Box<dyn Error>> {
        let name = if precision == Precision::Int8 { "model.int8.onnx" } else { "model.onnx" };
        let mut options = ModelOptions::with_all_ops();
        options.prepack_weights(true);
        let mut tokenizer =
            tokenizers::Tokenizer::from_file(directory.join("tokenizer.json")).map_err(|error| error.to_string())?;
        tokenizer.with_padding(None);
        let encoding = tokenizer.encode(TEXT, true).map_err(|error| error.to_string())?;
        let ids: Vec<i32> = encoding.get_ids().iter().map(|&id| id as i32).collect();
        assert_eq!(ids.len(), TOKENS, "the text was chosen for its length");
        Ok(Self {
            model: options.load_file(directory.join(name))?,
            mask: vec![1; ids.len()],
            ids,
            pool: Arc::new(ThreadPool::with_num_threads(1)),
        })
    }

    fn run(&self) -> Result<(), Box<dyn Error>> {
        let shape = [1, self.ids.len()];
        let inputs = vec![
            (self.model.node_id("input_ids")?, ValueView::from_shape(shape, self.ids.as_slice())?.into()),
            (self.model.node_id("attention_mask")?, ValueView::from_shape(shape, self.mask.as_slice())?.into()),
        ];
        let options = RunOptions::default().with_thread_pool(Some(Arc::clone(&self.pool)));
        self.model.run_n(inputs, [self.model.node_id("last_hidden_state")?], Some(options))?;
        Ok(())
    }
}
