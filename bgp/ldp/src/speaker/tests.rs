//! One speaker against a neighbour that is written out by hand, and networks of speakers in virtual time.

mod network;
mod raw;
