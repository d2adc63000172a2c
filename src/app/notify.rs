//! Notifies the service manager (the protocol of `sd_notify(3)`).

use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Sends `state` to the socket in NOTIFY_SOCKET, if set. A failure is only logged: the service manager reports the
/// missing notification itself.
pub(super) fn service_manager(state: &str) {
    let Some(name) = std::env::var_os("NOTIFY_SOCKET") else { return };
    if let Err(error) = send(name.as_bytes(), state) {
        tracing::warn!(%error, "cannot send {state} to the service manager");
    }
}

fn send(name: &[u8], state: &str) -> std::io::Result<()> {
    let address = match name.split_first() {
        // '@' marks Linux's abstract socket names.
        #[cfg(target_os = "linux")]
        Some((b'@', rest)) => <SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(rest)?,
        _ => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(name))?,
    };
    UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_notification_arrives() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        send(path.as_os_str().as_bytes(), "READY=1").unwrap();
        let mut word = [0; 16];
        let length = socket.recv(&mut word).unwrap();
        assert_eq!(&word[..length], b"READY=1");
        assert!(send(b"/no/such/socket", "READY=1").is_err());
    }
}
