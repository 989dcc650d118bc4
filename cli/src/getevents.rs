//! `tetra getevents`: events from the agent, or from a log on standard input.

mod output;
mod request;
mod stream;
mod text;

use std::io;
use std::os::fd::AsFd;

use crate::arguments::{Connection, GetEvents};

/// Runs the command.
pub(crate) async fn run(connection: &Connection, options: &GetEvents) -> anyhow::Result<()> {
    if stdin_has_events() {
        text::print(
            io::stdin().lock(),
            &mut io::stdout().lock(),
            &mut io::stderr().lock(),
            options,
        )
    } else {
        stream::print(connection, options).await
    }
}

/// Whether standard input is a file or a pipe. A terminal is a character device, and so is
/// `/dev/null`, which services and scripts have there.
fn stdin_has_events() -> bool {
    use std::os::unix::fs::FileTypeExt as _;

    let Ok(stdin) = io::stdin().as_fd().try_clone_to_owned() else {
        return false;
    };
    std::fs::File::from(stdin)
        .metadata()
        .is_ok_and(|metadata| !metadata.file_type().is_char_device())
}
