//! The inference threads: micro-batches, one bad text at a time, nobody computed for who has left.

use std::{
    any::Any,
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex},
    thread,
    time::Duration,
};

use intent_model::{Document, Model, Scores, stage, transformer::compute_inline};
use tokio::{
    sync::oneshot,
    time::{Instant, timeout_at},
};

use tracing::{Instrument, Span, info_span};

use crate::{Backend, RemoteError, remote};

/// How the inference threads work.
#[derive(Clone, Copy, Debug)]
pub struct WorkerOptions {
    /// How many threads; each computes one batch at a time on one core.
    pub threads: usize,
    /// The most texts in a batch.
    pub max_batch_texts: usize,
    /// The most bytes of text in a batch, as a stand-in for tokens; one text always fits.
    pub max_batch_bytes: usize,
}

/// What a model made of one document.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The model's scores.
    pub scores: Scores,
    /// How long the batch took that the document was part of, waiting not included.
    pub compute: Duration,
}

/// Why a document got no scores.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ComputeError {
    /// The model returned an error.
    #[error("{0}")]
    Failed(String),
    /// The model panicked.
    #[error("the model panicked")]
    Panicked,
    /// The deadline passed before its turn came.
    #[error("the deadline passed while waiting for a worker")]
    Expired,
    /// The model did not answer in the time it is given, whatever the budget.
    #[error("the model did not answer in time")]
    TimedOut,
    /// The model has more to do than it takes.
    #[error("the model has more to do than it takes")]
    Overloaded,
    /// The engine is shutting down.
    #[error("the inference threads have stopped")]
    Stopped,
}

impl From<RemoteError> for ComputeError {
    fn from(error: RemoteError) -> Self {
        match error {
            RemoteError::Failed(reason) => Self::Failed(reason),
            RemoteError::TimedOut => Self::TimedOut,
            RemoteError::Overloaded => Self::Overloaded,
        }
    }
}

/// Whose turn comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Texts that come alone: somebody waits for each.
    Single,
    /// Texts of large requests. They form smaller batches, which singles need not wait long for, and get every fourth
    /// batch however many singles there are.
    Bulk,
}

impl Lane {
    /// Bulk goes first in one batch of so many.
    const BULK_TURN: u64 = 4;

    /// Returns the most texts of a batch.
    fn batch_texts(self, max_batch_texts: usize) -> usize {
        match self {
            Self::Single => max_batch_texts.max(1),
            Self::Bulk => max_batch_texts.div_ceil(4).max(1),
        }
    }
}

/// A fixed number of threads that score documents.
#[derive(Debug)]
pub struct Workers {
    queue: Arc<Queue>,
}

struct Job {
    model: Arc<dyn Model>,
    document: Arc<Document>,
    deadline: Instant,
    reply: oneshot::Sender<Result<Answer, ComputeError>>,
    /// What the job is part of; its parts become children of it on whichever thread they run.
    request: Span,
    /// Open while the job waits.
    queue: Span,
}

struct Queue {
    options: WorkerOptions,
    state: Mutex<QueueState>,
    ready: Condvar,
}

#[derive(Default)]
struct QueueState {
    single: VecDeque<Job>,
    bulk: VecDeque<Job>,
    batches: u64,
    stopped: bool,
}

impl QueueState {
    fn lane(&mut self, lane: Lane) -> &mut VecDeque<Job> {
        match lane {
            Lane::Single => &mut self.single,
            Lane::Bulk => &mut self.bulk,
        }
    }

    fn waiting(&self) -> usize {
        self.single.len() + self.bulk.len()
    }

    /// Returns the lane that the next batch comes from.
    fn next_lane(&mut self) -> Lane {
        self.batches += 1;
        let is_bulk_turn = self.batches.is_multiple_of(Lane::BULK_TURN);
        if self.single.is_empty() || (is_bulk_turn && !self.bulk.is_empty()) { Lane::Bulk } else { Lane::Single }
    }
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Workers {
    /// Starts the threads. They end when the value is dropped.
    ///
    /// # Panics
    /// When the operating system refuses a thread.
    pub fn start(options: WorkerOptions) -> Self {
        stage::watch_tokenising(tokenise_span);
        let queue = Arc::new(Queue { options, state: Mutex::default(), ready: Condvar::new() });
        for index in 0..options.threads.max(1) {
            let queue = Arc::clone(&queue);
            thread::Builder::new()
                .name(format!("inference-{index}"))
                .spawn(move || compute_inline(|| work(&queue)))
                .expect("the operating system gives a thread at start");
        }
        Self { queue }
    }

    /// Scores a document on the next free thread, together with others that wait for the same model.
    ///
    /// # Errors
    /// [`ComputeError`] when the model fails on this document or `deadline` passes before its turn.
    pub async fn score(
        &self,
        model: &Arc<dyn Model>,
        document: &Arc<Document>,
        deadline: Instant,
        lane: Lane,
    ) -> Result<Answer, ComputeError> {
        let (reply, answer) = oneshot::channel();
        let request = Span::current();
        let queue = if request.is_disabled() { Span::none() } else { info_span!(target: "span", "queue") };
        let job = Job { model: Arc::clone(model), document: Arc::clone(document), deadline, reply, request, queue };
        self.queue.lock().lane(lane).push_back(job);
        self.queue.ready.notify_one();
        answer.await.unwrap_or(Err(ComputeError::Stopped))
    }

    /// Scores a document wherever the model computes; gives up at `deadline`. Returns the scores and how long they took,
    /// waiting for a thread not included.
    ///
    /// # Errors
    /// [`ComputeError`] when there are no scores in time.
    pub(crate) async fn compute(
        &self,
        backend: &Backend,
        document: &Arc<Document>,
        deadline: Instant,
        lane: Lane,
    ) -> Result<(Scores, Duration), ComputeError> {
        match backend {
            Backend::Inline(model) => infer_span(&Span::current(), model.as_ref(), 1)
                .in_scope(|| score_batch(model.as_ref(), &[document]))
                .map(|(mut scores, compute)| (scores.remove(0), compute)),
            Backend::Workers(model) => match timeout_at(deadline, self.score(model, document, deadline, lane)).await {
                Ok(answer) => answer.map(|answer| (answer.scores, answer.compute)),
                Err(_) => Err(ComputeError::Expired),
            },
            Backend::Remote(model) => {
                let began = Instant::now();
                let kind = model.kind().as_str();
                let span =
                    info_span!(target: "span", "infer", otel.kind = "client", model = kind, batch_texts = 1_usize);
                match timeout_at(deadline, model.score(document, deadline)).instrument(span).await {
                    Ok(answer) => answer
                        .and_then(|scores| remote::check(scores, model.labels().len()))
                        .map(|scores| (scores, began.elapsed()))
                        .map_err(ComputeError::from),
                    Err(_) => Err(ComputeError::Expired),
                }
            }
        }
    }

    /// Returns how many documents wait for a thread.
    pub fn waiting(&self) -> usize {
        self.queue.lock().waiting()
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        let mut state = self.queue.lock();
        state.stopped = true;
        state.single.clear();
        state.bulk.clear();
        drop(state);
        self.queue.ready.notify_all();
    }
}

impl Job {
    /// Ends its time in the queue.
    fn taken(mut self) -> Self {
        self.queue = Span::none();
        self
    }
}

impl Queue {
    fn lock(&self) -> std::sync::MutexGuard<'_, QueueState> {
        self.state.lock().expect("no code panics while it holds this lock")
    }

    /// Waits for work; `None` when the engine stops. A lone job is taken at once: batches form only from what came in
    /// while all threads were busy.
    fn next_batch(&self) -> Option<Vec<Job>> {
        let mut state = self.ready.wait_while(self.lock(), |state| state.waiting() == 0 && !state.stopped).ok()?;
        if state.stopped {
            return None;
        }
        let lane = state.next_lane();
        let jobs = state.lane(lane);
        // A thread leaves their share of a burst to the others.
        let share = jobs.len().div_ceil(self.options.threads.max(1));
        let share = share.min(lane.batch_texts(self.options.max_batch_texts));
        let mut batch: Vec<Job> = Vec::with_capacity(share);
        let mut bytes = 0;
        let mut index = 0;
        while index < jobs.len() && batch.len() < share {
            let job = &jobs[index];
            let length = job.document.text().len();
            let fits = batch.is_empty() || bytes + length <= self.options.max_batch_bytes;
            let same_model = batch.first().is_none_or(|first| Arc::ptr_eq(&first.model, &job.model));
            if fits && same_model {
                bytes += length;
                batch.extend(jobs.remove(index).map(Job::taken));
            } else {
                index += 1;
            }
        }
        Some(batch)
    }
}

fn work(queue: &Queue) {
    while let Some(jobs) = queue.next_batch() {
        let now = Instant::now();
        let (expired, jobs): (Vec<Job>, Vec<Job>) =
            jobs.into_iter().filter(|job| !job.reply.is_closed()).partition(|job| job.deadline <= now);
        for job in expired {
            answer(job, Err(ComputeError::Expired));
        }
        compute(jobs);
    }
}

/// Scores jobs of one model together; when that fails, one by one, so that a bad text fails alone.
fn compute(jobs: Vec<Job>) {
    let Some(model) = jobs.first().map(|job| Arc::clone(&job.model)) else { return };
    let documents: Vec<&Document> = jobs.iter().map(|job| job.document.as_ref()).collect();
    // Each request sees the batch it is part of; what happens inside the model is shown to the first.
    let spans: Vec<Span> = jobs.iter().map(|job| infer_span(&job.request, model.as_ref(), jobs.len())).collect();
    let scored = spans[0].in_scope(|| score_batch(model.as_ref(), &documents));
    drop(spans);
    match scored {
        Ok((scores, compute)) => {
            for (job, scores) in jobs.into_iter().zip(scores) {
                answer(job, Ok(Answer { scores, compute }));
            }
        }
        Err(error) if jobs.len() == 1 => jobs.into_iter().for_each(|job| answer(job, Err(error.clone()))),
        Err(_) => jobs.into_iter().for_each(|job| compute(vec![job])),
    }
}

/// Scores documents on this thread; a panic of the model is an error like any other.
pub(crate) fn score_batch(model: &dyn Model, documents: &[&Document]) -> Result<(Vec<Scores>, Duration), ComputeError> {
    let began = std::time::Instant::now();
    let scores = catch_unwind(AssertUnwindSafe(|| model.score(documents)))
        .map_err(|_| ComputeError::Panicked)?
        .map_err(|error| ComputeError::Failed(error.to_string()))?;
    if scores.len() != documents.len() {
        return Err(ComputeError::Failed(format!("{} scores for {} texts", scores.len(), documents.len())));
    }
    Ok((scores, began.elapsed()))
}

/// Makes the span of a batch that a request is part of. Outside of a traced request there is nothing to show.
fn infer_span(request: &Span, model: &dyn Model, batch_texts: usize) -> Span {
    if request.is_disabled() {
        return Span::none();
    }
    info_span!(target: "span", parent: request, "infer", model = model.kind().as_str(), batch_texts)
}

/// Shows in a traced request how long its texts take to be cut into tokens.
fn tokenise_span() -> Box<dyn Any> {
    if Span::current().is_disabled() {
        return Box::new(());
    }
    Box::new(info_span!(target: "span", "tokenise").entered())
}

fn answer(job: Job, result: Result<Answer, ComputeError>) {
    // The caller may have left meanwhile; then nobody wants the answer.
    let _ = job.reply.send(result);
}
