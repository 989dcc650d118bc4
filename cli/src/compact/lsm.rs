//! `🔒 LSM     my-node /usr/bin/cat file_open`, and the hash of the file below it if it was taken.

use tetra_api::tetragon::ProcessLsm;
use tetra_api::tetragon::kprobe_argument::Arg;

use super::colour::{Colour, Painter};
use super::line::Line;
use super::{EncodeError, quote, required};

pub(super) fn describe(lsm: &ProcessLsm, line: &mut Line<'_>) -> Result<(), EncodeError> {
    let process = required(lsm.process.as_ref())?;
    line.event("🔒", "LSM");
    line.process(process);
    line.plain(&format!(" {}", lsm.function_name));
    Ok(())
}

/// `   /usr/bin/cat sha256:73ab…`, for hooks whose first argument is the file.
pub(super) fn write_hash(lsm: &ProcessLsm, painter: Painter, out: &mut String) {
    let first = lsm.args.first().and_then(|argument| argument.arg.as_ref());
    let path = match (lsm.function_name.as_str(), first) {
        (
            "bprm_check_security"
            | "bprm_committed_creds"
            | "bprm_committing_creds"
            | "bprm_creds_for_exec"
            | "bprm_creds_from_file",
            Some(Arg::LinuxBinprmArg(program)),
        ) => &program.path,
        (
            "file_ioctl" | "file_lock" | "file_open" | "file_post_open" | "file_receive" | "mmap_file",
            Some(Arg::FileArg(file)),
        ) => &file.path,
        _ => return,
    };
    if lsm.ima_hash.is_empty() || path.is_empty() {
        return;
    }
    painter.paint(Colour::Green, &format!("   {}", quote(path)), out);
    painter.paint(Colour::Blue, &format!(" {}", lsm.ima_hash), out);
    out.push('\n');
}
