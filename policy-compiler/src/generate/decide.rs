//! The cheap phase and the decision: which selector of each instance wins.

use ebpf::record::PolicyCounter;

use crate::attach::{Role, reads_user_memory};
use crate::hir::{Predicate, TextTest};
use crate::ir::{AluOp, BlockId, CmpOp, Operand as IrOperand, Size, Width};
use crate::plan::{Instance, PlannedFilter};

use super::groups::Group;
use super::layout::TEXT_MODE;
use super::{GenerateError, Generator, evaluates_all, state, taken, winner};

/// Bits of the mode of an inode that are the type of the file (`include/uapi/linux/stat.h`).
const S_IFMT: i64 = 0o170_000;

/// Where evaluation goes on.
#[derive(Clone, Copy)]
pub(super) struct Outcomes {
    pub(super) yes: BlockId,
    pub(super) no: BlockId,
    /// User memory could not be read.
    pub(super) undecided: BlockId,
}

impl Generator<'_> {
    /// Evaluates the cheap filters of all selectors and notes which are live.
    pub(super) fn cheap_phase(&mut self) -> Result<(), GenerateError> {
        for group in self.groups.all().to_vec() {
            self.b.begin_region();
            for k in group.instances {
                self.cheap(k)?;
            }
            self.b.end_region();
        }
        Ok(())
    }

    fn cheap(&mut self, k: usize) -> Result<(), GenerateError> {
        let plan = self.plan;
        let instance = &plan.instances[k];
        let done = self.b.create_block();
        self.require_workload(instance, done);
        let is_cold = !evaluates_all(instance.role);
        if is_cold {
            self.b.begin_cold();
            self.what_entry_left(k, instance, done);
        }
        let selectors = if instance.only_finishes() {
            &[][..]
        } else {
            &instance.selectors[..]
        };
        for (i, selector) in selectors.iter().enumerate() {
            let next = self.b.create_block();
            self.cheap_filters(&selector.cheap, next)?;
            self.at(&selector.line);
            self.set_live(self.groups.first_live(k) + i);
            let need = self.needed_by(instance, i);
            self.add_need(need);
            // without dear filters it holds already: the selectors after it cannot win
            self.b.jump(if selector.dear.is_empty() { done } else { next });
            self.b.switch_to(next);
        }
        self.b.jump(done);
        if is_cold {
            self.b.end_cold();
        }
        self.b.switch_to(done);
        Ok(())
    }

    /// Notes what the entry has left open of a call; goes on with what it could not decide, else to `other`.
    fn what_entry_left(&mut self, k: usize, instance: &Instance, other: BlockId) {
        let bit = instance.hook.policy_slot % 64;
        let marks = self.frame_load(self.places.marks + (bit / 32) as i32 * 4, Size::B4);
        self.require(CmpOp::Set, marks, 1i64 << (bit % 32), other);
        let key = self.call_key(instance.pending_key);
        let value = self.call("tetra_pending_get", &[key]);
        self.require(CmpOp::Ne, value, 0, other);
        let low = self.b.alu(AluOp::And, Width::W64, value, winner::UNDECIDED);
        let (undecided, decided) = (self.b.create_block(), self.b.create_block());
        self.b
            .branch(CmpOp::Eq, Width::W64, low, winner::UNDECIDED, undecided, decided);
        let place = self.places.taken + k as i32;
        self.b.switch_to(decided);
        self.frame_store(place, Size::B1, taken::DECIDED);
        self.b.jump(other);
        self.b.switch_to(undecided);
        self.frame_store(place, Size::B1, taken::UNDECIDED);
    }

    fn set_live(&mut self, bit: usize) {
        let place = self.places.live + (bit / 32) as i32 * 4;
        let word = self.frame_load(place, Size::B4);
        let word = self.b.alu(AluOp::Or, Width::W64, word, 1i64 << (bit % 32));
        self.frame_store(place, Size::B4, word);
    }

    /// Evaluates the filters of live selectors that are left, in order; the first selector that holds wins.
    pub(super) fn decide_phase(&mut self) -> Result<(), GenerateError> {
        for (number, group) in self.groups.all().to_vec().into_iter().enumerate() {
            let next = self.b.create_block();
            self.b.begin_region();
            if self.is_indexed {
                self.b.begin_cold();
                self.require_live(&group, next);
            }
            for word in group.winners {
                self.frame_store(self.places.winners + word as i32 * 8, Size::B8, 0);
            }
            for k in group.instances {
                self.decide(k, number)?;
            }
            self.b.jump(next);
            if self.is_indexed {
                self.b.end_cold();
            }
            self.b.end_region();
            self.b.switch_to(next);
        }
        Ok(())
    }

    /// Goes on if any selector of a group may hold.
    fn require_live(&mut self, group: &Group, other: BlockId) {
        let mut any = None;
        for word in group.live.clone() {
            let live = self.frame_load(self.places.live + word as i32 * 8, Size::B8);
            any = Some(match any {
                None => live,
                Some(before) => self
                    .b
                    .alu(AluOp::Or, Width::W64, IrOperand::Value(before), IrOperand::Value(live)),
            });
        }
        if let Some(any) = any {
            self.require(CmpOp::Ne, any, 0, other);
        }
    }

    fn decide(&mut self, k: usize, group: usize) -> Result<(), GenerateError> {
        let plan = self.plan;
        let instance = &plan.instances[k];
        let done = self.b.create_block();
        if self.is_indexed {
            self.require_workload(instance, done);
        }
        let takes = instance.role.takes_pending();
        let mut none = done;
        if takes {
            self.b.begin_cold();
            self.returned_halves(k, instance, group, done)?;
            if instance.only_finishes() {
                self.forget_call(instance, done);
                self.b.switch_to(done);
                return Ok(());
            }
            none = self.b.create_block();
        }
        let undecided = self.b.create_block();
        for (i, selector) in instance.selectors.iter().enumerate() {
            let next = self.b.create_block();
            self.at(&selector.line);
            let bit = self.groups.first_live(k) + i;
            let live = self.frame_load(self.places.live + (bit / 32) as i32 * 4, Size::B4);
            if self.is_indexed {
                self.b.begin_cold();
            }
            self.require(CmpOp::Set, live, 1i64 << (bit % 32), next);
            if self.is_indexed {
                // the index has not asked them all
                self.cheap_filters(&selector.cheap, next)?;
            }
            self.dear_filters(&selector.dear, next, undecided)?;
            if instance.role.is_exit() && !selector.returned.is_empty() {
                let rejected = self.b.create_block();
                self.return_filters(&selector.returned, rejected)?;
                self.declare_winner(k, group, i as i64 + 1, done);
                self.b.switch_to(rejected);
                self.count(instance.hook.policy_slot, PolicyCounter::ReturnRejected);
                if instance.role == Role::ExitOfPair && selector.actions.enforces() {
                    // the entry would have acted whatever is returned, had it been able to decide
                    self.declare_winner(k, group, winner::CANCELLED | (i as i64 + 1), done);
                } else {
                    self.b.jump(none);
                }
            } else {
                self.declare_winner(k, group, i as i64 + 1, done);
            }
            if self.is_indexed {
                self.b.end_cold();
            }
            self.b.switch_to(next);
        }
        self.b.jump(none);
        self.b.switch_to(undecided);
        self.b.set_source(None);
        self.declare_winner(k, group, winner::UNDECIDED, done);
        if takes {
            self.b.switch_to(none);
            self.forget_call(instance, done);
        }
        self.b.switch_to(done);
        Ok(())
    }

    /// Takes what the entry left of a call that nobody asks for any more.
    fn forget_call(&mut self, instance: &Instance, done: BlockId) {
        let key = self.call_key(instance.pending_key);
        self.call("tetra_pending_take", &[key]);
        self.b.jump(done);
        self.b.end_cold();
    }

    fn cheap_filters(&mut self, filters: &[PlannedFilter], no: BlockId) -> Result<(), GenerateError> {
        for filter in filters {
            self.at(&filter.line);
            let holds = self.b.create_block();
            let to = Outcomes {
                yes: holds,
                no,
                undecided: no,
            };
            self.filter(filter, to)?;
            self.b.switch_to(holds);
        }
        Ok(())
    }

    /// A conjunction: goes on if all hold, to `no` if any fails, to `undecided` if one cannot be told and no other fails.
    fn dear_filters(
        &mut self,
        filters: &[PlannedFilter],
        no: BlockId,
        undecided: BlockId,
    ) -> Result<(), GenerateError> {
        // Where it goes on behind each filter once something could not be told: the filters after that can still fail. The last
        // block stands for none left.
        let may_be_open = |filter: &PlannedFilter| filter.predicate.operands().into_iter().any(reads_user_memory);
        let first_open = filters.iter().position(may_be_open).unwrap_or(filters.len());
        let open: Vec<BlockId> = (1..=filters.len())
            .map(|behind| {
                if behind == filters.len() || behind <= first_open {
                    undecided
                } else {
                    self.b.create_block()
                }
            })
            .collect();
        for (filter, open) in filters.iter().zip(&open) {
            self.at(&filter.line);
            let holds = self.b.create_block();
            let outcomes = Outcomes {
                yes: holds,
                no,
                undecided: *open,
            };
            self.filter(filter, outcomes)?;
            self.b.switch_to(holds);
        }
        let all_hold = self.b.current_block();
        for (behind, filter) in filters.iter().enumerate().skip(first_open + 1) {
            self.b.switch_to(open[behind - 1]);
            self.at(&filter.line);
            let outcomes = Outcomes {
                yes: open[behind],
                no,
                undecided: open[behind],
            };
            self.filter(filter, outcomes)?;
        }
        if let Some(block) = all_hold {
            self.b.switch_to(block);
        }
        Ok(())
    }

    /// Place of the winner of an instance.
    pub(super) fn winner_place(&self, k: usize) -> i32 {
        self.places.winners + self.groups.winner(k) as i32 * 2
    }

    fn declare_winner(&mut self, k: usize, group: usize, winner: i64, done: BlockId) {
        self.frame_store(self.winner_place(k), Size::B2, winner);
        self.note_winner(group);
        self.b.jump(done);
    }

    fn note_winner(&mut self, group: usize) {
        let bit = self.groups.winner_bit(group);
        let place = self.places.any_winner + (bit / 32) as i32 * 4;
        if self.is_indexed {
            let any = self.frame_load(place, Size::B4);
            let any = self.b.alu(AluOp::Or, Width::W64, any, 1i64 << (bit % 32));
            self.frame_store(place, Size::B4, any);
        } else {
            self.frame_store(place, Size::B4, 1);
        }
    }

    fn return_filters(&mut self, filters: &[PlannedFilter], rejected: BlockId) -> Result<(), GenerateError> {
        for filter in filters {
            self.at(&filter.line);
            let holds = self.b.create_block();
            self.filter(
                filter,
                Outcomes {
                    yes: holds,
                    no: rejected,
                    undecided: rejected,
                },
            )?;
            self.b.switch_to(holds);
        }
        Ok(())
    }

    /// Calls whose selector the entry has found: only the return filters are left. Goes on in a block for the others.
    fn returned_halves(
        &mut self,
        k: usize,
        instance: &Instance,
        group: usize,
        done: BlockId,
    ) -> Result<(), GenerateError> {
        let place = self.winner_place(k);
        let left = self.frame_load(self.places.taken + k as i32, Size::B1);
        self.require(CmpOp::Ne, left, 0, done);
        let (undecided, decided) = (self.b.create_block(), self.b.create_block());
        self.b
            .branch(CmpOp::Eq, Width::W64, left, taken::UNDECIDED, undecided, decided);
        self.b.switch_to(decided);
        let key = self.call_key(instance.pending_key);
        let value = self.call("tetra_pending_get", &[key]);
        let selector = self.b.alu(AluOp::And, Width::W64, value, winner::UNDECIDED);
        self.frame_store(place, Size::B2, selector);
        self.note_winner(group);
        for (i, planned) in instance
            .selectors
            .iter()
            .enumerate()
            .filter(|(_, s)| !s.returned.is_empty())
        {
            let next = self.b.create_block();
            self.require(CmpOp::Eq, selector, i as i64 + 1, next);
            let rejected = self.b.create_block();
            self.return_filters(&planned.returned, rejected)?;
            self.b.jump(done);
            self.b.switch_to(rejected);
            self.count(instance.hook.policy_slot, PolicyCounter::ReturnRejected);
            self.frame_store(place, Size::B2, winner::CANCELLED | (i as i64 + 1));
            self.b.jump(done);
            self.b.switch_to(next);
        }
        self.b.jump(done);
        self.b.switch_to(undecided);
        Ok(())
    }

    /// Evaluates one filter.
    pub(super) fn filter(&mut self, filter: &PlannedFilter, to: Outcomes) -> Result<(), GenerateError> {
        let swapped = |negated: bool| if negated { (to.no, to.yes) } else { (to.yes, to.no) };
        match &filter.predicate {
            Predicate::Integer { operand, test, negated } => {
                let (hit, miss) = swapped(*negated);
                if let Some(index) = self.gathered_index(operand) {
                    self.require_read(index, operand, to);
                }
                self.integer_test(operand, test, hit, miss)?;
            }
            Predicate::Binary { test, negated } => match filter.binary_bit {
                Some(bit) => self.binary_test(bit, *negated, to.yes, to.no),
                None => self.text_test(&crate::plan::executable(), test, *negated, to),
            },
            Predicate::Text { operand, test, negated } => self.text_test(operand, test, *negated, to),
            Predicate::FileType {
                operand,
                types,
                negated,
            } => self.file_type_test(operand, types, *negated, to),
            Predicate::Sock { operand, test, negated } => self.socket_test(operand, test, *negated, to),
            Predicate::Pid {
                values,
                is_namespace_pid,
                follow_forks,
                negated,
            } => {
                self.pid_test(values, *is_namespace_pid, *follow_forks, *negated, to.yes, to.no);
            }
            Predicate::Notified(notification) => {
                let left = self.call("tetra_pending_get", &[notification.key.into()]);
                self.b.branch(
                    CmpOp::Eq,
                    Width::W64,
                    left,
                    i64::from(notification.number),
                    to.yes,
                    to.no,
                );
            }
            Predicate::Namespace {
                namespace,
                values,
                negated,
            } => {
                let (hit, miss) = swapped(*negated);
                self.namespace_test(*namespace, values, hit, miss)?;
            }
            Predicate::Expression(condition) => self.expression(condition, to)?,
            Predicate::NamespaceChange { namespaces } => self.namespace_change_test(namespaces, to.yes, to.no)?,
            Predicate::CapabilityChange {
                set,
                mask,
                negated,
                outside_user_namespace,
            } => self.capability_change_test((*set, *mask), *outside_user_namespace, *negated, to.yes, to.no)?,
            Predicate::Capability {
                set,
                mask,
                negated,
                outside_user_namespace,
            } => {
                self.capability_test(*set, *mask, *outside_user_namespace, *negated, to.yes, to.no)?;
            }
        }
        Ok(())
    }

    /// Branches on a test of a string or path that has been classified.
    pub(super) fn text_test(&mut self, operand: &crate::hir::Operand, test: &TextTest, negated: bool, to: Outcomes) {
        let Some(index) = self.plan.text(operand) else {
            return self.b.jump(to.no);
        };
        let (hit, miss) = if negated { (to.no, to.yes) } else { (to.yes, to.no) };
        let Some(number) = self.class_numbers.get(&(index, test.clone())).copied() else {
            return self.b.jump(to.no);
        };
        self.require_read(index, operand, to);
        let classes = self.frame_load(self.places.classes + (number / 32) as i32 * 4, Size::B4);
        self.b
            .branch(CmpOp::Set, Width::W64, classes, 1i64 << (number % 32), hit, miss);
    }

    /// Branches on the type of a file, which is known where its path has been read, even to nothing.
    fn file_type_test(&mut self, operand: &crate::hir::Operand, types: &[u16], negated: bool, to: Outcomes) {
        let Some(index) = self.plan.text(operand) else {
            return self.b.jump(to.no);
        };
        let (hit, miss) = if negated { (to.no, to.yes) } else { (to.yes, to.no) };
        let read = self.frame_load(self.state_place(index), Size::B1);
        let (other, known) = (self.b.create_block(), self.b.create_block());
        self.b.branch(CmpOp::Eq, Width::W64, read, state::READ, known, other);
        self.b.switch_to(other);
        self.b
            .branch(CmpOp::Eq, Width::W64, read, state::EMPTY_PATH, known, to.no);
        self.b.switch_to(known);
        let mode = self.b.load(self.texts[index], TEXT_MODE, Size::B2);
        let of_type = self.b.alu(AluOp::And, Width::W64, mode, S_IFMT);
        for wanted in types {
            let next = self.b.create_block();
            self.b
                .branch(CmpOp::Eq, Width::W64, of_type, i64::from(*wanted), hit, next);
            self.b.switch_to(next);
        }
        self.b.jump(miss);
    }

    /// Goes on if an operand has been read.
    pub(super) fn require_read(&mut self, index: usize, operand: &crate::hir::Operand, to: Outcomes) {
        let read = self.frame_load(self.state_place(index), Size::B1);
        let next = self.b.create_block();
        if reads_user_memory(operand) {
            let other = self.b.create_block();
            self.b.branch(CmpOp::Eq, Width::W64, read, state::READ, next, other);
            self.b.switch_to(other);
            self.b
                .branch(CmpOp::Eq, Width::W64, read, state::UNREADABLE_USER, to.undecided, to.no);
        } else {
            self.b.branch(CmpOp::Eq, Width::W64, read, state::READ, next, to.no);
        }
        self.b.switch_to(next);
    }
}
