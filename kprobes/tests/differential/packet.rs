//! Packets of every kind that filters can tell apart, with what filters see of them.

use policy_compiler::interpret::Sock;

use super::recipe;

const TCP: u8 = 6;
const UDP: u8 = 17;

/// The bytes of a packet from its network header on, and its ends.
pub(crate) fn packet(choice: u16) -> (Vec<u8>, Sock) {
    let mut sock = recipe::sock(choice);
    sock.state = 0;
    let kind = choice / 7 % 12;
    let protocol = match choice % 5 {
        0 => 1,
        1 | 2 => UDP,
        _ => TCP,
    };
    sock.protocol = u16::from(protocol);
    let mut bytes = match sock.family {
        2 => ipv4(&sock, protocol, kind),
        10 => ipv6(&sock, protocol, kind),
        // no IP packet: ARP begins with its hardware type
        _ => vec![0, 1, 8, 0, 6, 4, 0, 1],
    };
    let has_ports = matches!(protocol, TCP | UDP) && kind != FRAGMENT && matches!(sock.family, 2 | 10);
    if has_ports && kind != CUT {
        bytes.extend(sock.source_port.to_be_bytes());
        bytes.extend(sock.destination_port.to_be_bytes());
    } else {
        sock.source_port = 0;
        sock.destination_port = 0;
    }
    if !matches!(sock.family, 2 | 10) {
        sock = Sock::default();
    }
    (bytes, sock)
}

/// Not the first fragment.
const FRAGMENT: u16 = 0;
/// Ends behind the last header.
const CUT: u16 = 1;

fn ipv4(sock: &Sock, protocol: u8, kind: u16) -> Vec<u8> {
    let options = usize::from(kind % 3) * 4;
    let mut bytes = vec![0; 20 + options];
    bytes[0] = 0x40 | (bytes.len() / 4) as u8;
    // "don't fragment" is no offset
    bytes[6] = if kind == FRAGMENT { 0x01 } else { 0x40 };
    bytes[9] = protocol;
    bytes[12..16].copy_from_slice(&sock.source[..4]);
    bytes[16..20].copy_from_slice(&sock.destination[..4]);
    bytes
}

fn ipv6(sock: &Sock, protocol: u8, kind: u16) -> Vec<u8> {
    let extensions: &[u8] = match kind {
        FRAGMENT => &[0, 44],
        2 => &[0],
        3 => &[0, 60, 43],
        4 => &[44],
        5 => &[51, 60],
        _ => &[],
    };
    let next = |at: usize| extensions.get(at).copied().unwrap_or(protocol);
    let mut bytes = vec![0; 40];
    bytes[0] = 0x60;
    bytes[6] = next(0);
    bytes[8..24].copy_from_slice(&sock.source);
    bytes[24..40].copy_from_slice(&sock.destination);
    for (number, extension) in extensions.iter().enumerate() {
        let mut header = match extension {
            // the length of an authentication header counts words of four bytes, without the first two
            51 => [vec![0, 4], vec![0xee; 22]].concat(),
            44 => vec![0, 0xff, 0, 0, 1, 2, 3, 4],
            _ => [vec![0, 1], vec![0xee; 14]].concat(),
        };
        header[0] = next(number + 1);
        if *extension == 44 && kind == FRAGMENT {
            header[2..4].copy_from_slice(&(185u16 << 3).to_be_bytes());
        }
        bytes.extend(header);
    }
    bytes
}
