//! What the servers say: every fixed reply in one place, and how replies go over the wire.
//!
//! Invariant: a reply is whole lines of printable ASCII, whatever its text was made of. RFC 5321 §4.2 (codes), §4.2.1
//! (several lines); RFC 3463 and RFC 2034 (enhanced codes: in all but greetings, EHLO and 3yz).

use crate::address::Address;
use crate::envelope::{EnhancedCode, Reply};

macro_rules! replies {
    ($($name:ident $code:literal ($class:literal, $subject:literal, $detail:literal) $text:literal;)*) => {$(
        pub fn $name() -> Reply {
            Reply::new($code, EnhancedCode($class, $subject, $detail), $text)
        }
    )*};
}

replies! {
    ok 250 (2, 0, 0) "ok";
    bye 221 (2, 0, 0) "bye";
    sender_ok 250 (2, 1, 0) "sender ok";
    recipient_ok 250 (2, 1, 5) "recipient ok";
    cannot_verify 252 (2, 0, 0) "send the mail, and the delivery will tell";
    help 214 (2, 0, 0) "EHLO HELO STARTTLS AUTH MAIL RCPT DATA RSET NOOP VRFY HELP QUIT; RFC 5321 has the rest";
    go_ahead_tls 220 (2, 0, 0) "go ahead with TLS";
    authenticated 235 (2, 7, 0) "welcome";

    overloaded 421 (4, 3, 2) "too many connections, closing this idle one; try again later";
    stopping 421 (4, 3, 2) "this server is stopping; come back in a moment";
    timed_out 421 (4, 4, 2) "you said nothing for too long";
    too_slow 421 (4, 4, 2) "the message comes too slowly, closing connection";
    log_in_ended 421 (4, 7, 0) "what you logged in with has just been deleted or revoked";
    too_many_errors 421 (4, 7, 0) "too many errors";
    too_many_idle_commands 421 (4, 7, 0) "more than 100 commands without a message (NOOP, RSET, VRFY, HELP, EHLO)";
    too_many_failed_logins 421 (4, 7, 0) "5 log-ins have failed on this connection";
    not_http 421 (4, 7, 0) "this is a mail server and speaks SMTP only";
    lost_thread 421 (4, 3, 0) "an error of ours; try again later";
    try_later 451 (4, 3, 0) "an error of ours; try again later";
    no_room 452 (4, 3, 1) "no room for this message now, try again later";
    too_many_recipients 452 (4, 5, 3) "no more recipients in this message; send it to the others in another one";
    inbox_full 452 (4, 2, 2) "the inbox is full; try again later";
    log_in_unavailable 454 (4, 7, 0) "log-in is not possible now; try again later";

    unknown_command 500 (5, 5, 2) "no such command";
    line_too_long 500 (5, 5, 2) "that line is too long";
    bare_line_feed 500 (5, 5, 2) "a command line ends with CR LF, not with LF alone";
    bad_characters 500 (5, 5, 2) "a command has printable ASCII characters only";
    no_arguments 501 (5, 5, 4) "this command takes no arguments";
    bad_arguments 501 (5, 5, 4) "the arguments of this command are wrong";
    bad_sender 501 (5, 1, 7) "write MAIL FROM:<local-part@domain>";
    bad_recipient 501 (5, 1, 3) "write RCPT TO:<local-part@domain>";
    not_implemented 502 (5, 5, 1) "this command is not offered here";
    hello_first 503 (5, 5, 1) "say EHLO first";
    mail_first 503 (5, 5, 1) "MAIL comes first";
    recipient_first 503 (5, 5, 1) "no valid recipients: RCPT comes first";
    nested_mail 503 (5, 5, 1) "a message is already on its way; RSET drops it";
    not_now 503 (5, 5, 1) "not in the middle of a message; RSET drops it";
    tls_twice 503 (5, 5, 1) "TLS is already there";
    log_in_twice 503 (5, 5, 1) "you are already logged in";
    unknown_mechanism 504 (5, 5, 4) "this mechanism is not offered; use PLAIN or LOGIN";
    tls_first 530 (5, 7, 0) "say STARTTLS first";
    log_in_first 530 (5, 7, 0) "log in first: AUTH with inbox@domain and an API token";
    auth_needs_tls 538 (5, 7, 11) "AUTH needs TLS: say STARTTLS first";
    auth_cancelled 501 (5, 7, 0) "log-in cancelled";
    auth_undecodable 501 (5, 5, 2) "this is no base64 of what the mechanism asks for";
    auth_wrong 535 (5, 7, 8) "the user name or the API token is wrong";
    bare_line_end 550 (5, 5, 2) "the message has a CR or LF on its own; lines end with CR LF";
    too_big 552 (5, 3, 4) "the message is bigger than this server takes";
    not_ascii 553 (5, 6, 7) "addresses are ASCII here; write the domain in its A-label form";
    unknown_parameter 555 (5, 5, 4) "this parameter is not offered here";
}

/// The line that asks for the message.
pub fn send_data() -> Reply {
    Reply::plain(354, "send the message, and end it with a dot on a line of its own")
}

/// Appends a reply of one line. One without text keeps the space after its code: clients wait for `334 `.
pub fn write(output: &mut Vec<u8>, reply: &Reply) {
    if reply.text.is_empty() && reply.enhanced.is_none() {
        output.extend_from_slice(format!("{} \r\n", reply.code).as_bytes());
    } else {
        output.extend_from_slice(&reply.to_bytes());
    }
}

/// Appends the lines of one reply: `250-first`, `250 last`.
pub fn write_lines(output: &mut Vec<u8>, code: u16, lines: &[String]) {
    let last = lines.len().saturating_sub(1);
    for (i, text) in lines.iter().enumerate() {
        let mut line = Reply::plain(code, text.as_str()).to_bytes();
        if i < last
            && let Some(separator) = line.get_mut(3)
        {
            *separator = b'-';
        }
        output.extend_from_slice(&line);
    }
}

/// The domain is delivered here, and the local part is nobody's.
pub fn no_such_user(address: &Address) -> Reply {
    Reply::new(550, EnhancedCode(5, 1, 1), format!("there is no mailbox {address} here"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_line_has_a_space() {
        let mut output = Vec::new();
        write_lines(&mut output, 250, &["mx.example".into(), "SIZE 1\r\n250 2".into(), "HELP".into()]);
        write(&mut output, &Reply::plain(334, ""));
        assert_eq!(output, b"250-mx.example\r\n250-SIZE 1??250 2\r\n250 HELP\r\n334 \r\n");
    }
}
