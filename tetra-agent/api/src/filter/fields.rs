//! Field filters: which parts of an event are sent.

use crate::tetragon::get_events_response::Event;
use crate::tetragon::{EventType, FieldFilter, FieldFilterAction, GetEventsResponse, RateLimitInfo};
use prost::Message as _;
use prost_types::{DescriptorProto, FileDescriptorSet};
use serde_json::{Map, Value};

use super::FilterError;

/// Keys of an event's envelope, which are always sent.
const ENVELOPE: [&str; 5] = ["node_name", "time", "aggregation_info", "cluster_name", "node_labels"];

/// A list of field filters, applied one after the other.
#[derive(Debug, Default)]
pub struct FieldFilters {
    filters: Vec<Compiled>,
}

#[derive(Debug)]
struct Compiled {
    events: Vec<EventType>,
    inverted: bool,
    include: bool,
    paths: Vec<Vec<String>>,
}

impl FieldFilters {
    /// Compiles a list.
    ///
    /// # Errors
    /// A path that no event has, an unknown event type or action.
    pub fn new(filters: &[FieldFilter]) -> Result<Self, FilterError> {
        let descriptors = FileDescriptorSet::decode(crate::FILE_DESCRIPTOR_SET)
            .expect("the descriptors are those the API was generated from");
        Ok(Self {
            filters: filters
                .iter()
                .map(|filter| Compiled::new(filter, &descriptors))
                .collect::<Result<_, _>>()?,
        })
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.filters.is_empty()
    }

    /// Takes away what the filters don't want.
    ///
    /// Goes through the JSON form, whose keys are the field names: field filters are for people who look at a few events. An event
    /// that has no such form is withheld, since it may hold what is not to be sent: in its place there is the notice that one is
    /// missing.
    pub fn apply(&self, event: &GetEventsResponse) -> GetEventsResponse {
        self.cut(event).unwrap_or_else(|| GetEventsResponse {
            event: Some(Event::RateLimitInfo(RateLimitInfo {
                number_of_dropped_process_events: 1,
            })),
            ..event.clone()
        })
    }

    fn cut(&self, event: &GetEventsResponse) -> Option<GetEventsResponse> {
        let event_type = event.event_type();
        let wanted = self.filters.iter().filter(|filter| filter.concerns(event_type));
        let Ok(Value::Object(mut envelope)) = serde_json::to_value(event) else {
            return None;
        };
        for filter in wanted {
            for (key, payload) in &mut envelope {
                if !ENVELOPE.contains(&key.as_str())
                    && let Value::Object(fields) = payload
                {
                    if filter.include {
                        keep(fields, &filter.paths);
                    } else {
                        filter.paths.iter().for_each(|path| remove(fields, path));
                    }
                }
            }
        }
        serde_json::from_value(Value::Object(envelope)).ok()
    }
}

impl Compiled {
    fn new(filter: &FieldFilter, descriptors: &FileDescriptorSet) -> Result<Self, FilterError> {
        let number = filter.action;
        let include = match FieldFilterAction::try_from(number) {
            Ok(FieldFilterAction::Include) => true,
            Ok(FieldFilterAction::Exclude) => false,
            Err(_) => {
                return Err(FilterError::Value {
                    field: "action",
                    number,
                });
            }
        };
        let events = filter
            .event_set
            .iter()
            .map(|&number| {
                EventType::try_from(number).map_err(|_| FilterError::Value {
                    field: "event_set",
                    number,
                })
            })
            .collect::<Result<_, _>>()?;
        let given = filter
            .fields
            .as_ref()
            .map(|mask| mask.paths.as_slice())
            .unwrap_or_default();
        let mut paths = Vec::new();
        for text in given
            .iter()
            .flat_map(|path| path.split(','))
            .map(str::trim)
            .filter(|path| !path.is_empty())
        {
            paths.push(resolve(text, descriptors).ok_or_else(|| FilterError::UnknownField(text.to_owned()))?);
        }
        Ok(Self {
            events,
            inverted: filter.invert_event_set.unwrap_or_default(),
            include,
            paths,
        })
    }

    fn concerns(&self, event_type: EventType) -> bool {
        self.events.is_empty() || self.events.contains(&event_type) != self.inverted
    }
}

/// A path as field names, if any event message has such a field. Accepts both spellings of names.
fn resolve(path: &str, descriptors: &FileDescriptorSet) -> Option<Vec<String>> {
    let messages = || descriptors.file.iter().flat_map(|file| file.message_type.iter());
    let by_name = |full: &str| {
        let name = full.rsplit('.').next()?;
        messages().find(|message| message.name() == name)
    };
    let envelope = by_name("GetEventsResponse")?;
    let events = envelope.field.iter().filter(|field| field.oneof_index.is_some());
    events
        .filter_map(|field| by_name(field.type_name()))
        .find_map(|event| resolve_in(path, event, &by_name))
}

fn resolve_in<'a>(
    path: &str,
    message: &'a DescriptorProto,
    by_name: &dyn Fn(&str) -> Option<&'a DescriptorProto>,
) -> Option<Vec<String>> {
    let (first, rest) = path
        .split_once('.')
        .map_or((path, None), |(first, rest)| (first, Some(rest)));
    let field = message
        .field
        .iter()
        .find(|field| field.name() == first || field.json_name() == first)?;
    let mut names = vec![field.name().to_owned()];
    if let Some(rest) = rest {
        names.extend(resolve_in(rest, by_name(field.type_name())?, by_name)?);
    }
    Some(names)
}

/// Keeps only what lies on one of the paths.
fn keep(fields: &mut Map<String, Value>, paths: &[Vec<String>]) {
    fields.retain(|key, value| {
        let below: Vec<&[String]> = paths
            .iter()
            .filter(|path| path.first() == Some(key))
            .map(|path| &path[1..])
            .collect();
        if below.is_empty() {
            return false;
        }
        if !below.iter().any(|path| path.is_empty()) {
            let below: Vec<Vec<String>> = below.iter().map(|path| path.to_vec()).collect();
            each_object(value, &mut |object| keep(object, &below));
        }
        true
    });
}

/// Removes what a path names.
fn remove(fields: &mut Map<String, Value>, path: &[String]) {
    match path {
        [] => {}
        [last] => {
            fields.remove(last);
        }
        [first, rest @ ..] => {
            if let Some(value) = fields.get_mut(first) {
                each_object(value, &mut |object| remove(object, rest));
            }
        }
    }
}

fn each_object(value: &mut Value, act: &mut dyn FnMut(&mut Map<String, Value>)) {
    match value {
        Value::Object(object) => act(object),
        Value::Array(values) => values.iter_mut().for_each(|value| each_object(value, act)),
        _ => {}
    }
}
