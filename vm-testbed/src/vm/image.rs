//! What the guest boots: a kernel, and a first root folder with the programs under test. Made of Debian's packages and of
//! this tree; kept under `target/testbed-vm`, and made again when what it is made of changes.
//!
//! Nothing of it is installed on this machine: packages are downloaded and unpacked. The drivers of DPDK stand in a folder
//! of links, as Debian has it: a driver that is there twice, as a copy, is loaded twice, and DPDK panics.
//!
//! There are two: one for an appliance in the guest, one for a Linux router or host ([`Kind`]). Left out: an image of a whole
//! distribution. A guest has busybox, dash, modprobe, the programs of its kind and what these load.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufWriter, Write as _};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::cpio::Archive;
use crate::lab::{appliance, cmd};
use crate::{progress, setup};

/// Modules of the kernel, with what they need.
const MODULES: &[&str] = &[
    "virtio_pci",
    "virtio_console",
    "virtio_net",
    "e1000e",
    "vmxnet3",
    "tun",
    "vfio-pci",
    "vfio_iommu_type1",
    "mpls_router",
    "mpls_iptunnel",
    "vrf",
    "veth",
    "dummy",
    "8021q",
];

/// What a Linux router or host has: programs of Debian's packages, as they are installed here.
const PROGRAMS: &[&str] = &[
    "/usr/lib/frr/bgpd",
    "/usr/lib/frr/ldpd",
    "/usr/lib/frr/staticd",
    "/usr/lib/frr/zebra",
    "/usr/bin/iperf3",
    "/usr/bin/ping",
    "/usr/bin/tcpdump",
    "/usr/bin/vtysh",
    "/usr/sbin/bird",
    "/usr/sbin/birdc",
    "/usr/sbin/ethtool",
    "/usr/sbin/ip",
    "/usr/sbin/traceroute",
];

/// Users and groups that FRR and tcpdump ask for.
const USERS: &str = "root:x:0:0:root:/root:/bin/sh\nfrr:x:101:101::/:/bin/false\n\
                     tcpdump:x:102:102::/:/bin/false\nnobody:x:65534:65534::/:/bin/false\n";
const GROUPS: &str =
    "root:x:0:\nfrr:x:101:\nfrrvty:x:103:frr\ntcpdump:x:102:\nbird:x:104:\nnogroup:x:65534:\n";

/// Drivers of DPDK: those of the guest's cards, and two without a card.
const DRIVERS: &[&str] = &[
    "bus_pci",
    "bus_vdev",
    "mempool_ring",
    "net_e1000",
    "net_vmxnet3",
    "net_virtio",
    "net_null",
    "net_ring",
];

/// Changed when what is taken out of the packages changes: then all is made again.
const FORM: &str = "2";

/// What a guest is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An appliance: `trunkline`, `trunkctl`, DPDK's drivers.
    Appliance,
    /// A Linux router or host: FRR, BIRD, iproute2, tcpdump, iperf3; the kernel forwards, MPLS and VRFs too.
    Linux,
}

/// A kernel and its first root folder.
#[derive(Debug, Clone)]
pub struct Image {
    /// The kernel.
    pub kernel: PathBuf,
    /// The archive with the root folder.
    pub root: PathBuf,
}

/// The folder where all of it is kept.
#[must_use]
pub fn folder() -> PathBuf {
    crate::target_folder().join("testbed-vm")
}

/// The kernel alone; taken out of its package where that was not done yet.
///
/// # Errors
/// When the package can't be had.
pub fn kernel() -> Result<PathBuf> {
    Ok(base(&folder())?.join("vmlinux"))
}

/// The image with the programs as they are now; made where it is not there yet.
///
/// # Errors
/// When packages can't be had, or a program lacks a library.
pub fn image(kind: Kind) -> Result<Image> {
    let folder = folder();
    let base = base(&folder)?;
    let mut archive = skeleton(&base)?;
    let name = match kind {
        Kind::Appliance => {
            appliance(&mut archive)?;
            "appliance"
        }
        Kind::Linux => {
            linux(&mut archive)?;
            "linux"
        }
    };
    let image = Image {
        kernel: base.join("vmlinux"),
        root: folder.join(format!("{name}.cpio")),
    };
    let inputs = inputs(&archive)?;
    let note = folder.join(format!("{name}.inputs"));
    if !image.root.exists() || fs::read_to_string(&note).ok().as_deref() != Some(&inputs) {
        let step = progress::step(&format!("packing the root folder of guests ({name})"));
        let _ = fs::remove_file(&note);
        let new = folder.join(format!("{name}.{}.new", std::process::id()));
        let mut out = BufWriter::new(fs::File::create(&new)?);
        archive.write(&mut out)?;
        out.flush()?;
        drop(out);
        fs::rename(&new, &image.root)?;
        fs::write(&note, inputs)?;
        let size = fs::metadata(&image.root)?.len() >> 20;
        step.done(&format!("{size} MiB"));
    }
    Ok(image)
}

/// All that the archive is made of, with sizes and times.
fn inputs(archive: &Archive) -> Result<String> {
    let mut text = archive.listing();
    for from in archive.sources() {
        let m = fs::metadata(from).with_context(|| from.display().to_string())?;
        let _ = writeln!(
            text,
            "{} {} {}.{}",
            from.display(),
            m.len(),
            m.mtime(),
            m.mtime_nsec()
        );
    }
    Ok(text)
}

// ---- the kernel and busybox, out of packages ----

/// The folder with the kernel, its modules and busybox, filled where it is not.
fn base(folder: &Path) -> Result<PathBuf> {
    let base = folder.join("base");
    let want = format!("{FORM} {MODULES:?}");
    if fs::read_to_string(base.join("made-of")).ok().as_deref() == Some(&want) {
        return Ok(base);
    }
    fs::create_dir_all(folder)?;
    let kernel = kernel_package()?;
    progress::note(&format!(
        "for the guest, these packages are downloaded and unpacked in {}, not installed: {kernel}, busybox-static",
        folder.display()
    ));
    let new = folder.join(format!("base.{}.new", std::process::id()));
    let _ = fs::remove_dir_all(&new);
    let unpacked = new.join("unpacked");
    fs::create_dir_all(&unpacked)?;
    for package in [kernel.as_str(), "busybox-static"] {
        let step = progress::step(&format!("downloading and unpacking {package}"));
        let deb = setup::download(package, &new)?;
        cmd::output(Command::new("dpkg-deb").arg("-x").arg(&deb).arg(&unpacked))?;
        fs::remove_file(deb)?;
        step.done("");
    }
    let step = progress::step("taking out the kernel and the modules");
    fs::copy(unpacked.join("bin/busybox"), new.join("busybox")).context("busybox")?;
    let version = only_entry(&unpacked.join("lib/modules"))?;
    uncompress(
        &unpacked.join(format!("boot/vmlinuz-{version}")),
        &new.join("vmlinux"),
    )?;
    modules(&unpacked, &version, &new)?;
    fs::remove_dir_all(&unpacked)?;
    fs::write(new.join("made-of"), want)?;
    let _ = fs::remove_dir_all(&base);
    fs::rename(&new, &base)?;
    step.done(&version);
    Ok(base)
}

/// The newest kernel of the distribution.
fn kernel_package() -> Result<String> {
    let find = || -> Result<Option<String>> {
        let depends = cmd::output(Command::new("apt-cache").args(["depends", "linux-image-amd64"]));
        Ok(depends.ok().and_then(|text| {
            let name = text
                .lines()
                .find_map(|l| l.trim().strip_prefix("Depends: "))?;
            Some(name.to_owned())
        }))
    };
    if let Some(name) = find()? {
        return Ok(name);
    }
    setup::update()?;
    find()?.context("no package linux-image-amd64 here: the guest's kernel is Debian's, for amd64")
}

fn only_entry(dir: &Path) -> Result<String> {
    let mut names = fs::read_dir(dir)?.flatten();
    let first = names
        .next()
        .with_context(|| format!("{} is empty", dir.display()))?;
    Ok(first.file_name().to_string_lossy().into_owned())
}

/// Takes the kernel itself out of the image that unpacks itself, which takes a guest long.
fn uncompress(vmlinuz: &Path, to: &Path) -> Result<()> {
    const XZ: &[u8] = b"\xfd7zXZ\0";
    let image = fs::read(vmlinuz).with_context(|| vmlinuz.display().to_string())?;
    let at = image.windows(XZ.len()).position(|w| w == XZ);
    let at = at.with_context(|| format!("{}: not packed with xz", vmlinuz.display()))?;
    let part = to.with_extension("xz");
    fs::write(&part, &image[at..])?;
    // What follows in the image is no part of the stream.
    let unpacked = Command::new("xz")
        .args(["-dc", "--single-stream"])
        .stdin(Stdio::from(fs::File::open(&part)?))
        .output()
        .context("can't run xz")?;
    ensure!(
        unpacked.stdout.starts_with(b"\x7fELF"),
        "{}: xz gives no kernel: {}",
        vmlinuz.display(),
        String::from_utf8_lossy(&unpacked.stderr)
    );
    fs::write(to, unpacked.stdout)?;
    Ok(fs::remove_file(part)?)
}

/// Copies the modules wanted, and what they need, and writes the tables that modprobe reads.
fn modules(from: &Path, version: &str, to: &Path) -> Result<()> {
    let depmod = |root: &Path| {
        let mut c = Command::new("depmod");
        cmd::output(c.arg("-b").arg(root).arg(version)).map(drop)
    };
    depmod(from)?;
    let dir = format!("lib/modules/{version}");
    let table = fs::read_to_string(from.join(&dir).join("modules.dep"))?;
    let mut files = BTreeSet::new();
    for name in MODULES {
        let file = format!("/{name}.ko");
        let line = table.lines().find_map(|l| {
            let (module, needs) = l.split_once(':')?;
            module.ends_with(&file).then_some((module, needs))
        });
        let (module, needs) = line.with_context(|| format!("the kernel has no module {name}"))?;
        files.insert(module);
        files.extend(needs.split_whitespace());
    }
    let lists = [
        "modules.order",
        "modules.builtin",
        "modules.builtin.modinfo",
    ];
    for f in files.into_iter().chain(lists) {
        let (from, to) = (from.join(&dir).join(f), to.join(&dir).join(f));
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::copy(&from, &to).with_context(|| from.display().to_string())?;
    }
    depmod(to)
}

// ---- the root folder ----

/// Busybox, the modules, the first program.
fn skeleton(base: &Path) -> Result<Archive> {
    let mut a = Archive::default();
    for dir in ["bin", "sbin", "lib", "lib64"] {
        a.folder(&format!("/usr/{dir}"));
        a.link(&format!("/{dir}"), &format!("usr/{dir}"));
    }
    a.link("/var/run", "/run");
    for dir in ["proc", "sys", "dev", "run", "tmp", "root", "etc"] {
        a.folder(&format!("/{dir}"));
    }
    a.device("/dev/console", 5, 1);
    a.file("/usr/bin/busybox", base.join("busybox"), 0o755);
    // Of busybox neither the shell, which takes its own commands before those on the PATH, nor modprobe, which does not
    // load what a module only wishes for: vfio-pci its vfio_iommu_type1.
    for (program, at) in [
        ("/bin/dash", "/usr/bin/sh"),
        ("/sbin/modprobe", "/usr/sbin/modprobe"),
    ] {
        let real = Path::new(program).canonicalize();
        let real = real.with_context(|| format!("no {program}: install dash and kmod"))?;
        libraries(&mut a, &real)?;
        a.file(at, real, 0o755);
    }
    a.script("/init", include_str!("init.sh"));
    tree(&mut a, &base.join("lib"), "/usr/lib")?;
    Ok(a)
}

/// The programs under test.
fn appliance(a: &mut Archive) -> Result<()> {
    for program in ["trunkline", "trunkctl"] {
        let lean = lean(&appliance::program(program))?;
        libraries(a, &lean)?;
        a.file(&format!("/usr/bin/{program}"), lean, 0o755);
    }
    drivers(a)
}

/// A copy of the program without what only debuggers read, which is most of it; made again when the program is.
fn lean(program: &Path) -> Result<PathBuf> {
    let of =
        fs::metadata(program).with_context(|| format!("{} is not built", program.display()))?;
    let name = program.file_name().context("no name")?;
    let folder = folder().join("programs");
    let to = folder.join(name);
    if fs::metadata(&to).is_ok_and(|m| m.mtime() == of.mtime()) {
        return Ok(to);
    }
    fs::create_dir_all(&folder)?;
    let new = folder.join(format!("{}.{}.new", name.display(), std::process::id()));
    let mut strip = Command::new("strip"); // of the binutils, which Rust's linker needs
    strip.args(["--strip-debug", "--preserve-dates", "-o"]);
    cmd::output(strip.arg(&new).arg(program))?;
    fs::rename(new, &to)?;
    Ok(to)
}

/// FRR and the others, with what they read beside their libraries: FRR its models in YANG, vtysh a file for PAM.
fn linux(a: &mut Archive) -> Result<()> {
    unwinder(a)?;
    for program in PROGRAMS {
        let from = Path::new(program);
        let real = from
            .canonicalize()
            .with_context(|| format!("no {program}: `cargo testbed setup` installs it"))?;
        libraries(a, &real)?;
        a.file(program, real, 0o755);
    }
    tree(a, Path::new("/usr/share/yang"), "/usr/share/yang")?;
    let pam = Path::new("/lib/x86_64-linux-gnu/security/pam_permit.so");
    library(a, pam)?;
    libraries(a, pam)?;
    for (path, text) in [
        ("/etc/passwd", USERS),
        ("/etc/group", GROUPS),
        ("/etc/pam.d/frr", PAM),
        ("/etc/pam.d/other", PAM),
        ("/etc/frr/vtysh.conf", ""),
        (
            "/etc/nsswitch.conf",
            "passwd: files\ngroup: files\nhosts: files\n",
        ),
    ] {
        a.text(path, text);
    }
    for dir in ["var/lib/frr", "var/log/frr", "var/tmp", "etc/iproute2"] {
        a.folder(&format!("/{dir}"));
    }
    Ok(())
}

const PAM: &str = "auth sufficient pam_permit.so\naccount sufficient pam_permit.so\nsession sufficient pam_permit.so\n";

/// A copy of a folder of the host.
fn tree(a: &mut Archive, from: &Path, to: &str) -> Result<()> {
    for e in fs::read_dir(from).with_context(|| from.display().to_string())? {
        let e = e?;
        let name = format!("{to}/{}", e.file_name().to_string_lossy());
        if e.file_type()?.is_dir() {
            tree(a, &e.path(), &name)?;
        } else {
            a.file(&name, e.path(), 0o644);
        }
    }
    Ok(())
}

/// The libraries that a program or library loads, where the host has them: at their names of the host, as links to the
/// files they are there.
fn libraries(a: &mut Archive, of: &Path) -> Result<()> {
    let text = cmd::output(Command::new("ldd").arg(of))?;
    for line in text.lines() {
        ensure!(
            !line.contains("not found"),
            "{} lacks a library: {}",
            of.display(),
            line.trim()
        );
        if let Some(path) = line.split_whitespace().find(|w| w.starts_with('/')) {
            library(a, Path::new(path))?;
        }
    }
    Ok(())
}

/// One of them.
fn library(a: &mut Archive, path: &Path) -> Result<()> {
    let real = path
        .canonicalize()
        .with_context(|| path.display().to_string())?;
    let target = real.to_string_lossy().into_owned();
    if !a.has(&target) {
        a.file(&target, real.clone(), 0o755);
    }
    // `/lib` is a link in the guest as well.
    let parent = path
        .parent()
        .map_or(Ok(PathBuf::from("/")), Path::canonicalize)?;
    let name = parent.join(path.file_name().unwrap_or_default());
    if name != real {
        a.link(&name.to_string_lossy(), &target);
    }
    Ok(())
}

/// pthread_cancel and unwinding load it when they need it, so that ldd does not tell.
fn unwinder(a: &mut Archive) -> Result<()> {
    let library = Path::new("/lib/x86_64-linux-gnu/libgcc_s.so.1");
    if library.exists() {
        self::library(a, library)?;
    }
    Ok(())
}

/// DPDK's drivers, in the folder where a dynamically linked EAL looks for them.
fn drivers(a: &mut Archive) -> Result<()> {
    unwinder(a)?;
    let Some(folder) = driver_folder() else {
        return Ok(()); // the programs are linked statically, or the appliance will say what it lacks
    };
    for e in fs::read_dir(&folder)?.flatten() {
        let name = e.file_name().to_string_lossy().into_owned();
        let wanted = |d: &&&str| name.starts_with(&format!("librte_{d}.so"));
        if DRIVERS.iter().find(wanted).is_none() {
            continue;
        }
        library(a, &e.path())?;
        libraries(a, &e.path())?;
    }
    Ok(())
}

fn driver_folder() -> Option<PathBuf> {
    let all = fs::read_dir("/usr/lib/x86_64-linux-gnu/dpdk").ok()?;
    let mut all = all.flatten().map(|e| e.path());
    all.find(|p| {
        p.file_name()
            .is_some_and(|n| n.to_string_lossy().starts_with("pmds-"))
    })
}
