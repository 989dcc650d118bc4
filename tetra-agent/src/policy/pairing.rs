//! Entry and return of one call, reported by two records, become one event.

use std::collections::VecDeque;
use std::sync::Arc;

use rustc_hash::FxHashMap;
use tetra_api::tetragon::KprobeArgument;

use super::{StackTraces, Template};
use crate::process::ProcessKey;
use crate::time::KernelTime;

/// The first half of an event: what was known at entry.
#[derive(Clone, Debug)]
pub struct Half {
    /// Template of the record.
    pub template: Arc<Template>,
    /// When the call was entered.
    pub time: KernelTime,
    /// Who called.
    pub process: ProcessKey,
    /// Thread that called.
    pub tid: u32,
    /// Thread that the event is about.
    pub event_tid: u32,
    /// Arguments read at entry.
    pub arguments: Vec<KprobeArgument>,
    /// What else was read at entry.
    pub data: Vec<KprobeArgument>,
    /// Stacks at entry.
    pub stacks: StackTraces,
    /// Action taken at entry.
    pub action: u16,
}

/// Halves that wait for the return of their call. Bounded: the oldest goes first, counted as expired.
#[derive(Debug)]
pub struct Pairs {
    halves: FxHashMap<(u32, u64), Half>,
    order: VecDeque<(u32, u64)>,
    capacity: usize,
}

impl Pairs {
    /// Makes a table for this many halves.
    pub fn new(capacity: usize) -> Self {
        Self {
            halves: FxHashMap::default(),
            order: VecDeque::new(),
            capacity: capacity.max(1),
        }
    }

    /// Halves that wait.
    pub fn len(&self) -> usize {
        self.halves.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.halves.is_empty()
    }

    /// Keeps a half until its return comes.
    pub fn wait(&mut self, call_id: u64, half: Half) {
        let key = (half.tid, call_id);
        if let Some(old) = self.halves.insert(key, half) {
            old.template.account.expired.increment();
        } else {
            self.order.push_back(key);
        }
        while self.halves.len() > self.capacity {
            let Some(oldest) = self.order.pop_front() else { break };
            if let Some(half) = self.halves.remove(&oldest) {
                half.template.account.expired.increment();
            }
        }
        if self.order.len() > 2 * self.capacity {
            let halves = &self.halves;
            self.order.retain(|key| halves.contains_key(key));
        }
    }

    /// Takes the half of a call that returned.
    pub fn take(&mut self, tid: u32, call_id: u64) -> Option<Half> {
        self.halves.remove(&(tid, call_id))
    }

    /// Takes the halves of a process that ended: those calls never return. In the order of their times.
    pub fn take_all_of(&mut self, process: ProcessKey) -> Vec<Half> {
        if self.halves.is_empty() {
            return Vec::new();
        }
        let mut keys: Vec<_> = self
            .halves
            .iter()
            .filter(|(_, half)| half.process == process)
            .map(|(key, _)| *key)
            .collect();
        keys.sort_unstable();
        let mut halves: Vec<Half> = keys.iter().filter_map(|key| self.halves.remove(key)).collect();
        halves.sort_by_key(|half| half.time);
        halves
    }

    /// Takes everything, in the order of times: at the end of the agent.
    pub fn drain(&mut self) -> Vec<Half> {
        self.order.clear();
        let mut halves: Vec<Half> = self.halves.drain().map(|(_, half)| half).collect();
        halves.sort_by_key(|half| (half.time, half.tid));
        halves
    }
}
