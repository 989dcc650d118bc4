//! Moves that happen at once, as a sequence of moves one after the other.

use crate::isa::Reg;

/// Orders (to, from) moves so that no source is overwritten before it is read; cycles go through `scratch`.
///
/// Each register is the target of at most one move.
pub(super) fn parallel_moves(moves: Vec<(Reg, Reg)>, scratch: Reg) -> Vec<(Reg, Reg)> {
    let mut open: Vec<_> = moves.into_iter().filter(|(to, from)| to != from).collect();
    let mut ordered = Vec::with_capacity(open.len());
    while !open.is_empty() {
        let safe = open.iter().position(|(to, _)| open.iter().all(|(_, from)| from != to));
        if let Some(index) = safe {
            ordered.push(open.remove(index));
            continue;
        }
        // only cycles are left: free one register by moving its contents away
        let (_, from) = open[0];
        ordered.push((scratch, from));
        for (_, source) in &mut open {
            if *source == from {
                *source = scratch;
            }
        }
    }
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(moves: &[(u8, u8)]) {
        let reg = |number| Reg::new(number).expect("a register");
        let mut contents: Vec<u8> = (0..=10).collect();
        for (to, from) in parallel_moves(moves.iter().map(|(to, from)| (reg(*to), reg(*from))).collect(), Reg::R0) {
            contents[to.number() as usize] = contents[from.number() as usize];
        }
        for (to, from) in moves {
            assert_eq!(contents[*to as usize], *from, "{moves:?}");
        }
    }

    #[test]
    fn sources_survive_until_they_are_read() {
        check(&[]);
        check(&[(1, 1)]);
        check(&[(1, 2), (2, 3)]);
        check(&[(2, 1), (1, 2)]);
        check(&[(1, 2), (2, 3), (3, 1), (4, 1), (5, 2)]);
        check(&[(1, 2), (2, 1), (3, 4), (4, 3)]);
        check(&[(1, 6), (2, 6), (3, 6)]);
    }
}
