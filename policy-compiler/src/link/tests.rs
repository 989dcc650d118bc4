//! Objects that programs become, read back by independent readers.
#![allow(clippy::print_stderr, reason = "a test says why it skips")]

use std::io::Write as _;
use std::process::Command;
use std::sync::Arc;

use crate::btf::Btf;
use crate::btf::ext::BtfExt;
use crate::codegen::{CodegenError, Target, compile_program};
use crate::ir::builder::FunctionBuilder;
use crate::ir::{CmpOp, FuncId, MapDef, Program, Size, Type, Width};
use crate::output::{SourceLine, SourceRef};

use super::LinkError;

const SCRATCH: u32 = 4096;

/// Takes scratch memory, counts in a map of its own through a function of its own, gives the scratch memory back.
fn sample() -> (Program, Vec<SourceLine>) {
    let mut b = FunctionBuilder::new("hook", &[Type::Ctx]);
    b.set_source(Some(SourceRef(0)));
    let (leave, taken, out) = (b.create_block(), b.create_block(), b.create_block());
    let scratch = b.call_runtime_typed("tetra_enter", &[], Type::MapValueOrNull { size: SCRATCH });
    b.branch(CmpOp::Eq, Width::W64, scratch, 0, out, taken);
    b.switch_to(taken);
    b.set_source(Some(SourceRef(1)));
    let text = b.call_runtime_typed(
        "tetra_text",
        &[scratch.into(), 0.into()],
        Type::MapValueOrNull { size: SCRATCH },
    );
    let walk = b.create_block();
    b.branch(CmpOp::Eq, Width::W64, text, 0, leave, walk);
    b.switch_to(walk);
    b.call_runtime("tetra_walk_exe", &[text.into()]);
    b.call_local(FuncId(1), &[scratch.into()]);
    b.jump(leave);
    b.switch_to(leave);
    b.call_runtime_void("tetra_leave", &[scratch.into()]);
    b.jump(out);
    b.switch_to(out);
    b.ret(0);
    let entry = b.finish();

    let mut b = FunctionBuilder::new("count", &[Type::MapValue { size: SCRATCH }]);
    let slot = b.stack_slot(8);
    let key = b.stack_addr(slot);
    b.store(key, 0, Size::B8, 0);
    let map = b.map_ref("own_counts");
    let value = b.call_helper_typed(1, &[map.into(), key.into()], Type::MapValueOrNull { size: 8 });
    let (missing, found) = (b.create_block(), b.create_block());
    b.branch(CmpOp::Eq, Width::W64, value, 0, missing, found);
    b.switch_to(found);
    b.store(value, 0, Size::B8, 1);
    b.ret(1);
    b.switch_to(missing);
    b.ret(0);

    let program = Program {
        section: "tp_btf/sched_process_exec".into(),
        functions: vec![entry, b.finish()],
        maps: vec![MapDef {
            name: "own_counts".into(),
            map_type: 2,
            key_size: 4,
            value_size: 8,
            max_entries: 1,
            flags: 0,
        }],
        data: Vec::new(),
    };
    let line = |line, text: &str| SourceLine {
        file: Arc::from("examples/p.yaml"),
        line,
        column: 5,
        text: Arc::from(text),
    };
    (program, vec![line(3, "- call: x"), line(7, "matchBinaries:")])
}

fn compile(legacy_runtime: bool) -> Vec<u8> {
    let (program, lines) = sample();
    compile_program(
        program,
        &Target {
            legacy_runtime,
            jumps32: false,
        },
        &lines,
    )
    .expect("links")
}

#[test]
fn only_what_is_reached_comes_along() {
    use object::{Object as _, ObjectSymbol as _};
    let elf = compile(false);
    let file = object::File::parse(&*elf).expect("ELF");
    let names: Vec<_> = file
        .symbols()
        .filter_map(|symbol| symbol.name().ok().map(str::to_owned))
        .collect();
    for wanted in [
        "hook",
        "count",
        "own_counts",
        "tetra_enter",
        "tetra_leave",
        "tetra_walk_exe",
        "tetra_scratch",
    ] {
        assert!(names.iter().any(|name| name == wanted), "{wanted} of {names:?}");
    }
    for unwanted in ["tetra_rate_limit", "tetra_ratelimit", "tetra_submit", "tetra_rings"] {
        assert!(!names.iter().any(|name| name == unwanted), "{unwanted}");
    }
}

#[test]
fn bytes_depend_on_the_input_alone() {
    assert_eq!(compile(false), compile(false));
    assert_ne!(compile(false), compile(true));
}

#[test]
fn line_info_names_policy_lines() {
    use object::{Object as _, ObjectSection as _};
    let elf = compile(false);
    let btf = Btf::parse_object(&elf).expect("BTF");
    let file = object::File::parse(&*elf).expect("ELF");
    let ext = file
        .section_by_name(".BTF.ext")
        .and_then(|section| section.data().ok())
        .expect(".BTF.ext");
    let ext = BtfExt::parse(ext).expect(".BTF.ext");
    let program = ext
        .sections
        .iter()
        .find(|section| btf.string(section.name) == "tp_btf/sched_process_exec")
        .expect("section");
    let lines: Vec<_> = program
        .lines
        .iter()
        .map(|line| (btf.string(line.file), line.line, btf.string(line.text)))
        .collect();
    assert!(lines.contains(&("examples/p.yaml", 7, "matchBinaries:")), "{lines:?}");
    assert_eq!(program.lines[0].offset, 0);
    assert_eq!(program.functions.len(), 1);
    let text = ext
        .sections
        .iter()
        .find(|section| btf.string(section.name) == ".text")
        .expect("section");
    assert!(text.functions.windows(2).all(|pair| pair[0].offset < pair[1].offset));
    assert!(text.lines.windows(2).all(|pair| pair[0].offset < pair[1].offset));
    for function in &text.functions {
        assert!(
            text.lines.iter().any(|line| line.offset == function.offset),
            "{}",
            btf.name(function.type_id)
        );
    }
}

#[test]
fn aya_reads_it() {
    for legacy in [false, true] {
        let elf = compile(legacy);
        let mut object = aya_obj::Object::parse(&elf).expect("aya parses it");
        object
            .fixup_and_sanitize_btf(&aya_obj::btf::BtfFeatures::default())
            .expect("BTF");
        assert!(object.programs.contains_key("hook"), "{:?}", object.programs.keys());
        assert!(object.maps.contains_key("own_counts") && object.maps.contains_key("tetra_scratch"));
        let text = object.functions.keys().map(|(section, _)| *section).collect();
        let maps = std::mem::take(&mut object.maps);
        object
            .relocate_maps(maps.iter().map(|(name, map)| (name.as_str(), 3, map)), &text)
            .expect("maps");
        object.relocate_calls(&text).expect("calls");
    }
}

#[test]
fn objdump_reads_it() {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(&compile(false)).expect("written");
    let Ok(output) = Command::new("llvm-objdump")
        .args(["-d", "-r"])
        .arg(file.path())
        .output()
    else {
        eprintln!("skipped: llvm-objdump is not installed");
        return;
    };
    assert!(output.status.success());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        text.contains("<hook>:") && text.contains("R_BPF_64_32\ttetra_enter"),
        "{text}"
    );
}

#[test]
fn unknown_names_are_errors() {
    let (mut program, lines) = sample();
    let mut b = FunctionBuilder::new("hook", &[Type::Ctx]);
    b.call_runtime("tetra_does_not_exist", &[]);
    b.ret(0);
    program.functions = vec![b.finish()];
    let error = compile_program(program.clone(), &Target::default(), &lines).expect_err("no such function");
    assert_eq!(
        error,
        CodegenError::Link(LinkError::UnknownFunction {
            name: "tetra_does_not_exist".into()
        })
    );

    let mut b = FunctionBuilder::new("not an identifier", &[Type::Ctx]);
    b.ret(0);
    program.functions = vec![b.finish()];
    let error = compile_program(program, &Target::default(), &lines).expect_err("bad name");
    assert_eq!(
        error,
        CodegenError::Link(LinkError::BadName {
            name: "not an identifier".into()
        })
    );
}

#[test]
fn hidden_functions_become_static_and_others_stay_global() {
    use object::{Object as _, ObjectSymbol as _};
    let elf = compile(false);
    let file = object::File::parse(&*elf).expect("ELF");
    let is_global = |name: &str| file.symbol_by_name(name).map(|symbol| symbol.is_global());
    assert_eq!(is_global("hook"), Some(true));
    assert_eq!(is_global("count"), Some(false));
    assert_eq!(is_global("tetra_enter"), Some(false));
    let btf = Btf::parse_object(&elf).expect("BTF");
    for id in btf.ids() {
        if let crate::btf::Kind::Func(_) = btf.kind(id)
            && let Some(is_global) = is_global(btf.name(id))
        {
            let linkage = btf.record(id).map(|record| record.vlen() == 1);
            assert_eq!(linkage, Some(is_global), "{}", btf.name(id));
        }
    }
}
