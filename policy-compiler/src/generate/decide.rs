//! The cheap phase and the decision: which selector of each instance wins.

use ebpf::record::PolicyCounter;

use crate::attach::{Role, reads_user_memory};
use crate::hir::{Predicate, TextTest};
use crate::ir::{AluOp, BlockId, CmpOp, Size, Width};
use crate::plan::{Instance, PlannedFilter};

use super::{GenerateError, Generator, evaluates_all, state, winner};

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
        let plan = self.plan;
        for (k, instance) in plan.instances.iter().enumerate() {
            if instance.only_finishes() {
                continue;
            }
            let done = self.b.create_block();
            if !evaluates_all(instance.role) {
                let undecided = self.pending_is_undecided(k, done);
                self.b.switch_to(undecided);
            }
            for (i, selector) in instance.selectors.iter().enumerate() {
                let next = self.b.create_block();
                for filter in &selector.cheap {
                    self.at(&filter.line);
                    let holds = self.b.create_block();
                    self.filter(
                        filter,
                        Outcomes {
                            yes: holds,
                            no: next,
                            undecided: next,
                        },
                    )?;
                    self.b.switch_to(holds);
                }
                self.at(&selector.line);
                self.set_live(self.first_live[k] + i);
                let need = self.needed_by(instance, i);
                self.add_need(need);
                // without dear filters it holds already: the selectors after it cannot win
                self.b.jump(if selector.dear.is_empty() { done } else { next });
                self.b.switch_to(next);
            }
            self.b.jump(done);
            self.b.switch_to(done);
        }
        Ok(())
    }

    /// A block for calls that the entry could not decide; others go to `other`.
    fn pending_is_undecided(&mut self, k: usize, other: BlockId) -> BlockId {
        let value = self.frame_load(self.places.pending + k as i32 * 8, Size::B8);
        let low = self.b.alu(AluOp::And, Width::W64, value, winner::UNDECIDED);
        let undecided = self.b.create_block();
        self.b
            .branch(CmpOp::Eq, Width::W64, low, winner::UNDECIDED, undecided, other);
        undecided
    }

    fn set_live(&mut self, bit: usize) {
        let place = self.places.live + (bit / 32) as i32 * 4;
        let word = self.frame_load(place, Size::B4);
        let word = self.b.alu(AluOp::Or, Width::W64, word, 1i64 << (bit % 32));
        self.frame_store(place, Size::B4, word);
    }

    /// Evaluates the dear filters of live selectors, in order; the first selector that holds wins.
    pub(super) fn decide_phase(&mut self) -> Result<(), GenerateError> {
        let plan = self.plan;
        for (k, instance) in plan.instances.iter().enumerate() {
            let done = self.b.create_block();
            let place = self.places.winners + k as i32 * 2;
            self.frame_store(place, Size::B2, 0);
            if instance.role.takes_pending() {
                self.returned_halves(k, instance, done)?;
                if instance.only_finishes() {
                    self.b.jump(done);
                    self.b.switch_to(done);
                    continue;
                }
            }
            let undecided = self.b.create_block();
            for (i, selector) in instance.selectors.iter().enumerate() {
                let next = self.b.create_block();
                self.at(&selector.line);
                let bit = self.first_live[k] + i;
                let live = self.frame_load(self.places.live + (bit / 32) as i32 * 4, Size::B4);
                self.require(CmpOp::Set, live, 1i64 << (bit % 32), next);
                self.dear_filters(&selector.dear, next, undecided)?;
                if instance.role.is_exit() && !selector.returned.is_empty() {
                    let rejected = self.b.create_block();
                    self.return_filters(&selector.returned, rejected)?;
                    self.declare_winner(place, i as i64 + 1, done);
                    self.b.switch_to(rejected);
                    self.count(instance.hook.policy_slot, PolicyCounter::ReturnRejected);
                    if instance.role == Role::ExitOfPair && selector.actions.enforces() {
                        // the entry would have acted whatever is returned, had it been able to decide
                        self.declare_winner(place, winner::CANCELLED | (i as i64 + 1), done);
                    } else {
                        self.b.jump(done);
                    }
                } else {
                    self.declare_winner(place, i as i64 + 1, done);
                }
                self.b.switch_to(next);
            }
            self.b.jump(done);
            self.b.switch_to(undecided);
            self.b.set_source(None);
            self.declare_winner(place, winner::UNDECIDED, done);
            self.b.switch_to(done);
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
        let may_be_open = |filter: &PlannedFilter| filter.predicate.operand().is_some_and(reads_user_memory);
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

    fn declare_winner(&mut self, place: i32, winner: i64, done: BlockId) {
        self.frame_store(place, Size::B2, winner);
        self.frame_store(self.places.any_winner, Size::B8, 1);
        self.b.jump(done);
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
    fn returned_halves(&mut self, k: usize, instance: &Instance, done: BlockId) -> Result<(), GenerateError> {
        let place = self.places.winners + k as i32 * 2;
        let value = self.frame_load(self.places.pending + k as i32 * 8, Size::B8);
        self.require(CmpOp::Ne, value, 0, done);
        let selector = self.b.alu(AluOp::And, Width::W64, value, winner::UNDECIDED);
        let (undecided, decided) = (self.b.create_block(), self.b.create_block());
        self.b
            .branch(CmpOp::Eq, Width::W64, selector, winner::UNDECIDED, undecided, decided);
        self.b.switch_to(decided);
        self.frame_store(place, Size::B2, selector);
        self.frame_store(self.places.any_winner, Size::B8, 1);
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
                self.integer_test(operand, test, hit, miss)?;
            }
            Predicate::Binary { test, negated } => match filter.binary_bit {
                Some(bit) => self.binary_test(bit, *negated, to.yes, to.no),
                None => self.text_test(&crate::plan::executable(), test, *negated, to),
            },
            Predicate::Text { operand, test, negated } => self.text_test(operand, test, *negated, to),
            Predicate::Sock { operand, test, negated } => self.socket_test(operand, test, *negated, to),
            Predicate::Pid {
                values,
                is_namespace_pid,
                follow_forks,
                negated,
            } => {
                self.pid_test(values, *is_namespace_pid, *follow_forks, *negated, to.yes, to.no);
            }
            Predicate::Namespace {
                namespace,
                values,
                negated,
            } => {
                let (hit, miss) = swapped(*negated);
                self.namespace_test(*namespace, values, hit, miss)?;
            }
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
    fn text_test(&mut self, operand: &crate::hir::Operand, test: &TextTest, negated: bool, to: Outcomes) {
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
