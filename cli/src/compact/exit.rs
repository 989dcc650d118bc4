//! `💥 exit    my-node /usr/bin/curl cilium.io 0`, with the signal in place of the status if one
//! ended the process.

use tetra_api::tetragon::ProcessExit;

use super::colour::Colour;
use super::line::Line;
use super::{EncodeError, required};

pub(super) fn describe(exit: &ProcessExit, line: &mut Line<'_>) -> Result<(), EncodeError> {
    let process = required(exit.process.as_ref())?;
    line.event("💥", "exit");
    line.process(process);
    line.detail(&process.arguments);
    if exit.signal.is_empty() {
        line.detail_in(Colour::Red, &exit.status.to_string());
    } else {
        line.detail_in(Colour::Red, &exit.signal);
    }
    Ok(())
}
