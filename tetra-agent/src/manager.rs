//! The set of policies of this node: which there are, in which state, and what the kernel runs because of them.
//!
//! Every change compiles the whole set anew and replaces all programs at one instant ([`HookSet::apply`](kprobes::HookSet::apply)). A policy that can't
//! be compiled or loaded is listed with its diagnostics; the others are not touched. Calls block: the kernel verifies programs.

mod change;
mod kernel;
mod status;
mod storage;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};

use ebpf::record::PolicyCounter;
use kprobes::{HookInfo, PolicyCounters, PolicyMode};
use policy_compiler::{Mode, PolicyEntry, PolicySet, Scope};
use tetra_api::tetragon::TracingPolicyState;
use tracingpolicy_crd::{Diagnostic, Policy, Source, parse, render};

pub use change::Change;
pub use kernel::{Kernel, LiveKernel};

pub use storage::{PolicyFiles, read_policy_files};

use self::change::Pending;
use crate::policy::{Account, Registry, Template};

/// Domain of policies that come over the API and name none.
pub const DOMAIN_GRPC: &str = "grpc";
/// Domain of policies from files.
pub const DOMAIN_STATIC: &str = "static";
/// Domain that no policy may have.
const DOMAIN_RESERVED: &str = "sensors";

/// What identifies a policy.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PolicyKey {
    /// Where it came from.
    pub domain: String,
    /// `metadata.namespace`; empty for a cluster-wide policy.
    pub namespace: String,
    /// `metadata.name`
    pub name: String,
}

impl std::fmt::Display for PolicyKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.namespace.is_empty() {
            write!(f, "{}", self.name)
        } else {
            write!(f, "{}/{}", self.namespace, self.name)
        }
    }
}

/// Why a call on the manager failed; the text is for the user.
#[derive(Debug, thiserror::Error)]
pub enum ManagerError {
    /// The text is no policy, or the compiler or the kernel refuses it.
    #[error("{0}")]
    Refused(String),
    /// There is one of that name already.
    #[error("policy `{key}` exists already in domain `{}`; help: delete it first", key.domain)]
    Exists {
        /// Its name.
        key: PolicyKey,
    },
    /// There is none of that name.
    #[error("there is no policy `{key}` in domain `{}`", key.domain)]
    Missing {
        /// The name asked for.
        key: PolicyKey,
    },
    /// All slots of the shared maps are taken.
    #[error("{0} policies are loaded, there is no room for more")]
    Full(u32),
    /// The policy can't have that mode.
    #[error("policy `{key}` has no action that could be enforced: it is always in mode monitor_only")]
    MonitorOnly {
        /// Its name.
        key: PolicyKey,
    },
    /// The machine failed, not the policy.
    #[error(transparent)]
    Kernel(#[from] kprobes::LoadError),
}

/// Names of the policies of a text that are in force, or why none of them is.
pub type Loaded = Result<Vec<PolicyKey>, ManagerError>;

/// State of a policy.
#[derive(Clone, PartialEq, Eq, Debug)]
enum State {
    Enabled,
    Disabled,
    /// It could not be compiled or loaded: the diagnostics, rendered.
    LoadError(String),
}

impl State {
    fn api(&self) -> TracingPolicyState {
        match self {
            Self::Enabled => TracingPolicyState::TpStateEnabled,
            Self::Disabled => TracingPolicyState::TpStateDisabled,
            Self::LoadError(_) => TracingPolicyState::TpStateLoadError,
        }
    }
}

#[derive(Debug)]
struct Entry {
    /// Never reused while the agent runs.
    id: u64,
    slot: u32,
    policy: Policy,
    state: State,
    mode: PolicyMode,
    /// Has an action that a mode can switch.
    enforces: bool,
    account: Arc<Account>,
    /// What had been sent for it when this agent took it over.
    sent_before: u64,
    /// Its warnings have been logged: the set is compiled anew with every change, they are not said again.
    warned: bool,
}

/// See [the module](self).
#[derive(Debug)]
pub struct Manager<K> {
    kernel: K,
    registry: Arc<RwLock<Registry>>,
    entries: BTreeMap<PolicyKey, Entry>,
    hooks: Vec<HookInfo>,
    last_id: u64,
    next_slot: u32,
    /// Slots of a former agent's policies, and which these are. They are in force until the first change.
    former: BTreeMap<u32, u64>,
    /// Changes under way.
    pending: Vec<Pending>,
}

impl<K: Kernel> Manager<K> {
    /// A manager without policies.
    pub fn new(kernel: K, registry: Arc<RwLock<Registry>>) -> Self {
        Self {
            kernel,
            registry,
            entries: BTreeMap::new(),
            hooks: Vec::new(),
            last_id: 0,
            next_slot: 0,
            former: BTreeMap::new(),
            pending: Vec::new(),
        }
    }

    /// Keeps clear of the policies that a former agent has left in force: their slots are not touched, but by a policy that is
    /// the same, which goes on in its slot with its counters. The first change replaces them all.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn take_over(&mut self) -> Result<(), ManagerError> {
        self.former = self.kernel.identities()?.into_iter().collect();
        Ok(())
    }

    /// The kernel.
    pub fn kernel_mut(&mut self) -> &mut K {
        &mut self.kernel
    }

    /// Puts the policies of several texts in force by a single change, each text all or none; what is in force already goes on
    /// without a gap. Returns what became of each text, in order.
    ///
    /// # Errors
    /// The machine failed: what was in force before still is.
    pub fn load(&mut self, texts: &[(String, String)], domain: &str) -> Result<Vec<Loaded>, ManagerError> {
        let inserted: Vec<Loaded> = texts
            .iter()
            .map(|(name, text)| self.insert(name, text, domain))
            .collect();
        if let Err(error) = self.apply() {
            for key in inserted.iter().flatten().flatten() {
                self.entries.remove(key);
            }
            return Err(error);
        }
        let mut taken_back = false;
        let settled = inserted
            .into_iter()
            .map(|keys| self.settle(keys?, &mut taken_back))
            .collect();
        if taken_back {
            self.apply()?;
        }
        Ok(settled)
    }

    /// Puts the policies of a text in force, all or none. Returns their names.
    ///
    /// # Errors
    /// Diagnostics of the text, the compiler or the kernel. Policies that could be parsed stay listed in state `load_error`.
    pub fn add(&mut self, name: &str, text: &str, domain: &str) -> Result<Vec<PolicyKey>, ManagerError> {
        let keys = self.insert(name, text, domain)?;
        if let Err(error) = self.apply() {
            for key in &keys {
                self.entries.remove(key);
            }
            return Err(error);
        }
        let mut taken_back = false;
        let settled = self.settle(keys, &mut taken_back);
        if taken_back {
            self.apply()?;
        }
        settled
    }

    /// Lists the policies of a text, all or none. They are not in force yet.
    fn insert(&mut self, name: &str, text: &str, domain: &str) -> Loaded {
        if domain == DOMAIN_RESERVED {
            return Err(ManagerError::Refused(format!("domain `{DOMAIN_RESERVED}` is reserved")));
        }
        let parsed = parse(&Source::new(name, text));
        if parsed.has_errors() {
            return Err(ManagerError::Refused(rendered(&parsed.diagnostics)));
        }
        if parsed.policies.is_empty() {
            return Err(ManagerError::Refused(format!("`{name}` holds no policy")));
        }
        warn_of(&parsed.diagnostics);
        let mut keys = Vec::new();
        for policy in &parsed.policies {
            let key = key_of(policy, domain);
            let taken = self
                .entries
                .get(&key)
                .is_some_and(|entry| !matches!(entry.state, State::LoadError(_)));
            if taken || keys.contains(&key) {
                return Err(ManagerError::Exists { key });
            }
            keys.push(key);
        }
        for (index, policy) in parsed.policies.into_iter().enumerate() {
            let key = &keys[index];
            self.entries.remove(key);
            match self.entry(key, policy) {
                Ok(entry) => self.entries.insert(key.clone(), entry),
                Err(error) => {
                    for key in &keys[..index] {
                        self.entries.remove(key);
                    }
                    return Err(error);
                }
            };
        }
        Ok(keys)
    }

    /// What became of the policies of a text. If one of them failed the others are no longer listed, and have to be taken back.
    fn settle(&mut self, keys: Vec<PolicyKey>, taken_back: &mut bool) -> Loaded {
        let errors = keys.iter().filter_map(|key| match &self.entries.get(key)?.state {
            State::LoadError(text) => Some(text.clone()),
            _ => None,
        });
        let errors: Vec<String> = errors.collect();
        if errors.is_empty() {
            return Ok(keys);
        }
        for key in &keys {
            if self.entries.get(key).is_some_and(|entry| entry.state == State::Enabled) {
                self.entries.remove(key);
                *taken_back = true;
            }
        }
        Err(ManagerError::Refused(errors.join("\n")))
    }

    /// Takes a policy out of force and forgets it.
    ///
    /// # Errors
    /// If there is none, or the kernel fails; then nothing has changed.
    pub fn delete(&mut self, key: &PolicyKey) -> Result<(), ManagerError> {
        let entry = self
            .entries
            .remove(key)
            .ok_or_else(|| ManagerError::Missing { key: key.clone() })?;
        if entry.state != State::Enabled {
            return Ok(());
        }
        let result = self.apply();
        if result.is_err() {
            // what is in force still contains it
            self.entries.insert(key.clone(), entry);
        } else {
            log_account(&self.closing(key, &entry));
        }
        result
    }

    /// Takes a policy out of force, or puts it back.
    ///
    /// # Errors
    /// If there is none, or it can't be loaded.
    pub fn enable(&mut self, key: &PolicyKey, enable: bool) -> Result<(), ManagerError> {
        let entry = self
            .entries
            .get_mut(key)
            .ok_or_else(|| ManagerError::Missing { key: key.clone() })?;
        let wanted = if enable { State::Enabled } else { State::Disabled };
        if entry.state == wanted {
            return Ok(());
        }
        let before = std::mem::replace(&mut entry.state, wanted);
        if let Err(error) = self.apply() {
            if let Some(entry) = self.entries.get_mut(key) {
                entry.state = before;
            }
            return Err(error);
        }
        match self.entries.get(key).map(|entry| &entry.state) {
            Some(State::LoadError(text)) => Err(ManagerError::Refused(text.clone())),
            _ => Ok(()),
        }
    }

    /// Switches between enforcing and monitoring, without a reload.
    ///
    /// # Errors
    /// If there is none, or it has nothing to enforce.
    pub fn set_mode(&mut self, key: &PolicyKey, mode: PolicyMode) -> Result<(), ManagerError> {
        let entry = self
            .entries
            .get_mut(key)
            .ok_or_else(|| ManagerError::Missing { key: key.clone() })?;
        if !entry.enforces {
            return Err(ManagerError::MonitorOnly { key: key.clone() });
        }
        self.kernel.set_mode(entry.slot, mode)?;
        entry.mode = mode;
        Ok(())
    }

    /// Domains that have policies, sorted.
    pub fn domains(&self) -> Vec<String> {
        let mut domains: Vec<String> = self.entries.keys().map(|key| key.domain.clone()).collect();
        domains.dedup();
        domains
    }

    /// Takes everything out of force. The accounts are complete once the rings have been read to their end.
    pub fn stop(&mut self) -> Vec<ClosingAccount> {
        if let Err(error) = self.kernel.apply(Vec::new()) {
            tracing::error!(%error, "hooks stay attached until the agent has ended");
        }
        self.leave()
    }

    /// Leaves everything in force. The accounts are complete once the rings have been read.
    pub fn leave(&self) -> Vec<ClosingAccount> {
        self.entries
            .iter()
            .map(|(key, entry)| self.closing(key, entry))
            .collect()
    }

    fn closing(&self, key: &PolicyKey, entry: &Entry) -> ClosingAccount {
        ClosingAccount {
            key: key.clone(),
            account: Arc::clone(&entry.account),
            counters: self.kernel.counters(entry.slot).unwrap_or_default(),
            sent_before: entry.sent_before,
        }
    }

    /// A slot for a policy, with the kernel's side of it ready.
    fn entry(&mut self, key: &PolicyKey, policy: Policy) -> Result<Entry, ManagerError> {
        let identity = identity_of(key, &policy);
        let leaving = self.pending.iter().flat_map(|pending| &pending.old);
        let taken: BTreeSet<u32> = self
            .entries
            .values()
            .chain(leaving.map(|(_, entry)| entry))
            .map(|entry| entry.slot)
            .collect();
        let is_free = |slot: &u32| !taken.contains(slot);
        let former = self
            .former
            .iter()
            .find(|(slot, former)| **former == identity && is_free(slot))
            .map(|(slot, _)| *slot);
        let slots = self.kernel.slots();
        let slot = former
            .or_else(|| {
                (0..slots)
                    .map(|offset| (self.next_slot + offset) % slots)
                    .find(|slot| is_free(slot) && !self.former.contains_key(slot))
            })
            .ok_or(ManagerError::Full(slots))?;
        let mode = match policy_compiler::mode_of(&policy) {
            Some(Mode::Monitor) => PolicyMode::Monitor,
            _ => PolicyMode::Enforce,
        };
        let mut sent_before = 0;
        if former.is_some() {
            sent_before = self.kernel.counters(slot)?[PolicyCounter::PostSent as usize];
            self.kernel.set_mode(slot, mode)?;
        } else {
            // a slot rests for as long as possible before its counters are used again
            self.next_slot = slot + 1;
            self.kernel.prepare_slot(slot, mode, identity)?;
        }
        self.last_id += 1;
        let enforces = status::enforces(&policy.spec);
        Ok(Entry {
            id: self.last_id,
            slot,
            policy,
            state: State::Enabled,
            mode,
            enforces,
            account: Arc::default(),
            sent_before,
            warned: false,
        })
    }

    /// Makes the kernel run what the entries say. Entries that can't be honoured get state `load_error`.
    ///
    /// # Errors
    /// The machine failed: what was in force before still is.
    fn apply(&mut self) -> Result<(), ManagerError> {
        loop {
            let mut set: Vec<PolicyEntry> = self
                .entries
                .values()
                .filter(|entry| entry.state == State::Enabled)
                .map(|entry| PolicyEntry {
                    slot: entry.slot,
                    // those for pods only are refused so far
                    scope: Scope::All,
                    policy: entry.policy.clone(),
                })
                .collect();
            set.sort_by_key(|entry| entry.slot);
            let compilation = self.kernel.compile(&PolicySet { entries: set })?;
            let failed = self
                .entries
                .values_mut()
                .filter(|entry| compilation.failed.contains(&entry.slot));
            for entry in failed {
                entry.state = State::LoadError(rendered(&of_policy(&compilation.diagnostics, &entry.policy)));
            }
            if self.fall_back() {
                continue;
            }
            warn_of(&self.unsaid(&compilation.diagnostics));

            let tags: Vec<u32> = compilation.objects.iter().map(|object| object.tag).collect();
            let known: Vec<u32> = self.hooks.iter().map(|hook| hook.tag).collect();
            self.register(&compilation.objects);
            match self.kernel.apply(compilation.objects) {
                Ok(applied) => {
                    self.hooks = applied.hooks;
                    for hook in &applied.unpinned {
                        tracing::warn!(
                            hook,
                            "this hook ends with the agent, in spite of keep-sensors-on-exit: before 5.15 the kernel cannot pin it"
                        );
                    }
                    self.former.clear();
                    self.free_slots()?;
                    self.retire(known.iter().filter(|tag| !tags.contains(tag)));
                    return Ok(());
                }
                Err(kprobes::LoadError::Policy(diagnostics)) => {
                    self.retire(tags.iter().filter(|tag| !known.contains(tag)));
                    if !self.blame(&diagnostics) {
                        return Err(ManagerError::Refused(rendered(&diagnostics)));
                    }
                    // again, without those, or with what was there before them
                    self.fall_back();
                }
                Err(error) => {
                    self.retire(tags.iter().filter(|tag| !known.contains(tag)));
                    return Err(error.into());
                }
            }
        }
    }

    /// What the compiler has to say about policies that it has not compiled before.
    fn unsaid(&mut self, diagnostics: &[Diagnostic]) -> Vec<Diagnostic> {
        let mut unsaid = Vec::new();
        let enabled = |entry: &&mut Entry| entry.state == State::Enabled && !entry.warned;
        for entry in self.entries.values_mut().filter(enabled) {
            entry.warned = true;
            unsaid.extend(about(diagnostics, &entry.policy));
        }
        unsaid
    }

    /// Tells the kernel which slots have no policy any more.
    fn free_slots(&self) -> Result<(), ManagerError> {
        for (slot, _) in self.kernel.identities()? {
            if self.entries.values().all(|entry| entry.slot != slot) {
                self.kernel.free_slot(slot)?;
            }
        }
        Ok(())
    }

    /// Marks the policies that diagnostics of the loader are about; whether there is any.
    fn blame(&mut self, diagnostics: &[Diagnostic]) -> bool {
        let mut any = false;
        for entry in self.entries.values_mut().filter(|entry| entry.state == State::Enabled) {
            let own = of_policy(diagnostics, &entry.policy);
            if !own.is_empty() {
                entry.state = State::LoadError(rendered(&own));
                any = true;
            }
        }
        any
    }

    /// Makes templates known before the first record can use them.
    fn register(&self, objects: &[policy_compiler::output::HookObject]) {
        let accounts: BTreeMap<u32, &Arc<Account>> = self
            .entries
            .values()
            .map(|entry| (entry.slot, &entry.account))
            .collect();
        let mut registry = self.registry.write().unwrap_or_else(PoisonError::into_inner);
        for object in objects {
            let templates = object.templates.iter().map(|description| Template {
                account: accounts
                    .get(&description.policy_slot)
                    .map(|account| Arc::clone(account))
                    .unwrap_or_default(),
                description: description.clone(),
            });
            registry.insert(object.tag, templates.collect());
        }
    }

    fn retire<'a>(&self, tags: impl Iterator<Item = &'a u32>) {
        let mut registry = self.registry.write().unwrap_or_else(PoisonError::into_inner);
        tags.for_each(|tag| registry.retire(*tag));
    }
}

/// What is left of a policy that is no longer in force.
#[derive(Clone, Debug)]
pub struct ClosingAccount {
    key: PolicyKey,
    account: Arc<Account>,
    counters: PolicyCounters,
    sent_before: u64,
}

/// Says where a policy's records went.
pub fn log_account(closing: &ClosingAccount) {
    let a = closing.account.snapshot();
    let kernel = |counter: PolicyCounter| closing.counters[counter as usize];
    tracing::info!(
        policy = %closing.key,
        domain = closing.key.domain,
        sent = kernel(PolicyCounter::PostSent),
        sent_before = closing.sent_before,
        ring_lost = kernel(PolicyCounter::PostLost),
        received = a.received,
        halves = a.halves,
        cancelled = a.cancelled,
        undecodable = a.undecodable,
        expired = a.expired,
        events = a.events,
        exported = a.exported,
        filtered = a.filtered,
        export_lost = a.lost,
        "records of a policy"
    );
}

/// Tells policies apart over the end of an agent: FNV-1a of what makes two of them the same.
fn identity_of(key: &PolicyKey, policy: &Policy) -> u64 {
    let text = format!("{key:?} {:?}", policy.spec);
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash.max(1)
}

fn key_of(policy: &Policy, domain: &str) -> PolicyKey {
    PolicyKey {
        domain: domain.to_owned(),
        namespace: policy.namespace.clone().unwrap_or_default(),
        name: policy.name.clone(),
    }
}

/// Diagnostics about a policy. Sources are compared by identity of text, and several policies may stand in one.
fn about(diagnostics: &[Diagnostic], policy: &Policy) -> Vec<Diagnostic> {
    let root = policy.spans.span(&tracingpolicy_crd::FieldPath::default());
    let own = |d: &&Diagnostic| {
        d.source == policy.source
            && (d.primary.span.start >= root.start && d.primary.span.start <= root.end || root.start == root.end)
    };
    diagnostics.iter().filter(own).cloned().collect()
}

/// Errors about a policy.
fn of_policy(diagnostics: &[Diagnostic], policy: &Policy) -> Vec<Diagnostic> {
    let mut own = about(diagnostics, policy);
    own.retain(Diagnostic::is_error);
    own
}

fn rendered(diagnostics: &[Diagnostic]) -> String {
    render::full(diagnostics, false).trim_end().to_owned()
}

fn warn_of(diagnostics: &[Diagnostic]) {
    for diagnostic in diagnostics.iter().filter(|diagnostic| !diagnostic.is_error()) {
        tracing::warn!("{}", render::line(diagnostic));
    }
}

#[cfg(test)]
pub(crate) mod tests;
