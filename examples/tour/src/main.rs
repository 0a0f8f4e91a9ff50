//! The tour: `cargo run --release`. See `--help`.

fn main() -> std::process::ExitCode {
    tour::tour::main()
}
