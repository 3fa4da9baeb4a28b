//! What the tests over the whole exporter share.
