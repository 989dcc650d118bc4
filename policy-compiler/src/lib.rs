//! .
pub mod btf;
pub mod facts;
pub mod ir;
pub mod isa;
pub mod output;
