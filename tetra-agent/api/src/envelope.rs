//! JSON form of [`GetEventsResponse`].
//!
//! Written by hand because the order of the keys matters to people: the event comes first, then
//! where and when. The generated code would put a oneof last.

use std::fmt;

use serde::de::{Error as _, IgnoredAny, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::tetragon::GetEventsResponse;
use crate::tetragon::get_events_response::Event;

macro_rules! events {
    ($($variant:ident $snake:literal $(or $camel:literal)?),+ $(,)?) => {
        fn serialize_event<M: SerializeMap>(event: &Event, map: &mut M) -> Result<(), M::Error> {
            match event {
                $(Event::$variant(payload) => map.serialize_entry($snake, payload),)+
            }
        }

        /// Takes the value of `key` if it names an event.
        fn deserialize_event<'de, A: MapAccess<'de>>(
            key: &str,
            map: &mut A,
        ) -> Result<Option<Option<Event>>, A::Error> {
            Ok(match key {
                $($snake $(| $camel)? => Some(map.next_value::<Option<_>>()?.map(Event::$variant)),)+
                _ => None,
            })
        }
    };
}

events! {
    ProcessExec "process_exec" or "processExec",
    ProcessExit "process_exit" or "processExit",
    ProcessKprobe "process_kprobe" or "processKprobe",
    ProcessTracepoint "process_tracepoint" or "processTracepoint",
    ProcessLoader "process_loader" or "processLoader",
    ProcessUprobe "process_uprobe" or "processUprobe",
    ProcessThrottle "process_throttle" or "processThrottle",
    ProcessLsm "process_lsm" or "processLsm",
    ProcessUsdt "process_usdt" or "processUsdt",
    Test "test",
    RateLimitInfo "rate_limit_info" or "rateLimitInfo",
}

impl Serialize for GetEventsResponse {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if let Some(event) = &self.event {
            serialize_event(event, &mut map)?;
        }
        if !self.node_name.is_empty() {
            map.serialize_entry("node_name", &self.node_name)?;
        }
        if let Some(time) = &self.time {
            map.serialize_entry("time", time)?;
        }
        if let Some(aggregation_info) = &self.aggregation_info {
            map.serialize_entry("aggregation_info", aggregation_info)?;
        }
        if !self.cluster_name.is_empty() {
            map.serialize_entry("cluster_name", &self.cluster_name)?;
        }
        if !self.node_labels.is_empty() {
            map.serialize_entry("node_labels", &self.node_labels)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for GetEventsResponse {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EnvelopeVisitor)
    }
}

struct EnvelopeVisitor;

impl<'de> Visitor<'de> for EnvelopeVisitor {
    type Value = GetEventsResponse;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event (struct tetragon.GetEventsResponse)")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut envelope = GetEventsResponse::default();
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "node_name" | "nodeName" => {
                    envelope.node_name = map.next_value::<Option<_>>()?.unwrap_or_default();
                }
                "time" => envelope.time = map.next_value()?,
                "aggregation_info" | "aggregationInfo" => {
                    envelope.aggregation_info = map.next_value()?;
                }
                "cluster_name" | "clusterName" => {
                    envelope.cluster_name = map.next_value::<Option<_>>()?.unwrap_or_default();
                }
                "node_labels" | "nodeLabels" => {
                    envelope.node_labels = map.next_value::<Option<_>>()?.unwrap_or_default();
                }
                key => match deserialize_event(key, &mut map)? {
                    Some(None) => {}
                    Some(event) if envelope.event.is_none() => envelope.event = event,
                    Some(_) => {
                        return Err(A::Error::custom(format_args!("second event `{key}` in one object")));
                    }
                    None => {
                        map.next_value::<IgnoredAny>()?;
                    }
                },
            }
        }
        Ok(envelope)
    }
}
