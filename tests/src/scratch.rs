//! Directories of tests.

use std::path::{Path, PathBuf};

/// A directory that is removed at the end of a test.
///
/// It lies in `/run`, which in a guest of the lab is a tmpfs: the guest's root is an overlay, and an operation on a file
/// of an overlay runs through some hooks twice (once for the overlay's file, once for the file below).
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// Makes an empty directory for the test `name`.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn new(name: &str) -> Self {
        let directory = PathBuf::from(format!("/run/tetra-tests/{name}-{}", std::process::id()));
        if directory.exists() {
            std::fs::remove_dir_all(&directory).expect("left-overs can be removed");
        }
        std::fs::create_dir_all(&directory).unwrap_or_else(|error| panic!("`{}`: {error}", directory.display()));
        Self(directory)
    }

    /// The path of `name` in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// [`Self::path`] as text.
    pub fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// Writes a file and gives its path; directories on the way are made.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("it is in a directory")).expect("directories can be made");
        std::fs::write(&path, content).unwrap_or_else(|error| panic!("`{}`: {error}", path.display()));
        path.display().to_string()
    }

    /// The directory itself.
    pub fn directory(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // a test that fails may leave something busy in it; the next one removes it
        let _left = std::fs::remove_dir_all(&self.0);
    }
}
