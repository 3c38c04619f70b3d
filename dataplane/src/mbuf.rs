//! One frame: an owned DPDK mbuf, in a single segment.
//!
//! Read the DPDK programmer's guide, "Mbuf Library". The bytes of an mbuf are `headroom | data | tailroom`; headers are
//! added and removed at the front without moving what follows. After the struct come 64 private bytes, which hold
//! [`FrameMeta`](crate::punt::FrameMeta).
//!
//! Left out: chains of segments (ports never make them, see [`port`](crate::port)), reference counts above one,
//! external buffers, TX offloads. So an `Mbuf` is sole owner of its bytes, and `&mut` is what it says.

use crate::punt::FrameMeta;
use dpdk_sys as sys;
use std::fmt;
use std::ptr::NonNull;

/// Bytes of the private area: one cache line for [`FrameMeta`].
pub const PRIVATE: usize = 64;
/// Bytes before the data of a fresh frame, for headers to be added: 8 labels, a VLAN tag and more fit.
pub const HEADROOM: usize = sys::TL_HEADROOM as usize;

/// An owned frame. Dropping it frees it into its pool; freeing many at once is what [`Burst`](crate::burst::Burst) is for.
#[repr(transparent)]
pub struct Mbuf(NonNull<sys::rte_mbuf>);

// SAFETY: an mbuf belongs to one `Mbuf`; its pool's put and get are safe from any thread.
unsafe impl Send for Mbuf {}
// SAFETY: `&Mbuf` only gives shared views of plain memory.
unsafe impl Sync for Mbuf {}

/// Whether a type may live in the private area of an mbuf, where any bytes may be found.
///
/// # Safety
/// Every bit pattern of `size_of::<Self>()` bytes must be a valid value, padding included, and it must have no drop glue.
pub unsafe trait Private: Copy + 'static {}

// SAFETY: made of integers and arrays of integers alone.
unsafe impl Private for FrameMeta {}
// SAFETY: integers.
unsafe impl Private for [u64; 8] {}

/// What the device said of a checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checked {
    /// Nothing: software has to look.
    Unknown,
    /// It is right.
    Good,
    /// It is wrong.
    Bad,
}

impl Mbuf {
    /// Takes a frame from raw.
    ///
    /// # Safety
    /// `raw` is a live mbuf of one segment with [`PRIVATE`] initialised private bytes and a reference count of one, and
    /// nobody else uses it from now on.
    #[inline]
    #[must_use]
    pub unsafe fn from_raw(raw: NonNull<sys::rte_mbuf>) -> Self {
        Self(raw)
    }

    /// Gives the frame to whoever wants it raw; they free it.
    #[inline]
    #[must_use]
    pub fn into_raw(self) -> NonNull<sys::rte_mbuf> {
        let raw = self.0;
        std::mem::forget(self);
        raw
    }

    /// Reads the field at an offset that `shim.h` gives.
    #[inline]
    fn field<T: Copy>(&self, offset: u32) -> T {
        // SAFETY: the offsets are those the C compiler gives for fields of the type asked for, inside a live mbuf.
        unsafe {
            self.0
                .as_ptr()
                .cast::<u8>()
                .add(offset as usize)
                .cast::<T>()
                .read()
        }
    }

    #[inline]
    fn set_field<T: Copy>(&mut self, offset: u32, value: T) {
        // SAFETY: as in `field`; `&mut self` is the only user.
        unsafe {
            self.0
                .as_ptr()
                .cast::<u8>()
                .add(offset as usize)
                .cast::<T>()
                .write(value)
        }
    }

    #[inline]
    fn data_off(&self) -> u16 {
        self.field(sys::TL_MBUF_DATA_OFF)
    }

    #[inline]
    fn buf_len(&self) -> usize {
        usize::from(self.field::<u16>(sys::TL_MBUF_BUF_LEN))
    }

    #[inline]
    fn at(&self, offset: usize) -> *mut u8 {
        let base: *mut u8 = self.field(sys::TL_MBUF_BUF_ADDR);
        // SAFETY: callers stay within `buf_len`.
        unsafe { base.add(offset) }
    }

    /// Sets where the data is; `from + len <= buf_len`, which callers have checked.
    #[inline]
    fn set_window(&mut self, from: usize, len: usize) {
        debug_assert!(from + len <= self.buf_len());
        self.set_field(sys::TL_MBUF_DATA_OFF, from as u16);
        self.set_field(sys::TL_MBUF_DATA_LEN, len as u16);
        self.set_field(sys::TL_MBUF_PKT_LEN, len as u32);
    }

    /// The frame's length in bytes.
    #[inline]
    #[must_use]
    #[allow(clippy::len_without_is_empty)] // of a frame nobody asks that
    pub fn len(&self) -> usize {
        usize::from(self.field::<u16>(sys::TL_MBUF_DATA_LEN))
    }

    /// The frame's bytes.
    #[inline]
    #[must_use]
    pub fn data(&self) -> &[u8] {
        // SAFETY: `data_off + data_len <= buf_len`: drivers keep to it and so does `set_window`. Those bytes are
        // initialised: they come from a device, from `append` (which zeroes) or from `prepend` (pool memory, mapped by
        // the kernel and written before).
        unsafe { std::slice::from_raw_parts(self.at(self.data_off().into()), self.len()) }
    }

    /// The frame's bytes, to change.
    #[inline]
    #[must_use]
    pub fn data_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `data`; `&mut self` is the only user.
        unsafe { std::slice::from_raw_parts_mut(self.at(self.data_off().into()), self.len()) }
    }

    /// Bytes that [`prepend`](Self::prepend) can add.
    #[inline]
    #[must_use]
    pub fn headroom(&self) -> usize {
        self.data_off().into()
    }

    /// Bytes that [`append`](Self::append) can add.
    #[inline]
    #[must_use]
    pub fn tailroom(&self) -> usize {
        self.buf_len() - usize::from(self.data_off()) - self.len()
    }

    /// Adds `n` bytes at the front and returns them, to be written: what they hold is left over from before. `None`
    /// when the headroom is too small; the frame is then unchanged.
    #[inline]
    pub fn prepend(&mut self, n: usize) -> Option<&mut [u8]> {
        let from = usize::from(self.data_off()).checked_sub(n)?;
        self.set_window(from, self.len() + n);
        Some(&mut self.data_mut()[..n])
    }

    /// Removes `n` bytes at the front. `None`, and no change, when the frame is shorter.
    #[inline]
    pub fn trim_front(&mut self, n: usize) -> Option<()> {
        let left = self.len().checked_sub(n)?;
        self.set_window(usize::from(self.data_off()) + n, left);
        Some(())
    }

    /// Takes `cut` bytes off the front, puts `front` others there, and cuts the frame to `len` bytes, all at once; returns
    /// its bytes, of which the first `front` are to be written. `None`, and no change, when the headroom is too small or
    /// the frame too short.
    #[inline]
    pub fn reshape(&mut self, cut: usize, front: usize, len: usize) -> Option<&mut [u8]> {
        let stays = self.len().checked_sub(cut)?;
        let from = (usize::from(self.data_off()) + cut).checked_sub(front)?;
        if len.checked_sub(front)? > stays {
            return None;
        }
        self.set_window(from, len);
        Some(self.data_mut())
    }

    /// Adds `n` zero bytes at the end and returns them. `None` when the tailroom is too small; the frame is then
    /// unchanged.
    #[inline]
    pub fn append(&mut self, n: usize) -> Option<&mut [u8]> {
        if n > self.tailroom() {
            return None;
        }
        let old = self.len();
        // SAFETY: within the tailroom, which is ours alone.
        unsafe {
            self.at(usize::from(self.data_off()) + old)
                .write_bytes(0, n)
        };
        self.set_window(self.data_off().into(), old + n);
        Some(&mut self.data_mut()[old..])
    }

    /// Adds the bytes at the end. `None`, and no change, when the tailroom is too small.
    #[inline]
    pub fn extend_from_slice(&mut self, bytes: &[u8]) -> Option<()> {
        // SAFETY: so many bytes to read, and not of this frame, which is borrowed to be changed.
        unsafe { self.extend_from_raw(NonNull::from(bytes).cast(), bytes.len()) }
    }

    /// Adds `len` bytes from there at the end. `None`, and no change, when the tailroom is too small.
    ///
    /// # Safety
    /// They can be read, and are not the frame's own. Another process may write them meanwhile.
    #[inline]
    pub(crate) unsafe fn extend_from_raw(&mut self, from: NonNull<u8>, len: usize) -> Option<()> {
        if len > self.tailroom() {
            return None;
        }
        let old = self.len();
        let to = self.at(usize::from(self.data_off()) + old);
        // SAFETY: within the tailroom, which is ours alone, so it can't overlap what the caller gave.
        unsafe { to.copy_from_nonoverlapping(from.as_ptr(), len) };
        self.set_window(self.data_off().into(), old + len);
        Some(())
    }

    /// Cuts the frame to `n` bytes; a shorter one stays as it is.
    #[inline]
    pub fn truncate(&mut self, n: usize) {
        if n < self.len() {
            self.set_window(self.data_off().into(), n);
        }
    }

    /// Empties the frame and gives it the headroom of a fresh one.
    pub fn reset(&mut self) {
        self.set_window(HEADROOM.min(self.buf_len()), 0);
        self.set_field(sys::TL_MBUF_OL_FLAGS, 0u64);
    }

    /// Segments of the frame: 1, or the port that made it is broken.
    #[inline]
    #[must_use]
    pub fn nb_segs(&self) -> u16 {
        self.field(sys::TL_MBUF_NB_SEGS)
    }

    /// 0 when it is one segment, and the device took no VLAN tag out of it: as almost every frame.
    #[inline]
    #[must_use]
    pub fn oddness(&self) -> u64 {
        self.flags() & sys::TL_RX_VLAN_STRIPPED | u64::from(self.nb_segs() ^ 1)
    }

    /// Makes it look like the first segment of several, as a driver that scatters would.
    #[cfg(test)]
    pub(crate) fn set_nb_segs(&mut self, n: u16) {
        self.set_field(sys::TL_MBUF_NB_SEGS, n);
    }

    /// The private area as a `T`. A frame fresh from a port has what its buffer's last user left there.
    #[inline]
    #[must_use]
    pub fn private<T: Private>(&self) -> &T {
        const { assert!(size_of::<T>() <= PRIVATE && align_of::<T>() <= 64) };
        // SAFETY: pools give every mbuf PRIVATE bytes right after the struct, zeroed once, so always initialised; the
        // struct is 128 bytes at a cache line, so they are aligned to 64; any bytes are a valid `T`.
        unsafe { &*self.0.as_ptr().add(1).cast::<T>() }
    }

    /// The private area as a `T`, to change.
    #[inline]
    #[must_use]
    pub fn private_mut<T: Private>(&mut self) -> &mut T {
        const { assert!(size_of::<T>() <= PRIVATE && align_of::<T>() <= 64) };
        // SAFETY: as in `private`; `&mut self` is the only user.
        unsafe { &mut *self.0.as_ptr().add(1).cast::<T>() }
    }

    /// What the router knows of the frame beside its bytes.
    #[inline]
    #[must_use]
    pub fn meta(&self) -> &FrameMeta {
        self.private()
    }

    /// What the router knows of the frame beside its bytes, to change.
    #[inline]
    #[must_use]
    pub fn meta_mut(&mut self) -> &mut FrameMeta {
        self.private_mut()
    }

    #[inline]
    fn flags(&self) -> u64 {
        self.field(sys::TL_MBUF_OL_FLAGS)
    }

    /// The tag control information that the device took out of the frame. Ports put it back before anybody sees the
    /// frame, so this is `None` for any frame of [`port`](crate::port).
    #[inline]
    #[must_use]
    pub fn vlan_stripped(&self) -> Option<u16> {
        (self.flags() & sys::TL_RX_VLAN_STRIPPED != 0).then(|| self.field(sys::TL_MBUF_VLAN_TCI))
    }

    /// What the device said of the IPv4 header's checksum.
    #[inline]
    #[must_use]
    pub fn l3_checksum(&self) -> Checked {
        match self.flags() & sys::TL_RX_IP_CKSUM_MASK {
            f if f == sys::TL_RX_IP_CKSUM_GOOD => Checked::Good,
            f if f == sys::TL_RX_IP_CKSUM_BAD => Checked::Bad,
            _ => Checked::Unknown,
        }
    }

    /// The device's flow hash, where it made one.
    #[inline]
    #[must_use]
    pub fn rss_hash(&self) -> Option<u32> {
        (self.flags() & sys::TL_RX_RSS_HASH != 0).then(|| self.field(sys::TL_MBUF_RSS))
    }
}

impl Drop for Mbuf {
    fn drop(&mut self) {
        // SAFETY: ours, and nobody uses it after this.
        unsafe { sys::tl_free(self.0.as_ptr()) }
    }
}

impl fmt::Debug for Mbuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mbuf({} bytes:", self.len())?;
        for b in self.data().iter().take(32) {
            write!(f, " {b:02x}")?;
        }
        f.write_str(if self.len() > 32 { " …)" } else { ")" })
    }
}

const _: () = assert!(size_of::<Option<Mbuf>>() == size_of::<*mut u8>());
const _: () = assert!(size_of::<FrameMeta>() <= PRIVATE);
const _: () = assert!(size_of::<sys::rte_mbuf>() == sys::TL_MBUF_SIZE as usize);
