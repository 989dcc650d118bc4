//! The thread that writes.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::queue::Queue;
use super::{Batch, FileOutput, Rotation, SharedRotation};
use crate::config::ExportConfig;
use crate::policy::{Account, Counter};

/// Time between two log lines about the same trouble.
const QUIET: Duration = Duration::from_mins(1);

/// Counters of the export.
#[derive(Debug, Default)]
pub struct ExportStats {
    /// Events written.
    pub exported: Counter,
    /// Bytes written.
    pub bytes: Counter,
    /// Events that the filters held back.
    pub filtered: Counter,
    /// Events beyond the limit of so many a minute.
    pub limited: Counter,
    /// Events that could not be written.
    pub lost: Counter,
}

/// Where lines go.
#[derive(Debug)]
pub enum Output {
    /// A file that is rotated.
    File(FileOutput, SharedRotation),
    /// Standard output.
    Stdout,
}

impl Output {
    /// Opens what the configuration names.
    ///
    /// # Errors
    /// If the file can't be opened.
    pub fn open(config: &ExportConfig) -> io::Result<Self> {
        if config.filename.as_os_str() == "-" {
            return Ok(Self::Stdout);
        }
        let rotation = Rotation {
            max_size_bytes: config.max_size_bytes,
            max_backups: config.max_backups,
            interval: config.rotation_interval,
            compress: config.compress,
        };
        let file = FileOutput::open(&config.filename, config.permission, rotation)?;
        Ok(Self::File(file, SharedRotation::new(rotation)))
    }

    /// How it is rotated, if it is.
    pub fn rotation(&self) -> Option<&SharedRotation> {
        match self {
            Self::File(_, rotation) => Some(rotation),
            Self::Stdout => None,
        }
    }

    /// Writes a batch; says how many of its lines are there in the end, and what stopped the others.
    fn write(&mut self, batch: &Batch) -> (usize, Option<io::Error>) {
        match self {
            Self::File(file, rotation) => {
                file.set_rotation(rotation.get());
                if rotation.take_reopen()
                    && let Err(error) = file.reopen()
                {
                    tracing::error!(%error, "export: the file cannot be opened again; events go where they went");
                }
                file.write(batch)
            }
            Self::Stdout => {
                let mut stdout = io::stdout().lock();
                let (written, error) = write_some(&mut stdout, batch.bytes());
                let error = error.or_else(|| stdout.flush().err());
                (batch.complete_within(written).1, error)
            }
        }
    }
}

/// Writes as much as goes: how many bytes, and what stopped it.
pub(super) fn write_some(to: &mut impl Write, bytes: &[u8]) -> (usize, Option<io::Error>) {
    let mut written = 0;
    while written < bytes.len() {
        match to.write(&bytes[written..]) {
            Ok(0) => return (written, Some(io::ErrorKind::WriteZero.into())),
            Ok(count) => written += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (written, Some(error)),
        }
    }
    (written, None)
}

pub(super) fn run(queue: &Queue, mut output: Output, stats: &ExportStats) {
    let mut trouble: Option<(Instant, u64)> = None;
    while let Some(batch) = queue.pop() {
        let (written, error) = output.write(&batch);
        for (index, account) in batch.lines().enumerate() {
            if index < written {
                stats.exported.increment();
                if let Some(account) = account {
                    account.exported.increment();
                }
            } else {
                count_lost(stats, account);
            }
        }
        stats.bytes.add(batch.bytes_of(written) as u64);
        match error {
            Some(error) => {
                let lost = stats.lost.get();
                if trouble.is_none_or(|(since, _)| since.elapsed() > QUIET) {
                    tracing::error!(%error, lost, "export: events cannot be written and are lost");
                    trouble = Some((Instant::now(), trouble.map_or(lost, |(_, first)| first)));
                }
            }
            None => {
                if trouble.take().is_some() {
                    tracing::info!(lost = stats.lost.get(), "export: events are written again");
                }
            }
        }
    }
}

pub(super) fn count_lost(stats: &ExportStats, account: Option<&Arc<Account>>) {
    stats.lost.increment();
    if let Some(account) = account {
        account.lost.increment();
    }
}
