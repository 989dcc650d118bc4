//! Tests against a real kernel: this machine's, or each of the lab's (`cargo xtask test`). They run the agent, do something,
//! and compare what the agent exports with what was done: exactly, so that an event too many fails like one too few.

mod buffers;
mod changes;
mod cold_page;
mod enforcers;
mod file_monitoring;
mod many;
mod network;
mod objects;
mod objects_of_the_kernel;
mod override_result;
mod paths;
mod persistence;
mod policy_files;
mod process;
mod quickstart;
mod replacement;
mod resolve;
mod stacks;
mod syscall_numbers;
mod user_hooks;
