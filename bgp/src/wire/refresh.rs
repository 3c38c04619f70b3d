//! ROUTE-REFRESH: RFC 2918, and RFC 7313 (where a refresh begins and ends).
//!
//! Left out: outbound route filters (RFC 5291), never offered; what follows the four octets is not read.

use crate::types::Family;

use super::{Code, HEADER, Header, Kind, Notification, framed};

/// What a ROUTE-REFRESH says: its "message subtype", RFC 7313 3.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refresh {
    /// Send all routes again.
    Request,
    /// BoRR: a refresh begins.
    Begin,
    /// EoRR: a refresh is over; what was not sent again is gone.
    End,
    /// Something else, to be ignored (RFC 7313 5).
    Unknown(u8),
}

/// A ROUTE-REFRESH message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteRefresh {
    /// AFI and SAFI.
    pub family: (u16, u8),
    /// What it says.
    pub refresh: Refresh,
}

impl RouteRefresh {
    /// One of a family.
    #[must_use]
    pub fn new(family: Family, refresh: Refresh) -> Self {
        Self {
            family: family.code(),
            refresh,
        }
    }

    /// The family, if it is one that this speaker knows.
    #[must_use]
    pub fn known_family(&self) -> Option<Family> {
        Family::from_code(self.family.0, self.family.1)
    }

    /// Reads what lies behind the header.
    ///
    /// # Errors
    /// Code 7, subcode 1 with the whole message as data, if BoRR or EoRR has not four octets, or any has fewer (RFC 7313 5).
    pub fn parse(body: &[u8]) -> Result<Self, Notification> {
        let Some((&[a0, a1, subtype, safi], rest)) = body.split_first_chunk() else {
            return Err(bad_length(body));
        };
        let refresh = match subtype {
            0 => Refresh::Request,
            1 | 2 if !rest.is_empty() => return Err(bad_length(body)),
            1 => Refresh::Begin,
            2 => Refresh::End,
            n => Refresh::Unknown(n),
        };
        Ok(Self {
            family: (u16::from_be_bytes([a0, a1]), safi),
            refresh,
        })
    }

    /// Appends the whole message.
    pub fn emit(&self, out: &mut Vec<u8>) {
        let subtype = match self.refresh {
            Refresh::Request => 0,
            Refresh::Begin => 1,
            Refresh::End => 2,
            Refresh::Unknown(n) => n,
        };
        let [a0, a1] = self.family.0.to_be_bytes();
        framed(Kind::RouteRefresh, out, |out| {
            out.extend([a0, a1, subtype, self.family.1]);
        });
    }
}

fn bad_length(body: &[u8]) -> Notification {
    let kind = Kind::RouteRefresh;
    let len = u16::try_from(HEADER + body.len()).unwrap_or(u16::MAX);
    let data = [&Header { len, kind }.emit(), body].concat();
    Notification::new(Code::RouteRefresh, 1, data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn marks_have_four_octets_and_requests_may_have_filters_behind() {
        assert!(RouteRefresh::parse(&[0, 1, 0, 1, 9, 9]).is_ok());
        for body in [&[0, 1, 1, 1, 0][..], &[0, 1, 2, 1, 0], &[0, 1, 0]] {
            let n = RouteRefresh::parse(body).unwrap_err();
            assert_eq!((n.code, n.subcode), (7, 1));
            assert_eq!(n.data[HEADER..], *body);
            assert_eq!(usize::from(n.data[17]), n.data.len());
        }
        assert_eq!(
            RouteRefresh::parse(&[0, 1, 255, 1]).unwrap().refresh,
            Refresh::Unknown(255)
        );
    }

    proptest! {
        #[test]
        fn what_is_read_is_emitted_again(body: [u8; 4]) {
            let m = RouteRefresh::parse(&body).unwrap();
            let mut out = Vec::new();
            m.emit(&mut out);
            prop_assert_eq!(&out[HEADER..], &body[..]);
        }
    }
}
