//! Events for API clients: each has a bounded queue, and loses events for itself only.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tetra_api::tetragon::GetEventsResponse;
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
    /// Events lost since the last log line about it.
    lost: u64,
}

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
        let (sender, queue) = mpsc::channel(self.queue_size);
        clients.push(Client {
            queue: sender,
            filters,
            lost: 0,
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
            if !client.filters.pass(&event) {
                return !client.queue.is_closed();
            }
            match client.queue.try_send(Arc::clone(&event)) {
                Ok(()) => {
                    if client.lost > 0 && client.queue.capacity() > self.queue_size / 2 {
                        tracing::warn!(lost = client.lost, "a client did not keep up and has lost events");
                        client.lost = 0;
                    }
                    true
                }
                Err(mpsc::error::TrySendError::Full(_)) => {
                    client.lost += 1;
                    self.lost.increment();
                    true
                }
                Err(mpsc::error::TrySendError::Closed(_)) => false,
            }
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
