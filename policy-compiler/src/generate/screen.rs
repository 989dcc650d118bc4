//! The screen: where it is soon clear that no selector can hold, the program leaves before it takes memory or builds a text.
//!
//! It asks each selector for the filters that need neither: those on registers, the process and its credentials, and for a path
//! its [outline](../../../ebpf/c/runtime/outline.h), that is its first and last bytes. The first selector that may hold sends
//! the call to the program proper, which decides from the beginning. So a screen may let a call through for nothing, but has
//! no say in what matches, and keeps no state.

use std::collections::{BTreeMap, BTreeSet};

use crate::hir::{Operand, OperandSource, Predicate, TextComparison, TextTest};
use crate::ir::{AluOp, BlockId, CmpOp, Size, Type, Value, Width};
use crate::output::ArgumentType;
use crate::plan::PlannedFilter;

use super::decide::Outcomes;
use super::layout::{PROCESS_POLICY_WORDS, PROCESS_SIZE};
use super::{GenerateError, Generator, classifier, evaluates_all};

/// More selectors, or values of paths, and there is no screen: it would take longer than what it saves.
const MAX_SELECTORS: usize = 16;
const MAX_VALUES: usize = 256;

/// Bytes of an end of a path.
const WORD: usize = 8;
/// `struct outline`
const OUTLINE_SIZE: u32 = 16;
const OUTLINE_HEAD: i32 = 0;
const OUTLINE_TAIL: i32 = 8;

/// What can be asked of a selector.
struct Screened<'p> {
    guards: Vec<&'p PlannedFilter>,
    tests: Vec<(&'p TextTest, &'p PlannedFilter)>,
}

/// The ends of a path, if any selector tests it.
#[derive(Clone, Copy)]
struct Ends {
    head: Value,
    tail: Value,
}

impl<'a> Generator<'a> {
    /// Leaves if no selector can hold; else goes on in a new block.
    pub(super) fn screen(&mut self) -> Result<(), GenerateError> {
        let path = self.screened_path();
        let Some(selectors) = self.screened(path) else {
            return Ok(());
        };
        let (go_on, leave) = (self.b.create_block(), self.b.create_block());
        let words = self.screened_words(&selectors, go_on);
        let ends = match path {
            Some(path) if selectors.iter().any(|s| !s.tests.is_empty()) => {
                let outline = self.b.create_block();
                if selectors.iter().all(|s| !s.guards.is_empty()) {
                    self.screen_selectors(&selectors, &words, None, outline, go_on)?;
                    self.b.jump(leave);
                } else {
                    self.b.jump(outline);
                }
                self.b.switch_to(outline);
                Some(self.outline(path, go_on)?)
            }
            _ => None,
        };
        self.screen_selectors(&selectors, &words, ends, go_on, go_on)?;
        self.b.jump(leave);
        self.b.switch_to(leave);
        self.b.set_source(None);
        self.b.ret(0);
        self.b.switch_to(go_on);
        Ok(())
    }

    /// Goes to `may_hold` for the first selector with tests of which nothing that can be asked fails, to `holds` for one
    /// without; else on. Without `ends`, tests are not asked.
    fn screen_selectors(
        &mut self,
        selectors: &[Screened<'a>],
        words: &[Value],
        ends: Option<Ends>,
        may_hold: BlockId,
        holds: BlockId,
    ) -> Result<(), GenerateError> {
        for selector in selectors {
            let next = self.b.create_block();
            for guard in &selector.guards {
                self.at(&guard.line);
                let passed = self.b.create_block();
                self.screen_guard(guard, words, passed, next)?;
                self.b.switch_to(passed);
            }
            for (test, filter) in selector.tests.iter().filter(|_| ends.is_some()) {
                let Some(ends) = ends else { continue };
                self.at(&filter.line);
                let passed = self.b.create_block();
                self.end_test(ends, test, passed, next);
                self.b.switch_to(passed);
            }
            self.b.jump(if selector.tests.is_empty() { holds } else { may_hold });
            self.b.switch_to(next);
        }
        Ok(())
    }

    /// What can be asked of each selector; `None` if there is one of which nothing can.
    fn screened(&self, path: Option<&'a Operand>) -> Option<Vec<Screened<'a>>> {
        let plan = self.plan;
        if !plan.instances.iter().all(|i| evaluates_all(i.role)) {
            return None;
        }
        let selectors: Vec<Screened<'a>> = plan
            .instances
            .iter()
            .flat_map(|i| &i.selectors)
            .map(|selector| Screened {
                guards: selector.cheap.iter().filter(|f| self.is_guard(f)).collect(),
                tests: selector
                    .dear
                    .iter()
                    .filter_map(|f| match &f.predicate {
                        Predicate::Text {
                            operand,
                            test,
                            negated: false,
                        } if path == Some(operand) && test.values.iter().all(|v| !v.is_empty()) => Some((test, f)),
                        _ => None,
                    })
                    .collect(),
            })
            .collect();
        let values: usize = selectors
            .iter()
            .flat_map(|s| &s.tests)
            .map(|(test, _)| test.values.len())
            .sum();
        let worth_it = selectors.len() <= MAX_SELECTORS
            && values <= MAX_VALUES
            && selectors.iter().all(|s| !s.guards.is_empty() || !s.tests.is_empty());
        worth_it.then_some(selectors)
    }

    /// Whether a cheap filter can be evaluated without scratch memory.
    fn is_guard(&self, filter: &PlannedFilter) -> bool {
        match &filter.predicate {
            // copied registers are in the frame
            Predicate::Integer { operand, .. } => {
                self.places.registers.is_none() || !matches!(operand.source, OperandSource::Parameter(_))
            }
            Predicate::Binary { .. } => filter.binary_bit.is_some(),
            Predicate::Pid { follow_forks, .. } => !follow_forks,
            Predicate::Namespace { .. } | Predicate::Capability { .. } => true,
            Predicate::Text { .. } | Predicate::Sock { .. } => false,
        }
    }

    /// The path whose outline is looked at: the first that filters test and that can be followed through pointers.
    fn screened_path(&self) -> Option<&'a Operand> {
        let plan = self.plan;
        let can_follow = |operand: &Operand| {
            matches!(operand.argument_type, ArgumentType::File | ArgumentType::Path)
                && matches!(operand.source, OperandSource::Parameter(_))
                && self.places.registers.is_none()
                && (self.is_trusted(operand) || self.cast().is_some())
        };
        let tested = |operand: &Operand| {
            plan.instances
                .iter()
                .flat_map(|i| &i.selectors)
                .flat_map(|s| &s.dear)
                .any(|f| matches!(&f.predicate, Predicate::Text { .. }) && f.predicate.operand() == Some(operand))
        };
        plan.texts.iter().find(|o| can_follow(o) && tested(o))
    }

    /// Loads the words of stage 1 that guards look at, by their position in the plan; goes to `unknown` if one is not there.
    fn screened_words(&mut self, selectors: &[Screened<'a>], unknown: BlockId) -> Vec<Value> {
        let plan = self.plan;
        let asks = selectors
            .iter()
            .flat_map(|s| &s.guards)
            .any(|f| matches!(f.predicate, Predicate::Binary { .. }));
        if !asks {
            return Vec::new();
        }
        let process = self
            .b
            .call_runtime_typed("tetra_process", &[], Type::MapValueOrNull { size: PROCESS_SIZE });
        self.require(CmpOp::Ne, process, 0, unknown);
        let mut words = Vec::new();
        for word in &plan.binary_words {
            let at = PROCESS_POLICY_WORDS + word.word as i32 * 8;
            let stored = self.b.load(process, at, Size::B8);
            let stamp = self.b.alu(AluOp::Rsh, Width::W64, stored, 32i64);
            self.require(CmpOp::Eq, stamp, i64::from(word.stamp), unknown);
            words.push(stored);
        }
        words
    }

    fn screen_guard(
        &mut self,
        guard: &PlannedFilter,
        words: &[Value],
        yes: BlockId,
        no: BlockId,
    ) -> Result<(), GenerateError> {
        if let (Predicate::Binary { negated, .. }, Some(bit)) = (&guard.predicate, guard.binary_bit) {
            let position = self.plan.binary_words.iter().position(|w| w.word == bit.word);
            let Some(bits) = position.and_then(|p| words.get(p).copied()) else {
                self.b.jump(yes);
                return Ok(());
            };
            self.bit_test(bits, bit, *negated, yes, no);
            return Ok(());
        }
        let to = Outcomes {
            yes,
            no,
            undecided: yes,
        };
        self.filter(guard, to)
    }

    /// Loads the ends of a path; goes to `unknown` if they do not tell.
    fn outline(&mut self, path: &Operand, unknown: BlockId) -> Result<Ends, GenerateError> {
        let is_file = path.argument_type == ArgumentType::File;
        let mut pointer = self.raw(path)?;
        if !matches!(self.b.type_of(pointer), Type::Trusted(_)) {
            pointer = self.cast_to(pointer, if is_file { "file" } else { "path" })?;
        }
        let beginning = if is_file {
            "tetra_file_mount"
        } else {
            "tetra_path_mount"
        };
        let mut mount = self.call(beginning, &[pointer.into()]);
        self.require(CmpOp::Ne, mount, 0, unknown);
        let mut function = match is_file {
            true => "tetra_outline_file",
            false => "tetra_outline_path",
        };
        if self.cast().is_some() {
            mount = self.cast_to(mount, "mount")?;
            function = match is_file {
                true => "tetra_outline_file_trusted",
                false => "tetra_outline_path_trusted",
            };
        }
        let slot = self.b.stack_slot(OUTLINE_SIZE);
        let outline = self.b.stack_addr(slot);
        let told = self.call(function, &[outline.into(), pointer.into(), mount.into()]);
        self.require_result_not(CmpOp::Eq, told, 0, unknown);
        Ok(Ends {
            head: self.b.load(outline, OUTLINE_HEAD, Size::B8),
            tail: self.b.load(outline, OUTLINE_TAIL, Size::B8),
        })
    }

    /// `bpf_rdonly_cast`, from 6.2.
    fn cast(&self) -> Option<u32> {
        self.facts.btf.function("bpf_rdonly_cast").map(|f| f.id.0)
    }

    /// An address as a pointer to a kernel struct that programs may read through: a fault reads zero.
    fn cast_to(&mut self, address: Value, to: &str) -> Result<Value, GenerateError> {
        let cast = self
            .cast()
            .ok_or_else(|| GenerateError::MissingType("bpf_rdonly_cast".into()))?;
        let to = self.member_type(to)?.0;
        Ok(self
            .b
            .call_kfunc_typed(cast, &[address.into(), to.into()], Type::Trusted(to)))
    }

    /// Branches on whether a path with these ends may have one of the values.
    fn end_test(&mut self, ends: Ends, test: &TextTest, yes: BlockId, no: BlockId) {
        let mut by_length: BTreeMap<usize, BTreeSet<u64>> = BTreeMap::new();
        for value in &test.values {
            let end = match test.comparison {
                TextComparison::Prefix => &value[..value.len().min(WORD)],
                TextComparison::Equal | TextComparison::Postfix => tail(value),
            };
            let mut word = [0; WORD];
            // at the top
            word[WORD - end.len()..].copy_from_slice(end);
            by_length
                .entry(end.len())
                .or_default()
                .insert(u64::from_le_bytes(word) >> ((WORD - end.len()) * 8));
        }
        for (length, words) in by_length {
            let next = self.b.create_block();
            let words: Vec<u64> = words.into_iter().collect();
            let missing = ((WORD - length) * 8) as i64;
            let compared = match test.comparison {
                _ if missing == 0 && test.comparison == TextComparison::Prefix => ends.head,
                _ if missing == 0 => ends.tail,
                TextComparison::Prefix => {
                    let high = self.b.alu(AluOp::Lsh, Width::W64, ends.head, missing);
                    self.b.alu(AluOp::Rsh, Width::W64, high, missing)
                }
                _ => self.b.alu(AluOp::Rsh, Width::W64, ends.tail, missing),
            };
            classifier::search(&mut self.b, compared, &words, &|_| yes, next);
            self.b.switch_to(next);
        }
        self.b.jump(no);
    }
}

/// The end of a value that a path's last component must have: not more than a word, and nothing before its last slash.
fn tail(value: &[u8]) -> &[u8] {
    let component = value.iter().rposition(|b| *b == b'/').unwrap_or(0);
    &value[component.max(value.len().saturating_sub(WORD))..]
}

#[cfg(test)]
mod tests {
    use super::tail;

    #[test]
    fn a_tail_is_within_the_last_component() {
        assert_eq!(tail(b".bashrc"), b".bashrc");
        assert_eq!(tail(b".bash_profile"), b"_profile");
        assert_eq!(tail(b"/bin/sh"), b"/sh");
        assert_eq!(tail(b"/etc/shadow"), b"/shadow");
        assert_eq!(tail(b"/etc/gshadow"), b"/gshadow");
        assert_eq!(tail(b"/etc/passwords"), b"asswords");
        assert_eq!(tail(b"dir/"), b"/");
    }
}
