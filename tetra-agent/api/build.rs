//! Compiles the `.proto` files in `proto/` without protoc: messages and services with tonic, and
//! their JSON form with pbjson.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

use prost::Message as _;

const FILES: [&str; 6] = [
    "tetragon/bpf.proto",
    "tetragon/capabilities.proto",
    "tetragon/events.proto",
    "tetragon/eventlogservice.proto",
    "tetragon/sensors.proto",
    "tetragon/tetragon.proto",
];

/// Well-known types that are ours, in `src/well_known.rs`, for the sake of their JSON form. The
/// wrappers are not among them: prost turns those into options, which are right as they are.
const WELL_KNOWN: [&str; 4] = ["Any", "Duration", "FieldMask", "Timestamp"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let descriptors = protox::compile(FILES, ["proto"])?;
    let encoded = descriptors.encode_to_vec();
    fs::write(out.join("descriptors.bin"), &encoded)?;

    let mut config = tonic_prost_build::Config::new();
    config.btree_map(["."]);
    let mut services = tonic_prost_build::configure()
        .build_transport(false)
        .client_mod_attribute("tetragon", "#[cfg(feature = \"client\")]")
        .server_mod_attribute("tetragon", "#[cfg(feature = \"server\")]");
    let mut json = pbjson_build::Builder::new();
    json.register_descriptors(&encoded)?
        .preserve_proto_field_names()
        .ignore_unknown_fields()
        .btree_map(["."])
        // pbjson writes a oneof after the plain fields; `src/envelope.rs` writes it first.
        .exclude([".tetragon.GetEventsResponse"]);
    for name in WELL_KNOWN {
        let (proto, rust) = (format!(".google.protobuf.{name}"), format!("crate::{name}"));
        services = services.extern_path(&proto, &rust);
        json.extern_path(&proto, &rust);
    }
    services.compile_fds_with_config(descriptors, config)?;
    json.build(&[".tetragon"])?;
    Ok(())
}
