//! Compact output: one line an event, for people.
//!
//! The lines are those of Tetragon's command line, byte for byte, because people know them and
//! scripts cut them. Strings that a process can choose (paths, arguments, symbols) are quoted if
//! they hold spaces or anything a terminal would act on.

mod colour;
mod exec;
mod exit;
mod kprobe;
mod line;
mod loader;
mod lsm;
mod quote;
mod rate_limit;
mod stack;
mod throttle;
mod tracepoint;
mod uprobe;
mod usdt;

use std::fmt::Write as _;

pub use colour::ColourMode;
use colour::Painter;
use line::Line;
pub use quote::quote;
use tetra_api::tetragon::get_events_response::Event;
use tetra_api::tetragon::{GetEventsResponse, Process};

/// What the lines show.
#[derive(Clone, Copy, Debug)]
pub struct CompactOptions {
    /// Whether to colour.
    pub colours: bool,
    /// Start each line with the time of the event.
    pub timestamps: bool,
    /// Add the stack traces of an event below it.
    pub stack_traces: bool,
    /// Add the IMA hash of the file of an LSM event below it.
    pub ima_hash: bool,
}

/// Why an event has no line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The envelope is empty; an agent newer than this program may have sent an event it doesn't know.
    #[error("no event in the message, or one of a type this version does not know")]
    NoEvent,
    /// The event says nothing about the process.
    #[error("event without a process")]
    NoProcess,
}

/// Appends the line (and what belongs below it) of `response` to `out`.
///
/// # Errors
/// An event that can't be shown; `out` is then unchanged.
pub fn encode(response: &GetEventsResponse, options: CompactOptions, out: &mut String) -> Result<(), EncodeError> {
    let event = response.event.as_ref().ok_or(EncodeError::NoEvent)?;
    let painter = Painter::new(options.colours);
    let mut line = Line::new(painter, &response.node_name);
    match event {
        Event::ProcessExec(exec) => exec::describe(exec, &mut line)?,
        Event::ProcessExit(exit) => exit::describe(exit, &mut line)?,
        Event::ProcessKprobe(kprobe) => kprobe::describe(kprobe, &mut line)?,
        Event::ProcessTracepoint(tracepoint) => tracepoint::describe(tracepoint, &mut line)?,
        Event::ProcessLoader(loader) => loader::describe(loader, &mut line)?,
        Event::ProcessUprobe(uprobe) => uprobe::describe(uprobe, &mut line)?,
        Event::ProcessUsdt(usdt) => usdt::describe(usdt, &mut line)?,
        Event::ProcessLsm(lsm) => lsm::describe(lsm, &mut line)?,
        Event::ProcessThrottle(throttle) => throttle::describe(throttle, &mut line),
        Event::RateLimitInfo(info) => rate_limit::describe(*info, &mut line),
        Event::Test(_) => line.plain("TEST EVENT"),
    }
    if options.timestamps {
        write_time(response, out);
    }
    line.finish(out);
    if options.stack_traces
        && let Event::ProcessKprobe(kprobe) = event
    {
        stack::write(kprobe, painter, out);
    }
    if options.ima_hash
        && let Event::ProcessLsm(lsm) = event
    {
        lsm::write_hash(lsm, painter, out);
    }
    Ok(())
}

/// Always nine digits of fraction, so that lines align.
fn write_time(response: &GetEventsResponse, out: &mut String) {
    let time = response.time.unwrap_or_default();
    let whole = tetra_api::Timestamp { nanos: 0, ..time }.to_string();
    let written = write!(out, "{}.{:09}Z ", whole.trim_end_matches('Z'), time.nanos);
    written.expect("writing to a string cannot fail");
}

fn required(process: Option<&Process>) -> Result<&Process, EncodeError> {
    process.ok_or(EncodeError::NoProcess)
}
