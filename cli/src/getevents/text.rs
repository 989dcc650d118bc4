//! Events from a log: one JSON object a line.

use std::io::{self, BufRead as _, BufReader, BufWriter, Read, Write};

use anyhow::{Context as _, anyhow};
use tetra_api::filter::{FieldFilters, FilterError, FilterLists, FilterOptions};
use tetra_api::tetragon::GetEventsResponse;

use super::output::Output;
use super::request::request;
use crate::arguments::GetEvents;

/// Prints the events of `input` that the user wants; says on `messages` how many lines were no events.
pub(super) fn print(
    input: impl Read,
    out: &mut impl Write,
    messages: &mut impl Write,
    options: &GetEvents,
) -> anyhow::Result<()> {
    let request = request(options)?;
    // a log shows what it shows, so no field is off limits
    let permitted = FilterOptions {
        ancestors: true,
        credentials: true,
        pid_sets: true,
    };
    let filters = FilterLists::new(&request.allow_list, &[], permitted).map_err(|error| whole(&error))?;
    let fields = FieldFilters::new(&request.field_filters).map_err(|error| whole(&error))?;
    let mut output = Output::new(options, BufWriter::with_capacity(1 << 16, out));
    let mut input = BufReader::with_capacity(1 << 16, input);
    let mut problems = Problems::default();
    let mut line = Vec::new();
    let mut number = 0_u64;
    loop {
        line.clear();
        if input.buffer().is_empty() {
            // the next read may have to wait, as on a pipe from `tail -F`
            output.flush()?;
        }
        if input
            .read_until(b'\n', &mut line)
            .context("cannot read standard input")?
            == 0
        {
            break;
        }
        number += 1;
        if line.trim_ascii().is_empty() {
            continue;
        }
        match serde_json::from_slice::<GetEventsResponse>(&line) {
            Err(error) => problems.add(number, &error),
            Ok(event) if event.event.is_none() => problems.add(number, &"no event in it"),
            Ok(event) if !filters.pass(&event) => {}
            Ok(event) => {
                let event = if fields.is_empty() { event } else { fields.apply(&event) };
                if let Err(error) = output.write(&event)? {
                    problems.add(number, &error);
                }
            }
        }
    }
    output.flush()?;
    problems.report(messages)?;
    Ok(())
}

/// An error whose message holds its cause already.
fn whole(error: &FilterError) -> anyhow::Error {
    anyhow!("{error}")
}

/// Lines that could not be shown.
#[derive(Default)]
struct Problems {
    count: u64,
    first: Option<(u64, String)>,
}

impl Problems {
    fn add(&mut self, line: u64, reason: &dyn ToString) {
        self.count += 1;
        self.first.get_or_insert_with(|| (line, reason.to_string()));
    }

    fn report(&self, messages: &mut impl Write) -> io::Result<()> {
        match &self.first {
            None => Ok(()),
            Some((line, reason)) if self.count == 1 => {
                writeln!(messages, "warning: left out line {line}, which is no event: {reason}")
            }
            Some((line, reason)) => {
                writeln!(
                    messages,
                    "warning: left out {} lines that are no events; the first, line {line}: {reason}",
                    self.count
                )
            }
        }
    }
}
