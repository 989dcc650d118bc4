//! The thread between the rings and the sinks.
//!
//! One thread owns the reader of the rings, the process table and the encoder; it works in passes: drain all rings, make
//! events, encode, hand to the sinks, flush. Sinks are never waited for longer than the export's patience.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use ebpf::record::SensorCounter;
use kprobes::{Rings, SharedMaps};
use tetra_api::tetragon::ProcessInternal;

use crate::assemble::{Assembler, AssemblerStats};
use crate::event::{Encoder, Event, EventBody};
use crate::export::Exporter;
use crate::metrics::EventCounts;
use crate::policy::{Account, Registry};
use crate::process::scan::{ProcFs, kernel_record};
use crate::process::{Process, ProcessTable, TableConfig, TableStats};
use crate::server::Broadcast;
use crate::symbols::Symbols;
use crate::time::{KernelTime, SystemClock};

/// How old a record may get in a ring while nothing wakes the reader.
const POLL: Duration = Duration::from_millis(20);
/// How long after its beginning a process is sure to be in `/proc` or to have ended.
const SETTLED: u64 = 5_000_000_000;
/// Time between log lines about records that can't be used.
const QUIET_NS: u64 = 60_000_000_000;
/// Events that are gathered before the sinks get them: a full ring holds tens of thousands.
const BATCH: usize = 512;

/// What the pipeline is made of.
#[derive(Debug)]
pub struct PipelineConfig {
    /// Reader of the rings.
    pub rings: Rings,
    /// The sensor's maps.
    pub maps: SharedMaps,
    /// Templates of the policies in force.
    pub registry: Arc<RwLock<Registry>>,
    /// Encodes events.
    pub encoder: Encoder,
    /// The export, if there is one.
    pub exporter: Option<Exporter>,
    /// API clients.
    pub broadcast: Arc<Broadcast>,
    /// Counts of events, if anybody wants them.
    pub events: Option<Arc<EventCounts>>,
    /// Bounds of the process table.
    pub table: TableConfig,
    /// Names addresses of stack traces.
    pub symbols: Symbols,
    /// Where processes are found that ran before.
    pub procfs: ProcFs,
    /// The sensor was attached before this agent came: what it knows has been reported, by a former agent or in the rings.
    pub taken_over: bool,
    /// The sensor stays attached when this agent ends.
    pub keeps: bool,
}

/// Something another thread wants of the pipeline.
enum Request {
    /// The contents of the process table.
    Dump(Sender<Vec<ProcessInternal>>),
    /// What it has done up to now.
    Report(Sender<PipelineReport>),
}

/// A running pipeline.
#[derive(Debug)]
pub struct Pipeline {
    handle: PipelineHandle,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<PipelineReport>,
}

/// Asks the pipeline for things.
#[derive(Clone, Debug)]
pub struct PipelineHandle {
    requests: Sender<Request>,
}

/// What the pipeline did in its life.
#[derive(Clone, Copy, Debug, Default)]
pub struct PipelineReport {
    /// Records and events.
    pub assembler: AssemblerStats,
    /// The process table.
    pub table: TableStats,
}

impl PipelineHandle {
    /// The contents of the process table; `None` if the pipeline has ended.
    pub fn dump_processes(&self) -> Option<Vec<ProcessInternal>> {
        let (reply, answer) = mpsc::channel();
        self.requests.send(Request::Dump(reply)).ok()?;
        answer.recv().ok()
    }

    /// What it has done up to now; `None` if the pipeline has ended.
    pub fn report(&self) -> Option<PipelineReport> {
        let (reply, answer) = mpsc::channel();
        self.requests.send(Request::Report(reply)).ok()?;
        answer.recv().ok()
    }
}

impl Pipeline {
    /// Starts the thread and waits until it has read `/proc`.
    ///
    /// # Errors
    /// If the thread can't be started, or `/proc` can't be read.
    pub fn start(config: PipelineConfig) -> std::io::Result<Self> {
        let (requests, inbox) = mpsc::channel();
        let (ready, is_ready) = mpsc::channel();
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::Builder::new().name("pipeline".to_owned()).spawn({
            let stop = Arc::clone(&stop);
            move || {
                let mut worker = Worker::new(config, inbox);
                // nobody waits any more if the agent was stopped meanwhile
                drop(ready.send(worker.scan()));
                worker.run(&stop);
                worker.finish()
            }
        })?;
        is_ready
            .recv()
            .unwrap_or_else(|_| Err(std::io::Error::other("the pipeline's thread panicked")))?;
        Ok(Self {
            handle: PipelineHandle { requests },
            stop,
            thread,
        })
    }

    /// A handle to ask it for things.
    pub fn handle(&self) -> PipelineHandle {
        self.handle.clone()
    }

    /// Reads what is left in the rings, flushes the sinks and ends. To be called when nothing is attached any more, or what is
    /// attached stays.
    pub fn finish(self) -> Option<PipelineReport> {
        // Release: what was detached before is seen as detached by the last pass.
        self.stop.store(true, Ordering::Release);
        self.thread.join().ok()
    }
}

struct Worker {
    rings: Rings,
    maps: SharedMaps,
    registry: Arc<RwLock<Registry>>,
    assembler: Assembler,
    sinks: Sinks,
    procfs: ProcFs,
    taken_over: bool,
    keeps: bool,
    inbox: Receiver<Request>,
    clock: SystemClock,
    /// Reused between passes.
    events: Vec<Event>,
    lost_before: u64,
    complained: Option<KernelTime>,
}

impl Worker {
    fn new(config: PipelineConfig, inbox: Receiver<Request>) -> Self {
        Self {
            rings: config.rings,
            maps: config.maps,
            registry: config.registry,
            assembler: Assembler::new(config.table),
            sinks: Sinks {
                encoder: config.encoder,
                exporter: config.exporter,
                broadcast: config.broadcast,
                symbols: config.symbols,
                counts: config.events,
                clock: SystemClock,
            },
            procfs: config.procfs,
            taken_over: config.taken_over,
            keeps: config.keeps,
            inbox,
            clock: SystemClock,
            events: Vec::new(),
            lost_before: 0,
            complained: None,
        }
    }

    /// Tells kernel and process table about the processes that run already, and the sinks too.
    fn scan(&mut self) -> std::io::Result<()> {
        self.events
            .extend(self.assembler.table_mut().insert_scanned(Process::kernel()));
        for mut scanned in self.procfs.scan()? {
            let key = scanned.process.key;
            match self.maps.processes().insert(key.tgid, &kernel_record(&scanned.process)) {
                Ok(false) if self.taken_over => {
                    if let Ok(Some(known)) = self.maps.processes().lookup(key.tgid) {
                        scanned.process.identify(&known);
                        // its event is a former agent's, or comes from the rings
                        drop(self.assembler.table_mut().insert_scanned(scanned.process));
                    }
                    continue;
                }
                // the sensor has seen it execute or fork in the meantime
                Ok(false) => continue,
                Ok(true) => {}
                Err(error) => {
                    tracing::warn!(%error, pid = key.tgid, "the kernel's process table has no room for a process");
                }
            }
            if !self.procfs.is_same(key) {
                // it ended before the kernel side knew it, so nobody else will remove it
                if let Err(error) = self.maps.processes().delete(key.tgid) {
                    tracing::warn!(%error, pid = key.tgid, "an ended process stays in the kernel's process table");
                }
                continue;
            }
            let event = self.assembler.table_mut().insert_scanned(scanned.process);
            self.events.extend(event.filter(|_| !scanned.kernel_thread));
        }
        self.sinks.deliver(&mut self.events);
        self.sinks.flush();
        Ok(())
    }

    fn run(&mut self, stop: &AtomicBool) {
        // Acquire: pairs with the release in `finish`.
        while !stop.load(Ordering::Acquire) {
            if let Err(error) = self.rings.wait(POLL) {
                self.complain(&format!("waiting for records: {error}"));
            }
            self.pass(false);
            self.housekeeping();
        }
    }

    fn pass(&mut self, last: bool) {
        let registry = self.registry.read().unwrap_or_else(PoisonError::into_inner);
        let (assembler, sinks, events) = (&mut self.assembler, &mut self.sinks, &mut self.events);
        sinks.read_clock();
        let mut problem = None;
        let deliver = |bytes: &[u8]| {
            if let Err(error) = assembler.record(bytes, &registry, events) {
                problem = Some(error);
            }
            if events.len() >= BATCH {
                sinks.deliver(events);
            }
        };
        let result = if last {
            self.rings.drain_all(deliver)
        } else {
            self.rings.drain(deliver)
        };
        drop(registry);
        if let Some(error) = problem {
            self.complain(&error.to_string());
        }
        if let Err(error) = result {
            self.complain(&format!("reading records: {error}"));
        }
        self.sinks.deliver(&mut self.events);
        self.sinks.flush();
    }

    fn housekeeping(&mut self) {
        while let Ok(request) = self.inbox.try_recv() {
            match request {
                // the asker may have gone
                Request::Dump(reply) => drop(reply.send(dump(self.assembler.table(), &self.sinks.encoder))),
                Request::Report(reply) => drop(reply.send(self.report())),
            }
        }
        let now = self.clock.kernel_now();
        if self.assembler.collect(now) {
            self.reconcile(now);
        }
    }

    /// Exits may be lost, or the kernel may not have run the sensor for them: such processes are looked for in `/proc`, and
    /// leave both tables.
    fn reconcile(&mut self, now: KernelTime) {
        if let Ok(counters) = self.maps.counters() {
            let lost = [
                SensorCounter::ExecLost,
                SensorCounter::CloneLost,
                SensorCounter::ExitLost,
            ]
            .iter()
            .map(|&counter| counters[counter as usize])
            .sum();
            if lost > self.lost_before {
                let lost = lost - self.lost_before;
                tracing::warn!(lost, "records of processes were lost: the rings were full");
            }
            self.lost_before = lost;
        }
        let procfs = &self.procfs;
        let before = KernelTime(now.0.saturating_sub(SETTLED));
        let released = self
            .assembler
            .table_mut()
            .reconcile(before, |tgid| procfs.is_alive(tgid));
        for key in &released {
            let processes = self.maps.processes();
            // a later image, or a later process of that pid, is none of our business
            let is_same = processes
                .lookup(key.tgid)
                .is_ok_and(|found| found.is_some_and(|p| p.start_ktime == key.start.0));
            if is_same && let Err(error) = processes.delete(key.tgid) {
                tracing::warn!(%error, pid = key.tgid, "an ended process stays in the kernel's process table");
            }
        }
        if !released.is_empty() {
            tracing::debug!(released = released.len(), "processes had ended unseen");
        }
    }

    fn finish(mut self) -> PipelineReport {
        // what is sent from now on is for the next agent, if there is to be one
        self.pass(!self.keeps);
        self.assembler.finish(&mut self.events);
        self.sinks.deliver(&mut self.events);
        if let Some(exporter) = self.sinks.exporter.take() {
            exporter.finish();
        }
        self.report()
    }

    fn report(&self) -> PipelineReport {
        PipelineReport {
            assembler: self.assembler.stats(),
            table: self.assembler.table().stats(),
        }
    }

    /// Logs trouble that may come with every record, now and then.
    fn complain(&mut self, problem: &str) {
        let now = self.clock.kernel_now();
        if self.complained.is_none_or(|last| now.0 - last.0 > QUIET_NS) {
            let stats = self.assembler.stats();
            tracing::error!(
                undecodable = stats.undecodable,
                unknown = stats.unknown_template,
                "{problem}"
            );
            self.complained = Some(now);
        }
    }
}

/// Where events go.
struct Sinks {
    encoder: Encoder,
    exporter: Option<Exporter>,
    broadcast: Arc<Broadcast>,
    counts: Option<Arc<EventCounts>>,
    symbols: Symbols,
    clock: SystemClock,
}

impl Sinks {
    fn read_clock(&mut self) {
        self.encoder.update_clock(self.clock.offset());
    }

    /// Encodes the events and hands them to the sinks.
    fn deliver(&mut self, events: &mut Vec<Event>) {
        for mut event in events.drain(..) {
            if let Some(counts) = &self.counts {
                counts.count(&event);
            }
            let streaming = self.broadcast.has_clients();
            if self.exporter.is_none() && !streaming {
                continue;
            }
            if let EventBody::Policy(policy) = &mut event.body {
                let tgid = event.process.key.tgid;
                self.symbols
                    .resolve(&mut policy.stacks, &policy.template.function_name, tgid);
            }
            let message = self.encoder.encode(&event);
            if let Some(exporter) = &mut self.exporter {
                exporter.event(&message, account_of(&event));
            }
            if streaming {
                self.broadcast.send(message);
            }
        }
    }

    /// Nothing stays behind until more comes.
    fn flush(&mut self) {
        if let Some(exporter) = &mut self.exporter {
            exporter.flush();
        }
    }
}

fn account_of(event: &Event) -> Option<&Arc<Account>> {
    match &event.body {
        EventBody::Policy(policy) => Some(&policy.template.account),
        _ => None,
    }
}

fn dump(table: &ProcessTable, encoder: &Encoder) -> Vec<ProcessInternal> {
    table
        .processes()
        .into_iter()
        .map(|(process, references, alive)| ProcessInternal {
            process: Some(encoder.process(&process)),
            color: if alive || references > 0 {
                "inUse"
            } else {
                "deletePending"
            }
            .to_owned(),
            refcnt: Some(references),
            ..Default::default()
        })
        .collect()
}
