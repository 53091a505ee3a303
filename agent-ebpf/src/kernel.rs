//! Reading the kernel's memory: the one place that knows how.

use aya_ebpf::helpers::generated::{bpf_probe_read_kernel, bpf_probe_read_kernel_str};

use crate::fields::ABSENT;

/// An address in the kernel; 0 where a pointer was null or could not be read.
pub(crate) type Address = u64;

/// The value at `base + offset`; zeros where it cannot be read (the helper fills them in), or where this kernel has no
/// such field.
///
/// `T` must be an integer or an array of integers: any bytes are a value.
#[inline(always)]
pub(crate) fn read<T: Copy>(base: Address, offset: u32) -> T {
    let mut value = core::mem::MaybeUninit::<T>::zeroed();
    if offset == ABSENT {
        // SAFETY: zeros are a value of `T`.
        return unsafe { value.assume_init() };
    }
    let source = (base + u64::from(offset)) as *const core::ffi::c_void;
    // SAFETY: the helper writes just `size_of::<T>()` bytes and bears any source address; zeros are a value of `T`.
    unsafe {
        bpf_probe_read_kernel(value.as_mut_ptr().cast(), size_of::<T>() as u32, source);
        value.assume_init()
    }
}

/// The offset of a field inside a field; absent if either is.
#[inline(always)]
pub(crate) fn within(outer: u32, inner: u32) -> u32 {
    outer.saturating_add(inner)
}

/// The pointer at `base + offset`.
#[inline(always)]
pub(crate) fn pointer(base: Address, offset: u32) -> Address {
    read(base, offset)
}

/// Copies the text at `source`, with its final NUL, to at most `room` bytes at `target`. Returns its length with the
/// NUL; 0 where it cannot be read.
///
/// # Safety
///
/// `target` must have `room` writable bytes.
#[inline(always)]
pub(crate) unsafe fn read_text(target: *mut u8, room: u32, source: Address) -> usize {
    // SAFETY: the caller answers for the target; the helper bears any source address.
    let length = unsafe { bpf_probe_read_kernel_str(target.cast(), room, source as *const core::ffi::c_void) };
    usize::try_from(length).unwrap_or(0)
}
