//! The line of an event, built from left to right.

use tetra_api::tetragon::Process;

use super::colour::{Colour, Painter};
use super::quote;

/// Byte at which the warning about capabilities ends, if the line is shorter.
const WARNING_COLUMN: usize = 120;

/// How many effective capabilities make the warning appear. Tetragon's line shows it if the list
/// has an element with the index 21, the number of CAP_SYS_ADMIN, whichever capability that is;
/// what people have learned to read into the mark is kept.
const WARNING_CAPABILITIES: usize = 22;

pub(super) struct Line<'a> {
    painter: Painter,
    node: &'a str,
    text: String,
    /// Bytes without colours.
    length: usize,
    warning: bool,
}

impl<'a> Line<'a> {
    pub(super) fn new(painter: Painter, node: &'a str) -> Self {
        Self {
            painter,
            node,
            text: String::with_capacity(160),
            length: 0,
            warning: false,
        }
    }

    /// Adds text as it is.
    pub(super) fn plain(&mut self, text: &str) {
        self.text.push_str(text);
        self.length += text.len();
    }

    /// Adds text in a colour.
    pub(super) fn coloured(&mut self, colour: Colour, text: &str) {
        self.painter.paint(colour, text, &mut self.text);
        self.length += text.len();
    }

    /// Starts the line: icon, and name padded to a column of its own.
    pub(super) fn event(&mut self, icon: &str, name: &str) {
        self.event_in(Colour::Blue, icon, name);
    }

    /// [`Self::event`] in another colour.
    pub(super) fn event_in(&mut self, colour: Colour, icon: &str, name: &str) {
        self.coloured(colour, &format!("{icon} {name:<7}"));
    }

    /// Adds where the event is from (pod, or node if there is none) and the program.
    pub(super) fn process(&mut self, process: &Process) {
        match &process.pod {
            Some(pod) => self.detail_in(Colour::Green, &format!("{}/{}", pod.namespace, pod.name)),
            None => self.node(),
        }
        self.detail_in(Colour::Magenta, &quote(&process.binary));
        self.warning = process
            .cap
            .as_ref()
            .is_some_and(|sets| sets.effective.len() >= WARNING_CAPABILITIES);
    }

    /// Adds the name of the node.
    pub(super) fn node(&mut self) {
        self.detail_in(Colour::Green, &quote(self.node));
    }

    /// Adds a space and a detail that needs no quoting.
    pub(super) fn detail_in(&mut self, colour: Colour, text: &str) {
        self.plain(" ");
        self.coloured(colour, text);
    }

    /// Adds a space and a detail that a process may have chosen.
    pub(super) fn detail(&mut self, text: &str) {
        self.detail_in(Colour::Cyan, &quote(text));
    }

    /// Appends the line to `out`.
    pub(super) fn finish(mut self, out: &mut String) {
        if self.warning {
            const WARNING: &str = "🛑 CAP_SYS_ADMIN";
            let width = WARNING.chars().count();
            let padding = WARNING_COLUMN.saturating_sub(self.length).saturating_sub(width);
            self.text.push_str(&" ".repeat(padding + 1));
            self.painter.paint(Colour::Magenta, WARNING, &mut self.text);
        }
        out.push_str(&self.text);
        out.push('\n');
    }
}
