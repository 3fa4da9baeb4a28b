//! The members of the kernel's structures that the programs read.

use core::ffi::c_void;

use exporter_common::neighbour::{Key, NOARP, Offsets, key};
use exporter_ebpf::{Access, Copied, Pointer};

/// From include/uapi/linux/neighbour.h.
const NUD_NOARP: u8 = 0x40;
/// From include/linux/netdevice.h.
const NETREG_REGISTERED: u8 = 1;

/// Set by the daemon before the programs are loaded.
#[unsafe(no_mangle)]
pub static OFFSETS: Offsets = Offsets {
    neighbour_tbl: 0,
    neighbour_dev: 0,
    neighbour_nud_state: 0,
    neighbour_dead: 0,
    neighbour_refcnt: 0,
    neighbour_ha: 0,
    neighbour_link: 0,
    neighbour_target: 0,
    neighbour_pprev: 0,
    table_family: 0,
    table_entries: 0,
    table_most: 0,
    table_nht: 0,
    hash_heads: 0,
    hash_shift: 0,
    device_ifindex: 0,
    device_net: 0,
    device_state: 0,
    device_addr_len: 0,
    device_ip: 0,
    device_ip6: 0,
    ip_parms: 0,
    ip6_parms: 0,
    parms_tbl: 0,
    task_nsproxy: 0,
    nsproxy_net: 0,
    net_loopback: 0,
    net_inum: 0,
};

/// The offset of a member. Read as volatile, since the daemon sets it and the compiler sees a zero.
macro_rules! offset {
    ($member:ident) => {
        // SAFETY: a read of a static.
        unsafe { (&raw const $crate::kernel::OFFSETS.$member).read_volatile() }
    };
}
pub(crate) use offset;

/// The interface at which an entry is counted.
pub struct Place {
    pub key: Key,
    /// Address of the `struct net_device`.
    pub device: u64,
}

/// The interface of a `struct net_device`, for a `struct neigh_table`.
///
/// To be called before anything branches: the verifier searches all types of the kernel for each
/// pointer that is followed, on each path.
#[inline(always)]
pub fn place<A: Access>(device: Pointer<A>, table: Pointer<A>) -> Place {
    let key = Key {
        netns: netns(device),
        ifindex: device.member(offset!(device_ifindex)),
        family: table.member(offset!(table_family)),
    };
    Place { key, device: device.address() }
}

/// The number of a device's network namespace.
#[inline(always)]
fn netns<A: Access>(device: Pointer<A>) -> u32 {
    device.follow(offset!(device_net)).member(offset!(net_inum))
}

/// Whether the device at this address is registered, and the interface of this tag. The memory of a
/// device that was freed has another state, or is in use for something else.
#[inline(always)]
pub fn is_there(device: u64, tag: u64) -> bool {
    let device = Pointer::<Copied>::new(device as *const c_void);
    let of = key(tag);
    (device.member::<u8>(offset!(device_state)) == NETREG_REGISTERED)
        & (device.member::<u32>(offset!(device_ifindex)) == of.ifindex)
        & (netns(device) == of.netns)
}

/// A `struct neighbour`.
pub struct Neighbour<A>(Pointer<A>);

impl<A> Clone for Neighbour<A> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<A> Copy for Neighbour<A> {}

impl<A: Access> Neighbour<A> {
    #[inline(always)]
    pub const fn new(address: *const c_void) -> Self {
        Self(Pointer::new(address))
    }

    #[inline(always)]
    pub const fn is_null(self) -> bool {
        self.0.0.is_null()
    }

    #[inline(always)]
    pub fn address(self) -> u64 {
        self.0.address()
    }

    /// `nud_state`
    #[inline(always)]
    pub fn state(self) -> u8 {
        self.0.member(offset!(neighbour_nud_state))
    }

    #[inline(always)]
    pub fn is_noarp(self) -> bool {
        self.state() & NUD_NOARP != 0
    }

    /// Whether the entry is out of the table, or not yet in it.
    #[inline(always)]
    pub fn is_dead(self) -> bool {
        self.0.member::<u8>(offset!(neighbour_dead)) != 0
    }

    /// Whether anything refers to the entry, as something does until its memory is freed.
    #[inline(always)]
    pub fn is_held(self) -> bool {
        self.0.member::<u32>(offset!(neighbour_refcnt)) != 0
    }

    /// The address of its table.
    #[inline(always)]
    pub fn table(self) -> u64 {
        self.0.member(offset!(neighbour_tbl))
    }

    #[inline(always)]
    pub fn device(self) -> Pointer<A> {
        self.0.follow(offset!(neighbour_dev))
    }

    /// `ha`; the device has its length.
    #[inline(always)]
    pub fn link_layer_address(self) -> Pointer<Copied> {
        Pointer::new(self.0.0.wrapping_byte_add(offset!(neighbour_ha) as usize))
    }

    /// The address, and whether it is `NUD_NOARP`: the state that its element is to have.
    #[inline(always)]
    pub fn seen(self) -> u64 {
        if self.is_noarp() { self.address() | NOARP } else { self.address() }
    }

    /// The interface that it belongs to, once it has been in a table.
    #[inline(always)]
    pub fn place(self) -> Place {
        place(self.device(), self.0.follow(offset!(neighbour_tbl)))
    }
}

impl Neighbour<Copied> {
    /// The next entry of the same bucket; 0 at its end.
    #[inline(always)]
    pub fn next(self) -> u64 {
        self.0.member(offset!(neighbour_link))
    }

    /// The entry that a link from [`Neighbour::next`] or the head of a bucket leads to.
    #[inline(always)]
    pub fn behind(link: u64) -> Self {
        Self::new(link.wrapping_sub(offset!(neighbour_target).into()) as *const c_void)
    }

    /// Whether there is an entry at this address, in one of these tables. Memory that was freed and
    /// is used again may keep much of its content, so every mark of an entry is checked.
    #[inline(always)]
    pub fn is_live(self, tables: [u64; 2]) -> bool {
        let table = self.table();
        let is_entry = !self.is_dead() & self.is_held() & !self.device().0.is_null();
        // Checked twice: the kernel links another entry before this one in two steps.
        let is_linked = self.is_linked() | self.is_linked();
        table != 0 && (table == tables[0] || table == tables[1]) && is_entry & is_linked
    }

    /// Whether another entry or the head of a bucket links to this one; always true before Linux
    /// 6.13, where an entry has no link back.
    #[inline(always)]
    fn is_linked(self) -> bool {
        let pprev = offset!(neighbour_pprev);
        pprev == 0
            || self.0.follow(pprev).member::<u64>(0)
                == self.address().wrapping_add(offset!(neighbour_link).into())
    }
}
