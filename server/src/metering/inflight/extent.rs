//! A mapped file of slots, seen as words that are stored and loaded one by one.
//!
//! What is stored is in the kernel's page cache at once, without a call into the kernel, and outlives the process.

use std::{
    fs::File,
    io::{self, Seek as _, Write as _},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use memmap2::{MmapOptions, MmapRaw};

/// Words of 8 bytes in a slot: one page, so that a call keeps no other call's page busy.
pub(super) const SLOT_WORDS: usize = 512;
pub(super) const SLOT_BYTES: usize = SLOT_WORDS * 8;

/// A mapped file of so many slots.
pub(super) struct Extent {
    pub number: u32,
    map: MmapRaw,
}

impl Extent {
    /// Maps a file, after making it as long as `slots` ask for with real zeros: a hole would end the process by SIGBUS
    /// when the disk has no page for it. Slots beyond are left alone.
    pub(super) fn map(number: u32, file: &mut File, slots: usize) -> io::Result<Self> {
        let wanted = (slots * SLOT_BYTES) as u64;
        let end = file.seek(io::SeekFrom::End(0))?;
        if end < wanted {
            io::copy(&mut io::Read::take(io::repeat(0), wanted - end), file)?;
            file.flush()?;
            file.sync_all()?;
        }
        let map = MmapOptions::new().len(slots * SLOT_BYTES).map_raw(&*file)?;
        Ok(Self { number, map })
    }

    /// The words of one slot.
    pub(super) fn slot(&self, index: usize) -> &[AtomicU64] {
        &self.words()[index * SLOT_WORDS..][..SLOT_WORDS]
    }

    pub(super) fn slots(&self) -> usize {
        self.map.len() / SLOT_BYTES
    }

    #[expect(
        unsafe_code,
        reason = "a mapped file is memory that only a pointer names"
    )]
    fn words(&self) -> &[AtomicU64] {
        let words = self.map.len() / size_of::<AtomicU64>();
        // SAFETY: The pointer comes from a mapping of `map.len()` bytes, readable and writable, which lives as long as
        // `self` and so outlives the slice; a mapping begins at a page, so it is aligned for `AtomicU64`; any eight
        // bytes are a valid `AtomicU64`. The memory is shared, but nothing sees it other than as atomics: this process
        // has no second view of it, and a store by another process is a change that atomics allow for. The file is not
        // cut short while it is mapped: the directory is closed to other users, locked against other instances, and
        // nothing here shortens a file.
        unsafe { std::slice::from_raw_parts(self.map.as_ptr().cast::<AtomicU64>(), words) }
    }
}

/// Stores bytes into words, the last one filled up with zeros; all that do not fit are left out.
pub(super) fn store(words: &[AtomicU64], bytes: &[u8]) {
    for (word, chunk) in words.iter().zip(bytes.chunks(8)) {
        let mut whole = [0; 8];
        whole[..chunk.len()].copy_from_slice(chunk);
        word.store(u64::from_le_bytes(whole), Relaxed);
    }
}

/// Loads all bytes of the words.
pub(super) fn load(words: &[AtomicU64]) -> Vec<u8> {
    words
        .iter()
        .flat_map(|word| word.load(Relaxed).to_le_bytes())
        .collect()
}
