#![no_main]
libfuzzer_sys::fuzz_target!(|octets: &[u8]| inboxlayer::fuzz::targets::imap_responses(octets));
