//! Types shared by the BPF programs and the daemon; one module per subject.
#![no_std]

pub mod cpu;
pub mod neighbour;
pub mod tasks;

/// Declares types that both sides see as the same bytes.
macro_rules! shared {
    ($($(#[$attr:meta])* pub struct $name:ident { $($field:tt)* })*) => {$(
        $(#[$attr])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
        pub struct $name { $($field)* }

        // SAFETY: deriving `bytemuck::Pod` has proved that there is no padding and that
        // every bit pattern is valid.
        #[cfg(feature = "user")]
        #[expect(unsafe_code, reason = "aya's name for `bytemuck::Pod`")]
        unsafe impl aya::Pod for $name {}
    )*};
}

use shared;
