//! `🧬 loader  my-node /usr/bin/cat 7ac9a936 /usr/lib/libc.so.6`

use std::fmt::Write as _;

use tetra_api::tetragon::ProcessLoader;

use super::colour::Colour;
use super::line::Line;
use super::{EncodeError, quote, required};

pub(super) fn describe(loader: &ProcessLoader, line: &mut Line<'_>) -> Result<(), EncodeError> {
    let process = required(loader.process.as_ref())?;
    line.event("🧬", "loader");
    line.process(process);
    if !loader.buildid.is_empty() {
        let mut hex = String::with_capacity(loader.buildid.len() * 2 + 1);
        for byte in &loader.buildid {
            write!(hex, "{byte:02x}").expect("writing to a string cannot fail");
        }
        line.plain(" ");
        line.plain(&hex);
    }
    line.detail_in(Colour::Yellow, &quote(&loader.path));
    Ok(())
}
