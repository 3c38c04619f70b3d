//! Archives that the kernel unpacks as its first root folder: cpio in the "newc" form.
//!
//! Read the kernel's `driver-api/early-userspace/buffer-format.rst`. Uncompressed on purpose: a guest without KVM takes
//! longer to unpack than to read. Left out: hard links, owners other than root, times.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;

/// One thing in the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    Folder,
    /// A file of the host, with the permission bits given.
    File(PathBuf, u32),
    /// A file with this text, with the permission bits given.
    Text(String, u32),
    Link(String),
    /// A character device.
    Device(u32, u32),
}

/// An archive in the making. Paths begin with `/`; the folders above each are made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Archive(BTreeMap<String, Node>);

impl Archive {
    fn add(&mut self, path: &str, node: Node) {
        let path = path.trim_matches('/');
        for (at, _) in path.match_indices('/') {
            self.0.entry(path[..at].to_owned()).or_insert(Node::Folder);
        }
        self.0.insert(path.to_owned(), node);
    }

    /// Whether there is something of that name.
    #[must_use]
    pub fn has(&self, path: &str) -> bool {
        self.0.contains_key(path.trim_matches('/'))
    }

    /// An empty folder.
    pub fn folder(&mut self, path: &str) {
        self.add(path, Node::Folder);
    }

    /// A copy of a file of the host.
    pub fn file(&mut self, path: &str, from: PathBuf, mode: u32) {
        self.add(path, Node::File(from, mode));
    }

    /// An executable file with this text.
    pub fn script(&mut self, path: &str, text: &str) {
        self.add(path, Node::Text(text.to_owned(), 0o755));
    }

    /// A file with this text that all may read.
    pub fn text(&mut self, path: &str, text: &str) {
        self.add(path, Node::Text(text.to_owned(), 0o644));
    }

    /// A symbolic link.
    pub fn link(&mut self, path: &str, to: &str) {
        self.add(path, Node::Link(to.to_owned()));
    }

    /// A character device.
    pub fn device(&mut self, path: &str, major: u32, minor: u32) {
        self.add(path, Node::Device(major, minor));
    }

    /// The files of the host that are in it.
    pub fn sources(&self) -> impl Iterator<Item = &PathBuf> {
        self.0.values().filter_map(|n| match n {
            Node::File(from, _) => Some(from),
            _ => None,
        })
    }

    /// A line on each thing in it, without the files' contents.
    #[must_use]
    pub fn listing(&self) -> String {
        let lines = self
            .0
            .iter()
            .map(|(path, node)| format!("{path} {node:?}\n"));
        lines.collect()
    }

    /// Writes the archive.
    ///
    /// # Errors
    /// When a file can't be read, or `out` not written.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        for (n, (path, node)) in self.0.iter().enumerate() {
            let (mode, data, device) = match node {
                Node::Folder => (0o040_755, vec![], (0, 0)),
                Node::File(from, mode) => (0o100_000 | mode, std::fs::read(from)?, (0, 0)),
                Node::Text(text, mode) => (0o100_000 | mode, text.clone().into_bytes(), (0, 0)),
                Node::Link(to) => (0o120_777, to.clone().into_bytes(), (0, 0)),
                Node::Device(major, minor) => (0o020_600, vec![], (*major, *minor)),
            };
            entry(out, n + 1, path, mode, &data, device)?;
        }
        entry(out, 0, "TRAILER!!!", 0, &[], (0, 0))
    }
}

/// One entry: a header of fourteen numbers in hex, the name, the contents, each filled up to four bytes.
fn entry(
    out: &mut impl Write,
    inode: usize,
    name: &str,
    mode: u32,
    data: &[u8],
    device: (u32, u32),
) -> io::Result<()> {
    let size = u32::try_from(data.len()).map_err(|_| {
        let what = format!("{name}: over 4 GiB, which the format can't hold");
        io::Error::new(io::ErrorKind::InvalidData, what)
    })?;
    let links = 1;
    let fields = [
        inode as u32,
        mode,
        0,
        0,
        links,
        0,
        size,
        0,
        0,
        device.0,
        device.1,
        name.len() as u32 + 1,
        0,
    ];
    let mut head = String::from("070701");
    for f in fields {
        head.push_str(&format!("{f:08X}"));
    }
    head.push_str(name);
    head.push('\0');
    out.write_all(head.as_bytes())?;
    fill(out, head.len())?;
    out.write_all(data)?;
    fill(out, data.len())
}

fn fill(out: &mut impl Write, len: usize) -> io::Result<()> {
    out.write_all(&[0; 3][..len.wrapping_neg() % 4])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads an archive back: (name, mode, contents).
    fn read(mut b: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
        let mut all = vec![];
        loop {
            assert_eq!(&b[..6], b"070701");
            let field = |n: usize| {
                let digits = std::str::from_utf8(&b[6 + n * 8..14 + n * 8]).unwrap();
                u32::from_str_radix(digits, 16).unwrap()
            };
            let (mode, size, name) = (field(1), field(6) as usize, field(11) as usize);
            let text = String::from_utf8(b[110..110 + name - 1].to_vec()).unwrap();
            assert_eq!(b[110 + name - 1], 0);
            let data = (110 + name).next_multiple_of(4);
            if text == "TRAILER!!!" {
                return all;
            }
            all.push((text, mode, b[data..data + size].to_vec()));
            b = &b[(data + size).next_multiple_of(4)..];
        }
    }

    #[test]
    fn what_is_written_can_be_read() {
        let mut a = Archive::default();
        a.script("/sbin/init", "#!/bin/sh\n");
        a.link("/bin", "usr/bin");
        a.device("/dev/console", 5, 1);
        let mut out = vec![];
        a.write(&mut out).unwrap();
        let names: Vec<_> = read(&out)
            .into_iter()
            .map(|(n, m, d)| (n, m, d.len()))
            .collect();
        let want = [
            ("bin", 0o120_777, 7),
            ("dev", 0o040_755, 0),
            ("dev/console", 0o020_600, 0),
            ("sbin", 0o040_755, 0),
            ("sbin/init", 0o100_755, 10),
        ];
        assert_eq!(names, want.map(|(n, m, d)| (n.to_owned(), m, d)));
    }
}
