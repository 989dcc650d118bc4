//! Which events a client or the export gets, and which of their fields.
//!
//! Filters look at messages, not at internal events, so that every sink and the command line mean the same by them.

mod capabilities;
mod cel;
mod event;
mod fields;
mod labels;
mod parse;

use crate::tetragon::{Filter, GetEventsResponse};
pub use event::{EventFilter, FilterOptions};
pub use fields::FieldFilters;
pub use parse::{parse_field_filters, parse_filters};

/// Why a filter can't be honoured.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// A regular expression is wrong.
    #[error("`{field}`: {source}")]
    Regex {
        /// Field of the filter.
        field: &'static str,
        /// What is wrong.
        source: regex::Error,
    },
    /// Not an expression over events.
    #[error("`cel_expression` `{expression}`: {reason}")]
    Expression {
        /// Its beginning.
        expression: String,
        /// What is wrong.
        reason: String,
    },
    /// Not a selector of labels.
    #[error("`labels` `{selector}`: {reason}")]
    Labels {
        /// The selector.
        selector: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// The field is known, but this agent or its configuration can't serve it.
    #[error("`{field}` cannot be used: {reason}")]
    Unsupported {
        /// Field of the filter.
        field: &'static str,
        /// Why, and what to do.
        reason: &'static str,
    },
    /// Not the JSON form of a filter.
    #[error("filter {position}: {source}")]
    Json {
        /// 1-based position in the list.
        position: usize,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// A key that filters don't have.
    #[error("filter {position}: unknown key `{key}`")]
    UnknownKey {
        /// 1-based position in the list.
        position: usize,
        /// The key.
        key: String,
    },
    /// A field path that no event has.
    #[error("field filter: no event has the field `{0}`")]
    UnknownField(String),
    /// A number that is no value of its enum.
    #[error("`{field}`: {number} is no value of it")]
    Value {
        /// Field of the filter.
        field: &'static str,
        /// The number.
        number: i32,
    },
}

/// An allow list and a deny list: an event passes if any of the first matches (or there is none) and none of the second.
#[derive(Debug, Default)]
pub struct FilterLists {
    allow: Vec<EventFilter>,
    deny: Vec<EventFilter>,
}

impl FilterLists {
    /// Compiles both lists.
    ///
    /// # Errors
    /// The first filter that can't be honoured.
    pub fn new(allow: &[Filter], deny: &[Filter], options: FilterOptions) -> Result<Self, FilterError> {
        let compile = |list: &[Filter]| {
            list.iter()
                .map(|filter| EventFilter::new(filter, options))
                .collect::<Result<Vec<_>, _>>()
        };
        Ok(Self {
            allow: compile(allow)?,
            deny: compile(deny)?,
        })
    }

    /// Whether the event passes.
    pub fn pass(&self, event: &GetEventsResponse) -> bool {
        // not short-circuited: a pid set must see every event to know its descendants
        let any = |list: &[EventFilter], none| list.iter().fold(none, |any, filter| filter.matches(event) || any);
        let (allowed, denied) = (any(&self.allow, self.allow.is_empty()), any(&self.deny, false));
        allowed && !denied
    }
}

#[cfg(test)]
mod tests;
