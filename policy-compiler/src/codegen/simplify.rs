//! Clean-up before registers are allocated: constants become immediates, results that nobody reads are not computed, jumps to
//! jumps lead to the end of the chain.

use crate::ir::{AluOp, BlockId, Function, Inst, Operand, Terminator, Width};

/// The function with small constants as immediates and without dead instructions.
pub(super) fn simplify(mut function: Function) -> Function {
    propagate_constants(&mut function);
    remove_dead(&mut function);
    thread_jumps(&mut function);
    function
}

/// Blocks that only lead on are passed over. They stay, unreachable, until blocks are put in order.
fn thread_jumps(function: &mut Function) {
    let mut leads_to: Vec<Option<BlockId>> = function
        .blocks
        .iter()
        .map(|block| match block.terminator {
            Terminator::Jump(target) if block.insts.is_empty() => Some(target),
            _ => None,
        })
        .collect();
    for start in 0..leads_to.len() {
        let Some(mut end) = leads_to[start] else { continue };
        // an endless loop of empty blocks has no end
        let mut steps = 0;
        while let Some(next) = leads_to[end.0 as usize].filter(|_| steps < leads_to.len()) {
            end = next;
            steps += 1;
        }
        leads_to[start] = Some(end);
    }
    for block in &mut function.blocks {
        let terminator = block.terminator.clone();
        block.terminator = terminator.map_blocks(|target| leads_to[target.0 as usize].unwrap_or(target));
    }
}

/// Constants that fit an immediate replace the values that hold them. Larger ones stay in registers, where several
/// instructions can use them.
fn propagate_constants(function: &mut Function) {
    let mut constants = vec![None; function.value_types.len()];
    for located in function.blocks.iter().flat_map(|block| &block.insts) {
        if let Inst::Const { dest, value } = located.inst
            && i32::try_from(value).is_ok()
        {
            constants[dest.0 as usize] = Some(value);
        }
    }
    let replace = |operand: &mut Operand| {
        if let Operand::Value(value) = operand
            && let Some(constant) = constants[value.0 as usize]
        {
            *operand = Operand::Imm(constant);
        }
    };
    for block in &mut function.blocks {
        for located in &mut block.insts {
            match &mut located.inst {
                Inst::Alu { op, width, a, b, .. } => {
                    replace(a);
                    let in_register = b.value().is_some();
                    replace(b);
                    // in a register only the low bits of a shift count; an immediate must be in range
                    if let (true, AluOp::Lsh | AluOp::Rsh | AluOp::Arsh, Operand::Imm(amount)) = (in_register, op, b) {
                        *amount &= if *width == Width::W32 { 31 } else { 63 };
                    }
                }
                Inst::Store { value, .. } => replace(value),
                Inst::Call { args, .. } => args.iter_mut().for_each(replace),
                _ => {}
            }
        }
        match &mut block.terminator {
            Terminator::Branch { b, .. } => replace(b),
            Terminator::Return(operand) => replace(operand),
            Terminator::Jump(_) => {}
        }
    }
}

fn remove_dead(function: &mut Function) {
    let mut uses = vec![0u32; function.value_types.len()];
    let mut definitions = vec![None; function.value_types.len()];
    for (block_index, block) in function.blocks.iter().enumerate() {
        for (index, located) in block.insts.iter().enumerate() {
            located.inst.uses().for_each(|value| uses[value.0 as usize] += 1);
            if let Some(dest) = located.inst.dest() {
                definitions[dest.0 as usize] = Some((block_index, index));
            }
        }
        block.terminator.uses().for_each(|value| uses[value.0 as usize] += 1);
    }
    let pure = |inst: &Inst| !matches!(inst, Inst::Call { .. } | Inst::Store { .. });
    // by position in the function; where each block begins
    let mut total = 0;
    let starts: Vec<usize> = function
        .blocks
        .iter()
        .map(|block| {
            total += block.insts.len();
            total - block.insts.len()
        })
        .collect();
    let mut dead = vec![false; total];
    let mut open: Vec<_> = (0..uses.len()).filter(|value| uses[*value] == 0).collect();
    while let Some(value) = open.pop() {
        let Some((block, index)) = definitions[value] else {
            continue;
        };
        let inst = &function.blocks[block].insts[index].inst;
        if !pure(inst) {
            continue;
        }
        dead[starts[block] + index] = true;
        for operand in inst.uses() {
            let count = &mut uses[operand.0 as usize];
            *count -= 1;
            if *count == 0 {
                open.push(operand.0 as usize);
            }
        }
    }
    for (block, start) in function.blocks.iter_mut().zip(starts) {
        let mut position = start;
        block.insts.retain(|_| {
            position += 1;
            !dead[position - 1]
        });
        for located in &mut block.insts {
            if let Inst::Call { dest, .. } = &mut located.inst
                && dest.is_some_and(|dest| uses[dest.0 as usize] == 0)
            {
                *dest = None;
            }
        }
    }
}
