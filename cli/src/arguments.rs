//! The command line's grammar and help.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::compact::ColourMode;
use crate::duration;

/// Watches and steers the tetra agent; checks, compiles and explains policies without one.
#[derive(Debug, Parser)]
#[command(
    name = "tetra",
    version,
    max_term_width = 100,
    after_help = "\
Examples:
  tetra getevents -o compact                   watch what happens on this machine
  tetra getevents -o compact --process curl    only programs whose path matches `curl`
  tetra tp add policy.yaml                     load a policy into the running agent
  tetra tp list                                what is loaded, and how often it acted
  tetra policy check *.yaml                    find mistakes before loading
  tetra policy explain policy.yaml             what becomes of it here, and what to mind
  tetra policy explain TP0001                  what a diagnostic means

`tetra COMMAND --help` says more about each command."
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) connection: Connection,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// How to reach the agent.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct Connection {
    /// Where the agent listens: `unix:///path` or `host:port` [default: what the agent's info file
    /// says, else unix:///var/run/tetragon/tetragon.sock]
    #[arg(long, global = true, value_name = "ADDRESS", hide_default_value = true)]
    pub(crate) server_address: Option<String>,
    /// How long to wait for an answer
    #[arg(long, global = true, value_name = "DURATION", default_value = "30s", value_parser = duration::parse)]
    pub(crate) timeout: Duration,
    /// Attempts while the agent is unavailable; waits 1s after the first, then twice as long each
    #[arg(long, global = true, value_name = "NUMBER", default_value_t = 1)]
    pub(crate) retries: u32,
    /// Largest message to accept
    #[arg(long, global = true, value_name = "BYTES", default_value_t = 10 << 20, hide = true)]
    pub(crate) max_recv_size: usize,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Print events as they happen, or those of a log on standard input
    #[command(visible_alias = "events")]
    Getevents(Box<GetEvents>),
    /// Load, list and change the agent's policies
    #[command(visible_alias = "tp", subcommand_required = true, arg_required_else_help = true)]
    Tracingpolicy {
        #[command(subcommand)]
        command: TracingPolicy,
    },
    /// Check, compile and explain policies without an agent
    #[command(subcommand_required = true, arg_required_else_help = true)]
    Policy {
        #[command(subcommand)]
        command: Policy,
    },
    /// Say whether the agent runs, and what it can enforce on its kernel
    Status(Status),
    /// Print the version of this program, and of the agent
    Version(Version),
    /// Print version, kernel features and settings of the agent as JSON
    Info,
    /// Print what this kernel can do for tetra (needs no agent)
    Probe(Probe),
    /// Read or change the level of the agent's log
    #[command(alias = "log", subcommand_required = true, arg_required_else_help = true)]
    Loglevel {
        #[command(subcommand)]
        command: LogLevel,
    },
}

/// Form of the events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum EventFormat {
    /// One JSON object a line, complete
    Json,
    /// One line an event, for people
    Compact,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tetra getevents -o compact
  tetra getevents -o compact -e PROCESS_EXEC,PROCESS_EXIT --timestamps
  tetra getevents -o compact --policy-names file-access
  tetra getevents -o compact --namespace default --pod '^web-'
  tetra getevents -f process.binary,process.arguments | jq .
  tetra getevents -o compact < /var/log/tetragon/tetragon.log
  tail -F /var/log/tetragon/tetragon.log | tetra getevents -o compact --process '/bash$'

If standard input is a file or a pipe, events are read from it, one JSON object a line, and the
agent is not asked. Lines that are no events are left out and counted.

Conditions of different kinds must all hold; of several values of one kind, one is enough.")]
pub(crate) struct GetEvents {
    /// Form of the events
    #[arg(short, long, value_enum, default_value_t = EventFormat::Json)]
    pub(crate) output: EventFormat,
    /// Whether to colour compact output
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = ColourMode::Auto)]
    pub(crate) color: ColourMode,
    /// Start each compact line with the time of the event
    #[arg(long)]
    pub(crate) timestamps: bool,
    /// Show stack traces in compact output
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_value_t = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub(crate) stack_traces: bool,
    /// Show IMA hashes in compact output
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_value_t = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub(crate) ima_hash: bool,
    /// Print the bytes written to this terminal instead of events (needs a policy that reports
    /// them)
    #[arg(short, long, value_name = "PATH")]
    pub(crate) tty_encode: Option<String>,

    /// Keep only these fields: paths from the event on, such as `process.binary`
    #[arg(
        short = 'f',
        long,
        value_name = "FIELDS",
        value_delimiter = ',',
        help_heading = "Fields"
    )]
    pub(crate) include_fields: Vec<String>,
    /// Leave these fields out
    #[arg(
        short = 'F',
        long,
        value_name = "FIELDS",
        value_delimiter = ',',
        help_heading = "Fields"
    )]
    pub(crate) exclude_fields: Vec<String>,

    #[command(flatten)]
    pub(crate) conditions: Conditions,

    /// Connect again when the agent goes away
    #[arg(long, help_heading = "Connection")]
    pub(crate) reconnect: bool,
    /// Wait before connecting again
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = duration::parse, help_heading = "Connection")]
    pub(crate) reconnect_wait: Duration,
}

/// Which events to show.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Conditions")]
pub(crate) struct Conditions {
    /// Types of events: PROCESS_EXEC, PROCESS_EXIT, PROCESS_KPROBE, PROCESS_TRACEPOINT,
    /// PROCESS_LOADER, PROCESS_UPROBE, PROCESS_USDT, PROCESS_LSM, PROCESS_THROTTLE
    #[arg(short, long, value_name = "TYPES", value_delimiter = ',', alias = "event-type")]
    pub(crate) event_types: Vec<String>,
    /// Kubernetes namespaces
    #[arg(short, long, value_name = "NAMES", value_delimiter = ',', alias = "namespaces")]
    pub(crate) namespace: Vec<String>,
    /// Regular expressions on the Kubernetes namespace
    #[arg(long, value_name = "REGEX")]
    pub(crate) namespace_regex: Vec<String>,
    /// Regular expressions on the path of the program
    #[arg(long, value_name = "REGEX", alias = "processes")]
    pub(crate) process: Vec<String>,
    /// Regular expressions on the name of the pod
    #[arg(long, value_name = "REGEX", alias = "pods")]
    pub(crate) pod: Vec<String>,
    /// Regular expressions on the name of the container
    #[arg(long, value_name = "REGEX", alias = "containers")]
    pub(crate) container: Vec<String>,
    /// Events of the host, outside of pods
    #[arg(long)]
    pub(crate) host: bool,
    /// Names of policies
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) policy_names: Vec<String>,
    /// Expressions in the Common Expression Language (evaluated by the agent)
    #[arg(long, value_name = "CEL")]
    pub(crate) cel_expression: Vec<String>,
}

/// Form of lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ListFormat {
    /// Columns
    Text,
    /// JSON
    Json,
}

/// Whether a policy's enforcing actions are carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// They are
    Enforce,
    /// They are only reported
    Monitor,
}

/// A loaded policy.
#[derive(Debug, Args)]
pub(crate) struct PolicyName {
    /// Name of the policy (`metadata.name`)
    pub(crate) name: String,
    /// Namespace of a TracingPolicyNamespaced
    #[arg(short, long, default_value = "", hide_default_value = true)]
    pub(crate) namespace: String,
    /// Domain the policy was loaded into [default: grpc]
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) domain: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TracingPolicy {
    /// Load policies
    #[command(after_help = "\
Examples:
  tetra tp add policy.yaml
  tetra tp add --mode monitor policy.yaml     report what would be enforced
  kubectl get tracingpolicy p -o yaml | tetra tp add -")]
    Add {
        /// Files with policies; `-` is standard input
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Mode to load them in, whatever the file says
        #[arg(short, long, value_enum)]
        mode: Option<Mode>,
        /// Domain to load them into [default: grpc]
        #[arg(long, default_value = "", hide_default_value = true)]
        domain: String,
    },
    /// Remove a policy
    Delete(PolicyName),
    /// Load a disabled policy again
    Enable(PolicyName),
    /// Unload a policy, but keep it listed
    Disable(PolicyName),
    /// Change whether a policy enforces or only reports
    SetMode {
        #[command(flatten)]
        policy: PolicyName,
        /// New mode
        #[arg(value_enum)]
        mode: Mode,
    },
    /// List policies with their state and counters
    List {
        /// Form of the list
        #[arg(short, long, value_enum, default_value_t = ListFormat::Text)]
        output: ListFormat,
        /// Only policies of this domain
        #[arg(long, default_value = "", hide_default_value = true)]
        domain: String,
    },
    /// List the domains policies were loaded into
    Domains {
        /// Form of the list
        #[arg(short, long, value_enum, default_value_t = ListFormat::Text)]
        output: ListFormat,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Version {
    /// Ask the agent too
    #[arg(short, long)]
    pub(crate) server: bool,
    /// Say how this program was built
    #[arg(short, long)]
    pub(crate) build: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Form of the answer
    #[arg(short, long, value_enum, default_value_t = ListFormat::Text)]
    pub(crate) output: ListFormat,
}

#[derive(Debug, Args)]
pub(crate) struct Probe {
    /// Form of the list
    #[arg(short, long, value_enum, default_value_t = ListFormat::Text)]
    pub(crate) output: ListFormat,
}

#[derive(Debug, Subcommand)]
pub(crate) enum LogLevel {
    /// Print the level
    Get,
    /// Change the level until the agent stops
    Set {
        /// New level
        #[arg(value_enum)]
        level: Level,
    },
}

/// Levels of the agent's log, quietest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Level {
    Panic,
    Fatal,
    Error,
    #[value(alias = "warn")]
    Warning,
    Info,
    Debug,
    Trace,
}

/// Form of diagnostics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DiagnosticFormat {
    /// With the lines of the file they are about
    Full,
    /// One line each: file:line:column: severity[code]: message
    Line,
    /// One JSON object a line
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Policy {
    /// Find mistakes in policies
    #[command(after_help = "\
Examples:
  tetra policy check policy.yaml
  tetra policy check --format line policies/*.yaml
  tetra policy check --btf vmlinux-5.10.btf policy.yaml    for another kernel
  tetra policy check --review policies/                    and what a reviewer would say

Exits with 1 if there is an error, with 0 if there are warnings at most.")]
    Check {
        /// Files with policies, or directories of them; `-` is standard input
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Form of the diagnostics
        #[arg(long, value_enum, default_value_t = DiagnosticFormat::Full)]
        format: DiagnosticFormat,
        /// BTF of the kernel to check for [default: the running one]
        #[arg(long, value_name = "FILE")]
        btf: Option<PathBuf>,
        /// Whether to colour diagnostics
        #[arg(long, value_enum, value_name = "WHEN", default_value_t = ColourMode::Auto)]
        color: ColourMode,
        /// Warn of policies that are right, but may not do what they are meant to, too
        #[arg(long)]
        review: bool,
    },
    /// Compile policies to eBPF objects, one for each hook
    #[command(after_help = "\
Examples:
  tetra policy compile policy.yaml -o out/
  tetra policy compile policy.yaml --emit plan,asm
  tetra policy compile policy.yaml -o out/ --btf vmlinux-6.1.btf && llvm-objdump -d out/*.o")]
    Compile {
        /// Files with policies, or directories of them; `-` is standard input. All are compiled
        /// together, as the agent does
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Folder for the objects
        #[arg(short, long, value_name = "DIR", required_unless_present = "emit")]
        output: Option<PathBuf>,
        /// BTF of the kernel to compile for [default: the running one]
        #[arg(long, value_name = "FILE")]
        btf: Option<PathBuf>,
        /// Print what the compiler made of the policies in between
        #[arg(long, value_enum, value_delimiter = ',', value_name = "STAGES")]
        emit: Vec<Stage>,
    },
    /// Run calls that are made up through policies, and compare what they do with what is expected
    #[command(after_help = "\
Examples:
  tetra policy test policy.yaml             what policy.test expects of it
  tetra policy test policies/               all files *.test there
  tetra policy test --btf vmlinux-6.1.btf policy.yaml

Nothing is loaded and nothing is killed: the calls run through the definition of the language that
compiled programs are tested against. A file of expectations is YAML:

  process: {binary: /usr/bin/cat}           of all cases; each may have its own
  cases:
  - name: the key cannot be opened
    hook: security_file_open                as the policy names it
    args: {0: /etc/ssl/key.pem}             by the index that the policy gives
    expect: {override: -1}                  and an event, unless `post: false`
  - name: other files can
    hook: security_file_open
    args: {0: {path: /dev/null, type: chr}}
    expect: nothing

`expect` is `nothing`, `post`, `undecided`, or fields: post, signals, override, notify. Sockets are
written `{saddr: 10.0.0.1, sport: 40000, daddr: 10.0.0.2, dport: 443}`, with family, protocol and
state if they matter; `return` is what the call returns, `null` a null pointer and
`{unreadable: true}` user memory that cannot be read. A process may have pid, namespacePid,
ancestors, namespaces and capabilities, and under `atExec` those that were others when it was executed.

Exits with 1 if a case is not as expected.")]
    Test {
        /// Policies with expectations beside them, files of expectations, or directories of them
        #[arg(required = true, value_name = "FILE|DIR")]
        files: Vec<PathBuf>,
        /// BTF of the kernel to run for [default: the running one]
        #[arg(long, value_name = "FILE")]
        btf: Option<PathBuf>,
        /// Form of the results; JSON is one object a line
        #[arg(short, long, value_enum, default_value_t = ListFormat::Text)]
        output: ListFormat,
    },
    /// Say what becomes of policies on a kernel and what a reviewer would say, or what a diagnostic
    /// means
    Explain(Explain),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tetra policy explain policy.yaml
  tetra policy explain policies/                           the whole set, as the agent loads it
  tetra policy explain TP0603                              what a diagnostic means
  tetra policy explain -o json policies/ | jq '.review[]'
  tetra policy explain --btf running --btf vmlinux-5.10.btf --btf vmlinux-6.1.btf policies/

For each hook it says:
  attached   the kind of program, and why this one on this kernel
  tests      what is tested, and when: 1 at exec (once for each program that a process runs), 3 on
             what is at hand at each call, 4 on what must be read first, at return
  decided    how the values of all policies are told apart
  estimate   instructions of a call, from the program's shortest and longest way: not a measurement
  verified   what the running kernel says when the program is loaded (as root; nothing is attached)

Then follow warnings: policies that are right, but may not do what they are meant to. They do not
change the exit status, which is 1 if a policy is wrong or cannot be used on the kernel.")]
pub(crate) struct Explain {
    /// Files with policies, directories of them, or codes of diagnostics
    #[arg(required = true, value_name = "FILE|DIR|CODE")]
    pub(crate) subjects: Vec<String>,
    /// BTF of the kernel to explain for, or `running` [default: the running one]. If given several
    /// times, how each hook is attached is compared, and the first kernel is explained
    #[arg(long, value_name = "FILE")]
    pub(crate) btf: Vec<PathBuf>,
    /// Form of the explanation
    #[arg(short, long, value_enum, default_value_t = ListFormat::Text)]
    pub(crate) output: ListFormat,
    /// Whether to colour the text
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = ColourMode::Auto)]
    pub(crate) color: ColourMode,
}

/// Stages of the compiler whose result can be printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Stage {
    /// Hooks with their typed conditions
    Hir,
    /// Order in which values are read and conditions tested
    Plan,
    /// Control flow before register allocation
    Ir,
    /// eBPF instructions
    Asm,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_grammar_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn flags_that_default_to_true_take_a_value() {
        let parse = |arguments: &[&str]| {
            let arguments = ["tetra", "getevents"].iter().chain(arguments);
            match Arguments::try_parse_from(arguments).expect("parses").command {
                Command::Getevents(command) => command.stack_traces,
                _ => panic!("another command"),
            }
        };
        assert!(parse(&[]));
        assert!(parse(&["--stack-traces"]));
        assert!(!parse(&["--stack-traces=false"]));
    }
}
