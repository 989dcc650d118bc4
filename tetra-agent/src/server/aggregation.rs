//! Aggregation: what a client asks for with `aggregation_options`.
//!
//! Events that are equal in everything but their time are sent once for each window, with the number of them in
//! `aggregation_info` and the time of the first. A window begins with the first event after the last window, and ends after
//! the time that the client asked for, or before that if it holds as many different events as the client allows. Events leave in
//! the order in which the first of each came.
//!
//! Events are compared after field filters: what a client does not want to see does not keep events apart.
//!
//! Nothing is lost here: the sum of all counts is the number of events. While a client does not take what has left a window,
//! no more events are read, and they wait in the client's queue as without aggregation. So the notice of a loss, which ends the
//! window, still stands where events are missing.

use std::collections::VecDeque;
use std::collections::hash_map::Entry;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rustc_hash::FxHashMap;
use tetra_api::Message as _;
use tetra_api::tetragon::{AggregationInfo, AggregationOptions, EventType, GetEventsResponse};
use tokio::time::Sleep;
use tokio_stream::Stream;

/// Length of a window if the client names none.
const DEFAULT_WINDOW: Duration = Duration::from_secs(15);
/// Different events in a window if the client names no number.
const DEFAULT_CAPACITY: usize = 10_000;
/// Most different events that a client may have the agent keep: at a few kilobytes each it is the agent's memory.
const MAX_CAPACITY: usize = 65_536;

/// What a client asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Aggregation {
    /// Length of a window.
    window: Duration,
    /// Different events in a window, at least one.
    capacity: usize,
}

/// Options that can't be honoured.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum AggregationError {
    /// A window must have a length.
    #[error("`window_size` is {0}: expected a duration longer than zero")]
    Window(tetra_api::Duration),
    /// The agent would have to keep too many events.
    #[error("`channel_buffer_size` is {0}: expected at most {MAX_CAPACITY} events")]
    Capacity(u64),
}

impl Aggregation {
    /// Reads the options of a request; what is missing has the reference's defaults.
    ///
    /// # Errors
    /// If the window is zero, negative or no duration, or the buffer larger than the agent allows.
    pub(super) fn new(options: &AggregationOptions) -> Result<Self, AggregationError> {
        let window = match options.window_size {
            None => DEFAULT_WINDOW,
            Some(size) => size
                .to_std()
                .filter(|window| !window.is_zero())
                .ok_or(AggregationError::Window(size))?,
        };
        let capacity = match usize::try_from(options.channel_buffer_size) {
            Ok(0) => DEFAULT_CAPACITY,
            Ok(size) if size <= MAX_CAPACITY => size,
            _ => return Err(AggregationError::Capacity(options.channel_buffer_size)),
        };
        Ok(Self { window, capacity })
    }

    /// The events of `events`, aggregated.
    pub(super) fn apply<S>(self, events: S) -> Aggregated<S> {
        Aggregated {
            events,
            aggregation: self,
            window: Window::default(),
            end: None,
            leaving: VecDeque::new(),
            ended: false,
        }
    }
}

/// What is the same in equal events: the encoding of all but the time.
fn key(event: &mut GetEventsResponse) -> Vec<u8> {
    let time = event.time.take();
    // maps are ordered, so equal events have equal encodings
    let key = event.encode_to_vec();
    event.time = time;
    key
}

/// The events of one window.
#[derive(Debug, Default)]
struct Window {
    /// In the order of their first occurrence, with their numbers.
    events: Vec<(GetEventsResponse, u64)>,
    /// Where in `events` one is, by its [`key`].
    places: FxHashMap<Vec<u8>, usize>,
}

impl Window {
    /// Whether an event with this key can be taken into a window of so many different events.
    fn has_room(&self, key: &[u8], capacity: usize) -> bool {
        self.events.len() < capacity || self.places.contains_key(key)
    }

    /// Takes an event, which is the same as all others with its key.
    fn add(&mut self, key: Vec<u8>, event: GetEventsResponse) {
        match self.places.entry(key) {
            Entry::Occupied(place) => self.events[*place.get()].1 += 1,
            Entry::Vacant(place) => {
                place.insert(self.events.len());
                self.events.push((event, 1));
            }
        }
    }

    /// Ends the window, and gives its events.
    fn close(&mut self) -> impl Iterator<Item = GetEventsResponse> + '_ {
        self.places.clear();
        self.events.drain(..).map(|(mut event, count)| {
            event.aggregation_info = Some(AggregationInfo { count });
            event
        })
    }
}

/// A stream of aggregated events.
#[derive(Debug)]
pub(super) struct Aggregated<S> {
    events: S,
    aggregation: Aggregation,
    window: Window,
    /// When the window ends; `None` while it is empty.
    end: Option<Pin<Box<Sleep>>>,
    /// What has left a window and is not sent yet.
    leaving: VecDeque<GetEventsResponse>,
    ended: bool,
}

impl<S> Aggregated<S> {
    fn close_window(&mut self) {
        self.end = None;
        self.leaving.extend(self.window.close());
    }

    fn take(&mut self, mut event: GetEventsResponse) {
        if event.event_type() == EventType::RateLimitInfo {
            self.close_window();
            self.leaving.push_back(event);
            return;
        }
        let key = key(&mut event);
        if !self.window.has_room(&key, self.aggregation.capacity) {
            self.close_window();
        }
        self.window.add(key, event);
        if self.end.is_none() {
            self.end = Some(Box::pin(tokio::time::sleep(self.aggregation.window)));
        }
    }
}

impl<S: Stream<Item = GetEventsResponse> + Unpin> Stream for Aggregated<S> {
    type Item = GetEventsResponse;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<GetEventsResponse>> {
        let this = self.get_mut();
        loop {
            if let Some(event) = this.leaving.pop_front() {
                return Poll::Ready(Some(event));
            }
            if this.ended {
                return Poll::Ready(None);
            }
            // first, so that a stream that always has an event cannot keep a window open
            if this
                .end
                .as_mut()
                .is_some_and(|end| end.as_mut().poll(context).is_ready())
            {
                this.close_window();
                continue;
            }
            match Pin::new(&mut this.events).poll_next(context) {
                Poll::Ready(Some(event)) => this.take(event),
                Poll::Ready(None) => {
                    this.close_window();
                    this.ended = true;
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

#[cfg(test)]
mod tests;
