//! Where the agent listens.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// Written by the agent when it listens; names its address.
pub(crate) const INFO_FILE: &str = "/var/run/tetragon/tetragon-info.json";

/// Where the agent listens if it isn't told otherwise.
pub(crate) const DEFAULT_SOCKET: &str = "/var/run/tetragon/tetragon.sock";

/// Port if an address has none.
const DEFAULT_PORT: u16 = 54321;

/// A place to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// A unix socket.
    Unix(PathBuf),
    /// Host and port.
    Tcp(String),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(host) => f.write_str(host),
        }
    }
}

impl Address {
    /// Parses `unix:///run/x.sock`, `/run/x.sock`, `host:port` or `host`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let path = text.strip_prefix("unix://").or_else(|| text.strip_prefix("unix:"));
        match path.or(text.starts_with('/').then_some(text)) {
            Some(path) if path.starts_with('/') => Ok(Self::Unix(path.into())),
            Some(_) => Err(format!(
                "`{text}` must hold an absolute path, such as `unix:///run/agent.sock`"
            )),
            None if text.is_empty() || text.contains(['/', ' ']) => {
                Err(format!("`{text}` is neither `unix:///path` nor `host:port`"))
            }
            None if text.contains(':') => Ok(Self::Tcp(text.into())),
            None => Ok(Self::Tcp(format!("{text}:{DEFAULT_PORT}"))),
        }
    }
}

/// How an address was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The user gave it.
    Flag,
    /// The agent's info file names it.
    InfoFile,
    /// Nobody said.
    Default,
}

/// The part of the info file that matters here.
#[derive(Deserialize)]
struct Info {
    #[serde(default)]
    server_address: String,
}

/// Finds the address: given, else that of the info file, else the default socket.
pub(crate) fn find(given: Option<&str>, info_file: &Path) -> Result<(Address, Origin), String> {
    if let Some(text) = given {
        return Ok((Address::parse(text)?, Origin::Flag));
    }
    let info = std::fs::read(info_file)
        .ok()
        .and_then(|bytes| serde_json::from_slice::<Info>(&bytes).ok());
    match info.and_then(|info| Address::parse(&info.server_address).ok()) {
        Some(address) => Ok((address, Origin::InfoFile)),
        None => Ok((Address::Unix(DEFAULT_SOCKET.into()), Origin::Default)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_usual_forms() {
        let unix = |path: &str| Ok(Address::Unix(path.into()));
        let tcp = |host: &str| Ok(Address::Tcp(host.into()));
        assert_eq!(Address::parse("unix:///run/a.sock"), unix("/run/a.sock"));
        assert_eq!(Address::parse("unix:/run/a.sock"), unix("/run/a.sock"));
        assert_eq!(Address::parse("/run/a.sock"), unix("/run/a.sock"));
        assert_eq!(Address::parse("localhost:1"), tcp("localhost:1"));
        assert_eq!(Address::parse("localhost"), tcp("localhost:54321"));
        assert_eq!(Address::parse("[::1]:1"), tcp("[::1]:1"));
        for text in ["", "unix://run/a.sock", "http://x", "a b"] {
            assert!(Address::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_flag_wins_over_the_info_file_over_the_default() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("info.json");
        assert_eq!(
            find(None, &file),
            Ok((Address::Unix(DEFAULT_SOCKET.into()), Origin::Default))
        );
        std::fs::write(&file, r#"{"server_address":"unix:///run/b.sock","pid":1}"#).expect("written");
        assert_eq!(
            find(None, &file),
            Ok((Address::Unix("/run/b.sock".into()), Origin::InfoFile))
        );
        assert_eq!(find(Some("h:1"), &file), Ok((Address::Tcp("h:1".into()), Origin::Flag)));
        std::fs::write(&file, "torn").expect("written");
        assert_eq!(
            find(None, &file),
            Ok((Address::Unix(DEFAULT_SOCKET.into()), Origin::Default))
        );
    }
}
