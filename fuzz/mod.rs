//! Fuzz targets: each takes arbitrary octets, gives them to a parser of outside input, and checks what must hold of the
//! result. A target stands in the module whose parser it tests (`fuzz/targets/`), since most parsers are private.
//!
//! `cargo test --lib fuzz::` runs each on its seeds and for some seconds on mutations of them ([`run`]).

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

/// A test for each target, named like its folder in `fuzz/seeds`.
macro_rules! targets {
    ($($name:ident: $target:path;)*) => {$(
        #[test]
        fn $name() {
            run::on_seeds_and_mutations(stringify!($name), $target);
        }
    )*};
}

targets! {
    address: crate::address::fuzz::address;
    dkim: crate::authentication::dkim::fuzz::canonical_forms;
    dns: crate::dns::fuzz::response;
    from_domain: crate::message::fuzz::from_domain;
    imap_commands: crate::imap::fuzz::commands;
    json_compose: crate::http::fuzz::compose;
    mailboxes: crate::message::fuzz::mailboxes;
    mime: crate::imap::fuzz::mime;
    proxy_header: crate::net::fuzz::proxy_header;
    rewriting: crate::message::fuzz::rewriting;
    smtp_commands: crate::smtp::fuzz::commands;
    smtp_data: crate::smtp::fuzz::data;
    spf: crate::domain::fuzz::spf;
    tag_lists: crate::domain::fuzz::tag_lists;
}
