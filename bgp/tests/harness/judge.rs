//! Whether an UPDATE may end its session, by RFC 7606 alone and with nothing of `bgp::wire`: lengths that contradict each other,
//! NLRI that cannot be told apart, several MP_REACH_NLRI or MP_UNREACH_NLRI, and errors where nothing is announced. Everything
//! else is survived.
//!
//! For sessions with IPv4 and IPv6 unicast, with next hops of the family (no RFC 8950).

/// What becomes of the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It must go on.
    Lives,
    /// It must end.
    Ends,
    /// That needs the rules of each attribute (5.2), or the RFC leaves it open (7.11: "AFI/SAFI disable").
    Open,
}

/// Octets behind a length of two octets, and the rest.
fn counted(o: &[u8]) -> Option<(&[u8], &[u8])> {
    let n = usize::from(u16::from_be_bytes([*o.first()?, *o.get(1)?]));
    Some((o.get(2..2 + n)?, &o[2 + n..]))
}

/// Whether prefixes of at most so many bits stand behind each other, each whole.
fn whole(mut o: &[u8], most: u8, add_path: bool) -> bool {
    while !o.is_empty() {
        let skip = if add_path { 4 } else { 0 };
        let Some(&bits) = o.get(skip) else {
            return false;
        };
        let end = skip + 1 + usize::from(bits).div_ceil(8);
        if bits > most || o.len() < end {
            return false;
        }
        o = &o[end..];
    }
    true
}

/// The attributes as far as they concern the session.
#[derive(Default)]
struct Seen {
    reach: bool,
    unreach: bool,
    /// Routes are announced in MP_REACH_NLRI.
    announced: bool,
    /// There are attributes other than a right MP_UNREACH_NLRI.
    others: bool,
    ends: bool,
    open: bool,
}

impl Seen {
    fn attributes(&mut self, mut o: &[u8], add_path: bool) {
        while !o.is_empty() {
            let long = o[0] & 0x10 != 0;
            let head = if long { 4 } else { 3 };
            if o.len() < head {
                // Not even a header: everything is treated as withdrawn (4), or worse where nothing is announced.
                self.others = true;
                return;
            }
            let len = if long {
                usize::from(u16::from_be_bytes([o[2], o[3]]))
            } else {
                o[2].into()
            };
            let Some(value) = o.get(head..head + len) else {
                self.others = true;
                return;
            };
            match o[1] {
                14 => self.reach(o[0], value, add_path),
                15 => self.unreach(o[0], value, add_path),
                _ => self.others = true,
            }
            o = &o[head + len..];
        }
    }

    /// AFI and SAFI of unicast: the bits of the longest prefix.
    fn family(value: &[u8]) -> Option<u8> {
        match value[..3] {
            [0, 1, 1] => Some(32),
            [0, 2, 1] => Some(128),
            _ => None,
        }
    }

    fn reach(&mut self, flags: u8, value: &[u8], add_path: bool) {
        self.ends |= self.reach;
        self.reach = true;
        self.others = true;
        // Wrong flags make routes withdrawn (3 c), and what is in it may be looked at or not.
        self.open |= flags & 0xc0 != 0x80;
        if value.len() < 3 {
            self.ends = true;
            return;
        }
        // A family that was not agreed on counts as disabled.
        let Some(bits) = Self::family(value) else {
            self.open = true;
            return;
        };
        if value.len() < 5 {
            self.ends = true;
            return;
        }
        let hop = usize::from(value[3]);
        let hops: &[usize] = if bits == 32 { &[4] } else { &[16, 32] };
        if !hops.contains(&hop) {
            self.open = true;
            return;
        }
        match value.get(4 + hop + 1..) {
            Some(nlri) if whole(nlri, bits, add_path) => self.announced |= !nlri.is_empty(),
            _ => self.ends = true,
        }
    }

    fn unreach(&mut self, flags: u8, value: &[u8], add_path: bool) {
        self.ends |= self.unreach;
        self.unreach = true;
        self.open |= flags & 0xc0 != 0x80;
        if value.len() < 3 {
            self.ends = true;
            return;
        }
        match Self::family(value) {
            Some(bits) => self.ends |= !whole(&value[3..], bits, add_path),
            None => self.open = true,
        }
    }
}

/// What RFC 7606 says about what lies behind the header.
pub(crate) fn judge(body: &[u8], add_path: bool) -> Verdict {
    let Some((withdrawn, rest)) = counted(body) else {
        return Verdict::Ends;
    };
    let Some((attributes, announced)) = counted(rest) else {
        return Verdict::Ends;
    };
    if !whole(withdrawn, 32, add_path) || !whole(announced, 32, add_path) {
        return Verdict::Ends;
    }
    let mut seen = Seen::default();
    seen.attributes(attributes, add_path);
    let told = !announced.is_empty() || seen.announced;
    match seen {
        Seen { open: true, .. } => Verdict::Open,
        Seen { ends: true, .. } => Verdict::Ends,
        Seen { others, .. } if told || !others => Verdict::Lives,
        _ => Verdict::Open,
    }
}

#[test]
fn it_judges_as_the_rfc_does() {
    let update = |withdrawn: &[u8], attributes: &[u8], nlri: &[u8]| {
        let len = |o: &[u8]| u16::try_from(o.len()).unwrap().to_be_bytes();
        let (w, a) = (len(withdrawn), len(attributes));
        [&w[..], withdrawn, &a, attributes, nlri].concat()
    };
    let net = [8, 10];
    let unreach = [0x80, 15, 3, 0, 2, 1];
    for (body, want) in [
        (update(&[], &[], &[]), Verdict::Lives),
        (update(&[], &unreach, &[]), Verdict::Lives),
        (update(&[33, 1, 2, 3, 4, 5], &[], &[]), Verdict::Ends),
        (update(&[], &[1], &net), Verdict::Lives),
        (update(&[], &[0x40, 1, 9], &net), Verdict::Lives),
        (update(&[], &[0x40, 1, 9], &[]), Verdict::Open),
        (
            update(&[], &[unreach, unreach].concat(), &net),
            Verdict::Ends,
        ),
        (vec![0, 9, 1], Verdict::Ends),
        (vec![0, 0, 0, 1], Verdict::Ends),
    ] {
        assert_eq!(judge(&body, false), want, "{body:?}");
    }
}
