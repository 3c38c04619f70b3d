//! Compiles the protocol with protox, so that no `protoc` need be installed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = protox::compile(["trunkline/v1/trunkline.proto"], ["proto"])?;
    println!("cargo:rerun-if-changed=proto");
    tonic_prost_build::configure()
        .btree_map(".")
        .type_attribute(".", "#[derive(serde::Serialize)]")
        .compile_fds(files)?;
    Ok(())
}
