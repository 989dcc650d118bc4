//! Compression of rotated files, behind the back of whoever writes.
//!
//! `NAME.EXT` becomes `NAME.EXT.gz` under another name first, so that a file with that ending is always whole. What an agent
//! that was killed has left is taken up by the next: the file that was not compressed yet is, and half of a compressed one is
//! written over.

use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use flate2::Compression;
use flate2::write::GzEncoder;

/// Ending of compressed files.
pub(super) const ENDING: &str = ".gz";
/// Ending of those that are being written.
const UNFINISHED: &str = ".gz.part";

/// Compresses files one after the other.
#[derive(Clone, Debug, Default)]
pub(super) struct Compressor {
    busy: Arc<Mutex<()>>,
}

impl Compressor {
    /// Compresses files in a thread of its own. What fails is logged: the file stays as it is.
    pub(super) fn compress(&self, files: Vec<PathBuf>, permission: u32) {
        let busy = Arc::clone(&self.busy);
        let work = move || {
            let _alone = busy.lock().unwrap_or_else(PoisonError::into_inner);
            for file in files {
                // one that had to wait may be gone: there are newer ones to keep
                match compress(&file, permission) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        tracing::warn!(file = %file.display(), %error, "export: a rotated file stays uncompressed");
                    }
                    _ => {}
                }
            }
        };
        if let Err(error) = std::thread::Builder::new().name("compress".into()).spawn(work) {
            tracing::warn!(%error, "export: rotated files stay uncompressed");
        }
    }
}

/// `NAME.EXT.gz` in place of `NAME.EXT`.
fn compress(path: &Path, permission: u32) -> io::Result<()> {
    let with = |ending: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    };
    let (unfinished, finished) = (with(UNFINISHED), with(ENDING));
    let mut from = File::open(path)?;
    let to = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(permission)
        .open(&unfinished)?;
    // the umask may have taken bits away
    to.set_permissions(Permissions::from_mode(permission))?;
    let mut encoder = GzEncoder::new(to, Compression::default());
    let written = io::copy(&mut from, &mut encoder).and_then(|_| encoder.finish());
    match written.and_then(|file| file.sync_all()) {
        Ok(()) => {
            std::fs::rename(&unfinished, &finished)?;
            std::fs::remove_file(path)
        }
        Err(error) => {
            // half of it takes room and says nothing
            let _gone = std::fs::remove_file(&unfinished);
            Err(error)
        }
    }
}
