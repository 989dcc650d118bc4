//! Filters on arguments: which argument is meant, and whether the operator goes with its type.

use super::{Checker, Hook, Section, filter_value};
use crate::code::codes;
use crate::path::FieldPath;
use crate::types::{ArgOperator, ArgSelector, ArgSpec, ArgType, Selector};

pub(super) fn check(checker: &mut Checker<'_>, hook: &Hook<'_>, selector: &Selector, path: &FieldPath) {
    for (index, filter) in selector.match_args.iter().enumerate() {
        let path = path.key("matchArgs").index(index);
        if let Some(arg) = argument(checker, hook, filter, &path) {
            check_filter(checker, hook, filter, arg.arg_type, &path, &arg);
        }
    }
    if !selector.match_data.is_empty() && hook.data.is_empty() {
        let path = path.key("matchData");
        let mut diagnostic = checker
            .error(codes::DATA_FILTER, &path, "`matchData` without `data`")
            .label("the hook reads no data")
            .help("add the entries to the hook's `data`, or use `matchArgs`");
        diagnostic.primary.span = checker.key_span(&path);
        checker.report(diagnostic);
    } else {
        for (index, filter) in selector.match_data.iter().enumerate() {
            let path = path.key("matchData").index(index);
            let Some(data) = hook.data.get(filter.index as usize) else {
                out_of_range(checker, &path.key("index"), filter.index, "data", hook.data.len());
                continue;
            };
            let arg = Target {
                arg_type: data.arg_type,
                path: hook.path.key("data").index(filter.index as usize),
            };
            check_filter(checker, hook, filter, data.arg_type, &path, &arg);
        }
    }
    if let Some(return_arg) = hook.return_arg {
        for (index, filter) in selector.match_return_args.iter().enumerate() {
            let path = path.key("matchReturnArgs").index(index);
            let arg = Target {
                arg_type: return_arg.arg_type,
                path: hook.path.key("returnArg"),
            };
            check_filter(checker, hook, filter, return_arg.arg_type, &path, &arg);
        }
    }
}

/// What a filter looks at.
pub(super) struct Target {
    arg_type: ArgType,
    path: FieldPath,
}

/// The argument a filter of `matchArgs` means; what is wrong with the reference was reported on `None`.
fn argument(checker: &mut Checker<'_>, hook: &Hook<'_>, filter: &ArgSelector, path: &FieldPath) -> Option<Target> {
    if filter.operator == ArgOperator::CelExpr {
        // names its arguments itself
        return Some(Target {
            arg_type: ArgType::Auto,
            path: path.clone(),
        });
    }
    let found = |position: usize, arg: &ArgSpec| Target {
        arg_type: arg.arg_type,
        path: hook.path.key("args").index(position),
    };
    if let Some(&first) = filter.args.first() {
        for (index, &position) in filter.args.iter().enumerate() {
            if position as usize >= hook.args.len() {
                out_of_range(
                    checker,
                    &path.key("args").index(index),
                    position,
                    "args",
                    hook.args.len(),
                );
                return None;
            }
        }
        return Some(found(first as usize, &hook.args[first as usize]));
    }
    if let Some(position) = hook.args.iter().position(|arg| arg.index == filter.index) {
        return Some(found(position, &hook.args[position]));
    }
    // fields of a tracepoint may be meant by their position in `args` too
    if let (Section::Tracepoint { .. }, Some(arg)) = (hook.section, hook.args.get(filter.index as usize)) {
        return Some(found(filter.index as usize, arg));
    }
    let place = if checker.has(&path.key("index")) {
        path.key("index")
    } else {
        path.clone()
    };
    let diagnostic = checker
        .error(
            codes::FILTER_ARGUMENT,
            &place,
            format!(
                "the filter looks at argument {}, which the hook does not read",
                filter.index
            ),
        )
        .label("no such entry in `args`")
        .help(format!(
            "add `- index: {}` with its type to the hook's `args`",
            filter.index
        ));
    let args = hook.path.key("args");
    let diagnostic = if checker.has_value(&args) {
        diagnostic.secondary(checker.key_span(&args), "arguments the hook reads")
    } else {
        diagnostic
    };
    checker.report(diagnostic);
    None
}

fn out_of_range(checker: &mut Checker<'_>, path: &FieldPath, position: u32, key: &str, count: usize) {
    let diagnostic = checker
        .error(
            codes::FILTER_ARGUMENT,
            path,
            format!("there is no entry {position} in `{key}`, which has {count}"),
        )
        .label("counted from 0");
    checker.report(diagnostic);
}

fn check_filter(
    checker: &mut Checker<'_>,
    hook: &Hook<'_>,
    filter: &ArgSelector,
    ty: ArgType,
    path: &FieldPath,
    target: &Target,
) {
    if let Err(reason) = fits(filter.operator, ty) {
        let type_path = target.path.key("type");
        let mut diagnostic = checker
            .error(
                codes::FILTER_OPERATOR,
                &path.key("operator"),
                format!("the operator `{}` does not go with the type `{ty}`", filter.operator),
            )
            .label(reason);
        if checker.has(&type_path) {
            diagnostic = diagnostic.secondary(checker.span(&type_path), "the argument has this type");
        }
        checker.report(diagnostic);
        return;
    }
    if filter.operator == ArgOperator::CapabilitiesGained && filter.args.len() != 2 {
        let diagnostic = checker
            .error(
                codes::FILTER_ARGUMENT,
                path,
                "`CapabilitiesGained` compares two arguments",
            )
            .label(format!("{} given", filter.args.len()))
            .help("add `args: [0, 1]` with the positions of the old and the new set in the hook's `args`");
        checker.report(diagnostic);
    }
    filter_value::check(checker, hook, filter, ty, path);
}

/// Whether an operator goes with a type; the reason if not. Everything goes with a type that is not known yet.
fn fits(operator: ArgOperator, ty: ArgType) -> Result<(), &'static str> {
    use ArgOperator as Op;
    if ty == ArgType::Auto || operator == Op::CelExpr {
        return Ok(());
    }
    if ty == ArgType::Nop {
        return Err("`nop` arguments are not read");
    }
    let number = ty.integer().is_some() || ty.is_capability_set() || ty == ArgType::Capability;
    let socket = matches!(ty, ArgType::Sock | ArgType::Socket | ArgType::Skb);
    let (good, reason) = match operator {
        Op::Equal | Op::NotEqual => (number || ty.is_string_like(), "needs a number, string or path"),
        Op::GreaterThan
        | Op::LessThan
        | Op::GT
        | Op::LT
        | Op::Mask
        | Op::InRange
        | Op::NotInRange
        | Op::InMap
        | Op::NotInMap => (number, "needs a number"),
        Op::Postfix | Op::NotPostfix => (
            ty.is_string_like() && ty != ArgType::SockaddrUn,
            "needs a string or path",
        ),
        Op::Prefix
        | Op::NotPrefix
        | Op::SubString
        | Op::SubStringIgnCase
        | Op::Glob
        | Op::NotGlob
        | Op::Regex
        | Op::NotRegex => (ty.is_string_like(), "needs a string or path"),
        Op::SAddr | Op::NotSAddr | Op::SPort | Op::NotSPort | Op::SPortPriv | Op::NotSPortPriv => (
            socket || ty == ArgType::Sockaddr,
            "needs `sock`, `socket`, `skb` or `sockaddr`",
        ),
        Op::DAddr | Op::NotDAddr | Op::DPort | Op::NotDPort | Op::DPortPriv | Op::NotDPortPriv
            if ty == ArgType::Sockaddr =>
        {
            (
                false,
                "a `sockaddr` has one address only: use the operator for the source",
            )
        }
        Op::DAddr | Op::NotDAddr | Op::DPort | Op::NotDPort | Op::DPortPriv | Op::NotDPortPriv | Op::Protocol => {
            (socket, "needs `sock`, `socket` or `skb`")
        }
        Op::Family => (
            socket || matches!(ty, ArgType::Sockaddr | ArgType::SockaddrUn),
            "needs `sock`, `socket`, `skb`, `sockaddr` or `sockaddr_un`",
        ),
        Op::State => (
            matches!(ty, ArgType::Sock | ArgType::Socket),
            "needs `sock` or `socket`",
        ),
        Op::CapabilitiesGained => (ty.is_capability_set(), "needs two sets of capabilities"),
        Op::FileType | Op::NotFileType => (matches!(ty, ArgType::File | ArgType::Path), "needs `file` or `path`"),
        Op::CelExpr => (true, ""),
    };
    if good { Ok(()) } else { Err(reason) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_go_with_types() {
        use ArgOperator as Op;
        for (operator, ty, expected) in [
            (Op::Equal, ArgType::Int, true),
            (Op::Equal, ArgType::File, true),
            (Op::Equal, ArgType::Sock, false),
            (Op::Equal, ArgType::Nop, false),
            (Op::Equal, ArgType::Cred, false),
            (Op::GT, ArgType::String, false),
            (Op::Mask, ArgType::CapEffective, true),
            (Op::Prefix, ArgType::Int, false),
            (Op::Postfix, ArgType::SockaddrUn, false),
            (Op::Prefix, ArgType::SockaddrUn, true),
            (Op::DAddr, ArgType::Sockaddr, false),
            (Op::SAddr, ArgType::Sockaddr, true),
            (Op::State, ArgType::Skb, false),
            (Op::FileType, ArgType::Path, true),
            (Op::FileType, ArgType::Fd, false),
            (Op::DAddr, ArgType::Auto, true),
        ] {
            assert_eq!(fits(operator, ty).is_ok(), expected, "{operator} {ty}");
        }
    }
}
