//! `🧬 throttle START session-429.scope`

use tetra_api::tetragon::{ProcessThrottle, ThrottleType};

use super::colour::Colour;
use super::line::Line;
use super::quote;

pub(super) fn describe(throttle: &ProcessThrottle, line: &mut Line<'_>) {
    line.event_in(Colour::Red, "🧬", "throttle");
    match throttle.r#type() {
        ThrottleType::ThrottleStart => line.detail_in(Colour::Red, "START"),
        ThrottleType::ThrottleStop => line.detail_in(Colour::Green, "STOP "),
        ThrottleType::ThrottleUnknown => line.plain(" "),
    }
    // some agents send the whole buffer the kernel gave them
    let name = throttle.cgroup.split('\0').next().unwrap_or_default();
    line.plain(" ");
    line.plain(&quote(name));
}
