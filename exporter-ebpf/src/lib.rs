//! The parts that all programs for the kernel share.
#![no_std]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]
#![expect(unsafe_code, reason = "the kernel's structures are read through raw pointers")]
#![expect(clippy::inline_always, reason = "the verifier follows a pointer's type into no call")]

use core::{ffi::c_void, marker::PhantomData, mem::MaybeUninit};

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;

/// For [`for_each!`].
#[doc(hidden)]
pub mod helpers {
    pub use aya_ebpf::helpers::generated::bpf_for_each_map_elem;
}

/// A structure of the kernel, and the way to read it.
pub struct Pointer<A>(pub *const c_void, PhantomData<A>);

/// A way to read a structure of the kernel.
pub trait Access {
    /// The member of type `T` that lies `offset` bytes behind `base`.
    ///
    /// # Safety
    ///
    /// The pointer must be one of those that this access is for.
    unsafe fn member<T: Copy + Default>(base: *const c_void, offset: u32) -> T;
}

/// Reads through pointers whose type the verifier knows: arguments of the program, and pointers
/// read from there. The verifier proves that a member of this size lies there, and turns a read
/// through a bad pointer into a zero. Such a read costs as much as a load.
pub enum Typed {}

impl Access for Typed {
    #[inline(always)]
    unsafe fn member<T: Copy + Default>(base: *const c_void, offset: u32) -> T {
        // SAFETY: the verifier checks the read. It is volatile, so that the compiler merges it with
        // no other.
        unsafe { base.byte_add(offset as usize).cast::<T>().read_volatile() }
    }
}

/// Reads at any address, such as one that was kept in a map; a bad address reads as zero.
pub enum Copied {}

impl Access for Copied {
    #[inline(always)]
    unsafe fn member<T: Copy + Default>(base: *const c_void, offset: u32) -> T {
        let mut value = MaybeUninit::<T>::uninit();
        let from = base.wrapping_byte_add(offset as usize);
        // SAFETY: the helper copies from anywhere, and fills with zeros where it fails. The program
        // does not check whether it failed: each check would double the paths that the verifier
        // walks.
        unsafe {
            bpf_probe_read_kernel(value.as_mut_ptr().cast(), size_of::<T>() as u32, from);
            value.assume_init()
        }
    }
}

impl<A: Access> Pointer<A> {
    /// A structure that `A` may read.
    #[inline(always)]
    #[must_use]
    pub const fn new(address: *const c_void) -> Self {
        Self(address, PhantomData)
    }

    /// The member that lies `offset` bytes into the structure.
    #[inline(always)]
    #[must_use]
    pub fn member<T: Copy + Default>(self, offset: u32) -> T {
        // SAFETY: the maker of the pointer chose how it is read, and the verifier checks the choice.
        unsafe { A::member(self.0, offset) }
    }

    /// The address as a number. Negation is the one operation that the verifier allows on a
    /// pointer, and its result is a number.
    #[cfg(target_arch = "bpf")]
    #[inline(always)]
    #[must_use]
    pub fn address(self) -> u64 {
        let mut address = self.0 as u64;
        // SAFETY: changes nothing but the register.
        unsafe {
            core::arch::asm!(
                "{address} = -{address}",
                "{address} = -{address}",
                address = inout(reg) address,
            );
        }
        address
    }

    /// The structure that a member points to.
    #[inline(always)]
    #[must_use]
    pub fn follow(self, offset: u32) -> Self {
        Self::new(self.member::<u64>(offset) as *const c_void)
    }
}

impl<A> Clone for Pointer<A> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<A> Copy for Pointer<A> {}

/// Adds to a number in a map as one step, after all steps before and before all after it. Since
/// Linux 5.12.
///
/// # Safety
///
/// `number` must lie in a value of a map.
#[cfg(target_arch = "bpf")]
#[inline(always)]
pub unsafe fn add(number: *mut u64, n: i64) {
    // SAFETY: the verifier checks the write. The instruction that does not return the number before
    // promises no order on some processors.
    unsafe {
        core::arch::asm!(
            "{n} = atomic_fetch_add((u64 *)({number} + 0), {n})",
            number = in(reg) number,
            n = inlateout(reg) n => _,
        );
    }
}

/// Puts a number into a map and returns the number before, as one step. Since Linux 5.12.
///
/// # Safety
///
/// `number` must lie in a value of a map.
#[cfg(target_arch = "bpf")]
#[inline(always)]
pub unsafe fn exchange(number: *mut u64, n: u64) -> u64 {
    let before: u64;
    // SAFETY: the verifier checks the write.
    unsafe {
        core::arch::asm!(
            "{n} = xchg_64({number} + 0, {n})",
            number = in(reg) number,
            n = inlateout(reg) n => before,
        );
    }
    before
}

/// Puts a number into a map where `old` was, as one step; returns the number before. Since Linux
/// 5.12.
///
/// # Safety
///
/// `number` must lie in a value of a map.
#[cfg(target_arch = "bpf")]
#[inline(always)]
pub unsafe fn compare_exchange(number: *mut u64, old: u64, new: u64) -> u64 {
    let before: u64;
    // SAFETY: the verifier checks the write.
    unsafe {
        core::arch::asm!(
            "r0 = cmpxchg_64({number} + 0, r0, {new})",
            number = in(reg) number,
            new = in(reg) new,
            inlateout("r0") old => before,
        );
    }
    before
}

/// Calls `each` with every element of a map: its key, its value and `context`.
///
/// A macro, since the verifier wants the map's and the function's addresses as constants.
#[macro_export]
macro_rules! for_each {
    ($map:ident, $each:ident, $context:expr) => {
        // SAFETY: the helper takes this map and this function.
        unsafe {
            let map = (&raw const $map).cast_mut().cast();
            $crate::helpers::bpf_for_each_map_elem(
                map,
                $each as *mut core::ffi::c_void,
                $context,
                0,
            );
        }
    };
}

/// A static that the daemon sets before the programs are loaded, or a member of one. Read as
/// volatile, since the compiler sees a zero.
#[inline(always)]
#[must_use]
pub fn set_by_daemon<T: Copy>(value: &'static T) -> T {
    // SAFETY: a reference can be read.
    unsafe { (&raw const *value).read_volatile() }
}

/// The kernel gives some helpers only to programs under a license that it knows to be
/// compatible with its own.
#[cfg(target_arch = "bpf")]
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(target_arch = "bpf")]
#[panic_handler]
const fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
