//! RPKI.

/// What the RPKI says about a route and its origin, RFC 6811 2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Validity {
    /// Some covering record has this origin, and allows this length.
    Valid,
    /// Records cover it, and none of them allows it.
    Invalid,
    /// No record covers it, or no cache was heard yet.
    #[default]
    NotFound,
}

impl Validity {
    /// As in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Invalid => "invalid",
            Self::NotFound => "not-found",
        }
    }
}
