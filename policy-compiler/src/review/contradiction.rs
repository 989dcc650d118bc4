//! Filters that nothing satisfies: alone, or together with others of the selector.

use std::cmp::Ordering;

use crate::codes;
use crate::hir::{Filter, IntegerTest, Operand, Predicate, TextComparison, TextTest};
use crate::resolve::integer_width;

use super::{Finding, Subject};

pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    for selector in &subject.hook.selectors {
        for filters in [&selector.filters, &selector.return_filters] {
            if let Some(conflict) = never_holds(filters) {
                let last = &filters[conflict.last];
                let mut finding = Finding::warning(
                    codes::FILTER_NEVER_HOLDS,
                    subject.span(&last.line),
                    if conflict.first == conflict.last {
                        "no value satisfies this filter, so the selector never matches"
                    } else {
                        "no value satisfies this filter and an earlier one, and all of a selector's must hold: it never matches"
                    },
                    "a filter's values are alternatives, filters are not: put alternatives into one filter, or into a selector each",
                );
                if conflict.first != conflict.last {
                    finding.because = Some((subject.span(&filters[conflict.first].line), "the earlier one"));
                }
                findings.push(finding);
            }
            findings.extend(filters.iter().filter_map(|filter| relative_path(subject, filter)));
        }
    }
}

/// The kernel's paths are absolute (but for those of objects without one, such as `socket:[1]`), so nothing begins with a dot.
fn relative_path(subject: &Subject<'_>, filter: &Filter) -> Option<Finding> {
    let Predicate::Text { operand, test, .. } = &filter.predicate else {
        return None;
    };
    if !operand.is_path() || !matches!(test.comparison, TextComparison::Equal | TextComparison::Prefix) {
        return None;
    }
    let value = test.values.iter().find(|value| value.starts_with(b"."))?;
    Some(Finding::warning(
        codes::FILTER_NEVER_HOLDS,
        subject.span(&filter.line),
        format!(
            "no path begins with `{}`: the kernel's paths are absolute",
            String::from_utf8_lossy(value)
        ),
        "use `operator: Postfix` for the end of a path",
    ))
}

/// Two filters of a selector that exclude each other, by position; the same twice: one that nothing satisfies.
pub(super) struct Conflict {
    first: usize,
    last: usize,
}

/// Whether filters cannot hold together. `None` if they can, or that is not known.
pub(super) fn never_holds(filters: &[Filter]) -> Option<Conflict> {
    (0..filters.len()).find_map(|last| {
        let conflicting = (0..=last).find(|first| {
            let (a, b) = (&filters[*first].predicate, &filters[last].predicate);
            if *first == last { is_empty(a) } else { exclude(a, b) }
        });
        conflicting.map(|first| Conflict { first, last })
    })
}

fn is_empty(predicate: &Predicate) -> bool {
    match predicate {
        Predicate::Integer { operand, test, negated } => {
            ranges(operand, test, *negated).is_some_and(|ranges| ranges.is_empty())
        }
        _ => false,
    }
}

fn exclude(a: &Predicate, b: &Predicate) -> bool {
    match (a, b) {
        (
            Predicate::Integer {
                operand: of_a,
                test: a,
                negated: not_a,
            },
            Predicate::Integer {
                operand: of_b,
                test: b,
                negated: not_b,
            },
        ) if of_a == of_b => match (ranges(of_a, a, *not_a), ranges(of_b, b, *not_b)) {
            (Some(a), Some(b)) => !a.iter().any(|(low, high)| b.iter().any(|(l, h)| low <= h && l <= high)),
            // of bit tests only the opposites are compared
            _ => a == b && not_a != not_b,
        },
        (
            Predicate::Text {
                operand: of_a,
                test: a,
                negated: not_a,
            },
            Predicate::Text {
                operand: of_b,
                test: b,
                negated: not_b,
            },
        ) if of_a == of_b => texts_exclude((a, *not_a), (b, *not_b)),
        (
            Predicate::FileType {
                operand: of_a,
                types: a,
                negated: not_a,
            },
            Predicate::FileType {
                operand: of_b,
                types: b,
                negated: not_b,
            },
        ) if of_a == of_b => sets_exclude((a, *not_a), (b, *not_b)),
        (
            Predicate::Binary {
                test: a,
                negated: not_a,
            },
            Predicate::Binary {
                test: b,
                negated: not_b,
            },
        ) => texts_exclude((a, *not_a), (b, *not_b)),
        (
            Predicate::Namespace {
                namespace: of_a,
                values: a,
                negated: not_a,
            },
            Predicate::Namespace {
                namespace: of_b,
                values: b,
                negated: not_b,
            },
        ) if of_a == of_b => sets_exclude((a, *not_a), (b, *not_b)),
        (
            Predicate::Pid {
                values: a,
                is_namespace_pid: in_a,
                follow_forks: false,
                negated: not_a,
            },
            Predicate::Pid {
                values: b,
                is_namespace_pid: in_b,
                follow_forks: false,
                negated: not_b,
            },
        ) if in_a == in_b => sets_exclude((a, *not_a), (b, *not_b)),
        _ => false,
    }
}

fn sets_exclude<T: PartialEq>(a: (&[T], bool), b: (&[T], bool)) -> bool {
    match (a, b) {
        ((a, false), (b, false)) => !a.iter().any(|value| b.contains(value)),
        ((a, false), (b, true)) | ((b, true), (a, false)) => a.iter().all(|value| b.contains(value)),
        _ => false,
    }
}

fn texts_exclude(a: (&TextTest, bool), b: (&TextTest, bool)) -> bool {
    use TextComparison::{Equal, Postfix, Prefix};
    match (a, b) {
        ((a, false), (b, false)) => match (a.comparison, b.comparison) {
            (Equal, _) => !a.values.iter().any(|value| accepts(b, value)),
            (_, Equal) => !b.values.iter().any(|value| accepts(a, value)),
            (Prefix, Prefix) => apart(a, b, <[u8]>::starts_with),
            (Postfix, Postfix) => apart(a, b, <[u8]>::ends_with),
            _ => false,
        },
        ((a, false), (b, true)) | ((b, true), (a, false)) => {
            a.values.iter().all(|value| match (a.comparison, b.comparison) {
                (Equal, _) => accepts(b, value),
                (Prefix, Prefix) | (Postfix, Postfix) => accepts(b, value),
                _ => false,
            })
        }
        _ => false,
    }
}

/// Whether no value of one goes on from a value of the other.
fn apart(a: &TextTest, b: &TextTest, goes_on: impl Fn(&[u8], &[u8]) -> bool) -> bool {
    !a.values
        .iter()
        .any(|a| b.values.iter().any(|b| goes_on(a, b) || goes_on(b, a)))
}

fn accepts(test: &TextTest, text: &[u8]) -> bool {
    crate::interpret::text(test, text)
}

/// The values that satisfy a numeric test, as ascending ranges with their bounds; `None` for those that are no ranges.
fn ranges(operand: &Operand, test: &IntegerTest, negated: bool) -> Option<Vec<(i128, i128)>> {
    let (bits, signed) = integer_width(operand.argument_type)?;
    let number = |value: u64| {
        if signed {
            i128::from(value as i64)
        } else {
            i128::from(value)
        }
    };
    let (least, greatest) = if signed {
        (-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1)
    } else {
        (0, (1i128 << bits) - 1)
    };
    let mut accepted: Vec<(i128, i128)> = match test {
        IntegerTest::Equal(values) => values.iter().map(|v| (number(*v), number(*v))).collect(),
        IntegerTest::Above(bound) => vec![(number(*bound) + 1, greatest)],
        IntegerTest::Below(bound) => vec![(least, number(*bound) - 1)],
        IntegerTest::Within(ranges) => ranges.iter().map(|(low, high)| (number(*low), number(*high))).collect(),
        IntegerTest::Mask(0) => Vec::new(),
        IntegerTest::Mask(_) => return None,
    };
    accepted.retain(|(low, high)| low.cmp(high) != Ordering::Greater);
    accepted.sort_unstable();
    if !negated {
        return Some(accepted);
    }
    let mut rejected = Vec::new();
    let mut next = least;
    for (low, high) in accepted {
        if next < low {
            rejected.push((next, low - 1));
        }
        next = next.max(high + 1);
    }
    if next <= greatest {
        rejected.push((next, greatest));
    }
    Some(rejected)
}
