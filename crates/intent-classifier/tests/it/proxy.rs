//! A TCP proxy that makes a network bad.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};

/// What is wrong with the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// Every answer takes so much longer.
    Slow(Duration),
    /// Connections are cut when so many more bytes were answered.
    CutAfter(usize),
    /// Connections are accepted and never answered.
    Hung,
    /// Every answer is replaced by this.
    Garbage(&'static [u8]),
}

/// A proxy before one port of this machine; gone when dropped.
pub(crate) struct Proxy {
    port: u16,
    fault: watch::Sender<Fault>,
    accepting: tokio::task::JoinHandle<()>,
}

impl Proxy {
    pub(crate) async fn start(to: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port is free");
        let port = listener.local_addr().expect("it is bound").port();
        let (fault, faults) = watch::channel(Fault::None);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let faults = faults.clone();
                tokio::spawn(async move {
                    let Ok(server) = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], to))).await else { return };
                    let ((from_client, to_client), (from_server, to_server)) =
                        (client.into_split(), server.into_split());
                    tokio::select! {
                        () = forward(from_client, to_server) => {}
                        () = answer(from_server, to_client, faults) => {}
                    }
                });
            }
        });
        Self { port, fault, accepting }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Changes what is wrong, for connections that are open, too.
    pub(crate) fn set(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn forward(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
    // Whoever closes first ends both directions.
    let _ = tokio::io::copy(&mut from, &mut to).await;
}

async fn answer(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut faults: watch::Receiver<Fault>) {
    let mut buffer = [0; 4096];
    let mut answered_bytes = 0;
    loop {
        let Ok(read @ 1..) = from.read(&mut buffer).await else { return };
        let fault = *faults.borrow_and_update();
        match fault {
            Fault::None => answered_bytes = 0,
            Fault::Slow(delay) => {
                // Until the network is well again.
                let _ = tokio::time::timeout(delay, faults.wait_for(|fault| *fault == Fault::None)).await;
            }
            Fault::Hung => {
                // Until the network is well again; a peer that has left meanwhile is noticed then.
                let _ = faults.wait_for(|fault| *fault == Fault::None).await;
            }
            Fault::Garbage(garbage) => {
                if to.write_all(garbage).await.is_err() {
                    return;
                }
                continue;
            }
            Fault::CutAfter(limit) => {
                let rest = (limit - answered_bytes).min(read);
                let _ = to.write_all(&buffer[..rest]).await;
                answered_bytes += rest;
                if answered_bytes == limit {
                    return;
                }
                continue;
            }
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
