//! What every record starts with, and the one ring that carries all of them to the agent.
//!
//! One ring, because it alone keeps fork, exec and exit in the order in which they happened on all processors.

/// What every record starts with.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Header {
    /// Four letters that name the sensor.
    pub tag: [u8; 4],
    /// The processor that it happened on.
    pub cpu: u32,
    /// The number of this record among those of its processor: a gap is a loss.
    pub sequence: u64,
    /// Nanoseconds since boot (`CLOCK_BOOTTIME`).
    pub time: u64,
}

const _: () = assert!(size_of::<Header>() == 24);

/// The ring's size where the agent does not choose another, in bytes.
pub const RING_BYTES: u32 = 8 << 20;

#[cfg(target_arch = "bpf")]
pub(crate) use bpf::{Scratch, output, output_in_passing, reserve, wake_up};

#[cfg(target_arch = "bpf")]
mod bpf {
    use aya_ebpf::{
        bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP, BPF_RB_RING_SIZE},
        helpers::{bpf_get_smp_processor_id, bpf_ktime_get_boot_ns, bpf_ringbuf_output},
        macros::map,
        maps::{Array, PerCpuArray, PerCpuHashMap, RingBuf, ring_buf::RingBufEntry},
    };

    use super::{Header, RING_BYTES};

    #[map]
    static EVENTS: RingBuf = RingBuf::with_byte_size(RING_BYTES, 0);

    /// Records that the ring had no room for, by their tag.
    #[map]
    static LOST: PerCpuHashMap<[u8; 4], u64> = PerCpuHashMap::with_max_entries(32, 0);

    /// The number of the last record of each processor.
    #[map]
    static SEQUENCE: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

    /// Not 0 while the agent polls the ring: it needs no wake-up, which costs the traced process some microseconds.
    #[map]
    static POLLING: Array<u32> = Array::with_max_entries(1, 0);

    const NO_WAKEUP: u64 = BPF_RB_NO_WAKEUP as u64;
    const FORCE_WAKEUP: u64 = BPF_RB_FORCE_WAKEUP as u64;

    /// A ring that is this part full is read soon, whatever is in it.
    const CROWDED: u64 = 16;

    /// A per-processor place to build a record that the stack has no room for. Each program has one of its own, since
    /// another program may run in the midst of it.
    pub(crate) type Scratch<T> = PerCpuArray<T>;

    impl Header {
        /// The header of a record that is made now.
        pub(crate) fn now(tag: [u8; 4]) -> Self {
            let sequence = SEQUENCE.get_ptr_mut(0).map_or(0, |last| {
                // SAFETY: the map's value lives as long as the program, and only this processor has this one.
                unsafe {
                    *last += 1;
                    *last
                }
            });
            // SAFETY: both helpers only read the processor's state.
            let (cpu, time) = unsafe { (bpf_get_smp_processor_id(), bpf_ktime_get_boot_ns()) };
            Self {
                tag,
                cpu,
                sequence,
                time,
            }
        }
    }

    /// Copies the first `length` bytes at `record` into the ring; what does not fit is counted under its tag.
    ///
    /// # Safety
    ///
    /// `record` must point to `length` readable bytes whose first are a [`Header`].
    pub(crate) unsafe fn output<T>(record: *const T, length: usize) {
        // SAFETY: the caller answers for the record.
        unsafe { copy(record, length, wake_up()) };
    }

    /// Like [`output`], for what no rule judges: it waits for the next record that wakes the reader, as long as it leaves
    /// the ring enough room.
    ///
    /// # Safety
    ///
    /// As for [`output`].
    pub(crate) unsafe fn output_in_passing<T>(record: *const T, length: usize) {
        let flags = match wake_up() {
            FORCE_WAKEUP if !is_crowded() => NO_WAKEUP,
            flags => flags,
        };
        // SAFETY: the caller answers for the record.
        unsafe { copy(record, length, flags) };
    }

    fn is_crowded() -> bool {
        let room = EVENTS.query(u64::from(BPF_RB_RING_SIZE));
        EVENTS.query(u64::from(BPF_RB_AVAIL_DATA)) > room / CROWDED
    }

    /// # Safety
    ///
    /// As for [`output`].
    unsafe fn copy<T>(record: *const T, length: usize, flags: u64) {
        // SAFETY: the ring is a map of this object, and the caller answers for the record.
        let result = unsafe {
            bpf_ringbuf_output(
                (&raw const EVENTS).cast_mut().cast(),
                record.cast_mut().cast(),
                length as u64,
                flags,
            )
        };
        if result != 0 {
            // SAFETY: the caller's record starts with a header.
            count_loss(unsafe { (*record.cast::<Header>()).tag });
        }
    }

    /// Room in the ring for a record that a program fills in place, since it may be interrupted by another of its kind;
    /// where there is none, that is counted under its tag.
    pub(crate) fn reserve<T: 'static>(tag: [u8; 4]) -> Option<RingBufEntry<T>> {
        let room = EVENTS.reserve::<T>(0);
        if room.is_none() {
            count_loss(tag);
        }
        room
    }

    /// Whether a record that is submitted now shall wake the reader. A reader that sleeps is woken in any case: the
    /// kernel's own choice would be to leave it asleep when an earlier record went without.
    pub(crate) fn wake_up() -> u64 {
        let polling = POLLING.get(0).is_some_and(|polling| *polling != 0);
        if polling { NO_WAKEUP } else { FORCE_WAKEUP }
    }

    fn count_loss(tag: [u8; 4]) {
        match LOST.get_ptr_mut(tag) {
            // SAFETY: the map's value lives as long as the program. This target has no atomic addition in Rust; on a
            // preemptible kernel two programs of cgroups can count one loss of both, never none.
            Some(count) => unsafe { *count += 1 },
            // A full table of tags cannot be: it has room for more sensors than there are.
            None => drop(LOST.insert(tag, 1, 0)),
        }
    }
}
