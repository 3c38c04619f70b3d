//! Whole stories: appliances between Linux hosts, their lives and deaths, what they refuse. What can be said in one frame
//! in and some frames out is in [`cases`](crate::cases).

pub mod backup;
mod beside;
pub mod bgp;
pub mod explain;
pub mod faults;
pub mod hosts;
pub mod l3vpn;
pub mod l3vpn_labels;
pub mod labeled;
pub mod ldp;
pub mod life;
pub mod local;
pub mod lsp_ping;
pub mod neighbours;
pub mod on_purpose;
pub mod path;
pub mod pcap;
pub mod pic;
pub mod prefix_sid;
pub mod refusal;
pub mod stuck;
mod tools;
pub mod topology;
pub mod traffic;
pub mod updown;
pub mod vm;
pub mod vrf;

use anyhow::Result;

pub use tools::{iperf, pages, ping, reach, round_trip};

use crate::suite::{Options, Tier};

/// A story with a name.
pub struct Scenario {
    /// As `--only` finds it.
    pub name: &'static str,
    /// One line on what it shows.
    pub what: &'static str,
    /// From which tier on it runs.
    pub tier: Tier,
    /// The story.
    pub run: fn(&Options) -> Result<()>,
}

impl Scenario {
    /// Whether it needs QEMU.
    #[must_use]
    pub fn in_machines(&self) -> bool {
        self.name.starts_with("vm/")
    }
}

/// The reason why something can't be run here; an error that is reported as a skip.
#[derive(Debug)]
pub struct Skip(pub String);

impl std::fmt::Display for Skip {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Skip {}

const fn quick(
    name: &'static str,
    what: &'static str,
    run: fn(&Options) -> Result<()>,
) -> Scenario {
    Scenario {
        name,
        what,
        tier: Tier::Quick,
        run,
    }
}

const fn full(name: &'static str, what: &'static str, run: fn(&Options) -> Result<()>) -> Scenario {
    Scenario {
        name,
        what,
        tier: Tier::Full,
        run,
    }
}

const fn vm(name: &'static str, what: &'static str, run: fn(&Options) -> Result<()>) -> Scenario {
    Scenario {
        name,
        what,
        tier: Tier::Vm,
        run,
    }
}

/// All of them.
pub const ALL: &[Scenario] = &[
    quick(
        "hosts/no-huge-af_packet",
        "two hosts: ping, TCP and UDP in both families",
        hosts::no_huge_af_packet,
    ),
    quick(
        "hosts/no-huge-af_xdp",
        "the same over AF_XDP",
        hosts::no_huge_af_xdp,
    ),
    quick(
        "hosts/hugepages-af_packet",
        "the same on huge pages",
        hosts::hugepages_af_packet,
    ),
    quick(
        "hosts/hugepages-af_xdp",
        "the same on huge pages over AF_XDP",
        hosts::hugepages_af_xdp,
    ),
    full(
        "hosts/two-workers",
        "the same with a worker on each of two CPUs",
        hosts::two_workers,
    ),
    full(
        "hosts/busy-poll",
        "the same with workers that never sleep",
        hosts::busy,
    ),
    quick(
        "vrf/hosts",
        "hosts of two VRFs with the same addresses; VRFs, interfaces and routes come, move and go meanwhile",
        vrf::hosts,
    ),
    quick(
        "l3vpn/static",
        "two PEs and two customers with the same addresses: static labels and routes, both families",
        vrf::l3vpn_static,
    ),
    quick(
        "l3vpn/bgp",
        "the same by BGP: VPNv4 and VPNv6 between the PEs, GoBGP as a PE and as a CE, a leak between VRFs, two labels read by tcpdump",
        l3vpn::bgp,
    ),
    quick(
        "l3vpn/inter-as-a",
        "two ASes with a VRF, a VLAN and a session for each customer at the border",
        l3vpn::inter_as::a,
    ),
    quick(
        "l3vpn/inter-as-b",
        "two ASes whose borders have no VRF and swap labels, GoBGP and FRR as borders of a third and a fourth",
        l3vpn::inter_as::b,
    ),
    quick(
        "l3vpn/rt-constraint",
        "a reflector, an edge and GoBGP ask each other for route targets: what nobody asks for stays where it is",
        l3vpn::targets::constraint,
    ),
    quick(
        "l3vpn/edges",
        "CEs of one AS and one site (AS override, allowas-in, site of origin), policies of VRFs, ways into and out of the global table",
        l3vpn::edges::edges,
    ),
    quick(
        "l3vpn/leak-global",
        "routes of BGP between two VRFs and the global table: a CE and an upstream reach each other by them; policies change, either takes its route back, a VRF goes",
        l3vpn::global::global,
    ),
    quick(
        "l3vpn/refusals",
        "one distinguisher twice, an interface in two VRFs, a label out of its range, a target nobody can match, a loop through a leak: each by name",
        l3vpn::refusals::refusals,
    ),
    quick(
        "l3vpn/hostile",
        "VPN routes and memberships that lie: each is judged by itself, what can't be read ends its session, others go on",
        l3vpn::hostile::hostile,
    ),
    quick(
        "l3vpn/backup",
        "a site on two PEs, labelled unicast beside it: each PE has a second way ready, which carries when a link to a PE or to the site is cut",
        pic::backup,
    ),
    quick(
        "l3vpn/label-lost",
        "LDP's label to the PE in use is lost while the IP route to it stays: the other PE carries, no frame is sent without it, and it returns",
        l3vpn::label_lost::label_lost,
    ),
    quick(
        "l3vpn/labels",
        "labels of a VPN's routes, one each or one for all; a restart, other modes while packets pass; entropy labels below them",
        l3vpn_labels::labels,
    ),
    quick(
        "l3vpn/ce-labels",
        "a label for all routes of a CE, under which nothing is looked up: two CEs of GoBGP's, LSP pings, a restart, other modes while packets pass, a CE that goes",
        l3vpn_labels::ce_labels,
    ),
    quick(
        "path/labels",
        "host - LER - LSR - LER - host; tcpdump and traceroute read the labels",
        path::labels,
    ),
    quick(
        "ldp/frr",
        "LDP with FRR's ldpd: sessions, labels both ways, push and swap read by tcpdump, a cut link, a killed ldpd, a reload, a restart",
        ldp::frr,
    ),
    quick(
        "ldp/entropy-label",
        "entropy labels along LDP's path over three appliances: told, put on, spread by, taken off; tcpdump and explain --verify agree",
        ldp::entropy::entropy,
    ),
    quick(
        "ldp/hostile",
        "garbage on LDP's ports: the process and the sessions of others go on",
        ldp::hostile::garbage,
    ),
    quick(
        "labeled-unicast/three-ases",
        "labelled unicast and 6PE between FRR and GoBGP, by next hops and labels of ours: push, swap and pop read by tcpdump, a restart",
        labeled::three_ases,
    ),
    quick(
        "labeled-unicast/hostile",
        "labels that are reserved, too many, or have no end; every form of a withdrawal: the session of the other goes on",
        labeled::hostile,
    ),
    quick(
        "labeled-unicast/prefix-sid",
        "prefix-SIDs over two appliances with SRGBs of their own, from and to FRR; swap and pop read by tcpdump; conflicts, garbage, a restart",
        prefix_sid::prefix_sid,
    ),
    quick(
        "lsp-ping/static",
        "three appliances with labels by hand, and a VPN's: pings, traces, tshark reads both ways; missing and wrong labels and a cut link are found where they are",
        lsp_ping::static_labels,
    ),
    quick(
        "lsp-ping/ldp",
        "the same with LDP, and without a label or with an explicit null on the last hop",
        lsp_ping::ldp,
    ),
    quick(
        "lsp-ping/bgp",
        "the same over three ASes: BGP's labels, and a VPN told over them by another distinguisher at each end",
        lsp_ping::bgp::bgp,
    ),
    quick(
        "lsp-ping/inter-as-b",
        "a VPN over two ASes whose borders swap its labels: each hop of a trace, tunnels that end on the way, and labels that are gone",
        lsp_ping::inter_as::b,
    ),
    quick(
        "lsp-ping/hostile",
        "echo requests that lie about their lengths, and thousands of them: answers at their rate, and no harm done",
        lsp_ping::hostile::hostile,
    ),
    quick(
        "local/services",
        "ping, and TCP to and from the router's own addresses",
        local::services,
    ),
    quick(
        "local/loopback",
        "addresses on loopbacks answer whatever link fails, come and go, and stand a restart",
        local::loopback,
    ),
    quick(
        "local/ssh",
        "a login by key, a command and a file over ssh to each of the router's addresses",
        local::ssh,
    ),
    quick(
        "life/start-up",
        "two interfaces forward within 2 s, in under 300 MiB",
        life::start_up,
    ),
    full(
        "life/idle",
        "an idle appliance uses under 5 % of a core and answers a ping in under 1 ms",
        life::idle,
    ),
    full(
        "life/idle-taps",
        "so does one with two workers on DPDK's TAPs, which are moved to other namespaces",
        life::idle_taps,
    ),
    quick(
        "life/persistence",
        "imperative changes hold across a restart, comments too",
        life::persistence,
    ),
    quick(
        "life/terminate",
        "SIGTERM leaves nothing behind, with huge pages and AF_XDP",
        life::terminate,
    ),
    quick(
        "life/kill",
        "after SIGKILL the next start cleans up and works",
        life::kill,
    ),
    quick(
        "life/stuck-worker",
        "a worker that stands still is named, holds up nobody, and what waited for it is freed when it goes on",
        stuck::worker,
    ),
    quick(
        "life/socket",
        "the API's socket has mode 0660",
        life::socket,
    ),
    quick(
        "traffic/interfaces",
        "interfaces come and go without a frame lost on the others",
        traffic::interfaces,
    ),
    quick(
        "traffic/routes",
        "routes change by the thousand without a frame lost",
        traffic::routes,
    ),
    quick(
        "traffic/link",
        "a lost link moves its flows, and they come back",
        traffic::link,
    ),
    quick(
        "traffic/backup",
        "a lost link hands its flows to the backup, and has them back when it returns",
        backup::backup,
    ),
    full(
        "traffic/overload",
        "more than can be forwarded: every frame is accounted for",
        traffic::overload,
    ),
    quick(
        "explain/frames",
        "what is foretold of a packet is the frame that leaves, and what is not forwarded is named",
        explain::frames,
    ),
    full(
        "explain/bgp",
        "which of two speakers' paths won, what the other lost by, and which rule let it in",
        explain::bgp,
    ),
    quick(
        "traffic/hostile",
        "captures of hostile frames, where a folder is given",
        traffic::hostile,
    ),
    quick(
        "neighbours/announce",
        "a new interface probes for and announces its addresses",
        neighbours::announce,
    ),
    quick(
        "neighbours/age",
        "a used neighbour is asked again, and dropped when silent",
        neighbours::age,
    ),
    quick(
        "neighbours/duplicate",
        "another host with our address is reported",
        neighbours::duplicate,
    ),
    quick(
        "neighbours/forget",
        "a neighbour that was deleted is asked for anew",
        updown::forget,
    ),
    quick(
        "updown/configured",
        "`up = false` stops an interface under named drops, `true` brings it back",
        updown::configured,
    ),
    quick(
        "updown/link",
        "what the kernel sends by an interface without link is dropped by name",
        updown::link,
    ),
    quick(
        "updown/tap-by-hand",
        "with its TAP taken down by hand, an interface forwards on",
        updown::tap_by_hand,
    ),
    quick(
        "updown/killed",
        "what a killed appliance had set on the kernel's devices is given back in the end",
        updown::killed,
    ),
    quick(
        "pcap/finite",
        "a capture played once: every frame is accounted for",
        pcap::finite,
    ),
    quick(
        "pcap/infinite",
        "a capture played for ever is forwarded",
        pcap::infinite,
    ),
    quick(
        "refusal/start",
        "bad configurations are refused with cause and remedy",
        refusal::start,
    ),
    quick(
        "refusal/running",
        "a running appliance is unchanged by what it refuses",
        refusal::running,
    ),
    quick(
        "refusal/second-instance",
        "a second appliance on the same socket is refused",
        refusal::second_instance,
    ),
    quick(
        "refusal/full-disk",
        "a change that can't be saved is refused and not made",
        refusal::full_disk,
    ),
    quick(
        "refusal/hugepages",
        "too few huge pages are named, with the command that mends it",
        refusal::hugepages,
    ),
    quick(
        "bgp/frr",
        "FRR: IPv4 and IPv6 both ways, communities of both kinds, AS numbers of four octets; the next is BIRD",
        bgp::matrix::frr,
    ),
    quick(
        "bgp/bird",
        "BIRD: the same; the next is GoBGP",
        bgp::matrix::bird,
    ),
    quick(
        "bgp/gobgp",
        "GoBGP: the same; the next is ExaBGP",
        bgp::matrix::gobgp,
    ),
    quick(
        "bgp/exabgp",
        "ExaBGP: the same; the next is FRR",
        bgp::matrix::exabgp,
    ),
    quick(
        "bgp/md5",
        "TCP MD5 with all four; no session with a wrong key",
        bgp::features::md5,
    ),
    quick(
        "bgp/md5-change",
        "a neighbour's key is added, changed and taken away while the appliance runs: only who has the right one gets a session, others keep theirs",
        bgp::keys::changed,
    ),
    quick(
        "bgp/ttl-security",
        "GTSM with all four; no session from farther away",
        bgp::features::ttl_security,
    ),
    quick(
        "bgp/two-octets",
        "neighbours that know AS numbers of two octets only",
        bgp::features::two_octets,
    ),
    quick(
        "bgp/add-path",
        "several paths for a prefix from each to each of all four",
        bgp::routes::add_path,
    ),
    quick(
        "bgp/graceful",
        "each of all four restarts: its routes are kept, and what it does not say again goes",
        bgp::restart::helper,
    ),
    quick(
        "bgp/graceful-restart",
        "the appliance dies and is back: FRR, BIRD and GoBGP keep its routes until it has said all again",
        bgp::restart::restarter,
    ),
    quick(
        "bgp/restart-not-kept",
        "after a restart FRR and BIRD let go what was kept: at once where the tables went with the appliance, after the deferral where the source is silent",
        bgp::restart::not_kept,
    ),
    quick(
        "bgp/long-lived-graceful-restart",
        "FRR, BIRD, GoBGP take too long to be back: their routes stay as a last resort, and another BIRD is told so",
        bgp::restart::long_lived,
    ),
    quick(
        "bgp/refresh",
        "route refresh, both ways, with all four; its marks with those that know them",
        bgp::features::refresh,
    ),
    quick(
        "bgp/extended-messages",
        "attributes that fit only into an extended message",
        bgp::features::extended_messages,
    ),
    quick(
        "bgp/roles",
        "roles and the mark Only-to-Customer; roles that do not go together",
        bgp::features::roles,
    ),
    quick(
        "bgp/ipv6-next-hops",
        "IPv4 routes over sessions and next hops in IPv6",
        bgp::features::ipv6_next_hops,
    ),
    full(
        "bgp/unnumbered",
        "FRR at both ends of links without addresses: found by router advertisements, IPv4 by link-local next hops, a ping",
        bgp::features::unnumbered,
    ),
    quick(
        "bgp/reflection",
        "a route reflector between clients and others",
        bgp::routes::reflection,
    ),
    quick(
        "bgp/confederation",
        "members of a confederation, and one outside",
        bgp::routes::confederation,
    ),
    quick(
        "bgp/dynamic",
        "neighbours of a prefix come by themselves",
        bgp::features::dynamic,
    ),
    quick(
        "bgp/shutdown",
        "FRR, BIRD and GoBGP are told why they were shut down",
        bgp::features::shutdown,
    ),
    quick(
        "bgp/max-prefix",
        "a neighbour that announces too much is told so",
        bgp::routes::max_prefix,
    ),
    quick(
        "bgp/no-policy",
        "an external neighbour without policies gives and gets nothing",
        bgp::routes::no_policy,
    ),
    quick(
        "bgp/bmp",
        "a monitoring station: tshark reads what it is told of neighbours, before and after policy, and of the chosen routes",
        bgp::bmp::bmp,
    ),
    quick(
        "bgp/mrt",
        "bgpdump reads the dump and what neighbours said; a table that BIRD wrote comes back as a neighbour's",
        bgp::mrt::mrt,
    ),
    quick(
        "bgp/rpki",
        "StayRTR says what BIRD may announce: the policy follows, also when it changes its mind, goes away and comes back; no session is reset",
        bgp::rpki::rpki,
    ),
    quick(
        "bgp/rpki-hostile",
        "caches that break RFC 8210 in twenty ways, again and again: a good one counts, they do not, no session is reset, nothing grows",
        bgp::caches::hostile,
    ),
    quick(
        "bgp/policy",
        "FRR announces, BIRD is told what policies make of it; they change, and no session is reset; bgp policy test agrees",
        bgp::policy::policy,
    ),
    full(
        "bgp/full-table",
        "BIRD with a table of the Internet's shape on two links, FRR with a host behind: all is learned, a link is lost, traffic moves",
        bgp::internet::full_table,
    ),
    full(
        "bgp/flood-flapping",
        "routes that flap as fast as they can be sent: other sessions and the command line go on, memory is bounded",
        bgp::flood::flapping,
    ),
    full(
        "bgp/flood-deaf",
        "a neighbour that never reads: other sessions and the command line go on, memory is bounded",
        bgp::flood::deaf,
    ),
    full(
        "bgp/flood-opening",
        "sessions opened and dropped as fast as they can be: other sessions and the command line go on, memory is bounded",
        bgp::flood::opening,
    ),
    full(
        "faults/loss-reorder",
        "a BGP session over a link that loses, reorders, doubles and corrupts frames: it is never lost, and all routes come",
        faults::lossy,
    ),
    quick(
        "faults/delay",
        "a BGP session over a link that takes 150 ms each way",
        faults::delayed,
    ),
    quick(
        "faults/cut",
        "a link that is cut and stays up: the hold timer finds it out, and all comes back",
        faults::cut,
    ),
    quick(
        "faults/carrier",
        "the same where the link goes down: the session ends with it, and not by its hold timer",
        faults::carrier,
    ),
    quick(
        "faults/one-way",
        "a link on which nothing of ours arrives any more: the neighbour gives us up and says so",
        faults::one_way,
    ),
    quick(
        "topology/triangle",
        "three appliances and three hosts; a side is cut silently, and packets go the other way round",
        topology::triangle,
    ),
    full(
        "topology/provider",
        "a provider with a route reflector, FRR, BIRD, GoBGP and ExaBGP at its edges: every host reaches every other",
        topology::provider,
    ),
    full(
        "topology/leaf-spine",
        "leaves and spines of appliances, BIRD and FRR: both spines are used, one is lost",
        topology::leaf_spine,
    ),
    full(
        "topology/bad-link",
        "two appliances and a Linux router over a bad link",
        topology::bad_link,
    ),
    full(
        "topology/commands",
        "up, list, shell, capture, fault, down, as a user gives them; nothing is left",
        topology::commands,
    ),
    full(
        "topology/killed",
        "what an `up` that was killed left is taken down; one that is interrupted takes itself down",
        topology::killed,
    ),
    full(
        "topology/triangle-af_xdp",
        "the triangle over AF_XDP",
        topology::triangle_af_xdp,
    ),
    full(
        "topology/triangle-hugepages",
        "the triangle on huge pages",
        topology::triangle_hugepages,
    ),
    full(
        "failure/folder",
        "a scenario that fails leaves configurations, logs, what trunkctl shows and captures in a folder, and says where",
        on_purpose::folder,
    ),
    vm(
        "vm/boot",
        "a machine with two NUMA nodes, an IOMMU and four cards; the doctor finds them",
        vm::boot,
    ),
    vm(
        "vm/doctor-fix",
        "the doctor mends a bare machine: huge pages on each node, modules, cards to vfio-pci; an appliance then forwards; a second run does nothing",
        vm::vfio::doctor,
    ),
    vm(
        "vm/vfio",
        "cards of three makes are taken from the kernel, forward, follow their links, and are given back",
        vm::vfio::vfio,
    ),
    vm(
        "vm/vfio-refusals",
        "cards that can't be bound are named with the remedy, and left as they are",
        vm::vfio::refusals,
    ),
    vm(
        "vm/vfio-no-iommu",
        "without an IOMMU a card is refused with what to switch on",
        vm::vfio::no_iommu,
    ),
    vm(
        "vm/interrupts",
        "workers sleep until a card's interrupt, and by time where its driver brings none",
        vm::interrupt::interrupts,
    ),
    vm(
        "vm/numa",
        "two nodes, workers by themselves: each polls cards of its own node, with pools, rings and tables of that node",
        vm::numa::placement,
    ),
    vm(
        "vm/numa-four",
        "the same on four nodes with a card on each, of three makes",
        vm::numa::four,
    ),
    vm(
        "vm/vfio-nics",
        "a pair of cards of each make, on two nodes: taken, both ways, large frames, link, given back",
        vm::nics::nics,
    ),
    vm(
        "vm/numa-queues",
        "with two queues the workers of a card's node share its flows",
        vm::numa::queues,
    ),
    vm(
        "vm/vfio-hotplug",
        "cards come and go while an appliance runs that was started without any",
        vm::numa::hotplug,
    ),
    vm(
        "vm/vfio-unplug",
        "cards are pulled out of the running machine and put back, which the appliance follows; the others forward all the time",
        vm::unplug::unplug,
    ),
    quick(
        "vm/linux-mpls",
        "Linux label routers in a guest: push, swap, pop and stacks through the appliance, read by tcpdump there",
        vm::mpls::linux_mpls,
    ),
    quick(
        "vm/vhost-user",
        "two guests reach each other through the appliance over vhost-user, with no kernel in between",
        vm::vhost::vhost_user,
    ),
    full(
        "vm/l3vpn-ldp-frr-pe",
        "an L3VPN over an LDP core: two appliances, and Linux with FRR as P, PE and CE; pings and TCP of both families, two labels read by tcpdump, LSP pings through Linux",
        vm::pe::frr_pe,
    ),
    vm(
        "vm/labeled-unicast",
        "labelled unicast over four ASes, appliances and Linux with FRR in turn: push, swap and pop of both families read by tcpdump, LSP pings through Linux",
        vm::labeled::guest,
    ),
    vm(
        "vm/topology",
        "a topology of virtual machines and namespaces: hosts, FRR with kernel MPLS and a VRF, BIRD, GoBGP around the appliance; its links are cut and slow",
        vm::network::guests,
    ),
    vm(
        "vm/failure-folder",
        "a scenario in virtual machines that fails leaves consoles, QEMU's words and captures of all cables as well",
        on_purpose::folder_of_machines,
    ),
    full(
        "vm/topology-commands",
        "up, list, shell, capture, fault, down of a topology with a virtual machine, which outlives `up`",
        vm::network::commands,
    ),
];
