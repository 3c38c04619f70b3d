//! The BGP speaker measured beside BIRD 2, FRR's bgpd and GoBGP, on the same tables, by turns: `cargo testbed bench bgp`.
//!
//! Two namespaces and a veth. In one a device under test, without a kernel's FIB; in the other this process, on core 0: peers
//! that announce what was encoded before ([`feed`]), and a sink ([`sink`]) that is told everything and knows when the right path of
//! every prefix has come. The device has the next core to itself, with real-time priority; GoBGP, which is made of threads, has all cores.
//! Each turn starts the device anew.
//!
//! [`wire`] is the harness's own BGP, so that nobody is judged by his own words; [`device`] starts the contestants,
//! [`run`] takes the times, [`forwarding`] those of an appliance that also forwards, [`beside`] those of changes while something great goes on, [`case`] says what is measured and what must be reached, [`report`] prints.

pub mod beside;
pub mod case;
pub mod device;
pub mod feed;
pub mod forwarding;
pub mod place;
pub mod report;
pub mod run;
pub mod sink;
pub mod wire;
