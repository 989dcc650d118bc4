//! Pass 7: from the decision problem of a hook to the IR of its program.
//!
//! State that must survive a join lives in the frame of the scratch element, never in registers or on the stack: the kernel's
//! verifier then sees equal states where paths meet and visits what follows once, whatever the number of policies.
//!
//! Before all that stands the lookup of the workload, if policies ask for it, and the screen, which keeps no state: most calls are of no interest to any selector, and leave there.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use ebpf::record::PolicyCounter;

use crate::Options;
use crate::attach::Role;
use crate::automaton::{self, Tables};
use crate::facts::KernelFacts;
use crate::hir::{Operand, TextTest};
use crate::ir::builder::FunctionBuilder;
use crate::ir::{
    BlockId, Callee, CmpOp, DataDef, FuncId, Function, Inst, Operand as IrOperand, Program, Size, Type, Value, Width,
};
use crate::output::{AttachPoint, SourceLine, SourceRef, UprobeLink};
use crate::plan::{HookPlan, Instance};

mod act;
mod classifier;
mod classify;
mod decide;
mod expression;
mod frame;
mod gather;
mod groups;
mod index;
mod index_screen;
mod integer;
mod layout;
mod operand;
mod process;
mod prologue;
mod screen;
mod socket;
mod workload;

pub(crate) use classifier::LINEAR as COMPARED_IN_A_ROW;
use frame::{Frame, FrameFull};
use groups::Groups;
use index::Index;
pub(crate) use workload::hook_bit;

/// The program of a hook and the policy lines its instructions refer to.
#[derive(Clone, PartialEq, Debug)]
pub struct Generated {
    /// IR.
    pub program: Program,
    /// By [`SourceRef`].
    pub source_lines: Vec<SourceLine>,
}

/// Why no program can be made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum GenerateError {
    /// More selectors than the frame can hold.
    TooManySelectors,
    /// The kernel's BTF lacks a type or member that a filter reads.
    MissingType(String),
    /// A pattern cannot be made an automaton.
    Pattern(String),
}

impl From<FrameFull> for GenerateError {
    fn from(_: FrameFull) -> Self {
        Self::TooManySelectors
    }
}

/// Whether the state of a hook's program fits its memory.
pub fn fits(plan: &HookPlan, facts: &KernelFacts, options: &Options) -> bool {
    !matches!(
        Generator::new(plan, facts, options),
        Err(GenerateError::TooManySelectors)
    )
}

/// Generates the program of a hook.
pub fn generate(plan: &HookPlan, facts: &KernelFacts, options: &Options) -> Result<Generated, GenerateError> {
    let mut generator = Generator::new(plan, facts, options)?;
    generator.program()?;
    generator.finish()
}

/// Kernel helpers that generated code calls (`enum bpf_func_id`).
mod helper {
    pub(super) const MAP_LOOKUP_ELEM: u32 = 1;
    pub(super) const KTIME_GET_NS: u32 = 5;
    pub(super) const GET_CURRENT_PID_TGID: u32 = 14;
    pub(super) const GET_CURRENT_TASK: u32 = 35;
    pub(super) const OVERRIDE_RETURN: u32 = 58;
    pub(super) const SEND_SIGNAL: u32 = 109;
    pub(super) const PROBE_READ_USER: u32 = 112;
    pub(super) const PROBE_READ_KERNEL: u32 = 113;
    pub(super) const GET_CURRENT_TASK_BTF: u32 = 158;
    pub(super) const TASK_PT_REGS: u32 = 175;
}

/// Outcome of reading a string, a path or a socket, in the frame. 0 is "not gathered".
mod state {
    pub(super) const READ: i64 = 1;
    pub(super) const UNREADABLE_USER: i64 = 2;
    pub(super) const EMPTY_PATH: i64 = 3;
    pub(super) const FAILED: i64 = 4;
}

/// What the decision about an instance is, in its `winner` element. 0: nothing; else the selector's index plus 1.
mod winner {
    pub(super) const UNDECIDED: i64 = 0xffff;
    /// Set beside a selector that the return value did not bear out.
    pub(super) const CANCELLED: i64 = 0x8000;
    /// Selectors of one hook that can be told apart.
    pub(super) const MAX: usize = 0x7fff;
}

/// What the entry of a call has left to its exit, in the frame. 0 is "nothing".
mod taken {
    /// Whether a selector holds.
    pub(super) const UNDECIDED: i64 = 1;
    /// Whether the return value bears the selector out.
    pub(super) const DECIDED: i64 = 2;
}

/// Places in the frame.
struct Places {
    /// u64: value to return, for programs that may deny.
    verdict: i32,
    /// u64: what the live selectors need gathered: bit t for text t, then sockets, then socket addresses; from bit
    /// [`classify::FIRST_NEED`] on, the classifications of texts.
    need: i32,
    /// u64: groups with something to be done in the act phase, see [`groups::Groups::winner_bit`].
    any_winner: i32,
    /// The registers of the syscall (`struct pt_regs`), where they must be copied.
    registers: Option<i32>,
    /// u64 per word of stage 1.
    binary: i32,
    /// u8 per gathered thing, in the order of `need`.
    states: i32,
    /// Bits: selectors that may still hold; where those of an instance begin stand in [`groups::Groups`].
    live: i32,
    /// u16 per instance, likewise.
    winners: i32,
    /// u64: policy slots modulo 64 of which the entry program has marked the call, for programs that take.
    marks: i32,
    /// u8 per instance of such programs: what the entry program has left open, a [`taken`].
    taken: i32,
    /// Bits: string tests that hold, by number.
    classes: i32,
    /// u64 per number in memory of the process, and one behind them for the address of whatever is gathered next.
    loaded: i32,
    /// u64: action that the event under construction reports.
    action: i32,
    /// u64, u64: interval and scope of the rate limit of the event under construction; interval 0: none.
    rate_limit: i32,
    /// See [`Generator::raw_number`].
    pointer: i32,
}

struct Generator<'a> {
    plan: &'a HookPlan,
    facts: &'a KernelFacts,
    b: FunctionBuilder,
    ctx: Value,
    /// The scratch element; set by the prologue.
    scratch: Value,
    /// The policies that apply to the workload of the process, if any policy asks for them.
    workload: Option<Value>,
    /// Pointers to the texts; set at the beginning of the gather phase.
    texts: Vec<Value>,
    places: Places,
    groups: Groups,
    is_indexed: bool,
    /// Finds the selectors that may hold, where there are many.
    index: Option<Rc<Index>>,
    /// See [`Generator::filtered`].
    filtered: OnceCell<BTreeSet<usize>>,
    functions: Vec<Function>,
    /// Tables of automata.
    automata: Tables,
    /// Number of each string test on each text.
    class_numbers: BTreeMap<(usize, TextTest), usize>,
    lines: Vec<SourceLine>,
    line_index: BTreeMap<(std::sync::Arc<str>, u32, u32), SourceRef>,
}

impl<'a> Generator<'a> {
    fn new(plan: &'a HookPlan, facts: &'a KernelFacts, options: &Options) -> Result<Self, GenerateError> {
        let mut frame = Frame::default();
        if plan.instances.iter().any(|i| i.selectors.len() > winner::MAX) {
            return Err(GenerateError::TooManySelectors);
        }
        let selectors: usize = plan.instances.iter().map(|i| i.selectors.len()).sum();
        let is_large = selectors > options.selectors_in_a_row;
        let is_indexed = is_large && plan.instances.iter().all(|i| evaluates_all(i.role));
        let groups = if is_large { Groups::new(plan) } else { Groups::one(plan) };
        let class_numbers: BTreeMap<(usize, TextTest), usize> = plan
            .text_tests()
            .into_iter()
            .enumerate()
            .map(|(number, test)| (test, number))
            .collect();
        let takes = plan.instances.iter().any(|i| i.role.takes_pending());
        let gathered = plan.gathered();
        let places = Places {
            verdict: frame.allocate(1, 8)?,
            need: frame.allocate(1, 8)?,
            any_winner: frame.allocate(1, 8)?,
            registers: operand::copies_registers(plan)
                .then(|| frame.allocate(operand::PT_REGS_WORDS, 8))
                .transpose()?,
            binary: frame.allocate(plan.binary_words.len(), 8)?,
            states: frame.allocate(gathered.next_multiple_of(8), 1)?,
            // behind the classes, see `Generator::classify`
            classes: frame.allocate(class_numbers.len().div_ceil(64), 8)?,
            live: frame.allocate(groups.live_words(), 8)?,
            winners: frame.allocate(groups.winner_words(), 8)?,
            marks: frame.allocate(usize::from(takes), 8)?,
            taken: frame.allocate(if takes { plan.instances.len().div_ceil(8) } else { 0 }, 8)?,
            loaded: frame.allocate(loaded_words(plan), 8)?,
            action: frame.allocate(1, 8)?,
            rate_limit: frame.allocate(2, 8)?,
            pointer: frame.allocate(1, 8)?,
        };
        let b = FunctionBuilder::new(symbol(&plan.attach), &[Type::Ctx]);
        let ctx = b.param(0);
        Ok(Self {
            is_indexed,
            plan,
            facts,
            b,
            ctx,
            scratch: ctx,
            workload: None,
            texts: Vec::new(),
            places,
            groups,
            index: None,
            filtered: OnceCell::new(),
            functions: Vec::new(),
            automata: Tables::default(),
            class_numbers,
            lines: Vec::new(),
            line_index: BTreeMap::new(),
        })
    }

    fn program(&mut self) -> Result<(), GenerateError> {
        if self.is_indexed {
            self.index = Some(Rc::new(Index::new(self)));
        }
        self.look_up_workload();
        self.screen()?;
        let leave = self.b.create_block();
        self.prologue(leave)?;
        if !self.plan.binary_words.is_empty() {
            self.load_binary_words()?;
        }
        if self.is_indexed {
            self.index_phase()?;
        } else {
            self.cheap_phase()?;
        }
        if self.plan.gathers() {
            self.text_pointers(leave);
            self.gather_phase()?;
        }
        self.decide_phase()?;
        let act = self.b.create_block();
        let any = self.frame_load(self.places.any_winner, Size::B8);
        self.b.branch(CmpOp::Eq, Width::W64, any, 0, leave, act);
        self.b.switch_to(act);
        if self.plan.gathers() && self.plan.instances.iter().any(Instance::posts) {
            self.gather_for_posting()?;
        }
        self.act_phase()?;
        self.b.jump(leave);
        self.b.switch_to(leave);
        self.b.set_source(None);
        self.leave();
        Ok(())
    }

    fn finish(self) -> Result<Generated, GenerateError> {
        let mut functions = vec![self.b.finish()];
        functions.extend(self.functions);
        let mut data = Vec::new();
        if let Some((bytes, walk)) = self.automata.finish().map_err(GenerateError::Pattern)? {
            rename_calls(&mut functions, classify::WALK, walk);
            data.push(DataDef {
                section: automaton::SECTION,
                bytes,
            });
        }
        let program = Program {
            section: section(&self.plan.attach),
            functions,
            maps: Vec::new(),
            data,
        };
        Ok(Generated {
            program,
            source_lines: self.lines,
        })
    }

    // --- small things that every phase uses ---

    /// Instructions from here on come from this policy line.
    fn at(&mut self, line: &SourceLine) {
        let key = (line.file.clone(), line.line, line.column);
        let next = SourceRef(self.lines.len() as u32);
        let reference = *self.line_index.entry(key).or_insert(next);
        if reference == next {
            self.lines.push(line.clone());
        }
        self.b.set_source(Some(reference));
    }

    fn frame_load(&mut self, offset: i32, size: Size) -> Value {
        self.b.load(self.scratch, offset, size)
    }

    fn frame_store(&mut self, offset: i32, size: Size, value: impl Into<IrOperand>) {
        self.b.store(self.scratch, offset, size, value);
    }

    /// Goes on in a new block if `a op b`, else to `other`.
    fn require(&mut self, op: CmpOp, a: Value, b: impl Into<IrOperand>, other: BlockId) {
        let next = self.b.create_block();
        self.b.branch(op, Width::W64, a, b, next, other);
        self.b.switch_to(next);
    }

    fn call(&mut self, name: &'static str, args: &[IrOperand]) -> Value {
        self.b.call_runtime(name, args)
    }

    /// Number of a gathered operand in `need` and `states`.
    fn gathered_index(&self, operand: &Operand) -> Option<usize> {
        let find = |places: &[Operand]| places.iter().position(|o| o == operand);
        find(&self.plan.texts)
            .or_else(|| find(&self.plan.socks).map(|i| self.plan.texts.len() + i))
            .or_else(|| find(&self.plan.sockaddrs).map(|i| self.plan.texts.len() + self.plan.socks.len() + i))
            .or_else(|| {
                let mut numbers = self.plan.numbers.iter();
                numbers
                    .position(|known| known.shares_place(operand))
                    .map(|i| self.first_number() + i)
            })
    }

    /// Place of the first of [`HookPlan::numbers`] among what is gathered.
    fn first_number(&self) -> usize {
        self.plan.gathered() - self.plan.numbers.len()
    }

    /// The id of the next function pushed; 0 is the entry.
    fn next_function(&self) -> FuncId {
        FuncId(self.functions.len() as u32 + 1)
    }

    fn count(&mut self, policy_slot: u32, counter: PolicyCounter) {
        self.b
            .call_runtime_void("tetra_count", &[policy_slot.into(), (counter as u32).into()]);
    }

    /// Whether any hook looks at calls that the entry has marked.
    fn takes_pending(&self) -> bool {
        self.plan.instances.iter().any(|i| i.role.takes_pending())
    }

    /// Words of [`Places::taken`].
    fn taken_words(&self) -> usize {
        if self.takes_pending() {
            self.plan.instances.len().div_ceil(8)
        } else {
            0
        }
    }

    /// Whether the returned value of the program is a verdict.
    fn may_deny(&self) -> bool {
        matches!(self.plan.attach, AttachPoint::Lsm { .. } | AttachPoint::FmodRet { .. })
    }
}

/// Makes calls of one function of the library calls of another.
fn rename_calls(functions: &mut [Function], from: &str, to: &'static str) {
    let insts = functions
        .iter_mut()
        .flat_map(|f| &mut f.blocks)
        .flat_map(|b| &mut b.insts);
    for located in insts {
        if let Inst::Call {
            callee: Callee::Runtime(name),
            ..
        } = &mut located.inst
            && *name == from
        {
            *name = to;
        }
    }
}

/// Words of [`Places::loaded`].
fn loaded_words(plan: &HookPlan) -> usize {
    let addresses = plan.texts.iter().chain(&plan.sockaddrs).any(Operand::is_loaded);
    plan.numbers.len() + usize::from(addresses)
}

/// Whether a role evaluates entry filters for calls in general, rather than for marked calls only.
fn evaluates_all(role: Role) -> bool {
    !role.takes_pending()
}

/// Section of a program, as libbpf spells it.
pub fn section(attach: &AttachPoint) -> String {
    match attach {
        AttachPoint::Fentry { function } => format!("fentry/{function}"),
        AttachPoint::Fexit { function } => format!("fexit/{function}"),
        AttachPoint::FmodRet { function } => format!("fmod_ret/{function}"),
        AttachPoint::Lsm { hook } => format!("lsm/{hook}"),
        AttachPoint::Kprobe { symbol } => format!("kprobe/{symbol}"),
        AttachPoint::Kretprobe { symbol } => format!("kretprobe/{symbol}"),
        AttachPoint::KprobeMulti { .. } => "kprobe.multi".into(),
        AttachPoint::KretprobeMulti { .. } => "kretprobe.multi".into(),
        AttachPoint::Tracepoint { subsystem, event } => format!("tp/{subsystem}/{event}"),
        AttachPoint::RawTracepoint { event } => format!("raw_tp/{event}"),
        AttachPoint::TpBtf { event } => format!("tp_btf/{event}"),
        AttachPoint::Uprobe { place, by } => {
            format!("{}/{}:{:#x}", user_probe("uprobe", *by), place.path, place.offset)
        }
        AttachPoint::Uretprobe { place, by } => {
            format!("{}/{}:{:#x}", user_probe("uretprobe", *by), place.path, place.offset)
        }
    }
}

fn user_probe(kind: &str, by: UprobeLink) -> String {
    match by {
        UprobeLink::PerfEvent => kind.into(),
        UprobeLink::Multi => format!("{kind}.multi"),
    }
}

/// Symbol of a program's entry function. Those of user probes leave the path out: the kernel takes no more than 127 characters
/// (`KSYM_NAME_LEN` of 5.10).
pub fn symbol(attach: &AttachPoint) -> String {
    match attach {
        AttachPoint::Uprobe { place, .. } => return format!("uprobe_{:x}", place.offset),
        AttachPoint::Uretprobe { place, .. } => return format!("uretprobe_{:x}", place.offset),
        _ => {}
    }
    section(attach).replace(|c: char| !c.is_ascii_alphanumeric(), "_")
}
