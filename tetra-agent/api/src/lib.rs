//! The public gRPC API and its JSON form.
//!
//! Messages and services are generated from the `.proto` files in `proto/`, which describe the
//! API that Tetragon's clients speak: same package, names and numbers, so that its command line,
//! its libraries and everything that reads its event log work unchanged. Nothing else in tetra
//! knows a field number.
//!
//! The JSON form is canonical proto3 JSON with the names of the `.proto` files: 64-bit integers
//! are strings, wrapper types are bare values, timestamps are RFC 3339, enums are names, bytes are
//! base64, and fields that hold their default value are left out. An event serialises to one
//! object whose first key is the event; unknown fields are skipped when reading, so that the event
//! log of a newer agent can still be read.
//!
//! ```
//! use tetra_api::tetragon::{GetEventsResponse, ProcessExec, get_events_response::Event};
//!
//! let event = GetEventsResponse {
//!     event: Some(Event::ProcessExec(ProcessExec::default())),
//!     node_name: "n1".into(),
//!     ..Default::default()
//! };
//! let line = serde_json::to_string(&event).unwrap();
//! assert_eq!(line, r#"{"process_exec":{},"node_name":"n1"}"#);
//! assert_eq!(serde_json::from_str::<GetEventsResponse>(&line).unwrap(), event);
//! ```
//!
//! Features: `client` for the stubs, `server` for the service traits, `filter` for the meaning of filters. Neither brings a transport;
//! a user takes `tonic` with the one it needs.

mod envelope;
mod event;
#[cfg(feature = "filter")]
pub mod filter;
mod well_known;

pub use event::Subject;
/// Encoding of messages.
pub use prost::Message;
pub use well_known::{Any, Duration, FieldMask, Timestamp};

/// Messages, enums and services of the package `tetragon`.
#[allow(
    missing_docs,
    unused_qualifications,
    elided_lifetimes_in_paths,
    clippy::all,
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    reason = "generated; documented in proto/"
)]
pub mod tetragon {
    tonic::include_proto!("tetragon");
    include!(concat!(env!("OUT_DIR"), "/tetragon.serde.rs"));
}

/// The `.proto` files as an encoded `google.protobuf.FileDescriptorSet`, imports included; for
/// gRPC reflection and for decoders that work from descriptors.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
