//! Which worker polls which queue, and by which queue a worker sends. Arithmetic only: no thread, no device.
//!
//! DESIGN section 4, row NUMA: a worker polls ports of its own node where there are any such workers; frames that leave by
//! another node's port go out by the worker's own TX queue, or over a ring where queues run out.

use net::WorkerId;

/// A worker's place in the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat {
    /// Its number, its index in every table of workers.
    pub id: WorkerId,
    /// The logical CPU it is pinned to.
    pub cpu: usize,
    /// The NUMA node of that CPU.
    pub node: u32,
}

/// The queues of one port, given out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The worker that polls RX queue `i`.
    pub rx: Vec<WorkerId>,
    /// The worker that owns TX queue `i`; queues beyond the workers stay unused.
    pub tx: Vec<WorkerId>,
    /// By worker: who sends its frames to this port; itself where it owns a queue.
    pub via: Vec<WorkerId>,
}

/// The workers that are to poll a port of `node`: those there, or all of them where there are none.
pub fn eligible(seats: &[Seat], node: u32) -> impl Iterator<Item = &Seat> + Clone {
    let any = seats.iter().any(|s| s.node == node);
    seats.iter().filter(move |s| !any || s.node == node)
}

/// Gives out the queues of a port of `node` that has `rx` and `tx` of them. `load` is how many RX queues each worker polls
/// already: the least laden get more. There must be a worker and a queue of each kind.
///
/// # Panics
/// Without a worker, without a TX queue, or when `load` has not an entry per worker.
#[must_use]
pub fn assign(seats: &[Seat], load: &[usize], node: u32, rx: usize, tx: usize) -> Assignment {
    assert!(!seats.is_empty() && tx > 0 && load.len() == seats.len());
    let mut load = load.to_vec();
    let mut pollers = Vec::with_capacity(rx);
    for _ in 0..rx {
        let id = eligible(seats, node)
            .map(|s| s.id)
            .min_by_key(|w| load[w.index()]);
        let id = id.unwrap_or(seats[0].id);
        load[id.index()] += 1;
        pollers.push(id);
    }

    // A queue each, as far as they go: to those who poll the port, then to their node, then to the others.
    let mut order: Vec<&Seat> = seats.iter().collect();
    order.sort_by_key(|s| {
        (
            !pollers.contains(&s.id),
            s.node != node,
            load[s.id.index()],
            s.id,
        )
    });
    let owners: Vec<&Seat> = order.into_iter().take(tx).collect();
    let mut turn = 0;
    let via = seats
        .iter()
        .map(|s| {
            if owners.iter().any(|o| o.id == s.id) {
                return s.id;
            }
            // One of its own node if it can be: the ring then stays in that node's memory.
            let near: Vec<_> = owners.iter().filter(|o| o.node == s.node).collect();
            turn += 1;
            if near.is_empty() {
                owners[turn % owners.len()].id
            } else {
                near[turn % near.len()].id
            }
        })
        .collect();
    Assignment {
        rx: pollers,
        tx: owners.iter().map(|o| o.id).collect(),
        via,
    }
}

/// The node whose replica of the tables each worker reads, and the nodes that get one.
#[must_use]
pub fn replicas(cpus: &[usize], memory_of: impl Fn(usize) -> u32) -> (Vec<u32>, Vec<u32>) {
    let of: Vec<u32> = cpus.iter().map(|&cpu| memory_of(cpu)).collect();
    let mut nodes = of.clone();
    nodes.sort_unstable();
    nodes.dedup();
    (of, nodes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn seats(nodes: &[u32]) -> Vec<Seat> {
        let seat = |(i, &node): (usize, &u32)| Seat {
            id: WorkerId(i as u16),
            cpu: i,
            node,
        };
        nodes.iter().enumerate().map(seat).collect()
    }

    fn ids(v: &[u16]) -> Vec<WorkerId> {
        v.iter().copied().map(WorkerId).collect()
    }

    #[test]
    fn tables_lie_where_they_are_read() {
        // Two nodes, workers on both; then all on one of them.
        assert_eq!(
            replicas(&[0, 2, 3, 1], |c| c as u32 / 2),
            (vec![0, 1, 1, 0], vec![0, 1])
        );
        assert_eq!(replicas(&[2, 3], |c| c as u32 / 2), (vec![1, 1], vec![1]));
        // Four, of which node 1 has no memory and is next to node 3: its worker reads there.
        assert_eq!(
            replicas(&[0, 1, 2], |c| [0, 3, 2, 3][c]),
            (vec![0, 3, 2], vec![0, 2, 3])
        );
    }

    #[test]
    fn queues_go_to_the_port_s_node() {
        let s = seats(&[0, 1, 0, 1]);
        let a = assign(&s, &[0; 4], 1, 2, 4);
        assert_eq!(a.rx, ids(&[1, 3]));
        assert_eq!(a.via, ids(&[0, 1, 2, 3]));
        // No worker there: anyone may.
        assert_eq!(assign(&s, &[0; 4], 7, 4, 4).rx, ids(&[0, 1, 2, 3]));
    }

    #[test]
    fn the_least_laden_polls_the_next_port() {
        let s = seats(&[0, 0]);
        let first = assign(&s, &[0, 0], 0, 1, 1);
        assert_eq!((first.rx, first.tx), (ids(&[0]), ids(&[0])));
        let second = assign(&s, &[1, 0], 0, 1, 1);
        assert_eq!(
            (second.rx, second.tx, second.via),
            (ids(&[1]), ids(&[1]), ids(&[1, 1]))
        );
    }

    #[test]
    fn few_tx_queues_stay_near() {
        // Two queues on four workers: the two that poll own them; the others send via their own node's.
        let a = assign(&seats(&[0, 0, 1, 1]), &[0; 4], 0, 2, 2);
        assert_eq!(a.tx, ids(&[0, 1]));
        assert_eq!(a.via[..2], ids(&[0, 1])[..]);
        assert!(a.via[2..].iter().all(|v| a.tx.contains(v)));
        assert_ne!(a.via[2], a.via[3], "spread");
    }

    proptest! {
        #[test]
        fn everyone_can_send_and_every_queue_is_polled(
            nodes in proptest::collection::vec(0u32..3, 1..9), node in 0u32..4, rx in 0usize..9, tx in 1usize..9, load0 in 0usize..5,
        ) {
            let s = seats(&nodes);
            let mut load = vec![0; s.len()];
            load[0] = load0;
            let a = assign(&s, &load, node, rx, tx);
            prop_assert_eq!(a.rx.len(), rx);
            prop_assert_eq!(a.tx.len(), tx.min(s.len()));
            let mut owners = a.tx.clone();
            owners.sort();
            owners.dedup();
            prop_assert_eq!(owners.len(), a.tx.len(), "a worker owns one queue at most");
            prop_assert_eq!(a.via.len(), s.len());
            for (w, v) in a.via.iter().enumerate() {
                prop_assert!(a.tx.contains(v));
                prop_assert!(v.index() == w || !a.tx.contains(&WorkerId(w as u16)));
            }
            if nodes.contains(&node) {
                prop_assert!(a.rx.iter().all(|w| nodes[w.index()] == node));
            }
        }
    }
}
