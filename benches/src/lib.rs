//! Tables and traffic for measurements, the same for every run: what is random comes from a seed.
//!
//! `cargo bench -p benches` measures; `-- --quick` does so in a minute or two. The tables are made up in the shape of
//! the Internet's; `TABLE4=FILE` and `TABLE6=FILE` in the environment take real ones instead (`PREFIX` first on each
//! line, the rest ignored; `.xz` is unpacked by xz). Only ratios within one run of one machine mean anything.
#![forbid(unsafe_code)]

pub mod forward;
pub mod table;
pub mod traffic;
