//! Stack over chains of calls: the kernel counts the frames of all functions on a chain together.

use crate::codegen::STACK_SIZE;
use crate::object::{FunctionItem, Reference};

use super::LinkError;

/// The kernel rounds each frame up to this (to 16 only since 6.7).
const FRAME_ALIGN: u32 = 32;
/// `MAX_CALL_FRAMES`
const MAX_FRAMES: usize = 8;

/// The deepest chain from a function: its bytes, and who comes next.
#[derive(Clone, Copy)]
struct Deepest {
    bytes: u32,
    frames: usize,
    next_by_bytes: Option<usize>,
    next_by_frames: Option<usize>,
}

/// Checks that no chain of calls from the entry (function 0) needs more stack or frames than there are.
pub(super) fn check(functions: &[FunctionItem], frames: &[u32]) -> Result<(), LinkError> {
    let mut known = vec![None; functions.len()];
    let mut active = vec![false; functions.len()];
    let deepest = visit(0, functions, frames, &mut known, &mut active)?;
    let chain = |next: fn(&Deepest) -> Option<usize>| {
        let mut names = Vec::new();
        let mut at = Some(0);
        while let Some(index) = at {
            names.push(functions[index].name.clone());
            at = known[index].as_ref().and_then(next);
        }
        names
    };
    if deepest.frames > MAX_FRAMES {
        return Err(LinkError::CallsTooDeep {
            chain: chain(|deepest| deepest.next_by_frames),
        });
    }
    if deepest.bytes > STACK_SIZE {
        return Err(LinkError::StackTooDeep {
            chain: chain(|deepest| deepest.next_by_bytes),
            bytes: deepest.bytes,
        });
    }
    Ok(())
}

fn visit(
    index: usize,
    functions: &[FunctionItem],
    frames: &[u32],
    known: &mut [Option<Deepest>],
    active: &mut [bool],
) -> Result<Deepest, LinkError> {
    if let Some(deepest) = known[index] {
        return Ok(deepest);
    }
    if std::mem::replace(&mut active[index], true) {
        return Err(LinkError::Recursion {
            name: functions[index].name.clone(),
        });
    }
    let mut deepest = Deepest {
        bytes: 0,
        frames: 0,
        next_by_bytes: None,
        next_by_frames: None,
    };
    for (_, reference) in &functions[index].references {
        let (Reference::Call(callee) | Reference::FunctionAddress(callee)) = *reference else {
            continue;
        };
        let below = visit(callee, functions, frames, known, active)?;
        if below.bytes > deepest.bytes {
            (deepest.bytes, deepest.next_by_bytes) = (below.bytes, Some(callee));
        }
        if below.frames > deepest.frames {
            (deepest.frames, deepest.next_by_frames) = (below.frames, Some(callee));
        }
    }
    deepest.bytes += frames[index].max(1).next_multiple_of(FRAME_ALIGN);
    deepest.frames += 1;
    active[index] = false;
    known[index] = Some(deepest);
    Ok(deepest)
}
