//! Counts neighbours per network namespace, interface and family as they come and go.
//!
//! A map holds every entry of the kernel's tables by its address, and the number of the element that
//! counts the entry's interface. The counts follow that map
//! ([`exporter_common::neighbour::protocol`]), so an entry may be seen anywhere, any number of times
//! and in any order: it only has to be seen once while it is in its table, and once when it leaves.
//!
//! ```text
//! an entry is                it is seen by              and then
//! allocated, or refused      neigh_create               noted; an overflow
//! constructed, inserted      (nothing: either may fail)
//! used, changed              neigh_event_send_done,     in the map
//!                            neigh_update_done
//! not used                   `settle`, before a read    in the map
//! older than the programs    `walk`, at the start       in the map
//! not resolved               neigh_timer_handler        a failure
//! unlinked                   neigh_cleanup_and_release  out of the map
//! removed unseen             `sweep`, after a walk      out of the map
//! ```
//!
//! The kernel (net/core/neighbour.c) sets `dead` before it unlinks an entry, and runs
//! `neigh_cleanup_and_release` after that. So the end of an entry that is not dead after it was put
//! into the map is still to be told; the end of one that is dead may have been told already, and
//! that entry is taken out again.
#![no_std]
#![no_main]
#![expect(unsafe_code, reason = "helpers take raw pointers")]
#![expect(clippy::inline_always, reason = "the verifier follows a pointer's type into no call")]

mod kernel;
mod machine;
mod recent;
mod stock;

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use exporter_common::neighbour::protocol::Event;
use exporter_ebpf::{Copied, Pointer, Typed};

use crate::{
    kernel::{Neighbour, offset, place},
    machine::{count, leave, see},
};

// include/uapi/linux/neighbour.h
const NUD_FAILED: u8 = 0x20;
const NUD_NOARP: u8 = 0x40;
const NUD_PERMANENT: u8 = 0x80;
/// `NUD_VALID` of include/net/neighbour.h: a link-layer address is known.
const NUD_VALID: u8 = 0xde;
/// `NEIGH_UPDATE_F_OVERRIDE` of include/net/neighbour.h.
const OVERRIDE: u32 = 1;
/// `NEIGH_UPDATE_F_ADMIN`: bit 31, and bit 7 since Linux 5.16.
const ADMIN: u32 = 1 << 31 | 1 << 7;

/// A table has allocated an entry, or could not.
#[btf_tracepoint(function = "neigh_create")]
fn neigh_create(ctx: BtfTracePointContext) {
    let (table, device) = (Pointer::<Typed>::new(ctx.arg(0)), Pointer::<Typed>::new(ctx.arg(1)));
    let n = Neighbour::<Typed>::new(ctx.arg(3));
    let place = place(device, table);
    // Some kernels tell the verifier that `n` is never null, and it drops the first test. The
    // second test reads a zero through a null pointer.
    if n.is_null() || !n.is_held() {
        count(&place, Event::Overflow);
    } else {
        stock::note(n.address());
    }
}

/// An entry is to be resolved.
#[btf_tracepoint(function = "neigh_event_send_done")]
fn neigh_event_send_done(ctx: BtfTracePointContext) {
    let n = Neighbour::<Typed>::new(ctx.arg(0));
    see(n, &n.place());
}

/// An entry has changed, or the change was refused.
#[btf_tracepoint(function = "neigh_update_done")]
fn neigh_update_done(ctx: BtfTracePointContext) {
    let n = Neighbour::<Typed>::new(ctx.arg(0));
    see(n, &n.place());
}

/// An entry is about to change.
#[btf_tracepoint(function = "neigh_update")]
fn neigh_update(ctx: BtfTracePointContext) {
    let n = Neighbour::<Typed>::new(ctx.arg(0));
    let (new, flags): (u8, u32) = (ctx.arg(2), ctx.arg(3));
    let (device, place) = (n.device(), n.place());
    let state = n.state();
    let refused = flags & ADMIN == 0 && state & (NUD_NOARP | NUD_PERMANENT) != 0;
    if flags & OVERRIDE != 0 && state & NUD_VALID != 0 && new & NUD_VALID != 0 && !refused {
        let length = device.member::<u8>(offset!(device_addr_len));
        if differ(n.link_layer_address(), Pointer::new(ctx.arg(1)), length) && !n.is_dead() {
            count(&place, Event::AddressChange);
        }
    }
}

/// Whether two link-layer addresses differ in their first or last eight bytes. A null pointer is no
/// address, and differs from none.
#[inline(always)]
fn differ(old: Pointer<Copied>, new: Pointer<Copied>, length: u8) -> bool {
    if new.0.is_null() || length == 0 {
        return false;
    }
    // The bytes behind a shorter address are read and shifted out: the first byte in memory is the
    // lowest of the number.
    let shift = 64 - 8 * u32::from(length.min(8));
    let last = u32::from(length.saturating_sub(8));
    (old.member::<u64>(0) ^ new.member::<u64>(0)) << shift != 0
        || last > 0 && old.member::<u64>(last) != new.member::<u64>(last)
}

/// An entry's timer has run. The timer of a failed entry is not armed again, so a run that finds an
/// entry failed is the first since the failure.
#[btf_tracepoint(function = "neigh_timer_handler")]
fn neigh_timer_handler(ctx: BtfTracePointContext) {
    let n = Neighbour::<Typed>::new(ctx.arg(0));
    if n.state() == NUD_FAILED {
        count(&n.place(), Event::Failure);
    }
}

/// An entry has left the table.
#[btf_tracepoint(function = "neigh_cleanup_and_release")]
fn neigh_cleanup_and_release(ctx: BtfTracePointContext) {
    let n = Neighbour::<Typed>::new(ctx.arg(0));
    let place = n.place();
    recent::forget(n.address());
    leave(n, &place);
}
