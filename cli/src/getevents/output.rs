//! Events to text.

use std::io::{self, Write};

use tetra_api::tetragon::get_events_response::Event;
use tetra_api::tetragon::kprobe_argument::Arg;
use tetra_api::tetragon::{GetEventsResponse, ProcessKprobe};

use crate::arguments::{EventFormat, GetEvents};
use crate::compact::{self, CompactOptions};

/// Writes events in the form the user chose.
pub(super) struct Output<'a, W> {
    form: Form<'a>,
    out: W,
    /// Text of one event; kept to reuse its memory.
    text: String,
}

enum Form<'a> {
    Json,
    Compact(CompactOptions),
    Terminal(&'a str),
}

impl<'a, W: Write> Output<'a, W> {
    pub(super) fn new(options: &'a GetEvents, out: W) -> Self {
        let form = match (&options.tty_encode, options.output) {
            (Some(path), _) => Form::Terminal(path),
            (None, EventFormat::Json) => Form::Json,
            (None, EventFormat::Compact) => Form::Compact(CompactOptions {
                colours: options.color.enabled(),
                timestamps: options.timestamps,
                stack_traces: options.stack_traces,
                ima_hash: options.ima_hash,
            }),
        };
        Self {
            form,
            out,
            text: String::new(),
        }
    }

    /// Writes one event. An event that has no form is left out, with a reason.
    pub(super) fn write(&mut self, event: &GetEventsResponse) -> io::Result<Result<(), compact::EncodeError>> {
        self.text.clear();
        match &self.form {
            Form::Json => {
                serde_json::to_writer(&mut self.out, event)?;
                self.out.write_all(b"\n")?;
            }
            Form::Compact(options) => {
                if let Err(error) = compact::encode(event, *options, &mut self.text) {
                    return Ok(Err(error));
                }
                self.out.write_all(self.text.as_bytes())?;
            }
            Form::Terminal(path) => {
                if let Some(Event::ProcessKprobe(kprobe)) = &event.event {
                    self.out.write_all(written_to(kprobe, path))?;
                }
            }
        }
        Ok(Ok(()))
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// The bytes, if the event tells of a write to the file.
fn written_to<'a>(kprobe: &'a ProcessKprobe, path: &str) -> &'a [u8] {
    let argument = |index: usize| kprobe.args.get(index).and_then(|argument| argument.arg.as_ref());
    match (argument(0), argument(1)) {
        (Some(Arg::FileArg(file)), Some(Arg::BytesArg(bytes))) if file.path == path => bytes,
        _ => &[],
    }
}
