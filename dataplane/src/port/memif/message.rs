//! What the two ends of a memif say to each other: messages of 128 octets, packed, in the machine's own byte order.
//!
//! Read `src/plugins/memif/memif.h` of VPP (the protocol's home), or `drivers/net/memif/memif.h` of DPDK: version 2.0.
//! A message is its type (2 octets) and one of the bodies below; descriptors travel beside it (`SCM_RIGHTS`).

/// Octets of a message, whatever is in it.
pub(super) const SIZE: usize = 128;
/// 2.0.
pub(super) const VERSION: u16 = 0x0200;
/// Octets of names.
const NAME: usize = 32;
/// Octets of the secret.
pub(super) const SECRET: usize = 24;
/// Frames with an Ethernet header, of the three modes that there are.
pub(super) const MODE_ETHERNET: u8 = 0;

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// What was said has been done.
    Ack,
    /// Server: what it can do.
    Hello(Hello),
    /// Client: which interface it wants.
    Init(Init),
    /// Client: a piece of memory, whose descriptor comes with it.
    AddRegion { index: u16, size: u64 },
    /// Client: a ring in that memory, whose eventfd comes with it.
    AddRing(AddRing),
    /// Client: that was all.
    Connect,
    /// Server: then let frames pass.
    Connected,
    /// Either: it is over, and why.
    Disconnect(String),
}

/// The greatest numbers that a server takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hello {
    pub min_version: u16,
    pub max_version: u16,
    pub max_region: u16,
    pub max_s2c: u16,
    pub max_c2s: u16,
    pub max_log2: u8,
}

/// What a client is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Init {
    pub version: u16,
    pub id: u32,
    pub mode: u8,
    pub secret: [u8; SECRET],
}

/// A ring: which, and where it lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AddRing {
    /// From client to server; else the other way.
    pub c2s: bool,
    pub index: u16,
    pub region: u16,
    pub offset: u32,
    pub log2: u8,
    /// Octets between a descriptor's start and the frame; always 0 in what is known.
    pub private: u16,
}

const ACK: u16 = 1;
const HELLO: u16 = 2;
const INIT: u16 = 3;
const ADD_REGION: u16 = 4;
const ADD_RING: u16 = 5;
const CONNECT: u16 = 6;
const CONNECTED: u16 = 7;
const DISCONNECT: u16 = 8;
/// Of the flags of a ring.
const RING_C2S: u16 = 1;
/// Octets of the reason.
const REASON: usize = 96;

/// Writes fields one after the other.
struct Writer {
    at: usize,
    bytes: [u8; SIZE],
}

impl Writer {
    fn put(&mut self, field: &[u8]) -> &mut Self {
        self.bytes[self.at..self.at + field.len()].copy_from_slice(field);
        self.at += field.len();
        self
    }

    /// Text in a field of that many octets, with a NUL after it.
    fn text(&mut self, text: &str, field: usize) -> &mut Self {
        let len = text.len().min(field - 1);
        self.bytes[self.at..self.at + len].copy_from_slice(&text.as_bytes()[..len]);
        self.at += field;
        self
    }
}

impl Message {
    /// Its octets. `name` is ours: of the program, or of the port.
    pub(super) fn write(&self, name: &str) -> [u8; SIZE] {
        let mut w = Writer {
            at: 0,
            bytes: [0; SIZE],
        };
        let kind = |w: &mut Writer, kind: u16| {
            w.put(&kind.to_ne_bytes());
        };
        match self {
            Self::Ack => kind(&mut w, ACK),
            Self::Hello(h) => {
                kind(&mut w, HELLO);
                w.text(name, NAME);
                for field in [
                    h.min_version,
                    h.max_version,
                    h.max_region,
                    h.max_s2c,
                    h.max_c2s,
                ] {
                    w.put(&field.to_ne_bytes());
                }
                w.put(&[h.max_log2]);
            }
            Self::Init(i) => {
                kind(&mut w, INIT);
                w.put(&i.version.to_ne_bytes()).put(&i.id.to_ne_bytes());
                w.put(&[i.mode]).put(&i.secret).text(name, NAME);
            }
            Self::AddRegion { index, size } => {
                kind(&mut w, ADD_REGION);
                w.put(&index.to_ne_bytes()).put(&size.to_ne_bytes());
            }
            Self::AddRing(r) => {
                kind(&mut w, ADD_RING);
                let flags = if r.c2s { RING_C2S } else { 0 };
                for field in [flags, r.index, r.region] {
                    w.put(&field.to_ne_bytes());
                }
                w.put(&r.offset.to_ne_bytes()).put(&[r.log2]);
                w.put(&r.private.to_ne_bytes());
            }
            Self::Connect => {
                kind(&mut w, CONNECT);
                w.text(name, NAME);
            }
            Self::Connected => {
                kind(&mut w, CONNECTED);
                w.text(name, NAME);
            }
            Self::Disconnect(why) => {
                kind(&mut w, DISCONNECT);
                w.put(&0u32.to_ne_bytes()).text(why, REASON);
            }
        }
        w.bytes
    }

    /// Reads one; `None` of a type that nobody knows.
    pub(super) fn read(bytes: &[u8; SIZE]) -> Option<Self> {
        let u16_at = |at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
        let u32_at = |at: usize| u32::from_ne_bytes(std::array::from_fn(|i| bytes[at + i]));
        let body = 2;
        Some(match u16_at(0) {
            ACK => Self::Ack,
            HELLO => Self::Hello(Hello {
                min_version: u16_at(body + NAME),
                max_version: u16_at(body + NAME + 2),
                max_region: u16_at(body + NAME + 4),
                max_s2c: u16_at(body + NAME + 6),
                max_c2s: u16_at(body + NAME + 8),
                max_log2: bytes[body + NAME + 10],
            }),
            INIT => Self::Init(Init {
                version: u16_at(body),
                id: u32_at(body + 2),
                mode: bytes[body + 6],
                secret: std::array::from_fn(|i| bytes[body + 7 + i]),
            }),
            ADD_REGION => Self::AddRegion {
                index: u16_at(body),
                size: u64::from_ne_bytes(std::array::from_fn(|i| bytes[body + 2 + i])),
            },
            ADD_RING => Self::AddRing(AddRing {
                c2s: u16_at(body) & RING_C2S != 0,
                index: u16_at(body + 2),
                region: u16_at(body + 4),
                offset: u32_at(body + 6),
                log2: bytes[body + 10],
                private: u16_at(body + 11),
            }),
            CONNECT => Self::Connect,
            CONNECTED => Self::Connected,
            DISCONNECT => {
                let text = &bytes[body + 4..body + 4 + REASON];
                let text = text.split(|b| *b == 0).next().unwrap_or_default();
                Self::Disconnect(String::from_utf8_lossy(text).into_owned())
            }
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let all = [
            Message::Ack,
            Message::Hello(Hello {
                min_version: 1,
                max_version: 2,
                max_region: 3,
                max_s2c: 4,
                max_c2s: 5,
                max_log2: 6,
            }),
            Message::Init(Init {
                version: VERSION,
                id: 0x0102_0304,
                mode: MODE_ETHERNET,
                secret: [7; SECRET],
            }),
            Message::AddRegion {
                index: 1,
                size: 1 << 40,
            },
            Message::AddRing(AddRing {
                c2s: true,
                index: 1,
                region: 2,
                offset: 3 << 24,
                log2: 10,
                private: 5,
            }),
            Message::Connect,
            Message::Connected,
            Message::Disconnect("no".into()),
        ];
        for message in all {
            assert_eq!(Message::read(&message.write("name")), Some(message));
        }
        assert_eq!(Message::read(&[0; SIZE]), None);
        let long = Message::Disconnect("x".repeat(200)).write("");
        assert_eq!(
            Message::read(&long),
            Some(Message::Disconnect("x".repeat(REASON - 1)))
        );
    }

    /// Places of fields, by the packed structs of memif.h.
    #[test]
    fn fields_are_where_others_look_for_them() {
        let init = Message::Init(Init {
            version: VERSION,
            id: 9,
            mode: 2,
            secret: [b's'; SECRET],
        });
        let b = init.write("me");
        assert_eq!((b[3], b[4], b[8], b[9], b[32]), (2, 9, 2, b's', b's'));
        assert_eq!(&b[33..36], b"me\0");
        let ring = AddRing {
            c2s: true,
            index: 2,
            region: 3,
            offset: 4,
            log2: 5,
            private: 6,
        };
        let b = Message::AddRing(ring).write("me");
        assert_eq!((b[2], b[4], b[6], b[8], b[12], b[13]), (1, 2, 3, 4, 5, 6));
        let b = Message::AddRegion { index: 2, size: 3 }.write("");
        assert_eq!((b[0], b[2], b[4]), (4, 2, 3));
        let b = Message::Disconnect("why".into()).write("");
        assert_eq!((b[0], &b[6..9]), (8, &b"why"[..]));
        let b = Message::Connect.write("port");
        assert_eq!((b[0], &b[2..6]), (6, &b"port"[..]));
    }
}
