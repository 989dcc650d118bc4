//! What the tests share.
#![allow(dead_code, reason = "every test binary uses some of these")]

pub(crate) mod cgroup;
pub(crate) mod guard;
pub(crate) mod objects;
