//! Octets of attributes, packed into chunks of one size class each.
//!
//! A chunk whose last run is freed goes back to a stock that every class takes from, so what is held follows what is in
//! use, however the lengths drift while sets come and go.

const CHUNK: usize = 16 * 1024;
/// Runs longer than this have an allocation of their own.
const SMALL: usize = 2048;
/// Longest runs of the classes behind those of eight octets each.
const COARSE: [usize; 8] = [640, 768, 896, 1024, 1280, 1536, 1792, 2048];
const FINE: usize = 64;
/// Empty chunks kept in stock.
const STOCK: usize = 32;
const NIL: u16 = u16::MAX;

fn class_for(len: usize) -> usize {
    match len.div_ceil(8) {
        0 => 0,
        n if n <= FINE => n - 1,
        _ => FINE + COARSE.partition_point(|c| *c < len),
    }
}

fn size_of_class(class: usize) -> usize {
    if class < FINE {
        (class + 1) * 8
    } else {
        COARSE[class - FINE]
    }
}

#[derive(Debug)]
struct Chunk {
    /// `None`: given back to the system.
    octets: Option<Box<[u8]>>,
    class: u8,
    /// Runs in use.
    live: u16,
    /// Runs that were never used begin here.
    fresh: u16,
    /// The first run that was freed, its first two octets naming the next.
    free: u16,
    /// Where it stands among those with room, if it does.
    place: u32,
}

/// Runs of octets. Who asks keeps the length, and gives it back with the place.
#[derive(Debug)]
pub(super) struct Arena {
    chunks: Vec<Chunk>,
    /// Chunks with room, of each class.
    room: Vec<Vec<u32>>,
    /// Chunks that belong to no class: those with memory last.
    empty: Vec<u32>,
    big: Vec<Option<Box<[u8]>>>,
    big_free: Vec<u32>,
}

impl Arena {
    pub(super) fn new() -> Self {
        Self {
            chunks: Vec::new(),
            room: vec![Vec::new(); FINE + COARSE.len()],
            empty: Vec::new(),
            big: Vec::new(),
            big_free: Vec::new(),
        }
    }

    /// Stores a run; its place.
    pub(super) fn put(&mut self, octets: &[u8]) -> u32 {
        if octets.len() > SMALL {
            let run = Some(octets.into());
            if let Some(n) = self.big_free.pop() {
                self.big[n as usize] = run;
                return n;
            }
            self.big.push(run);
            return (self.big.len() - 1) as u32;
        }
        let class = class_for(octets.len());
        let size = size_of_class(class);
        let id = match self.room[class].last() {
            Some(id) => *id,
            None => self.open(class),
        };
        let c = &mut self.chunks[id as usize];
        let Some(memory) = c.octets.as_mut() else {
            unreachable!("a chunk with room has memory")
        };
        let n = if c.free == NIL {
            c.fresh += 1;
            c.fresh - 1
        } else {
            let at = usize::from(c.free) * size;
            let n = c.free;
            c.free = u16::from_ne_bytes([memory[at], memory[at + 1]]);
            n
        };
        let at = usize::from(n) * size;
        memory[at..at + octets.len()].copy_from_slice(octets);
        c.live += 1;
        if usize::from(c.live) == CHUNK / size {
            self.no_room(id);
        }
        id << 11 | (at / 8) as u32
    }

    fn open(&mut self, class: usize) -> u32 {
        let id = self.empty.pop().unwrap_or_else(|| {
            self.chunks.push(Chunk {
                octets: None,
                class: 0,
                live: 0,
                fresh: 0,
                free: NIL,
                place: 0,
            });
            (self.chunks.len() - 1) as u32
        });
        let c = &mut self.chunks[id as usize];
        c.octets
            .get_or_insert_with(|| vec![0; CHUNK].into_boxed_slice());
        (c.class, c.live, c.fresh, c.free) = (class as u8, 0, 0, NIL);
        self.has_room(id);
        id
    }

    fn has_room(&mut self, id: u32) {
        let c = &mut self.chunks[id as usize];
        let room = &mut self.room[usize::from(c.class)];
        c.place = room.len() as u32;
        room.push(id);
    }

    fn no_room(&mut self, id: u32) {
        let c = &self.chunks[id as usize];
        let (class, place) = (usize::from(c.class), c.place);
        self.room[class].swap_remove(place as usize);
        if let Some(moved) = self.room[class].get(place as usize) {
            self.chunks[*moved as usize].place = place;
        }
    }

    /// Frees a run of that length.
    pub(super) fn free(&mut self, place: u32, len: usize) {
        if len > SMALL {
            self.big[place as usize] = None;
            self.big_free.push(place);
            return;
        }
        let id = place >> 11;
        let at = (place as usize & 2047) * 8;
        let size = size_of_class(class_for(len));
        let c = &mut self.chunks[id as usize];
        if let Some(memory) = c.octets.as_mut() {
            memory[at..at + 2].copy_from_slice(&c.free.to_ne_bytes());
        }
        c.free = (at / size) as u16;
        c.live -= 1;
        let was_full = usize::from(c.live) + 1 == CHUNK / size;
        if c.live > 0 {
            if was_full {
                self.has_room(id);
            }
            return;
        }
        // Empty: out of its class, unless it is the only one there, lest a set that comes and goes opens one each time.
        if was_full {
            self.has_room(id);
        }
        let class = usize::from(self.chunks[id as usize].class);
        if self.room[class].len() > 1 {
            self.no_room(id);
            self.retire(id);
        }
    }

    fn retire(&mut self, id: u32) {
        let stocked = self.empty.len().min(STOCK);
        let recent = &self.empty[self.empty.len() - stocked..];
        let full = stocked == STOCK
            && recent
                .iter()
                .all(|e| self.chunks[*e as usize].octets.is_some());
        if full {
            self.chunks[id as usize].octets = None;
            self.empty.insert(0, id);
        } else {
            self.empty.push(id);
        }
    }

    #[inline]
    pub(super) fn get(&self, place: u32, len: usize) -> &[u8] {
        if len > SMALL {
            return self.big[place as usize].as_deref().unwrap_or_default();
        }
        let at = (place as usize & 2047) * 8;
        match &self.chunks[(place >> 11) as usize].octets {
            Some(memory) => &memory[at..at + len],
            None => &[],
        }
    }

    /// Octets held.
    pub(super) fn memory(&self) -> usize {
        let held = self.chunks.iter().filter(|c| c.octets.is_some()).count();
        let big: usize = self.big.iter().flatten().map(|b| b.len()).sum();
        held * CHUNK + big + self.chunks.capacity() * size_of::<Chunk>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn runs_keep_what_is_written(ops in prop::collection::vec((prop_oneof![0usize..70, 500usize..700, 1900usize..2200], 0usize..100), 0..600)) {
            let mut arena = Arena::new();
            let mut model: Vec<(u32, Vec<u8>)> = Vec::new();
            for (i, (len, which)) in ops.into_iter().enumerate() {
                if i % 3 == 2 && !model.is_empty() {
                    let (place, octets) = model.swap_remove(which % model.len());
                    arena.free(place, octets.len());
                } else {
                    let octets = vec![i as u8; len];
                    model.push((arena.put(&octets), octets));
                }
                for (place, octets) in &model {
                    prop_assert_eq!(arena.get(*place, octets.len()), &octets[..]);
                }
            }
        }
    }

    #[test]
    fn what_is_held_follows_what_is_used() {
        let mut arena = Arena::new();
        let mut most = 0;
        // Each round fills 4 MB with runs of another length and frees all: without the common stock that would be 60 times 4 MB.
        for round in 1..=60 {
            let runs: Vec<_> = (0..4 << 20 >> 3)
                .step_by(round)
                .map(|_| arena.put(&vec![1; round * 8]))
                .collect();
            most = most.max(arena.memory());
            runs.iter().for_each(|r| arena.free(*r, round * 8));
        }
        assert!(most < 6 << 20, "{most}");
        assert!(arena.memory() < 2 << 20, "{}", arena.memory());
    }
}
