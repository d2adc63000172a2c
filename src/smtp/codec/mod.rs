//! Octets to lines, lines to commands, message data to messages, and the replies.
//!
//! smtp-proto parses commands here, and replies in [`smtp_client`](crate::smtp_client). What it lacks:
//!
//! | smtp-proto 0.2 | here |
//! | --- | --- |
//! | refuses `MAIL FROM:a@b` and address literals; takes the quotes off a local part; reads `<postmaster>` as the null path | [`request`] reads paths by [`crate::address`], and gives it the null path instead |
//! | refuses EHLO names that are not UTF-8; drops arguments that RSET, DATA and the like do not have; numbers overflow beyond 19 digits; reads parameters of extensions that are not offered | [`request`] checks a line before it |
//! | its line reader has one length limit and accepts a bare LF | [`line`] has the limits of RFC 5321 and RFC 4954, and CRLF only |
//! | its DATA receiver accepts a bare CR or LF around the final dot | [`data`]: SMTP smuggling |
//! | its BDAT receiver takes any octets | [`chunks`]: lines end as after DATA |
//! | its replies hold whatever octets they are given | [`reply`] writes printable ASCII |

pub mod chunks;
pub mod data;
pub mod line;
pub mod reply;
pub mod request;
