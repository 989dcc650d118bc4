//! The agent as a whole: starts its parts in order, stops them in the opposite one.
//!
//! Order of the start: sensor (from here on nothing is missed) → export → process scan → policies → API; where a former agent's
//! objects are taken over, policies come before the process scan. Whoever reaches the API finds everything in force. Order of the end: API → hooks and sensor (nothing is observed or enforced any more) → what is
//! left in the rings → sinks.

use std::sync::{Arc, Mutex, PoisonError, RwLock};

use anyhow::Context as _;
use ebpf::record::SensorCounter;
use kprobes::{CgroupHierarchy, Sensor, SensorOptions, SharedMaps};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;

use crate::config::{Config, Layers};
use crate::event::{EncodeConfig, Encoder};
use crate::export::{ExportStats, Exporter, SharedRotation};
use crate::logging::LogLevel;
use crate::manager::{ClosingAccount, DOMAIN_STATIC, LiveKernel, Manager, log_account};
use crate::metrics::{Endpoint, EventCounts, Sources};
use crate::persistence::Persistence;
use crate::pipeline::{Pipeline, PipelineConfig, PipelineReport};
use crate::policy::Registry;
use crate::policy_files::{Follower, PolicyFiles};
use crate::process::scan::ProcFs;
use crate::run_files::{InfoFile, PidFile};
use crate::server::{self, Broadcast, Health, Service, ServiceConfig};
use crate::service_manager::{self, Watchdog};
use crate::symbols::Symbols;
use crate::time::SystemClock;

/// Runs the agent until `stop` resolves.
///
/// # Errors
/// Whatever keeps it from running, with what to do about it.
pub async fn run(mut config: Config, log_level: LogLevel, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
    for (flag, reason) in Layers::ignored(&config.effective) {
        tracing::warn!(flag, "setting has no effect: {reason}");
    }
    let pid_file = PidFile::acquire(&config.run_dir)?;
    let mut options = SensorOptions {
        cgroup_hierarchy: CgroupHierarchy::of_this_machine(),
        ..SensorOptions::default()
    };
    if config.execve_map_entries > 0 {
        options.processes = config.execve_map_entries;
    }
    if config.ring_bytes > 0 {
        options.ring_bytes = config.ring_bytes;
    }
    let persistence = Persistence::new(&config.bpf_dir, config.keep_sensors_on_exit, &options)?;
    let sensor = persistence.sensor(&options)?;
    let maps = sensor.maps().clone();
    let kernel = persistence.hooks(&maps)?;

    let registry = Arc::new(RwLock::new(Registry::default()));
    let broadcast = Arc::new(Broadcast::new(config.event_queue_size));
    let export_filename = config
        .export
        .as_ref()
        .map(|export| export.filename.display().to_string())
        .unwrap_or_default();
    let exporter = config
        .export
        .take()
        .map(Exporter::start)
        .transpose()
        .with_context(|| format!("opening the export `{export_filename}`"))?;
    let export_stats = exporter.as_ref().map(|exporter| Arc::clone(exporter.stats()));
    let rotation = exporter.as_ref().and_then(Exporter::rotation).cloned();
    let hangup = follow_hangup(rotation.clone())?;
    let manager = Arc::new(Mutex::new(Manager::new(kernel, Arc::clone(&registry))));
    // The rings of a former agent hold records that only its policies explain, which ours replace. Otherwise nothing is in the
    // rings yet but processes, and they should not wait for the verifier.
    let taken_over = persistence.is_taking_over();
    let mut policy_files = PolicyFiles::new(&config);
    if taken_over {
        load_policies(&mut policy_files, &persistence, &manager)?;
    }
    // nobody could read them otherwise
    let events = config.event_metrics.filter(|_| config.metrics_address.is_some());
    let events = events.map(|labels| Arc::new(EventCounts::new(labels)));
    let pipeline = start_pipeline(
        &config,
        &persistence,
        &sensor,
        &registry,
        &broadcast,
        exporter,
        events.clone(),
    )?;
    if !taken_over {
        load_policies(&mut policy_files, &persistence, &manager)?;
    }

    let parts = ServiceConfig {
        manager: Arc::clone(&manager),
        broadcast: Arc::clone(&broadcast),
        pipeline: Some(pipeline.handle()),
        log_level,
        filter_options: config.filter_options,
        rotation,
        deprecated_calls: config.enable_deprecated_policy_calls,
    };
    let service = Service::new(parts, &config, kprobes::probe::report().ok());
    let health = match &config.health_address {
        Some(address) => Health::serve(address)
            .await
            .inspect_err(|error| tracing::error!("{error:#}; the agent goes on without"))
            .ok(),
        None => None,
    };
    let endpoint = match &config.metrics_address {
        Some(address) => {
            let sources = Sources {
                manager: Arc::clone(&manager),
                maps: maps.clone(),
                pipeline: pipeline.handle(),
                export: export_stats.clone(),
                broadcast: Arc::clone(&broadcast),
                events,
                table_capacity: config.table.capacity,
                node_name: config.node_name.clone(),
            };
            Endpoint::serve(address, sources)
                .await
                .inspect_err(|error| tracing::error!("{error:#}; the agent goes on without"))
                .ok()
        }
        None => None,
    };
    let follower = Follower::start(policy_files, Arc::clone(&manager));
    let mut info = None;
    let ready = |address: &str| {
        info = InfoFile::write(&config.run_dir, address, &export_filename)
            .inspect_err(|error| tracing::warn!("clients have to be told the address: {error:#}"))
            .ok();
        tracing::info!(address, "the agent is ready");
        service_manager::ready();
    };
    let watchdog = Watchdog::start(pipeline.handle());
    let result = server::serve(&config.server_address, service, stop, ready)
        .await
        .context("serving the API");
    service_manager::stopping();
    watchdog.stop();
    if let Some(health) = health {
        health.stop().await;
    }
    if let Some(endpoint) = endpoint {
        endpoint.stop();
    }
    drop(info);
    hangup.abort();
    follower.stop();
    let accounts = {
        let mut manager = manager.lock().unwrap_or_else(PoisonError::into_inner);
        if persistence.keeps() {
            tracing::info!("policies stay in force; the next agent takes over");
            manager.leave()
        } else {
            manager.stop()
        }
    };
    let missed = sensor.missed().unwrap_or_default();
    drop(sensor);
    let report = pipeline.finish();
    sum_up(&maps, missed, report, export_stats.as_deref(), &broadcast, &accounts);
    drop(pid_file);
    result
}

/// Opens the export file again whenever `SIGHUP` arrives, as `logrotate` and its like expect. Without a file it does nothing, rather
/// than end the agent.
fn follow_hangup(rotation: Option<SharedRotation>) -> anyhow::Result<JoinHandle<()>> {
    let mut hangup = signal(SignalKind::hangup()).context("waiting for SIGHUP")?;
    Ok(tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            if let Some(rotation) = &rotation {
                rotation.reopen();
            }
        }
    }))
}

fn start_pipeline(
    config: &Config,
    persistence: &Persistence,
    sensor: &Sensor,
    registry: &Arc<RwLock<Registry>>,
    broadcast: &Arc<Broadcast>,
    exporter: Option<Exporter>,
    events: Option<Arc<EventCounts>>,
) -> anyhow::Result<Pipeline> {
    let clock = SystemClock;
    let procfs = ProcFs::new(&config.procfs, clock.suspended());
    let encode = EncodeConfig {
        node_name: config.node_name.clone(),
        cluster_name: config.cluster_name.clone(),
        with_namespaces: config.enable_process_ns,
        with_credentials: config.enable_process_cred,
        host_namespaces: procfs.host_namespaces(),
    };
    let pipeline = PipelineConfig {
        rings: sensor.rings().context("opening the ring buffers")?,
        maps: sensor.maps().clone(),
        registry: Arc::clone(registry),
        encoder: Encoder::new(encode, clock.offset()),
        exporter,
        broadcast: Arc::clone(broadcast),
        events,
        table: config.table.clone(),
        symbols: Symbols::new(config.procfs.clone(), config.expose_stack_addresses),
        procfs,
        taken_over: persistence.is_taking_over(),
        keeps: persistence.keeps(),
    };
    Pipeline::start(pipeline).with_context(|| format!("reading processes in {}", config.procfs.display()))
}

/// Loads the policies of files, by one change that takes the place of what a former agent has left in force. One that is refused
/// is logged; the others are loaded all the same.
fn load_policies(
    files: &mut PolicyFiles,
    persistence: &Persistence,
    manager: &Mutex<Manager<LiveKernel>>,
) -> anyhow::Result<()> {
    let texts = files.read()?;
    let mut manager = manager.lock().unwrap_or_else(PoisonError::into_inner);
    if persistence.is_taking_over() {
        manager
            .take_over()
            .context("reading which policies a former agent has left")?;
    } else if texts.is_empty() {
        persistence.settle(&mut manager);
        return Ok(());
    }
    match manager.load(&texts, DOMAIN_STATIC) {
        Ok(loaded) => {
            files.loaded(texts, loaded);
            persistence.settle(&mut manager);
        }
        // What is pinned stays as it is.
        Err(error) => tracing::error!(
            "no policy of a file is in force; what a former agent has left stays: {:#}",
            anyhow::Error::from(error)
        ),
    }
    Ok(())
}

/// Says where everything went that the kernel sent.
fn sum_up(
    maps: &SharedMaps,
    missed: u64,
    report: Option<PipelineReport>,
    export: Option<&ExportStats>,
    broadcast: &Broadcast,
    accounts: &[ClosingAccount],
) {
    let report = report.unwrap_or_default();
    if let Ok(c) = maps.counters() {
        let get = |counter: SensorCounter| c[counter as usize];
        tracing::info!(
            exec_sent = get(SensorCounter::ExecSent),
            exec_lost = get(SensorCounter::ExecLost),
            clone_sent = get(SensorCounter::CloneSent),
            clone_lost = get(SensorCounter::CloneLost),
            exit_sent = get(SensorCounter::ExitSent),
            exit_lost = get(SensorCounter::ExitLost),
            data_sent = get(SensorCounter::DataSent),
            data_lost = get(SensorCounter::DataLost),
            table_full = get(SensorCounter::ProcessTableFull),
            nested_too_deep = get(SensorCounter::ScratchExhausted),
            missed,
            "records of the process sensor"
        );
    }
    let [exec, clone, exit, data, policy, buffer] = report.assembler.records;
    tracing::info!(
        exec,
        clone,
        exit,
        data,
        policy,
        buffer,
        undecodable = report.assembler.undecodable,
        unknown = report.assembler.unknown_template,
        events = report.assembler.events,
        "records read"
    );
    tracing::info!(
        entries = report.table.entries,
        evictions = report.table.evictions,
        early_deletions = report.table.early_deletions,
        misses = report.table.misses,
        lost_arguments = report.table.lost_arguments,
        "process table"
    );
    if let Some(export) = export {
        tracing::info!(
            exported = export.exported.get(),
            filtered = export.filtered.get(),
            limited = export.limited.get(),
            lost = export.lost.get(),
            bytes = export.bytes.get(),
            "export"
        );
    }
    tracing::info!(lost = broadcast.lost(), "API clients");
    accounts.iter().for_each(log_account);
}
