//! Files with keys: one line for TCP MD5 (RFC 2385), a line a key for TCP-AO (RFC 5925, RFC 5926).
//!
//! A key is at most 80 octets long, which is what Linux takes. What is in the files appears in no message.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::value::Secret;

/// The longest key, TCP_MD5SIG_MAXKEYLEN and TCP_AO_MAXKEYLEN.
const MAX_KEY: usize = 80;

/// A MAC of TCP-AO, RFC 5926 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AoAlgorithm {
    /// HMAC-SHA-1-96
    HmacSha1,
    /// AES-128-CMAC-96
    AesCmac,
}

/// A master key tuple of TCP-AO.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AoKey {
    /// KeyID of the segments that we send.
    pub send_id: u8,
    /// KeyID of those that we take.
    pub receive_id: u8,
    /// The MAC.
    pub algorithm: AoAlgorithm,
    /// The master key.
    pub key: Secret,
}

/// Reads a file with a secret, from the directory of the configuration if its name is relative.
pub(super) fn read(written: &str, config: &Path) -> Result<Secret, String> {
    let path = place(written, config);
    let bytes = std::fs::read(&path)
        .map_err(|e| format!("cannot read {}: {e}; correct the name", path.display()))?;
    let end = bytes.iter().rposition(|b| !matches!(b, b'\n' | b'\r'));
    let key = &bytes[..end.map_or(0, |at| at + 1)];
    if key.is_empty() {
        return Err(format!(
            "{} is empty; write the key into it",
            path.display()
        ));
    }
    Ok(Secret(Arc::from(key)))
}

fn place(written: &str, config: &Path) -> PathBuf {
    config.parent().unwrap_or(Path::new("")).join(written)
}

/// Whether it can be the key of TCP MD5.
pub(super) fn check_md5(secret: &Secret, written: &str) -> Result<(), String> {
    if secret.0.contains(&b'\n') {
        return Err(format!("{written} has several lines; a key is one"));
    }
    match secret.0.len() {
        len if len > MAX_KEY => Err(format!(
            "the key in {written} has {len} octets; at most {MAX_KEY} are possible"
        )),
        _ => Ok(()),
    }
}

impl AoKey {
    /// The keys of a file: `SEND-ID RECEIVE-ID hmac-sha-1-96|aes-128-cmac-96 KEY`, a line each; the first is the one we send with.
    ///
    /// # Errors
    /// The line that is wrong, and what would be right; never the key.
    pub fn parse(secret: &Secret, written: &str) -> Result<Vec<Self>, String> {
        let text = std::str::from_utf8(&secret.0)
            .map_err(|_| format!("{written} is not text in UTF-8"))?;
        let mut keys: Vec<Self> = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong = |what: &str| format!("{written} line {number}: {what}");
            let key = Self::line(line).map_err(|e| wrong(&e))?;
            let clash = |k: &Self| k.send_id == key.send_id || k.receive_id == key.receive_id;
            if keys.iter().any(clash) {
                return Err(wrong("an id is there twice; each key needs its own two"));
            }
            keys.push(key);
        }
        match keys.is_empty() {
            true => Err(format!("{written} has no key; a line is written {FORM}")),
            false => Ok(keys),
        }
    }

    fn line(line: &str) -> Result<Self, String> {
        let mut words = line.split_whitespace();
        let mut id = || words.next().and_then(|w| w.parse::<u8>().ok());
        let (send, receive) = (id(), id());
        let algorithm = match words.next() {
            Some("hmac-sha-1-96") => Some(AoAlgorithm::HmacSha1),
            Some("aes-128-cmac-96") => Some(AoAlgorithm::AesCmac),
            _ => None,
        };
        let (Some(send_id), Some(receive_id), Some(algorithm), Some(key), None) =
            (send, receive, algorithm, words.next(), words.next())
        else {
            return Err(format!("is not {FORM}"));
        };
        if key.len() > MAX_KEY {
            return Err(format!("the key has more than {MAX_KEY} octets"));
        }
        Ok(Self {
            send_id,
            receive_id,
            algorithm,
            key: Secret(Arc::from(key.as_bytes())),
        })
    }
}

const FORM: &str = "SEND-ID RECEIVE-ID hmac-sha-1-96|aes-128-cmac-96 KEY (ids 0 to 255)";

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Vec<AoKey>, String> {
        AoKey::parse(&Secret(Arc::from(text.as_bytes())), "f")
    }

    #[test]
    fn keys_of_tcp_ao() {
        let keys =
            parse("# ours\n100 101 hmac-sha-1-96 hunter2\n\n7 8 aes-128-cmac-96 x\n").unwrap();
        let ids: Vec<_> = keys.iter().map(|k| (k.send_id, k.receive_id)).collect();
        assert_eq!(ids, [(100, 101), (7, 8)]);
        assert_eq!(&*keys[0].key.0, b"hunter2");
        assert_eq!(keys[1].algorithm, AoAlgorithm::AesCmac);
        for (text, start) in [
            ("", "f has no key"),
            ("1 2 md5 geheim", "f line 1: is not SEND-ID"),
            ("256 2 hmac-sha-1-96 geheim", "f line 1: is not SEND-ID"),
            ("1 2 hmac-sha-1-96 a b", "f line 1: is not SEND-ID"),
            (
                "1 2 hmac-sha-1-96 a\n1 3 hmac-sha-1-96 b",
                "f line 2: an id is there twice",
            ),
            (
                &format!("1 2 hmac-sha-1-96 {}", "geheim".repeat(14)),
                "f line 1: the key has more",
            ),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.starts_with(start), "{error}");
            assert!(!error.contains("geheim"), "{error}");
        }
    }

    #[test]
    fn key_files() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("t.toml");
        std::fs::write(dir.path().join("key"), "geheim\r\n").unwrap();
        let key = read("key", &config).unwrap();
        assert_eq!(&*key.0, b"geheim");
        assert_eq!(format!("{key:?}"), "(6 octets)");
        check_md5(&key, "key").unwrap();
        let long = Secret(Arc::from("x".repeat(81).as_bytes()));
        assert!(check_md5(&long, "key").unwrap_err().contains("81 octets"));
        std::fs::write(dir.path().join("none"), "\n").unwrap();
        assert!(read("none", &config).unwrap_err().contains("is empty"));
        assert!(read("gone", &config).unwrap_err().contains("cannot read"));
    }
}
