//! Values of filters on arguments.

use std::collections::HashMap;

use super::{Checker, Hook, Section, list, process};
use crate::code::{Code, codes};
use crate::parse::suggest::closest;
use crate::path::FieldPath;
use crate::types::{ArgOperator, ArgSelector, ArgType, ListType};
use crate::value;

/// Longest string the kernel hands on.
const MAX_STRING: usize = 4096;

pub(super) fn check(checker: &mut Checker<'_>, hook: &Hook<'_>, filter: &ArgSelector, ty: ArgType, path: &FieldPath) {
    use ArgOperator as Op;
    let operator = filter.operator;
    match operator {
        Op::SPortPriv | Op::NotSPortPriv | Op::DPortPriv | Op::NotDPortPriv | Op::CapabilitiesGained => {
            if !filter.values.is_empty() {
                let diagnostic = checker
                    .warning(
                        codes::FILTER_VALUES,
                        &path.key("values"),
                        format!("`{operator}` takes no values"),
                    )
                    .label("not used");
                checker.report(diagnostic);
            }
            return;
        }
        Op::CelExpr => {
            if filter.values.len() != 1 || filter.values[0].trim().is_empty() {
                let place = if filter.values.is_empty() {
                    path.clone()
                } else {
                    path.key("values")
                };
                let diagnostic = checker
                    .error(codes::FILTER_VALUES, &place, "`CelExpr` needs exactly one expression")
                    .label(format!("{} given", filter.values.len()));
                checker.report(diagnostic);
            }
            return;
        }
        _ if filter.values.is_empty() => {
            process::no_values(checker, path);
            return;
        }
        _ => {}
    }

    duplicates(checker, filter, path);
    for (index, text) in filter.values.iter().enumerate() {
        if let Err(problem) = check_value(checker, hook, operator, ty, text, path, index) {
            let path = path.key("values").index(index);
            let diagnostic = match placeholder(text) {
                Some(placeholder) => checker
                    .error(
                        codes::PLACEHOLDER,
                        &path,
                        format!("the placeholder `{placeholder}` was never filled in"),
                    )
                    .label(problem.label)
                    .help(format!(
                        "replace it by {}, for example with `envsubst < policy.yaml`",
                        problem.example
                    )),
                None => {
                    let diagnostic = checker.error(problem.code, &path, problem.message).label(problem.label);
                    match problem.help {
                        Some(help) => diagnostic.help(help),
                        None => diagnostic,
                    }
                }
            };
            checker.report(diagnostic);
        }
    }
}

/// Why a value is none.
struct Problem {
    code: Code,
    message: String,
    label: String,
    help: Option<String>,
    /// What would be one.
    example: &'static str,
}

fn check_value(
    checker: &mut Checker<'_>,
    hook: &Hook<'_>,
    operator: ArgOperator,
    ty: ArgType,
    text: &str,
    path: &FieldPath,
    index: usize,
) -> Result<(), Problem> {
    use ArgOperator as Op;
    match operator {
        Op::InMap | Op::NotInMap => {
            if let Some(name) = text.strip_prefix("list:") {
                list_value(checker, hook, ty, name, path, index);
                return Ok(());
            }
            if text.contains(':') {
                range(text, ty)
            } else {
                number(text, ty)
            }
        }
        Op::InRange | Op::NotInRange => range(text, ty),
        Op::GreaterThan | Op::LessThan | Op::GT | Op::LT | Op::Mask => number(text, ty),
        Op::Equal | Op::NotEqual if ty == ArgType::Auto || ty.is_string_like() => string(text),
        Op::Equal | Op::NotEqual => number(text, ty),
        // whoever makes automata of them says what is too long
        Op::Glob | Op::NotGlob => Ok(()),
        Op::Prefix
        | Op::NotPrefix
        | Op::Postfix
        | Op::NotPostfix
        | Op::SubString
        | Op::SubStringIgnCase
        | Op::Regex
        | Op::NotRegex => {
            if !matches!(operator, Op::Regex | Op::NotRegex) {
                string(text)?;
            }
            if text.is_empty() {
                let diagnostic = checker
                    .warning(
                        codes::VALUE_STRING,
                        &path.key("values").index(index),
                        format!("every string fits an empty value of `{operator}`"),
                    )
                    .label("empty");
                checker.report(diagnostic);
            }
            Ok(())
        }
        Op::SAddr | Op::NotSAddr | Op::DAddr | Op::NotDAddr => match value::network(text) {
            Some(_) => Ok(()),
            None => Err(Problem {
                code: codes::VALUE_ADDRESS,
                message: format!("`{text}` is neither an IP address nor a network"),
                label: "expected an address such as `10.0.0.1` or a network such as `10.0.0.0/8`".to_owned(),
                help: None,
                example: "a network such as `10.0.0.0/8`",
            }),
        },
        Op::SPort | Op::NotSPort | Op::DPort | Op::NotDPort => match value::ports(text) {
            Some(_) => Ok(()),
            None => Err(Problem {
                code: codes::VALUE_PORT,
                message: format!("`{text}` is neither a port nor a range of ports"),
                label: "expected a port such as `443` or a range such as `8000:8080`".to_owned(),
                help: None,
                example: "a port",
            }),
        },
        Op::Protocol => socket_name(text, value::PROTOCOLS, "protocol", "IPPROTO_"),
        Op::Family => socket_name(text, value::ADDRESS_FAMILIES, "address family", "AF_"),
        Op::State => socket_name(text, value::TCP_STATES, "TCP state", "TCP_"),
        Op::FileType | Op::NotFileType => file_type(text),
        Op::SPortPriv | Op::NotSPortPriv | Op::DPortPriv | Op::NotDPortPriv | Op::CapabilitiesGained | Op::CelExpr => {
            Ok(())
        }
    }
}

fn number(text: &str, ty: ArgType) -> Result<(), Problem> {
    let fits = match ty {
        // not known before the kernel's types are
        ArgType::Auto => value::integer(text).is_some(),
        _ if ty.is_capability_set() => value::capability_set(text).is_some(),
        ArgType::Capability => value::integer_of(text, ty).is_some() || value::capability(text).is_some(),
        _ => value::integer_of(text, ty).is_some(),
    };
    if fits {
        return Ok(());
    }
    let expected = match (ty.is_capability_set() || ty == ArgType::Capability, value::bounds(ty)) {
        (true, _) => "a number or names of capabilities".to_owned(),
        (false, Some((low, high))) => format!("a number from {low} to {high}"),
        (false, None) => "a number".to_owned(),
    };
    let mut help = None;
    if let (Some(number), Some((low, high))) = (value::integer(text), value::bounds(ty))
        && low < 0
        && number > high
        && number <= 2 * high + 1
    {
        help = Some(format!(
            "as a number of this type, `{text}` is `{}`",
            number - 2 * (high + 1)
        ));
    }
    Err(Problem {
        code: codes::VALUE_NUMBER,
        message: format!("`{text}` is not a value of the type `{ty}`"),
        label: format!("expected {expected}"),
        help,
        example: "a number",
    })
}

fn range(text: &str, ty: ArgType) -> Result<(), Problem> {
    let ty_or_any = if ty == ArgType::Auto { ArgType::SizeT } else { ty };
    if value::range(text, ty_or_any).is_some() {
        return Ok(());
    }
    let swapped = text.split_once(':').and_then(|(low, high)| {
        let swapped = format!("{}:{}", high.trim(), low.trim());
        value::range(&swapped, ty_or_any).map(|_| swapped)
    });
    let is_number = value::integer_of(text, ty_or_any).is_some();
    Err(Problem {
        code: codes::VALUE_RANGE,
        message: format!("`{text}` is not a range of values of the type `{ty}`"),
        label: "expected the lowest and the highest value, such as `1:10`".to_owned(),
        help: match (swapped, is_number) {
            (Some(swapped), _) => Some(format!("the lower value comes first: `{swapped}`")),
            (None, true) => Some(format!("for one value, write `{text}:{text}`")),
            (None, false) => None,
        },
        example: "a range such as `1:10`",
    })
}

fn string(text: &str) -> Result<(), Problem> {
    if text.len() <= MAX_STRING {
        return Ok(());
    }
    Err(Problem {
        code: codes::VALUE_STRING,
        message: format!("the value has {} bytes, more than any string here has", text.len()),
        label: format!("expected at most {MAX_STRING} bytes"),
        help: None,
        example: "a string",
    })
}

fn socket_name(text: &str, table: &[(&'static str, u64)], what: &str, prefix: &str) -> Result<(), Problem> {
    let number = value::integer(text).is_some_and(|number| (0..=i128::from(u16::MAX)).contains(&number));
    if number || value::lookup(text, table).is_some() {
        return Ok(());
    }
    let prefixed = format!("{prefix}{}", text.to_ascii_uppercase());
    let help = if value::lookup(&prefixed, table).is_some() {
        Some(format!("write `{prefixed}`"))
    } else {
        closest(text, table.iter().map(|(name, _)| *name)).map(|name| format!("did you mean `{name}`?"))
    };
    Err(Problem {
        code: codes::VALUE_SOCKET_NAME,
        message: format!("there is no {what} `{text}`"),
        label: format!("expected a name that starts with `{prefix}`, or a number"),
        help,
        example: "a name or a number",
    })
}

fn file_type(text: &str) -> Result<(), Problem> {
    if value::lookup(text, value::FILE_TYPES).is_some() {
        return Ok(());
    }
    Err(Problem {
        code: codes::VALUE_FILE_TYPE,
        message: format!("there is no type of file `{text}`"),
        label: "expected `reg`, `dir`, `lnk`, `sock`, `fifo`, `chr` or `blk`".to_owned(),
        help: None,
        example: "a type of file",
    })
}

fn list_value(checker: &mut Checker<'_>, hook: &Hook<'_>, ty: ArgType, name: &str, path: &FieldPath, index: usize) {
    let path = path.key("values").index(index);
    if !matches!(hook.section, Section::Tracepoint { .. }) || ty != ArgType::Syscall64 {
        let mut diagnostic = checker
            .error(
                codes::LIST_TYPE,
                &path,
                "a list can be compared with numbers of system calls only",
            )
            .label(format!("the argument is of type `{ty}`"));
        if matches!(hook.section, Section::Tracepoint { .. }) {
            diagnostic = diagnostic.help("read the argument with `type: syscall64`");
        }
        checker.report(diagnostic);
        return;
    }
    list::reference(
        checker,
        name,
        &path,
        ListType::is_syscalls,
        "is needed to compare numbers of system calls",
    );
}

/// A placeholder as shells and templates write them, such as `${PODCIDR}`.
fn placeholder(text: &str) -> Option<&str> {
    for (open, close) in [("${", "}"), ("{{", "}}"), ("$(", ")")] {
        if let Some(start) = text.find(open)
            && let Some(length) = text[start..].find(close)
        {
            return Some(&text[start..start + length + close.len()]);
        }
    }
    text.strip_prefix('$')
        .filter(|name| !name.is_empty() && name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_'))
        .map(|_| text)
}

fn duplicates(checker: &mut Checker<'_>, filter: &ArgSelector, path: &FieldPath) {
    let mut seen: HashMap<&str, usize> = HashMap::new();
    for (index, text) in filter.values.iter().enumerate() {
        if let Some(&first) = seen.get(text.as_str()) {
            let values = path.key("values");
            let diagnostic = checker
                .warning(
                    codes::VALUE_DUPLICATE,
                    &values.index(index),
                    format!("the value `{text}` is given twice"),
                )
                .label("second time")
                .secondary(checker.span(&values.index(first)), "first time");
            checker.report(diagnostic);
        } else {
            seen.insert(text, index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_found() {
        assert_eq!(placeholder("${PODCIDR}"), Some("${PODCIDR}"));
        assert_eq!(placeholder("a/{{ .Values.x }}/b"), Some("{{ .Values.x }}"));
        assert_eq!(placeholder("$PODCIDR"), Some("$PODCIDR"));
        for text in ["10.0.0.0/8", "$", "${", "$1"] {
            assert_eq!(placeholder(text), None, "{text}");
        }
    }
}
