//! Hooks on user binaries: what is found in them, what is refused, and which programs there are.

use std::collections::BTreeMap;
use std::sync::Arc;

use policy_compiler::binary::{ArgumentPlace, Binary, FileIdentity, Function, ProbeArgument, Segment, StaticProbe};
use policy_compiler::facts::{Arch, KernelFacts};
use policy_compiler::output::{AttachPoint, UprobeLink};

use policy_compiler::PolicySet;

use crate::compiled;
use crate::diagnostics::check_error_with;
use crate::facts::{modern, with};
use crate::goldens::check_golden;

/// A library at `/lib/libx.so`, a Go program at `/bin/go`, and a script.
fn facts() -> KernelFacts {
    with_binaries(modern())
}

fn with_binaries(mut facts: KernelFacts) -> KernelFacts {
    let function = |offset, is_indirect| Function {
        offset,
        size: 0x40,
        is_indirect,
    };
    let probe = |offset, place| StaticProbe {
        provider: "x".into(),
        name: "tick".into(),
        offset,
        semaphore: 0x3010,
        arguments: vec![
            Ok(ProbeArgument {
                size: 4,
                signed: true,
                place,
            }),
            Ok(ProbeArgument {
                size: 8,
                signed: false,
                place: ArgumentPlace::Register {
                    register: "si",
                    shift: 0,
                },
            }),
            Err("4f@%xmm0".into()),
        ],
    };
    let library = Binary {
        identity: FileIdentity {
            device: 1,
            inode: 2,
            size: 0x4000,
            modified_ns: 4,
        },
        arch: Some(Arch::X86_64),
        functions: BTreeMap::from([
            ("readline".into(), function(0x1100, false)),
            ("main".into(), function(0x1200, false)),
            ("memcpy".into(), function(0x1300, true)),
        ]),
        imports: ["malloc".to_owned()].into(),
        segments: vec![
            Segment {
                offset: 0x1000,
                address: 0x40_1000,
                size: 0x1000,
                is_executable: true,
            },
            Segment {
                offset: 0x3000,
                address: 0x40_3000,
                size: 0x1000,
                is_executable: false,
            },
        ],
        probes: vec![
            probe(0x1110, ArgumentPlace::Constant(-7)),
            probe(
                0x1210,
                ArgumentPlace::Register {
                    register: "ax",
                    shift: 8,
                },
            ),
        ],
        digests: ["build-id:00ff".to_owned()].into(),
        is_go: false,
    };
    let go = Binary {
        is_go: true,
        ..library.clone()
    };
    facts.binaries = BTreeMap::from([
        ("/lib/libx.so".to_owned(), Ok(Arc::new(library))),
        ("/bin/go".to_owned(), Ok(Arc::new(go))),
        ("/bin/script".to_owned(), Err("it is no 64-bit ELF file".to_owned())),
    ]);
    facts
}

fn places(spec: &str, facts: &KernelFacts) -> Vec<(bool, u64, u64, UprobeLink)> {
    let compilation = compiled(spec, facts);
    assert!(compilation.diagnostics.is_empty(), "{:#?}", compilation.diagnostics);
    let place = |attach: &AttachPoint| match attach {
        AttachPoint::Uprobe { place, by } => (false, place.offset, place.ref_ctr_offset, *by),
        AttachPoint::Uretprobe { place, by } => (true, place.offset, place.ref_ctr_offset, *by),
        other => panic!("{other:?}"),
    };
    compilation.objects.iter().map(|object| place(&object.attach)).collect()
}

#[test]
fn every_way_to_name_a_place_leads_to_its_offset() {
    let multi = UprobeLink::Multi;
    for (keys, expected) in [
        (
            "symbols: [main, readline]",
            vec![(false, 0x1100, 0, multi), (false, 0x1200, 0, multi)],
        ),
        (
            "symbols: [\"main+0x10\", main+4]",
            vec![(false, 0x1204, 0, multi), (false, 0x1210, 0, multi)],
        ),
        ("offsets: [0x1234]", vec![(false, 0x1234, 0, multi)]),
        ("addrs: [0x401234]", vec![(false, 0x1234, 0, multi)]),
        (
            "symbols: [main, readline], refCtrOffsets: [0x3010, 0x3020]",
            vec![(false, 0x1100, 0x3020, multi), (false, 0x1200, 0x3010, multi)],
        ),
        (
            "symbols: [main], return: true, returnArg: {index: 0, type: int}",
            vec![(false, 0x1200, 0, multi), (true, 0x1200, 0, multi)],
        ),
        (
            "symbols: [main], binaryDigests: [\"build-id:00FF\"]",
            vec![(false, 0x1200, 0, multi)],
        ),
    ] {
        let spec = format!("  uprobes:\n  - {{path: /lib/libx.so, {keys}}}\n");
        assert_eq!(places(&spec, &facts()), expected, "{keys}");
    }
    let probe = "  usdts:\n  - {path: /lib/libx.so, provider: x, name: tick}\n";
    let both = vec![(false, 0x1110, 0x3010, multi), (false, 0x1210, 0x3010, multi)];
    assert_eq!(places(probe, &facts()), both);
}

#[test]
fn a_kernel_without_uprobe_links_has_perf_events() {
    let main = "  uprobes:\n  - {path: /lib/libx.so, symbols: [main]}\n";
    let old = with_binaries(with(|features| features.uprobe_multi = false));
    assert_eq!(places(main, &old), [(false, 0x1200, 0, UprobeLink::PerfEvent)]);
    let none = with_binaries(with(|features| {
        features.uprobe_multi = false;
        features.uprobe = false;
    }));
    check_error_with(&none, main, 512, 7, "no uprobes");
}

#[test]
fn policies_that_name_one_place_share_its_program() {
    let spec = "  uprobes:\n  - {path: /lib/libx.so, symbols: [main]}\n  - {path: /lib/libx.so, offsets: [0x1200]}\n";
    let compilation = compiled(spec, &facts());
    assert_eq!(compilation.objects.len(), 1);
    let names: Vec<(&str, u64)> = compilation.objects[0]
        .templates
        .iter()
        .map(|template| {
            (
                &*template.function_name,
                template.user.as_ref().expect("a user hook").offset,
            )
        })
        .collect();
    assert_eq!(names, [("main", 0), ("", 0x1200)]);
}

#[test]
fn what_the_binary_does_not_have_is_named_with_what_it_has() {
    for (hook, code, message, help) in [
        (
            "path: /lib/liby.so, symbols: [main]",
            530,
            "/lib/liby.so",
            "absolute path",
        ),
        (
            "path: /bin/script, symbols: [main]",
            530,
            "no 64-bit ELF file",
            "absolute path",
        ),
        (
            "path: /lib/libx.so, symbols: [raedline]",
            531,
            "no function `raedline`",
            "`readline`",
        ),
        (
            "path: /lib/libx.so, symbols: [malloc]",
            531,
            "no function `malloc`",
            "shared library",
        ),
        (
            "path: /lib/libx.so, symbols: [main+0x40]",
            531,
            "has 64 bytes",
            "within the function",
        ),
        ("path: /lib/libx.so, symbols: [memcpy]", 512, "IFUNC", "offset"),
        ("path: /lib/libx.so, offsets: [0x3000]", 531, "no instructions", "addrs"),
        ("path: /lib/libx.so, addrs: [0x1200]", 531, "address 0x1200", "offsets"),
        (
            "path: /lib/libx.so, symbols: [main], binaryDigests: [\"build-id:aa\"]",
            533,
            "none of these digests",
            "build-id:00ff",
        ),
        (
            "path: /lib/libx.so, symbols: [main+4], return: true, returnArg: {index: 0, type: int}",
            512,
            "beginning of a function",
            "at its beginning",
        ),
        (
            "path: /lib/libx.so, offsets: [0x1208], return: true, returnArg: {index: 0, type: int}",
            512,
            "beginning of a function",
            "at its beginning",
        ),
        (
            "path: /bin/go, symbols: [main], return: true, returnArg: {index: 0, type: int}",
            512,
            "Go program",
            "return",
        ),
        (
            "path: /lib/libx.so, symbols: [main], args: [{index: 0, type: file}]",
            506,
            "object of the kernel",
            "string",
        ),
        (
            "path: /lib/libx.so, symbols: [main], args: [{index: 0, type: int, resolve: a, btfType: t}], btfPath: /x",
            500,
            "resolve",
            "argument",
        ),
        (
            "path: /lib/libx.so, symbols: [main], selectors: [{matchActions: [{action: Override, argError: -1}]}]",
            500,
            "Override",
            "Sigkill",
        ),
    ] {
        let spec = format!("  uprobes:\n  - {{{hook}}}\n");
        let said = check_error_with(&facts(), &spec, code, 7, message);
        assert!(said.contains(help), "{hook}: {said}");
    }
    for (hook, code, message, help) in [
        ("provider: z, name: tick", 532, "`z:tick`", "`x`"),
        ("provider: x, name: tock", 532, "`x:tock`", "`tick`"),
        (
            "provider: x, name: tick, args: [{index: 2, type: int}]",
            506,
            "4f@%xmm0",
            "register",
        ),
        (
            "provider: x, name: tick, args: [{index: 3, type: int}]",
            505,
            "3 arguments",
            "0",
        ),
    ] {
        let spec = format!("  usdts:\n  - {{path: /lib/libx.so, {hook}}}\n");
        let said = check_error_with(&facts(), &spec, code, 7, message);
        assert!(said.contains(help), "{hook}: {said}");
    }
}

#[test]
fn a_digest_that_may_differ_leaves_the_hook_out() {
    let spec = "  uprobes:\n  - path: /lib/libx.so\n    symbols: [main]\n    binaryDigests: [\"build-id:aa\"]\n    ignore: {digestVerificationFailure: true}\n";
    let compilation = compiled(spec, &facts());
    assert!(compilation.objects.is_empty() && compilation.failed.is_empty());
    let codes: Vec<u16> = compilation.diagnostics.iter().map(|d| d.code.0).collect();
    assert_eq!(codes, [533]);
}

#[test]
fn goldens() {
    let function = "  uprobes:\n  - path: /lib/libx.so\n    symbols: [readline]\n    return: true\n    returnArg: {index: 0, type: int}\n    args: [{index: 0, type: string}, {index: 1, type: int}]\n    selectors:\n    - matchArgs:\n      - {index: 0, operator: Prefix, values: [rm]}\n      - {index: 1, operator: GT, values: [\"2\"]}\n      matchActions: [{action: Sigkill}]\n";
    check_golden("uprobe-with-return", function, &facts());
    let probe = "  usdts:\n  - path: /lib/libx.so\n    provider: x\n    name: tick\n    args: [{index: 0, type: int}, {index: 1, type: uint64}]\n    selectors:\n    - matchArgs:\n      - {index: 0, operator: Equal, values: [\"-7\"]}\n";
    check_golden("usdt", probe, &facts());
}

#[test]
fn a_kill_at_a_function_that_nobody_has_to_call_is_warned_of() {
    let warned = |actions: &str| {
        let spec = format!(
            "  uprobes:\n  - path: /lib/libx.so\n    symbols: [main]\n    selectors:\n    - {{matchActions: [{actions}]}}\n"
        );
        let set = PolicySet::from_policies(crate::policies(&crate::policy(&spec)));
        let found = policy_compiler::review::review(&set, &facts());
        found.iter().any(|finding| finding.code.0 == 610)
    };
    assert!(warned("{action: Sigkill}"));
    assert!(!warned("{action: Post}"));
    assert!(!warned("{action: Signal, argSig: 10}"));
}
