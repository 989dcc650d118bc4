//! The command channel between host and guest: frames of one type byte, a little-endian length and data, both ways over a
//! virtio-serial port. The guest's half is in `lab/init.c`.

use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use anyhow::{Result, bail};

/// What the guest sends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum FromGuest {
    /// Bytes of the command's standard output.
    Output(Vec<u8>),
    /// Bytes of its standard error.
    ErrorOutput(Vec<u8>),
    /// The command has ended; 128 + the signal if one killed it.
    Status(u8),
}

/// Largest frame a guest sends; more means that the stream is broken.
const MAX_FRAME: u32 = 1 << 20;

/// Reads one frame; `None` at the end of the stream.
pub(super) fn receive(port: &mut impl Read) -> Result<Option<FromGuest>> {
    let mut head = [0; 5];
    match port.read_exact(&mut head) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let length = u32::from_le_bytes([head[1], head[2], head[3], head[4]]);
    if length > MAX_FRAME {
        bail!("the guest sent a frame of {length} bytes");
    }
    let mut data = vec![0; length as usize];
    port.read_exact(&mut data)?;
    Ok(Some(match head[0] {
        b'o' => FromGuest::Output(data),
        b'e' => FromGuest::ErrorOutput(data),
        b'x' => FromGuest::Status(String::from_utf8_lossy(&data).parse()?),
        other => bail!("the guest sent a frame of unknown type {other:#x}"),
    }))
}

fn send(port: &mut impl Write, kind: u8, data: &[u8]) -> io::Result<()> {
    let mut frame = Vec::with_capacity(5 + data.len());
    frame.push(kind);
    frame.extend_from_slice(&u32::try_from(data.len()).map_err(io::Error::other)?.to_le_bytes());
    frame.extend_from_slice(data);
    port.write_all(&frame)
}

/// Tells the guest what to run; its standard input is empty.
pub(super) fn send_command(
    port: &mut impl Write,
    command: &[String],
    directory: &Path,
    environment: &[(String, String)],
) -> io::Result<()> {
    for argument in command {
        send(port, b'a', argument.as_bytes())?;
    }
    send(port, b'd', directory.as_os_str().as_bytes())?;
    for (name, value) in environment {
        send(port, b'v', format!("{name}={value}").as_bytes())?;
    }
    send(port, b'r', &[])?;
    send(port, b'z', &[])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_one_by_one() {
        let mut stream = Vec::new();
        send(&mut stream, b'o', b"hello").expect("written");
        send(&mut stream, b'x', b"137").expect("written");
        let mut reader = stream.as_slice();
        assert_eq!(
            receive(&mut reader).expect("a frame"),
            Some(FromGuest::Output(b"hello".to_vec()))
        );
        assert_eq!(receive(&mut reader).expect("a frame"), Some(FromGuest::Status(137)));
        assert_eq!(receive(&mut reader).expect("the end"), None);
    }

    #[test]
    fn broken_streams_are_errors() {
        assert!(receive(&mut [b'o', 255, 255, 255, 255].as_slice()).is_err());
        assert!(receive(&mut [b'?', 0, 0, 0, 0].as_slice()).is_err());
        assert!(receive(&mut [b'o', 4, 0, 0, 0, 1].as_slice()).is_err());
    }
}
