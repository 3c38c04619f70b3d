//! DPDK's Environment Abstraction Layer: started once a process, with no device; ports are plugged in later.
//!
//! Read the DPDK "Linux Getting Started Guide" on EAL parameters. With hugepages nothing is left in the file system
//! (`--in-memory`), so neither `kill -9` nor a second appliance finds anything in its way. Without, memory is ordinary
//! (`--no-huge`), which DPDK does not take together with `--in-memory`.
//!
//! DPDK's own log is diverted into a buffer: it becomes the cause in an error, or the control thread reports it
//! ([`take_log`]).
//!
//! Left out: secondary processes, lcores other than the control thread's (workers are plain threads that register
//! themselves), telemetry.

use dpdk_sys as sys;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::fs;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex};

/// Where frames' memory comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// Hugepages that the machine has reserved.
    Hugepages,
    /// Ordinary pages: slower, needs nothing reserved, and no NIC can be driven from it without an IOMMU.
    NoHuge,
}

/// How to start the EAL.
#[derive(Clone, Debug)]
pub struct EalConfig {
    /// Kind of memory.
    pub memory: Memory,
    /// MiB: for [`Memory::Hugepages`] what is taken at start (more is taken as pools need it, 0 for nothing), for
    /// [`Memory::NoHuge`] all there will ever be.
    pub mem_mb: u32,
    /// CPU of the calling thread, which becomes the EAL's main lcore. The EAL pins the thread to it.
    pub control_cpu: usize,
    /// Whether PCI devices are to be opened at once: the kind of addresses that they are given is chosen for them then.
    /// Without, those on vfio-pci can be opened later all the same. None is touched before a port names it.
    pub pci: bool,
}

impl Default for EalConfig {
    /// No hugepages, 256 MiB, CPU 0, no PCI.
    fn default() -> Self {
        Self {
            memory: Memory::NoHuge,
            mem_mb: 256,
            control_cpu: 0,
            pci: false,
        }
    }
}

/// Why the EAL did not start.
#[derive(Debug, thiserror::Error)]
pub enum EalError {
    /// DPDK allows one start a process, ever.
    #[error("the EAL was started before in this process; DPDK starts once a process")]
    Again,
    /// No free hugepage at all.
    #[error(
        "no free hugepages: reserve some (`sysctl vm.nr_hugepages=256`, or `trunkctl doctor`), or set `memory = \"no-huge\"`"
    )]
    NoHugepages,
    /// Fewer hugepages than asked for.
    #[error(
        "too few free hugepages: {need} MiB are needed, {free} MiB are free; reserve more \
         (`sysctl vm.nr_hugepages={}`), or set `memory = \"no-huge\"`", need / 2
    )]
    FewHugepages {
        /// MiB asked for.
        need: u32,
        /// MiB free.
        free: u64,
    },
    /// Anything else, in DPDK's words.
    #[error("DPDK did not start: {0}")]
    Dpdk(String),
    /// A thread could not be registered.
    #[error("a thread could not be registered with DPDK: {0}")]
    Thread(String),
}

/// That the EAL is up. Dropping it cleans up, unless pools are left: their memory would go with it. It can't be started
/// again in this process.
#[derive(Debug)]
pub struct Eal {
    memory: Memory,
    pci: bool,
    users: Arc<()>,
}

/// Tells libxdp that the kernel's default program for XDP sockets is enough: its dispatcher would only warn.
const SKIP_DISPATCHER: &str = "LIBXDP_SKIP_DISPATCHER";

/// Sets up the environment that libraries under DPDK read. To be called first of all in `main`, before there is a second
/// thread, by a program that may start the EAL when there are others.
pub fn prepare_process() {
    // SAFETY: called before there are other threads (workers start after the EAL), so nobody reads it meanwhile.
    unsafe { std::env::set_var(SKIP_DISPATCHER, "1") };
}

static STARTED: Mutex<bool> = Mutex::new(false);

impl Eal {
    /// Starts the EAL on the calling thread.
    ///
    /// # Errors
    /// When it was started before, or when DPDK refuses: too few hugepages above all.
    pub fn init(config: &EalConfig) -> Result<Self, EalError> {
        let mut started = STARTED
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if *started {
            return Err(EalError::Again);
        }
        if config.memory == Memory::Hugepages {
            check_hugepages(config.mem_mb)?;
        }
        *started = true;
        if std::env::var_os(SKIP_DISPATCHER).is_none() {
            prepare_process();
        }

        let args: Vec<CString> = arguments(config)
            .into_iter()
            .map(|a| CString::new(a).expect("no NUL"))
            .collect();
        // DPDK permutes and keeps the pointers, so they are left to it for good.
        let mut argv: Vec<*mut c_char> = args.into_iter().map(CString::into_raw).collect();
        argv.push(std::ptr::null_mut());
        let argc = (argv.len() - 1) as c_int;
        let argv = Box::leak(argv.into_boxed_slice());
        // SAFETY: first call of DPDK in this process; `argv` lives for good and ends in NULL.
        let rc = unsafe {
            if sys::tl_log_divert() != 0 {
                return Err(EalError::Dpdk("its log can't be diverted".into()));
            }
            sys::rte_log_set_global_level(sys::RTE_LOG_WARNING);
            sys::rte_eal_init(argc, argv.as_mut_ptr())
        };
        if rc < 0 {
            return Err(EalError::Dpdk(last_error()));
        }
        // SAFETY: looks for libraries that the drivers have loaded and sets a function pointer in them.
        unsafe { sys::tl_log_divert_xdp() };
        take_log();
        Ok(Self {
            memory: config.memory,
            pci: config.pci,
            users: Arc::new(()),
        })
    }

    /// Kind of memory it was started with.
    #[must_use]
    pub fn memory(&self) -> Memory {
        self.memory
    }

    /// Whether it was started for PCI devices.
    #[must_use]
    pub fn pci(&self) -> bool {
        self.pci
    }
}

impl Eal {
    /// A token that keeps the EAL's memory from going when the `Eal` is dropped.
    pub(crate) fn user(&self) -> Arc<()> {
        self.users.clone()
    }
}

impl Drop for Eal {
    fn drop(&mut self) {
        if Arc::strong_count(&self.users) > 1 {
            return; // pools or frames are left; the process ending gives all back
        }
        let memory = segments();
        // SAFETY: nothing of it is in use: ports stand on pools, and there are none.
        unsafe { sys::rte_eal_cleanup() };
        if self.memory == Memory::Hugepages {
            give_back(&memory);
        }
    }
}

/// What the EAL has of memory, in pieces of one page each: address and length.
fn segments() -> Vec<(*mut c_void, usize)> {
    unsafe extern "C" fn note(
        list: *const sys::rte_memseg_list,
        segment: *const sys::rte_memseg,
        all: *mut c_void,
    ) -> c_int {
        // SAFETY: DPDK gives a list and a segment of it, and `all` is the vector below.
        let (list, segment, all) = unsafe {
            let all = all.cast::<Vec<(*mut c_void, usize)>>();
            (&*list, &*segment, &mut *all)
        };
        if list.external == 0 {
            // SAFETY: a union of the address as a pointer and as a number.
            all.push((unsafe { segment.__bindgen_anon_1.addr }, segment.len));
        }
        0
    }
    let mut all = Vec::new();
    // SAFETY: the EAL is up; the vector outlives the call.
    unsafe { sys::rte_memseg_walk(Some(note), (&raw mut all).cast()) };
    all
}

/// A zone of DPDK's memory: a ring of a driver, a pool, its frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    /// What DPDK, or its driver, calls it.
    pub name: String,
    /// Its address in this process.
    pub at: u64,
    /// Bytes.
    pub len: u64,
    /// The NUMA node that it was asked for on; -1 for any.
    pub node: i32,
}

/// All zones there are, once the EAL is up.
#[must_use]
pub fn zones() -> Vec<Zone> {
    const ROOM: usize = 4096; // more than DPDK has room for itself
    let mut all = Vec::with_capacity(ROOM);
    // SAFETY: plain numbers and a text, of which the first `n` are filled in; the vector has room for them.
    unsafe {
        let n = sys::tl_zones(all.as_mut_ptr(), ROOM);
        all.set_len(n.min(ROOM));
    }
    let zone = |z: &sys::tl_zone| {
        let name: Vec<u8> = z
            .name
            .iter()
            .map(|c| *c as u8)
            .take_while(|c| *c != 0)
            .collect();
        Zone {
            name: String::from_utf8_lossy(&name).into_owned(),
            at: z.at,
            len: z.len,
            node: z.node,
        }
    };
    all.iter().map(zone).collect()
}

/// Gives pages back to the kernel. Started with `--in-memory` the EAL keeps what drivers have not freed until the process
/// is over. Pages in use then can't be taken out of their node's pool, and hold up pages of other nodes: the kernel
/// compares what a node is to have with what all nodes have.
fn give_back(memory: &[(*mut c_void, usize)]) {
    for (at, len) in memory {
        // SAFETY: shared mappings of the EAL, which was cleaned up; they stay mapped, so that what should still look there
        // finds zeros.
        unsafe { libc::madvise(*at, *len, libc::MADV_REMOVE) };
    }
}

fn arguments(config: &EalConfig) -> Vec<String> {
    let mut args = vec!["trunkline".to_owned(), "--no-telemetry".into()];
    match config.memory {
        // memif wants its memory in one file a page size.
        Memory::Hugepages => args.extend(["--in-memory".into(), "--single-file-segments".into()]),
        Memory::NoHuge => args.extend(["--no-huge".into(), "--no-shconf".into()]),
    }
    if config.mem_mb > 0 {
        args.extend(["-m".into(), config.mem_mb.to_string()]);
    }
    if fs::exists("/sys/bus/pci/devices").unwrap_or(false) {
        // A list of allowed devices with nothing real in it: none is probed until a port names it.
        args.extend(["-a".into(), "ffff:ff:1f.7".into()]);
    } else {
        args.push("--no-pci".into());
    }
    if !config.pci {
        // Without DMA, physical addresses would only cut pools into pieces; vfio-pci takes these too.
        args.push("--iova-mode=va".into());
    }
    args.extend(["--lcores".into(), format!("0@{}", config.control_cpu)]);
    args
}

/// Compares what is asked for with what sysfs says is free, over all page sizes.
fn check_hugepages(need: u32) -> Result<(), EalError> {
    let mut free = 0u64;
    for size in fs::read_dir("/sys/kernel/mm/hugepages")
        .into_iter()
        .flatten()
        .flatten()
    {
        let name = size.file_name();
        let kb = name
            .to_str()
            .and_then(|n| n.strip_prefix("hugepages-")?.strip_suffix("kB"));
        let kb: u64 = kb.and_then(|n| n.parse().ok()).unwrap_or(0);
        let pages = fs::read_to_string(size.path().join("free_hugepages"));
        let pages: u64 = pages.ok().and_then(|n| n.trim().parse().ok()).unwrap_or(0);
        free += pages * kb / 1024;
    }
    match free {
        0 => Err(EalError::NoHugepages),
        _ if free < u64::from(need) => Err(EalError::FewHugepages { need, free }),
        _ => Ok(()),
    }
}

/// Takes what DPDK logged (warnings and worse) since the last call, a line each.
pub fn take_log() -> Vec<String> {
    let mut text = vec![0u8; 16384];
    // SAFETY: `text` has that many bytes.
    let n = unsafe { sys::tl_log_take(text.as_mut_ptr().cast(), text.len()) };
    text.truncate(n);
    String::from_utf8_lossy(&text)
        .lines()
        .map(str::trim)
        .filter(|l| !l.is_empty())
        .map(str::to_owned)
        .collect()
}

/// What DPDK logged, or else what `rte_errno` says of its last failure, in one line.
pub(crate) fn last_error() -> String {
    let log = take_log();
    if log.is_empty() {
        // SAFETY: reads a variable of this thread.
        error_text(unsafe { sys::tl_errno() })
    } else {
        log.join("; ")
    }
}

/// DPDK's name for an errno, positive or negative.
pub(crate) fn error_text(errno: c_int) -> String {
    // SAFETY: returns a static or per-thread C string.
    unsafe { CStr::from_ptr(sys::rte_strerror(errno.abs())) }
        .to_string_lossy()
        .into_owned()
}

/// That this thread is known to the EAL, and so has caches of its own in the pools. Ends when dropped, on the same thread.
#[derive(Debug)]
pub struct Registered(PhantomData<*const ()>);

/// Makes the calling thread known to the EAL. To be called by each worker before its first frame.
///
/// # Errors
/// When the EAL is not up, or 128 threads are registered.
pub fn register_thread() -> Result<Registered, EalError> {
    // SAFETY: safe from any thread once the EAL is up, and refused before.
    if unsafe { sys::rte_thread_register() } == 0 {
        Ok(Registered(PhantomData))
    } else {
        Err(EalError::Thread(last_error()))
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        // SAFETY: `!Send`, so this is the thread that registered.
        unsafe { sys::rte_thread_unregister() }
    }
}
