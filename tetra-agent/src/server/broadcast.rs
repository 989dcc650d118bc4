//! Events for API clients: each has a bounded queue, and loses events for itself only.
//!
//! A client that has lost events is told how many, by a `rate_limit_info` event that stands in its stream where they are missing,
//! whatever it filters: a stream without one is complete.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tetra_api::tetragon::get_events_response::Event;
use tetra_api::tetragon::{GetEventsResponse, RateLimitInfo};
use tokio::sync::mpsc;

use crate::filter::{FieldFilters, FilterLists};
use crate::policy::Counter;

/// Hands events to all clients that want them.
#[derive(Debug)]
pub struct Broadcast {
    clients: Mutex<Vec<Client>>,
    /// Length of `clients`, to be read without the lock.
    count: AtomicUsize,
    closed: AtomicBool,
    queue_size: usize,
    lost: Counter,
}

#[derive(Debug)]
struct Client {
    queue: mpsc::Sender<Arc<GetEventsResponse>>,
    filters: FilterLists,
    /// Events lost that it has not been told of.
    lost: u64,
    /// Events lost that the log doesn't have yet: one line for each time that it falls behind.
    unlogged: u64,
}

/// Places in a queue that events leave free, for the notice of a loss.
const RESERVED: usize = 1;

/// A client's end.
#[derive(Debug)]
pub struct ClientEvents {
    /// Events that passed its filters.
    pub queue: mpsc::Receiver<Arc<GetEventsResponse>>,
    /// Fields it wants.
    pub fields: FieldFilters,
}

impl Broadcast {
    /// Makes a broadcast whose clients may fall behind by `queue_size` events.
    pub fn new(queue_size: usize) -> Self {
        Self {
            clients: Mutex::default(),
            count: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            queue_size: queue_size.max(1),
            lost: Counter::default(),
        }
    }

    /// Adds a client; `None` if the agent is about to end.
    pub fn subscribe(&self, filters: FilterLists, fields: FieldFilters) -> Option<ClientEvents> {
        let mut clients = self.lock();
        if self.closed.load(Ordering::Relaxed) {
            return None;
        }
        let (sender, queue) = mpsc::channel(self.queue_size + RESERVED);
        clients.push(Client {
            queue: sender,
            filters,
            lost: 0,
            unlogged: 0,
        });
        self.count.store(clients.len(), Ordering::Relaxed);
        Some(ClientEvents { queue, fields })
    }

    /// Whether anybody listens. May be wrong for a moment: a client gets events from some time after its call on.
    pub fn has_clients(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0
    }

    /// Events lost because a client was too slow.
    pub fn lost(&self) -> u64 {
        self.lost.get()
    }

    /// Gives an event to all clients whose filters let it pass.
    pub fn send(&self, event: GetEventsResponse) {
        let event = Arc::new(event);
        let mut clients = self.lock();
        clients.retain_mut(|client| {
            let told = client.tell_of_loss(&event);
            client.log_loss();
            if client.filters.pass(&event) && !client.offer(&event, told) {
                client.lost += 1;
                self.lost.increment();
            }
            !client.queue.is_closed()
        });
        self.count.store(clients.len(), Ordering::Relaxed);
    }

    /// Ends all streams, and takes no new ones.
    pub fn close(&self) {
        let mut clients = self.lock();
        self.closed.store(true, Ordering::Relaxed);
        clients.clear();
        self.count.store(0, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Client>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Client {
    /// Queues an event; `false` if it is lost. Right after a notice (`told`) it may take the last place: the notice has the
    /// reserved one.
    fn offer(&self, event: &Arc<GetEventsResponse>, told: bool) -> bool {
        if self.queue.is_closed() {
            // it wants nothing any more, so it loses nothing
            return true;
        }
        let room = told || self.queue.capacity() > RESERVED;
        // the client may have made room since it could not be told: no event goes ahead of the notice
        room && self.lost == 0 && self.queue.try_send(Arc::clone(event)).is_ok()
    }

    /// Queues the notice of what was lost as soon as there are places for it and for an event after it; whether it did. `next`:
    /// what comes after the gap.
    fn tell_of_loss(&mut self, next: &GetEventsResponse) -> bool {
        if self.lost == 0 || self.queue.capacity() <= RESERVED {
            return false;
        }
        let notice = GetEventsResponse {
            event: Some(Event::RateLimitInfo(RateLimitInfo {
                number_of_dropped_process_events: self.lost,
            })),
            node_name: next.node_name.clone(),
            time: next.time,
            cluster_name: next.cluster_name.clone(),
            node_labels: next.node_labels.clone(),
            ..Default::default()
        };
        let told = self.queue.try_send(Arc::new(notice)).is_ok();
        if told {
            self.unlogged += self.lost;
            self.lost = 0;
        }
        told
    }

    /// Logs what was lost when the client has caught up with half of its queue.
    fn log_loss(&mut self) {
        if self.unlogged > 0 && self.queue.capacity() > self.queue.max_capacity() / 2 {
            tracing::warn!(
                lost = self.unlogged,
                "a client did not keep up; it was told of the events it lost"
            );
            self.unlogged = 0;
        }
    }
}
