//! Stack traces below a kprobe event.

use tetra_api::tetragon::ProcessKprobe;

use super::colour::{Colour, Painter};
use super::quote;

pub(super) fn write(kprobe: &ProcessKprobe, painter: Painter, out: &mut String) {
    if !kprobe.kernel_stack_trace.is_empty() {
        out.push_str("Kernel:\n");
        for frame in &kprobe.kernel_stack_trace {
            painter.paint(Colour::Green, &format!("   0x{:x}:", frame.address), out);
            painter.paint(Colour::Blue, &format!(" {}", frame.symbol), out);
            out.push('+');
            painter.paint(Colour::Yellow, &format!("0x{:x}", frame.offset), out);
            out.push('\n');
        }
    }
    if !kprobe.user_stack_trace.is_empty() {
        out.push_str("User:\n");
        for frame in &kprobe.user_stack_trace {
            painter.paint(Colour::Green, &format!("   0x{:x}:", frame.address), out);
            if !frame.symbol.is_empty() {
                painter.paint(Colour::Blue, &format!(" {}", quote(&frame.symbol)), out);
            }
            painter.paint(
                Colour::Yellow,
                &format!(" ({}+0x{:x})", quote(&frame.module), frame.offset),
                out,
            );
            out.push('\n');
        }
    }
}
