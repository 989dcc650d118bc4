//! The set is the unit: one program per hook, equal bytes for equal input, a policy whole or absent.

use crate::facts::{modern, with};
use crate::{compiled, policies, policy};
use policy_compiler::{Compiler, Options, PolicySet, Scope, compile};

fn watching(name: &str, path: &str) -> String {
    format!(
        "apiVersion: cilium.io/v1alpha1\nkind: TracingPolicy\nmetadata:\n  name: {name}\nspec:\n  kprobes:\n  - call: security_file_open\n    \
         syscall: false\n    args: [{{index: 0, type: file}}]\n    selectors:\n    - matchArgs:\n      - {{index: 0, operator: Prefix, \
         values: [{path}]}}\n"
    )
}

#[test]
fn policies_on_one_hook_share_one_program() {
    let yaml: Vec<String> = (0..200)
        .map(|i| watching(&format!("p{i}"), &format!("/data/{i}/")))
        .collect();
    let set = PolicySet::from_policies(policies(&yaml.join("---\n")));
    let compilation = compile(&set, &modern(), &Options::default());
    assert_eq!(compilation.objects.len(), 1);
    assert_eq!(compilation.objects[0].policy_slots, (0..200).collect::<Vec<u32>>());
    assert_eq!(compilation.objects[0].templates.len(), 200);
}

#[test]
fn equal_input_gives_equal_bytes_and_other_input_another_tag() {
    let set = |path| PolicySet::from_policies(policies(&watching("a", path)));
    let first = compile(&set("/a"), &modern(), &Options::default());
    let again = compile(&set("/a"), &modern(), &Options::default());
    assert_eq!(first.objects, again.objects);
    let other = compile(&set("/b"), &modern(), &Options::default());
    assert_ne!(first.objects[0].tag, other.objects[0].tag);
}

#[test]
fn a_set_is_compiled_as_if_there_had_been_none_before() {
    let parsed = |named: &[(&str, &str)]| {
        let yaml: Vec<String> = named.iter().map(|(name, path)| watching(name, path)).collect();
        PolicySet::from_policies(policies(&yaml.join("---\n")))
    };
    let first = parsed(&[("a", "/a"), ("b", "/b"), ("c", "/c")]);
    let mut scoped = first.clone();
    scoped.entries[0].scope = Scope::Workloads;
    let mut moved = first.clone();
    moved.entries.swap(1, 2);
    (0..)
        .zip(&mut moved.entries)
        .for_each(|(slot, entry)| entry.slot = slot);
    let failing = watching("b", "/b").replace("security_file_open", "nosuchcall");
    let failing = PolicySet::from_policies(policies(&format!("{}---\n{failing}", watching("a", "/a"))));
    assert!(!compile(&failing, &modern(), &Options::default()).failed.is_empty());
    let changed = parsed(&[("a", "/a"), ("b", "/other"), ("c", "/c")]);
    let fewer = PolicySet {
        entries: first.entries[1..].to_vec(),
    };
    let mut compiler = Compiler::default();
    for set in [
        &first, &first, &scoped, &first, &moved, &failing, &changed, &fewer, &first,
    ] {
        let fresh = compile(set, &modern(), &Options::default());
        let next = compiler.compile(set, &modern(), &Options::default());
        assert_eq!(next.objects, fresh.objects);
        assert_eq!(next.failed, fresh.failed);
        assert_eq!(next.diagnostics, fresh.diagnostics);
    }
}

#[test]
fn a_policy_with_an_error_leaves_the_others_alone() {
    let yaml = format!(
        "{}---\n{}",
        watching("good", "/a"),
        watching("bad", "/b").replace("security_file_open", "nosuchcall")
    );
    let compilation = compile(
        &PolicySet::from_policies(policies(&yaml)),
        &modern(),
        &Options::default(),
    );
    assert_eq!(compilation.failed.iter().copied().collect::<Vec<_>>(), [1]);
    assert_eq!(compilation.objects[0].policy_slots, [0]);
}

#[test]
fn a_hook_that_needs_too_much_takes_only_its_policy_out() {
    let socks: Vec<String> = (0..3).map(|i| format!("{{index: {i}, type: sock}}")).collect();
    let spec = format!(
        "  kprobes:\n  - call: seven\n    syscall: false\n    args: [{}]\n",
        socks.join(", ")
    );
    let compilation = compiled(&spec, &modern());
    assert!(
        compilation.diagnostics.iter().any(|d| d.code.0 == 517),
        "{:?}",
        compilation.diagnostics
    );
    assert!(compilation.objects.is_empty());
}

/// Those that there is no memory for are refused all at once, and the others are compiled.
#[test]
fn policies_beyond_a_programs_memory_are_refused_one_by_one() {
    const POLICIES: usize = 2_000;
    let text: Vec<String> = (0..POLICIES)
        .map(|i| {
            policy(&format!(
                "  kprobes:\n  - call: sys_openat\n    args: [{{index: 1, type: string}}]\n    selectors:\n    - matchArgs:\n      - {{index: 1, operator: Equal, values: [\"/{i}\"]}}\n"
            ))
            .replace("name: test", &format!("name: test-{i}"))
        })
        .collect();
    let set = PolicySet::from_policies(policies(&text.join("---\n")));
    let compilation = compile(&set, &modern(), &Options::default());
    let refused = compilation.diagnostics.iter().filter(|d| d.code.0 == 517).count();
    assert!(refused > 0 && refused < POLICIES, "{refused}");
    assert_eq!(compilation.failed.len(), refused);
    // in the set's order: what was there before stays
    let first = *compilation.failed.first().expect("some are refused");
    assert!((first..POLICIES as u32).eq(compilation.failed.iter().copied()));
    for object in &compilation.objects {
        assert_eq!(object.policy_slots.len(), POLICIES - refused);
    }
}

#[test]
fn instructions_know_their_policy_lines() {
    let compilation = compiled(
        "  kprobes:\n  - call: security_file_open\n    syscall: false\n    selectors:\n    - matchPIDs:\n      - {operator: In, values: [1]}\n",
        &modern(),
    );
    let lines: Vec<u32> = compilation.objects[0].source_lines.iter().map(|l| l.line).collect();
    assert!(lines.contains(&7) && lines.contains(&11), "{lines:?}");
}

#[test]
fn a_tracepoints_filter_names_a_field_or_a_position() {
    for index in [4, 0] {
        let spec = format!(
            "  tracepoints:\n  - subsystem: raw_syscalls\n    event: sys_enter\n    args: [{{index: 4, type: syscall64}}]\n    selectors:\n    \
             - matchArgs: [{{index: {index}, operator: InMap, values: [\"1\"]}}]\n"
        );
        let compilation = compiled(&spec, &modern());
        assert!(compilation.failed.is_empty(), "{:?}", compilation.diagnostics);
    }
}

#[test]
fn a_return_that_only_finishes_reads_no_arguments() {
    // no `bpf_get_current_task_btf`: the registers of the call are out of reach there
    let facts = with(|features| {
        features.fentry = false;
        features.kprobe_multi = false;
        features.current_task_btf = false;
    });
    for (index, of_type) in [(0, "int"), (1, "string")] {
        let spec = format!(
            "  kprobes:\n  - call: sys_openat\n    return: true\n    returnArg: {{index: 0, type: int}}\n    args: \
             [{{index: {index}, type: {of_type}}}]\n    selectors:\n    - matchArgs:\n      - {{index: {index}, operator: Equal, \
             values: [\"1\"]}}\n"
        );
        let compilation = compiled(&spec, &facts);
        let exit = compilation
            .passes
            .iter()
            .find(|passes| passes.name == "kretprobe/__x64_sys_openat")
            .expect("its return is watched");
        let calls: Vec<&str> = exit.ir.lines().filter(|line| line.contains("call ")).collect();
        assert!(
            !calls
                .iter()
                .any(|call| call.contains("158") || call.contains("tetra_read") || call.contains("tetra_text")),
            "{}",
            exit.ir
        );
    }
}

#[test]
fn marks_of_calls_under_way_are_taken_beside_hooks_that_leave_none() {
    // the first reads user memory and is decided in two halves, the second is decided at the return
    let spec = "  kprobes:\n  - call: sys_openat\n    return: true\n    returnArg: {index: 0, type: int}\n    args: [{index: 1, type: string}]\n  - call: sys_openat\n    return: true\n    returnArg: {index: 0, type: int}\n    args: [{index: 0, type: int}]\n";
    let compilation = compiled(spec, &modern());
    let exit = compilation
        .passes
        .iter()
        .find(|passes| passes.name == "fexit/__x64_sys_openat")
        .expect("its return is watched");
    assert!(
        exit.plan.contains("ExitOfPair") && exit.plan.contains("ExitWhole"),
        "{}",
        exit.plan
    );
    let (take, get) = (
        exit.ir.find("call tetra_pending_take"),
        exit.ir.find("call tetra_pending_get"),
    );
    assert!(take.is_some() && take < get, "{}", exit.ir);
}
