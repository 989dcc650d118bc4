//! `🕵️ usdt    my-node /usr/bin/python3 /usr/bin/python3 python gc__start`

use tetra_api::tetragon::ProcessUsdt;

use super::line::Line;
use super::{EncodeError, quote, required};

pub(super) fn describe(usdt: &ProcessUsdt, line: &mut Line<'_>) -> Result<(), EncodeError> {
    let process = required(usdt.process.as_ref())?;
    line.event("🕵️", "usdt");
    line.process(process);
    line.plain(&format!(
        " {} {} {}",
        quote(&usdt.path),
        quote(&usdt.provider),
        quote(&usdt.name)
    ));
    Ok(())
}
