//! Terminal colours.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, stdout};

use clap::ValueEnum;

/// When to colour output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ColourMode {
    /// If standard output is a terminal that knows colours, and `NO_COLOR` is not set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl ColourMode {
    /// Decides, looking at standard output and the environment if it must.
    pub fn enabled(self) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto => {
                let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
                let dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
                !refused && !dumb && stdout().is_terminal()
            }
        }
    }
}

/// A colour, by its SGR code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Colour {
    Red = 31,
    Green = 32,
    Yellow = 33,
    Blue = 34,
    Magenta = 35,
    Cyan = 36,
}

/// Colours text, or leaves it as it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Painter {
    colours: bool,
}

impl Painter {
    pub(super) fn new(colours: bool) -> Self {
        Self { colours }
    }

    pub(super) fn paint(self, colour: Colour, text: &str, out: &mut String) {
        if self.colours && !text.is_empty() {
            write!(out, "\x1b[{}m{text}\x1b[0m", colour as u8).expect("writing to a string cannot fail");
        } else {
            out.push_str(text);
        }
    }
}
