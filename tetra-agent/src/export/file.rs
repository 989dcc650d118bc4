//! The export file and its rotation.
//!
//! A file is rotated when it would grow over its size, or when it is too old: `NAME.EXT` becomes
//! `NAME-2026-01-31T23-59-59.000.EXT` (UTC), and the oldest such files beyond the number to keep are removed. With compression
//! their names end in `.gz` then. Where a new file cannot be made, the old one keeps its name and grows on.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::compress::{self, Compressor};
use super::writer::write_some;
use super::{Batch, Rotation};

/// An open export file.
#[derive(Debug)]
pub struct FileOutput {
    path: PathBuf,
    permission: u32,
    rotation: Rotation,
    file: File,
    size: u64,
    opened: SystemTime,
    compressor: Compressor,
    /// The file is due and could not be rotated: it grows on, and the log has it.
    stuck: bool,
}

impl FileOutput {
    /// Opens the file to append to it, making it and its directory if need be.
    ///
    /// # Errors
    /// If that can't be done.
    pub fn open(path: &Path, permission: u32, rotation: Rotation) -> io::Result<Self> {
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            std::fs::create_dir_all(parent)?;
        }
        let (file, size) = open(path, permission)?;
        let output = Self {
            path: path.to_owned(),
            permission,
            rotation,
            file,
            size,
            opened: SystemTime::now(),
            compressor: Compressor::default(),
            stuck: false,
        };
        // a file that is not one, such as a pipe, has no backups, and its directory may be none that can be read
        if rotation.compress
            && let Ok(backups) = output.backups()
        {
            output.compress(backups);
        }
        Ok(output)
    }

    /// Rotates by other rules from the next batch on; the number of backups is looked at when the file is rotated.
    pub fn set_rotation(&mut self, rotation: Rotation) {
        self.rotation = rotation;
    }

    /// Opens the file by its name again, for whoever has moved it.
    ///
    /// # Errors
    /// If that can't be done; the file open until now stays.
    pub fn reopen(&mut self) -> io::Result<()> {
        (self.file, self.size) = open(&self.path, self.permission)?;
        self.opened = SystemTime::now();
        Ok(())
    }

    /// Appends a batch; how many lines are in the file then, and what stopped the others. A line is there whole or not at all.
    pub fn write(&mut self, batch: &Batch) -> (usize, Option<io::Error>) {
        if self.is_due(batch.bytes().len() as u64) {
            match self.rotate() {
                Ok(()) => self.stuck = false,
                // a file that is too large is better than no events
                Err(error) if !self.stuck => {
                    tracing::error!(%error, "export: the file cannot be rotated and grows on");
                    self.stuck = true;
                }
                Err(_) => {}
            }
        }
        let (written, error) = write_some(&mut self.file, batch.bytes());
        let (end, lines) = batch.complete_within(written);
        if end < written
            && let Err(error) = self.file.set_len(self.size + end as u64)
        {
            tracing::error!(%error, "export: half a line stays in the file");
        }
        self.size += end as u64;
        (lines, error)
    }

    fn is_due(&self, more: u64) -> bool {
        let too_old =
            !self.rotation.interval.is_zero() && self.opened.elapsed().is_ok_and(|age| age >= self.rotation.interval);
        self.size > 0 && (too_old || self.size + more > self.rotation.max_size_bytes)
    }

    fn rotate(&mut self) -> io::Result<()> {
        let backup = self.new_backup_name();
        // first, so that a full disk has room for the new file
        self.remove_surplus(self.rotation.max_backups.saturating_sub(1))?;
        let renamed = match std::fs::rename(&self.path, &backup) {
            Ok(()) => true,
            // somebody has moved or removed it
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(error),
        };
        match open(&self.path, self.permission) {
            Ok((file, size)) => (self.file, self.size) = (file, size),
            Err(error) => {
                if renamed {
                    std::fs::rename(&backup, &self.path)?;
                }
                return Err(error);
            }
        }
        self.opened = SystemTime::now();
        self.remove_surplus(self.rotation.max_backups)?;
        if self.rotation.compress {
            self.compress(self.backups()?);
        }
        Ok(())
    }

    /// Removes the oldest of more than `keep` backups.
    fn remove_surplus(&self, keep: usize) -> io::Result<()> {
        let mut backups = self.backups()?;
        let surplus = backups.len().saturating_sub(keep);
        for old in backups.drain(..surplus) {
            match std::fs::remove_file(&old) {
                // compressed just now: it goes with the next
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => other?,
            }
        }
        Ok(())
    }

    /// Compresses those of the backups that are not yet.
    fn compress(&self, mut backups: Vec<PathBuf>) {
        backups.retain(|path| !path.as_os_str().to_string_lossy().ends_with(compress::ENDING));
        if !backups.is_empty() {
            self.compressor.compress(backups, self.permission);
        }
    }

    /// `DIR/NAME-` and `.EXT` of backups.
    fn parts(&self) -> (String, String) {
        let stem = self.path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let extension = self
            .path
            .extension()
            .map(|e| format!(".{}", e.to_string_lossy()))
            .unwrap_or_default();
        (format!("{stem}-"), extension)
    }

    /// The name of a backup made now, or as soon after as no backup has the name.
    fn new_backup_name(&self) -> PathBuf {
        let (prefix, suffix) = self.parts();
        let mut time = Timestamp::now();
        loop {
            let text = time
                .to_zoned(TimeZone::UTC)
                .strftime("%Y-%m-%dT%H-%M-%S.%3f")
                .to_string();
            let name = format!("{prefix}{text}{suffix}");
            let compressed = self.path.with_file_name(format!("{name}{}", compress::ENDING));
            let path = self.path.with_file_name(name);
            if !path.exists() && !compressed.exists() {
                return path;
            }
            time += Duration::from_millis(1);
        }
    }

    /// Rotated files, oldest first: their names sort by time.
    fn backups(&self) -> io::Result<Vec<PathBuf>> {
        let (prefix, suffix) = self.parts();
        let directory = self
            .path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        let is_time = |text: &str| {
            text.len() == "2026-01-31T23-59-59.000".len()
                && text.bytes().all(|b| b.is_ascii_digit() || b"-T.".contains(&b))
        };
        let mut backups: Vec<PathBuf> = std::fs::read_dir(directory)?
            .flatten()
            .filter(|entry| {
                let name = entry.file_name();
                let name = name.to_string_lossy();
                name.strip_suffix(compress::ENDING)
                    .unwrap_or(&name)
                    .strip_prefix(&prefix)
                    .and_then(|rest| rest.strip_suffix(&suffix))
                    .is_some_and(is_time)
            })
            .map(|entry| entry.path())
            .collect();
        backups.sort();
        Ok(backups)
    }
}

fn open(path: &Path, permission: u32) -> io::Result<(File, u64)> {
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(permission)
        .open(path)?;
    let metadata = file.metadata()?;
    // the umask may have taken bits away; devices and pipes keep theirs
    if metadata.is_file() {
        file.set_permissions(std::fs::Permissions::from_mode(permission))?;
    }
    if !metadata.is_file() {
        return Ok((file, 0));
    }
    let end = end_of_lines(path, metadata.len())?;
    if end < metadata.len() {
        tracing::warn!(path = %path.display(), "export: half a line that a killed agent has left is removed");
        file.set_len(end)?;
    }
    Ok((file, end))
}

/// Where the last whole line of a file of `size` bytes ends. A process can be killed in the middle of a write.
fn end_of_lines(path: &Path, size: u64) -> io::Result<u64> {
    const BLOCK: u64 = 64 << 10;
    if size == 0 {
        return Ok(0);
    }
    let file = File::open(path)?;
    let mut end = size;
    let mut block = Vec::new();
    // one byte tells it of nearly every file
    let mut wanted = 1;
    while end > 0 {
        let start = end.saturating_sub(wanted);
        block.resize((end - start) as usize, 0);
        file.read_exact_at(&mut block, start)?;
        if let Some(newline) = block.iter().rposition(|&byte| byte == b'\n') {
            return Ok(start + newline as u64 + 1);
        }
        (end, wanted) = (start, BLOCK);
    }
    Ok(0)
}
