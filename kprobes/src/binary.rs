//! Binaries of the file system: opened, told apart, read for the compiler, and verified.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use object::ReadCache;
use policy_compiler::binary::{Binary, FileIdentity, hexadecimal};
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha384, Sha512};

use crate::sys::SysError;

/// Opens a binary. A path may name anything: a pipe without a writer must not hold the caller up.
pub(crate) fn open(path: &str) -> Result<File, SysError> {
    fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
        .map_err(|error| SysError::io("open", path, &error))
}

/// Which file an open one is.
pub(crate) fn identity(file: &File, path: &str) -> Result<FileIdentity, SysError> {
    let metadata = file.metadata().map_err(|error| SysError::io("fstat", path, &error))?;
    Ok(FileIdentity {
        device: metadata.dev(),
        inode: metadata.ino(),
        size: metadata.size(),
        modified_ns: metadata
            .mtime()
            .saturating_mul(1_000_000_000)
            .saturating_add(metadata.mtime_nsec()),
    })
}

/// Reads a binary, with those digests (`sha256:…`) whose algorithms occur among `wanted`.
///
/// # Errors
/// The reason for people.
pub(crate) fn read(path: &str, wanted: &BTreeSet<String>) -> Result<Binary, String> {
    if !Path::new(path).is_absolute() {
        return Err("the path is not absolute".to_owned());
    }
    let file = open(path).map_err(|error| io::Error::from_raw_os_error(error.errno).to_string())?;
    let metadata = file.metadata().map_err(|error| error.to_string())?;
    if !metadata.is_file() {
        return Err("it is no regular file".to_owned());
    }
    let identity = identity(&file, path).map_err(|error| error.to_string())?;
    let mut digests = BTreeSet::new();
    for algorithm in wanted.iter().filter_map(|digest| digest.split(':').next()) {
        let computed = match algorithm {
            "sha1" => digest::<Sha1>(&file),
            "sha256" => digest::<Sha256>(&file),
            "sha384" => digest::<Sha384>(&file),
            "sha512" => digest::<Sha512>(&file),
            _ => continue,
        };
        let hexadecimal = computed.map_err(|error| error.to_string())?;
        digests.insert(format!("{algorithm}:{hexadecimal}"));
    }
    let cache = ReadCache::new(&file);
    let mut binary = Binary::parse(&cache).map_err(|error| error.to_string())?;
    binary.identity = identity;
    binary.digests.extend(digests);
    Ok(binary)
}

fn digest<D: Digest>(mut file: &File) -> io::Result<String> {
    io::Seek::rewind(&mut file)?;
    let mut digest = D::new();
    let mut block = vec![0; 64 << 10];
    loop {
        match file.read(&mut block)? {
            0 => break,
            count => digest.update(&block[..count]),
        }
    }
    Ok(hexadecimal(&digest.finalize()))
}
