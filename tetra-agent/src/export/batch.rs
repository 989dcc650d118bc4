//! Encoded events on their way to the output.

use std::sync::Arc;

use tetra_api::tetragon::GetEventsResponse;

use crate::policy::Account;

/// Lines, and whose account each is on.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    lines: Vec<Line>,
}

#[derive(Debug)]
struct Line {
    /// Position after its line break.
    end: usize,
    account: Option<Arc<Account>>,
}

impl Batch {
    /// Appends an event as a line.
    ///
    /// # Errors
    /// If it has no JSON form; the batch is as before.
    pub fn push(&mut self, event: &GetEventsResponse, account: Option<&Arc<Account>>) -> serde_json::Result<()> {
        let start = self.bytes.len();
        if let Err(error) = serde_json::to_writer(&mut self.bytes, event) {
            self.bytes.truncate(start);
            return Err(error);
        }
        self.bytes.push(b'\n');
        self.lines.push(Line {
            end: self.bytes.len(),
            account: account.cloned(),
        });
        Ok(())
    }

    /// The text.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The account of each line.
    pub fn lines(&self) -> impl Iterator<Item = Option<&Arc<Account>>> {
        self.lines.iter().map(|line| line.account.as_ref())
    }

    /// Position after the last line that ends within the first `len` bytes, and how many lines that is.
    pub fn complete_within(&self, len: usize) -> (usize, usize) {
        let count = self.lines.partition_point(|line| line.end <= len);
        (self.bytes_of(count), count)
    }

    /// Bytes of the first `lines` lines.
    pub fn bytes_of(&self, lines: usize) -> usize {
        lines.checked_sub(1).map_or(0, |last| self.lines[last].end)
    }
}
