//! Why a frame was dropped. One row per reason; the table is the documentation (`Drop::doc`), the names are a contract
//! (`trunkctl drop show`, `interface show --json`), and the counters are indexed by it.
//!
//! Read DESIGN section 2 for the law these counters obey, [`crate::counters`] for where they are kept. Left out on purpose:
//! an ICMP error that the rate limiter suppressed is no drop (its cause has been counted as one), and frames a NIC itself
//! missed (`rx_missed`) never entered, so they are no row here.

macro_rules! drops {
    ($($(#[$meta:meta])* $variant:ident $name:literal $doc:literal)*) => {
        /// A reason for dropping a frame. The discriminant is the index of its counter.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Drop { $(#[doc = $doc] $variant,)* }

        impl Drop {
            /// Every reason, in the order of their counters.
            pub const ALL: &'static [Drop] = &[$(Drop::$variant,)*];
            /// How many reasons there are.
            pub const COUNT: usize = Self::ALL.len();

            /// The stable name, `snake_case`, as shown by `trunkctl drop show`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Drop::$variant => $name,)* }
            }

            /// One line on what the frame did to deserve it.
            #[must_use]
            pub const fn doc(self) -> &'static str {
                match self { $(Drop::$variant => $doc,)* }
            }
        }
    };
}

drops! {
    // Ethernet
    Runt                "runt"                  "Shorter than an Ethernet header, or than the VLAN tag it announces."
    Giant               "giant"                 "Longer than the interface's MTU allows."
    MultiSegment        "multi_segment"         "Spread over several buffers, which the stages do not read."
    NotForUs            "not_for_us"            "The destination MAC address is neither the interface's nor a group."
    BadSourceMac        "bad_source_mac"        "The source MAC address is a group address, or the interface's own."
    UnknownVlan         "unknown_vlan"          "Tagged with a VLAN that no interface of the port carries, or tagged twice."
    Llc                 "llc"                   "An 802.3 length where the EtherType should be: LLC, spanning tree and the like."
    UnknownEthertype    "unknown_ethertype"     "An EtherType that the router does not speak."
    InterfaceDown       "interface_down"        "The interface it arrived on is down, or there is none."
    LinkBroadcast       "link_broadcast"        "Unicast IP, or MPLS, in a link-layer broadcast or multicast (RFC 1812 3.4)."
    BadArp              "bad_arp"               "A malformed ARP packet (RFC 826)."
    // IPv4, RFC 1812 5.2.2 in order, then what forwarding finds
    Ip4Truncated        "ip4_truncated"         "Shorter than an IPv4 header."
    Ip4BadChecksum      "ip4_bad_checksum"      "The IPv4 header checksum is wrong."
    Ip4BadVersion       "ip4_bad_version"       "EtherType IPv4, but the version is not 4."
    Ip4BadHeaderLength  "ip4_bad_header_length" "The header length is under 20 bytes or beyond the frame."
    Ip4BadLength        "ip4_bad_length"        "The total length is under the header's or beyond the frame."
    Ip4BadOptions       "ip4_bad_options"       "Malformed IPv4 options."
    SourceRoute         "source_route"          "IPv4 source routing, which is refused (RFC 7126 4.3, 4.4)."
    MartianSource       "martian_source"        "A source address that can't be one (RFC 1812 5.3.7, RFC 4291 2.7)."
    MartianDestination  "martian_destination"   "A destination address that must not be forwarded (RFC 1812 5.3.7, RFC 4291 2.5)."
    Broadcast           "broadcast"             "A directed broadcast of a connected network, not forwarded (RFC 2644)."
    Multicast           "multicast"             "Multicast of no group the router listens to; this version does not route it."
    TtlExpired          "ttl_expired"           "The TTL or hop limit of an IP packet reached zero."
    NoRoute             "no_route"              "No route covers the destination."
    Blackhole           "blackhole"             "The route discards silently."
    Unreachable         "unreachable"           "The route answers with ICMP host unreachable."
    Prohibited          "prohibited"            "The route answers with ICMP administratively prohibited."
    FragNeeded          "frag_needed"           "IPv4, too long for the next hop's MTU, and it must not or can't be fragmented."
    // IPv6
    Ip6Truncated        "ip6_truncated"         "Shorter than an IPv6 header."
    Ip6BadVersion       "ip6_bad_version"       "EtherType IPv6, but the version is not 6."
    Ip6BadLength        "ip6_bad_length"        "The payload length is beyond the frame."
    Ip6BadExtension     "ip6_bad_extension"     "To the router itself, with extension headers that cannot be followed: cut short, too many, or out of place (RFC 8200 4.1)."
    LinkLocalScope      "link_local_scope"      "A link-local source or destination that would leave its link (RFC 4291 2.5.6, RFC 3927 7)."
    PacketTooBig        "packet_too_big"        "IPv6, too long for the next hop's MTU."
    BadNd               "bad_nd"                "A Neighbour Discovery packet that RFC 4861 6.1 and 7.1 say to discard."
    // MPLS
    MplsDisabled        "mpls_disabled"         "A labelled frame on an interface without `mpls = true`."
    MplsTruncated       "mpls_truncated"        "The frame ends inside a label stack entry, or right after the stack."
    MplsNoBottom        "mpls_no_bottom"        "The frame ends before an entry with the bottom-of-stack bit."
    MplsStackTooDeep    "mpls_stack_too_deep"   "More labels than the router walks, or may push."
    MplsReservedLabel   "mpls_reserved_label"   "A special-purpose label that the router does not process (RFC 7274)."
    MplsTtlExpired      "mpls_ttl_expired"      "The label's TTL reached zero (RFC 3032 2.4)."
    UnknownLabel        "unknown_label"         "No entry for the label (RFC 3031 3.18)."
    VrfLabelNotLast     "vrf_label_not_last"    "A label under one that leads into a VRF (RFC 4364 5: that is the last), or under one of LDP whose next hop has told none (RFC 3031 3.18)."
    MplsUnknownPayload  "mpls_unknown_payload"  "Under the popped stack lies neither IPv4 nor IPv6."
    MplsTooBig          "mpls_too_big"          "A labelled packet too long for the next hop's MTU that can't be fragmented (RFC 3032 3.4)."
    LspPingLimit        "lsp_ping_limit"        "An echo request of LSP ping, beyond the rate at which the control thread is given them (RFC 8029 5)."
    // Ways out
    NoAdjacency         "no_adjacency"          "The adjacency or interface of a route has gone, or a label leads to a connected network without saying to whom."
    NoHeadroom          "no_headroom"           "No room in the buffer for the labels and the header to put before the packet."
    NoBuffer            "no_buffer"             "No mbuf was left for a fragment, or for a frame from the control thread; an ICMP error is then just not made."
    NoTxRoom            "no_tx_room"            "The driver took no more frames, for longer than the worker waits."
    HandoverFull        "handover_full"         "The ring to the worker that owns the port's TX queue was full."
    TxDown              "tx_down"               "From the router itself, for an interface that is down. Routes that lead there are withdrawn: `no_route`."
    PortRemoved         "port_removed"          "The port to leave by has been removed."
    Shutdown            "shutdown"              "Still inside when the workers were stopped."
    WorkerDied          "worker_died"           "Inside a worker that died by a bug, or on its way into one."
    // To and from the control thread; it counts some of them itself, for punted frames that it gives up
    PuntFull            "punt_full"             "The ring to the control thread was full."
    PuntUnwanted        "punt_unwanted"         "Punted, but the control thread has no use for it: the interface has gone, for one."
    TapFull             "tap_full"              "The kernel's end of the interface took no more."
    InjectFull          "inject_full"           "The ring from the control thread to a worker was full."
    InjectStale         "inject_stale"          "From the control thread, for an interface or adjacency that has gone, or no packet at all."
    Unresolved          "unresolved"            "The next hop did not answer ARP or Neighbour Discovery in time."
    QueueFull           "queue_full"            "The bounded queue of frames that wait for a next hop's answer was full."
}

impl Drop {
    /// The reason of that [`name`](Self::name).
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|d| d.name() == name)
    }

    /// The index of its counter.
    #[inline]
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl std::fmt::Display for Drop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

const _: () = assert!(Drop::COUNT <= 256);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_snake_case_and_found_again() {
        let mut seen = std::collections::BTreeSet::new();
        for (i, &d) in Drop::ALL.iter().enumerate() {
            assert_eq!(d.index(), i);
            assert!(seen.insert(d.name()), "{} is there twice", d.name());
            assert!(
                d.name()
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
            );
            assert!(d.doc().ends_with('.'), "{}: a sentence", d.name());
            assert_eq!(Drop::from_name(d.name()), Some(d));
        }
        assert_eq!(Drop::from_name("no_such_reason"), None);
    }
}
