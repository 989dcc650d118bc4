//! Reading strings, paths and sockets: each at one place of the program, if a live selector or an event needs it.
//!
//! One place only, because the kernel's verifier follows a call of a runtime function anew at each place it stands.

use std::collections::BTreeSet;

use crate::binary::{ArgumentPlace, ProbeArgument};
use crate::hir::{Buffer, Chain, Operand, OperandSource};
use crate::ir::{AluOp, BlockId, CmpOp, Operand as IrOperand, Size, Type, Value, Width};
use crate::output::ArgumentType;
use crate::plan::Instance;

use super::layout::{
    ARG_FAULT, ARG_RESOLVE_FAULT, ARG_USER_FAULT, TEXT_FLAGS, TEXT_LEN, TEXT_MODE, TEXT_SIZE, TEXT_STATUS,
};
use super::{GenerateError, Generator, helper, state};

impl Generator<'_> {
    /// Pointer to the `index`-th text, or null.
    pub(super) fn call_text(&mut self, index: usize) -> Value {
        let args = [IrOperand::Value(self.scratch), (index as u32).into()];
        self.b
            .call_runtime_typed("tetra_text", &args, Type::MapValueOrNull { size: TEXT_SIZE })
    }

    /// Gets the pointers of all texts, for the phases that follow.
    pub(super) fn text_pointers(&mut self, leave: BlockId) {
        for index in 0..self.plan.texts.len() {
            let text = self.call_text(index);
            self.require(CmpOp::Ne, text, 0, leave);
            self.texts.push(text);
        }
    }

    /// Place of the state of a gathered operand.
    pub(super) fn state_place(&self, index: usize) -> i32 {
        self.places.states + index as i32
    }

    fn operands(&self) -> Vec<Operand> {
        let plan = self.plan;
        plan.texts
            .iter()
            .chain(&plan.socks)
            .chain(&plan.sockaddrs)
            .chain(&plan.numbers)
            .cloned()
            .collect()
    }

    /// What filters read; the rest is read only for events.
    fn filtered(&self) -> &BTreeSet<usize> {
        self.filtered.get_or_init(|| {
            let selectors = self.plan.instances.iter().flat_map(|i| &i.selectors);
            let filters = selectors.flat_map(|s| &s.dear);
            filters.flat_map(|f| self.filter_operands(&f.predicate)).collect()
        })
    }

    /// Numbers of what a dear filter reads.
    fn filter_operands(&self, predicate: &crate::hir::Predicate) -> Vec<usize> {
        match predicate {
            crate::hir::Predicate::Binary { .. } => {
                self.gathered_index(&crate::plan::executable()).into_iter().collect()
            }
            other => {
                let operands = other.operands().into_iter();
                operands.filter_map(|operand| self.gathered_index(operand)).collect()
            }
        }
    }

    /// What the events of an instance carry, as bits of `need`.
    fn posted(&self, instance: &Instance) -> u64 {
        let sends_arguments = instance.posts() && !instance.only_finishes();
        let arguments = instance.hook.arguments.iter().filter(|_| sends_arguments);
        arguments
            .filter_map(|a| self.gathered_index(&a.operand))
            .fold(0, |bits, i| bits | 1 << i)
    }

    /// What has to be gathered in the first place once a selector is live.
    pub(super) fn needed_by(&self, instance: &Instance, selector: usize) -> u64 {
        let dear = &instance.selectors[selector].dear;
        let filters = dear
            .iter()
            .flat_map(|f| self.filter_operands(&f.predicate))
            .fold(0u64, |bits, i| bits | 1 << i);
        let classes = dear
            .iter()
            .fold(0, |bits, f| bits | self.classification_need(&f.predicate));
        let filtered = self.filtered().iter().fold(0u64, |bits, i| bits | 1 << i);
        filters | classes | (self.posted(instance) & filtered)
    }

    /// Reads what live selectors test.
    pub(super) fn gather_phase(&mut self) -> Result<(), GenerateError> {
        let filtered = self.filtered().clone();
        if filtered.is_empty() {
            return Ok(());
        }
        self.gather(&filtered)
    }

    /// Reads what only events carry.
    pub(super) fn gather_for_posting(&mut self) -> Result<(), GenerateError> {
        let filtered = self.filtered();
        let rest: BTreeSet<usize> = (0..self.operands().len()).filter(|i| !filtered.contains(i)).collect();
        let rest_bits = rest.iter().fold(0u64, |bits, i| bits | 1 << i);
        if rest.is_empty() {
            return Ok(());
        }
        self.b.set_source(None);
        self.frame_store(self.places.need, Size::B8, 0);
        if self.is_indexed {
            self.posted_by_groups(rest_bits);
        } else {
            self.posted_by_winners(rest_bits);
        }
        self.gather(&rest)
    }

    fn posted_by_winners(&mut self, rest: u64) {
        let plan = self.plan;
        for (k, instance) in plan.instances.iter().enumerate() {
            let bits = self.posted(instance) & rest;
            if bits == 0 {
                continue;
            }
            let next = self.b.create_block();
            let winner = self.frame_load(self.winner_place(k), Size::B2);
            self.require(CmpOp::Ne, winner, 0, next);
            self.add_need(bits);
            self.b.jump(next);
            self.b.switch_to(next);
        }
    }

    /// What any instance of a group with winners posts: winners of other groups are not known.
    fn posted_by_groups(&mut self, rest: u64) {
        let plan = self.plan;
        for (number, group) in self.groups.all().to_vec().into_iter().enumerate() {
            let instances = &plan.instances[group.instances];
            let bits = instances.iter().fold(0, |bits, i| bits | self.posted(i)) & rest;
            if bits == 0 {
                continue;
            }
            let next = self.b.create_block();
            self.require_winner(number, next);
            self.add_need(bits);
            self.b.jump(next);
            self.b.switch_to(next);
        }
    }

    /// Adds bits to what has to be gathered.
    pub(super) fn add_need(&mut self, bits: u64) {
        if bits != 0 {
            let need = self.frame_load(self.places.need, Size::B8);
            let need = self.b.alu(AluOp::Or, Width::W64, need, bits as i64);
            self.frame_store(self.places.need, Size::B8, need);
        }
    }

    fn gather(&mut self, which: &BTreeSet<usize>) -> Result<(), GenerateError> {
        let operands = self.operands();
        for &index in which {
            let next = self.b.create_block();
            let need = self.frame_load(self.places.need, Size::B8);
            self.require(CmpOp::Set, need, 1i64 << index, next);
            let read = self.frame_load(self.state_place(index), Size::B1);
            self.require(CmpOp::Eq, read, 0, next);
            self.read(&operands[index], index, next)?;
            self.b.switch_to(next);
            if index < self.texts.len() {
                self.classify(index)?;
            } else if index < self.first_number() {
                self.index_socket(index);
            }
        }
        Ok(())
    }

    /// Reads one operand, stores its state and goes to `next`.
    fn read(&mut self, operand: &Operand, index: usize, next: BlockId) -> Result<(), GenerateError> {
        let place = self.state_place(index);
        if operand.is_loaded() {
            match &operand.source {
                OperandSource::Probe(argument) => self.load(*argument, index, next)?,
                OperandSource::Chain(chain) => self.follow_chain(operand, chain, index, next)?,
                _ => {}
            }
            if index >= self.first_number() {
                self.frame_store(place, Size::B1, state::READ);
                self.b.jump(next);
                return Ok(());
            }
        }
        if operand.is_socket() {
            return self.read_socket(operand, index, next);
        }
        let text = self.texts[index];
        if let OperandSource::Buffer(buffer) = &operand.source {
            return self.read_buffer(operand, buffer, text, place, next);
        }
        let (null, fault) = (self.b.create_block(), self.b.create_block());
        let length = match (&operand.source, operand.argument_type) {
            (OperandSource::Executable, _) => self.call("tetra_walk_exe", &[text.into()]),
            (_, ArgumentType::Fd) => {
                let fd = self.raw(operand)?;
                self.call("tetra_walk_fd", &[text.into(), fd.into()])
            }
            (_, argument_type) => {
                let address = self.raw(operand)?;
                self.require(CmpOp::Ne, address, 0, null);
                if argument_type == ArgumentType::String {
                    let is_of_kernel = matches!(operand.source, OperandSource::Chain(_));
                    self.read_string(address, text, place, null, next, is_of_kernel);
                    return Ok(());
                }
                let trusted = matches!(self.b.type_of(address), Type::Trusted(_));
                let function = match (argument_type, trusted) {
                    (ArgumentType::File, true) => "tetra_walk_file_trusted",
                    (ArgumentType::File, false) => "tetra_walk_file",
                    (ArgumentType::Path, true) => "tetra_walk_path_trusted",
                    (ArgumentType::Path, false) => "tetra_walk_path",
                    (ArgumentType::Dentry, true) => "tetra_walk_dentry_trusted",
                    (ArgumentType::Dentry, false) => "tetra_walk_dentry",
                    (_, true) => "tetra_walk_binprm_trusted",
                    (_, false) => "tetra_walk_binprm",
                };
                self.call(function, &[text.into(), address.into()])
            }
        };
        self.require_result_not(CmpOp::Slt, length, 0, fault);
        let (empty, full) = (self.b.create_block(), self.b.create_block());
        self.b.branch(CmpOp::Eq, Width::W32, length, 0, empty, full);
        self.b.switch_to(empty);
        self.frame_store(place, Size::B1, state::EMPTY_PATH);
        self.b.jump(next);
        self.b.switch_to(full);
        self.frame_store(place, Size::B1, state::READ);
        self.b.jump(next);
        self.unreadable(text, place, null, next);
        self.b.switch_to(fault);
        self.frame_store(place, Size::B1, state::FAILED);
        self.b.jump(next);
        Ok(())
    }

    /// Reads an argument of a static probe that is in memory of the process; goes to `next` with its state if it cannot be read.
    fn load(&mut self, argument: ProbeArgument, index: usize, next: BlockId) -> Result<(), GenerateError> {
        let ArgumentPlace::Memory {
            base,
            displacement,
            index: scaled,
        } = argument.place
        else {
            return Ok(());
        };
        let place = self.loaded_place(index);
        self.frame_store(place, Size::B8, 0);
        let offset = self.register(base)?;
        let mut address = self.b.load(self.ctx, offset, Size::B8);
        if let Some((register, scale)) = scaled {
            let offset = self.register(register)?;
            let value = self.b.load(self.ctx, offset, Size::B8);
            let value = self.b.alu(AluOp::Mul, Width::W64, value, i64::from(scale));
            address = self.b.alu(AluOp::Add, Width::W64, address, IrOperand::Value(value));
        }
        if displacement != 0 {
            address = self.b.alu(AluOp::Add, Width::W64, address, displacement);
        }
        let size = argument.size;
        let into = Type::MapValue { size: 8 };
        let into = self.b.alu_typed(AluOp::Add, Width::W64, self.scratch, place, into);
        let args = [IrOperand::Value(into), size.into(), address.into()];
        let failed = self.b.call_helper(helper::PROBE_READ_USER, &args);
        let (fault, read) = (self.b.create_block(), self.b.create_block());
        self.b.branch(CmpOp::Eq, Width::W64, failed, 0, read, fault);
        self.b.switch_to(fault);
        if let Some(text) = self.texts.get(index).copied() {
            // the text that an earlier call left there is none of this one's
            for (field, size) in [(TEXT_LEN, Size::B4), (TEXT_FLAGS, Size::B4), (TEXT_MODE, Size::B2)] {
                self.b.store(text, field, size, 0);
            }
            self.b.store(text, TEXT_STATUS, Size::B2, i64::from(ARG_FAULT));
        }
        self.frame_store(self.state_place(index), Size::B1, state::UNREADABLE_USER);
        self.b.jump(next);
        self.b.switch_to(read);
        Ok(())
    }

    /// Where [`Self::load`] puts what it reads: numbers stay, an address is used at once.
    pub(super) fn loaded_place(&self, index: usize) -> i32 {
        let number = index
            .checked_sub(self.first_number())
            .unwrap_or(self.plan.numbers.len());
        self.places.loaded + number as i32 * 8
    }

    /// Follows a chain of pointers to a number, or to the address of what is read from there; goes to `next` with its state if one
    /// cannot be read. Then what is put down says how far it got, as the status of an argument does.
    fn follow_chain(
        &mut self,
        operand: &Operand,
        chain: &Chain,
        index: usize,
        next: BlockId,
    ) -> Result<(), GenerateError> {
        let place = self.loaded_place(index);
        let fault = self.b.create_block();
        let into = Type::MapValue { size: 8 };
        let into = self.b.alu_typed(AluOp::Add, Width::W64, self.scratch, place, into);
        let mut address = self.chain_start(operand, chain.from)?;
        let read = |generator: &mut Self, address: Value, offset: u32, size: u32, depth: usize| {
            let status = i64::from(ARG_RESOLVE_FAULT) + depth as i64;
            let from = generator.b.alu(AluOp::Add, Width::W64, address, i64::from(offset));
            generator.frame_store(place, Size::B8, 0);
            let args = [IrOperand::Value(into), size.into(), from.into()];
            let failed = generator.b.call_helper(helper::PROBE_READ_KERNEL, &args);
            let (failing, read) = (generator.b.create_block(), generator.b.create_block());
            generator.b.branch(CmpOp::Eq, Width::W64, failed, 0, read, failing);
            generator.b.switch_to(failing);
            generator.frame_store(place, Size::B8, status);
            generator.b.jump(fault);
            generator.b.switch_to(read);
        };
        for (depth, offset) in chain.pointers.iter().enumerate() {
            read(self, address, *offset, 8, depth);
            address = self.frame_load(place, Size::B8);
        }
        if let Some(size) = chain.size {
            read(self, address, chain.offset, size, chain.pointers.len());
        } else {
            // nothing is at a null pointer, however far behind it
            let there = self.b.create_block();
            let (null, done) = (self.b.create_block(), self.b.create_block());
            self.b.branch(CmpOp::Eq, Width::W64, address, 0, null, there);
            self.b.switch_to(null);
            let status = i64::from(ARG_RESOLVE_FAULT) + chain.pointers.len() as i64;
            self.frame_store(place, Size::B8, status);
            self.b.jump(fault);
            self.b.switch_to(there);
            let address = self.b.alu(AluOp::Add, Width::W64, address, i64::from(chain.offset));
            self.frame_store(place, Size::B8, address);
            self.b.jump(done);
            self.b.switch_to(done);
        }
        let done = self.b.create_block();
        self.b.jump(done);
        self.b.switch_to(fault);
        if let Some(text) = self.texts.get(index).copied() {
            // the text that an earlier call left there is none of this one's
            for (field, size) in [(TEXT_LEN, Size::B4), (TEXT_FLAGS, Size::B4), (TEXT_MODE, Size::B2)] {
                self.b.store(text, field, size, 0);
            }
            let status = self.frame_load(place, Size::B8);
            self.b.store(text, TEXT_STATUS, Size::B2, status);
        }
        self.frame_store(self.state_place(index), Size::B1, state::FAILED);
        self.b.jump(next);
        self.b.switch_to(done);
        Ok(())
    }

    /// The 8 bytes that [`Self::load`] or [`Self::follow_chain`] has put down.
    pub(super) fn loaded(&mut self, operand: &Operand) -> Value {
        let place = self
            .gathered_index(operand)
            .map_or(self.places.loaded, |index| self.loaded_place(index));
        self.frame_load(place, Size::B8)
    }

    /// A null pointer has no text.
    fn unreadable(&mut self, text: Value, place: i32, null: BlockId, next: BlockId) {
        self.b.switch_to(null);
        for (field, size) in [(TEXT_LEN, Size::B4), (TEXT_FLAGS, Size::B4), (TEXT_MODE, Size::B2)] {
            self.b.store(text, field, size, 0);
        }
        self.b.store(text, TEXT_STATUS, Size::B2, i64::from(ARG_FAULT));
        self.frame_store(place, Size::B1, state::FAILED);
        self.b.jump(next);
    }

    /// Strings of syscalls are in user memory; those of kernel functions are where their address says.
    fn read_string(
        &mut self,
        address: Value,
        text: Value,
        place: i32,
        null: BlockId,
        next: BlockId,
        is_of_kernel: bool,
    ) {
        if is_of_kernel {
            let (fault, read) = (self.b.create_block(), self.b.create_block());
            let length = self.call("tetra_read_kernel_string", &[text.into(), address.into()]);
            self.b.branch(CmpOp::Slt, Width::W32, length, 0, fault, read);
            for (block, outcome) in [(fault, state::FAILED), (read, state::READ)] {
                self.b.switch_to(block);
                self.frame_store(place, Size::B1, outcome);
                self.b.jump(next);
            }
            self.unreadable(text, place, null, next);
            return;
        }
        let (user_fault, kernel_fault, read) = (self.b.create_block(), self.b.create_block(), self.b.create_block());
        if !self.plan.has_user_pointers() {
            let (user, kernel) = (self.b.create_block(), self.b.create_block());
            self.b.branch(CmpOp::Slt, Width::W64, address, 0, kernel, user);
            self.b.switch_to(kernel);
            let length = self.call("tetra_read_kernel_string", &[text.into(), address.into()]);
            self.b.branch(CmpOp::Slt, Width::W32, length, 0, kernel_fault, read);
            self.b.switch_to(user);
        }
        let length = self.call("tetra_read_user_string", &[text.into(), address.into()]);
        self.b.branch(CmpOp::Slt, Width::W32, length, 0, user_fault, read);
        for (block, outcome) in [
            (user_fault, state::UNREADABLE_USER),
            (kernel_fault, state::FAILED),
            (read, state::READ),
        ] {
            self.b.switch_to(block);
            self.frame_store(place, Size::B1, outcome);
            self.b.jump(next);
        }
        self.unreadable(text, place, null, next);
    }

    /// Reads a buffer; one of no bytes may be anywhere.
    fn read_buffer(
        &mut self,
        operand: &Operand,
        buffer: &Buffer,
        text: Value,
        place: i32,
        next: BlockId,
    ) -> Result<(), GenerateError> {
        let address = self.raw(&buffer.address)?;
        let length = match &buffer.length {
            Some(length) => self.integer(length)?,
            None => self.b.const_(0),
        };
        let is_users = u32::from(self.plan.has_user_pointers());
        let scratch = IrOperand::Value(self.scratch);
        let (text, address) = (IrOperand::Value(text), IrOperand::Value(address));
        let read = match operand.argument_type {
            ArgumentType::CharIovec => {
                let args = [scratch, text, address, length.into(), is_users.into()];
                self.call("tetra_read_iovec", &args)
            }
            ArgumentType::IovIter => self.call("tetra_read_iov_iter", &[scratch, text, address]),
            _ => self.call("tetra_read_buffer", &[text, address, length.into(), is_users.into()]),
        };
        let (failed, done) = (self.b.create_block(), self.b.create_block());
        let (of_user, of_kernel) = (self.b.create_block(), self.b.create_block());
        self.b.branch(CmpOp::Slt, Width::W32, read, 0, failed, done);
        self.b.switch_to(failed);
        let user_fault = -i64::from(ARG_USER_FAULT);
        self.b
            .branch(CmpOp::Eq, Width::W32, read, user_fault, of_user, of_kernel);
        for (block, outcome) in [
            (of_user, state::UNREADABLE_USER),
            (of_kernel, state::FAILED),
            (done, state::READ),
        ] {
            self.b.switch_to(block);
            self.frame_store(place, Size::B1, outcome);
            self.b.jump(next);
        }
        Ok(())
    }

    fn read_socket(&mut self, operand: &Operand, index: usize, next: BlockId) -> Result<(), GenerateError> {
        let place = self.state_place(index);
        let (fault, null) = (self.b.create_block(), self.b.create_block());
        let address = self.raw(operand)?;
        self.require(CmpOp::Ne, address, 0, null);
        let is_user = self.plan.has_user_pointers() && !matches!(operand.source, OperandSource::Chain(_));
        let failed = if operand.is_sock() {
            let number = (index - self.plan.texts.len()) as u32;
            let function = match (operand.argument_type, self.b.type_of(address)) {
                (ArgumentType::Skb, _) => "tetra_read_skb",
                (_, Type::Trusted(_)) => "tetra_read_sock_trusted",
                _ => "tetra_read_sock",
            };
            self.call(function, &[self.scratch.into(), number.into(), address.into()])
        } else {
            let number = (index - self.plan.texts.len() - self.plan.socks.len()) as u32;
            let args = [
                self.scratch.into(),
                number.into(),
                address.into(),
                u32::from(is_user).into(),
            ];
            self.call("tetra_read_sockaddr", &args)
        };
        self.require(CmpOp::Eq, failed, 0, fault);
        self.frame_store(place, Size::B1, state::READ);
        self.b.jump(next);
        self.b.switch_to(null);
        self.frame_store(place, Size::B1, state::FAILED);
        self.b.jump(next);
        self.b.switch_to(fault);
        self.frame_store(
            place,
            Size::B1,
            if is_user { state::UNREADABLE_USER } else { state::FAILED },
        );
        self.b.jump(next);
        Ok(())
    }
}
