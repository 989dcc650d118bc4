//! Kernel side of tetra: the objects that clang made of `c/`, and the layouts user space shares with them.
//!
//! This crate loads nothing and calls no kernel: `kprobes` loads [`SENSOR`], `policy-compiler` links the functions its
//! programs call out of [`RUNTIME`] or [`RUNTIME_LEGACY`]. Layouts stand in `c/record.h`; [`record`] mirrors them and a test
//! compares the two through the BTF of the objects.

pub mod maps;
pub mod record;

/// Makes the bytes of an object 8-byte aligned, which ELF readers ask for.
#[repr(C, align(8))]
struct Aligned<T: ?Sized>(T);

macro_rules! object {
    ($name:literal) => {{
        static OBJECT: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/", $name)));
        &OBJECT.0
    }};
}

/// Base process sensor: programs `sensor_exec`, `sensor_fork` and `sensor_exit` on BTF tracepoints, for every kernel from 5.10.
pub static SENSOR: &[u8] = object!("sensor.bpf.o");

/// Runtime library (`c/runtime.h`) for kernels from 5.11.
pub static RUNTIME: &[u8] = object!("runtime.bpf.o");

/// Runtime library for older kernels, which cannot hand the current task to the verifier.
pub static RUNTIME_LEGACY: &[u8] = object!("runtime-legacy.bpf.o");
