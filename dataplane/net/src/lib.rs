//! Trunkline.
#![forbid(unsafe_code)]
