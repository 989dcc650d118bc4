//! `spec.options`.

use super::Checker;
use crate::code::codes;
use crate::parse::suggest::{closest, list};
use crate::path::FieldPath;
use crate::value;

enum Kind {
    Bool,
    OneOf(&'static [&'static str]),
    Positive,
}

const OPTIONS: [(&str, Kind); 5] = [
    ("disable-kprobe-multi", Kind::Bool),
    ("disable-uprobe-multi", Kind::Bool),
    ("override-method", Kind::OneOf(&["override-return", "fmod-ret"])),
    ("policy-mode", Kind::OneOf(&["enforce", "monitor"])),
    ("sleepable-preload-size", Kind::Positive),
];

/// Booleans as the reference reads them.
const BOOLEANS: [&str; 12] = [
    "1", "t", "T", "true", "TRUE", "True", "0", "f", "F", "false", "FALSE", "False",
];

pub(super) fn check(checker: &mut Checker<'_>) {
    let options = &checker.policy.spec.options;
    for (index, option) in options.iter().enumerate() {
        let path = FieldPath::root().key("spec").key("options").index(index);
        let Some((_, kind)) = OPTIONS.iter().find(|(name, _)| *name == option.name) else {
            let names = OPTIONS.iter().map(|(name, _)| *name);
            let mut diagnostic = checker
                .warning(
                    codes::OPTION_UNKNOWN,
                    &path.key("name"),
                    format!("the option `{}` is ignored", option.name),
                )
                .label("unknown option");
            diagnostic = match closest(&option.name, names.clone()) {
                Some(name) => diagnostic.help(format!("did you mean `{name}`?")),
                None => diagnostic.help(format!("known options are {}", list(names))),
            };
            checker.report(diagnostic);
            continue;
        };
        let expected = match kind {
            Kind::Bool if BOOLEANS.contains(&option.value.as_str()) => continue,
            Kind::Bool => "expected `true` or `false`".to_owned(),
            Kind::OneOf(names) if names.contains(&option.value.as_str()) => continue,
            Kind::OneOf(names) => format!("expected one of {}", list(names.iter().copied())),
            Kind::Positive
                if value::integer(&option.value).is_some_and(|number| (1..=i128::from(u32::MAX)).contains(&number)) =>
            {
                continue;
            }
            Kind::Positive => "expected a number above 0".to_owned(),
        };
        let diagnostic = checker
            .error(
                codes::OPTION_VALUE,
                &path.key("value"),
                format!("`{}` is no value of the option `{}`", option.value, option.name),
            )
            .label(expected);
        checker.report(diagnostic);
    }
}
