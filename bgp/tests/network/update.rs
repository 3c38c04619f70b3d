//! UPDATEs as a bad wire reads them: RFC 4271 4.3, RFC 4760. It trusts what speakers put out, and is none of theirs.

use super::Wires;

/// What wires do to messages, and how many of them there were.
pub(crate) struct Bad {
    wires: Wires,
    withdrawals: u64,
    announcements: u64,
}

impl Bad {
    pub(crate) fn new(wires: Wires) -> Self {
        Self {
            wires,
            withdrawals: 0,
            announcements: 0,
        }
    }

    /// What comes of whole messages, on a wire within the AS or not; and how many UPDATEs they were.
    pub(crate) fn carry(&mut self, internal: bool, octets: &[u8]) -> (Vec<u8>, u64) {
        let (mut out, mut updates) = (Vec::with_capacity(octets.len()), 0);
        let mut rest = octets;
        while rest.len() >= 19 {
            let length = usize::from(u16::from_be_bytes([rest[16], rest[17]]));
            let (message, later) = rest.split_at(length);
            rest = later;
            if message[18] != 2 {
                out.extend(message);
                continue;
            }
            updates += 1;
            let update = Update::of(&message[19..]);
            let lost = match self.wires {
                Wires::LoseWithdrawals if update.only_withdraws() => {
                    self.withdrawals += 1;
                    self.withdrawals.is_multiple_of(3)
                }
                Wires::LoseAnnouncements if update.announces() => {
                    self.announcements += 1;
                    self.announcements.is_multiple_of(30)
                }
                _ => false,
            };
            if self.wires == Wires::CutMarks && internal {
                update.without(&[9, 10], &mut out);
            } else if !lost {
                out.extend(message);
            }
        }
        assert!(rest.is_empty(), "a speaker puts out whole messages");
        (out, updates)
    }
}

/// The three parts of an UPDATE, RFC 4271 4.3.
struct Update<'a> {
    withdrawn: &'a [u8],
    attributes: Vec<(u8, u8, &'a [u8])>,
    nlri: &'a [u8],
}

impl<'a> Update<'a> {
    fn of(body: &'a [u8]) -> Self {
        let part = |b: &'a [u8]| {
            let n = usize::from(u16::from_be_bytes([b[0], b[1]]));
            (&b[2..2 + n], &b[2 + n..])
        };
        let (withdrawn, rest) = part(body);
        let (mut all, nlri) = part(rest);
        let mut attributes = Vec::new();
        while all.len() >= 3 {
            let long = all[0] & 0x10 != 0;
            let (length, head) = match long {
                true => (usize::from(u16::from_be_bytes([all[2], all[3]])), 4),
                false => (usize::from(all[2]), 3),
            };
            attributes.push((all[0], all[1], &all[head..head + length]));
            all = &all[head + length..];
        }
        Self {
            withdrawn,
            attributes,
            nlri,
        }
    }

    fn has(&self, code: u8) -> Option<&'a [u8]> {
        self.attributes.iter().find(|a| a.1 == code).map(|a| a.2)
    }

    fn announces(&self) -> bool {
        !self.nlri.is_empty() || self.has(14).is_some()
    }

    /// An End-of-RIB (RFC 4724 2) withdraws nothing.
    fn only_withdraws(&self) -> bool {
        let v6 = self.has(15).is_some_and(|v| v.len() > 3);
        !self.announces() && (v6 || !self.withdrawn.is_empty())
    }

    /// The message without those attributes.
    fn without(&self, codes: &[u8], out: &mut Vec<u8>) {
        let mut attributes = Vec::new();
        for (flags, code, value) in self.attributes.iter().filter(|a| !codes.contains(&a.1)) {
            attributes.extend([flags | 0x10, *code]);
            attributes.extend((value.len() as u16).to_be_bytes());
            attributes.extend(*value);
        }
        let length = 19 + 4 + self.withdrawn.len() + attributes.len() + self.nlri.len();
        out.extend([0xff; 16]);
        out.extend((length as u16).to_be_bytes());
        out.push(2);
        for part in [self.withdrawn, &attributes] {
            out.extend((part.len() as u16).to_be_bytes());
            out.extend(part);
        }
        out.extend(self.nlri);
    }
}
