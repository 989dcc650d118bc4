//! Takes the ELF kernel out of a bzImage. QEMU boots it directly (PVH), which saves the guest the slow decompression.
//!
//! Layout: <https://docs.kernel.org/arch/x86/boot.html>. The real-mode setup header gives the number of 512-byte setup
//! sectors at 0x1f1, and the offset and length of the compressed payload behind them at 0x248 and 0x24c.

use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

const SETUP_SECTORS: usize = 0x1f1;
const HEADER_MAGIC: usize = 0x202;
const PAYLOAD_OFFSET: usize = 0x248;
const PAYLOAD_LENGTH: usize = 0x24c;

/// How payloads begin, and the program that unpacks them from stdin to stdout.
const COMPRESSIONS: [(&[u8], &str); 4] = [
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\xfd7zX", "xz"),
    (b"\x1f\x8b", "gzip"),
    (b"\x02\x21\x4c\x18", "lz4"),
];

/// The compressed payload of `image`.
fn payload(image: &[u8]) -> Result<&[u8]> {
    ensure!(
        image.get(HEADER_MAGIC..HEADER_MAGIC + 4) == Some(b"HdrS"),
        "not a bzImage: no `HdrS` at {HEADER_MAGIC:#x}"
    );
    let word = |at: usize| -> Result<usize> {
        let bytes = image.get(at..at + 4).context("bzImage ends in its header")?;
        Ok(u32::from_le_bytes(bytes.try_into().expect("four bytes")) as usize)
    };
    // zero means four, for the oldest boot loaders
    let sectors = match image[SETUP_SECTORS] {
        0 => 4,
        n => usize::from(n),
    };
    let start = (sectors + 1) * 512 + word(PAYLOAD_OFFSET)?;
    image
        .get(start..start + word(PAYLOAD_LENGTH)?)
        .context("the payload lies past the end of the bzImage")
}

/// The ELF kernel in `image`.
///
/// # Errors
/// If `image` is not a bzImage, its compression is unknown, or the payload is no ELF file.
pub(super) fn extract_vmlinux(image: &[u8]) -> Result<Vec<u8>> {
    let payload = payload(image)?;
    let Some((_, program)) = COMPRESSIONS.iter().find(|(magic, _)| payload.starts_with(magic)) else {
        bail!(
            "unknown compression of the kernel: it starts with {:02x?}",
            &payload[..payload.len().min(6)]
        );
    };
    let mut child = Command::new(program)
        .arg("-dc")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("running `{program}`"))?;
    let mut stdin = child.stdin.take().expect("piped");
    let compressed = payload.to_vec();
    // the last four bytes of a payload are its unpacked size, which unpackers call trailing garbage: their status says nothing
    let writer = std::thread::spawn(move || {
        let _refused = stdin.write_all(&compressed);
    });
    let kernel = child
        .wait_with_output()
        .with_context(|| format!("reading from `{program}`"))?
        .stdout;
    writer.join().expect("the writer does not panic");
    ensure!(kernel.starts_with(b"\x7fELF"), "`{program}` gave no ELF kernel");
    Ok(kernel)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(sectors: u8, offset: u32, payload: &[u8]) -> Vec<u8> {
        let mut image = vec![0; (usize::from(sectors) + 1) * 512 + offset as usize];
        image[SETUP_SECTORS] = sectors;
        image[HEADER_MAGIC..HEADER_MAGIC + 4].copy_from_slice(b"HdrS");
        image[PAYLOAD_OFFSET..PAYLOAD_OFFSET + 4].copy_from_slice(&offset.to_le_bytes());
        image[PAYLOAD_LENGTH..PAYLOAD_LENGTH + 4].copy_from_slice(&(payload.len() as u32).to_le_bytes());
        image.extend_from_slice(payload);
        image.extend_from_slice(b"trailer");
        image
    }

    #[test]
    fn the_payload_is_found_by_the_setup_header() {
        assert_eq!(
            payload(&image(7, 300, b"\x1f\x8bdata")).expect("a payload"),
            b"\x1f\x8bdata"
        );
    }

    #[test]
    fn a_truncated_image_is_refused() {
        let mut image = image(7, 300, b"\x1f\x8bdata");
        image.truncate(4300);
        assert!(payload(&image).is_err());
        assert!(payload(b"MZ").is_err());
    }

    #[test]
    fn an_unknown_compression_is_named() {
        let error = extract_vmlinux(&image(1, 100, b"strange"))
            .expect_err("refused")
            .to_string();
        assert!(error.contains("unknown compression"), "{error}");
    }
}
