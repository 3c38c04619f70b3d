//! Hugepages by node: how many there are, adding to the pool, giving back; the hugetlbfs mount.
//!
//! Read first: the kernel's `hugetlbpage.rst`. The kernel may add fewer pages than asked for when
//! memory is fragmented: what it really added is what is recorded and given back.

use crate::held::{Held, Item};
use crate::sys::Sys;
use std::ffi::CString;
use std::io;
use std::path::Path;

/// The hugepages of one size on one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    /// NUMA node.
    pub node: u32,
    /// Page size, KiB.
    pub size_kib: u64,
    /// Pages in the pool.
    pub total: u64,
    /// Pages nobody uses.
    pub free: u64,
}

/// Too few hugepages, and why.
#[derive(Debug, thiserror::Error)]
pub enum ReserveError {
    /// The kernel has no pages of this size, or no such node.
    #[error(
        "node {node} has no hugepages of {size_kib} KiB; boot a kernel with CONFIG_HUGETLBFS, or set memory = \"no-huge\" in [dataplane]"
    )]
    Unsupported {
        /// NUMA node.
        node: u32,
        /// Page size, KiB.
        size_kib: u64,
    },
    /// The kernel did not find enough free memory in one piece.
    #[error(
        "node {node} can give {got} of the {wanted} hugepages of {size_kib} KiB that are needed; free memory, run `echo 1 >/proc/sys/vm/compact_memory`, reserve at boot with `hugepages={wanted}`, or set memory = \"no-huge\" in [dataplane]"
    )]
    TooFew {
        /// NUMA node.
        node: u32,
        /// Page size, KiB.
        size_kib: u64,
        /// Pages needed.
        wanted: u64,
        /// Pages that could be had.
        got: u64,
    },
    /// Writing to `/sys` or to the record failed.
    #[error("cannot reserve hugepages: {0}; run as root")]
    Io(#[from] io::Error),
}

fn dir(node: u32, size_kib: u64) -> String {
    format!("/sys/devices/system/node/node{node}/hugepages/hugepages-{size_kib}kB")
}

/// The pool of one size on one node; `None` where the kernel has none.
pub fn pool(sys: &Sys, node: u32, size_kib: u64) -> Option<Pool> {
    let dir = dir(node, size_kib);
    let total = sys.number(format!("{dir}/nr_hugepages"))?;
    let free = sys.number(format!("{dir}/free_hugepages"))?;
    Some(Pool {
        node,
        size_kib,
        total,
        free,
    })
}

/// Every pool of the machine.
pub fn pools(sys: &Sys) -> Vec<Pool> {
    let mut out = Vec::new();
    for node in sys.names("/sys/devices/system/node") {
        let Some(id) = node.strip_prefix("node").and_then(|n| n.parse().ok()) else {
            continue;
        };
        for size in sys.names(format!("/sys/devices/system/node/{node}/hugepages")) {
            let kib = size
                .strip_prefix("hugepages-")
                .and_then(|s| s.strip_suffix("kB"));
            out.extend(
                kib.and_then(|k| k.parse().ok())
                    .and_then(|k| pool(sys, id, k)),
            );
        }
    }
    out
}

/// Sees to it that `free` pages are free on `node`, adding what is missing to the pool. What is
/// added is on the record first, and is given back with it.
///
/// # Errors
/// [`ReserveError`]; nothing stays added then.
pub fn reserve(
    sys: &Sys,
    held: &mut Held,
    node: u32,
    size_kib: u64,
    free: u64,
) -> Result<(), ReserveError> {
    let before = pool(sys, node, size_kib).ok_or(ReserveError::Unsupported { node, size_kib })?;
    let missing = free.saturating_sub(before.free);
    if missing == 0 {
        return Ok(());
    }
    // Asked for more than there is, the kernel would first push everything else out of memory.
    let room = reclaimable_kib(sys, node).map_or(u64::MAX, |kib| kib / size_kib);
    if missing > room {
        return Err(ReserveError::TooFew {
            node,
            size_kib,
            wanted: free,
            got: before.free + room,
        });
    }
    let item = Item::Pages {
        node,
        size_kib,
        added: missing,
    };
    held.note(item.clone())?;
    let set = sys.write(
        format!("{}/nr_hugepages", dir(node, size_kib)),
        &(before.total + missing).to_string(),
    );
    let after = pool(sys, node, size_kib).map_or(before.total, |p| p.total);
    if set.is_ok() && after >= before.total + missing {
        return Ok(());
    }
    // `missing` is on the record but fewer came: level the pool so that giving back is exact.
    let _ = sys.write(
        format!("{}/nr_hugepages", dir(node, size_kib)),
        &before.total.to_string(),
    );
    let _ = held.strike(&item);
    set?;
    let got = before.free + after.saturating_sub(before.total);
    Err(ReserveError::TooFew {
        node,
        size_kib,
        wanted: free,
        got,
    })
}

/// Free memory and file cache of a node, KiB; `None` where the kernel does not say.
fn reclaimable_kib(sys: &Sys, node: u32) -> Option<u64> {
    let text = sys.read(format!("/sys/devices/system/node/node{node}/meminfo"))?;
    let field = |name: &str| -> Option<u64> {
        let line = text.lines().find(|l| l.contains(name))?;
        line.split_whitespace().rev().nth(1)?.parse().ok()
    };
    Some(field(" MemFree:")? + field(" FilePages:").unwrap_or(0))
}

/// Takes `count` pages out of a node's pool, as far as it has them.
pub(crate) fn remove(sys: &Sys, node: u32, size_kib: u64, count: u64) -> io::Result<()> {
    match pool(sys, node, size_kib) {
        None => Ok(()),
        Some(p) => sys.write(
            format!("{}/nr_hugepages", dir(node, size_kib)),
            &p.total.saturating_sub(count).to_string(),
        ),
    }
}

/// Where a hugetlbfs of this page size is mounted. A mount without `pagesize=` has the default
/// size, which is 2 MiB on x86-64.
pub fn mounted(sys: &Sys, size_kib: u64) -> Option<String> {
    let mounts = sys.read("/proc/mounts")?;
    mounts.lines().find_map(|line| {
        let mut f = line.split(' ');
        let (_, at, kind, options) = (f.next()?, f.next()?, f.next()?, f.next()?);
        let size = options.split(',').find_map(|o| o.strip_prefix("pagesize="));
        let kib = size.map_or(Some(2048), parse_size)?;
        (kind == "hugetlbfs" && kib == size_kib).then(|| at.to_owned())
    })
}

fn parse_size(s: &str) -> Option<u64> {
    let (digits, unit) = s.split_at(s.find(|c: char| !c.is_ascii_digit()).unwrap_or(s.len()));
    let n: u64 = digits.parse().ok()?;
    match unit {
        "K" | "k" => Some(n),
        "M" => Some(n << 10),
        "G" => Some(n << 20),
        _ => None,
    }
}

/// Mounts a hugetlbfs of one page size at `at`, which is made where missing. Only programs that
/// share hugepages by file need one; the appliance itself takes its pages by `memfd`.
///
/// # Errors
/// The kernel's (`EPERM` without root).
pub fn mount(at: &Path, size_kib: u64) -> io::Result<()> {
    std::fs::create_dir_all(at)?;
    let target = CString::new(at.as_os_str().as_encoded_bytes())?;
    let options = CString::new(format!("pagesize={size_kib}K"))?;
    let kind = c"hugetlbfs";
    // SAFETY: all four strings end in NUL and outlive the call.
    let rc = unsafe {
        libc::mount(
            kind.as_ptr(),
            target.as_ptr(),
            kind.as_ptr(),
            0,
            options.as_ptr().cast(),
        )
    };
    if rc == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Unmounts what [`mount`] mounted.
///
/// # Errors
/// The kernel's (`EBUSY` while files are open there).
pub fn unmount(at: &Path) -> io::Result<()> {
    let target = CString::new(at.as_os_str().as_encoded_bytes())?;
    // SAFETY: the string ends in NUL and outlives the call.
    let rc = unsafe { libc::umount(target.as_ptr()) };
    if rc == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::fs;

    /// A made-up machine with one node that has `pages` free 2 MiB pages.
    pub(crate) fn fake_node(node: u32, pages: u64) -> (tempfile::TempDir, Sys) {
        let root = tempfile::tempdir().unwrap();
        let sys = Sys::at(root.path());
        let dir = sys.path(dir(node, 2048));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("nr_hugepages"), pages.to_string()).unwrap();
        fs::write(dir.join("free_hugepages"), pages.to_string()).unwrap();
        (root, sys)
    }

    #[test]
    fn enough_free_pages_change_nothing() {
        let (root, sys) = fake_node(1, 64);
        let mut held = Held::open(&sys, &root.path().join("run")).unwrap();
        reserve(&sys, &mut held, 1, 2048, 64).unwrap();
        assert_eq!(held.items(), []);
        assert_eq!(
            pools(&sys),
            [Pool {
                node: 1,
                size_kib: 2048,
                total: 64,
                free: 64
            }]
        );
    }

    #[test]
    fn a_node_without_such_pages_is_named_with_the_remedy() {
        let (root, sys) = fake_node(0, 4);
        let mut held = Held::open(&sys, &root.path().join("run")).unwrap();
        let e = reserve(&sys, &mut held, 0, 1 << 20, 8).unwrap_err();
        assert!(matches!(e, ReserveError::Unsupported { .. }), "{e}");
        assert_eq!(held.items(), []);
        assert!(e.to_string().contains("no-huge"), "no remedy in: {e}");
    }

    #[test]
    fn more_pages_than_memory_is_refused_before_the_kernel_empties_its_caches() {
        let (root, sys) = fake_node(0, 4);
        fs::write(
            sys.path("/sys/devices/system/node/node0/meminfo"),
            "Node 0 MemTotal:  99999999 kB\nNode 0 MemFree:  20480 kB\nNode 0 FilePages: 2048 kB\n",
        )
        .unwrap();
        let mut held = Held::open(&sys, &root.path().join("run")).unwrap();
        let e = reserve(&sys, &mut held, 0, 2048, 4 + 12).unwrap_err();
        assert!(
            matches!(
                e,
                ReserveError::TooFew {
                    wanted: 16,
                    got: 15,
                    ..
                }
            ),
            "{e}"
        );
        assert_eq!(held.items(), []);
        assert_eq!(pool(&sys, 0, 2048).unwrap().total, 4);
        reserve(&sys, &mut held, 0, 2048, 4 + 11).unwrap();
    }

    #[test]
    fn mounts_are_told_by_page_size() {
        let (root, sys) = fake_node(0, 0);
        fs::create_dir_all(root.path().join("proc")).unwrap();
        fs::write(
            root.path().join("proc/mounts"),
            "none /a tmpfs rw 0 0\nx /huge1g hugetlbfs rw,pagesize=1G 0 0\nx /huge hugetlbfs rw,relatime 0 0\n",
        )
        .unwrap();
        assert_eq!(mounted(&sys, 2048).as_deref(), Some("/huge"));
        assert_eq!(mounted(&sys, 1 << 20).as_deref(), Some("/huge1g"));
        assert_eq!(mounted(&sys, 64), None);
    }
}
