//! The JSON export: one event a line, to a file or to standard output.
//!
//! The pipeline encodes events into [`Batch`]es and hands them to a thread that writes. A full disk or a hung file system
//! costs events, which are counted by policy and logged, but never stops the pipeline or another sink: while the queue is
//! full the pipeline waits a moment (records then wait in the kernel's rings), after that it drops until there is room.

mod batch;
mod compress;
mod file;
mod limit;
mod queue;
mod rotation;
mod writer;

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tetra_api::tetragon::GetEventsResponse;

pub use batch::Batch;
pub use file::FileOutput;
pub use rotation::{Rotation, SharedRotation};
pub use writer::{ExportStats, Output};

use self::limit::Limit;
use self::queue::Queue;
use crate::config::ExportConfig;
use crate::filter::{FieldFilters, FilterLists};
use crate::policy::Account;

/// Bytes of encoded events that may wait for the disk.
const QUEUE_BYTES: usize = 8 << 20;
/// Size at which a batch is handed on before the pass over the rings ends.
const BATCH_BYTES: usize = 256 << 10;
/// How long the pipeline waits for room before it drops.
const PATIENCE: Duration = Duration::from_secs(2);

/// The pipeline's end of the export.
#[derive(Debug)]
pub struct Exporter {
    filters: FilterLists,
    field_filters: FieldFilters,
    limit: Option<Limit>,
    batch: Batch,
    queue: Arc<Queue>,
    stats: Arc<ExportStats>,
    rotation: Option<SharedRotation>,
    /// The last batch found no room: don't wait again until one does.
    stalled: bool,
    writer: Option<JoinHandle<()>>,
}

impl Exporter {
    /// Opens the output and starts the thread that writes.
    ///
    /// # Errors
    /// If the file can't be opened or the thread can't be started.
    pub fn start(config: ExportConfig) -> std::io::Result<Self> {
        let output = Output::open(&config)?;
        let rotation = output.rotation().cloned();
        let queue = Arc::new(Queue::new(QUEUE_BYTES));
        let stats = Arc::new(ExportStats::default());
        let writer = std::thread::Builder::new().name("export".to_owned()).spawn({
            let (queue, stats) = (Arc::clone(&queue), Arc::clone(&stats));
            move || writer::run(&queue, output, &stats)
        })?;
        Ok(Self {
            filters: config.filters,
            field_filters: config.field_filters,
            limit: config.per_minute.map(|count| Limit::new(count, Instant::now())),
            batch: Batch::default(),
            queue,
            stats,
            rotation,
            stalled: false,
            writer: Some(writer),
        })
    }

    /// Counters of the export.
    pub fn stats(&self) -> &Arc<ExportStats> {
        &self.stats
    }

    /// How the file is rotated; `None` if it is standard output.
    pub fn rotation(&self) -> Option<&SharedRotation> {
        self.rotation.as_ref()
    }

    /// Takes one event, if its filters let it pass.
    pub fn event(&mut self, event: &GetEventsResponse, account: Option<&Arc<Account>>) {
        if !self.filters.pass(event) {
            self.stats.filtered.increment();
            if let Some(account) = account {
                account.filtered.increment();
            }
            return;
        }
        if let Some(limit) = &mut self.limit {
            let now = Instant::now();
            let passes = limit.take(event, now);
            self.tell_of_limit(now, false);
            if !passes {
                self.stats.limited.increment();
                if let Some(account) = account {
                    account.filtered.increment();
                }
                return;
            }
        }
        let encoded = if self.field_filters.is_empty() {
            self.batch.push(event, account)
        } else {
            self.batch.push(&self.field_filters.apply(event), account)
        };
        if let Err(error) = encoded {
            // an enum number without a name: events are made of known ones
            tracing::error!(%error, "event cannot be encoded");
            self.stats.lost.increment();
            if let Some(account) = account {
                account.lost.increment();
            }
        }
        if self.batch.bytes().len() >= BATCH_BYTES {
            self.flush();
        }
    }

    /// Exports what the limit has to tell. It is no event of any policy or process, so it is in no account.
    fn tell_of_limit(&mut self, now: Instant, is_last: bool) {
        let notice = self.limit.as_mut().and_then(|limit| limit.notice(now, is_last));
        if let Some(notice) = notice
            && let Err(error) = self.batch.push(&notice, None)
        {
            tracing::error!(%error, "event cannot be encoded");
        }
    }

    /// Hands on what has been taken: at the end of each pass over the rings.
    pub fn flush(&mut self) {
        if self.limit.is_some() {
            self.tell_of_limit(Instant::now(), false);
        }
        if self.batch.is_empty() {
            return;
        }
        let patience = if self.stalled { Duration::ZERO } else { PATIENCE };
        match self.queue.push(std::mem::take(&mut self.batch), patience) {
            Ok(()) => self.stalled = false,
            Err(batch) => {
                if !self.stalled {
                    tracing::error!("the export does not keep up: events are being lost");
                }
                self.stalled = true;
                batch
                    .lines()
                    .for_each(|account| writer::count_lost(&self.stats, account));
            }
        }
    }

    /// Writes what is left and closes the output.
    pub fn finish(mut self) {
        self.tell_of_limit(Instant::now(), true);
        self.flush();
        self.queue.close();
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the export's thread panicked");
        }
    }
}

#[cfg(test)]
mod tests;
