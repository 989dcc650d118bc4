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
use super::{GenerateError, Generator, classifier, evaluates_all, helper};

/// More selectors, or values of paths, and there is no screen: it would take longer than what it saves.
const MAX_SELECTORS: usize = 16;
const MAX_VALUES: usize = 256;

/// Bytes of an end of a path.
const WORD: usize = 8;
/// From how many values on their bytes are looked at first, and how many different ones still tell most paths.
const LEAST_VALUES: usize = 4;
const MOST_BYTES: usize = 16;
/// `struct outline`
const OUTLINE_SIZE: u32 = 16;
const OUTLINE_HEAD: i32 = 0;
const OUTLINE_TAIL: i32 = 8;

/// A test of the path, and the filter it belongs to.
type PathTest<'p> = (&'p TextTest, &'p PlannedFilter);

/// What can be asked of selectors that have the same guards.
struct Screened<'p> {
    guards: Vec<&'p PlannedFilter>,
    /// Of each selector; without tests it may hold once the guards do.
    selectors: Vec<Vec<PathTest<'p>>>,
}

impl Screened<'_> {
    fn tests_all(&self) -> bool {
        self.selectors.iter().all(|tests| !tests.is_empty())
    }
}

/// The ends of a path, if any selector tests it.
#[derive(Clone, Copy)]
pub(super) struct Ends {
    head: Value,
    tail: Value,
}

impl<'a> Generator<'a> {
    /// Leaves if no selector can hold; else goes on in a new block.
    pub(super) fn screen(&mut self) -> Result<(), GenerateError> {
        let path = self.screened_path();
        if let Some(index) = self.index.clone() {
            return self.screen_by_index(&index, path);
        }
        let Some(groups) = self.screened(path) else {
            return Ok(());
        };
        let (go_on, leave) = (self.b.create_block(), self.b.create_block());
        let asks = groups
            .iter()
            .flat_map(|g| &g.guards)
            .any(|f| matches!(f.predicate, Predicate::Binary { .. }));
        let words = if asks { self.screened_words(go_on) } else { Vec::new() };
        let ends = match path {
            Some(path) if groups.iter().any(Screened::tests_all) => {
                let outline = self.b.create_block();
                if groups.iter().all(|g| !g.guards.is_empty()) {
                    self.screen_groups(&groups, &words, None, outline, go_on)?;
                    self.b.jump(leave);
                } else {
                    self.b.jump(outline);
                }
                self.b.switch_to(outline);
                Some(self.outline(path, go_on)?)
            }
            _ => None,
        };
        self.screen_groups(&groups, &words, ends, go_on, go_on)?;
        self.b.jump(leave);
        self.b.switch_to(leave);
        self.b.set_source(None);
        self.b.ret(0);
        self.b.switch_to(go_on);
        Ok(())
    }

    /// Goes to `may_hold` for the first selector with tests of which nothing that can be asked fails, to `holds` for one
    /// without; else on. Without `ends`, tests are not asked.
    fn screen_groups(
        &mut self,
        groups: &[Screened<'a>],
        words: &[Value],
        ends: Option<Ends>,
        may_hold: BlockId,
        holds: BlockId,
    ) -> Result<(), GenerateError> {
        for group in groups {
            let next_group = self.b.create_block();
            for guard in &group.guards {
                self.at(&guard.line);
                let passed = self.b.create_block();
                self.screen_guard(guard, words, passed, next_group)?;
                self.b.switch_to(passed);
            }
            match ends {
                _ if !group.tests_all() => self.b.jump(holds),
                None => self.b.jump(may_hold),
                Some(ends) => {
                    for tests in &group.selectors {
                        let next = self.b.create_block();
                        for (test, filter) in tests {
                            self.at(&filter.line);
                            let passed = self.b.create_block();
                            self.end_test(ends, test, passed, next);
                            self.b.switch_to(passed);
                        }
                        self.b.jump(may_hold);
                        self.b.switch_to(next);
                    }
                    self.b.jump(next_group);
                }
            }
            self.b.switch_to(next_group);
        }
        Ok(())
    }

    /// What can be asked of the selectors; `None` if there is one of which nothing can.
    fn screened(&self, path: Option<&'a Operand>) -> Option<Vec<Screened<'a>>> {
        let plan = self.plan;
        if !plan.instances.iter().all(|i| evaluates_all(i.role)) {
            return None;
        }
        let mut groups: Vec<Screened<'a>> = Vec::new();
        let (mut count, mut values) = (0, 0);
        for selector in plan.instances.iter().flat_map(|i| &i.selectors) {
            let guards: Vec<&PlannedFilter> = selector.cheap.iter().filter(|f| self.is_guard(f)).collect();
            let tests: Vec<PathTest<'a>> = selector.dear.iter().filter_map(|f| path_test(f, path)).collect();
            if guards.is_empty() && tests.is_empty() {
                return None;
            }
            count += 1;
            values += tests.iter().map(|(test, _)| test.values.len()).sum::<usize>();
            let predicates = |guards: &[&'a PlannedFilter]| guards.iter().map(|g| &g.predicate).collect::<Vec<_>>();
            match groups.iter_mut().find(|g| predicates(&g.guards) == predicates(&guards)) {
                Some(group) => group.selectors.push(tests),
                None => groups.push(Screened {
                    guards,
                    selectors: vec![tests],
                }),
            }
        }
        (count <= MAX_SELECTORS && values <= MAX_VALUES).then_some(groups)
    }

    /// Whether a cheap filter can be evaluated without scratch memory.
    pub(super) fn is_guard(&self, filter: &PlannedFilter) -> bool {
        match &filter.predicate {
            // copied registers are in the frame
            Predicate::Integer { operand, .. } => {
                // memory is what it takes to make a number of a pointer
                !operand.is_loaded()
                    && !self.is_pointer(operand)
                    && (self.places.registers.is_none() || !matches!(operand.source, OperandSource::Parameter(_)))
            }
            Predicate::Binary { .. } => filter.binary_bit.is_some(),
            Predicate::Pid { follow_forks, .. } => !follow_forks,
            Predicate::Namespace { .. }
            | Predicate::Capability { .. }
            | Predicate::NamespaceChange { .. }
            | Predicate::CapabilityChange { .. }
            | Predicate::Notified(_) => true,
            Predicate::Text { .. } | Predicate::FileType { .. } | Predicate::Sock { .. } | Predicate::Expression(_) => {
                false
            }
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
                && self.mount_at(operand).is_ok()
        };
        let tested = |operand: &Operand| {
            plan.instances
                .iter()
                .flat_map(|i| &i.selectors)
                .flat_map(|s| &s.dear)
                .any(|f| matches!(&f.predicate, Predicate::Text { .. }) && f.predicate.operand() == Some(operand))
        };
        let outlines = self.names_lie_in_dentries();
        plan.texts.iter().find(|o| outlines && can_follow(o) && tested(o))
    }

    /// Whether the kernel's `struct dentry` is as the outline takes it: around `d_parent`, with short names inside.
    fn names_lie_in_dentries(&self) -> bool {
        let at = |member: &str| self.offset("dentry", member).ok();
        let name = at("d_iname").or(at("d_shortname"));
        let expected = |distance: i32| at("d_parent").map(|parent| parent + distance);
        at("d_parent").is_some()
            && at("d_hash.pprev") == expected(-8)
            && at("d_name") == expected(8)
            && at("d_inode") == expected(24)
            && name == expected(32)
    }

    /// Offset of the mount in what a path's argument points to, and of what that points to in `struct mount`.
    fn mount_at(&self, path: &Operand) -> Result<(i32, i32), GenerateError> {
        let at = match path.argument_type {
            ArgumentType::File => self.offset("file", "f_path.mnt")?,
            _ => self.offset("path", "mnt")?,
        };
        Ok((at, self.offset("mount", "mnt")?))
    }

    /// Loads the words of stage 1, by their position in the plan; goes to `unknown` if one is not there.
    pub(super) fn screened_words(&mut self, unknown: BlockId) -> Vec<Value> {
        let plan = self.plan;
        // what tetra_process does, without the call
        let pid_tgid = self.b.call_helper(helper::GET_CURRENT_PID_TGID, &[]);
        let tgid = self.b.alu(AluOp::Rsh, Width::W64, pid_tgid, 32i64);
        let key = self.b.stack_slot(8);
        let key = self.b.stack_addr(key);
        self.b.store(key, 0, Size::B8, tgid);
        let map = self.b.map_ref(ebpf::maps::PROCESSES.name);
        let process = self.b.call_helper_typed(
            helper::MAP_LOOKUP_ELEM,
            &[map.into(), key.into()],
            Type::MapValueOrNull { size: PROCESS_SIZE },
        );
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
    pub(super) fn outline(&mut self, path: &Operand, unknown: BlockId) -> Result<Ends, GenerateError> {
        let is_file = path.argument_type == ArgumentType::File;
        let mut pointer = self.raw(path)?;
        if !matches!(self.b.type_of(pointer), Type::Trusted(_)) {
            pointer = self.cast_to(pointer, if is_file { "file" } else { "path" })?;
        }
        // the verifier may be wrong about a pointer that it takes for valid (see may_be_null in ebpf/c/bpf.h)
        let low = self.b.low32(pointer);
        self.require(CmpOp::Ne, low, 0, unknown);
        let (at, within) = self.mount_at(path)?;
        let mount = self.b.load_kernel(pointer, at, Size::B8, false);
        let mut mount = self.b.alu(AluOp::Sub, Width::W64, mount, i64::from(within));
        let can_cast = self.cast().is_some();
        if can_cast {
            mount = self.cast_to(mount, "mount")?;
        }
        let function = match (is_file, can_cast) {
            (true, true) => "tetra_outline_file_trusted",
            (true, false) => "tetra_outline_file",
            (false, true) => "tetra_outline_path_trusted",
            (false, false) => "tetra_outline_path",
        };
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
    pub(super) fn end_test(&mut self, ends: Ends, test: &TextTest, yes: BlockId, no: BlockId) {
        if let Some((at, bytes)) = telling_bytes(test) {
            let end = match test.comparison {
                TextComparison::Prefix => ends.head,
                _ => ends.tail,
            };
            let byte = self.b.alu(AluOp::Rsh, Width::W64, end, at as i64 * 8);
            let byte = self.b.alu(AluOp::And, Width::W64, byte, 63i64);
            let set = self.b.const_(bytes as i64);
            let set = self.b.alu(AluOp::Rsh, Width::W64, set, byte);
            let among = self.b.create_block();
            self.b.branch(CmpOp::Set, Width::W64, set, 1i64, among, no);
            self.b.switch_to(among);
        }
        let mut by_length: BTreeMap<usize, BTreeSet<u64>> = BTreeMap::new();
        for value in &test.values {
            let end = end(test.comparison, value);
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

/// A filter as a test of the outline of `path`, if it is one.
fn path_test<'p>(filter: &'p PlannedFilter, path: Option<&Operand>) -> Option<PathTest<'p>> {
    match &filter.predicate {
        Predicate::Text {
            operand,
            test,
            negated: false,
        } if path == Some(operand) && test.comparison.is_anchored() && test.values.iter().all(|v| !v.is_empty()) => {
            Some((test, filter))
        }
        _ => None,
    }
}

/// Where most other paths differ from all values, as a byte of the end that is compared, and which bytes the values have there,
/// modulo 64, as a set. `None` if comparing is as cheap, or it tells little.
fn telling_bytes(test: &TextTest) -> Option<(usize, u64)> {
    let ends: Vec<&[u8]> = test.values.iter().map(|value| end(test.comparison, value)).collect();
    let shortest = ends.iter().map(|end| end.len()).min()?;
    let is_prefix = test.comparison == TextComparison::Prefix;
    let places = if is_prefix { 0..shortest } else { WORD - shortest..WORD };
    let byte = |end: &[u8], at: usize| if is_prefix { end[at] } else { end[end.len() + at - WORD] };
    places
        .map(|at| {
            let bytes: BTreeSet<u8> = ends.iter().map(|end| byte(end, at)).collect();
            // nearly every path has slashes
            let weight = bytes.len() + if bytes.contains(&b'/') { MOST_BYTES } else { 0 };
            (weight, at, bytes.iter().fold(0u64, |set, byte| set | 1 << (byte % 64)))
        })
        .min()
        .filter(|(weight, ..)| *weight <= MOST_BYTES && ends.len() >= LEAST_VALUES)
        .map(|(_, at, set)| (at, set))
}

/// What is compared of a value: with the head of the path for a prefix, else with its tail.
fn end(comparison: TextComparison, value: &[u8]) -> &[u8] {
    match comparison {
        TextComparison::Prefix => &value[..value.len().min(WORD)],
        _ => tail(value),
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
