//! Octets to lines, lines to commands, message data to messages, and the replies.
//!
//! smtp-proto parses the replies of other servers ([`smtp_client`](crate::smtp_client)). It does not parse what clients send:
//!
//! | smtp-proto 0.2 | here |
//! | --- | --- |
//! | refuses `MAIL FROM:a@b`, and EHLO names that are not ASCII; takes the quotes off a local part; reads `<postmaster>` as the null path | [`request`] reads paths with and without brackets, and addresses by [`crate::address`] |
//! | drops arguments that RSET, DATA and the like do not have; numbers overflow beyond 19 digits; reads parameters of extensions that are not offered | [`request`] refuses all three |
//! | its line reader has one length limit and accepts a bare LF | [`line`] has the limits of RFC 5321 and RFC 4954, and CRLF only |
//! | its DATA receiver accepts a bare CR or LF around the final dot | [`data`]: SMTP smuggling |
//! | its replies hold whatever octets they are given | [`reply`] writes printable ASCII |

pub mod data;
pub mod line;
pub mod reply;
pub mod request;
