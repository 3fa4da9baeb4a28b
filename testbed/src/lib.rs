//! Network namespaces of the running kernel, furnished for tests and benchmarks: made by
//! [`namespace`], given interfaces, addresses, routes and neighbours by [`network`].

pub mod namespace;
pub mod network;
