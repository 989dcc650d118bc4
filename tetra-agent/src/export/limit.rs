//! How many events a minute are exported.
//!
//! A bucket of a minute's events that refills steadily. What is held back is told to whoever reads the export, once a minute, by a
//! `rate_limit_info` event that stands where events are missing.

use std::time::{Duration, Instant};

use tetra_api::tetragon::get_events_response::Event;
use tetra_api::tetragon::{GetEventsResponse, RateLimitInfo};

/// Time in which the limit may be reached, and after which it is told what was held back.
const PERIOD: Duration = Duration::from_mins(1);

/// The limit, and what is left of it.
#[derive(Debug)]
pub(super) struct Limit {
    per_period: f64,
    left: f64,
    refilled: Instant,
    /// Events held back that nobody has been told of, and an event like them, without its payload.
    held_back: u64,
    like: GetEventsResponse,
    told: Instant,
}

impl Limit {
    /// At most so many events in a minute.
    pub(super) fn new(per_minute: u32, now: Instant) -> Self {
        Self {
            per_period: per_minute.into(),
            left: per_minute.into(),
            refilled: now,
            held_back: 0,
            like: GetEventsResponse::default(),
            told: now,
        }
    }

    /// Whether one more event may be exported.
    pub(super) fn take(&mut self, event: &GetEventsResponse, now: Instant) -> bool {
        let share = now.duration_since(self.refilled).as_secs_f64() / PERIOD.as_secs_f64();
        self.left = (self.left + share * self.per_period).min(self.per_period);
        self.refilled = now;
        if self.left >= 1.0 {
            self.left -= 1.0;
            return true;
        }
        self.held_back += 1;
        self.like = GetEventsResponse {
            event: None,
            time: event.time,
            node_name: event.node_name.clone(),
            cluster_name: event.cluster_name.clone(),
            node_labels: event.node_labels.clone(),
            ..GetEventsResponse::default()
        };
        false
    }

    /// What is to be told now, if anything was held back and it is time, or the last moment.
    pub(super) fn notice(&mut self, now: Instant, is_last: bool) -> Option<GetEventsResponse> {
        if self.held_back == 0 || !is_last && now.duration_since(self.told) < PERIOD {
            return None;
        }
        self.told = now;
        let count = std::mem::take(&mut self.held_back);
        Some(GetEventsResponse {
            event: Some(Event::RateLimitInfo(RateLimitInfo {
                number_of_dropped_process_events: count,
            })),
            ..std::mem::take(&mut self.like)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> GetEventsResponse {
        GetEventsResponse {
            node_name: "n".into(),
            ..GetEventsResponse::default()
        }
    }

    fn told(notice: Option<GetEventsResponse>) -> Option<u64> {
        let notice = notice?;
        assert_eq!(notice.node_name, "n");
        match notice.event {
            Some(Event::RateLimitInfo(info)) => Some(info.number_of_dropped_process_events),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_minutes_events_pass_at_once_and_then_as_it_refills() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut limit = Limit::new(6, start);
        let passed =
            |limit: &mut Limit, count: usize, seconds| (0..count).filter(|_| limit.take(&event(), at(seconds))).count();
        assert_eq!(passed(&mut limit, 10, 0), 6);
        assert_eq!(told(limit.notice(at(59), false)), None);
        assert_eq!(passed(&mut limit, 10, 10), 1);
        assert_eq!(passed(&mut limit, 10, 30), 2);
        assert_eq!(told(limit.notice(at(60), false)), Some(4 + 9 + 8));
        assert_eq!(told(limit.notice(at(120), false)), None, "nothing was held back since");
        assert_eq!(passed(&mut limit, 7, 1000), 6, "no more than a minute's are saved");
        assert_eq!(told(limit.notice(at(1000), false)), Some(1));
        assert_eq!(passed(&mut limit, 1, 1000), 0);
        assert_eq!(told(limit.notice(at(1001), false)), None);
        assert_eq!(told(limit.notice(at(1001), true)), Some(1), "the last moment");
    }
}
