//! The command line as clap sees it: nouns, verbs, help. What follows `add`, `del` and `replace` is read by `api::grammar`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

const ABOUT: &str =
    "Speaks to a Trunkline appliance: routes, labels, interfaces, counters, configuration";

const EXAMPLES: &str = "Examples:
  trunkctl route add 203.0.113.0/24 via 198.51.100.3 label 100/200
  trunkctl route show 203.0.113.9            the route that this address takes
  trunkctl label add 300 swap 400 via 198.51.100.3
  trunkctl interface show wan0 --json
  trunkctl config diff new.toml && trunkctl config apply new.toml
  trunkctl doctor                            is this machine fit for the appliance?

Exit status: 0 done, 1 refused (the reason is on stderr), 2 usage, 3 the appliance can't be reached.
Changes are saved in the appliance's configuration file, so they hold across a restart.";

/// trunkctl
#[derive(Debug, Parser)]
#[command(name = "trunkctl", version, about = ABOUT, after_help = EXAMPLES, infer_subcommands = true)]
#[command(disable_help_subcommand = true)]
pub(crate) struct Cli {
    /// The appliance's socket
    #[arg(long, global = true, value_name = "PATH", default_value = api::DEFAULT_SOCKET, hide_default_value = true)]
    pub(crate) socket: PathBuf,
    /// Print one JSON document; a show of several things prints an array
    #[arg(long, short = 'j', global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) noun: Noun,
}

/// Words that are read by the grammar.
#[derive(Args, Debug)]
pub(crate) struct Words {
    #[arg(value_name = "WORDS", num_args = 0.., hide = true)]
    pub(crate) words: Vec<String>,
}

/// Words of commands that later versions have.
#[derive(Args, Debug)]
pub(crate) struct Rest {
    #[arg(num_args = 0.., trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    _words: Vec<String>,
}

/// What is spoken of.
#[derive(Debug, Subcommand)]
pub(crate) enum Noun {
    /// Static routes, and the routing table
    #[command(infer_subcommands = true)]
    Route {
        #[command(subcommand)]
        verb: Option<RouteVerb>,
    },
    /// The label table: what happens to labelled frames
    #[command(infer_subcommands = true)]
    Label {
        #[command(subcommand)]
        verb: Option<LabelVerb>,
    },
    /// Interfaces: addresses, link, counters
    #[command(infer_subcommands = true)]
    Interface {
        #[command(subcommand)]
        verb: Option<InterfaceVerb>,
    },
    /// Neighbours on the links (ARP and neighbour discovery)
    #[command(infer_subcommands = true, aliases = ["neighbor", "neighbour"])]
    Neigh {
        #[command(subcommand)]
        verb: Option<NeighVerb>,
    },
    /// BGP: neighbours, their routes, and what they are told
    #[command(infer_subcommands = true)]
    Bgp {
        #[command(subcommand)]
        verb: Option<BgpVerb>,
    },
    /// LDP: neighbours, interfaces, labels
    #[command(infer_subcommands = true)]
    Ldp {
        #[command(subcommand)]
        verb: Option<LdpVerb>,
    },
    /// LSP ping and traceroute: does a label switched path lead where it should?
    #[command(infer_subcommands = true)]
    Lsp {
        #[command(subcommand)]
        verb: LspVerb,
    },
    /// RPKI: the caches that say which AS may originate what
    #[command(infer_subcommands = true)]
    Rpki {
        #[command(subcommand)]
        verb: Option<OnlyShow>,
    },
    /// The threads that forward, and their load
    #[command(infer_subcommands = true)]
    Worker {
        #[command(subcommand)]
        verb: Option<WorkerVerb>,
    },
    /// VRFs: tables of their own, with their interfaces and labels
    #[command(infer_subcommands = true)]
    Vrf {
        #[command(subcommand)]
        verb: Option<VrfVerb>,
    },
    /// What was dropped, where and why
    #[command(infer_subcommands = true)]
    Drop {
        #[command(subcommand)]
        verb: Option<DropVerb>,
    },
    /// What the forwarding tables take, by NUMA node, and how full they are
    #[command(infer_subcommands = true)]
    Memory {
        #[command(subcommand)]
        verb: Option<OnlyShow>,
    },
    /// The state of table reclamation
    #[command(infer_subcommands = true)]
    Rcu {
        #[command(subcommand)]
        verb: Option<OnlyShow>,
    },
    /// What becomes of one packet, and why
    #[command(
        override_usage = "trunkctl explain ADDRESS [from ADDRESS] [in INTERFACE] [label L[/L…]] [proto udp|tcp|icmp] [sport N] [dport N] [ttl N] [size N] [vrf NAME] [--verify]"
    )]
    #[command(after_help = EXPLAIN_HELP)]
    Explain {
        #[arg(value_name = "WORDS", num_args = 0.., hide = true)]
        words: Vec<String>,
        /// Send that very packet through the data path, and compare; nothing leaves the router
        #[arg(long)]
        verify: bool,
    },
    /// What runs, and since when
    #[command(infer_subcommands = true)]
    Status {
        #[command(subcommand)]
        verb: Option<OnlyShow>,
    },
    /// The configuration as a whole
    #[command(infer_subcommands = true)]
    Config {
        #[command(subcommand)]
        verb: ConfigVerb,
    },
    /// Many changes as one commit: all or none
    #[command(
        after_help = "The file has one command a line, without \"trunkctl\"; what follows a # is passed over.\n\n\
        Examples:\n  trunkctl batch changes.txt\n  \
        printf 'route add 10.1.0.0/16 via 10.0.0.2\\nroute del 10.2.0.0/16\\n' | trunkctl batch -"
    )]
    Batch {
        /// The file with the commands; - for standard input
        file: PathBuf,
    },
    /// Checks this machine: huge pages, drivers, cores, permissions; needs no running appliance
    #[command(
        after_help = "Each line is ok, warning or fail, with the command that mends it. Exit status 1 if anything fails.\n\n\
        With --fix what can be mended is, each step printed before it is taken: huge pages on each node, modules, NUMA balancing,\n\
        what a killed appliance left; and the cards that --nic or --config name are bound to vfio-pci, no others. It stays so until\n\
        the next boot. Exit status 1 if a step or a check fails. A second run finds nothing to do.\n\n\
        Examples:\n  trunkctl doctor\n  sudo trunkctl doctor --fix --config /etc/trunkline/trunkline.toml\n  \
        sudo trunkctl doctor --fix --nic 0000:3b:00.0 --pages 512"
    )]
    Doctor {
        /// Mend what can be mended; as root
        #[arg(long)]
        fix: bool,
        /// Bind this card to vfio-pci; again for more
        #[arg(long, value_name = "PCI-ADDRESS", requires = "fix")]
        nic: Vec<String>,
        /// Bind the cards that this configuration names
        #[arg(long, short, value_name = "FILE", requires = "fix")]
        config: Option<PathBuf>,
        /// Huge pages of 2 MiB to be free on each node; 0 leaves them as they are [default: 256]
        #[arg(long, value_name = "N", requires = "fix")]
        pages: Option<u64>,
    },
    /// Prints the completions of a shell
    #[command(
        after_help = "Example:\n  trunkctl completions bash > /etc/bash_completion.d/trunkctl"
    )]
    Completions {
        /// For this shell
        shell: Shell,
    },
    #[command(hide = true, disable_help_flag = true)]
    Capture(Rest),
    #[command(hide = true, disable_help_flag = true)]
    Top(Rest),
}

const EXPLAIN_HELP: &str = "The routes that cover it and why each lost, BGP's paths and the policy of the best, the path and bucket \
of this flow, the labels pushed, and the frame that leaves. Without \"in\" the router itself sends the packet.

Examples:
  trunkctl explain 203.0.113.9
  trunkctl explain 203.0.113.9 from 10.0.0.1 in lan0 proto tcp sport 1025 dport 443
  trunkctl explain 203.0.113.9 in wan0 label 300 --verify
  trunkctl explain 2001:db8:7::1 --json

Exit status 1 if --verify finds another answer.";

const ROUTE_FORM: &str = "[blackhole|unreachable|prohibit] PREFIX [via ADDRESS] [dev NAME] [label L/L] [weight N] [backup ADDRESS …] [via-table NAME|global] [ttl uniform|pipe] [vrf NAME]";

const ROUTE_HELP: &str = "What follows a via belongs to it; another via, or nexthop, begins the next one (ECMP). Labels are \
pushed, the leftmost outermost. A prefix without a length is a host; \"default\" is 0.0.0.0/0, or ::/0 by its via.

Examples:
  trunkctl route add 203.0.113.0/24 via 198.51.100.3
  trunkctl route add 203.0.113.0/24 via 198.51.100.3 dev wan0 label 100/200
  trunkctl route add 10.0.0.0/8 nexthop via 10.1.0.1 weight 3 nexthop via 10.2.0.1
  trunkctl route add 10.0.0.0/8 via 10.1.0.1 backup 10.2.0.1       used while 10.1.0.1 can't be
  trunkctl route add 2001:db8:7::/48 via fe80::1 dev wan0
  trunkctl route add blackhole 192.0.2.0/24";

/// What to do with routes.
#[derive(Debug, Subcommand)]
pub(crate) enum RouteVerb {
    /// Adds a static route
    #[command(override_usage = format!("trunkctl route add {ROUTE_FORM} …"), after_help = ROUTE_HELP)]
    Add(Words),
    /// Adds a static route, or changes the one that is there
    #[command(visible_alias = "change", override_usage = format!("trunkctl route replace {ROUTE_FORM} …"), after_help = ROUTE_HELP)]
    Replace(Words),
    /// Deletes a static route, or the next hops of it that are named
    #[command(
        visible_alias = "delete",
        override_usage = "trunkctl route del PREFIX [via ADDRESS [dev NAME]] …"
    )]
    #[command(
        after_help = "Examples:\n  trunkctl route del 203.0.113.0/24\n  trunkctl route del 10.0.0.0/8 via 10.2.0.1"
    )]
    Del(Words),
    /// Shows the routing table
    #[command(
        visible_alias = "list",
        override_usage = "trunkctl route show [PREFIX|ADDRESS] [longer] [protocol bgp|ldp|static|connected|local]"
    )]
    #[command(
        after_help = "An address shows the one route that it takes; a prefix that very route, with \"longer\" also all within it.\n\n\
        Examples:\n  trunkctl route show\n  trunkctl route show 203.0.113.9\n  trunkctl route show 10.0.0.0/8 longer protocol static --json"
    )]
    Show(Words),
}

const LABEL_HELP: &str = "swap replaces the label by others (400/500: a stack, the leftmost outermost); pop with a via takes it off for the neighbour \
(penultimate hop); pop alone takes it off and looks at what lies under it.

Examples:
  trunkctl label add 300 swap 400 via 198.51.100.3
  trunkctl label add 300 swap 400/500 via 198.51.100.3 dev wan0 ttl pipe
  trunkctl label add 301 pop via 198.51.100.3
  trunkctl label add 302 pop";

/// What to do with labels.
#[derive(Debug, Subcommand)]
pub(crate) enum LabelVerb {
    /// Adds an entry
    #[command(
        override_usage = "trunkctl label add LABEL swap L[/L…] via ADDRESS [dev NAME] [weight N] … | LABEL pop [via ADDRESS …]"
    )]
    #[command(after_help = LABEL_HELP)]
    Add(Words),
    /// Adds an entry, or changes the one that is there
    #[command(
        visible_alias = "change",
        override_usage = "trunkctl label replace LABEL swap L[/L…] via ADDRESS … | LABEL pop [via ADDRESS …]"
    )]
    #[command(after_help = LABEL_HELP)]
    Replace(Words),
    /// Deletes an entry
    #[command(visible_alias = "delete", override_usage = "trunkctl label del LABEL")]
    Del(Words),
    /// Shows the label table, or one label of it: what becomes of frames, whose the label is, and what it stands for
    #[command(visible_alias = "list")]
    Show {
        /// Only this label
        #[arg(value_parser = clap::value_parser!(u32).range(0..1 << 20))]
        label: Option<u32>,
    },
    /// Shows which labels are for what ([label-range]), and how many are in use, held and free
    Ranges,
}

/// What to see of LDP.
#[derive(Debug, Subcommand)]
pub(crate) enum LdpVerb {
    /// Shows how much there is of everything
    Summary,
    /// Shows the neighbours and their sessions
    #[command(visible_aliases = ["neighbor", "neighbours"])]
    Neighbors,
    /// Shows prefixes with the labels that we tell and are told, and which of them packets get
    Bindings {
        /// Only this one
        prefix: Option<String>,
    },
    /// Shows the interfaces that LDP is spoken on
    Interfaces,
}

const LSP_HELP: &str = "The FEC is a prefix, or an address for the prefix whose route it takes; its route says of which sort it is (ldp, bgp, vpn in a VRF, \
generic for labels by hand), unless \"type\" does. With \"rd\" it is a VPN's prefix that this router passes on with labels of its own. Times are in milliseconds.

Examples:
  trunkctl lsp ping 10.1.0.0/16
  trunkctl lsp trace 203.0.113.9 timeout 500
  trunkctl lsp ping 10.8.0.0/16 vrf blue count 3 size 1400
  trunkctl lsp trace 10.8.0.0/16 rd 192.0.2.2:1
  trunkctl lsp trace 10.1.0.0/16 path 2 to 127.0.0.9 --json

Exit status 1 if the end of the path does not answer.";

/// What to find out of a path.
#[derive(Debug, Subcommand)]
pub(crate) enum LspVerb {
    /// Asks the end of the path whether it is that
    #[command(
        override_usage = "trunkctl lsp ping PREFIX|ADDRESS [vrf NAME|rd RD] [type ldp|bgp|vpn|generic] [count N] [interval MS] [timeout MS] [ttl N] [to 127.A.B.C] [size N] [path N] [router-alert]"
    )]
    #[command(after_help = LSP_HELP)]
    Ping(Words),
    /// Asks each router of the path what it does with its packets
    #[command(
        visible_alias = "traceroute",
        override_usage = "trunkctl lsp trace PREFIX|ADDRESS [vrf NAME|rd RD] [type ldp|bgp|vpn|generic] [count N] [timeout MS] [ttl N] [to 127.A.B.C] [size N] [path N] [router-alert]"
    )]
    #[command(after_help = LSP_HELP)]
    Trace(Words),
}

/// What to do with interfaces.
#[derive(Debug, Subcommand)]
pub(crate) enum InterfaceVerb {
    /// Adds an interface while the others forward
    #[command(
        override_usage = "trunkctl interface add NAME device DEVICE [address A/L]… [mtu N] [mpls] [queues N]"
    )]
    #[command(
        after_help = "A name with a dot is a VLAN of the interface before the dot, and has no device.\n\n\
        Examples:\n  trunkctl interface add wan0 device af_packet:eth1 address 198.51.100.2/31 address 2001:db8::2/64 mpls\n  \
        trunkctl interface add wan0.100 address 192.0.2.1/24"
    )]
    Add(Words),
    /// Deletes an interface
    #[command(
        visible_alias = "delete",
        override_usage = "trunkctl interface del NAME"
    )]
    Del(Words),
    /// Shows interfaces with their counters
    #[command(visible_alias = "list")]
    Show {
        /// Only this one
        name: Option<String>,
    },
}

/// What to do with neighbours.
#[derive(Debug, Subcommand)]
pub(crate) enum NeighVerb {
    /// Adds a static neighbour
    #[command(override_usage = "trunkctl neigh add ADDRESS lladdr MAC dev NAME")]
    #[command(
        after_help = "Example:\n  trunkctl neigh add 198.51.100.3 lladdr 02:00:00:00:00:03 dev wan0"
    )]
    Add(Words),
    /// Deletes a static neighbour, or forgets a learned one
    #[command(
        visible_alias = "delete",
        override_usage = "trunkctl neigh del ADDRESS [dev NAME]"
    )]
    Del(Words),
    /// Shows the neighbours
    #[command(
        visible_alias = "list",
        override_usage = "trunkctl neigh show [ADDRESS] [dev NAME]"
    )]
    Show(Words),
}

/// What to do with BGP.
#[derive(Debug, Subcommand)]
pub(crate) enum BgpVerb {
    /// Shows the neighbours, a line each
    Summary,
    /// Shows a neighbour in full, or has it do something
    #[command(
        aliases = ["neighbour", "neighbors"],
        override_usage = "trunkctl bgp neighbor [ADDRESS [reset [TEXT] | refresh in | refresh out | shutdown [TEXT] | start]]"
    )]
    #[command(
        after_help = "A neighbour is called what the configuration calls it: an address, fe80::1%wan0, or an interface.\n\
        reset ends the session, and it comes back; refresh in asks for its routes again, refresh out sends it ours again;\n\
        shutdown holds until start, the appliance's own start, or another configuration of this neighbour. The text is told to it.\n\n\
        Examples:\n  trunkctl bgp neighbor 198.51.100.3\n  trunkctl bgp neighbor 198.51.100.3 refresh in\n  \
        trunkctl bgp neighbor 198.51.100.3 shutdown \"moving the rack\""
    )]
    Neighbor(Words),
    /// Shows routes
    #[command(
        visible_alias = "routes",
        override_usage = "trunkctl bgp route [PREFIX|ADDRESS] [longer] [received ADDRESS | advertised ADDRESS] [family FAMILY]"
    )]
    #[command(
        after_help = "An address shows the paths of the best match, a prefix its own, with \"longer\" also all within it, each with what\n\
        became of it. received: what that neighbour has sent, before policy; advertised: what it was told.\n\n\
        Examples:\n  trunkctl bgp route\n  trunkctl bgp route 203.0.113.9\n  trunkctl bgp route 203.0.113.0/24 longer\n  \
        trunkctl bgp route received 198.51.100.3 family ipv6-unicast --json"
    )]
    Route(Words),
    /// Writes the routes to a file, or shows what is written of what neighbours say (MRT, RFC 6396)
    #[command(
        override_usage = "trunkctl bgp mrt [show] | trunkctl bgp mrt dump FILE|- [received] [family FAMILY]"
    )]
    #[command(
        after_help = "dump writes the routes as TABLE_DUMP_V2, as the import policies left them; received: as they came, those that\n\
        policies reject too. The file is there when all of it is. show: the files that [mrt] of the configuration asks for.\n\n\
        Examples:\n  trunkctl bgp mrt dump rib.mrt\n  trunkctl bgp mrt dump - received | gzip > rib.mrt.gz\n  trunkctl bgp mrt"
    )]
    Mrt(Words),
    /// Shows the monitoring stations that are told of neighbours and routes (BMP, RFC 7854)
    #[command(override_usage = "trunkctl bgp bmp [show]")]
    Bmp(Words),
    /// Routing policies
    #[command(infer_subcommands = true)]
    Policy {
        #[command(subcommand)]
        verb: PolicyVerb,
    },
}

/// What to do with policies.
#[derive(Debug, Subcommand)]
pub(crate) enum PolicyVerb {
    /// Says what a policy does with a route, rule by rule; nothing happens
    #[command(
        override_usage = "trunkctl bgp policy test POLICY PREFIX [in | out] [neighbor ADDRESS] [received ADDRESS | best] [next-hop ADDRESS] [as-path PATH]\n                          \
        [origin ORIGIN] [local-pref N] [med N] [community C]… [ext-community C]… [large-community C]… [rpki STATE] [protocol P] [metric N]"
    )]
    #[command(
        after_help = "received: the route as that neighbour has sent it, before policy; best: the best one of the table; attributes that are given take the\n\
        place of what it has, and without either they are all it has. neighbor is who the policy is for: who sent the route (in), or who is to get it (out).\n\n\
        Examples:\n  trunkctl bgp policy test from-transit 203.0.113.0/24 received 198.51.100.3\n  \
        trunkctl bgp policy test from-transit 203.0.113.0/24 received 198.51.100.3 rpki invalid\n  \
        trunkctl bgp policy test to-peer 203.0.113.0/24 out best neighbor 198.51.100.9\n  \
        trunkctl bgp policy test from-transit 203.0.113.0/24 neighbor 198.51.100.3 as-path \"64513 64514\" community 64513:1"
    )]
    Test(Words),
}

/// What to do with things that can only be looked at.
#[derive(Clone, Copy, Debug, Subcommand)]
pub(crate) enum OnlyShow {
    /// Shows it
    #[command(visible_alias = "list")]
    Show,
}

/// What to do with workers.
#[derive(Clone, Copy, Debug, Subcommand)]
pub(crate) enum WorkerVerb {
    /// Shows their load, and where its cycles go
    #[command(visible_alias = "list")]
    Show {
        /// Lets the longest loop and the times of loops begin anew afterwards
        #[arg(long)]
        reset: bool,
    },
}

/// What to do with drops.
#[derive(Debug, Subcommand)]
pub(crate) enum DropVerb {
    /// Shows every reason that has dropped something, for each interface
    #[command(
        visible_alias = "list",
        override_usage = "trunkctl drop show [dev NAME]"
    )]
    Show(Words),
}

/// What to do with configurations.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigVerb {
    /// Says what is wrong with a file; nothing changes
    Check {
        /// The file; - for standard input
        file: PathBuf,
    },
    /// Says what a file would change; nothing does
    Diff {
        /// The file; - for standard input
        file: PathBuf,
    },
    /// Makes a file the running configuration and saves it as the appliance's own
    #[command(override_usage = "trunkctl config apply FILE")]
    #[command(
        after_help = "All of it is applied, or nothing. Comments and layout of the file are kept.\n\n\
        Example:\n  trunkctl config apply /etc/trunkline/trunkline.toml        after it was edited"
    )]
    Apply {
        /// The file; - for standard input
        file: PathBuf,
        #[arg(num_args = 0.., hide = true)]
        more: Vec<String>,
    },
    /// Shows the running configuration as its file has it
    Show,
    #[command(hide = true, disable_help_flag = true)]
    Confirm(Rest),
    #[command(hide = true, disable_help_flag = true)]
    Rollback(Rest),
    #[command(hide = true, disable_help_flag = true)]
    History(Rest),
}

#[derive(Debug, Subcommand)]
pub(crate) enum VrfVerb {
    /// Lists VRFs, or one
    #[command(
        after_help = "Examples:\n  trunkctl vrf show\n  trunkctl vrf show blue\n  trunkctl route show vrf blue"
    )]
    Show {
        /// Only this one
        name: Option<String>,
    },
}
