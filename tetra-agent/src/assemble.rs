//! Records become events: decode, process table, policies, joined.
//!
//! Sans-I/O. [`Assembler::record`] takes the bytes of one record and appends the events that follow from it.

use std::sync::Arc;

use crate::event::{Event, EventBody, PolicyEvent};
use crate::policy::{
    BufferKey, Buffers, DecodeError, DecodedArguments, Half, Pairs, Registry, StackTraces, Template, decode_arguments,
};
use crate::process::{Process, ProcessKey, ProcessTable, TableConfig};
use crate::record::{self, PolicyRecord, Record, RecordError, flag};
use crate::time::KernelTime;

/// First halves of calls that may wait for their return.
const PAIRS: usize = 8192;

/// What came in, and what could not be used. Policies' own counts are in their accounts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct AssemblerStats {
    /// Records by kind: exec, clone, exit, data, policy, buffer.
    pub records: [u64; 6],
    /// Records that could not be decoded.
    pub undecodable: u64,
    /// Policy records whose object or template is not known.
    pub unknown_template: u64,
    /// Events made.
    pub events: u64,
}

/// Turns records into events. Owned by one thread.
#[derive(Debug)]
pub struct Assembler {
    table: ProcessTable,
    pairs: Pairs,
    buffers: Buffers,
    stats: AssemblerStats,
}

impl Assembler {
    /// Makes an assembler with an empty process table.
    pub fn new(config: TableConfig) -> Self {
        Self {
            table: ProcessTable::new(config),
            pairs: Pairs::new(PAIRS),
            buffers: Buffers::default(),
            stats: AssemblerStats::default(),
        }
    }

    /// The process table.
    pub fn table(&self) -> &ProcessTable {
        &self.table
    }

    /// The process table, to add scanned processes and to collect garbage.
    pub fn table_mut(&mut self) -> &mut ProcessTable {
        &mut self.table
    }

    /// Counts so far.
    pub fn stats(&self) -> AssemblerStats {
        self.stats
    }

    /// Calls whose return is awaited.
    pub fn waiting(&self) -> usize {
        self.pairs.len()
    }

    /// Takes one record.
    ///
    /// # Errors
    /// The bytes are no record, or its template is not known. It is counted; the caller may log it.
    pub fn record(&mut self, bytes: &[u8], registry: &Registry, events: &mut Vec<Event>) -> Result<(), AssembleError> {
        let before = events.len();
        let result = self.take(bytes, registry, events);
        self.stats.events += (events.len() - before) as u64;
        result
    }

    fn take(&mut self, bytes: &[u8], registry: &Registry, events: &mut Vec<Event>) -> Result<(), AssembleError> {
        let record = record::decode(bytes).inspect_err(|_| self.stats.undecodable += 1)?;
        match record {
            Record::Exec(record) => {
                self.stats.records[0] += 1;
                events.push(self.table.exec(&record));
            }
            Record::Clone(record) => {
                self.stats.records[1] += 1;
                self.table.clone_process(&record);
            }
            Record::Exit(record) => {
                self.stats.records[2] += 1;
                // calls it was in never return: report them before the end
                for half in self.pairs.take_all_of(ProcessKey::new(record.tgid, record.start.0)) {
                    events.push(self.complete(half, None));
                }
                events.push(self.table.exit(&record));
            }
            Record::Data(record) => {
                self.stats.records[3] += 1;
                self.table.data(&record);
            }
            Record::Policy(record) => {
                self.stats.records[4] += 1;
                let template = registry
                    .get(record.object_tag, record.template_index)
                    .inspect_err(|_| self.stats.unknown_template += 1)?;
                if let Some(event) = self.policy(template, &record)? {
                    events.push(event);
                }
            }
            Record::Buffer(record) => {
                self.stats.records[5] += 1;
                let key = BufferKey {
                    tid: record.tid,
                    time: record.time,
                    place: record.place,
                };
                self.buffers.piece(key, record.offset, record.bytes);
            }
        }
        Ok(())
    }

    /// Gives out what still waits: the agent stops.
    pub fn finish(&mut self, events: &mut Vec<Event>) {
        for half in self.pairs.drain() {
            self.stats.events += 1;
            events.push(self.complete(half, None));
        }
    }

    fn policy(&mut self, template: &Arc<Template>, record: &PolicyRecord<'_>) -> Result<Option<Event>, AssembleError> {
        let account = &template.account;
        account.received.increment();
        let has = |bit| record.flags & bit != 0;
        let paired = record.call_id != 0;
        if paired && has(flag::RECORD_FLAG_CANCEL) {
            account.cancelled.increment();
            if let Some(half) = self.pairs.take(record.tid, record.call_id) {
                half.template.account.cancelled.increment();
            }
            return Ok(None);
        }
        let DecodedArguments {
            arguments,
            data,
            return_value,
        } = decode_arguments(template, record, &mut self.buffers).inspect_err(|_| account.undecodable.increment())?;
        let half = Half {
            template: Arc::clone(template),
            time: record.time,
            process: ProcessKey::new(record.tgid, record.start.0),
            tid: record.tid,
            event_tid: record.owner_tid.unwrap_or(record.tid),
            arguments,
            data,
            stacks: StackTraces::from(&record.stacks),
            action: record.action,
        };
        if paired && has(flag::RECORD_FLAG_AWAIT_RETURN) {
            self.pairs.wait(record.call_id, half);
            return Ok(None);
        }
        if paired && has(flag::RECORD_FLAG_RETURN) {
            let Some(mut first) = self.pairs.take(record.tid, record.call_id) else {
                account.expired.increment();
                return Ok(None);
            };
            first.template.account.halves.increment();
            let action = half.action;
            if first.arguments.is_empty() && first.data.is_empty() {
                first.arguments = half.arguments;
                first.data = half.data;
            }
            return Ok(Some(self.event(first, return_value, action)));
        }
        Ok(Some(self.event(half, return_value, 0)))
    }

    /// A call that never returned.
    fn complete(&self, half: Half, return_value: Option<tetra_api::tetragon::KprobeArgument>) -> Event {
        self.event(half, return_value, 0)
    }

    fn event(
        &self,
        half: Half,
        return_value: Option<tetra_api::tetragon::KprobeArgument>,
        return_action: u16,
    ) -> Event {
        half.template.account.events.increment();
        let process = match self.table.get(half.process) {
            Some(process) => Arc::clone(process),
            None => Arc::new(Process::unknown(half.process)),
        };
        Event {
            time: half.time,
            tid: half.event_tid,
            parent: self.table.parent_of(&process),
            ancestors: self.table.ancestors_of(&process),
            references: Some(self.table.references(process.key)),
            process,
            body: EventBody::Policy(Box::new(PolicyEvent {
                template: half.template,
                arguments: half.arguments,
                data: half.data,
                stacks: half.stacks,
                return_value,
                action: half.action,
                return_action,
            })),
        }
    }

    /// Lets time pass; returns whether the process table ticked.
    pub fn collect(&mut self, now: KernelTime) -> bool {
        self.table.collect(now)
    }
}

/// Why a record made no event.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AssembleError {
    /// The bytes are no record.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The record does not fit its template.
    #[error(transparent)]
    Policy(#[from] DecodeError),
}

#[cfg(test)]
mod tests;
