//! `🚀 process my-node /usr/bin/curl cilium.io`

use tetra_api::tetragon::ProcessExec;

use super::line::Line;
use super::{EncodeError, required};

pub(super) fn describe(exec: &ProcessExec, line: &mut Line<'_>) -> Result<(), EncodeError> {
    let process = required(exec.process.as_ref())?;
    line.event("🚀", "process");
    line.process(process);
    line.detail(&process.arguments);
    Ok(())
}
