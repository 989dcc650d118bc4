//! Instances in groups, so that a program passes over those of which no selector may hold.

use std::ops::Range;

use crate::plan::HookPlan;

/// Live bits of a group, unless one instance has more selectors.
const BITS: usize = 64;
/// Winners (u16) in a word of the frame.
const WINNERS: usize = 4;

/// Instances in a row whose live bits and winners fill words of their own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Group {
    /// Which.
    pub(super) instances: Range<usize>,
    /// Words (u64) of their live bits.
    pub(super) live: Range<usize>,
    /// Words (u64) of their winners.
    pub(super) winners: Range<usize>,
}

/// Where the live bits and winners of all instances are.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Groups {
    all: Vec<Group>,
    first_live: Vec<usize>,
    winners: Vec<usize>,
}

impl Groups {
    /// All instances in one group.
    pub(super) fn one(plan: &HookPlan) -> Self {
        Self::up_to(plan, usize::MAX)
    }

    /// Groups of up to 64 selectors.
    pub(super) fn new(plan: &HookPlan) -> Self {
        Self::up_to(plan, BITS)
    }

    fn up_to(plan: &HookPlan, bits: usize) -> Self {
        let mut groups = Self::default();
        let (mut start, mut live, mut winner) = (0, 0, 0);
        let (mut first_live, mut first_winner) = (0, 0);
        for (k, instance) in plan.instances.iter().enumerate() {
            let selectors = instance.selectors.len();
            if k > start && live - first_live + selectors > bits {
                live = groups.close(start..k, first_live..live, first_winner..winner);
                winner = groups.winner_words() * WINNERS;
                (start, first_live, first_winner) = (k, live, winner);
            }
            groups.first_live.push(live);
            groups.winners.push(winner);
            live += selectors;
            winner += 1;
        }
        groups.close(start..plan.instances.len(), first_live..live, first_winner..winner);
        groups
    }

    /// Ends a group; the next live bit.
    fn close(&mut self, instances: Range<usize>, live: Range<usize>, winners: Range<usize>) -> usize {
        let words = |range: Range<usize>, size: usize| range.start / size..range.end.div_ceil(size);
        let live = words(live, BITS);
        let next = live.end * BITS;
        self.all.push(Group {
            instances,
            live,
            winners: words(winners, WINNERS),
        });
        next
    }

    /// All of them.
    pub(super) fn all(&self) -> &[Group] {
        &self.all
    }

    /// First live bit of an instance.
    pub(super) fn first_live(&self, instance: usize) -> usize {
        self.first_live[instance]
    }

    /// Number of the winner (u16) of an instance.
    pub(super) fn winner(&self, instance: usize) -> usize {
        self.winners[instance]
    }

    /// Words (u64) of live bits.
    pub(super) fn live_words(&self) -> usize {
        self.all.last().map_or(0, |group| group.live.end)
    }

    /// Words (u64) of winners.
    pub(super) fn winner_words(&self) -> usize {
        self.all.last().map_or(0, |group| group.winners.end)
    }

    /// The bit (0 to 63) that stands for winners in a group; groups share bits where there are more than 64.
    pub(super) fn winner_bit(&self, group: usize) -> usize {
        group / self.all.len().div_ceil(64)
    }
}
