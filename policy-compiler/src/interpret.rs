//! The executable definition of the language: what the hooks of a policy set do with one call.
//!
//! It runs [`crate::hir`] over the values of a call and says which selector wins, what is done and what is posted. It is written
//! to be read beside the language reference (each rule cites its section, `§`), never for speed; the code that the compiler
//! generates must agree with it, which differential tests check. It has no state: what depends on earlier calls (rate limits,
//! the entry of a call that returns) is an argument or left to the caller.
//!
//! User memory that cannot be read is a third truth value beside yes and no ([`Truth::Undecided`]), never "no match": an attacker
//! can arrange that a page is not resident. Conjunctions are Kleene's: one filter that surely fails decides a selector.

mod expression;
mod predicate;

pub(crate) use predicate::text;

use std::collections::{BTreeMap, BTreeSet};

use crate::hir::{Actions, Filter, Hook, Operand, RateLimit};
use crate::set::Scope;

pub use predicate::holds;

/// What a hook sees of one call.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Call {
    /// The values of the operands that the hooks read. One that is missing could not be read.
    pub values: BTreeMap<Operand, Value>,
    /// The process that makes the call.
    pub process: Process,
    /// What is left for the enforcers of the hook's policy, by the same thread before.
    pub notified: Option<crate::hir::Notification>,
}

/// A value of a call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Value {
    /// The 8 bytes that the hook passes, before they are cut to the operand's type.
    Integer(u64),
    /// A string, of any bytes but NUL.
    String(Vec<u8>),
    /// A file by its path.
    Path {
        /// Empty if the file has none.
        path: Vec<u8>,
        /// `i_mode` of its inode.
        mode: u16,
    },
    /// A socket.
    Sock(Sock),
    /// A socket address.
    Sockaddr(Sockaddr),
    /// User memory that could not be read: what stands there is not known.
    Unreadable,
    /// There is nothing to read: a null pointer, a number that is no open file, kernel memory that is not there.
    Absent,
}

/// A socket as filters see it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sock {
    /// `AF_*`
    pub family: u16,
    /// `IPPROTO_*`
    pub protocol: u16,
    /// `TCP_*`
    pub state: u16,
    /// Local port; 0 unless the family is IPv4 or IPv6.
    pub source_port: u16,
    /// Peer's port, likewise.
    pub destination_port: u16,
    /// Local address in network byte order; IPv4 in the first four bytes.
    pub source: [u8; 16],
    /// Peer's address, likewise.
    pub destination: [u8; 16],
}

/// A socket address as filters see it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sockaddr {
    /// `AF_*`
    pub family: u16,
    /// Port; 0 unless the family is IPv4 or IPv6.
    pub port: u16,
    /// In network byte order; IPv4 in the first four bytes.
    pub address: [u8; 16],
}

/// The process that makes a call, at the time of the call.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Process {
    /// Thread-group id.
    pub pid: u32,
    /// Pid in its own pid namespace, 0 in the initial one, as it was recorded when the process came to be; `None` if nothing was.
    pub namespace_pid: Option<u32>,
    /// The process and its ancestors up to pid 1, nearest first: pid, and pid in the own pid namespace (0 in the initial one).
    /// Empty if it could not be followed to its end.
    pub lineage: Vec<(u32, u32)>,
    /// Path of the executable; `None` if there is none (a kernel thread).
    pub executable: Option<Vec<u8>>,
    /// Inode numbers of its namespaces; one that is missing does not exist on the kernel and reads as 0.
    pub namespaces: BTreeMap<crate::hir::Namespace, u32>,
    /// Slots of the policies that apply to its workload.
    pub workload: BTreeSet<u32>,
    /// `cap_effective`, `cap_inheritable`, `cap_permitted` of its subjective credentials.
    pub capabilities: BTreeMap<crate::hir::CapabilitySet, u64>,
    /// What its record says of namespaces and capabilities (§6.8, §6.9); `None`: there is no record.
    pub recorded: Option<Recorded>,
}

/// Namespaces and capabilities that a process had when it was executed, or at the last event about a change of them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Recorded {
    /// Inode numbers; one that is missing is 0.
    pub namespaces: BTreeMap<crate::hir::Namespace, u32>,
    /// Sets; one that is missing is empty.
    pub capabilities: BTreeMap<crate::hir::CapabilitySet, u64>,
}

/// Outcome of a test.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Truth {
    No,
    /// It depends on user memory that could not be read.
    Undecided,
    Yes,
}

/// Which selector of a hook a call is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Selection {
    /// None: the hook does nothing.
    None,
    /// The first that holds, by position; 0 for a hook without selectors, which everything matches.
    Selector(usize),
    /// It depends on user memory that could not be read. Where the call can be looked at again at its return that decides; else
    /// it is counted, and posted if any selector posts.
    Undecided,
}

/// What a hook does.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Effects {
    /// Signals sent to the process, in order.
    pub signals: Vec<u32>,
    /// Signals that a policy in monitor mode would have sent.
    pub monitored_signals: Vec<u32>,
    /// Errno that the hook asks to return instead of running the function, positive.
    pub override_errno: Option<u32>,
    /// A policy in monitor mode would have asked for one.
    pub monitored_override: bool,
    /// What is left for the policy's enforcers from now on.
    pub notify: Option<crate::hir::Notification>,
    /// What was left for them is taken away.
    pub forgets: bool,
    /// The event; `None` if the selector does not post.
    pub post: Option<Posted>,
}

/// An event of a hook.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Posted {
    /// Position of the selector.
    pub selector: usize,
    /// `tetragon.KprobeAction` of the last action (§5.4).
    pub action: u16,
    /// It is left out if one like it was posted within this time (§8).
    pub rate_limit: Option<RateLimit>,
    /// With the kernel's stack.
    pub kernel_stack: bool,
    /// With the stack of the process.
    pub user_stack: bool,
}

/// Whether a hook's policy applies to the process (§9.4): to all, or to the workloads that it is assigned to.
pub fn applies(hook: &Hook, process: &Process) -> bool {
    match hook.scope {
        Scope::All => true,
        Scope::Workloads => process.workload.contains(&hook.policy_slot),
    }
}

/// The selector that a call is for: the first whose filters all hold (§5.1), if the policy applies to the process.
pub fn select(hook: &Hook, call: &Call) -> Selection {
    if !applies(hook, &call.process) {
        return Selection::None;
    }
    if hook.selectors.is_empty() {
        return Selection::Selector(0);
    }
    for (position, selector) in hook.selectors.iter().enumerate() {
        match all(&selector.filters, call) {
            Truth::Yes => return Selection::Selector(position),
            // whether one after it holds does not matter: if this one does, it is first
            Truth::Undecided => return Selection::Undecided,
            Truth::No => {}
        }
    }
    Selection::None
}

/// Whether the return filters of the selected selector hold for the value returned (§5.3). `call` has it under
/// [`crate::hir::OperandSource::Return`].
pub fn confirmed(hook: &Hook, selector: usize, call: &Call) -> bool {
    hook.selectors
        .get(selector)
        .is_none_or(|selector| all(&selector.return_filters, call) == Truth::Yes)
}

/// What is done where the selector was found: at the entry of the operation.
pub fn act(hook: &Hook, selector: usize, monitors: bool) -> Effects {
    match hook.selectors.get(selector) {
        Some(chosen) => effects(&chosen.actions, selector, monitors),
        None => effects(&everything(), selector, monitors),
    }
}

/// What is done when the operation returns and the return filters hold (§8, `matchReturnActions`). The event is posted only if
/// both lists of actions post.
pub fn act_at_return(hook: &Hook, selector: usize, monitors: bool) -> Effects {
    let Some(chosen) = hook.selectors.get(selector) else {
        return effects(&everything(), selector, monitors);
    };
    let mut done = effects(&chosen.return_actions, selector, monitors);
    done.post = match (&chosen.actions.post, &chosen.return_actions.post) {
        (Some(_), Some(_)) => effects(&chosen.actions, selector, monitors).post,
        _ => None,
    };
    done
}

/// The errno that a call of a set gets: that of the first policy that asks for one.
pub fn verdict<'e>(effects: impl IntoIterator<Item = &'e Effects>) -> Option<u32> {
    effects.into_iter().find_map(|effect| effect.override_errno)
}

/// Whether any selector of a hook posts: what an undecided call needs to be shown.
pub fn posting_selector(hook: &Hook) -> Option<usize> {
    if hook.selectors.is_empty() {
        return Some(0);
    }
    hook.selectors
        .iter()
        .position(|selector| selector.actions.post.is_some())
}

/// §5.1: a conjunction.
fn all(filters: &[Filter], call: &Call) -> Truth {
    let truths = filters.iter().map(|filter| holds(&filter.predicate, call));
    truths.fold(Truth::Yes, |so_far, truth| match (so_far, truth) {
        (Truth::No, _) | (_, Truth::No) => Truth::No,
        (Truth::Undecided, _) | (_, Truth::Undecided) => Truth::Undecided,
        (Truth::Yes, Truth::Yes) => Truth::Yes,
    })
}

/// The actions of a hook without selectors: it posts (§5.4).
fn everything() -> Actions {
    Actions {
        post: Some(crate::hir::Post::default()),
        reported: crate::resolve::POST,
        ..Actions::default()
    }
}

/// §8, §9: a policy in monitor mode reports what it would have done and does not do it.
fn effects(actions: &Actions, selector: usize, monitors: bool) -> Effects {
    let (signals, monitored_signals) = if monitors {
        (Vec::new(), actions.signals.clone())
    } else {
        (actions.signals.clone(), Vec::new())
    };
    Effects {
        signals,
        monitored_signals,
        override_errno: actions.override_errno.filter(|_| !monitors),
        monitored_override: monitors && actions.override_errno.is_some(),
        notify: actions.notify.filter(|_| !monitors),
        forgets: actions.forget.is_some(),
        post: actions.post.map(|post| Posted {
            selector,
            action: actions.reported,
            rate_limit: post.rate_limit,
            kernel_stack: post.kernel_stack,
            user_stack: post.user_stack,
        }),
    }
}

#[cfg(test)]
mod tests;
