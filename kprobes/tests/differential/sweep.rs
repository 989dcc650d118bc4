//! Sets that reach every operator on every type of a hook, from both sides, whatever the seed: the part of the language that random
//! sets reach only mostly.

use super::arena::{Arena, Class, Parameter, Returns};
use super::case::Case;
use super::recipe::{
    BINARY_OPERATORS, CAPABILITIES, CAPABILITY_SETS, CallRecipe, FILE_OPERATORS, FOREIGN_PIDS, NUMBER_OPERATORS,
    SKB_OPERATORS, SOCK_OPERATORS, SOCKADDR_OPERATORS, Surroundings, TEXT_OPERATORS, list, width,
};

/// Calls of each set about arguments: with this step they reach every value of every pool.
const CALLS: u16 = 96;
const STEP: u16 = 67;

/// Policies of a set, at most.
const POLICIES: usize = 12;

/// A key of selectors with one item of its list.
type Filter = (&'static str, String);

/// Sets about all types of all parameters.
pub(crate) fn arguments(arena: &Arena, around: &Surroundings) -> Vec<Case> {
    let calls: Vec<CallRecipe> = (0..CALLS)
        .map(|number| CallRecipe {
            workload: 0,
            values: [number * STEP; 6],
            returned: number * STEP,
        })
        .collect();
    let mut seen: Vec<&str> = Vec::new();
    let mut cases = Vec::new();
    for parameter in arena.parameters {
        for of_type in parameter.types {
            if seen.contains(of_type) {
                continue;
            }
            seen.push(of_type);
            let filters = argument("matchArgs", parameter, of_type, around);
            cases.extend(sets(arena, Some((parameter, of_type)), &filters, &calls));
        }
    }
    if arena.returns != Returns::No {
        let filters = argument("matchReturnArgs", &arena.parameters[0], "int", around);
        cases.extend(sets(arena, None, &filters, &calls));
    }
    cases
}

/// Sets about the process.
pub(crate) fn process(arena: &Arena, around: &Surroundings) -> Vec<Case> {
    let calls: Vec<CallRecipe> = (1..4)
        .map(|number| CallRecipe {
            workload: 0,
            values: [number * STEP; 6],
            returned: number,
        })
        .collect();
    let mut filters: Vec<Filter> = Vec::new();
    for operator in BINARY_OPERATORS {
        for value in [&*around.executable, "/usr/bin/true"] {
            let item = format!("{{operator: {operator}, values: {}}}", list([value.to_owned()]));
            filters.push(("matchBinaries", item));
        }
    }
    let pids = [&around.pids[..], &FOREIGN_PIDS];
    for shape in 0u8..16 {
        let flag = |bit: u8| shape & (1 << bit) != 0;
        let numbers: Vec<String> = pids[usize::from(flag(0))].iter().map(u32::to_string).collect();
        let item = format!(
            "{{operator: {}, followForks: {}, isNamespacePID: {}, values: [{}]}}",
            in_or_not(flag(1)),
            flag(2),
            flag(3),
            numbers.join(", ")
        );
        filters.push(("matchPIDs", item));
    }
    for (name, inode) in &around.namespaces {
        for (value, negated) in [(*inode, false), (*inode, true), (77, false), (77, true)] {
            let item = format!(
                "{{namespace: {name}, operator: {}, values: {}}}",
                in_or_not(negated),
                list([value.to_string()])
            );
            filters.push(("matchNamespaces", item));
        }
    }
    for operator in [false, true].map(in_or_not) {
        for names in [&["Uts"][..], &["Net", "user"]] {
            let names = list(names.iter().map(|name| (*name).to_owned()));
            filters.push((
                "matchNamespaceChanges",
                format!("{{operator: {operator}, values: {names}}}"),
            ));
        }
        for set in CAPABILITY_SETS {
            for capability in ["CAP_SYS_ADMIN", "CAP_NET_RAW"] {
                let item = format!("{{type: {set}, operator: {operator}, values: [{capability}]}}");
                filters.push(("matchCapabilityChanges", item));
            }
        }
    }
    for negated in [false, true] {
        for set in CAPABILITY_SETS {
            for capability in CAPABILITIES {
                let item = format!(
                    "{{type: {set}, operator: {}, values: {}}}",
                    in_or_not(negated),
                    list([(*capability).to_owned()])
                );
                filters.push(("matchCapabilities", item));
            }
        }
    }
    let mut cases = sets(arena, None, &filters, &calls);
    let mut unknown: Vec<Case> = cases
        .iter()
        .filter(|case| case.policies.iter().any(|text| text.contains("matchPIDs")))
        .cloned()
        .collect();
    for case in &mut unknown {
        case.known_process = false;
    }
    cases.extend(unknown);
    let about_changes = |case: &&Case| case.policies.iter().any(|text| text.contains("Changes"));
    let mut changed: Vec<Case> = cases.iter().filter(about_changes).cloned().collect();
    for case in &mut changed {
        case.recorded = 2;
    }
    cases.extend(changed);
    cases
}

fn in_or_not(negated: bool) -> &'static str {
    if negated { "NotIn" } else { "In" }
}

/// Every operator on an argument, with values that some calls have and others have not.
fn argument(key: &'static str, parameter: &Parameter, of_type: &str, around: &Surroundings) -> Vec<Filter> {
    let is_number = key == "matchReturnArgs" || width(of_type).is_some();
    let (operators, texts): (&[&str], &[String]) = match parameter.class {
        _ if is_number => (NUMBER_OPERATORS, &[]),
        Class::Sock => (SOCK_OPERATORS, &[]),
        Class::Skb => (SKB_OPERATORS, &[]),
        Class::Sockaddr => (SOCKADDR_OPERATORS, &[]),
        Class::Dentry => (TEXT_OPERATORS, &around.dentries),
        Class::String | Class::Buffer | Class::Segments => (TEXT_OPERATORS, &[]),
        _ if matches!(of_type, "file" | "path") => (FILE_OPERATORS, &around.paths),
        _ => (TEXT_OPERATORS, &around.paths),
    };
    // no other path begins or ends like the longest
    let longest = texts.iter().max_by_key(|text| text.len());
    let text = longest.map_or("/etc/passwd", String::as_str);
    operators
        .iter()
        .map(|operator| {
            let values: &[&str] = match *operator {
                "GT" | "LT" | "GreaterThan" | "LessThan" => &["5"],
                "Mask" => &["4"],
                "InRange" | "NotInRange" => &["1:5", "7:7"],
                "InMap" | "NotInMap" => &["1", "6"],
                "Equal" | "NotEqual" if is_number => &["1", "0x7"],
                "SAddr" | "NotSAddr" | "DAddr" | "NotDAddr" => &["10.0.0.0/8", "127.0.0.1", "2001:db8::/64"],
                "SPort" | "NotSPort" | "DPort" | "NotDPort" => &["80", "1023:1024"],
                "Protocol" => &["IPPROTO_TCP", "58"],
                "Family" => &["AF_INET", "16"],
                "State" => &["TCP_ESTABLISHED", "12"],
                "FileType" | "NotFileType" => &["dir", "chr"],
                "SPortPriv" | "NotSportPriv" | "DPortPriv" | "NotDPortPriv" => &[],
                "SubString" => &["etc/pass", "y"],
                "SubStringIgnCase" => &["ETC/Pass", "Y"],
                "Glob" | "NotGlob" => &["/etc/pass*", "/**/[a-z]*-", "{/proc,/dev}/*"],
                "Regex" | "NotRegex" => &["^/(etc|dev)/[a-z]+$", "sh.?dow"],
                _ => &[text],
            };
            let values = if values.is_empty() {
                String::new()
            } else {
                format!(", values: {}", list(values.iter().map(|value| (*value).to_owned())))
            };
            (
                key,
                format!(
                    "{{index: {}, operator: {operator}{values}}}",
                    if key == "matchArgs" { parameter.index } else { 0 }
                ),
            )
        })
        .chain((key == "matchArgs").then(|| (key, expression(parameter, of_type, text))))
        .collect()
}

/// An expression that holds for some calls.
fn expression(parameter: &Parameter, of_type: &str, text: &str) -> String {
    let expression = match parameter.class {
        _ if width(of_type).is_some() => "arg0 == 1 || !(arg0 + 1 > 5)".to_owned(),
        Class::Sock | Class::Skb | Class::Sockaddr => "arg0.sport < 1024".to_owned(),
        _ => format!("arg0 == {text:?} || arg0.endsWith(\"a\")"),
    };
    format!(
        "{{index: {}, operator: CelExpr, values: ['{expression}']}}",
        parameter.index
    )
}

/// A set of many policies on the hook, most of which differ in one value that no call has; every tenth has one of the filters that
/// tell calls apart.
pub(crate) fn crowd(arena: &Arena, around: &Surroundings, policies: usize) -> Case {
    let calls: Vec<CallRecipe> = (0..CALLS)
        .map(|number| CallRecipe {
            workload: 0,
            values: [number * STEP; 6],
            returned: 0,
        })
        .collect();
    let parameter = &arena.parameters[0];
    let of_type = parameter.types[0];
    let telling = argument("matchArgs", parameter, of_type, around);
    let filters: Vec<Filter> = (0..policies)
        .map(|number| match number % 10 {
            0 => telling[number / 10 % telling.len()].clone(),
            1 | 2 => {
                let operator = if number % 10 == 1 { "In" } else { "Prefix" };
                let value = format!("/opt/tenant-{number:04}/bin/server");
                (
                    "matchBinaries",
                    format!("{{operator: {operator}, values: {}}}", list([value])),
                )
            }
            _ => ("matchArgs", distinct(parameter, of_type, number)),
        })
        .collect();
    let mut sets = chunks(arena, Some((parameter, of_type)), &filters, &calls, policies);
    sets.remove(0)
}

/// A filter with a value that no other has.
fn distinct(parameter: &Parameter, of_type: &str, number: usize) -> String {
    let (operator, value) = match parameter.class {
        _ if width(of_type).is_some() => ("Equal", (100_000 + number).to_string()),
        Class::Sock | Class::Skb | Class::Sockaddr if number.is_multiple_of(3) => {
            ("SAddr", format!("10.{}.{}.0/24", number / 256, number % 256))
        }
        Class::Sock | Class::Skb | Class::Sockaddr => ("SPort", (20_000 + number).to_string()),
        _ if number.is_multiple_of(3) => ("Postfix", format!("/file-{number:04}")),
        _ if number % 3 == 1 => ("Equal", format!("/srv/tenant-{number:04}/file")),
        _ => ("Prefix", format!("/srv/tenant-{number:04}/")),
    };
    format!(
        "{{index: {}, operator: {operator}, values: {}}}",
        parameter.index,
        list([value])
    )
}

/// Sets of policies with one filter each.
fn sets(arena: &Arena, argument: Option<(&Parameter, &str)>, filters: &[Filter], calls: &[CallRecipe]) -> Vec<Case> {
    chunks(arena, argument, filters, calls, POLICIES)
}

/// As [`sets`], with so many policies in each.
fn chunks(
    arena: &Arena,
    argument: Option<(&Parameter, &str)>,
    filters: &[Filter],
    calls: &[CallRecipe],
    policies: usize,
) -> Vec<Case> {
    let (parameter, of_type) = argument.unwrap_or((&arena.parameters[0], arena.parameters[0].types[0]));
    let of_filters = |filters: &[Filter]| Case {
        scoped: vec![false; filters.len()],
        policies: filters
            .iter()
            .enumerate()
            .map(|(number, (key, item))| {
                format!(
                    "{}    args:\n    - {}\n    selectors:\n    - {key}:\n      - {item}\n",
                    arena.head(number),
                    parameter.yaml(of_type)
                )
            })
            .collect(),
        monitors: vec![false; filters.len()],
        known_process: true,
        recorded: 0,
        is_indexed: false,
        calls: calls.to_vec(),
    };
    filters.chunks(policies).map(of_filters).collect()
}
