//! Conditions on the capability sets of a process.

use crate::tetragon::{CapFilter, CapFilterSet, Capabilities, CapabilitiesType};

use super::FilterError;

/// A compiled `CapFilter`: a condition per set that has one.
#[derive(Debug, Default)]
pub(super) struct CapabilityFilter {
    permitted: Option<SetCondition>,
    effective: Option<SetCondition>,
    inheritable: Option<SetCondition>,
}

#[derive(Debug)]
enum SetCondition {
    Any(u64),
    All(u64),
    Exactly(u64),
    None(u64),
}

impl CapabilityFilter {
    pub(super) fn new(filter: &CapFilter) -> Result<Self, FilterError> {
        let one = |set: &Option<CapFilterSet>| set.as_ref().map(SetCondition::new).transpose().map(Option::flatten);
        Ok(Self {
            permitted: one(&filter.permitted)?,
            effective: one(&filter.effective)?,
            inheritable: one(&filter.inheritable)?,
        })
    }

    pub(super) fn matches(&self, capabilities: &Capabilities) -> bool {
        [
            (&self.permitted, &capabilities.permitted),
            (&self.effective, &capabilities.effective),
            (&self.inheritable, &capabilities.inheritable),
        ]
        .iter()
        .all(|(condition, have)| condition.as_ref().is_none_or(|condition| condition.holds(bits(have))))
    }
}

impl SetCondition {
    fn new(set: &CapFilterSet) -> Result<Option<Self>, FilterError> {
        type Make = fn(u64) -> SetCondition;
        let lists: [(&Vec<i32>, Make); 4] = [
            (&set.any, Self::Any),
            (&set.all, Self::All),
            (&set.exactly, Self::Exactly),
            (&set.none, Self::None),
        ];
        for &number in lists.iter().flat_map(|(list, _)| list.iter()) {
            if CapabilitiesType::try_from(number).is_err() {
                return Err(FilterError::Value {
                    field: "capabilities",
                    number,
                });
            }
        }
        let mut given = lists.iter().filter(|(list, _)| !list.is_empty());
        let first = given.next().map(|(list, make)| make(bits(list)));
        if given.next().is_some() {
            return Err(FilterError::Unsupported {
                field: "capabilities",
                reason: "a set takes one of `any`, `all`, `exactly` and `none`",
            });
        }
        Ok(first)
    }

    fn holds(&self, have: u64) -> bool {
        match *self {
            Self::Any(set) => have & set != 0,
            Self::All(set) => have & set == set,
            Self::Exactly(set) => have == set,
            Self::None(set) => have & set == 0,
        }
    }
}

fn bits(numbers: &[i32]) -> u64 {
    numbers
        .iter()
        .fold(0, |set, &number| set | 1u64.checked_shl(number as u32).unwrap_or(0))
}
