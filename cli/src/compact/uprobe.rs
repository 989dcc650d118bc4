//! `🕵️ uprobe  my-node /usr/bin/bash /bin/bash readline`

use tetra_api::tetragon::ProcessUprobe;

use super::line::Line;
use super::{EncodeError, quote, required};

pub(super) fn describe(uprobe: &ProcessUprobe, line: &mut Line<'_>) -> Result<(), EncodeError> {
    let process = required(uprobe.process.as_ref())?;
    line.event("🕵️", "uprobe");
    line.process(process);
    line.plain(&format!(" {} {}", quote(&uprobe.path), quote(&uprobe.symbol)));
    Ok(())
}
