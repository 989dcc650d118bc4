//! The table of flags: the only list of settings there is. Command line, environment, files and `tetra info` follow it.

use clap::{Arg, ArgAction, Command};

/// Form of a setting's value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Any text.
    Text,
    /// `true` or `false`; on the command line the name alone means `true`.
    Boolean,
    /// A number, or a size with a suffix.
    Number,
    /// A duration in Go's form.
    Duration,
    /// Words with commas between them.
    List,
}

/// What this agent does with a setting.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Support {
    /// Honours it.
    Honoured,
    /// Accepts it and says that it means nothing here, and why.
    Ignored(&'static str),
    /// Refuses any value but the default, and says why.
    Refused(&'static str),
}

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    /// Name, as on the command line without dashes.
    pub name: &'static str,
    /// Form of the value.
    pub kind: Kind,
    /// Value if nobody sets it.
    pub default: &'static str,
    /// What becomes of it.
    pub support: Support,
    /// One sentence, without full stop.
    pub help: &'static str,
}

const fn flag(name: &'static str, kind: Kind, default: &'static str, support: Support, help: &'static str) -> Flag {
    Flag {
        name,
        kind,
        default,
        support,
        help,
    }
}

use Kind::{Boolean, Duration, List, Number, Text};
use Support::{Honoured, Ignored, Refused};

/// All settings, by name.
#[rustfmt::skip]
pub const FLAGS: &[Flag] = &[
    flag("bpf-dir", Text, "tetragon", Honoured, "Directory below /sys/fs/bpf for pinned objects, see keep-sensors-on-exit"),
    flag("bpf-lib", Text, "/var/lib/tetragon/", Ignored("eBPF objects are built into the agent"), "Location of eBPF objects"),
    flag("btf", Text, "", Refused("the running kernel's BTF is used; it must be at /sys/kernel/btf/vmlinux"), "File with the kernel's BTF"),
    flag("cgroup-rate", Text, "", Refused("event rates per cgroup are not limited yet"), "Limit of base events per cgroup, as EVENTS,INTERVAL"),
    flag("cluster-name", Text, "", Honoured, "cluster_name of events"),
    flag("config-dir", Text, "", Honoured, "Directory with one file per setting"),
    flag("cpuprofile", Text, "", Refused("profiles are not written"), "File for a CPU profile"),
    flag("cri-endpoint", Text, "", Refused("the container runtime is not asked yet"), "Socket of the container runtime"),
    flag("data-cache-size", Number, "1024", Honoured, "Execs whose long arguments may wait for the rest of their record"),
    flag("debug", Boolean, "false", Honoured, "Log at level debug"),
    flag("deleted-pod-cache-size", Number, "1024", Refused("pods are not watched yet"), "Deleted pods that are remembered"),
    flag("disable-kprobe-multi", Boolean, "false", Refused("set it in the policy's options"), "Attach kprobes one by one"),
    flag("disable-process-cache", Boolean, "false", Refused("events without a process table are not implemented yet"), "Don't keep processes"),
    flag("enable-ancestors", List, "", Honoured, "List ancestors in events: base, and any of kprobe, tracepoint, loader, uprobe, lsm, usdt"),
    flag("enable-cgidmap", Boolean, "false", Refused("cgroup ids are not mapped to containers yet"), "Map cgroup ids to containers"),
    flag("enable-cgidmap-debug", Boolean, "false", Refused("cgroup ids are not mapped to containers yet"), "Debug the map of cgroup ids"),
    flag("enable-cgtrackerid", Boolean, "true", Refused("cgroups are not tracked yet"), "Track nested cgroups"),
    flag("enable-cri", Boolean, "false", Refused("the container runtime is not asked yet"), "Ask the container runtime about cgroups"),
    flag("enable-deprecated-tracingpolicy-grpc", Boolean, "false", Honoured, "Serve EnableTracingPolicy and DisableTracingPolicy"),
    flag("enable-event-metrics", Boolean, "true", Honoured, "Count events in metrics, by type, policy and program"),
    flag("enable-export-aggregation", Boolean, "false", Refused("events are not aggregated"), "Aggregate exported events"),
    flag("enable-k8s-api", Boolean, "false", Refused("the Kubernetes API is not watched yet"), "Watch the Kubernetes API"),
    flag("enable-msg-handling-latency", Boolean, "false", Refused("how long records take is not measured yet"), "Measure how long records take"),
    flag("enable-pid-set-filter", Boolean, "false", Honoured, "Allow pid_set in filters"),
    flag("enable-pod-annotations", Boolean, "false", Refused("pods are not watched yet"), "Show annotations of pods"),
    flag("enable-pod-info", Boolean, "false", Refused("pods are not watched yet"), "Use PodInfo resources"),
    flag("enable-policy-filter", Boolean, "false", Refused("policies are not filtered by pod yet"), "Honour namespaces and pod selectors of policies"),
    flag("enable-policy-filter-cgroup-map", Boolean, "false", Refused("policies are not filtered by pod yet"), "Keep a reverse map of cgroups to policies"),
    flag("enable-policy-filter-debug", Boolean, "false", Refused("policies are not filtered by pod yet"), "Debug the policy filter"),
    flag("enable-process-cred", Boolean, "false", Honoured, "Show capabilities and credentials of processes"),
    flag("enable-process-environment-variables", Boolean, "false", Refused("environments are not read yet"), "Show environment variables of processes"),
    flag("enable-process-ns", Boolean, "false", Honoured, "Show namespaces of processes"),
    flag("enable-tracing-policy-crd", Boolean, "true", Ignored("the Kubernetes API is not watched yet"), "Load TracingPolicy resources"),
    flag("event-cache-retries", Number, "15", Ignored("events never wait for missing parts"), "Retries for events that wait for missing parts"),
    flag("event-cache-retry-delay", Number, "2", Ignored("events never wait for missing parts"), "Seconds between retries"),
    flag("event-queue-size", Number, "10000", Honoured, "Events that may wait for one API client; more are lost for that client, and counted"),
    flag("execve-map-entries", Number, "0", Honoured, "Processes that the kernel side can hold; 0: 32768"),
    flag("execve-map-size", Text, "", Refused("use execve-map-entries"), "Bytes of the kernel's process table"),
    flag("export-aggregation-buffer-size", Number, "10000", Refused("events are not aggregated"), "Events that may wait for aggregation"),
    flag("export-aggregation-window-size", Duration, "15s", Refused("events are not aggregated"), "Time in which events are aggregated"),
    flag("export-allowlist", Text, "", Honoured, "Filters, in JSON: only events that match one are exported"),
    flag("export-denylist", Text, "", Honoured, "Filters, in JSON: events that match one are not exported"),
    flag("export-file-compress", Boolean, "false", Honoured, "Compress rotated export files with gzip"),
    flag("export-file-max-backups", Number, "5", Honoured, "Rotated export files that are kept"),
    flag("export-file-max-size-mb", Number, "10", Honoured, "Size in MB at which the export file is rotated"),
    flag("export-file-perm", Text, "600", Honoured, "Permission bits of export files, in octal"),
    flag("export-file-rotation-interval", Duration, "0s", Honoured, "Age at which the export file is rotated; 0: never"),
    flag("export-filename", Text, "", Honoured, "File for exported events, one JSON object a line; - is standard output"),
    flag("export-rate-limit", Number, "-1", Honoured, "Exported events per minute; a rate_limit_info event tells how many were held back; 0: none are exported; -1: no limit"),
    flag("expose-stack-addresses", Boolean, "false", Honoured, "Show addresses in stack traces, which help those who attack the kernel"),
    flag("field-filters", Text, "", Honoured, "Field filters for exported events, in JSON"),
    flag("filter-environment-variables", List, "", Refused("environments are not read yet"), "Environment variables to show"),
    flag("force-large-progs", Boolean, "false", Ignored("programs are compiled for the kernel they run on"), "Use large programs"),
    flag("force-small-progs", Boolean, "false", Ignored("programs are compiled for the kernel they run on"), "Use small programs"),
    flag("generate-docs", Boolean, "false", Refused("see --help"), "Print the flags as YAML"),
    flag("gops-address", Text, "", Ignored("there is no Go runtime here"), "Address of the gops server"),
    flag("health-server-address", Text, "", Honoured, "Where the standard gRPC health service is served, HOST:PORT or :PORT, with the service `liveness`; empty: nowhere"),
    flag("health-server-interval", Number, "10", Ignored("a change is told at once"), "Seconds between health checks"),
    flag("k8s-controlplane-retry", Number, "1", Refused("the Kubernetes API is not watched yet"), "Attempts to reach the Kubernetes API"),
    flag("k8s-kubeconfig-path", Text, "", Refused("the Kubernetes API is not watched yet"), "Kubeconfig file"),
    flag("keep-sensors-on-exit", Boolean, "false", Honoured, "Pin programs, hooks and maps below bpf-dir: policies stay in force when the agent ends or is killed, and the next agent takes over without a gap; `tetra-agent uninstall` ends it"),
    flag("kernel", Text, "", Refused("features are probed, never derived from a version"), "Version of the kernel"),
    flag("log-file", Text, "", Refused("the log goes to standard error"), "File for the log"),
    flag("log-format", Text, "text", Honoured, "Form of the log: text or json"),
    flag("log-level", Text, "info", Honoured, "Least level of the log: trace, debug, info, warning, error, fatal, panic"),
    flag("memprofile", Text, "", Refused("profiles are not written"), "File for a memory profile"),
    flag("metrics-label-filter", List, "namespace,workload,pod,binary", Honoured, "Labels of event metrics that are filled: namespace, workload, pod, binary, node_name; those of pods are empty as yet"),
    flag("metrics-server", Text, "", Honoured, "Where metrics are served for Prometheus, HOST:PORT or :PORT, under /metrics; empty: nowhere"),
    flag("netns-dir", Text, "/var/run/docker/netns/", Ignored("network namespaces are found through processes"), "Directory of network namespaces"),
    flag("parents-map-enabled", Boolean, "false", Refused("matchParentBinaries is not implemented yet"), "Keep parents for matchParentBinaries"),
    flag("parents-map-entries", Number, "0", Refused("matchParentBinaries is not implemented yet"), "Entries of the map of parents"),
    flag("parents-map-size", Text, "", Refused("matchParentBinaries is not implemented yet"), "Bytes of the map of parents"),
    flag("persist-grpc-policies", Boolean, "false", Refused("policies added over the API are not kept yet"), "Keep policies that were added over the API"),
    flag("persist-grpc-policies-dir", Text, "/var/run/tetragon/grpc-policies", Refused("policies added over the API are not kept yet"), "Where they are kept"),
    flag("pprof-address", Text, "", Refused("profiles are not served"), "Address of the profiler"),
    flag("process-cache-gc-interval", Duration, "30s", Honoured, "Time between looks for processes that nothing refers to"),
    flag("process-cache-size", Number, "65536", Honoured, "Processes that are remembered"),
    flag("procfs", Text, "/proc/", Honoured, "Mount point of procfs"),
    flag("rb-queue-size", Text, "65535", Ignored("records are read in place"), "Records that may wait between reader and decoder"),
    flag("rb-size", Text, "0", Honoured, "Bytes of ring buffer per CPU; 0: chosen"),
    flag("rb-size-total", Text, "0", Honoured, "Bytes of each ring buffer; 0: chosen"),
    flag("redaction-filters", Text, "", Refused("arguments are not redacted yet"), "Redaction filters, in JSON"),
    flag("release-pinned-bpf", Boolean, "true", Ignored("what is pinned is taken over without a gap; `tetra-agent uninstall` removes it"), "Remove pinned objects at start"),
    flag("retprobes-cache-size", Number, "4096", Ignored("returns are matched in user space"), "Entries of the map of calls under way"),
    flag("run-dir", Text, "/var/run/tetragon", Honoured, "Directory of pid file and info file"),
    flag("server-address", Text, "unix:///var/run/tetragon/tetragon.sock", Honoured, "Where the API is served: unix:///PATH, HOST:PORT or :PORT (everybody who reaches the port may change policies); empty: nowhere"),
    flag("server-tls-cert-file", Text, "", Refused("the API is served on unix sockets only"), "Certificate of the server"),
    flag("server-tls-client-ca-files", List, "", Refused("the API is served on unix sockets only"), "Authorities of clients"),
    flag("server-tls-key-file", Text, "", Refused("the API is served on unix sockets only"), "Key of the server"),
    flag("server-tls-require-client-cert", Boolean, "false", Refused("the API is served on unix sockets only"), "Require certificates of clients"),
    flag("sleepable-preload-size", Number, "32768", Ignored("strings are read when they are resident"), "Entries of the map of preloaded strings"),
    flag("tracing-policy", Text, "", Honoured, "File with policies to load at start"),
    flag("tracing-policy-dir", Text, "/etc/tetragon/tetragon.tp.d", Honoured, "Directory of files with policies; changes are followed while the agent runs"),
    flag("use-perf-ring-buffer", Boolean, "false", Refused("records leave through BPF ring buffers"), "Use perf buffers"),
    flag("username-metadata", Text, "disabled", Refused("user names are not resolved yet"), "Resolve user names: disabled or unix"),
    flag("verbose", Number, "0", Ignored("a rejected program is reported with its log"), "Level of the verifier's log"),
];

/// The command that removes what is pinned.
pub const UNINSTALL: &str = "uninstall";

/// The command line.
pub fn command() -> Command {
    let version = env!("CARGO_PKG_VERSION");
    let command = Command::new("tetra-agent")
        .version(version)
        .about("Observes and enforces TracingPolicies on this machine")
        .subcommand(Command::new(UNINSTALL).about(
            "Detaches and removes what an agent with --keep-sensors-on-exit has left in force below --bpf-dir; options go before the word",
        ));
    FLAGS.iter().fold(command, |command, flag| {
        let mut arg = Arg::new(flag.name)
            .long(flag.name)
            .action(ArgAction::Append)
            .help(help(flag));
        if flag.name == "debug" {
            arg = arg.short('d');
        }
        arg = match flag.kind {
            Boolean => arg
                .value_name("BOOL")
                .num_args(0..=1)
                .require_equals(true)
                .default_missing_value("true"),
            Number => arg.value_name("NUMBER").allow_hyphen_values(true),
            Duration => arg.value_name("DURATION"),
            List => arg.value_name("WORDS"),
            Text => arg.value_name("TEXT"),
        };
        command.arg(arg.hide(matches!(flag.support, Refused(_))))
    })
}

fn help(flag: &Flag) -> String {
    let note = match flag.support {
        Honoured => String::new(),
        Ignored(reason) => format!(" (has no effect: {reason})"),
        Refused(reason) => format!(" (not implemented: {reason})"),
    };
    let default = if flag.default.is_empty() {
        String::new()
    } else {
        format!(" [default: {}]", flag.default)
    };
    format!("{}{note}{default}", flag.help)
}
