//! Well-known protobuf types, with their JSON forms.
//!
//! Our own because those of the usual crates either have no JSON form or one that is not
//! canonical (`+00:00` where the specification says `Z`). Wrapper types are not here: prost turns
//! them into options of plain values, whose JSON form is right as it is.

mod any;
mod duration;
mod field_mask;
mod timestamp;

pub use any::Any;
pub use duration::Duration;
pub use field_mask::FieldMask;
pub use timestamp::Timestamp;

use std::fmt;

/// Digits of a fraction of a second: as many as needed of 0, 3, 6 and 9.
fn write_fraction(f: &mut fmt::Formatter<'_>, nanos: u32) -> fmt::Result {
    match nanos {
        0 => Ok(()),
        _ if nanos.is_multiple_of(1_000_000) => write!(f, ".{:03}", nanos / 1_000_000),
        _ if nanos.is_multiple_of(1_000) => write!(f, ".{:06}", nanos / 1_000),
        _ => write!(f, ".{nanos:09}"),
    }
}
