//! The socket in the file system.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

/// Who may connect: root and the group of the file.
const MODE: u32 = 0o660;

/// Removes the socket when it goes out of scope.
#[derive(Debug)]
pub struct SocketFile(PathBuf);

impl SocketFile {
    /// Listens on a socket at `path`. It gets its permissions under another name, so nobody can connect before; what stood at
    /// `path` is replaced.
    ///
    /// # Errors
    /// If one of the steps fails; the message names the path.
    pub fn listen(path: &Path) -> io::Result<(UnixListener, Self)> {
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(named)?;
        }
        let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
        match std::fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(named(error)),
            _ => {}
        }
        let listener = UnixListener::bind(&temporary).map_err(named)?;
        std::fs::set_permissions(&temporary, std::fs::Permissions::from_mode(MODE)).map_err(named)?;
        std::fs::rename(&temporary, path).map_err(named)?;
        Ok((listener, Self(path.to_owned())))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "the socket stays behind");
        }
    }
}
