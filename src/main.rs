//! The program: all of it is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    // The one TLS provider of the process; a second call could only come from here.
    let _ = rustls::crypto::ring::default_provider().install_default();
    inboxlayer::cli::main()
}
