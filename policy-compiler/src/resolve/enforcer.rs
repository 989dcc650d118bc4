//! Enforcers (§3.9): hooks where what other hooks of the policy ask for takes effect, later in the same call of the same thread.
//!
//! A notification is a number, left for the thread where its enforcers look. What it stands for is known here, so an enforcer is a
//! hook with a selector for each of the policy's notifications.

use std::sync::Arc;

use tracingpolicy_crd::{ActionSelector, EnforcerSpec, FieldPath};

use super::Resolver;
use crate::attach;
use crate::codes;
use crate::hir::{Actions, Filter, Hook, Notification, Predicate, Selector, Target};
use crate::output::{HookKind, SourceLine};

/// Number of a hook's instance that no hook has: calls under way and notifications have their keys in one map.
const NO_INSTANCE: u32 = 0xfff;

/// What an enforcer does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Notified {
    /// Positive.
    errno: Option<u32>,
    signal: Option<u32>,
    line: SourceLine,
}

impl Notified {
    fn does_the_same(&self, other: &Self) -> bool {
        (self.errno, self.signal) == (other.errno, other.signal)
    }
}

impl Resolver<'_> {
    /// Where the notifications of the policy are left.
    pub(super) fn notification_key(&self) -> u32 {
        self.entry.slot << 12 | NO_INSTANCE
    }

    /// `NotifyEnforcer`; `None` if an error was reported.
    pub(super) fn notification(&mut self, spec: &ActionSelector, path: &FieldPath) -> Option<Notification> {
        // what is 0 is not asked for
        let (mut errno, mut signal) = (None, None);
        if spec.arg_error != 0 {
            errno = Some(self.errno(spec, path)?);
        }
        if spec.arg_sig != 0 {
            signal = Some(self.signal(spec, path)?);
        }
        let notified = Notified {
            errno,
            signal,
            line: self.line(path),
        };
        if (notified.errno, notified.signal) == (None, None) {
            self.error(
                codes::BAD_VALUE,
                path,
                "the enforcer is told to do nothing",
                "add `argError: -1` to make the call fail, `argSig: 9` to kill the process, or both",
            );
            return None;
        }
        let known = self.notifications.iter().position(|n| n.does_the_same(&notified));
        let position = known.unwrap_or_else(|| {
            self.notifications.push(notified);
            self.notifications.len() - 1
        });
        Some(Notification {
            key: self.notification_key(),
            number: position as u32 + 1,
        })
    }

    /// An element of `enforcers`: a hook for each of its functions.
    pub(super) fn enforcer(&mut self, index: usize, spec: &EnforcerSpec, path: &FieldPath, hooks: &mut Vec<Hook>) {
        if self.notifications.is_empty() {
            self.warning(
                codes::ENFORCER_WITHOUT_WORK,
                path,
                "nobody tells the enforcer to do anything",
                "add `action: NotifyEnforcer` to a selector, or remove the enforcer",
            );
            return;
        }
        for (i, call) in spec.calls.iter().enumerate() {
            let path = path.key("calls").index(i);
            let Some(targets) = self.enforced_calls(call, &path) else {
                continue;
            };
            for target in targets {
                if !self.exists(&target) {
                    self.not_found(&target, &path);
                    continue;
                }
                self.enforced_call(index, target, &path, hooks);
            }
        }
    }

    fn enforced_call(&mut self, index: usize, target: Target, path: &FieldPath, hooks: &mut Vec<Hook>) {
        let key = self.notification_key();
        let selectors = (0u32..).zip(&self.notifications).map(|(i, notified)| Selector {
            index: i,
            filters: vec![Filter {
                predicate: Predicate::Notified(Notification { key, number: i + 1 }),
                line: notified.line.clone(),
            }],
            return_filters: Vec::new(),
            actions: Actions {
                signals: notified.signal.into_iter().collect(),
                override_errno: notified.errno,
                forget: Some(key),
                ..Actions::default()
            },
            return_actions: Actions::default(),
            line: notified.line.clone(),
        });
        let mut hook = Hook {
            policy_slot: self.entry.slot,
            scope: self.entry.scope,
            policy_name: Arc::from(self.policy.name.as_str()),
            policy_namespace: self.policy.namespace.as_deref().map(Arc::from),
            kind: HookKind::Enforcer,
            hook_index: index as u32,
            instance: 0,
            target,
            arguments: Vec::new(),
            returned: None,
            tracks_returned: None,
            follows_socks: false,
            selectors: selectors.collect(),
            message: Arc::from(""),
            tags: Vec::new(),
            line: self.line(path),
        };
        let cannot_override = attach::choose(&hook, self.facts).is_err_and(|refusal| refusal.is_override);
        let all_signal = hook.selectors.iter().all(|s| !s.actions.signals.is_empty());
        if cannot_override && all_signal {
            for selector in &mut hook.selectors {
                selector.actions.override_errno = None;
            }
            self.warning(
                codes::KILL_WITHOUT_OVERRIDE,
                path,
                format!(
                    "nothing on this kernel can replace the result of {}: the signal is sent, but the call is made",
                    super::target_name(&hook.target)
                ),
                "use functions whose result can be replaced: `security_*`, with `bpf` in the kernel's `lsm=` list",
            );
        }
        hooks.push(hook);
    }
}
