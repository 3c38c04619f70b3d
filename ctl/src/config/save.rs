//! Saves a file so that it is either the old or the new one, whatever happens: written beside it, synced, renamed over it.
//!
//! Links are followed, so that a link stays one; mode and owner are kept. Not kept: extended attributes and hard links.

use std::fs::{File, Metadata, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use nix::errno::Errno;

/// A file could not be saved; it is as it was.
#[derive(Debug)]
pub struct SaveError {
    file: PathBuf,
    cause: io::Error,
}

impl std::error::Error for SaveError {}

impl std::fmt::Display for SaveError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let file = self.file.display();
        let remedy = match self.cause.raw_os_error().map(Errno::from_raw) {
            Some(Errno::ENOSPC | Errno::EDQUOT) => "free space or move it to another file system".to_owned(),
            Some(Errno::EROFS) => "remount its file system for writing, or start trunkline with -c and a file elsewhere".to_owned(),
            Some(Errno::EACCES | Errno::EPERM) => "let the appliance's user write its directory".to_owned(),
            Some(Errno::ENOENT) => "its directory is gone; make it again".to_owned(),
            _ => "see what its file system suffers from".to_owned(),
        };
        write!(
            f,
            "cannot save {file}: {}; {remedy}; nothing was changed",
            describe(&self.cause)
        )
    }
}

/// What the kernel calls an error, without its number.
pub(super) fn describe(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => Errno::from_raw(number).desc().to_owned(),
        None => error.to_string(),
    }
}

/// Replaces the contents of `path`, which must exist, by `text`.
pub(super) fn save(path: &Path, text: &str) -> Result<(), SaveError> {
    replace(path, text).map_err(|cause| SaveError {
        file: path.to_owned(),
        cause,
    })
}

fn replace(path: &Path, text: &str) -> io::Result<()> {
    let real = std::fs::canonicalize(path)?;
    let old = std::fs::metadata(&real)?;
    let directory = real
        .parent()
        .ok_or_else(|| io::Error::from_raw_os_error(Errno::EISDIR as i32))?;
    let name = real.file_name().unwrap_or_default().to_string_lossy();
    // Only one thread of one instance saves; what a killed one left under this name is overwritten.
    let beside = directory.join(format!(".{name}.new"));
    let done = write(&beside, text, &old).and_then(|()| std::fs::rename(&beside, &real));
    if done.is_err() {
        let _ = std::fs::remove_file(&beside);
        return done;
    }
    // The rename is done; that a directory can't be synced is no reason to say that nothing was changed.
    if let Err(error) = File::open(directory).and_then(|d| d.sync_all()) {
        tracing::warn!("cannot sync {}: {error}", directory.display());
    }
    Ok(())
}

fn write(beside: &Path, text: &str, old: &Metadata) -> io::Result<()> {
    match std::fs::remove_file(beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(beside)?;
    let made = file.metadata()?;
    if (made.uid(), made.gid()) != (old.uid(), old.gid()) {
        fchown(&file, Some(old.uid()), Some(old.gid()))?;
    }
    file.set_permissions(Permissions::from_mode(old.mode() & 0o7777))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mode_and_links_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let (real, link) = (dir.path().join("real.toml"), dir.path().join("link.toml"));
        std::fs::write(&real, "old").unwrap();
        std::fs::set_permissions(&real, Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink("real.toml", &link).unwrap();
        std::fs::write(dir.path().join(".real.toml.new"), "left by a killed one").unwrap();
        save(&link, "new").unwrap();
        assert!(link.is_symlink());
        assert_eq!(std::fs::read_to_string(&real).unwrap(), "new");
        assert_eq!(std::fs::metadata(&real).unwrap().mode() & 0o7777, 0o640);
        let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().collect();
        assert_eq!(left.len(), 2, "nothing is left beside it");
    }

    /// A file system of its own, seen by this thread alone, so that nothing has to be unmounted.
    fn small_disk(at: &Path) -> nix::Result<()> {
        use nix::mount::{MsFlags, mount};
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS)?;
        mount(
            None::<&str>,
            "/",
            None::<&str>,
            MsFlags::MS_REC | MsFlags::MS_PRIVATE,
            None::<&str>,
        )?;
        mount(
            Some("tmpfs"),
            at,
            Some("tmpfs"),
            MsFlags::empty(),
            Some("size=64k"),
        )
    }

    #[test]
    fn a_full_or_read_only_disk_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        if let Err(error) = small_disk(dir.path()) {
            eprintln!("skipped: needs root to mount ({error})");
            return;
        }
        let file = dir.path().join("t.toml");
        std::fs::write(&file, "old").unwrap();
        let error = save(&file, &"x".repeat(100_000)).unwrap_err().to_string();
        let expected = format!(
            "cannot save {}: No space left on device; free space",
            file.display()
        );
        assert!(
            error.starts_with(&expected) && error.ends_with("nothing was changed"),
            "{error}"
        );
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "old");
        assert_eq!(
            std::fs::read_dir(dir.path()).unwrap().count(),
            1,
            "the unfinished one is gone"
        );

        use nix::mount::{MsFlags, mount};
        mount(
            None::<&str>,
            dir.path(),
            None::<&str>,
            MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY,
            None::<&str>,
        )
        .unwrap();
        let error = save(&file, "new").unwrap_err().to_string();
        assert!(error.contains("Read-only file system; remount"), "{error}");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "old");
    }
}
