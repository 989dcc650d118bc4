//! Diagnostics as text: one file per form.

mod full;
mod json;
mod line;

pub use full::full;
pub use json::json;
pub use line::line;

/// A message without characters that could act on a terminal.
fn printable(text: &str) -> std::borrow::Cow<'_, str> {
    if text.chars().any(char::is_control) {
        text.chars()
            .map(|c| {
                if c.is_control() {
                    c.escape_default().to_string()
                } else {
                    c.to_string()
                }
            })
            .collect::<String>()
            .into()
    } else {
        text.into()
    }
}
