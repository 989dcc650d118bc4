//! Text of compiled programs: machine code with names for what it refers to and the policy lines it comes from.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::codegen::{FunctionCode, Symbol};
use crate::ir::Program;
use crate::isa::{Form, Instruction};
use crate::output::{SourceLine, SourceRef};

/// Lists functions. Jump targets get labels, references their names, and a policy line is written wherever it changes.
pub(crate) fn listing(functions: &[FunctionCode], program: &Program, source_lines: &[SourceLine]) -> String {
    let mut text = format!("section {}\n", program.section);
    for function in functions {
        list_function(&mut text, function, program, source_lines).expect("writing to a string cannot fail");
    }
    text
}

/// The slot a jump leads to.
fn jump_target(at: usize, instruction: Instruction) -> Option<usize> {
    let off = match instruction.form()? {
        Form::Jump { .. } | Form::Goto => i64::from(instruction.off),
        Form::GotoLong => i64::from(instruction.imm),
        _ => return None,
    };
    usize::try_from(at as i64 + 1 + off).ok()
}

fn list_function(
    text: &mut String,
    function: &FunctionCode,
    program: &Program,
    source_lines: &[SourceLine],
) -> std::fmt::Result {
    let code = &function.instructions;
    let targets = code
        .iter()
        .enumerate()
        .filter_map(|(at, instruction)| jump_target(at, *instruction));
    let mut labels: BTreeMap<usize, usize> = targets.map(|target| (target, 0)).collect();
    labels
        .values_mut()
        .enumerate()
        .for_each(|(number, label)| *label = number);
    let references: BTreeMap<usize, &Symbol> = function.references.iter().map(|(at, symbol)| (*at, symbol)).collect();

    writeln!(
        text,
        "\n{}:  ; {} instructions, {} bytes of stack",
        function.name,
        code.len(),
        function.frame_size
    )?;
    let mut shown: Option<SourceRef> = None;
    let mut at = 0;
    while at < code.len() {
        let instruction = code[at];
        if let Some(label) = labels.get(&at) {
            writeln!(text, "L{label}:")?;
        }
        let source = function.sources[at];
        if source != shown {
            shown = source;
            if let Some(line) = source.and_then(|source| source_lines.get(source.0 as usize)) {
                writeln!(text, "  ; {}:{}:{} {}", line.file, line.line, line.column, line.text)?;
            }
        }
        let plain = instruction.text(code.get(at + 1).copied());
        let plain = match jump_target(at, instruction).and_then(|target| labels.get(&target)) {
            Some(label) => {
                let stem = plain.rsplit_once(' ').map_or(plain.as_str(), |(stem, _)| stem);
                format!("{stem} L{label}")
            }
            None => plain,
        };
        let plain = match references.get(&at) {
            Some(Symbol::Map(name)) => format!("r{} = map {name}", instruction.dst),
            Some(Symbol::Function(name)) => format!("call {name}"),
            Some(Symbol::Local(id)) => {
                format!(
                    "call {}",
                    program
                        .functions
                        .get(id.0 as usize)
                        .map_or("?", |function| function.name.as_str())
                )
            }
            None => plain,
        };
        writeln!(text, "  {at:5}  {plain}")?;
        at += if instruction.is_wide() { 2 } else { 1 };
    }
    Ok(())
}
