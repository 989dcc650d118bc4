use std::collections::BTreeMap as Map;
use std::sync::Mutex;

use kprobes::{AppliedSet, LoadError};
use policy_compiler::output::{AttachPoint, EventTemplate, HookKind, HookObject};
use policy_compiler::{Compilation, codes};

use tetra_api::tetragon::TracingPolicyMode as Mode;

use super::*;

/// A kernel that takes every policy, except those whose name begins with `uncompilable`, `unloadable`, or anything while it is
/// `broken`.
#[derive(Debug, Default)]
pub(crate) struct FakeKernel {
    applied: Mutex<Vec<Vec<u32>>>,
    modes: Mutex<Map<u32, PolicyMode>>,
    identities: Mutex<Map<u32, u64>>,
    broken: bool,
    /// Diagnostics of the policies that the last compilation would make unloadable.
    unloadable: Mutex<Vec<Diagnostic>>,
}

fn complaint(policy: &Policy, text: &str) -> Diagnostic {
    let span = policy.span(&tracingpolicy_crd::FieldPath::default().key("spec"));
    Diagnostic::error(codes::NOT_ATTACHABLE, &policy.source, span, text)
}

fn object(slot: u32, name: &str) -> HookObject {
    let template = EventTemplate {
        kind: HookKind::Kprobe,
        policy_slot: slot,
        policy_name: name.into(),
        policy_namespace: None,
        function_name: "f".into(),
        subsystem: "".into(),
        event: "".into(),
        user: None,
        arguments: vec![],
        has_return: false,
        message: "".into(),
        tags: vec![],
        hook_index: 0,
        selector_index: None,
    };
    HookObject {
        attach: AttachPoint::Kprobe {
            symbol: name.to_owned(),
        },
        elf: vec![],
        section: String::new(),
        symbol: String::new(),
        tag: slot + 100,
        templates: vec![template],
        source_lines: vec![],
        enforces: false,
        reasons: vec![],
        policy_slots: vec![slot],
        hook_bit: 0,
    }
}

impl Kernel for FakeKernel {
    fn compile(&mut self, set: &PolicySet) -> Result<Compilation, LoadError> {
        let mut compilation = Compilation::default();
        let mut unloadable = Vec::new();
        for entry in &set.entries {
            let name = &entry.policy.name;
            if name.starts_with("uncompilable") {
                compilation.failed.insert(entry.slot);
                compilation
                    .diagnostics
                    .push(complaint(&entry.policy, "cannot be compiled"));
                continue;
            }
            if name.starts_with("unloadable") {
                unloadable.push(complaint(&entry.policy, "the verifier says no"));
            }
            compilation.objects.push(object(entry.slot, name));
        }
        *self.unloadable.lock().unwrap() = unloadable;
        Ok(compilation)
    }

    fn apply(&mut self, objects: Vec<HookObject>) -> Result<AppliedSet, LoadError> {
        if self.broken {
            return Err(LoadError::DuplicateHook {
                name: "broken".to_owned(),
            });
        }
        let unloadable = self.unloadable.lock().unwrap().clone();
        if !unloadable.is_empty() && !objects.is_empty() {
            return Err(LoadError::Policy(unloadable));
        }
        self.applied
            .lock()
            .unwrap()
            .push(objects.iter().flat_map(|object| object.policy_slots.clone()).collect());
        Ok(AppliedSet::default())
    }

    fn prepare_slot(&self, slot: u32, mode: PolicyMode, identity: u64) -> Result<(), LoadError> {
        self.identities.lock().unwrap().insert(slot, identity);
        self.set_mode(slot, mode)
    }

    fn free_slot(&self, slot: u32) -> Result<(), LoadError> {
        self.identities.lock().unwrap().remove(&slot);
        Ok(())
    }

    fn identities(&self) -> Result<Vec<(u32, u64)>, LoadError> {
        Ok(self.identities.lock().unwrap().clone().into_iter().collect())
    }

    fn set_mode(&self, slot: u32, mode: PolicyMode) -> Result<(), LoadError> {
        self.modes.lock().unwrap().insert(slot, mode);
        Ok(())
    }

    fn counters(&self, _: u32) -> Result<PolicyCounters, LoadError> {
        Ok(PolicyCounters::default())
    }

    fn slots(&self) -> u32 {
        4
    }
}

fn manager() -> Manager<FakeKernel> {
    Manager::new(FakeKernel::default(), Arc::default())
}

pub(crate) fn yaml(name: &str) -> String {
    yaml_with(name, "")
}

pub(crate) fn yaml_with(name: &str, action: &str) -> String {
    let selectors = if action.is_empty() {
        String::new()
    } else {
        format!(", selectors: [{{matchActions: [{{action: {action}}}]}}]")
    };
    format!(
        "apiVersion: cilium.io/v1alpha1\nkind: TracingPolicy\nmetadata: {{name: {name}}}\nspec:\n  kprobes:\n  - \
         {{call: sys_openat, syscall: true{selectors}}}\n"
    )
}

fn key(name: &str) -> PolicyKey {
    PolicyKey {
        domain: DOMAIN_GRPC.to_owned(),
        namespace: String::new(),
        name: name.to_owned(),
    }
}

/// Names and states, in the order in which they came.
fn check_list(manager: &Manager<FakeKernel>, expected: &[(&str, TracingPolicyState)]) {
    let list = manager.list("");
    let seen: Vec<(&str, TracingPolicyState)> = list
        .iter()
        .map(|status| (status.name.as_str(), status.state()))
        .collect();
    assert_eq!(seen, expected);
}

use TracingPolicyState::{TpStateDisabled as Disabled, TpStateEnabled as Enabled, TpStateLoadError as LoadFailed};

fn in_force(manager: &Manager<FakeKernel>) -> Vec<u32> {
    manager
        .kernel
        .applied
        .lock()
        .unwrap()
        .last()
        .cloned()
        .unwrap_or_default()
}

#[test]
fn policies_come_and_go() {
    let mut manager = manager();
    manager.add("f", &yaml("a"), DOMAIN_GRPC).unwrap();
    manager.add("f", &yaml("b"), DOMAIN_STATIC).unwrap();
    check_list(&manager, &[("a", Enabled), ("b", Enabled)]);
    assert_eq!(in_force(&manager), [0, 1]);
    assert_eq!(manager.domains(), ["grpc", "static"]);
    assert_eq!(manager.list("static").len(), 1);
    assert!(matches!(
        manager.add("f", &yaml("a"), DOMAIN_GRPC),
        Err(ManagerError::Exists { .. })
    ));
    manager.delete(&key("a")).unwrap();
    assert_eq!(in_force(&manager), [1]);
    assert!(matches!(manager.delete(&key("a")), Err(ManagerError::Missing { .. })));
    // a slot rests before it is used again
    manager.add("f", &yaml("c"), DOMAIN_GRPC).unwrap();
    assert_eq!(in_force(&manager), [1, 2]);
}

#[test]
fn a_bad_policy_is_listed_with_its_diagnostics_and_harms_no_other() {
    let mut manager = manager();
    manager.add("f", &yaml("good"), DOMAIN_GRPC).unwrap();
    for name in ["uncompilable", "unloadable"] {
        let error = manager.add("f.yaml", &yaml(name), DOMAIN_GRPC).unwrap_err().to_string();
        assert!(error.contains("f.yaml") && error.contains("error["), "{error}");
        assert_eq!(in_force(&manager), [0]);
    }
    check_list(
        &manager,
        &[
            ("good", Enabled),
            ("uncompilable", LoadFailed),
            ("unloadable", LoadFailed),
        ],
    );
    assert!(manager.list("")[2].error.contains("the verifier says no"));
    // once repaired it may come again
    assert!(manager.add("f", &yaml("unloadable"), DOMAIN_GRPC).is_err());
    manager.delete(&key("unloadable")).unwrap();
    check_list(&manager, &[("good", Enabled), ("uncompilable", LoadFailed)]);
}

#[test]
fn what_is_said_of_a_policy_is_said_once() {
    let mut manager = manager();
    manager.add("a.yaml", &yaml("a"), DOMAIN_GRPC).unwrap();
    manager.add("b.yaml", &yaml("b"), DOMAIN_GRPC).unwrap();
    let of = |name: &str| {
        let policy = &manager.entries[&key(name)].policy;
        Diagnostic::warning(
            codes::NOT_ATTACHABLE,
            &policy.source,
            policy.span(&tracingpolicy_crd::FieldPath::default()),
            name,
        )
    };
    let of_both = [of("a"), of("b")];
    assert!(manager.unsaid(&of_both).is_empty());
    manager.entries.get_mut(&key("b")).unwrap().warned = false;
    let messages: Vec<String> = manager.unsaid(&of_both).into_iter().map(|d| d.message).collect();
    assert_eq!(messages, ["b"]);
}

#[test]
fn a_text_is_taken_whole_or_not_at_all() {
    let mut manager = manager();
    let text = format!("{}---\n{}", yaml("good"), yaml("uncompilable"));
    assert!(manager.add("f", &text, DOMAIN_GRPC).is_err());
    check_list(&manager, &[("uncompilable", LoadFailed)]);
    assert!(in_force(&manager).is_empty());
    assert!(matches!(
        manager.add("f", "kind: Pod\n", DOMAIN_GRPC),
        Err(ManagerError::Refused(_))
    ));
    assert!(matches!(
        manager.add("f", &yaml("a"), "sensors"),
        Err(ManagerError::Refused(_))
    ));
}

#[test]
fn a_failing_machine_changes_nothing() {
    let mut manager = manager();
    manager.add("f", &yaml("a"), DOMAIN_GRPC).unwrap();
    manager.kernel.broken = true;
    assert!(manager.add("f", &yaml("b"), DOMAIN_GRPC).is_err());
    assert!(manager.delete(&key("a")).is_err());
    assert!(manager.enable(&key("a"), false).is_err());
    check_list(&manager, &[("a", Enabled)]);
    assert_eq!(in_force(&manager), [0]);
}

#[test]
fn policies_are_switched_off_and_on() {
    let mut manager = manager();
    manager.add("f", &yaml("a"), DOMAIN_GRPC).unwrap();
    manager.enable(&key("a"), false).unwrap();
    check_list(&manager, &[("a", Disabled)]);
    assert!(in_force(&manager).is_empty());
    manager.enable(&key("a"), true).unwrap();
    assert_eq!(in_force(&manager), [0]);
}

#[test]
fn only_enforcing_policies_have_a_mode_to_set() {
    let mut manager = manager();
    manager.add("f", &yaml("watching"), DOMAIN_GRPC).unwrap();
    manager.add("f", &yaml_with("killing", "Sigkill"), DOMAIN_GRPC).unwrap();
    assert!(matches!(
        manager.set_mode(&key("watching"), PolicyMode::Monitor),
        Err(ManagerError::MonitorOnly { .. })
    ));
    manager.set_mode(&key("killing"), PolicyMode::Monitor).unwrap();
    assert_eq!(manager.kernel.modes.lock().unwrap()[&1], PolicyMode::Monitor);
    let modes: Vec<i32> = manager.list("").iter().map(|status| status.mode).collect();
    assert_eq!(modes, [Mode::TpModeMonitorOnly as i32, Mode::TpModeMonitor as i32]);
}

fn texts(names: &[&str]) -> Vec<(String, String)> {
    names
        .iter()
        .map(|name| ((*name).to_owned(), yaml_with(name, "Sigkill")))
        .collect()
}

#[test]
fn several_texts_are_put_in_force_by_one_change() {
    let mut manager = manager();
    let loaded = manager
        .load(&texts(&["a", "uncompilable", "b", "a"]), DOMAIN_STATIC)
        .unwrap();
    let ok: Vec<bool> = loaded.iter().map(Result::is_ok).collect();
    assert_eq!(ok, [true, false, true, false]);
    assert_eq!(*manager.kernel.applied.lock().unwrap(), [[0, 2]]);
    manager.kernel.broken = true;
    assert!(manager.load(&texts(&["c"]), DOMAIN_STATIC).is_err());
    assert_eq!(manager.list("").len(), 3);
}

#[test]
fn a_policy_that_a_former_agent_has_left_goes_on_in_its_slot() {
    let mut former = manager();
    former.load(&texts(&["a", "b"]), DOMAIN_STATIC).unwrap();
    former
        .set_mode(
            &PolicyKey {
                domain: DOMAIN_STATIC.to_owned(),
                ..key("a")
            },
            PolicyMode::Monitor,
        )
        .unwrap();

    let mut manager = Manager::new(former.kernel, Arc::default());
    manager.take_over().unwrap();
    manager.load(&texts(&["c", "b", "d"]), DOMAIN_STATIC).unwrap();
    let modes = manager.kernel.modes.lock().unwrap().clone();
    assert_eq!(
        modes[&0],
        PolicyMode::Monitor,
        "a was in force until the change: its slot is not touched"
    );
    assert_eq!(manager.kernel.applied.lock().unwrap().last().unwrap(), &[1, 2, 3]);
    let slots: Vec<u32> = manager
        .kernel
        .identities()
        .unwrap()
        .iter()
        .map(|(slot, _)| *slot)
        .collect();
    assert_eq!(slots, [1, 2, 3]);
    // from now on its slot is free
    manager.add("f", &yaml("e"), DOMAIN_GRPC).unwrap();
    assert_eq!(in_force(&manager), [0, 1, 2, 3]);
}

#[test]
fn slots_run_out() {
    let mut manager = manager();
    for name in ["a", "b", "c", "d"] {
        manager.add("f", &yaml(name), DOMAIN_GRPC).unwrap();
    }
    assert!(matches!(
        manager.add("f", &yaml("e"), DOMAIN_GRPC),
        Err(ManagerError::Full(4))
    ));
    manager.delete(&key("b")).unwrap();
    manager.add("f", &yaml("e"), DOMAIN_GRPC).unwrap();
}

#[test]
fn records_can_be_decoded_as_soon_as_a_policy_is_in_force() {
    let registry: Arc<RwLock<Registry>> = Arc::default();
    let mut manager = Manager::new(FakeKernel::default(), Arc::clone(&registry));
    manager.add("f", &yaml("a"), DOMAIN_GRPC).unwrap();
    let account = Arc::clone(&registry.read().unwrap().get(100, 0).unwrap().account);
    account.received.increment();
    manager.delete(&key("a")).unwrap();
    // its last records may still be on the way
    assert_eq!(registry.read().unwrap().get(100, 0).unwrap().account.received.get(), 1);
}

#[test]
fn an_action_in_a_macro_can_be_switched_by_a_mode() {
    let mut manager = manager();
    let watching = yaml("watching") + "  selectorsMacros: {stop: {matchActions: [{action: Sigkill}]}}\n";
    let killing = watching
        .replace("watching", "killing")
        .replace("syscall: true", "syscall: true, selectors: [{macros: [stop]}]");
    manager.add("a", &watching, DOMAIN_GRPC).unwrap();
    manager.add("b", &killing, DOMAIN_GRPC).unwrap();
    assert!(matches!(
        manager.set_mode(&key("watching"), PolicyMode::Monitor),
        Err(ManagerError::MonitorOnly { .. })
    ));
    manager.set_mode(&key("killing"), PolicyMode::Monitor).unwrap();
}

#[test]
fn what_takes_the_place_of_a_refused_text_is_what_was_there_without_a_gap() {
    for bad in ["uncompilable", "unloadable"] {
        let mut manager = manager();
        let old = manager.load(
            &[("a.yaml".into(), yaml("a")), ("b.yaml".into(), yaml("b"))],
            DOMAIN_STATIC,
        );
        let old: Vec<Vec<PolicyKey>> = old.unwrap().into_iter().map(Result::unwrap).collect();
        let (bad_text, new_text) = (yaml(bad), yaml("c"));
        let change = |text, replaces| Change {
            name: "x.yaml",
            text,
            replaces,
        };
        let outcomes = manager
            .change(
                &[change(Some(&*bad_text), &old[0]), change(Some(&*new_text), &old[1])],
                DOMAIN_STATIC,
            )
            .unwrap();
        assert!(
            outcomes[0]
                .as_ref()
                .is_err_and(|error| error.to_string().contains("error[")),
            "{bad}"
        );
        assert_eq!(outcomes[1].as_ref().unwrap()[0].name, "c");
        check_list(&manager, &[("a", Enabled), ("c", Enabled)]);
        let applied = manager.kernel.applied.lock().unwrap().clone();
        assert!(applied.iter().all(|slots| slots.contains(&0)), "{bad}: {applied:?}");
        assert_eq!(
            applied.last().unwrap()[..],
            [0, 3],
            "the slots of b and of what was refused rest"
        );
        drop(applied);

        // gone, and a text that is no policy
        let c = outcomes[1].as_ref().unwrap();
        let outcomes = manager
            .change(&[change(None, &old[0]), change(Some("x: y"), c)], DOMAIN_STATIC)
            .unwrap();
        assert!(outcomes[0].as_ref().is_ok_and(Vec::is_empty) && outcomes[1].is_err());
        check_list(&manager, &[("c", Enabled)]);

        manager.kernel.broken = true;
        assert!(manager.change(&[change(Some(&*bad_text), c)], DOMAIN_STATIC).is_err());
        check_list(&manager, &[("c", Enabled)]);
    }
}

#[test]
fn a_refused_text_in_place_of_nothing_is_listed() {
    let mut manager = manager();
    let text = format!("{}---\n{}", yaml("a"), yaml("uncompilable"));
    let change = Change {
        name: "x.yaml",
        text: Some(&text),
        replaces: &[],
    };
    let outcomes = manager.change(&[change], DOMAIN_STATIC).unwrap();
    assert!(outcomes[0].is_err());
    check_list(&manager, &[("uncompilable", LoadFailed)]);
    assert!(in_force(&manager).is_empty());
}
