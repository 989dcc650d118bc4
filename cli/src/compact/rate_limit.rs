//! `🚦 limited my-node 12 events left out by the rate limit of the export`

use tetra_api::tetragon::RateLimitInfo;

use super::colour::Colour;
use super::line::Line;

pub(super) fn describe(info: RateLimitInfo, line: &mut Line<'_>) {
    line.event_in(Colour::Red, "🚦", "limited");
    line.node();
    let number = info.number_of_dropped_process_events;
    let events = if number == 1 { "event" } else { "events" };
    line.plain(&format!(" {number} {events} left out by the rate limit of the export"));
}
