//! Which parts of the language the calls of a run have reached, with which outcome.

use std::collections::BTreeMap;
use std::fmt;

use policy_compiler::hir::{Hook, IntegerTest, OperandSource, Predicate, SockTest};
use policy_compiler::interpret::{self, Call, Selection, Truth};

use super::arena::Arena;

/// Counts by operator and type, and by hook kind and action.
#[derive(Default)]
pub(crate) struct Coverage {
    /// No, undecided, yes.
    operators: BTreeMap<(String, String), [u64; 3]>,
    actions: BTreeMap<String, u64>,
    selections: [u64; 3],
}

impl Coverage {
    /// Takes note of one call of one hook.
    pub(crate) fn note(&mut self, _arena: &Arena, hook: &Hook, call: &Call) {
        for selector in &hook.selectors {
            for filter in selector.filters.iter().chain(&selector.return_filters) {
                let column = match interpret::holds(&filter.predicate, call) {
                    Truth::No => 0,
                    Truth::Undecided => 1,
                    Truth::Yes => 2,
                };
                self.operators.entry(name(&filter.predicate)).or_default()[column] += 1;
            }
        }
        match interpret::select(hook, call) {
            Selection::None => self.selections[0] += 1,
            Selection::Undecided => self.selections[1] += 1,
            Selection::Selector(selector) => {
                self.selections[2] += 1;
                let effects = interpret::act(hook, selector, false);
                let monitored = interpret::act(hook, selector, true);
                for (action, done) in [
                    ("post", effects.post.is_some()),
                    ("no post", effects.post.is_none()),
                    ("rate limit", effects.post.is_some_and(|post| post.rate_limit.is_some())),
                    ("kernel stack", effects.post.is_some_and(|post| post.kernel_stack)),
                    ("user stack", effects.post.is_some_and(|post| post.user_stack)),
                    ("signal", !effects.signals.is_empty()),
                    ("override", effects.override_errno.is_some()),
                    (
                        "monitor",
                        !monitored.monitored_signals.is_empty() || monitored.monitored_override,
                    ),
                ] {
                    *self.actions.entry(action.to_owned()).or_default() += u64::from(done);
                }
            }
        }
    }
}

/// Operator and type of a predicate.
fn name(predicate: &Predicate) -> (String, String) {
    let sign = |negated: bool, text: &str| if negated { format!("Not{text}") } else { text.to_owned() };
    match predicate {
        // what a task says of itself is the same in all calls
        predicate
            if predicate
                .operand()
                .is_some_and(|o| matches!(o.source, OperandSource::Chain(_))) =>
        {
            ("any".to_owned(), "matchData".to_owned())
        }
        Predicate::Integer { operand, test, negated } => {
            let operator = match test {
                IntegerTest::Equal(_) => "Equal",
                IntegerTest::Above(_) => "GT",
                IntegerTest::Below(_) => "LT",
                IntegerTest::Mask(_) => "Mask",
                IntegerTest::Within(_) => "InRange",
            };
            (sign(*negated, operator), format!("{:?}", operand.argument_type))
        }
        Predicate::Text { operand, test, negated } => (
            sign(*negated, &format!("{:?}", test.comparison)),
            format!("{:?}", operand.argument_type),
        ),
        Predicate::FileType { operand, negated, .. } => {
            (sign(*negated, "FileType"), format!("{:?}", operand.argument_type))
        }
        Predicate::Sock { operand, test, negated } => {
            let operator = match test {
                SockTest::Address(side, _) => format!("{side:?}Addr"),
                SockTest::Port(side, _) => format!("{side:?}Port"),
                SockTest::Protocol(_) => "Protocol".to_owned(),
                SockTest::Family(_) => "Family".to_owned(),
                SockTest::State(_) => "State".to_owned(),
            };
            (sign(*negated, &operator), format!("{:?}", operand.argument_type))
        }
        Predicate::Binary { test, negated } => (
            sign(*negated, &format!("{:?}", test.comparison)),
            "matchBinaries".into(),
        ),
        Predicate::Pid {
            is_namespace_pid,
            follow_forks,
            negated,
            ..
        } => {
            let of = match (is_namespace_pid, follow_forks) {
                (false, false) => "matchPIDs",
                (true, false) => "matchPIDs namespaced",
                (false, true) => "matchPIDs followForks",
                (true, true) => "matchPIDs followForks namespaced",
            };
            (sign(*negated, "In"), of.into())
        }
        Predicate::Namespace { negated, .. } => (sign(*negated, "In"), "matchNamespaces".into()),
        Predicate::Expression(_) => ("CelExpr".to_owned(), "any".into()),
        Predicate::NamespaceChange { .. } => ("any".to_owned(), "matchNamespaceChanges".into()),
        Predicate::CapabilityChange { negated, .. } => (sign(*negated, "In"), "matchCapabilityChanges".into()),
        Predicate::Notified(_) => ("NotifyEnforcer".into(), "enforcers".into()),
        Predicate::Capability { negated, .. } => (sign(*negated, "In"), "matchCapabilities".into()),
    }
}

impl Coverage {
    /// One line for each operator on a type and for each action, for whoever sums up several hooks: the hook's kind, what it is,
    /// and how often it held, did not hold, and could not be told.
    pub(crate) fn lines(&self, kind: &str) -> String {
        let operators = self.operators.iter().map(|((operator, of), [no, undecided, yes])| {
            format!("{kind}\t{of}\t{operator}\t{yes}\t{no}\t{undecided}\n")
        });
        let actions = self
            .actions
            .iter()
            .map(|(action, count)| format!("{kind}\taction\t{action}\t{count}\t0\t0\n"));
        operators.chain(actions).collect()
    }

    /// Takes in what another process has covered, as [`Self::lines`] has it.
    pub(crate) fn add(&mut self, lines: &str) {
        for line in lines.lines() {
            let [_, of, operator, counts @ ..] = &line.split('\t').collect::<Vec<_>>()[..] else {
                panic!("`{line}` is no line of a table");
            };
            let counts: Vec<u64> = counts.iter().map(|count| count.parse().expect("a count")).collect();
            let [yes, no, undecided] = counts[..] else {
                panic!("`{line}` has not three counts");
            };
            if *of == "action" {
                *self.actions.entry((*operator).to_owned()).or_default() += yes;
                continue;
            }
            let name = ((*operator).to_owned(), (*of).to_owned());
            for (sum, count) in self
                .operators
                .entry(name)
                .or_default()
                .iter_mut()
                .zip([no, undecided, yes])
            {
                *sum += count;
            }
        }
    }

    /// Operators that never held or always did, and those on user memory that was always readable.
    pub(crate) fn holes(&self, arena: &Arena) -> Vec<String> {
        let may_be_unreadable = |of: &str| match of {
            "String" => true,
            "Sockaddr" => arena.is_syscall(),
            _ => false,
        };
        let holes = self.operators.iter().filter(|((_, of), [no, undecided, yes])| {
            of != "matchData" && (*no == 0 || *yes == 0) || (*undecided == 0 && may_be_unreadable(of))
        });
        holes
            .map(|((operator, of), [no, undecided, yes])| {
                format!("{of} {operator}: yes {yes}, no {no}, undecided {undecided}")
            })
            .collect()
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [none, undecided, selected] = self.selections;
        writeln!(
            f,
            "selections: {none} none, {undecided} undecided, {selected} selectors"
        )?;
        for (action, count) in &self.actions {
            write!(f, "  {action} {count}")?;
        }
        writeln!(
            f,
            "\n{:<34} {:<18} {:>8} {:>8} {:>9}",
            "type", "operator", "yes", "no", "undecided"
        )?;
        let mut rows: Vec<_> = self
            .operators
            .iter()
            .map(|((operator, of), counts)| (of, operator, counts))
            .collect();
        rows.sort();
        for (of, operator, [no, undecided, yes]) in rows {
            writeln!(f, "{of:<34} {operator:<18} {yes:>8} {no:>8} {undecided:>9}")?;
        }
        Ok(())
    }
}
