//! The text of every fixed reply, and how replies are written.
//!
//! Invariant: a reply is whole lines of printable ASCII, whatever its text. RFC 5321 §4.2 (codes), §4.2.1
//! (several lines); RFC 3463 and RFC 2034 (enhanced codes: in all but greetings, EHLO and 3yz).

use crate::address::Address;
use crate::auth::sasl::SaslError;
use crate::auth::session::SessionEnd;
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
    cannot_verify 252 (2, 0, 0) "cannot verify user, but will accept message and attempt delivery";
    help 214 (2, 0, 0) "commands: EHLO HELO STARTTLS AUTH MAIL RCPT DATA BDAT RSET NOOP VRFY HELP QUIT; see RFC 5321";
    ready_for_tls 220 (2, 0, 0) "ready to start TLS";
    authenticated 235 (2, 7, 0) "authentication successful";

    overloaded 421 (4, 3, 2) "too many connections, closing idle connection; try again later";
    stopping 421 (4, 3, 2) "server is shutting down, closing connection";
    idle_timeout 421 (4, 4, 2) "idle timeout, closing connection";
    too_slow 421 (4, 4, 2) "data rate too low, closing connection";
    too_many_errors 421 (4, 7, 0) "too many errors, closing connection";
    too_many_idle_commands 421 (4, 7, 0) "more than 100 commands without a message, closing connection";
    too_many_failed_logins 421 (4, 7, 0) "5 failed log-ins, closing connection";
    not_http 421 (4, 7, 0) "this is an SMTP server, closing connection";
    internal_error 421 (4, 3, 0) "local error, closing connection; try again later";
    local_error 451 (4, 3, 0) "local error, try again later";
    no_storage 452 (4, 3, 1) "insufficient storage, try again later";
    too_many_recipients 452 (4, 5, 3) "too many recipients, send to the others in another transaction";
    inbox_disabled 450 (4, 2, 1) "the inbox is disabled, try again later";
    inbox_full 452 (4, 2, 2) "the inbox is full, try again later";
    login_unavailable 454 (4, 7, 0) "temporary authentication failure, try again later";

    unknown_command 500 (5, 5, 2) "command not recognized";
    line_too_long 500 (5, 5, 2) "line too long";
    bare_line_feed 500 (5, 5, 2) "command lines must end with CRLF, not a bare LF";
    bad_characters 500 (5, 5, 2) "commands must be printable ASCII";
    no_arguments 501 (5, 5, 4) "this command takes no arguments";
    bad_arguments 501 (5, 5, 4) "syntax error in arguments";
    bad_chunk 501 (5, 5, 4) "syntax: BDAT size [LAST], closing connection";
    bad_sender 501 (5, 1, 7) "syntax: MAIL FROM:<local-part@domain>";
    bad_recipient 501 (5, 1, 3) "syntax: RCPT TO:<local-part@domain>";
    not_implemented 502 (5, 5, 1) "command not implemented";
    hello_first 503 (5, 5, 1) "send EHLO first";
    mail_first 503 (5, 5, 1) "need MAIL command first";
    recipient_first 503 (5, 5, 1) "no valid recipients, need RCPT command first";
    chunk_before_mail 503 (5, 5, 1) "BDAT before MAIL, closing connection";
    chunks_begun 503 (5, 5, 1) "the message is sent by BDAT, end it with BDAT LAST or use RSET to abort it";
    nested_mail 503 (5, 5, 1) "nested MAIL command, use RSET to abort the current transaction";
    not_in_transaction 503 (5, 5, 1) "not allowed during a mail transaction, use RSET to abort it";
    tls_active 503 (5, 5, 1) "TLS already active";
    already_authenticated 503 (5, 5, 1) "already authenticated";
    unknown_mechanism 504 (5, 5, 4) "authentication mechanism not supported, use PLAIN, LOGIN, OAUTHBEARER or XOAUTH2";
    tls_required 530 (5, 7, 0) "TLS required, use STARTTLS first";
    login_required 530 (5, 7, 0) "authentication required, use AUTH with an inbox's address and an API token";
    auth_needs_tls 538 (5, 7, 11) "TLS required for AUTH, use STARTTLS first";
    auth_wrong 535 (5, 7, 8) "the user name or the API token is wrong";
    bare_line_end 550 (5, 5, 2) "bare CR or LF in message, lines must end with CRLF";
    too_big 552 (5, 3, 4) "message size exceeds limit";
    not_ascii 553 (5, 6, 7) "SMTPUTF8 not supported, addresses must be ASCII (domains as A-labels)";
    unknown_parameter 555 (5, 5, 4) "parameter not supported";
}

/// Asks for the message.
pub fn send_data() -> Reply {
    Reply::plain(354, "end data with <CR><LF>.<CR><LF>")
}

/// A chunk has been received.
pub fn chunk_ok(octets: usize) -> Reply {
    Reply::new(250, EnhancedCode(2, 0, 0), format!("{octets} octets received"))
}

/// The SASL challenge that says why a log-in was refused.
pub fn challenge(text: &str) -> Reply {
    Reply::plain(334, text)
}

/// Appends a reply of one line. One without text keeps the space after its code: clients expect `334 `.
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

/// The session has ended.
pub fn session_ended(end: SessionEnd) -> Reply {
    let enhanced = match end {
        SessionEnd::NotChecked => EnhancedCode(4, 3, 0),
        _ => EnhancedCode(4, 7, 0),
    };
    Reply::new(421, enhanced, format!("{end}, closing connection"))
}

/// An AUTH exchange has failed.
pub fn sasl_failed(error: SaslError) -> Reply {
    let enhanced = match error {
        SaslError::Cancelled => EnhancedCode(5, 7, 0),
        SaslError::InvalidBase64 | SaslError::InvalidResponse => EnhancedCode(5, 5, 2),
        SaslError::OtherIdentity => return auth_wrong(),
    };
    Reply::new(501, enhanced, error.to_string())
}

/// The domain is delivered here, and has no such inbox or alias.
pub fn no_such_user(address: &Address) -> Reply {
    Reply::new(550, EnhancedCode(5, 1, 1), format!("there is no mailbox {address} here"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_lines_but_the_last_have_a_hyphen() {
        let mut output = Vec::new();
        write_lines(&mut output, 250, &["mx.example".into(), "SIZE 1\r\n250 2".into(), "HELP".into()]);
        write(&mut output, &Reply::plain(334, ""));
        assert_eq!(output, b"250-mx.example\r\n250-SIZE 1??250 2\r\n250 HELP\r\n334 \r\n");
    }
}
