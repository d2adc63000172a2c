//! Octets to lines, lines to commands, message data to messages, and the replies.
//!
//! smtp-proto parses the command line; all that works around it stands here. What it lacks, and what is done about it:
//!
//! | smtp-proto 0.2 | here |
//! | --- | --- |
//! | drops leading spaces, and arguments that RSET, DATA and the like do not have | [`request`] refuses both before parsing |
//! | reads `<postmaster>` as the null path | [`request`] recognises it first |
//! | takes the quotes off a local part | [`request`] reads the address from the line itself |
//! | numbers overflow beyond 19 digits | [`request`] bounds them before parsing |
//! | reads parameters of extensions that are not offered | [`request`] refuses them: 555 |
//! | its line reader has one length limit and accepts a bare LF | [`line`] has the limits of RFC 5321 and RFC 4954, and CRLF only |
//! | its DATA receiver accepts a bare CR or LF around the final dot | [`data`]: SMTP smuggling |
//! | its replies hold whatever octets they are given | [`reply`] writes printable ASCII |

pub mod data;
pub mod line;
pub mod reply;
pub mod request;
