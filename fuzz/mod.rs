//! Fuzz targets: each takes arbitrary octets, gives them to a parser of outside input, and checks what must hold of the
//! result. A target stands in the module whose parser it tests (`fuzz/targets/`), since most parsers are private.
//!
//! `cargo test --lib fuzz::` runs each on its seeds and for some seconds on mutations of them ([`run`]).

#[path = "targets/reader.rs"]
mod reader;
#[cfg(test)]
mod run;

use crate::config::Limits;
use crate::resources::spool::{ClientSpool, Spool};
use std::net::IpAddr;
use std::sync::LazyLock;

/// Where messages are put while they come in, for a client without an account.
pub(crate) fn client_spool() -> ClientSpool {
    static SPOOL: LazyLock<(tempfile::TempDir, Spool)> = LazyLock::new(|| {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(folder.path(), &Limits::default()).unwrap();
        (folder, spool)
    });
    SPOOL.1.client(IpAddr::from([192, 0, 2, 1]))
}

/// For each target, named like its folder in `fuzz/seeds`: the function, for `fuzz/bins`, and a test.
macro_rules! targets {
    ($($name:ident: $target:path;)*) => {
        /// The targets by name.
        pub mod targets {
            $(pub use $target as $name;)*
        }
        #[cfg(test)]
        const NAMES: &[&str] = &[$(stringify!($name)),*];
        $(
            #[cfg(test)]
            #[test]
            fn $name() {
                run::on_seeds_and_mutations(stringify!($name), $target);
            }
        )*
    };
}

targets! {
    address: crate::address::fuzz::address;
    body: crate::store::bodies::fuzz::damaged;
    dkim: crate::dkim::fuzz::canonical_forms;
    dns: crate::dns::fuzz::response;
    dns_questions: crate::dns::authority::fuzz::question;
    extraction: crate::message::extraction::fuzz::extraction;
    forwarded: crate::http::fuzz::forwarded;
    from_domain: crate::message::fuzz::from_domain;
    imap_commands: crate::imap::fuzz::commands;
    imap_parsers: crate::imap::fuzz::imap_parsers;
    imap_responses: crate::cli::fuzz::imap_responses;
    json_compose: crate::http::fuzz::compose;
    mailbox_names: crate::imap::fuzz::mailbox_names;
    mailboxes: crate::message::fuzz::mailboxes;
    mbox: crate::cli::fuzz::mbox;
    mime: crate::imap::fuzz::mime;
    own_signature: crate::dkim::fuzz::own_signature;
    proxy_header: crate::net::fuzz::proxy_header;
    query: crate::http::fuzz::query;
    reader: crate::fuzz::reader::reader;
    rewriting: crate::message::fuzz::rewriting;
    search_keys: crate::imap::fuzz::search_keys;
    smtp_commands: crate::smtp::fuzz::commands;
    smtp_chunks: crate::smtp::fuzz::chunks;
    smtp_data: crate::smtp::fuzz::data;
    smtp_replies: crate::queue::fuzz::replies;
    spf: crate::verification::fuzz::spf;
    tag_lists: crate::verification::fuzz::tag_lists;
}

#[cfg(test)]
#[test]
fn each_target_has_seeds_and_a_program_for_coverage_guided_runs() {
    use std::collections::BTreeSet;
    use std::fs;
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let targets: BTreeSet<String> = NAMES.iter().map(|name| (*name).to_owned()).collect();
    let seeds = fs::read_dir(folder.join("seeds")).unwrap();
    let seeds = seeds.map(|folder| folder.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(targets, seeds);
    let manifest: toml::Table = fs::read_to_string(folder.join("Cargo.toml")).unwrap().parse().unwrap();
    let programs = manifest["bin"].as_array().unwrap().iter().map(|bin| bin["name"].as_str().unwrap().to_owned());
    assert_eq!(targets, programs.collect());
    for bin in manifest["bin"].as_array().unwrap() {
        let program = fs::read_to_string(folder.join(bin["path"].as_str().unwrap())).unwrap();
        assert!(program.contains(&format!("targets::{}(octets)", bin["name"].as_str().unwrap())), "{program}");
    }
}
