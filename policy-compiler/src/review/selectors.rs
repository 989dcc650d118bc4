//! Selectors that an earlier one of the same hook always beats.

use crate::codes;
use crate::hir::{Filter, IntegerTest, Predicate, Selector, TextComparison, TextTest};

use super::{Finding, Subject, contradiction};

pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let selectors = &subject.hook.selectors;
    for (i, later) in selectors.iter().enumerate() {
        let Some(earlier) = selectors[..i].iter().find(|earlier| holds_whenever(earlier, later)) else {
            continue;
        };
        if contradiction::never_holds(&later.filters).is_some() {
            continue; // that is the reason, and said there
        }
        let message = if earlier.filters.is_empty() {
            "this selector never wins: an earlier one has no filters, so it matches every call, and the first match wins"
        } else {
            "this selector never wins: whenever it matches, an earlier one does, and the first match wins"
        };
        let mut finding = Finding::warning(
            codes::SELECTOR_NEVER_WINS,
            subject.span(&later.line),
            message,
            "put the narrower selector first",
        );
        finding.because = Some((subject.span(&earlier.line), "this one wins"));
        findings.push(finding);
    }
}

/// Whether `earlier` holds whenever `later` does: each of its filters follows from one of the other's.
fn holds_whenever(earlier: &Selector, later: &Selector) -> bool {
    let follows = |wanted: &Filter| later.filters.iter().any(|f| implies(&f.predicate, &wanted.predicate));
    earlier.filters.iter().all(follows)
}

/// Whether `b` follows from `a`; `false` if that is not known.
fn implies(a: &Predicate, b: &Predicate) -> bool {
    if a == b {
        return true;
    }
    match (a, b) {
        (
            Predicate::Text {
                operand: of_a,
                test: a,
                negated: false,
            },
            Predicate::Text {
                operand: of_b,
                test: b,
                negated: false,
            },
        ) if of_a == of_b => text_implies(a, b),
        (
            Predicate::Binary {
                test: a,
                negated: false,
            },
            Predicate::Binary {
                test: b,
                negated: false,
            },
        ) => text_implies(a, b),
        (
            Predicate::Integer {
                operand: of_a,
                test: IntegerTest::Equal(a),
                negated: false,
            },
            Predicate::Integer {
                operand: of_b,
                test: IntegerTest::Equal(b),
                negated: false,
            },
        ) if of_a == of_b => a.iter().all(|value| b.contains(value)),
        _ => false,
    }
}

/// Whether every text that one test accepts is accepted by the other.
fn text_implies(a: &TextTest, b: &TextTest) -> bool {
    use TextComparison::{Equal, Postfix, Prefix};
    a.values.iter().all(|a_value| {
        b.values.iter().any(|b_value| match (a.comparison, b.comparison) {
            (Equal, Equal) => a_value == b_value,
            (Equal | Prefix, Prefix) => a_value.starts_with(b_value),
            (Equal | Postfix, Postfix) => a_value.ends_with(b_value),
            _ => false,
        })
    })
}
