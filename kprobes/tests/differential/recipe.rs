//! Random policies and calls: recipes of small numbers, from which any numbers make a valid policy and a call of its hook.
//!
//! Everything is chosen among what lies at an edge: lengths around words and blocks, widths and signs of integers, networks of
//! every kind of prefix. What is wanted often (that filters hold) is made likely by taking the values of policies and of
//! calls from the same pools.

use std::fmt::Write as _;

use policy_compiler::interpret::{Process, Sock, Sockaddr, Value};
use policy_compiler::{PolicySet, Scope};
use proptest::prelude::*;
use tracingpolicy_crd::Policy;

use super::arena::{Arena, Class, Parameter, Returns, Section};
use super::data::{Entry, Kind};
use super::process::NAMESPACES;

type Choice = u16;

/// A set of policies on one hook, and calls of it.
#[derive(Clone, Debug)]
pub(crate) struct Recipe {
    pub(crate) policies: Vec<PolicyRecipe>,
    pub(crate) calls: Vec<CallRecipe>,
    /// Whether the process has a record.
    pub(crate) known_process: bool,
    /// Whether programs find the selectors that may hold by an index, however few they are.
    pub(crate) is_indexed: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct PolicyRecipe {
    pub(crate) monitors: bool,
    /// Whether it is for workloads only.
    pub(crate) is_scoped: bool,
    arguments: Vec<(Choice, Choice)>,
    selectors: Vec<SelectorRecipe>,
}

#[derive(Clone, Debug)]
struct SelectorRecipe {
    filters: Vec<FilterRecipe>,
    return_filters: Vec<FilterRecipe>,
    actions: Vec<Choice>,
    return_actions: Vec<Choice>,
}

#[derive(Clone, Debug)]
struct FilterRecipe {
    what: Choice,
    operator: Choice,
    values: Vec<(Choice, Choice)>,
}

/// Values of a call: one for each parameter, and the value returned.
#[derive(Clone, Debug)]
pub(crate) struct CallRecipe {
    pub(crate) values: [Choice; 6],
    /// Policies that apply to the workload of the process, a bit for each.
    pub(crate) workload: u16,
    pub(crate) returned: Choice,
}

fn filters(most: usize) -> impl Strategy<Value = Vec<FilterRecipe>> {
    let values = prop_oneof![
        6 => prop::collection::vec(any::<(Choice, Choice)>(), 1..4),
        1 => prop::collection::vec(any::<(Choice, Choice)>(), 4..24),
    ];
    let filter = (any::<Choice>(), any::<Choice>(), values).prop_map(|(what, operator, values)| FilterRecipe {
        what,
        operator,
        values,
    });
    prop::collection::vec(filter, 0..most)
}

fn selector() -> impl Strategy<Value = SelectorRecipe> {
    (
        filters(4),
        filters(2),
        prop::collection::vec(any::<Choice>(), 0..3),
        prop::collection::vec(any::<Choice>(), 0..2),
    )
        .prop_map(|(filters, return_filters, actions, return_actions)| SelectorRecipe {
            filters,
            return_filters,
            actions,
            return_actions,
        })
}

fn policy() -> impl Strategy<Value = PolicyRecipe> {
    with_selectors(prop_oneof![
        8 => prop::collection::vec(selector(), 0..4),
        1 => prop::collection::vec(selector(), 4..12),
    ])
}

fn with_selectors(selectors: impl Strategy<Value = Vec<SelectorRecipe>>) -> impl Strategy<Value = PolicyRecipe> {
    (
        any::<bool>(),
        prop::bool::weighted(0.35),
        prop::collection::vec(any::<(Choice, Choice)>(), 1..4),
        selectors,
    )
        .prop_map(|(monitors, is_scoped, arguments, selectors)| PolicyRecipe {
            monitors,
            is_scoped,
            arguments,
            selectors,
        })
}

/// Sets with `calls` calls each.
#[allow(dead_code, reason = "for test runs")]
pub(crate) fn recipe(calls: usize) -> impl Strategy<Value = Recipe> {
    let policies = prop_oneof![
        6 => prop::collection::vec(policy(), 1..4),
        1 => prop::collection::vec(policy(), 4..10),
    ];
    of_policies(policies, calls)
}

/// Sets to be loaded and not run: many small ones, since what takes long in an emulated kernel is to verify large programs, and a
/// large one now and then.
#[allow(dead_code, reason = "not for runs")]
pub(crate) fn recipe_to_load() -> impl Strategy<Value = Recipe> {
    let policies = prop_oneof![
        24 => prop::collection::vec(with_selectors(prop::collection::vec(selector(), 0..3)), 1..3),
        1 => prop::collection::vec(policy(), 3..8),
    ];
    of_policies(policies, 0)
}

/// Sets for hooks of a running kernel, which take long to attach: several policies each, with `calls` calls.
#[allow(dead_code, reason = "for attached programs")]
pub(crate) fn recipe_to_attach(calls: usize) -> impl Strategy<Value = Recipe> {
    let policy = with_selectors(prop::collection::vec(selector(), 0..4));
    of_policies(prop::collection::vec(policy, 2..6), calls)
}

fn of_policies(policies: impl Strategy<Value = Vec<PolicyRecipe>>, calls: usize) -> impl Strategy<Value = Recipe> {
    let workload = prop_oneof![1 => Just(0), 1 => Just(u16::MAX), 2 => any::<u16>()];
    let call = (any::<[Choice; 6]>(), workload, any::<Choice>()).prop_map(|(values, workload, returned)| CallRecipe {
        values,
        workload,
        returned,
    });
    (
        policies,
        prop::collection::vec(call, calls),
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(|(policies, calls, known_process, is_indexed)| Recipe {
            policies,
            calls,
            known_process,
            is_indexed,
        })
}

fn pick<T>(pool: &[T], choice: impl Into<usize>) -> &T {
    &pool[choice.into() % pool.len()]
}

/// What values are about the process that makes the calls.
#[derive(Clone, Default)]
pub(crate) struct Surroundings {
    pub(crate) executable: String,
    pub(crate) pid: u32,
    /// Pids of the process and of its ancestors, in the initial pid namespace and in their own.
    pub(crate) pids: Vec<u32>,
    pub(crate) namespaces: Vec<(&'static str, u32)>,
    /// Paths of files that calls are about.
    pub(crate) paths: Vec<String>,
    /// Those whose path inside their file system is the same.
    pub(crate) dentries: Vec<String>,
    /// What `data` can be about.
    pub(crate) data: Vec<Entry>,
    /// Whether it is known what the record of the process says.
    pub(crate) changes: bool,
}

impl Surroundings {
    /// For a process that is about no files.
    #[allow(dead_code, reason = "what is only loaded has no process")]
    pub(crate) fn of_process(process: &Process) -> Self {
        let executable = process.executable.clone().unwrap_or_default();
        let mut pids: Vec<u32> = process.lineage.iter().flat_map(|(pid, own)| [*pid, *own]).collect();
        pids.sort_unstable();
        pids.dedup();
        Self {
            executable: String::from_utf8(executable).expect("a path of ASCII"),
            pid: process.pid,
            pids,
            namespaces: NAMESPACES
                .iter()
                .map(|(name, namespace, _)| (*name, process.namespaces.get(namespace).copied().unwrap_or(7)))
                .collect(),
            ..Self::default()
        }
    }
}

/// Pids that no process has: they are beyond the kernel's highest.
pub(crate) const FOREIGN_PIDS: [u32; 4] = [0x7fff_fff0, 0x7fff_ffff, 0x8000_0001, 0xffff_ffff];

pub(crate) const NUMBER_OPERATORS: &[&str] = &[
    "Equal",
    "NotEqual",
    "GT",
    "LT",
    "GreaterThan",
    "LessThan",
    "Mask",
    "InRange",
    "NotInRange",
    "InMap",
    "NotInMap",
];
pub(crate) const TEXT_OPERATORS: &[&str] = &[
    "Equal",
    "NotEqual",
    "Prefix",
    "NotPrefix",
    "Postfix",
    "NotPostfix",
    "SubString",
    "SubStringIgnCase",
    "Glob",
    "NotGlob",
    "Regex",
    "NotRegex",
];
/// On a file or a path, of which the inode is known.
pub(crate) const FILE_OPERATORS: &[&str] = &[
    "Equal",
    "NotEqual",
    "Prefix",
    "NotPrefix",
    "Postfix",
    "NotPostfix",
    "SubString",
    "SubStringIgnCase",
    "Glob",
    "NotGlob",
    "Regex",
    "NotRegex",
    "FileType",
    "NotFileType",
];
pub(crate) const FILE_TYPES: &[&str] = &["reg", "dir", "chr", "regular", "lnk", "block", "pipe", "socket"];
pub(crate) const BINARY_OPERATORS: &[&str] = &[
    "In",
    "NotIn",
    "Prefix",
    "NotPrefix",
    "Postfix",
    "NotPostfix",
    "Glob",
    "NotGlob",
    "Regex",
    "NotRegex",
];
pub(crate) const SOCK_OPERATORS: &[&str] = &[
    "SAddr",
    "DAddr",
    "NotSAddr",
    "NotDAddr",
    "SPort",
    "DPort",
    "NotSPort",
    "NotDPort",
    "SPortPriv",
    "DPortPriv",
    "NotSportPriv",
    "NotDPortPriv",
    "Protocol",
    "Family",
    "State",
];
pub(crate) const SKB_OPERATORS: &[&str] = SOCK_OPERATORS.split_at(SOCK_OPERATORS.len() - 1).0;
pub(crate) const SOCKADDR_OPERATORS: &[&str] = &[
    "SAddr",
    "NotSAddr",
    "SPort",
    "NotSPort",
    "SPortPriv",
    "NotSportPriv",
    "Family",
];
pub(crate) const CAPABILITY_SETS: [&str; 3] = ["Effective", "Inheritable", "Permitted"];
pub(crate) const CAPABILITIES: &[&str] = &[
    "CAP_SYS_ADMIN",
    "CAP_CHOWN",
    "CAP_NET_RAW",
    "CAP_SYS_RESOURCE",
    "CAP_BPF",
];

/// Numbers at the edges of widths and signs.
pub(crate) const NUMBERS: &[i128] = &[
    0,
    1,
    -1,
    2,
    4,
    5,
    6,
    7,
    17,
    127,
    128,
    -128,
    -129,
    255,
    256,
    32_767,
    32_768,
    -32_768,
    65_535,
    65_536,
    0x7fff_ffff,
    0x8000_0000,
    -0x8000_0000,
    0xffff_ffff,
    0x1_0000_0000,
    0x1_0000_0004,
    0x7fff_ffff_ffff_ffff,
    -0x8000_0000_0000_0000,
    0xffff_ffff_ffff_fff0,
    0xffff_ffff_ffff_ffff,
];

/// The strings that calls pass: around the edges of words, blocks and the longest.
pub(crate) fn strings() -> Vec<String> {
    let mut strings: Vec<String> = [
        "",
        "/",
        "a",
        "/etc",
        "/etc/",
        "/etc/passwd",
        "/etc/passwd-",
        "/etc/shadow",
        ".log",
        "etc",
    ]
    .map(Into::into)
    .into();
    for length in [
        7, 8, 9, 15, 16, 17, 23, 24, 25, 31, 32, 63, 64, 65, 127, 128, 255, 256, 257, 511, 512, 4094, 4095, 4096,
    ] {
        strings.push(format!("/{}", "abcdefgh".repeat(length / 8 + 1))[..length].to_owned());
    }
    // equal up to the last byte, or up to the first
    for length in [8, 16, 64, 4095] {
        let mut other = format!("/{}", "abcdefgh".repeat(length / 8 + 1))[..length].to_owned();
        other.replace_range(length - 1.., "Z");
        strings.push(other.clone());
        other.replace_range(..1, "Q");
        strings.push(other);
    }
    strings
}

const NETWORKS: &[&str] = &[
    "0.0.0.0/0",
    "10.0.0.0/8",
    "10.1.2.3",
    "10.1.2.3/32",
    "10.1.2.2/31",
    "127.0.0.1",
    "127.0.0.0/9",
    "255.255.255.255",
    "192.168.0.0/16",
    "128.0.0.0/1",
    "::/0",
    "::1",
    "::1/128",
    "2001:db8::/32",
    "2001:db8::1",
    "2001:db8::/127",
    "2001:db8:0:0:8000::/65",
    "2001:db8::/64",
    "2001:db8:0:1::/63",
    "fe80::/10",
    "8000::/1",
    "::ffff:10.1.2.3/128",
];

const SHORT_ADDRESSES: &[[u8; 4]] = &[
    [0, 0, 0, 0],
    [10, 1, 2, 3],
    [10, 1, 2, 2],
    [10, 255, 0, 1],
    [11, 0, 0, 0],
    [127, 0, 0, 1],
    [127, 128, 0, 1],
    [192, 168, 3, 4],
    [255, 255, 255, 255],
    [128, 0, 0, 0],
];

const LONG_ADDRESSES: &[u128] = &[
    0,
    1,
    2,
    0x2001_0db8_0000_0000_0000_0000_0000_0000,
    0x2001_0db8_0000_0000_0000_0000_0000_0001,
    0x2001_0db8_0000_0000_8000_0000_0000_0001,
    0x2001_0db8_0000_0001_0000_0000_0000_0001,
    0x2001_0db9_0000_0000_0000_0000_0000_0000,
    0xfe80_0000_0000_0000_1234_5678_9abc_def0,
    0xfec0_0000_0000_0000_0000_0000_0000_0001,
    0x0000_0000_0000_0000_0000_ffff_0a01_0203,
    u128::MAX,
];

const PORTS: &[u16] = &[0, 1, 22, 80, 443, 1023, 1024, 1025, 8080, 32_768, 65_535];
const PORT_VALUES: &[&str] = &[
    "0",
    "1",
    "80",
    "443",
    "1023",
    "1024",
    "65535",
    "80:443",
    "1:1023",
    "1024:65535",
    "0:65535",
];
const FAMILIES: &[u16] = &[2, 10, 2, 10, 1, 0, 16];
const FAMILY_VALUES: &[&str] = &["AF_INET", "AF_INET6", "AF_UNIX", "2", "16", "0"];
const PROTOCOLS: &[u16] = &[6, 17, 1, 0, 58, 255, 262];
const PROTOCOL_VALUES: &[&str] = &["IPPROTO_TCP", "IPPROTO_UDP", "6", "1", "58", "0", "255"];
const STATES: &[u16] = &[1, 2, 7, 10, 12];
const STATE_VALUES: &[&str] = &["TCP_ESTABLISHED", "TCP_SYN_SENT", "TCP_CLOSE", "TCP_LISTEN", "1", "12"];

/// A socket of a call.
pub(crate) fn sock(choice: Choice) -> Sock {
    let at = |shift: u32| (u32::from(choice).wrapping_mul(2_654_435_761) >> shift) as Choice;
    let family = *pick(FAMILIES, choice);
    let (source_port, destination_port) = if matches!(family, 2 | 10) {
        (*pick(PORTS, at(3)), *pick(PORTS, at(7)))
    } else {
        (0, 0)
    };
    Sock {
        family,
        protocol: *pick(PROTOCOLS, at(11)),
        state: *pick(STATES, at(13)),
        source_port,
        destination_port,
        source: address(family, at(5)),
        destination: address(family, at(9)),
    }
}

/// A socket address of a call.
pub(crate) fn sockaddr(choice: Choice) -> Sockaddr {
    let sock = sock(choice);
    Sockaddr {
        family: sock.family,
        port: sock.source_port,
        address: sock.source,
    }
}

fn address(family: u16, choice: Choice) -> [u8; 16] {
    let mut bytes = [0; 16];
    match family {
        2 => bytes[..4].copy_from_slice(pick::<[u8; 4]>(SHORT_ADDRESSES, choice)),
        10 => bytes = pick(LONG_ADDRESSES, choice).to_be_bytes(),
        _ => {}
    }
    bytes
}

/// Text for a flow scalar in double quotes.
pub(crate) fn quoted(text: &str) -> String {
    assert!(text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"'));
    format!("\"{}\"", text.replace('\\', "\\\\"))
}

pub(crate) fn list(values: impl IntoIterator<Item = String>) -> String {
    let values: Vec<String> = values.into_iter().map(|value| quoted(&value)).collect();
    format!("[{}]", values.join(", "))
}

/// Width and sign of a type of the language.
pub(crate) fn width(name: &str) -> Option<(u32, bool)> {
    Some(match name {
        "int" | "int32" | "sint32" => (32, true),
        "int8" | "sint8" => (8, true),
        "int16" | "sint16" => (16, true),
        "int64" | "sint64" | "long" => (64, true),
        "uint8" => (8, false),
        "uint16" => (16, false),
        "uint32" => (32, false),
        "uint64" | "size_t" | "ulong" => (64, false),
        _ => return None,
    })
}

/// A condition on one argument.
pub(crate) fn expression_term(
    position: usize,
    (parameter, of_type): &Argument<'_>,
    value: Choice,
    shape: Choice,
) -> String {
    let comparison = ["==", "!=", "<", "<=", ">", ">="][usize::from(shape) % 6];
    if let Some((bits, signed)) = width(of_type) {
        let number = NUMBERS[usize::from(value) % NUMBERS.len()];
        let constant = match (bits, signed) {
            (64, true) => i128::from(number as i64),
            (64, false) => i128::from(number as u64),
            (_, true) => i128::from(number as i32),
            (_, false) => i128::from(number as u32),
        };
        // the least number is no constant of the language, its negation is not
        let constant = if constant == i128::from(i64::MIN) { 0 } else { constant };
        let suffix = if constant > i128::from(i64::MAX) { "u" } else { "" };
        let literal = format!("{constant}{suffix}");
        return match shape / 6 % 5 {
            0 => format!("arg{position} + {literal} {comparison} {literal}"),
            1 => format!("and(arg{position}, {literal}) {comparison} {literal}"),
            2 => format!("int32(arg{position}) - int32(7) {comparison} {}", number as i32),
            3 => format!("arg{position} in [{literal}, 7, 100]"),
            _ => format!("arg{position} {comparison} {literal}"),
        };
    }
    let pool = strings();
    let text = &pool[usize::from(value) % 20];
    match parameter.class {
        Class::Sock | Class::Skb | Class::Sockaddr => match shape % 4 {
            0 => format!("arg{position}.sport {comparison} {}", value % 2000),
            1 => format!("arg{position}.saddr in [\"10.0.0.0/8\", \"::1\"]"),
            2 => format!("arg{position}.family == \"AF_INET\""),
            _ => format!("arg{position}.sport < 1024 && arg{position}.family != 2"),
        },
        _ => match shape % 6 {
            0 => format!("arg{position}.endsWith(\"{text}\")"),
            1 => format!("arg{position} == \"{text}\""),
            2 => format!("arg{position} in [\"{text}\", \"/etc/passwd\"]"),
            3 if value.is_multiple_of(16) => format!("arg{position}.contains(\"etc\")"),
            _ => format!("arg{position}.startsWith(\"{text}\")"),
        },
    }
}

impl Recipe {
    /// The policies as text.
    pub(crate) fn yaml(&self, arena: &Arena, around: &Surroundings) -> Vec<String> {
        let policies = self.policies.iter().enumerate();
        policies
            .map(|(number, policy)| policy.yaml(number, arena, around))
            .collect()
    }
}

/// The set that policies make of which some are for workloads.
#[allow(dead_code, reason = "not for attached programs")]
pub(crate) fn set_of(policies: Vec<Policy>, scoped: impl IntoIterator<Item = bool>) -> PolicySet {
    let mut set = PolicySet::from_policies(policies);
    for (entry, is_scoped) in set.entries.iter_mut().zip(scoped) {
        if is_scoped {
            entry.scope = Scope::Workloads;
        }
    }
    set
}

impl PolicyRecipe {
    fn yaml(&self, number: usize, arena: &Arena, around: &Surroundings) -> String {
        let mut text = arena.head(number);
        // each parameter at most once: filters find their argument by its index
        let mut arguments: Vec<(&Parameter, &str)> = Vec::new();
        for (parameter, of_type) in &self.arguments {
            let parameter = pick(arena.parameters, *parameter);
            if arguments.iter().all(|(known, _)| known.index != parameter.index) {
                arguments.push((parameter, pick::<&str>(parameter.types, *of_type)));
            }
        }
        let data = self.data(arena, around);
        if !data.is_empty() {
            text.push_str("    data:\n");
        }
        for entry in &data {
            writeln!(
                text,
                "    - {{index: 0, source: current_task, resolve: \"{}\"}}",
                entry.resolve
            )
            .expect("a string");
        }
        text.push_str("    args:\n");
        for (parameter, of_type) in &arguments {
            writeln!(text, "    - {}", parameter.yaml(of_type)).expect("a string");
        }
        if !self.selectors.is_empty() {
            text.push_str("    selectors:\n");
        }
        for selector in &self.selectors {
            text.push_str(&selector.yaml(arena, &arguments, &data, self.monitors, around));
        }
        text
    }

    /// What it reads of the task, at hooks that have `data`.
    fn data<'a>(&self, arena: &Arena, around: &'a Surroundings) -> Vec<&'a Entry> {
        let has_data = matches!(
            arena.section,
            Section::Kprobe { .. } | Section::Fentry { .. } | Section::Uprobe
        );
        if !has_data || around.data.is_empty() {
            return Vec::new();
        }
        let choices = self.arguments.iter().filter(|(choice, _)| choice & 0x18 == 0);
        let mut data: Vec<&Entry> = choices
            .map(|(choice, of_type)| pick(&around.data, (choice / 32) ^ of_type))
            .collect();
        data.dedup();
        data
    }
}

/// A parameter with the type it is read as; `None`: the value returned.
type Argument<'a> = (&'a Parameter, &'a str);

impl SelectorRecipe {
    fn yaml(
        &self,
        arena: &Arena,
        arguments: &[Argument<'_>],
        data: &[&Entry],
        monitors: bool,
        around: &Surroundings,
    ) -> String {
        let mut possible = Possible {
            signals: arena.signals,
            overrides: false,
            kills: monitors,
            rate_limits: false,
            stacks: false,
        };
        let mut keys: Vec<(&str, Vec<String>)> = Vec::new();
        let mut add = |key: &'static str, item: String| match keys.iter_mut().find(|(known, _)| *known == key) {
            // the schema allows one
            Some(_) if key == "matchBinaries" => {}
            Some((_, items)) => items.push(item),
            None => keys.push((key, vec![item])),
        };
        for filter in &self.filters {
            let (key, item) = filter.yaml(arguments, data, around);
            add(key, item);
        }
        if arena.returns != Returns::No {
            const RETURN: Parameter = Parameter {
                index: 0,
                class: Class::Number,
                types: &["int"],
            };
            for filter in &self.return_filters {
                add("matchReturnArgs", filter.argument(&(&RETURN, "int"), around));
            }
            for action in &self.return_actions {
                add("matchReturnActions", self::action(*action, possible));
            }
        }
        possible.overrides = arena.overrides;
        possible.stacks = arena.has_stacks();
        // more tells two sockets or two files apart than filters see: their marks, their modes
        possible.rate_limits = arguments.iter().all(|(parameter, of_type)| {
            matches!(
                parameter.class,
                Class::Number | Class::Length | Class::String | Class::Sockaddr | Class::Buffer | Class::Segments
            ) && *of_type != "fd"
        });
        for action in &self.actions {
            let action = self::action(*action, possible);
            // a selector can have one
            possible.overrides &= !action.contains("Override");
            add("matchActions", action);
        }
        if keys.is_empty() {
            return "    - matchActions: [{action: Post}]\n".to_owned();
        }
        let mut text = String::new();
        for (position, (key, items)) in keys.iter().enumerate() {
            let lead = if position == 0 { "    - " } else { "      " };
            writeln!(text, "{lead}{key}:").expect("a string");
            for item in items {
                writeln!(text, "      - {item}").expect("a string");
            }
        }
        text
    }
}

/// Signals that do nothing to a process that does not wait for them.
const HARMLESS: [u32; 2] = [23, 28];

/// Which actions a selector may have.
#[derive(Clone, Copy)]
struct Possible {
    signals: bool,
    overrides: bool,
    /// What would end the process.
    kills: bool,
    rate_limits: bool,
    /// The events have room for stack traces.
    stacks: bool,
}

fn action(choice: Choice, possible: Possible) -> String {
    match choice % 10 {
        0 | 1 => "{action: NoPost}".into(),
        2 if possible.signals => format!("{{action: Signal, argSig: {}}}", HARMLESS[choice as usize / 10 % 2]),
        3 if possible.kills => "{action: Sigkill}".into(),
        4 | 5 if possible.overrides => format!(
            "{{action: Override, argError: -{}}}",
            [1, 13, 4095, 2][choice as usize / 10 % 4]
        ),
        6 if possible.rate_limits => format!(
            "{{action: Post, rateLimit: \"1h\", rateLimitScope: {}}}",
            ["thread", "process", "global"][choice as usize / 10 % 3]
        ),
        7 if possible.stacks => format!(
            "{{action: Post, {}StackTrace: true}}",
            ["kernel", "user"][choice as usize / 10 % 2]
        ),
        8 if possible.stacks => "{action: Post, kernelStackTrace: true, userStackTrace: true}".into(),
        _ => "{action: Post}".into(),
    }
}

impl FilterRecipe {
    fn yaml(&self, arguments: &[Argument<'_>], data: &[&Entry], around: &Surroundings) -> (&'static str, String) {
        let not_in = if self.operator & 1 == 0 { "In" } else { "NotIn" };
        match self.what % 16 {
            0 | 1 => ("matchBinaries", self.binaries(around)),
            2 => {
                // with the pid of any ancestor among the values, no negated filter that follows forks holds
                let known = self.operator & 0b1_0000 == 0;
                let number = |(value, other): &(Choice, Choice)| {
                    let pool = if known && value % 3 != 0 {
                        &around.pids[..]
                    } else {
                        &FOREIGN_PIDS
                    };
                    pick(pool, *other).to_string()
                };
                let numbers: Vec<String> = self.values.iter().map(number).collect();
                let (namespaced, follow) = (self.operator & 2 != 0, self.operator & 0b1100 == 0b1100);
                let item = format!(
                    "{{operator: {not_in}, followForks: {follow}, isNamespacePID: {namespaced}, values: [{}]}}",
                    numbers.join(", ")
                );
                ("matchPIDs", item)
            }
            3 => {
                let (name, _) = pick(&around.namespaces, self.operator >> 1);
                if around.changes && self.operator & 0b1110_0000 == 0 {
                    let names = self
                        .values
                        .iter()
                        .map(|(_, other)| pick(&around.namespaces, *other).0.to_owned());
                    return (
                        "matchNamespaceChanges",
                        format!("{{operator: {not_in}, values: {}}}", list(names)),
                    );
                }
                let values = self.values.iter().map(|(value, other)| match value % 3 {
                    0 => "host_ns".to_owned(),
                    _ => pick(&around.namespaces, *other).1.to_string(),
                });
                (
                    "matchNamespaces",
                    format!("{{namespace: {name}, operator: {not_in}, values: {}}}", list(values)),
                )
            }
            4 => {
                let set = CAPABILITY_SETS[self.operator as usize / 2 % 3];
                let values = self
                    .values
                    .iter()
                    .map(|(value, _)| (*pick(CAPABILITIES, *value)).to_owned());
                let namespaced = self.operator & 0b1_1000 == 0b1_1000;
                let item = format!(
                    "{{type: {set}, operator: {not_in}, isNamespaceCapability: {namespaced}, values: {}}}",
                    list(values)
                );
                if around.changes && self.operator & 0b1110_0000 == 0 {
                    return ("matchCapabilityChanges", item);
                }
                ("matchCapabilities", item)
            }
            5..8 if !data.is_empty() => ("matchData", self.entry(data, around)),
            8 | 9 => ("matchArgs", self.expression(arguments)),
            other => (
                "matchArgs",
                self.argument(pick(arguments, other + (self.what >> 4)), around),
            ),
        }
    }

    /// An expression over all arguments.
    fn expression(&self, arguments: &[Argument<'_>]) -> String {
        let mut text = String::new();
        for (number, (value, other)) in self.values.iter().enumerate() {
            let position = usize::from(*other) % arguments.len();
            let term = expression_term(position, &arguments[position], *value, *other / 16);
            let term = if value % 5 == 0 { format!("!({term})") } else { term };
            text = match (number, (self.operator ^ value) % 3) {
                (0, _) => term,
                (_, 0) => format!("({text}) && {term}"),
                (_, 1) => format!("{text} || ({term})"),
                _ => format!("({text}) == ({term})"),
            };
        }
        if text.is_empty() {
            text.push_str("true");
        }
        // which argument the filter is at does not matter
        let index = arguments[0].0.index;
        format!("{{index: {index}, operator: CelExpr, values: ['{text}']}}")
    }

    fn binaries(&self, around: &Surroundings) -> String {
        let operator = text_operator(BINARY_OPERATORS, self.operator);
        let values = self.values.iter().map(|(value, change)| {
            let base = if value % 3 == 0 {
                "/usr/bin/true"
            } else {
                &around.executable
            };
            let value = changed(base, operator, *change);
            // what is empty is no path of a binary
            if value.is_empty() { "/".to_owned() } else { value }
        });
        format!("{{operator: {operator}, values: {}}}", list(values))
    }

    fn argument(&self, (parameter, of_type): &Argument<'_>, around: &Surroundings) -> String {
        let (operator, values): (&str, Vec<String>) = match (parameter.class, width(of_type)) {
            (Class::Number | Class::Length, Some((bits, signed))) => self.number(bits, signed),
            (Class::Dentry, _) if !around.dentries.is_empty() => self.text(TEXT_OPERATORS, &around.dentries),
            (Class::File | Class::Path, _) if matches!(*of_type, "file" | "path") => {
                self.text(FILE_OPERATORS, &around.paths)
            }
            (Class::Number | Class::Length | Class::File | Class::Path | Class::Dentry | Class::Binprm, _) => {
                self.text(TEXT_OPERATORS, &around.paths)
            }
            (Class::String | Class::Buffer | Class::Segments, _) => self.text(TEXT_OPERATORS, &strings()),
            (Class::Sock, _) => self.socket(SOCK_OPERATORS),
            (Class::Skb, _) => self.socket(SKB_OPERATORS),
            (Class::Sockaddr, _) => self.socket(SOCKADDR_OPERATORS),
        };
        if values.is_empty() {
            return format!("{{index: {}, operator: {operator}}}", parameter.index);
        }
        format!(
            "{{index: {}, operator: {operator}, values: {}}}",
            parameter.index,
            list(values)
        )
    }

    fn entry(&self, data: &[&Entry], around: &Surroundings) -> String {
        let index = usize::from(self.what >> 4) % data.len();
        let entry = data[index];
        let own = match &entry.value {
            Value::String(text) | Value::Path { path: text, .. } => String::from_utf8_lossy(text).into_owned(),
            _ => String::new(),
        };
        let pool = [own.clone(), own, "/etc/passwd".to_owned(), around.executable.clone()];
        let (operator, values) = match entry.kind {
            Kind::Number(bits, signed) => {
                let (operator, mut values) = self.number(bits, signed);
                if let (Value::Integer(number), Some(first)) = (&entry.value, values.first_mut())
                    && !operator.ends_with("InRange")
                {
                    *first = number.to_string();
                }
                (operator, values)
            }
            Kind::File | Kind::Path => self.text(FILE_OPERATORS, &pool),
            Kind::String => self.text(TEXT_OPERATORS, &pool),
        };
        format!("{{index: {index}, operator: {operator}, values: {}}}", list(values))
    }

    fn number(&self, bits: u32, signed: bool) -> (&'static str, Vec<String>) {
        let operator = *pick(NUMBER_OPERATORS, self.operator);
        let fits = |number: &i128| {
            if signed {
                (-(1i128 << (bits - 1))..1i128 << (bits - 1)).contains(number)
            } else {
                (0..1i128 << bits).contains(number)
            }
        };
        let pool: Vec<i128> = NUMBERS.iter().copied().filter(|number| fits(number)).collect();
        let values = self.values.iter().map(|(a, b)| {
            let (a, b) = (*pick(&pool, *a), *pick(&pool, *b));
            match operator {
                "InRange" | "NotInRange" => format!("{}:{}", a.min(b), a.max(b)),
                _ if b % 2 == 0 && a >= 0 => format!("{a:#x}"),
                _ => a.to_string(),
            }
        });
        (operator, values.collect())
    }

    fn text(&self, operators: &[&'static str], pool: &[String]) -> (&'static str, Vec<String>) {
        let operator = text_operator(operators, self.operator);
        if operator.ends_with("FileType") {
            let types = self
                .values
                .iter()
                .map(|(value, _)| (*pick(FILE_TYPES, *value)).to_owned());
            return (operator, types.collect());
        }
        let values = self
            .values
            .iter()
            .map(|(value, change)| changed(pick::<String>(pool, *value), operator, *change));
        (operator, values.collect())
    }

    fn socket(&self, operators: &[&'static str]) -> (&'static str, Vec<String>) {
        let operator = *pick(operators, self.operator);
        let pool: &[&str] = match operator {
            "SAddr" | "DAddr" | "NotSAddr" | "NotDAddr" => NETWORKS,
            "SPort" | "DPort" | "NotSPort" | "NotDPort" => PORT_VALUES,
            "Protocol" => PROTOCOL_VALUES,
            "Family" => FAMILY_VALUES,
            "State" => STATE_VALUES,
            _ => return (operator, Vec::new()),
        };
        let values = self.values.iter().map(|(value, _)| (*pick(pool, *value)).to_owned());
        (operator, values.collect())
    }
}

/// A value that holds for `text` by `operator`, or nearly.
fn changed(text: &str, operator: &str, change: Choice) -> String {
    if operator.ends_with("Glob") || operator.ends_with("Regex") {
        return pattern(text, operator, change);
    }
    if operator.starts_with("SubString") {
        return part_of(text, operator, change);
    }
    let cut = change as usize / 8 % (text.len() + 1);
    let part = if operator.contains("refix") {
        &text[..text.len() - cut]
    } else if operator.contains("ostfix") {
        &text[cut..]
    } else {
        text
    };
    let mut value = part.to_owned();
    match change % 8 {
        0 if !value.is_empty() => value.replace_range(value.len() - 1.., "%"),
        1 if !value.is_empty() => value.replace_range(..1, "%"),
        2 if value.len() < 4096 => value.push('x'),
        3 if value.len() < 4096 => value.insert(0, '/'),
        _ => {}
    }
    value
}

/// An operator on texts. Those that take an automaton are rare: the verifier follows each of its programs for a long time, which
/// emulated kernels take minutes for.
fn text_operator(operators: &[&'static str], choice: Choice) -> &'static str {
    const SIMPLE: usize = 6;
    let operator = *pick(operators, choice);
    let is_pattern = ["SubString", "Glob", "Regex"]
        .iter()
        .any(|name| operator.contains(name));
    if is_pattern && !(choice / 256).is_multiple_of(6) {
        return pick::<&str>(&operators[..SIMPLE], choice);
    }
    operator
}

/// A part of `text` that may begin and end anywhere, or nearly.
fn part_of(text: &str, operator: &str, change: Choice) -> String {
    let start = change as usize / 8 % (text.len() + 1);
    let end = start + change as usize / 64 % (text.len() - start + 1);
    let mut value = text[start..end].to_owned();
    if operator == "SubStringIgnCase" && change & 8 != 0 {
        value.make_ascii_uppercase();
    }
    match change % 8 {
        0 if !value.is_empty() => value.replace_range(value.len() - 1.., "%"),
        1 if value.len() < 4096 => value.push('x'),
        _ => {}
    }
    value
}

/// A pattern that describes `text`, or nearly: a part of it stands for itself, the rest is left open.
fn pattern(text: &str, operator: &str, change: Choice) -> String {
    let is_glob = operator.ends_with("Glob");
    // what may begin anywhere makes a large automaton of a long text
    let change = if text.len() > 1024 { change / 8 * 8 + 1 } else { change };
    let start = change as usize / 8 % (text.len() + 1);
    let end = start + change as usize / 64 % (text.len() - start + 1);
    let literal = |text: &str| {
        let special = |c: char| {
            if is_glob {
                "[]{}*?!\\".contains(c)
            } else {
                !c.is_ascii_alphanumeric() && c != '/'
            }
        };
        let escaped = text
            .chars()
            .map(|c| if special(c) { format!("\\{c}") } else { c.to_string() });
        escaped.collect::<String>()
    };
    let (before, open, after) = (literal(&text[..start]), &text[start..end], literal(&text[end..]));
    if is_glob {
        return match change % 8 {
            0 => format!("{before}*{after}x"),
            1 => format!("{before}?{after}"),
            2 => format!("/**/*{after}"),
            3 => format!("{before}[!/]{after}"),
            4 => format!("{{{before},{}}}*{after}", literal(open)),
            _ => format!("{before}*{after}"),
        };
    }
    match change % 8 {
        0 => format!("^{before}$"),
        1 => format!("^{before}.{after}$"),
        2 => format!("{after}$"),
        3 => format!("^{before}[a-f/]+{after}"),
        4 => format!("({before}|{after})$"),
        5 => format!("^{before}[^/]*{after}$"),
        _ => format!("{before}.*{after}"),
    }
}
