//! A place in this machine's own network that nobody may be led to.

use std::{io::ErrorKind, net::TcpListener};

/// Something that listens where a tenant's https addresses lead: on port 443, as no other is taken from tenants.
pub struct Trap {
    listener: TcpListener,
}

impl Trap {
    /// On one of loopback's many addresses, a test's own; none where this process may not listen on such a port.
    pub fn set(address: &str) -> Option<Self> {
        match TcpListener::bind((address, 443)) {
            Ok(listener) => {
                listener.set_nonblocking(true).unwrap();
                Some(Self { listener })
            }
            Err(error) if error.kind() == ErrorKind::PermissionDenied => None,
            Err(error) => panic!("{address}:443: {error}"),
        }
    }

    /// Whether anybody has connected.
    pub fn was_reached(&self) -> bool {
        match self.listener.accept() {
            Ok(_) => true,
            Err(error) if error.kind() == ErrorKind::WouldBlock => false,
            Err(error) => panic!("{error}"),
        }
    }
}
