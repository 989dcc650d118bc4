//! Filters on the process: stage-1 bits of its executable, pids, namespaces, credentials.

use crate::binary_table::{BinaryBit, KNOWN};
use crate::hir::{CapabilitySet, Namespace};
use crate::ir::{AluOp, BlockId, CmpOp, Operand as IrOperand, Size, Type, Value, Width};
use crate::output::AttachPoint;
use crate::plan::executable;

use super::layout::{PROCESS_NSPID, PROCESS_POLICY_WORDS, PROCESS_SIZE, process_capabilities, process_namespace};
use super::{GenerateError, Generator, classifier, helper, state};

/// Size of an element of `struct pid.numbers` (`struct upid`) is looked up; this is its member with the namespace.
const UPID_NAMESPACE: &str = "ns";

impl Generator<'_> {
    /// Brings the words of stage 1 into the frame, evaluating those whose stamp is not the one of this program.
    pub(super) fn load_binary_words(&mut self) -> Result<(), GenerateError> {
        let plan = self.plan;
        let process = self
            .b
            .call_runtime_typed("tetra_process", &[], Type::MapValueOrNull { size: PROCESS_SIZE });
        let (evaluate, done) = (self.b.create_block(), self.b.create_block());
        let present = self.b.create_block();
        self.b.branch(CmpOp::Eq, Width::W64, process, 0, evaluate, present);
        self.b.switch_to(present);
        for (i, word) in plan.binary_words.iter().enumerate() {
            let stored = self
                .b
                .load(process, PROCESS_POLICY_WORDS + word.word as i32 * 8, Size::B8);
            self.frame_store(self.places.binary + i as i32 * 8, Size::B8, stored);
            let stamp = self.b.alu(AluOp::Rsh, Width::W64, stored, 32i64);
            self.require(CmpOp::Eq, stamp, i64::from(word.stamp), evaluate);
        }
        self.b.jump(done);

        // The path of the executable answers all words at once; a process without one (a kernel thread) is unknown.
        self.b.switch_to(evaluate);
        for (i, word) in plan.binary_words.iter().enumerate() {
            self.frame_store(self.places.binary + i as i32 * 8, Size::B8, i64::from(word.stamp) << 32);
        }
        let index = plan.text(&executable()).unwrap_or_default();
        let text = self.call_text(index);
        let (store, walk) = (self.b.create_block(), self.b.create_block());
        self.b.branch(CmpOp::Eq, Width::W64, text, 0, store, walk);
        self.b.switch_to(walk);
        let length = self.call("tetra_walk_exe", &[text.into()]);
        let known = self.b.create_block();
        self.b.branch(CmpOp::Sgt, Width::W32, length, 0, known, store);
        self.b.switch_to(known);
        self.frame_store(self.state_place(index), Size::B1, state::READ);
        for (i, word) in plan.binary_words.iter().enumerate() {
            let known = i64::from(word.stamp) << 32 | i64::from(KNOWN);
            self.frame_store(self.places.binary + i as i32 * 8, Size::B8, known);
        }
        self.classify_binary(text)?;
        self.b.jump(store);
        self.b.switch_to(store);
        let present = self.b.create_block();
        self.b.branch(CmpOp::Eq, Width::W64, process, 0, done, present);
        self.b.switch_to(present);
        for (i, word) in plan.binary_words.iter().enumerate() {
            let value = self.frame_load(self.places.binary + i as i32 * 8, Size::B8);
            self.b
                .store(process, PROCESS_POLICY_WORDS + word.word as i32 * 8, Size::B8, value);
        }
        self.b.jump(done);
        self.b.switch_to(done);
        Ok(())
    }

    /// Branches on a stage-1 bit. An executable whose path is not known matches neither the test nor its negation.
    pub(super) fn binary_test(&mut self, bit: BinaryBit, negated: bool, yes: BlockId, no: BlockId) {
        let bits = self.binary_word(bit.word);
        self.bit_test(bits, bit, negated, yes, no);
    }

    /// The bits of a word of stage 1.
    pub(super) fn binary_word(&mut self, word: u32) -> Value {
        let words = &self.plan.binary_words;
        let position = words.iter().position(|w| w.word == word).unwrap_or_default();
        self.frame_load(self.places.binary + position as i32 * 8, Size::B4)
    }

    /// As [`Self::binary_test`], on a word that is at hand.
    pub(super) fn bit_test(&mut self, bits: Value, bit: BinaryBit, negated: bool, yes: BlockId, no: BlockId) {
        if negated {
            let known = self.b.create_block();
            // bit 31 would be sign-extended as an immediate of a 64-bit test
            self.b
                .branch(CmpOp::Set, Width::W32, bits, i64::from(KNOWN as i32), known, no);
            self.b.switch_to(known);
            self.b.branch(CmpOp::Set, Width::W64, bits, 1i64 << bit.bit, no, yes);
        } else {
            self.b.branch(CmpOp::Set, Width::W64, bits, 1i64 << bit.bit, yes, no);
        }
    }

    /// Branches on the pid of the process.
    pub(super) fn pid_test(
        &mut self,
        values: &[u32],
        is_namespace_pid: bool,
        follow_forks: bool,
        negated: bool,
        yes: BlockId,
        no: BlockId,
    ) {
        let (hit, miss) = if negated { (no, yes) } else { (yes, no) };
        if follow_forks {
            for value in values {
                let found = self.call(
                    "tetra_lineage_has_pid",
                    &[(*value).into(), u32::from(is_namespace_pid).into()],
                );
                // unknown: matches neither
                self.require_result_not(CmpOp::Slt, found, 0, no);
                self.require_result_not(CmpOp::Ne, found, 0, hit);
            }
            return self.b.jump(miss);
        }
        let pid = if is_namespace_pid {
            let process = self
                .b
                .call_runtime_typed("tetra_process", &[], Type::MapValueOrNull { size: PROCESS_SIZE });
            self.require(CmpOp::Ne, process, 0, no);
            self.b.load(process, PROCESS_NSPID, Size::B4)
        } else {
            let pid_tgid = self.b.call_helper(helper::GET_CURRENT_PID_TGID, &[]);
            self.b.alu(AluOp::Rsh, Width::W64, pid_tgid, 32i64)
        };
        let values: Vec<u64> = values.iter().map(|v| u64::from(*v)).collect();
        classifier::search(&mut self.b, pid, &values, &|_| hit, miss);
    }

    /// Branches on the inode number of a namespace of the current task.
    pub(super) fn namespace_test(
        &mut self,
        namespace: Namespace,
        values: &[u32],
        hit: BlockId,
        miss: BlockId,
    ) -> Result<(), GenerateError> {
        let inode = self.namespace_inode(namespace)?;
        let values: Vec<u64> = values.iter().map(|v| u64::from(*v)).collect();
        classifier::search(&mut self.b, inode, &values, &|_| hit, miss);
        Ok(())
    }

    pub(super) fn namespace_inode(&mut self, namespace: Namespace) -> Result<Value, GenerateError> {
        let (member, of) = match namespace {
            Namespace::Uts => ("uts_ns", "uts_namespace"),
            Namespace::Ipc => ("ipc_ns", "ipc_namespace"),
            Namespace::Mnt => ("mnt_ns", "mnt_namespace"),
            Namespace::PidForChildren => ("pid_ns_for_children", "pid_namespace"),
            Namespace::Net => ("net_ns", "net"),
            Namespace::Time => ("time_ns", "time_namespace"),
            Namespace::TimeForChildren => ("time_ns_for_children", "time_namespace"),
            Namespace::Cgroup => ("cgroup_ns", "cgroup_namespace"),
            Namespace::Pid => return self.pid_namespace_inode(),
            Namespace::User => {
                let cred = self.task_pointer("cred", "cred")?;
                let pointer = self.follow(cred, "cred", "user_ns", "user_namespace")?;
                return self.inode(pointer, "user_namespace");
            }
        };
        let proxy = self.task_pointer("nsproxy", "nsproxy")?;
        let pointer = self.follow(proxy, "nsproxy", member, of)?;
        self.inode(pointer, of)
    }

    /// The pid namespace a task is in is that of its `struct pid` at its deepest level.
    fn pid_namespace_inode(&mut self) -> Result<Value, GenerateError> {
        // an element of an array cannot be reached through a trusted pointer
        let task = self.b.call_helper(helper::GET_CURRENT_TASK, &[]);
        let pid_at = self.offset("task_struct", "thread_pid")?;
        let pid = self.b.load_kernel(task, pid_at, Size::B8, false);
        let level_at = self.offset("pid", "level")?;
        let numbers_at = self.offset("pid", "numbers")?;
        let namespace_at = self.offset("upid", UPID_NAMESPACE)?;
        let size = {
            let btf = &*self.facts.btf;
            let upid = self.member_type("upid")?;
            match btf.kind(upid) {
                crate::btf::Kind::Struct { size, .. } => i64::from(size),
                _ => return Err(GenerateError::MissingType("upid".into())),
            }
        };
        let level = self.b.load_kernel(pid, level_at, Size::B4, false);
        let offset = self.b.alu(AluOp::Mul, Width::W64, level, size);
        let element = self.b.alu(AluOp::Add, Width::W64, pid, IrOperand::Value(offset));
        let pointer = self.b.load_kernel(element, numbers_at + namespace_at, Size::B8, false);
        self.inode(pointer, "pid_namespace")
    }

    fn inode(&mut self, namespace: Value, of: &str) -> Result<Value, GenerateError> {
        let offset = self.offset(of, "ns.inum")?;
        Ok(self.b.load_kernel(namespace, offset, Size::B4, false))
    }

    /// Branches on the capabilities of the current task.
    pub(super) fn capability_test(
        &mut self,
        set: CapabilitySet,
        mask: u64,
        outside_user_namespace: Option<u32>,
        negated: bool,
        yes: BlockId,
        no: BlockId,
    ) -> Result<(), GenerateError> {
        let (hit, miss) = if negated { (no, yes) } else { (yes, no) };
        self.require_outside(outside_user_namespace, no)?;
        let bits = self.capabilities(set)?;
        self.b.branch(CmpOp::Set, Width::W64, bits, mask as i64, hit, miss);
        Ok(())
    }

    /// Goes on if the current task is not in the user namespace `host`.
    fn require_outside(&mut self, host: Option<u32>, other: BlockId) -> Result<(), GenerateError> {
        if let Some(host) = host {
            let inode = self.namespace_inode(Namespace::User)?;
            self.require(CmpOp::Ne, inode, i64::from(host), other);
        }
        Ok(())
    }

    /// A set of the current task.
    fn capabilities(&mut self, set: CapabilitySet) -> Result<Value, GenerateError> {
        let cred = self.task_pointer("cred", "cred")?;
        let member = match set {
            CapabilitySet::Effective => "cap_effective",
            CapabilitySet::Inheritable => "cap_inheritable",
            CapabilitySet::Permitted => "cap_permitted",
        };
        let offset = self.offset("cred", member)?;
        Ok(self.b.load_kernel(cred, offset, Size::B8, false))
    }

    /// The record of the current process; goes to `other` if there is none.
    fn require_process(&mut self, other: BlockId) -> Value {
        let process = self
            .b
            .call_runtime_typed("tetra_process", &[], Type::MapValueOrNull { size: PROCESS_SIZE });
        self.require(CmpOp::Ne, process, 0, other);
        process
    }

    /// Branches on whether any of the namespaces is not the one of the record.
    pub(super) fn namespace_change_test(
        &mut self,
        namespaces: &[Namespace],
        yes: BlockId,
        no: BlockId,
    ) -> Result<(), GenerateError> {
        let process = self.require_process(no);
        for namespace in namespaces {
            let now = self.namespace_inode(*namespace)?;
            let then = self.b.load(process, process_namespace(*namespace), Size::B4);
            let same = self.b.create_block();
            let then = IrOperand::Value(then);
            self.b.branch(CmpOp::Ne, Width::W64, now, then, yes, same);
            self.b.switch_to(same);
        }
        self.b.jump(no);
        Ok(())
    }

    /// Branches on whether bits of a set are not those of the record.
    pub(super) fn capability_change_test(
        &mut self,
        (set, mask): (CapabilitySet, u64),
        outside_user_namespace: Option<u32>,
        negated: bool,
        yes: BlockId,
        no: BlockId,
    ) -> Result<(), GenerateError> {
        let process = self.require_process(no);
        self.require_outside(outside_user_namespace, no)?;
        let now = self.capabilities(set)?;
        let then = self.b.load(process, process_capabilities(set), Size::B8);
        let changed = self.b.alu(AluOp::Xor, Width::W64, now, IrOperand::Value(then));
        if !negated {
            self.b.branch(CmpOp::Set, Width::W64, changed, mask as i64, yes, no);
            return Ok(());
        }
        let others = self.b.create_block();
        self.b.branch(CmpOp::Set, Width::W64, changed, mask as i64, no, others);
        self.b.switch_to(others);
        self.b.branch(CmpOp::Ne, Width::W64, changed, 0, yes, no);
        Ok(())
    }

    /// Has the record say what the process has now: a change is told once (§6.8).
    pub(super) fn remember_process(&mut self) -> Result<(), GenerateError> {
        let done = self.b.create_block();
        let process = self.require_process(done);
        for namespace in Namespace::ALL {
            let now = self.namespace_inode(namespace)?;
            self.b.store(process, process_namespace(namespace), Size::B4, now);
        }
        for set in [
            CapabilitySet::Effective,
            CapabilitySet::Inheritable,
            CapabilitySet::Permitted,
        ] {
            let now = self.capabilities(set)?;
            self.b.store(process, process_capabilities(set), Size::B8, now);
        }
        self.b.jump(done);
        self.b.switch_to(done);
        Ok(())
    }

    /// The current task, trusted where programs of this kind may follow it.
    fn task(&mut self) -> Result<Value, GenerateError> {
        Ok(if self.trusts_task() {
            let id = self.member_type("task_struct")?;
            self.b
                .call_helper_typed(helper::GET_CURRENT_TASK_BTF, &[], Type::Trusted(id.0))
        } else {
            self.b.call_helper(helper::GET_CURRENT_TASK, &[])
        })
    }

    /// A pointer member of the current task, trusted where the task is.
    fn task_pointer(&mut self, member: &str, of: &str) -> Result<Value, GenerateError> {
        let task = self.task()?;
        self.follow(task, "task_struct", member, of)
    }

    /// A number in the current task.
    pub(super) fn task_word(&mut self, member: &str, size: Size) -> Result<Value, GenerateError> {
        let task = self.task()?;
        let offset = self.offset("task_struct", member)?;
        Ok(self.b.load_kernel(task, offset, size, false))
    }

    fn follow(&mut self, base: Value, from: &str, member: &str, to: &str) -> Result<Value, GenerateError> {
        let offset = self.offset(from, member)?;
        let result = match self.b.type_of(base) {
            Type::Trusted(_) => Type::Trusted(self.member_type(to)?.0),
            _ => Type::Scalar,
        };
        Ok(self.b.load_kernel_typed(base, offset, Size::B8, false, result))
    }

    /// Programs with BTF-typed contexts follow the current task's pointers directly.
    fn trusts_task(&self) -> bool {
        self.facts.features.current_task_btf
            && matches!(
                self.plan.attach,
                AttachPoint::Fentry { .. }
                    | AttachPoint::Fexit { .. }
                    | AttachPoint::FmodRet { .. }
                    | AttachPoint::Lsm { .. }
                    | AttachPoint::TpBtf { .. }
            )
    }
}
