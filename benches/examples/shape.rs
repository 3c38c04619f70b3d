//! Compares the shapes of the made-up tables and of real ones: `cargo run --release -p benches --example shape -- V4 V6`.

use std::path::Path;

use benches::family::Family;
use benches::shape::Shape;
use benches::table::load;
use net::{Ip4Prefix, Ip6Prefix};

fn main() -> std::io::Result<()> {
    let mut files = std::env::args().skip(1);
    family::<Ip4Prefix>(files.next())?;
    family::<Ip6Prefix>(files.next())
}

fn family<F: Family>(file: Option<String>) -> std::io::Result<()> {
    println!("made up: {:#.3?}", Shape::of(&F::make(1, F::SIZE)));
    if let Some(file) = file {
        println!("{file}: {:#.3?}", Shape::of(&load::<F>(Path::new(&file))?));
    }
    Ok(())
}
