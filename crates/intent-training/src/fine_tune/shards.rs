//! Computes the parts of a batch side by side.

use rayon::{ThreadPool, ThreadPoolBuilder};

use super::{
    FineTuneError,
    examples::Example,
    network::{Batch, DropoutRates, Masks, Network, Workspace, loss, mix},
};

/// What a step trains on.
#[derive(Debug)]
pub(crate) struct Objective {
    /// Weight of an example of each label.
    pub(crate) class_weights: Vec<f32>,
    pub(crate) label_smoothing: f32,
    pub(crate) consistency: f32,
    pub(crate) rates: DropoutRates,
}

/// One part of a batch with all that its computation needs.
#[derive(Debug, Default)]
struct Shard {
    batch: Batch,
    targets: Vec<f32>,
    weights: Vec<f32>,
    work: Workspace,
    gradient: Vec<f32>,
    loss: f64,
}

/// The shards and the threads that compute them.
///
/// Each thread computes whole shards, so that what is summed in which order depends on the number of shards alone.
#[derive(Debug)]
pub(crate) struct Shards {
    shards: Vec<Shard>,
    /// Pools of one thread: a product that ran in a larger one would spread over it.
    lanes: Vec<ThreadPool>,
}

impl Shards {
    /// Prepares `shards` shards on at most `threads` threads.
    pub(crate) fn new(shards: usize, threads: usize) -> Result<Self, FineTuneError> {
        Ok(Self {
            shards: (0..shards).map(|_| Shard::default()).collect(),
            lanes: (0..threads.clamp(1, shards)).map(|_| thread_pool(1)).collect::<Result<_, _>>()?,
        })
    }

    /// Computes the mean loss of some examples and its gradient, in one part per shard that had any work.
    pub(crate) fn gradient(
        &mut self,
        network: &Network,
        parameters: &[f32],
        objective: &Objective,
        examples: &[&Example],
        seed: u64,
    ) -> (f64, Vec<&mut [f32]>) {
        let labels = network.architecture.labels;
        let total_weight: f32 = examples.iter().map(|example| objective.class_weights[example.label]).sum();
        let mut by_length = examples.to_vec();
        by_length.sort_by_key(|example| example.tokens.len());
        let count = self.shards.len();
        // Dealt like cards, so that the shards get texts of like lengths.
        let busy = count.min(by_length.len());
        for (index, shard) in self.shards[..busy].iter_mut().enumerate() {
            let part: Vec<&Example> = by_length.iter().skip(index).step_by(count).copied().collect();
            shard.load(&part, objective, total_weight, labels);
            shard.gradient.resize(network.layout.len(), 0.0);
        }
        self.run(busy, |index, shard| {
            let masks = Masks { rates: objective.rates, seed: mix(seed, index as u64) };
            shard.differentiate(network, parameters, objective, masks);
        });
        let loss = self.shards[..busy].iter().map(|shard| shard.loss).sum();
        (loss, self.shards[..busy].iter_mut().map(|shard| shard.gradient.as_mut_slice()).collect())
    }

    /// Computes the logits of texts without dropout, one row per text in the order given.
    pub(crate) fn logits(&mut self, network: &Network, parameters: &[f32], texts: &[&[u32]]) -> Vec<f32> {
        /// Texts per pass: enough for the products to run at full speed, few enough for their values to stay in cache.
        const TEXTS: usize = 32;
        let labels = network.architecture.labels;
        let mut by_length: Vec<usize> = (0..texts.len()).collect();
        by_length.sort_by_key(|&index| texts[index].len());
        let mut logits = vec![0.0; texts.len() * labels];
        for group in by_length.chunks(TEXTS * self.shards.len()) {
            let parts: Vec<&[usize]> = group.chunks(TEXTS).collect();
            for (shard, part) in self.shards.iter_mut().zip(&parts) {
                shard.batch.fill(part.iter().map(|&index| texts[index]));
            }
            self.run(parts.len(), |_, shard| {
                network.forward(parameters, &shard.batch, Masks::OFF, &mut shard.work);
            });
            for (shard, part) in self.shards.iter().zip(&parts) {
                for (row, &index) in shard.work.logits.chunks_exact(labels).zip(*part) {
                    logits[index * labels..][..labels].copy_from_slice(row);
                }
            }
        }
        logits
    }

    /// Runs `task` on the first `busy` shards and waits for all.
    fn run(&mut self, busy: usize, task: impl Fn(usize, &mut Shard) + Sync) {
        let per_lane = busy.div_ceil(self.lanes.len()).max(1);
        let (task, shards) = (&task, &mut self.shards[..busy]);
        std::thread::scope(|scope| {
            for (lane, (pool, part)) in self.lanes.iter().zip(shards.chunks_mut(per_lane)).enumerate() {
                scope.spawn(move || {
                    pool.install(|| {
                        for (offset, shard) in part.iter_mut().enumerate() {
                            task(lane * per_lane + offset, shard);
                        }
                    });
                });
            }
        });
    }
}

/// Starts threads of our own.
pub(crate) fn thread_pool(threads: usize) -> Result<ThreadPool, FineTuneError> {
    ThreadPoolBuilder::new().num_threads(threads).build().map_err(FineTuneError::Threads)
}

impl Shard {
    fn load(&mut self, examples: &[&Example], objective: &Objective, total_weight: f32, labels: usize) {
        // A second run of the same texts under other masks, when their agreement is part of the loss.
        let runs = if objective.consistency > 0.0 { 2 } else { 1 };
        let repeated = || std::iter::repeat_n(examples, runs).flatten();
        self.batch.fill(repeated().map(|example| example.tokens.as_slice()));
        self.weights.clear();
        let scale = total_weight * runs as f32;
        self.weights.extend(repeated().map(|example| objective.class_weights[example.label] / scale));
        self.targets.clear();
        self.targets.resize(examples.len() * runs * labels, objective.label_smoothing / labels as f32);
        for (row, example) in self.targets.chunks_exact_mut(labels).zip(repeated()) {
            row[example.label] += 1.0 - objective.label_smoothing;
        }
    }

    fn differentiate(&mut self, network: &Network, parameters: &[f32], objective: &Objective, masks: Masks) {
        let labels = network.architecture.labels;
        network.forward(parameters, &self.batch, masks, &mut self.work);
        let Workspace { logits, logits_gradient, .. } = &mut self.work;
        self.loss = loss::cross_entropy(logits, &self.targets, &self.weights, labels, logits_gradient);
        if objective.consistency > 0.0 {
            self.loss += loss::consistency(logits, &self.weights, labels, objective.consistency, logits_gradient);
        }
        network.backward(parameters, &self.batch, masks, &mut self.work, &mut self.gradient);
    }
}
