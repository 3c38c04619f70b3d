//! Small dense ids. Each indexes an array, so each is a number and nothing more.

use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($int:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(transparent)]
        pub struct $name(pub $int);

        impl $name {
            /// The id as an array index.
            #[inline]
            #[must_use]
            pub const fn index(self) -> usize {
                self.0 as usize
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id! {
    /// A slot of the router's own port table (not the number that DPDK gives the port).
    PortId(u16)
}
id! {
    /// A layer-3 interface: a port untagged, or one VLAN of it.
    IfaceId(u16)
}
id! {
    /// A routing table; 0 is the global one.
    VrfId(u16)
}
id! {
    /// A worker thread.
    WorkerId(u16)
}
id! {
    /// An adjacency: a neighbour on an interface and the link header that reaches it.
    AdjId(u32)
}
id! {
    /// A next-hop group. What a prefix or a label points to.
    GroupId(u32)
}

impl GroupId {
    /// No route. Tables are zero pages when empty, so this must be zero.
    pub const NONE: Self = Self(0);

    /// Whether this is [`GroupId::NONE`].
    #[inline]
    #[must_use]
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }
}

impl VrfId {
    /// The global table.
    pub const GLOBAL: Self = Self(0);
}
