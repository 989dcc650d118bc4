//! Where the API is listened for: a socket in the file system, or a TCP port.

use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

/// Who may connect: root and the group of the file.
const MODE: u32 = 0o660;

/// Removes the socket when it goes out of scope, unless another agent has put its own there.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    /// Device and inode.
    identity: Option<(u64, u64)>,
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    let of = std::fs::symlink_metadata(path).ok()?;
    Some((of.dev(), of.ino()))
}

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
        let file = Self {
            path: path.to_owned(),
            identity: identity(path),
        };
        Ok((listener, file))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.identity.is_none() || identity(&self.path) != self.identity {
            return;
        }
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "the socket stays behind");
        }
    }
}
