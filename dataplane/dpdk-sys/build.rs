//! Finds the system's DPDK, compiles `shim.c` against it, and generates the bindings.
//!
//! What is missing is named with the Debian package that has it, in one line, and no backtrace:
//! whoever builds this for the first time should not need to know what a `.pc` file is.

use std::panic;
use std::path::PathBuf;
use std::process::{Command, exit};

/// The oldest DPDK whose API the bindings are written against: Debian 12's.
const OLDEST: &str = "22.11";
/// The oldest libclang that reads DPDK's headers and that bindgen accepts.
const OLDEST_CLANG: u32 = 9;
/// What the shim and the crate call; the drivers are loaded by the EAL from its own folder.
const LIBRARIES: [&str; 5] = [
    "rte_eal",
    "rte_ethdev",
    "rte_mbuf",
    "rte_mempool",
    "rte_ring",
];
/// What `rivals.c` calls on top, with the feature of that name.
const RIVALS: [&str; 5] = ["rte_fib", "rte_rib", "rte_lpm", "rte_rcu", "rte_hash"];
/// Functions that are exported by those libraries and called from Rust.
const FUNCTIONS: &[&str] = &[
    "tl_.*",
    "rte_eal_(init|cleanup|has_hugepages)",
    "rte_dev_(probe|remove|name|event_callback_register)",
    "rte_log_set_global_level",
    "rte_strerror",
    "rte_get_tsc_hz",
    "rte_version",
    "rte_socket_count",
    "rte_thread_(register|unregister)",
    "rte_pktmbuf_(pool_create|free_bulk)",
    "rte_mempool_(free|in_use_count|avail_count|lookup)",
    "rte_eth_dev_(configure|start|stop|close|info_get|socket_id|set_mtu|adjust_nb_rx_tx_desc|get_port_by_name)",
    "rte_eth_(rx|tx)_queue_setup",
    "rte_eth_dev_rx_intr_(enable|disable|ctl_q_get_fd)",
    "rte_eth_(stats_get|stats_reset|macaddr_get|find_next)",
    "rte_vfio_(enable|is_enabled)",
    "rte_memseg_walk",
    "rte_eth_(promiscuous|allmulticast)_(enable|disable)",
];

fn main() {
    let rivals = std::env::var_os("CARGO_FEATURE_RIVALS").is_some();
    for f in [
        "build.rs",
        "src/shim.c",
        "src/shim.h",
        "src/rivals.c",
        "src/rivals.h",
    ] {
        println!("cargo:rerun-if-changed={f}");
    }
    for var in ["PKG_CONFIG", "PKG_CONFIG_PATH", "PKG_CONFIG_LIBDIR"] {
        println!("cargo:rerun-if-env-changed={var}");
    }
    println!("cargo:rerun-if-env-changed=LIBCLANG_PATH");

    let cflags = dpdk();
    clang();
    compile(&cflags, "shim");
    if rivals {
        compile(&cflags, "rivals");
    }
    bindings(&cflags, rivals);
    let more = if rivals { &RIVALS[..] } else { &[] };
    for lib in LIBRARIES.iter().chain(more) {
        println!("cargo:rustc-link-lib=dylib={lib}");
    }
}

/// Ends the build with one line that says what is wrong and one that says what mends it.
fn fail(what: &str, remedy: &str) -> ! {
    println!("cargo:warning={what}");
    println!("cargo:warning=mend it with: {remedy}");
    eprintln!("\n{what}\nmend it with: {remedy}\n");
    exit(1)
}

/// Finds DPDK and returns the compiler flags it wants, as pkg-config gives them: the crate of that
/// name leaves out `-include` and `-march`, without which the headers do not compile.
fn dpdk() -> Vec<String> {
    const INSTALL: &str = "apt-get install libdpdk-dev pkg-config";
    let config = pkg_config::Config::new()
        .cargo_metadata(false)
        .env_metadata(false)
        .to_owned();
    let found = match config.probe("libdpdk") {
        Ok(found) => found,
        Err(pkg_config::Error::Command { .. }) => {
            fail("pkg-config can't be run, so DPDK can't be found", INSTALL)
        }
        Err(_) => fail(
            &format!("DPDK's development files (libdpdk.pc, {OLDEST} or newer) are not installed"),
            INSTALL,
        ),
    };
    let release = |v: &str| -> Vec<u32> {
        v.split('.')
            .take(2)
            .filter_map(|n| n.parse().ok())
            .collect()
    };
    if release(&found.version) < release(OLDEST) {
        fail(
            &format!(
                "DPDK {} is too old: {OLDEST} or newer is needed",
                found.version
            ),
            "apt-get install libdpdk-dev (Debian 12 or newer has it), or point PKG_CONFIG_PATH at a newer DPDK",
        );
    }
    for dir in &found.link_paths {
        println!("cargo:rustc-link-search=native={}", dir.display());
    }
    let pkg_config = std::env::var("PKG_CONFIG").unwrap_or_else(|_| "pkg-config".into());
    let out = Command::new(pkg_config)
        .args(["--cflags", "libdpdk"])
        .output();
    match out {
        Ok(out) if out.status.success() => String::from_utf8_lossy(&out.stdout)
            .split_whitespace()
            .map(str::to_owned)
            .collect(),
        _ => fail("pkg-config does not give the flags of libdpdk", INSTALL),
    }
}

/// Checks that bindgen will find a libclang; it would panic otherwise.
fn clang() {
    const INSTALL: &str = "apt-get install libclang-dev";
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let version = panic::catch_unwind(bindgen::clang_version);
    panic::set_hook(hook);
    match version {
        Err(_) => fail(
            "libclang, which reads DPDK's headers, is not installed",
            INSTALL,
        ),
        Ok(v) => match v.parsed {
            Some((major, _)) if major < OLDEST_CLANG => fail(
                &format!("libclang {major} is too old: {OLDEST_CLANG} or newer is needed"),
                "apt-get install libclang-14-dev, or point LIBCLANG_PATH at a newer one",
            ),
            _ => {}
        },
    }
}

fn compile(cflags: &[String], name: &str) {
    let mut build = cc::Build::new();
    for flag in cflags {
        build.flag(flag);
    }
    let done = build
        .file(format!("src/{name}.c"))
        .warnings(true)
        .extra_warnings(true)
        .flag("-Wno-unused-parameter")
        .opt_level(3)
        .try_compile(&format!("tl_{name}"));
    if let Err(e) = done {
        fail(
            &format!("dataplane/dpdk-sys/src/{name}.c does not compile: {e}"),
            "apt-get install build-essential libdpdk-dev (and see the compiler's message above)",
        );
    }
}

fn bindings(cflags: &[String], rivals: bool) {
    let mut builder = bindgen::Builder::default()
        .header("src/shim.h")
        .clang_args(cflags)
        .allowlist_type("tl_.*|rte_eth_(conf|dev_info|stats|rxconf|txconf)")
        .allowlist_var("TL_.*|RTE_LOG_(WARNING|INFO)")
        .allowlist_recursively(true)
        // bindgen can't lay these out: a packed type with aligned members.
        .opaque_type("rte_arp_ipv4|rte_arp_hdr|rte_gtp_psc_generic_hdr.*")
        // Their layout changes between releases; fields are reached by the offsets of shim.h.
        .opaque_type("rte_mbuf|rte_mempool|rte_device|rte_eth_dev|rte_mbuf_ext_shared_info")
        .default_enum_style(bindgen::EnumVariation::Consts)
        .prepend_enum_name(false)
        .layout_tests(false)
        .generate_comments(false)
        .derive_default(false);
    if rivals {
        builder = builder.header("src/rivals.h");
    }
    for f in FUNCTIONS {
        builder = builder.allowlist_function(f);
    }
    match builder.generate() {
        Ok(b) => {
            let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
            b.write_to_file(out.join("bindings.rs"))
                .expect("OUT_DIR can be written");
        }
        Err(e) => fail(
            &format!("DPDK's headers can't be read: {e}"),
            "apt-get install libdpdk-dev libclang-dev libc6-dev",
        ),
    }
}
