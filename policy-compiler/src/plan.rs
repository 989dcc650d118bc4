//! Passes 4 to 6: hooks with the same attach point become one decision problem ([`HookPlan`]).
//!
//! The program that a plan describes runs in phases, so that what is dear is done at one place and only if it is needed:
//!
//! 0. *screen*: where it takes little to see that no selector can hold, the program leaves (see [`crate::generate`]);
//! 1. *prologue*: scratch memory, calls under way, policy bits of the process;
//! 2. *cheap*: the filters on registers, the process and its credentials; leaves the set of selectors that are still live;
//! 3. *gather*: strings, paths and sockets that a live selector tests, each read once, whatever the number of selectors;
//! 4. *decide*: the dear filters of live selectors in policy order, the first that holds wins (§5.1);
//! 5. *gather for posting*: what only events need, if something is posted;
//! 6. *act*: signals, overrides and events of the winners.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::attach::{Role, reads_user_memory};
use crate::binary_table::{BinaryBit, BinaryTable};
use crate::facts::KernelFacts;
use crate::hash::StableHasher;
use crate::hir::{
    Actions, Argument, Filter, Hook, Operand, OperandSource, Predicate, Selector, Target, TextTest, UserName,
    UserTarget,
};
use crate::output::{ArgumentTemplate, ArgumentType, AttachPoint, EventTemplate, HookKind, SourceLine, UserTemplate};

/// Texts a program may hold (`SCRATCH_TEXTS`).
pub const MAX_TEXTS: usize = 8;
/// Sockets, and socket addresses, a program may hold.
pub const MAX_SOCKS: usize = 2;
/// Numbers in memory that a program may hold.
pub const MAX_NUMBERS: usize = 8;

/// The decision problem of one attach point.
#[derive(Clone, PartialEq, Hash, Debug)]
pub struct HookPlan {
    /// Where the program goes.
    pub attach: AttachPoint,
    /// The hooks, in order of policy slot and place in the policy.
    pub instances: Vec<Instance>,
    /// String and path operands, by number of their text.
    pub texts: Vec<Operand>,
    /// `sock` and `skb` operands, by number.
    pub socks: Vec<Operand>,
    /// `sockaddr` operands, by number.
    pub sockaddrs: Vec<Operand>,
    /// Numbers in memory, by number; whatever types they are read as, each is there once.
    pub numbers: Vec<Operand>,
    /// Words of the process record that are looked at, with the predicates to evaluate if the stamp differs.
    pub binary_words: Vec<BinaryWord>,
    /// What it can send.
    pub templates: Vec<EventTemplate>,
    /// See [`crate::output::HookObject::tag`].
    pub tag: u32,
}

/// A word of stage-1 bits as a program needs it.
#[derive(Clone, PartialEq, Hash, Debug)]
pub struct BinaryWord {
    /// Which word of the process record.
    pub word: u32,
    /// Stamp it must carry.
    pub stamp: u32,
    /// Its predicates, by bit.
    pub tests: Vec<TextTest>,
}

/// One hook in a plan.
#[derive(Clone, PartialEq, Hash, Debug)]
pub struct Instance {
    /// The hook.
    pub hook: Arc<Hook>,
    /// What this program does for it.
    pub role: Role,
    /// Its selectors; one that matches everything if the policy has none.
    pub selectors: Vec<PlannedSelector>,
    /// Number of its first template; templates of one kind follow each other by selector.
    pub templates: Templates,
    /// Identifies calls under way of this hook in `tetra_pending`.
    pub pending_key: u32,
    /// Identifies, there too, calls under way of any hook with the same target. It is the same in every version of the programs.
    pub target_key: u32,
    /// Whether the program at the return of a system call finds its arguments again.
    pub reads_again: bool,
}

/// First template of each kind that an instance sends.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Templates {
    /// Arguments, and the return value where the program sees it.
    pub whole: u32,
    /// The return value only.
    pub returned: u32,
}

/// A selector with its filters in order of evaluation.
#[derive(Clone, PartialEq, Hash, Debug)]
pub struct PlannedSelector {
    /// Evaluated on registers and the process, in the cheap phase.
    pub cheap: Vec<PlannedFilter>,
    /// Evaluated on what has been gathered.
    pub dear: Vec<PlannedFilter>,
    /// On the return value.
    pub returned: Vec<PlannedFilter>,
    /// Actions at entry.
    pub actions: Actions,
    /// Actions at return.
    pub return_actions: Actions,
    /// First line.
    pub line: SourceLine,
}

/// A filter with the place of its answer, if stage 1 has it.
#[derive(Clone, PartialEq, Hash, Debug)]
pub struct PlannedFilter {
    /// What must hold.
    pub predicate: Predicate,
    /// For [`Predicate::Binary`]: where the answer stands.
    pub binary_bit: Option<BinaryBit>,
    /// Follows from another filter of the selector: only there to fail sooner.
    pub is_implied: bool,
    /// Its line.
    pub line: SourceLine,
}

/// A hook needs more of something than a program has.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct TooLarge {
    /// What there is too much of.
    pub what: &'static str,
    /// How much a program has.
    pub limit: usize,
    /// The line of the hook that went over.
    pub line: SourceLine,
    /// Slot of its policy.
    pub policy_slot: u32,
}

/// The operand that `matchBinaries` looks at where stage 1 is full.
pub fn executable() -> Operand {
    Operand {
        source: OperandSource::Executable,
        argument_type: ArgumentType::File,
        exact_type: false,
    }
}

impl HookPlan {
    /// Merges hooks that share an attach point.
    pub fn new(
        attach: AttachPoint,
        hooks: Vec<(Arc<Hook>, Role)>,
        table: &BinaryTable,
        facts: &KernelFacts,
    ) -> Result<Self, TooLarge> {
        let mut plan = Self {
            attach,
            instances: Vec::new(),
            texts: Vec::new(),
            socks: Vec::new(),
            sockaddrs: Vec::new(),
            numbers: Vec::new(),
            binary_words: Vec::new(),
            templates: Vec::new(),
            tag: 0,
        };
        for (hook, role) in hooks {
            plan.add(hook, role, table, facts)?;
        }
        let words: BTreeSet<u32> = plan.filters().filter_map(|f| f.binary_bit).map(|b| b.word).collect();
        plan.binary_words = words
            .into_iter()
            .map(|word| BinaryWord {
                word,
                stamp: table.stamp(word),
                tests: table.word(word).to_vec(),
            })
            .collect();
        if !plan.binary_words.is_empty() {
            // evaluating a word needs the path of the executable
            let line = plan.instances[0].hook.line.clone();
            let slot = plan.instances[0].hook.policy_slot;
            plan.gather(&executable(), &line, slot)?;
        }
        plan.tag = plan.hash();
        Ok(plan)
    }

    fn add(&mut self, hook: Arc<Hook>, role: Role, table: &BinaryTable, facts: &KernelFacts) -> Result<(), TooLarge> {
        let mut selectors: Vec<PlannedSelector> = if hook.selectors.is_empty() {
            vec![match_everything(&hook)]
        } else {
            hook.selectors.iter().map(|s| planned(s, table)).collect()
        };
        // a trampoline has them in its context; others ask for the registers of the task
        let is_trampoline = matches!(
            self.attach,
            AttachPoint::Fentry { .. } | AttachPoint::Fexit { .. } | AttachPoint::FmodRet { .. }
        );
        let reads_again = is_trampoline || facts.features.current_task_btf;
        let only_finishes = role == Role::ExitOfPair && !(reads_again && may_be_left_open(&hook));
        if only_finishes {
            for selector in &mut selectors {
                selector.cheap.clear();
                selector.dear.clear();
            }
        }
        for selector in &selectors {
            for filter in &selector.dear {
                match &filter.predicate {
                    Predicate::Binary { .. } => self.gather(&executable(), &filter.line, hook.policy_slot)?,
                    predicate => {
                        for operand in predicate.operands() {
                            self.gather(operand, &filter.line, hook.policy_slot)?;
                        }
                    }
                }
            }
        }
        let posts_arguments = posts_arguments(role) && !only_finishes;
        if posts_arguments {
            for argument in &hook.arguments {
                self.gather(&argument.operand, &argument.line, hook.policy_slot)?;
            }
        }
        let templates = self.add_templates(&hook, role, posts_arguments);
        let pending_key = hook.policy_slot << 12 | (hook.instance & 0xfff);
        let target_key = target_key(&hook.target);
        self.instances.push(Instance {
            hook,
            role,
            selectors,
            templates,
            pending_key,
            target_key,
            reads_again,
        });
        Ok(())
    }

    fn add_templates(&mut self, hook: &Hook, role: Role, posts_arguments: bool) -> Templates {
        let mut templates = Templates::default();
        let whole_returned = hook.returned.as_ref().filter(|_| role.is_exit());
        if posts_arguments {
            templates.whole = self.templates.len() as u32;
            self.templates
                .extend(event_templates(hook, &hook.arguments, whole_returned));
        }
        if role == Role::ExitOfPair {
            templates.returned = self.templates.len() as u32;
            self.templates
                .extend(event_templates(hook, &[], hook.returned.as_ref()));
        }
        templates
    }

    /// Gives an operand that must be gathered its place.
    fn gather(&mut self, operand: &Operand, line: &SourceLine, policy_slot: u32) -> Result<(), TooLarge> {
        let (places, limit, what) = if operand.is_text() {
            (&mut self.texts, MAX_TEXTS, "different strings and paths")
        } else if operand.is_sock() {
            (&mut self.socks, MAX_SOCKS, "different sockets and packets")
        } else if operand.argument_type == ArgumentType::Sockaddr {
            (&mut self.sockaddrs, MAX_SOCKS, "different socket addresses")
        } else if operand.is_loaded_number() {
            (&mut self.numbers, MAX_NUMBERS, "different numbers in memory")
        } else {
            return Ok(());
        };
        if !places.iter().any(|known| known.shares_place(operand)) {
            if places.len() == limit {
                return Err(TooLarge {
                    what,
                    limit,
                    line: line.clone(),
                    policy_slot,
                });
            }
            places.push(operand.clone());
        }
        Ok(())
    }

    /// Whether any of its hooks is on a syscall, by whatever means.
    pub fn is_syscall(&self) -> bool {
        self.instances.iter().any(Instance::is_syscall)
    }

    /// Whether pointers among the arguments are the user's: an address in the kernel must not be followed for him.
    pub fn has_user_pointers(&self) -> bool {
        match &self.attach {
            AttachPoint::Tracepoint { subsystem, .. } if subsystem == "syscalls" => true,
            AttachPoint::Uprobe { .. } | AttachPoint::Uretprobe { .. } => true,
            _ => self.is_syscall(),
        }
    }

    /// Number of an operand's text.
    pub fn text(&self, operand: &Operand) -> Option<usize> {
        self.texts.iter().position(|o| o == operand)
    }

    /// All filters at entry.
    pub fn filters(&self) -> impl Iterator<Item = &PlannedFilter> {
        self.instances
            .iter()
            .flat_map(|i| &i.selectors)
            .flat_map(|s| s.cheap.iter().chain(&s.dear))
    }

    /// Whether anything has to be gathered, for filters or for events.
    pub fn gathers(&self) -> bool {
        self.gathered() > 0
    }

    /// How many different things that is.
    pub fn gathered(&self) -> usize {
        self.texts.len() + self.socks.len() + self.sockaddrs.len() + self.numbers.len()
    }

    /// The string tests on each text, numbered in order of first use: the classes of its classification.
    pub fn text_tests(&self) -> Vec<(usize, TextTest)> {
        let mut tests: Vec<(usize, TextTest)> = Vec::new();
        let mut seen = BTreeSet::new();
        for filter in self.filters() {
            let predicates = match &filter.predicate {
                Predicate::Expression(condition) => condition.tests(),
                other => vec![other],
            };
            for predicate in predicates {
                let (operand, test) = match predicate {
                    Predicate::Text { operand, test, .. } => (operand.clone(), test),
                    Predicate::Binary { test, .. } if filter.binary_bit.is_none() => (executable(), test),
                    _ => continue,
                };
                if let Some(text) = self.text(&operand)
                    && seen.insert((text, test))
                {
                    tests.push((text, test.clone()));
                }
            }
        }
        tests
    }

    fn hash(&self) -> u32 {
        StableHasher::of(self)
    }
}

impl Instance {
    /// Whether there is something to do at the return of a call that a selector was found for, beside sending its event.
    pub fn acts_at_return(&self, selector: &PlannedSelector) -> bool {
        selector.return_actions.enforces() || self.hook.tracks_returned.is_some()
    }

    /// Whether its selectors' actions at entry are done by this program.
    pub fn acts(&self) -> bool {
        self.role != Role::ExitPost
    }

    /// Whether this program sends its events.
    pub fn posts(&self) -> bool {
        self.role != Role::Enforce
    }

    /// Whether a call whose user memory cannot be read is left to the exit of the operation.
    pub fn defers(&self) -> bool {
        matches!(self.role, Role::EntryDeferring | Role::EntryOfPair)
            && self.reads_again
            && may_be_left_open(&self.hook)
    }

    /// Whether it only sends the second halves of events whose first the entry has sent, and never decides.
    pub fn only_finishes(&self) -> bool {
        self.role == Role::ExitOfPair && !(self.reads_again && may_be_left_open(&self.hook))
    }

    /// Whether user memory that cannot be read leaves the decision open. A string of a function may be anywhere.
    pub fn may_be_undecided(&self) -> bool {
        let is_of_user = matches!(self.hook.target, Target::Syscall(_) | Target::User(_));
        let is_user = |o: &&Operand| is_of_user || o.argument_type == ArgumentType::String || o.is_buffer();
        !self.only_finishes() && self.hook.operands().filter(is_user).any(reads_user_memory)
    }

    fn is_syscall(&self) -> bool {
        matches!(self.hook.target, Target::Syscall(_))
    }
}

/// Beside the keys of hooks, which have a policy slot in their upper half.
fn target_key(target: &Target) -> u32 {
    StableHasher::of(target) | 1 << 31
}

/// Whether the entry of a hook may leave a call to its return: only the arguments of a syscall can be read again there.
fn may_be_left_open(hook: &Hook) -> bool {
    matches!(hook.target, Target::Syscall(_)) && hook.operands().any(reads_user_memory)
}

/// Whether a program with this role sends the arguments.
fn posts_arguments(role: Role) -> bool {
    role != Role::Enforce
}

fn match_everything(hook: &Hook) -> PlannedSelector {
    let post = Actions {
        post: Some(crate::hir::Post::default()),
        reported: crate::resolve::POST,
        ..Actions::default()
    };
    PlannedSelector {
        cheap: Vec::new(),
        dear: Vec::new(),
        returned: Vec::new(),
        actions: post.clone(),
        return_actions: post,
        line: hook.line.clone(),
    }
}

fn planned(selector: &Selector, table: &BinaryTable) -> PlannedSelector {
    let plan = |filter: &Filter| PlannedFilter {
        binary_bit: match &filter.predicate {
            Predicate::Binary { test, .. } => table.bit(test),
            _ => None,
        },
        is_implied: false,
        predicate: filter.predicate.clone(),
        line: filter.line.clone(),
    };
    let implied = selector.filters.iter().filter_map(|filter| implied(filter, table));
    let (mut cheap, mut dear): (Vec<PlannedFilter>, Vec<PlannedFilter>) = selector
        .filters
        .iter()
        .map(plan)
        .chain(implied)
        .partition(|f| cost(f) < DEAR);
    // stable: filters of equal cost keep the policy's order
    cheap.sort_by_key(cost);
    dear.sort_by_key(cost);
    PlannedSelector {
        cheap,
        dear,
        returned: selector.return_filters.iter().map(plan).collect(),
        actions: selector.actions.clone(),
        return_actions: selector.return_actions.clone(),
        line: selector.line.clone(),
    }
}

/// The shared predicate of stage 1 for one that found no bit there.
fn implied(filter: &Filter, table: &BinaryTable) -> Option<PlannedFilter> {
    let Predicate::Binary { test, negated: false } = &filter.predicate else {
        return None;
    };
    if table.bit(test).is_some() {
        return None;
    }
    // the bit stands for the values of all that share it
    let values = Vec::new();
    let comparison = test.comparison;
    Some(PlannedFilter {
        predicate: Predicate::Binary {
            test: TextTest { comparison, values },
            negated: false,
        },
        binary_bit: Some(table.shared_bit(test)?),
        is_implied: true,
        line: filter.line.clone(),
    })
}

/// From here on something has to be read from memory that is not at hand.
const DEAR: u32 = 100;

/// Rough number of instructions of a filter, for their order.
fn cost(filter: &PlannedFilter) -> u32 {
    match &filter.predicate {
        Predicate::Integer { operand, .. } if operand.is_loaded() => DEAR,
        Predicate::Integer { .. } => 2,
        Predicate::Binary { .. } if filter.binary_bit.is_some() => 3,
        Predicate::Pid {
            follow_forks: false,
            is_namespace_pid: false,
            ..
        } => 10,
        Predicate::Pid {
            follow_forks: false, ..
        } => 30,
        Predicate::Capability { .. } => 40,
        Predicate::Expression(condition) => {
            let is_gathered = |operand: &&Operand| operand.is_text() || operand.is_socket() || operand.is_loaded();
            let operands = condition.operands();
            let is_dear = operands.iter().any(is_gathered);
            // after the filters that do not mind an order
            if is_dear {
                310
            } else {
                (10 + operands.len() as u32).min(DEAR - 1)
            }
        }
        Predicate::CapabilityChange { .. } => 60,
        Predicate::NamespaceChange { namespaces } => 30 + 40 * namespaces.len() as u32,
        Predicate::Notified(_) => 60,
        Predicate::Namespace { .. } => 50,
        Predicate::Sock { .. } => 200,
        // the path is read with it
        Predicate::FileType { .. } => 290,
        Predicate::Text { .. } | Predicate::Binary { .. } => 300,
        Predicate::Pid { .. } => 1000,
    }
}

fn event_templates<'h>(
    hook: &'h Hook,
    arguments: &'h [Argument],
    returned: Option<&'h Argument>,
) -> impl Iterator<Item = EventTemplate> + 'h {
    let template = |argument: &Argument| ArgumentTemplate {
        is_data: argument.is_data,
        argument_type: argument.operand.argument_type,
        label: argument.label.clone(),
    };
    let all: Vec<ArgumentTemplate> = arguments.iter().chain(returned).map(template).collect();
    let (function_name, subsystem, event) = match &hook.target {
        Target::Function(symbol) => (symbol.clone(), String::new(), String::new()),
        Target::Syscall(name) => (
            crate::attach::syscall_symbol(name, crate::facts::Arch::X86_64),
            String::new(),
            String::new(),
        ),
        Target::Lsm(name) => (name.clone(), String::new(), String::new()),
        Target::Tracepoint(subsystem, event) | Target::RawTracepoint(subsystem, event) => {
            (String::new(), subsystem.clone(), event.clone())
        }
        Target::User(user) => match &user.name {
            UserName::Symbol(symbol) => (symbol.clone(), String::new(), String::new()),
            UserName::Offset => Default::default(),
            UserName::Probe(provider, name) => (String::new(), provider.clone(), name.clone()),
        },
    };
    let user = match &hook.target {
        Target::User(UserTarget { place, name }) => Some(UserTemplate {
            path: place.path.as_str().into(),
            offset: if *name == UserName::Offset { place.offset } else { 0 },
            ref_ctr_offset: place.ref_ctr_offset,
        }),
        _ => None,
    };
    let count = hook.selectors.len().max(1);
    (0..count).map(move |i| EventTemplate {
        // events of fentries are kprobe events, as their users know them
        kind: if hook.kind == HookKind::Fentry {
            HookKind::Kprobe
        } else {
            hook.kind
        },
        policy_slot: hook.policy_slot,
        policy_name: hook.policy_name.clone(),
        policy_namespace: hook.policy_namespace.clone(),
        function_name: function_name.as_str().into(),
        subsystem: subsystem.as_str().into(),
        event: event.as_str().into(),
        user: user.clone(),
        arguments: all.clone(),
        has_return: returned.is_some(),
        message: hook.message.clone(),
        tags: hook.tags.clone(),
        hook_index: hook.hook_index,
        selector_index: (!hook.selectors.is_empty()).then_some(i as u32),
    })
}

impl std::fmt::Display for HookPlan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "plan {}", crate::attach::describe(&self.attach))?;
        for (what, places) in [
            ("text", &self.texts),
            ("sock", &self.socks),
            ("sockaddr", &self.sockaddrs),
            ("number", &self.numbers),
        ] {
            for (i, operand) in places.iter().enumerate() {
                writeln!(f, "  {what} {i}: {}", crate::hir::print::operand(operand))?;
            }
        }
        for word in &self.binary_words {
            writeln!(
                f,
                "  stage 1 word {} stamp {:#010x}: {} predicates",
                word.word,
                word.stamp,
                word.tests.len()
            )?;
        }
        for instance in &self.instances {
            writeln!(f, "  policy {} as {:?}", instance.hook.policy_name, instance.role)?;
            for (i, selector) in instance.selectors.iter().enumerate() {
                writeln!(f, "    selector {i}")?;
                for (stage, filters) in [
                    ("cheap", &selector.cheap),
                    ("dear", &selector.dear),
                    ("return", &selector.returned),
                ] {
                    for filter in filters {
                        let bit = filter
                            .binary_bit
                            .map(|b| format!(" at bit {}.{}", b.word, b.bit))
                            .unwrap_or_default();
                        writeln!(
                            f,
                            "      {stage}: {}{bit}",
                            crate::hir::print::predicate(&filter.predicate)
                        )?;
                    }
                }
            }
        }
        Ok(())
    }
}
