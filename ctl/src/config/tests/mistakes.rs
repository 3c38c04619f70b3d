//! A mistake is named with file, line, key and what would be right.

use super::valid;

/// Two interfaces that most cases stand on; five lines.
const BASE: &str = "[interface.wan0]\ndevice = \"af_packet:eth1\"\naddress = [\"10.0.0.1/24\"]\n[interface.\"wan0.5\"]\naddress = \"10.5.0.1/24\"\n";

/// (what is written after `BASE`, the beginning of the answer, a part of its remedy)
const CASES: &[(&str, &str, &str)] = &[
    // keys and types
    (
        "[sytem]\n",
        "6: sytem: unknown key",
        "did you mean \"system\"?",
    ),
    (
        "[dataplane]\npol = \"busy\"\n",
        "7: dataplane.pol: unknown key",
        "did you mean \"poll\"?",
    ),
    (
        "[dataplane]\nwibble = 1\n",
        "7: dataplane.wibble: unknown key",
        "the keys here are workers, poll",
    ),
    (
        "[dataplane]\npoll = true\n",
        "7: dataplane.poll: a string in quotes is wanted, not a boolean",
        "",
    ),
    (
        "[dataplane]\npoll = \"bsy\"\n",
        "7: dataplane.poll: \"bsy\" is not",
        "\"adaptive\" or \"busy\"",
    ),
    (
        "[dataplane]\nworkers = \"5-2\"\n",
        "7: dataplane.workers: \"5-2\" counts down",
        "\"2-5\"",
    ),
    (
        "[dataplane]\nworkers = \"2,2\"\n",
        "7: dataplane.workers: \"2,2\" has CPU 2 twice",
        "",
    ),
    (
        "[dataplane]\nmemory = \"nohuge\"\n",
        "7: dataplane.memory: \"nohuge\" is not",
        "\"no-huge\"",
    ),
    (
        "[system]\nrouter-id = \"pe1\"\n",
        "7: system.router-id: \"pe1\" is not",
        "192.0.2.1",
    ),
    (
        "[neighbor]\nreachable-time = 0\n",
        "7: neighbor.reachable-time: a time is",
        "0.01",
    ),
    ("x = \n", "6: ", ""),
    (
        "[interface]\nwan1 = 5\n",
        "7: interface.wan1: a table is wanted",
        "[interface.NAME]",
    ),
    // VRFs
    (
        "[vrf.blue]\nrd = \"1:x\"\n",
        "7: vrf.blue.rd: \"1:x\" is not ASN:NUMBER or ADDRESS:NUMBER",
        "64512:1",
    ),
    (
        "[vrf.red]\nrd = \"1:1\"\n[vrf.blue]\nrd = \"1:1\"\n",
        "8: vrf.blue.rd: 1:1 is the distinguisher of red already",
        "each VRF needs its own",
    ),
    (
        "[vrf.blue]\nimport = [\"64512:1\"]\n",
        "7: vrf.blue.import: \"64512:1\" is not a route target",
        "target:64512:1",
    ),
    (
        "[vrf.blue]\nexport = [\"target:1:1\", \"target:1:1\"]\n",
        "7: vrf.blue.export: is there twice",
        "",
    ),
    (
        "[vrf.global]\n",
        "6: vrf.global: a VRF can't be called \"global\"",
        "another name",
    ),
    (
        "[vrf]\nrd = \"1:1\"\n",
        "7: vrf.rd: a table is wanted",
        "[vrf.NAME]",
    ),
    (
        "[interface.b]\ndevice = \"tap:b\"\nvrf = \"blue\"\n",
        "8: interface.b.vrf: there is no VRF \"blue\"",
        "add [vrf.blue]",
    ),
    (
        "[vrf.red]\n[vrf.green]\n[interface.b]\ndevice = \"tap:b\"\nvrf = \"blue\"\n",
        "10: interface.b.vrf: there is no VRF \"blue\"",
        "the VRFs are green, red",
    ),
    (
        "[vrf.red]\n[vrf.blue]\n[interface.b]\ndevice = \"tap:b\"\nvrf = [\"red\", \"blue\"]\n",
        "10: interface.b.vrf: one name is wanted",
        "nothing is in two VRFs",
    ),
    (
        "[system]\nrouter-id = \"1.1.1.1\"\n[bgp]\nas = 1\n[vrf.red]\nexport = [\"target:1:1\"]\n[vrf.blue]\nimport = [\"target:1:1\", \"target:1:2\"]\n",
        "12: vrf.blue.import: nobody can match target:1:2",
        "no other VRF here exports it",
    ),
    (
        "[system]\nrouter-id = \"1.1.1.1\"\n[bgp]\nas = 1\n[policy.some]\n[vrf.blue]\nimport-global = \"smoe\"\n",
        "11: vrf.blue.import-global: there is no policy \"smoe\"",
        "did you mean \"some\"?",
    ),
    (
        "[vrf.blue]\nexport-global = \"\"\n",
        "7: vrf.blue.export-global: the name of a [policy.NAME] is wanted",
        "",
    ),
    (
        "[vrf.blue]\nexport-global = \"accept-all\"\n",
        "6: vrf.blue.export-global: it is about routes of BGP, and there is no [bgp]",
        "a [[route]] with via-table",
    ),
    (
        "[policy.some]\n[vrf.blue]\nexport-policy = \"smoe\"\n",
        "7: vrf.blue.export-policy: there is no policy \"smoe\"",
        "did you mean \"some\"?",
    ),
    (
        "[vrf.blue]\n[[route]]\nprefix = \"10.9.0.0/16\"\nvrf = \"blue\"\nvia = \"10.0.0.2\"\nvia-table = \"red\"\n",
        "7: route 10.9.0.0/16 vrf blue: via-table: there is no VRF \"red\"",
        "the VRFs are blue",
    ),
    (
        "[vrf.blue]\n[[route]]\nprefix = \"10.9.0.0/16\"\nvrf = \"blue\"\nvia = \"10.0.0.2\"\ndev = \"wan0\"\nvia-table = \"global\"\n",
        "7: route 10.9.0.0/16 vrf blue: via-table says where a next hop is looked up",
        "leave dev or via-table out",
    ),
    (
        "[vrf.blue]\n[[route]]\nprefix = \"10.9.0.0/16\"\nvrf = \"blue\"\nvia = \"10.0.0.1\"\nvia-table = \"global\"\n",
        "7: route 10.9.0.0/16 vrf blue: next hop 10.0.0.1 is the router's own address",
        "",
    ),
    // Blue's way leads to the global table, whose way to that leads to blue.
    (
        "[vrf.blue]\n[[route]]\nprefix = \"10.9.0.0/16\"\nvrf = \"blue\"\nvia = \"192.0.2.9\"\nvia-table = \"global\"\n\
         [[route]]\nprefix = \"192.0.2.0/24\"\nvia = \"10.9.1.1\"\nvia-table = \"blue\"\n",
        "7: route 10.9.0.0/16 vrf blue: leads back to itself through a leak (10.9.0.0/16 vrf blue via 192.0.2.9, 192.0.2.0/24 via 10.9.1.1)",
        "must come to be on the link of an interface",
    ),
    (
        "[vrf.blue]\n[interface.b]\ndevice = \"tap:b\"\nvrf = \"blue\"\nmpls = true\n",
        "9: interface.b.mpls: labels are those of the whole router",
        "leave \"mpls\" or \"vrf\" out",
    ),
    (
        "[vrf.blue]\n[interface.b]\ndevice = \"tap:b\"\nvrf = \"blue\"\naddress = \"10.9.0.1/24\"\n\
         [interface.c]\ndevice = \"tap:c\"\nvrf = \"blue\"\naddress = \"10.9.0.2/24\"\n",
        "14: interface.c.address: its subnet 10.9.0.0/24 overlaps 10.9.0.0/24 of b",
        "",
    ),
    // interfaces
    (
        "[interface.b]\n",
        "6: interface.b.device: is missing",
        "af_packet:eth1",
    ),
    (
        "[interface.b]\ndevice = \"eth2\"\n",
        "7: interface.b.device: \"eth2\" is not a device",
        "af_packet:eth2",
    ),
    (
        "[interface.b]\ndevice = \"af_paket:eth2\"\n",
        "7: interface.b.device: \"af_paket:eth2\"",
        "\"af_packet:eth2\"",
    ),
    (
        "[interface.b]\ndevice = \"pci:\"\n",
        "7: interface.b.device: \"pci:\" does not say which",
        "pci:0000:3b:00.0",
    ),
    (
        "[interface.b]\ndevice = \"af_xdp:eth1\"\n",
        "6: interface.b.device: the kernel's interface eth1 belongs to wan0",
        "",
    ),
    (
        "[interface.b]\ndevice = \"loopbak\"\n",
        "7: interface.b.device: \"loopbak\" is not a device",
        "did you mean \"loopback\"?",
    ),
    (
        "[interface.b]\ndevice = \"loopback:b\"\n",
        "7: interface.b.device: \"loopback:b\" is not a device",
        "did you mean \"loopback\"?",
    ),
    (
        "[interface.b]\ndevice = \"loopback\"\nqueues = 2\n",
        "8: interface.b.queues: a loopback has none",
        "leave it out",
    ),
    (
        "[interface.b]\ndevice = \"loopback\"\n[interface.\"b.7\"]\n",
        "8: interface.\"b.7\": b is a loopback and carries no VLANs",
        "to another loopback",
    ),
    (
        "[interface.abcdefghijklmnop]\ndevice = \"tap:b\"\n",
        "6: interface.abcdefghijklmnop: a name has 1 to 15",
        "",
    ),
    (
        "[interface.\"a b\"]\ndevice = \"tap:b\"\n",
        "6: interface.\"a b\": a name has letters",
        "",
    ),
    (
        "[interface.lo]\ndevice = \"tap:b\"\n",
        "6: interface.lo: \"lo\" means something else",
        "",
    ),
    (
        "[interface.\"wan1.100\"]\n",
        "6: interface.\"wan1.100\": there is no interface \"wan1\" for this VLAN",
        "did you mean \"wan0.100\"?",
    ),
    (
        "[interface.\"edge.100\"]\n",
        "6: interface.\"edge.100\": there is no interface \"edge\"",
        "[interface.edge]",
    ),
    (
        "[interface.\"wan0.0\"]\n",
        "6: interface.\"wan0.0\": \"0\" after the dot is not a VLAN",
        "1 to 4094",
    ),
    (
        "[interface.\"wan0.4095\"]\n",
        "6: interface.\"wan0.4095\": \"4095\"",
        "1 to 4094",
    ),
    (
        "[interface.\"wan0.007\"]\n",
        "6: interface.\"wan0.007\": \"007\"",
        "without leading zeros",
    ),
    (
        "[interface.\"wan0.5.6\"]\n",
        "6: interface.\"wan0.5.6\": a VLAN within a VLAN",
        "not in this version",
    ),
    (
        "[interface.\"wan0.6\"]\ndevice = \"tap:b\"\n",
        "7: interface.\"wan0.6\".device: a VLAN has none of its own",
        "",
    ),
    (
        "[interface.\"wan0.6\"]\nmtu = 1600\n",
        "7: interface.\"wan0.6\".mtu: 1600 is more than the 1500 of wan0",
        "",
    ),
    (
        "[interface.b]\ndevice = \"tap:b\"\nmtu = 67\n",
        "8: interface.b.mtu: 67 is not a number from 68 to 9600",
        "",
    ),
    (
        "[interface.b]\ndevice = \"tap:b\"\nmtu = 9601\n",
        "8: interface.b.mtu: 9601 is not a number",
        "",
    ),
    (
        "[interface.b]\ndevice = \"tap:b\"\nmtu = 1000\naddress = \"2001:db8::1/64\"\n",
        "8: interface.b.mtu: 1000 is too little for IPv6",
        "1280",
    ),
    // addresses
    (
        "[interface.b]\ndevice = \"tap:b\"\naddress = \"10.1.0.1\"\n",
        "8: interface.b.address: \"10.1.0.1\" lacks the length",
        "10.1.0.1/24",
    ),
    (
        "[interface.b]\ndevice = \"tap:b\"\naddress = \"10.0.0.1/24\"\n",
        "8: interface.b.address: 10.0.0.1 is on wan0 already",
        "",
    ),
    (
        "[interface.b]\ndevice = \"tap:b\"\naddress = [\"10.1.0.1/24\",\n \"10.1.0.1/24\"]\n",
        "9: interface.b.address: 10.1.0.1 is here already",
        "",
    ),
    (
        "[interface.b]\ndevice = \"tap:b\"\naddress = \"10.0.0.129/25\"\n",
        "8: interface.b.address: its subnet 10.0.0.128/25 overlaps 10.0.0.0/24 of wan0",
        "one interface",
    ),
    (
        "[interface.b]\ndevice = \"tap:b\"\naddress = \"10.9.9.9/8\"\n",
        "8: interface.b.address: its subnet 10.0.0.0/8 overlaps",
        "",
    ),
    (
        "[interface.b]\ndevice = \"tap:b\"\naddress = \"10.1.0.0/24\"\n",
        "8: interface.b.address: \"10.1.0.0/24\" is the subnet's own",
        "",
    ),
    (
        "[interface.b]\ndevice = \"tap:b\"\naddress = \"10.1.0.255/24\"\n",
        "8: interface.b.address: \"10.1.0.255/24\" is the subnet's broadcast",
        "",
    ),
    (
        "[interface.b]\ndevice = \"tap:b\"\naddress = \"224.0.0.1/24\"\n",
        "8: interface.b.address: \"224.0.0.1/24\" is a multicast",
        "",
    ),
    (
        "[interface.b]\ndevice = \"tap:b\"\naddress = \"127.0.0.1/8\"\n",
        "8: interface.b.address: \"127.0.0.1/8\" is a loopback",
        "",
    ),
    // routes
    (
        "[[route]]\nvia = \"10.0.0.2\"\n",
        "6: route[0].prefix: is missing",
        "",
    ),
    (
        "[[route]]\nprefix = \"192.0.2.0/24\"\n",
        "6: route[0].via: is missing",
        "discard",
    ),
    (
        "[[route]]\nprefix = \"192.0.2.1/24\"\nvia = \"10.0.0.2\"\n",
        "7: route[0].prefix: \"192.0.2.1/24\" has bits set",
        "192.0.2.0/24",
    ),
    (
        "[[route]]\nprefix = \"224.0.0.0/4\"\nvia = \"10.0.0.2\"\n",
        "7: route[0].prefix: 224.0.0.0/4 is multicast",
        "",
    ),
    (
        "[[route]]\nprefix = \"192.0.2.0/24\"\nvia = \"10.0.0.1\"\n",
        "6: route 192.0.2.0/24: next hop 10.0.0.1 is the router's own address (interface wan0)",
        "neighbour's",
    ),
    (
        "[[route]]\nprefix = \"192.0.2.0/24\"\nvia = \"10.0.0.2\"\ndev = \"wan1\"\n",
        "6: route 192.0.2.0/24: there is no interface \"wan1\"",
        "did you mean \"wan0\"?",
    ),
    (
        "[[route]]\nprefix = \"192.0.2.0/24\"\nvia = \"fe80::1\"\n",
        "8: route[0].via: next hop fe80::1 is link-local",
        "dev",
    ),
    (
        "[[route]]\nprefix = \"192.0.2.0/24\"\nvia = [\"10.0.0.2\", \"10.0.0.2\"]\n",
        "8: route[0].via: next hop 10.0.0.2 is given twice",
        "weight",
    ),
    (
        "[[route]]\nprefix = \"192.0.2.0/24\"\nvia = \"10.0.0.2\"\n[[route]]\nprefix = \"192.0.2.0/24\"\nvia = \"10.0.0.3\"\n",
        "9: route 192.0.2.0/24: is there twice, first in line 6",
        "",
    ),
    (
        "[[route]]\nprefix = \"192.0.2.0/24\"\nvia = \"10.0.0.2\"\ndiscard = \"blackhole\"\n",
        "6: route[0].via: a route that drops has none",
        "",
    ),
    (
        "[[route]]\nprefix = \"192.0.2.0/24\"\nvia = \"10.0.0.2\"\nlabel = [15]\n",
        "8: route[0].via: label 15 is reserved",
        "16 to 1048575",
    ),
    (
        "[[route]]\nprefix = \"192.0.2.0/24\"\nvia = \"10.0.0.2\"\nlabel = [1048576]\n",
        "9: route[0].label: 1048576 is not a number from 0 to 1048575",
        "",
    ),
    (
        "[[route]]\nprefix = \"192.0.2.0/24\"\nvia = \"10.0.0.2\"\nlabel = [16, 3]\n",
        "8: route[0].via: implicit null",
        "stands alone",
    ),
    (
        "[[route]]\nprefix = \"192.0.2.0/24\"\nvia = \"10.0.0.2\"\nlabel = [2]\n",
        "6: route 192.0.2.0/24: label 2 is the explicit null of the other",
        "IPv4 it is 0",
    ),
    (
        "[[route]]\nprefix = \"192.0.2.0/24\"\nvia = \"10.0.0.2\"\nlabel = [16,17,18,19,20,21,22,23,24]\n",
        "8: route[0].via: 9 labels",
        "at most 8",
    ),
    (
        "[[route]]\nprefix = \"192.0.2.0/24\"\nvia = [{ via = \"10.0.0.2\", wieght = 2 }]\n",
        "8: route[0].via.wieght: unknown key",
        "did you mean \"weight\"?",
    ),
    (
        "[[route]]\nprefix = \"192.0.2.0/24\"\nvia = [{ via = \"10.0.0.2\", backup = true }]\n",
        "8: route[0].via: backup 10.0.0.2 has nothing to back up",
        "one next hop at least is no backup",
    ),
    (
        "[[route]]\nprefix = \"192.0.2.0/24\"\nvia = [\"10.0.0.3\", { via = \"10.0.0.2\", backup = 1 }]\n",
        "8: route[0].via.backup: ",
        "true",
    ),
    (
        "[[route]]\nprefix = \"192.0.2.0/24\"\nvia = [{ via = \"10.0.0.2\", weight = 0 }]\n",
        "8: route[0].via.weight: 0 is not a number from 1 to 256",
        "",
    ),
    (
        "[route]\nprefix = \"192.0.2.0/24\"\n",
        "6: route: a list of tables is wanted",
        "[[route]]",
    ),
    (
        "[[route]]\nprefix = \"192.0.2.0/24\"\nvia = \"10.0.0.2\"\nvrf = \"blue\"\n",
        "6: route 192.0.2.0/24 vrf blue: there is no VRF \"blue\"",
        "add [vrf.blue]",
    ),
    (
        "[vrf.blue]\n[interface.b]\ndevice = \"tap:b\"\nvrf = \"blue\"\naddress = \"10.9.0.1/24\"\n\
         [[route]]\nprefix = \"192.0.2.0/24\"\nvia = \"10.9.0.1\"\nvrf = \"blue\"\n",
        "11: route 192.0.2.0/24 vrf blue: next hop 10.9.0.1 is the router's own address (interface b)",
        "",
    ),
    // labels
    (
        "[[label]]\nin = 302\naction = \"pop\"\nvrf = \"blue\"\n",
        "6: label 302: there is no VRF \"blue\"",
        "",
    ),
    (
        "[vrf.blue]\n[[label]]\nin = 302\naction = \"pop\"\nvia = \"10.0.0.2\"\nvrf = \"blue\"\n",
        "11: label[0].vrf: is for \"pop\" without a next hop",
        "",
    ),
    (
        "[[label]]\nin = 15\naction = \"pop\"\n",
        "7: label[0].in: label 15 is reserved",
        "16 to 1048575",
    ),
    (
        "[[label]]\nin = 1048576\naction = \"pop\"\n",
        "7: label[0].in: 1048576 is not a label",
        "",
    ),
    (
        "[[label]]\nin = 16\naction = \"push\"\n",
        "8: label[0].action: \"push\" is not",
        "\"swap\" or \"pop\"",
    ),
    (
        "[[label]]\nin = 16\naction = \"swap\"\nvia = \"10.0.0.2\"\n",
        "6: label[0].out: is missing",
        "[400]",
    ),
    (
        "[[label]]\nin = 16\naction = \"swap\"\nout = [17]\n",
        "6: label[0].via: is missing",
        "",
    ),
    (
        "[[label]]\nin = 16\naction = \"pop\"\nout = [17]\nvia = \"10.0.0.2\"\n",
        "9: label[0].out: \"pop\" pushes no labels",
        "",
    ),
    (
        "[[label]]\nin = 16\naction = \"pop\"\ndev = \"wan0\"\n",
        "6: label 16: next hop dev wan0 has no address",
        "",
    ),
    (
        "[[label]]\nin = 16\naction = \"pop\"\n[[label]]\nin = 16\naction = \"pop\"\n",
        "9: label 16: is there twice, first in line 6",
        "",
    ),
    // LDP
    (
        "[ldp]\ninterfaces = [\"wan0\"]\n",
        "6: ldp.router-id: is missing",
        "such as \"192.0.2.1\"",
    ),
    (
        "[ldp]\nrouter-id = \"10.0.0.1\"\n",
        "6: ldp.interfaces: is missing",
        "interfaces = [\"wan0\"]",
    ),
    (
        "[ldp]\nrouter-id = \"192.0.2.1\"\ninterfaces = [\"wan0\"]\n",
        "6: ldp.transport-address: 192.0.2.1 is no address of the router",
        "give \"192.0.2.1/32\" to one",
    ),
    (
        "[ldp]\nrouter-id = \"10.0.0.1\"\ninterfaces = [\"wan0\"]\n",
        "8: ldp.interfaces: interface wan0 takes no labelled frames",
        "mpls = true in [interface.wan0]",
    ),
    (
        "[ldp]\nrouter-id = \"10.0.0.1\"\ninterfaces = [\"wan1\"]\n",
        "8: ldp.interfaces: there is no interface \"wan1\"",
        "did you mean \"wan0\"?",
    ),
    (
        "[ldp]\nrouter-id = \"10.0.0.1\"\ntransport-address = \"2001:db8::1\"\ninterfaces = [\"wan0\"]\n",
        "8: ldp.transport-address: 2001:db8::1 is an IPv6 address",
        "LDP is spoken over IPv4 here",
    ),
    (
        "[ldp]\nrouter-id = \"10.0.0.1\"\nhello-hold-time = 2\n",
        "8: ldp.hello-hold-time: 2 is not a number from 3 to 65534",
        "",
    ),
    (
        "[ldp]\nrouter-id = \"10.0.0.1\"\nprefixes = [\"192.0.2.1/24\"]\n",
        "8: ldp.prefixes: \"192.0.2.1/24\" has bits set after its length",
        "the prefix is 192.0.2.0/24",
    ),
    (
        "[ldp]\nrouter-id = \"10.0.0.1\"\n[ldp.neighbor.\"10.0.0.2\"]\n",
        "8: ldp.neighbor.\"10.0.0.2\".password-file: is missing",
        "leave the neighbour out",
    ),
    (
        "[ldp]\ncontrol = \"ordered\"\n",
        "7: ldp.control: unknown key",
        "the keys here are router-id",
    ),
    // ranges of labels
    (
        "[label-range]\ndynamic = \"16-\"\n",
        "7: label-range.dynamic: \"16-\" is no range of labels",
        "write it like \"16000-23999\"",
    ),
    (
        "[label-range]\ndynamic = \"15-100\"\n",
        "7: label-range.dynamic: label 15 is reserved",
        "begin at 16",
    ),
    (
        "[label-range]\nvrf = \"200-100\"\n",
        "7: label-range.vrf: \"200-100\" counts down",
        "\"100-200\"",
    ),
    (
        "[label-range]\ndynamic = \"100-1048576\"\n",
        "7: label-range.dynamic: 1048576 is not a label",
        "",
    ),
    (
        "[label-range]\ndynamic = \"100-199\"\nsrgb = \"199-300\"\n",
        "8: label-range.srgb: 199-300 overlaps dynamic (100-199)",
        "a label is for one use",
    ),
    (
        "[label-range]\nsrgb = \"90000-100000\"\n",
        "7: label-range.srgb: 90000-100000 overlaps dynamic (100000-1048575, where nothing is said)",
        "",
    ),
    (
        "[label-range]\nstatic = \"16-99\"\n[[label]]\nin = 100\naction = \"pop\"\n",
        "8: label 100: is not in label-range.static (16-99)",
        "change the range",
    ),
    (
        "[label-range]\nvrf = \"16-99\"\n[[label]]\nin = 50\naction = \"pop\"\n",
        "8: label 50: is in label-range.vrf (16-99)",
        "take one outside of it",
    ),
    // neighbours
    (
        "[[neighbor.static]]\naddress = \"10.0.0.2\"\nlladdr = \"x\"\ndev = \"wan0\"\n",
        "8: neighbor.static[0].lladdr: \"x\"",
        "02:00:00:00:00:01",
    ),
    (
        "[[neighbor.static]]\naddress = \"10.0.0.2\"\nlladdr = \"ff:ff:ff:ff:ff:ff\"\ndev = \"wan0\"\n",
        "8: neighbor.static[0].lladdr:",
        "one host",
    ),
    (
        "[[neighbor.static]]\naddress = \"10.0.0.1\"\nlladdr = \"02:00:00:00:00:01\"\ndev = \"wan0\"\n",
        "6: neighbor.static 10.0.0.1: is the router's own",
        "",
    ),
    (
        "[[neighbor.static]]\nlladdr = \"02:00:00:00:00:01\"\ndev = \"wan0\"\n",
        "6: neighbor.static[0].address: is missing",
        "",
    ),
];

#[test]
fn each_has_its_line_its_key_and_its_remedy() {
    valid(BASE).unwrap();
    for (text, start, remedy) in CASES {
        let error = valid(&format!("{BASE}{text}")).expect_err(text).to_string();
        assert!(
            error.starts_with(&format!("/etc/t.toml:{start}")),
            "{text}\n{error}"
        );
        assert!(error.contains(remedy), "{text}\n{error}");
    }
}

#[test]
fn all_mistakes_are_named_in_their_order() {
    let error = valid("[dataplane]\npoll = 1\n[system]\nnam = \"x\"\n[[route]]\nprefix = \"x\"\nvia = \"10.0.0.1\"\n").unwrap_err();
    let lines: Vec<usize> = error.problems.iter().map(|p| p.line).collect();
    assert_eq!(lines, [2, 4, 6], "{error}");
}

#[test]
fn a_top_level_key_comes_before_the_sections() {
    let error = valid("route-file = \"no-such.txt\"\n")
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("/etc/t.toml:1: route-file: cannot read /etc/no-such.txt: No such file"),
        "{error}"
    );
}

#[test]
fn explicit_null_fits_the_packet() {
    for (prefix, label, good) in [
        ("192.0.2.0/24", 0, true),
        ("2001:db8::/32", 0, false),
        ("2001:db8::/32", 2, true),
    ] {
        let text = format!(
            "{BASE}[[route]]\nprefix = \"{prefix}\"\nvia = \"10.0.0.2\"\nlabel = [16, {label}]\n"
        );
        assert_eq!(valid(&text).is_ok(), good, "{prefix} {label}");
    }
}

#[test]
fn an_entropy_label_is_announced() {
    for (stack, good) in [
        ("16, 7, 4711", true),
        ("7, 4711", false),
        ("16, 7", false),
        ("16, 7, 8", false),
        ("16, 1", false),
    ] {
        let text = format!(
            "{BASE}[[route]]\nprefix = \"192.0.2.0/24\"\nvia = \"10.0.0.2\"\nlabel = [{stack}]\n"
        );
        assert_eq!(valid(&text).is_ok(), good, "{stack}");
    }
}
