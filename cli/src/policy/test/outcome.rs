//! What policies do with a call.

use anyhow::bail;
use policy_compiler::facts::KernelFacts;
use policy_compiler::hir::{Hook, Target, UserName};
use policy_compiler::interpret::{Effects, Selection, act, act_at_return, confirmed, select, verdict};
use policy_compiler::{Mode, PolicySet, mode_of};

use super::call::call_of;
use super::expectations::{Case, Outcome, ProcessSpec};

/// Runs a case through all hooks of its name.
pub(super) fn of(
    set: &PolicySet,
    hooks: &[Hook],
    case: &Case,
    process: &ProcessSpec,
    facts: &KernelFacts,
) -> anyhow::Result<Outcome> {
    let concerned: Vec<&Hook> = hooks
        .iter()
        .filter(|hook| names(&hook.target).contains(&case.hook))
        .collect();
    if concerned.is_empty() {
        let mut known: Vec<String> = hooks
            .iter()
            .filter_map(|hook| names(&hook.target).into_iter().next())
            .collect();
        known.dedup();
        bail!(
            "no policy of the file hooks `{}`\nhelp: they hook {}",
            case.hook,
            known.join(", ")
        );
    }
    let mut outcome = Outcome::default();
    let mut all = Vec::new();
    for hook in concerned {
        let entry = set.entries.iter().find(|entry| entry.slot == hook.policy_slot);
        let Some(entry) = entry else { continue };
        let monitors = mode_of(&entry.policy) == Some(Mode::Monitor);
        let call = call_of(hook, &entry.policy, case, process, facts)?;
        match select(hook, &call) {
            Selection::None => {}
            Selection::Undecided => outcome.undecided = true,
            Selection::Selector(selector) => {
                let mut effects = act(hook, selector, monitors);
                if hook.returned.is_some() {
                    effects = at_return(hook, selector, effects, confirmed(hook, selector, &call), monitors);
                }
                all.push(effects);
            }
        }
    }
    outcome.post = all.iter().any(|effects| effects.post.is_some());
    outcome.signals = all.iter().flat_map(|effects| effects.signals.clone()).collect();
    outcome.override_error = verdict(&all).map(|errno| -(errno as i32));
    outcome.notify = all.iter().any(|effects| effects.notify.is_some());
    Ok(outcome)
}

/// What is done in all, of a call that is looked at again when it returns.
fn at_return(hook: &Hook, selector: usize, entry: Effects, is_confirmed: bool, monitors: bool) -> Effects {
    if !is_confirmed {
        return Effects { post: None, ..entry };
    }
    let back = act_at_return(hook, selector, monitors);
    Effects {
        signals: [entry.signals, back.signals].concat(),
        post: back.post,
        ..entry
    }
}

/// What a target may be called, as policies write it; the usual name first.
fn names(target: &Target) -> Vec<String> {
    match target {
        Target::Function(symbol) => vec![symbol.clone()],
        Target::Syscall(name) => vec![format!("sys_{name}"), name.clone(), format!("__x64_sys_{name}")],
        Target::Lsm(hook) => vec![hook.clone()],
        Target::Tracepoint(subsystem, event) | Target::RawTracepoint(subsystem, event) => {
            vec![format!("{subsystem}/{event}"), event.clone()]
        }
        Target::User(user) => match &user.name {
            UserName::Symbol(symbol) => vec![symbol.clone()],
            UserName::Probe(provider, name) => vec![format!("{provider}/{name}"), name.clone()],
            UserName::Offset => vec![format!("{:#x}", user.place.offset)],
        },
    }
}
