//! The items of the language, each in the smallest policy that has it.

use std::fmt::Write as _;

/// Something that policies can have.
pub(crate) struct Item {
    /// Chapter of the table.
    pub(crate) area: &'static str,
    pub(crate) name: String,
    pub(crate) policy: String,
}

/// An argument: its type, the function or syscall that has one, its index, and what else its entry says.
struct Argument {
    of_type: &'static str,
    call: &'static str,
    index: u32,
    more: &'static str,
    operators: &'static [(&'static str, &'static str)],
}

const fn argument(
    of_type: &'static str,
    call: &'static str,
    index: u32,
    operators: &'static [(&'static str, &'static str)],
) -> Argument {
    Argument {
        of_type,
        call,
        index,
        more: "",
        operators,
    }
}

const NUMBER: &[(&str, &str)] = &[
    ("Equal", "'1', '7'"),
    ("NotEqual", "'1'"),
    ("GT", "'1'"),
    ("LT", "'1'"),
    ("GreaterThan", "'1'"),
    ("LessThan", "'1'"),
    ("Mask", "'6'"),
    ("InRange", "'1:5'"),
    ("NotInRange", "'1:5'"),
    ("InMap", "'1', '2', '3'"),
    ("NotInMap", "'1', '2', '3'"),
    ("CelExpr", "'arg0 > 5 || arg0 == 1'"),
];
const ONE_NUMBER: &[(&str, &str)] = &[("Equal", "'1', '7'")];
const TEXT: &[(&str, &str)] = &[
    ("Equal", "'/etc/passwd'"),
    ("NotEqual", "'/etc/passwd'"),
    ("Prefix", "'/etc/'"),
    ("NotPrefix", "'/etc/'"),
    ("Postfix", "'.conf'"),
    ("NotPostfix", "'.conf'"),
    ("SubString", "'secret'"),
    ("SubStringIgnCase", "'secret'"),
    ("Glob", "'/etc/**/*.conf'"),
    ("NotGlob", "'/etc/*'"),
    ("Regex", "'^/etc/[a-z]+$'"),
    ("NotRegex", "'^/etc/[a-z]+$'"),
    ("CelExpr", "'arg0.startsWith(\"/etc/\")'"),
];
const FILE: &[(&str, &str)] = &[
    ("Prefix", "'/etc/'"),
    ("FileType", "'reg', 'lnk'"),
    ("NotFileType", "'dir'"),
];
const SHORT_TEXT: &[(&str, &str)] = &[("Equal", "'/etc/passwd'"), ("SubString", "'secret'")];
const SOCK: &[(&str, &str)] = &[
    ("SAddr", "'10.0.0.0/8', '2001:db8::/32'"),
    ("NotSAddr", "'10.0.0.0/8'"),
    ("DAddr", "'10.0.0.0/8'"),
    ("NotDAddr", "'127.0.0.1'"),
    ("SPort", "'80', '8000:8999'"),
    ("NotSPort", "'80'"),
    ("DPort", "'443'"),
    ("NotDPort", "'443'"),
    ("Protocol", "'IPPROTO_TCP'"),
    ("Family", "'AF_INET', 'AF_INET6'"),
    ("State", "'TCP_LISTEN'"),
    ("SPortPriv", ""),
    ("NotSportPriv", ""),
    ("DPortPriv", ""),
    ("NotDPortPriv", ""),
    ("CelExpr", "'arg0.dport == 443'"),
];
const SKB: &[(&str, &str)] = &[
    ("DAddr", "'10.0.0.0/8'"),
    ("DPort", "'443'"),
    ("Protocol", "'IPPROTO_UDP'"),
];
const SOCKADDR: &[(&str, &str)] = &[("SAddr", "'10.0.0.0/8'"), ("SPort", "'443'"), ("Family", "'AF_INET'")];
const CAPABILITIES: &[(&str, &str)] = &[("Mask", "'CAP_SYS_ADMIN'"), ("Equal", "'0x1'")];
const NOTHING: &[(&str, &str)] = &[];

const ARGUMENTS: &[Argument] = &[
    argument("int", "security_task_prctl", 0, NUMBER),
    argument("int8", "security_task_prctl", 0, ONE_NUMBER),
    argument("int16", "security_task_prctl", 0, ONE_NUMBER),
    argument("int32", "security_task_prctl", 0, ONE_NUMBER),
    argument("int64", "security_task_prctl", 1, NUMBER),
    argument("uint8", "security_task_prctl", 0, ONE_NUMBER),
    argument("uint16", "security_task_prctl", 0, ONE_NUMBER),
    argument("uint32", "security_task_prctl", 0, ONE_NUMBER),
    argument("uint64", "security_task_prctl", 1, NUMBER),
    argument("size_t", "security_task_prctl", 1, ONE_NUMBER),
    argument("string", "security_sb_mount", 0, TEXT),
    argument("string", "sys_openat", 1, SHORT_TEXT),
    argument("fd", "sys_read", 0, SHORT_TEXT),
    argument("file", "security_file_open", 0, FILE),
    argument("file", "security_file_permission", 0, TEXT),
    argument("path", "security_path_truncate", 0, FILE),
    argument("dentry", "security_inode_unlink", 1, SHORT_TEXT),
    argument("linux_binprm", "security_bprm_check", 0, SHORT_TEXT),
    argument("kiocb", "generic_file_read_iter", 0, SHORT_TEXT),
    argument("filename", "do_filp_open", 1, SHORT_TEXT),
    Argument {
        more: ", sizeArgIndex: 3, maxData: true",
        ..argument("char_buf", "sys_write", 1, SHORT_TEXT)
    },
    Argument {
        more: ", sizeArgIndex: 3",
        ..argument("char_iovec", "sys_writev", 1, SHORT_TEXT)
    },
    Argument {
        more: ", maxData: true",
        ..argument("iov_iter", "generic_file_read_iter", 1, SHORT_TEXT)
    },
    argument("sock", "tcp_connect", 0, SOCK),
    argument("socket", "security_socket_listen", 0, SKB),
    argument("skb", "ip_output", 2, SKB),
    argument("sockaddr", "security_socket_connect", 1, SOCKADDR),
    argument("sockaddr_un", "security_socket_connect", 1, SHORT_TEXT),
    argument("net_device", "dev_get_stats", 0, SHORT_TEXT),
    argument("cred", "commit_creds", 0, NOTHING),
    argument("user_namespace", "create_user_ns", 0, NOTHING),
    argument("capability", "security_capable", 2, ONE_NUMBER),
    argument("kernel_cap_t", "security_capset", 2, CAPABILITIES),
    argument("cap_effective", "security_capset", 2, CAPABILITIES),
    argument("cap_inheritable", "security_capset", 3, CAPABILITIES),
    argument("cap_permitted", "security_capset", 4, CAPABILITIES),
    argument("module", "do_init_module", 0, NOTHING),
    argument("load_info", "load_module", 0, NOTHING),
    argument("bpf_attr", "security_bpf", 1, NOTHING),
    argument("bpf_prog", "security_bpf_prog", 0, NOTHING),
    argument("bpf_map", "security_bpf_map", 0, NOTHING),
    argument("perf_event", "security_perf_event_read", 0, NOTHING),
    argument("nop", "security_task_prctl", 0, NOTHING),
];

fn kprobe(call: &str, rest: &str) -> String {
    let syscall = call.starts_with("sys_");
    format!("  kprobes:\n  - call: {call}\n    syscall: {syscall}\n{rest}")
}

/// Hooks, whole.
const HOOKS: &[(&str, &str)] = &[
    (
        "kprobes on a function",
        "  kprobes:\n  - {call: tcp_connect, syscall: false}\n",
    ),
    (
        "kprobes on a syscall",
        "  kprobes:\n  - {call: sys_openat, syscall: true}\n",
    ),
    (
        "kprobes on a 32-bit syscall",
        "  kprobes:\n  - {call: __ia32_sys_openat, syscall: true}\n",
    ),
    (
        "kprobes with a return value",
        "  kprobes:\n  - {call: sys_openat, syscall: true, return: true, returnArg: {index: 0, type: int}}\n",
    ),
    (
        "kprobes with a list of syscalls",
        "  lists:\n  - {name: l, type: syscalls, values: [sys_dup, sys_dup2]}\n  kprobes:\n  - {call: 'list:l', syscall: true}\n",
    ),
    (
        "kprobes on a function that there is not, ignored",
        "  kprobes:\n  - {call: tcp_connect, syscall: false}\n  - {call: no_such_function, syscall: false, ignore: {callNotFound: true}}\n",
    ),
    ("fentries", "  fentries:\n  - {call: tcp_connect, syscall: false}\n"),
    (
        "tracepoints",
        "  tracepoints:\n  - {subsystem: sched, event: sched_process_exit, args: [{index: 5}]}\n",
    ),
    (
        "tracepoints, raw",
        "  tracepoints:\n  - {subsystem: sched, event: sched_process_exit, raw: true, args: [{index: 0, type: int32, resolve: pid}]}\n",
    ),
    (
        "tracepoints of all syscalls",
        "  tracepoints:\n  - {subsystem: raw_syscalls, event: sys_enter, args: [{index: 4, type: syscall64}]}\n",
    ),
    (
        "lsmhooks",
        "  lsmhooks:\n  - {hook: file_open, args: [{index: 0, type: file}]}\n",
    ),
    (
        "uprobes",
        "  uprobes:\n  - {path: /lib/x86_64-linux-gnu/libc.so.6, symbols: [getenv], args: [{index: 0, type: string}]}\n",
    ),
    (
        "uprobes with a return value",
        "  uprobes:\n  - {path: /lib/x86_64-linux-gnu/libc.so.6, symbols: [getenv], return: true, returnArg: {index: 0, type: uint64}}\n",
    ),
    (
        "enforcers",
        "  enforcers:\n  - {calls: [sys_dup]}\n  tracepoints:\n  - subsystem: raw_syscalls\n    event: sys_enter\n    args: [{index: 4, type: syscall64}]\n    \
         selectors:\n    - matchArgs: [{index: 0, operator: Equal, values: ['32']}]\n      matchActions: [{action: NotifyEnforcer, argError: -1, argSig: 9}]\n",
    ),
    ("loader", "  loader: true\n"),
    (
        "several kinds in one policy",
        "  kprobes:\n  - {call: tcp_connect, syscall: false}\n  tracepoints:\n  - {subsystem: sched, event: sched_process_exit}\n  lsmhooks:\n  - {hook: file_open}\n",
    ),
];

/// Keys of an argument, at a function.
const ARGUMENT_KEYS: &[(&str, &str)] = &[
    ("label", "[{index: 0, type: int, label: option}]"),
    (
        "resolve",
        "[{index: 1, type: string, resolve: file.f_path.dentry.d_name.name}]",
    ),
    ("btfType", "[{index: 0, type: int, btfType: task_struct, resolve: pid}]"),
    (
        "btfTypeModule",
        "[{index: 0, type: int, btfType: task_struct, btfTypeModule: ext4, resolve: pid}]",
    ),
    ("returnCopy", "[{index: 1, type: char_buf, returnCopy: true}]"),
];

/// Filters of a selector.
const FILTERS: &[(&str, &str)] = &[
    ("matchPIDs", "matchPIDs: [{operator: In, values: [1]}]"),
    (
        "matchPIDs, followForks",
        "matchPIDs: [{operator: NotIn, followForks: true, values: [1]}]",
    ),
    (
        "matchPIDs, isNamespacePID",
        "matchPIDs: [{operator: In, isNamespacePID: true, values: [1]}]",
    ),
    (
        "matchPIDs, isNamespacePID and followForks",
        "matchPIDs: [{operator: In, isNamespacePID: true, followForks: true, values: [1]}]",
    ),
    (
        "matchBinaries In",
        "matchBinaries: [{operator: In, values: [/usr/bin/cat]}]",
    ),
    (
        "matchBinaries NotIn",
        "matchBinaries: [{operator: NotIn, values: [/usr/bin/cat]}]",
    ),
    (
        "matchBinaries Prefix",
        "matchBinaries: [{operator: Prefix, values: [/usr/bin/]}]",
    ),
    (
        "matchBinaries NotPrefix",
        "matchBinaries: [{operator: NotPrefix, values: [/usr/bin/]}]",
    ),
    (
        "matchBinaries Postfix",
        "matchBinaries: [{operator: Postfix, values: [sh]}]",
    ),
    (
        "matchBinaries NotPostfix",
        "matchBinaries: [{operator: NotPostfix, values: [sh]}]",
    ),
    (
        "matchBinaries Glob",
        "matchBinaries: [{operator: Glob, values: ['/tmp/**']}]",
    ),
    (
        "matchBinaries Regex",
        "matchBinaries: [{operator: Regex, values: ['^/tmp/']}]",
    ),
    (
        "matchBinaries followChildren",
        "matchBinaries: [{operator: In, values: [/usr/bin/cat], followChildren: true}]",
    ),
    (
        "matchParentBinaries",
        "matchParentBinaries: [{operator: In, values: [/usr/bin/bash]}]",
    ),
    (
        "matchNamespaces",
        "matchNamespaces: [{namespace: Pid, operator: NotIn, values: [host_ns]}]",
    ),
    (
        "matchNamespaceChanges",
        "matchNamespaceChanges: [{operator: In, values: [Mnt]}]",
    ),
    (
        "matchCapabilities",
        "matchCapabilities: [{type: Effective, operator: In, values: [CAP_SYS_ADMIN]}]",
    ),
    (
        "matchCapabilities, isNamespaceCapability",
        "matchCapabilities: [{type: Permitted, operator: NotIn, isNamespaceCapability: true, values: [CAP_SYS_ADMIN]}]",
    ),
    (
        "matchCapabilityChanges",
        "matchCapabilityChanges: [{type: Effective, operator: In, values: [CAP_SYS_ADMIN]}]",
    ),
    (
        "matchWorkloads",
        "matchWorkloads: [{podSelector: {matchLabels: {app: a}}}]",
    ),
];

/// Actions, at a hook whose result can be replaced.
const ACTIONS: &[(&str, &str)] = &[
    ("Post", "{action: Post}"),
    (
        "Post, rateLimit",
        "{action: Post, rateLimit: 1m, rateLimitScope: process}",
    ),
    ("Post, kernelStackTrace", "{action: Post, kernelStackTrace: true}"),
    ("Post, userStackTrace", "{action: Post, userStackTrace: true}"),
    ("NoPost", "{action: NoPost}"),
    ("Sigkill", "{action: Sigkill}"),
    ("Signal", "{action: Signal, argSig: 15}"),
    ("Override", "{action: Override, argError: -1}"),
    ("TrackSock", "{action: TrackSock, argSock: 0}"),
    ("UntrackSock", "{action: UntrackSock, argSock: 0}"),
    ("GetUrl", "{action: GetUrl, argUrl: 'http://example.com'}"),
    ("DnsLookup", "{action: DnsLookup, argFqdn: example.com}"),
];

/// Whole policies about other things.
const OTHERS: &[(&str, &str)] = &[
    (
        "Override of a syscall",
        "  kprobes:\n  - call: sys_symlinkat\n    syscall: true\n    args: [{index: 0, type: string}]\n    selectors:\n    - matchArgs: [{index: 0, operator: Equal, \
         values: [/etc/passwd]}]\n      matchActions: [{action: Override, argError: -1}]\n",
    ),
    (
        "Override of a security function",
        "  kprobes:\n  - call: security_file_open\n    syscall: false\n    args: [{index: 0, type: file}]\n    selectors:\n    - matchArgs: [{index: 0, operator: Prefix, \
         values: [/secret/]}]\n      matchActions: [{action: Override, argError: -1}]\n",
    ),
    (
        "Override of an LSM hook",
        "  lsmhooks:\n  - hook: file_open\n    args: [{index: 0, type: file}]\n    selectors:\n    - matchArgs: [{index: 0, operator: Prefix, values: [/secret/]}]\n      \
         matchActions: [{action: Override, argError: -1}]\n",
    ),
    (
        "matchReturnArgs and matchReturnActions",
        "  kprobes:\n  - call: sys_openat\n    syscall: true\n    return: true\n    returnArg: {index: 0, type: int}\n    selectors:\n    - matchReturnArgs: [{index: 0, operator: LT, \
         values: ['0']}]\n      matchReturnActions: [{action: Signal, argSig: 10}]\n",
    ),
    (
        "data: current_task, and matchData",
        "  kprobes:\n  - call: tcp_connect\n    syscall: false\n    data: [{index: 0, type: int, source: current_task, resolve: cred.uid.val}]\n    selectors:\n    - matchData: [{index: 0, \
         operator: Equal, values: ['0']}]\n",
    ),
    (
        "data: pt_regs",
        "  kprobes:\n  - call: tcp_connect\n    syscall: false\n    data: [{index: 0, type: uint64, source: pt_regs, resolve: rsp}]\n",
    ),
    (
        "returnArgAction",
        "  kprobes:\n  - call: sk_alloc\n    syscall: false\n    return: true\n    returnArg: {index: 0, type: sock}\n    returnArgAction: TrackSock\n",
    ),
    (
        "selectorsMacros",
        "  selectorsMacros:\n    root: {matchCapabilities: [{type: Effective, operator: In, values: [CAP_SYS_ADMIN]}]}\n  kprobes:\n  - call: tcp_connect\n    syscall: false\n    \
         selectors:\n    - {macros: [root]}\n",
    ),
    (
        "option policy-mode",
        "  options: [{name: policy-mode, value: monitor}]\n  kprobes:\n  - {call: tcp_connect, syscall: false, selectors: [{matchActions: [{action: Sigkill}]}]}\n",
    ),
    (
        "Post with imaHash",
        "  lsmhooks:\n  - hook: bprm_check_security\n    args: [{index: 0, type: linux_binprm}]\n    selectors:\n    - matchActions: [{action: Post, imaHash: true}]\n",
    ),
    (
        "CleanupEnforcerNotification",
        "  enforcers:\n  - {calls: [sys_dup]}\n  kprobes:\n  - {call: sys_dup2, syscall: true, selectors: [{matchActions: [{action: NotifyEnforcer, argError: -1}]}]}\n  \
         - {call: sys_dup3, syscall: true, selectors: [{matchActions: [{action: CleanupEnforcerNotification}]}]}\n",
    ),
    (
        "podSelector",
        "  podSelector: {matchLabels: {app: a}}\n  kprobes:\n  - {call: tcp_connect, syscall: false}\n",
    ),
    (
        "a Sigkill at a uprobe",
        "  uprobes:\n  - {path: /lib/x86_64-linux-gnu/libc.so.6, symbols: [getenv], selectors: [{matchActions: [{action: Sigkill}]}]}\n",
    ),
    (
        "an Override of a uprobe",
        "  uprobes:\n  - {path: /lib/x86_64-linux-gnu/libc.so.6, symbols: [getenv], selectors: [{matchActions: [{action: Override, argError: -1}]}]}\n",
    ),
];

/// Everything.
pub(crate) fn items() -> Vec<Item> {
    let mut items: Vec<Item> = Vec::new();
    let mut add = |area, name: String, spec: String| {
        let policy = format!(
            "apiVersion: cilium.io/v1alpha1\nkind: TracingPolicy\nmetadata: {{name: item-{}}}\nspec:\n{spec}",
            items.len()
        );
        items.push(Item { area, name, policy });
    };
    for (name, spec) in HOOKS {
        add("Hooks", (*name).to_owned(), (*spec).to_owned());
    }
    for argument in ARGUMENTS {
        let Argument {
            of_type,
            call,
            index,
            more,
            operators,
        } = argument;
        let args = format!("    args: [{{index: {index}, type: {of_type}{more}}}]\n");
        add("Arguments", format!("{of_type} of `{call}`"), kprobe(call, &args));
        for (operator, values) in *operators {
            let mut filter = format!("{{index: {index}, operator: {operator}");
            if !values.is_empty() {
                write!(filter, ", values: [{values}]").expect("a string");
            }
            let rest = format!("{args}    selectors:\n    - matchArgs: [{filter}}}]\n");
            add(
                "Operators",
                format!("{operator} on {of_type} of `{call}`"),
                kprobe(call, &rest),
            );
        }
    }
    for (name, args) in ARGUMENT_KEYS {
        let call = match *name {
            "label" => "security_task_prctl",
            "resolve" => "security_bprm_check",
            "returnCopy" => "sys_read",
            _ => "wake_up_new_task",
        };
        let args = args.replace("{index: 1, type: string, resolve", "{index: 0, type: string, resolve");
        let ret = if *name == "returnCopy" {
            "    return: true\n    returnArg: {index: 0, type: int}\n"
        } else {
            ""
        };
        add(
            "Arguments",
            (*name).to_owned(),
            kprobe(call, &format!("{ret}    args: {args}\n")),
        );
    }
    for (name, filter) in FILTERS {
        add(
            "Filters",
            (*name).to_owned(),
            kprobe("tcp_connect", &format!("    selectors:\n    - {filter}\n")),
        );
    }
    for (name, action) in ACTIONS {
        let call = if name.contains("Sock") {
            "tcp_connect"
        } else {
            "security_file_open"
        };
        let of_type = if name.contains("Sock") { "sock" } else { "file" };
        let rest =
            format!("    args: [{{index: 0, type: {of_type}}}]\n    selectors:\n    - matchActions: [{action}]\n");
        add("Actions", (*name).to_owned(), kprobe(call, &rest));
    }
    for (name, spec) in OTHERS {
        add("Others", (*name).to_owned(), (*spec).to_owned());
    }
    items
}
