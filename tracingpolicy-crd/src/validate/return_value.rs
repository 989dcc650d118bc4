//! Return values: `returnArg`, `returnArgAction`, and filters on them.

use super::{Checker, Hook, Section};
use crate::code::codes;
use crate::types::ArgType;

pub(super) fn check(checker: &mut Checker<'_>, hook: &Hook<'_>) {
    let path = &hook.path;
    if hook.return_arg.is_some() && !hook.has_return {
        let mut diagnostic = checker
            .warning(
                codes::NO_EFFECT,
                &path.key("returnArg"),
                "`returnArg` has no effect without `return: true`",
            )
            .label("not read")
            .help("add `return: true`, or remove it");
        diagnostic.primary.span = checker.key_span(&path.key("returnArg"));
        checker.report(diagnostic);
    }
    return_arg_action(checker, hook);

    for (index, selector) in hook.selectors.iter().enumerate() {
        let path = path.key("selectors").index(index);
        for (key, given) in [
            ("matchReturnArgs", !selector.match_return_args.is_empty()),
            ("matchReturnActions", !selector.match_return_actions.is_empty()),
        ] {
            if !given || (hook.has_return && hook.return_arg.is_some()) {
                continue;
            }
            let path = path.key(key);
            let returns = hook.section.is_kernel_function() || hook.section == Section::Uprobe;
            let mut diagnostic = if returns {
                checker
                    .error(
                        codes::RETURN_FILTER,
                        &path,
                        format!("`{key}` needs the return value, which the hook does not read"),
                    )
                    .label("would be ignored")
                    .help("add `return: true` and `returnArg` to the hook")
            } else {
                checker
                    .error(
                        codes::RETURN_FILTER,
                        &path,
                        format!("`{key}` is not possible at {}", hook.section.describe()),
                    )
                    .label("there is no return value")
            };
            diagnostic.primary.span = checker.key_span(&path);
            checker.report(diagnostic);
        }
    }
}

fn return_arg_action(checker: &mut Checker<'_>, hook: &Hook<'_>) {
    let Some(action) = hook.return_arg_action.filter(|action| !action.is_empty()) else {
        return;
    };
    let path = hook.path.key("returnArgAction");
    if !["TrackSock", "UntrackSock"]
        .iter()
        .any(|known| known.eq_ignore_ascii_case(action))
    {
        let diagnostic = checker
            .error(
                codes::RETURN_ARG_ACTION,
                &path,
                format!("`{action}` cannot be done with a return value"),
            )
            .label("expected `TrackSock` or `UntrackSock`")
            .help("to send the value, `return: true` is enough; remove `returnArgAction`");
        checker.report(diagnostic);
    } else if !hook.has_return {
        let diagnostic = checker
            .warning(
                codes::NO_EFFECT,
                &path,
                "`returnArgAction` has no effect without `return: true`",
            )
            .label("not done");
        checker.report(diagnostic);
    } else if let Some(arg) = hook.return_arg
        && !matches!(arg.arg_type, ArgType::Sock | ArgType::Socket)
    {
        let diagnostic = checker
            .error(
                codes::RETURN_ARG_ACTION,
                &path,
                format!(
                    "`{action}` needs a socket, the return value is read as `{}`",
                    arg.arg_type
                ),
            )
            .label("not possible with this type")
            .secondary(checker.span(&hook.path.key("returnArg").key("type")), "read as this");
        checker.report(diagnostic);
    }
}
