//! An HTTP proxy that tunnels, for one name and password.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use data_encoding::BASE64;

/// A proxy on a loopback port. It ends with the test.
pub struct Proxy {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// A proxy that asks for `login` (`name:password`), or for nothing.
    pub fn start(login: Option<&str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let wanted = login.map(|login| format!("basic {}", BASE64.encode(login.as_bytes())));
        let seen = Arc::clone(&heads);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let (seen, wanted) = (Arc::clone(&seen), wanted.clone());
                thread::spawn(move || tunnel(client, &seen, wanted.as_deref()));
            }
        });
        Self { address, heads }
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// What it was asked, without the tunnelled bytes.
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

/// The client may go at any moment; then there is nothing left to do.
fn tunnel(mut client: TcpStream, seen: &Mutex<Vec<String>>, wanted: Option<&str>) -> Option<()> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        client.read_exact(&mut byte).ok()?;
        head.extend(byte);
    }
    let head = String::from_utf8(head).ok()?;
    seen.lock().unwrap().push(head.clone());
    let line = head.lines().find(|line| line.to_lowercase().starts_with("proxy-authorization:"));
    let said = line.and_then(|line| line.split_once(": ")).map(|(_, said)| said.replacen("Basic", "basic", 1));
    if wanted.is_some() && said.as_deref() != wanted {
        let refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n";
        return client.write_all(refusal).ok();
    }
    let target = head.strip_prefix("CONNECT ")?.split(' ').next()?;
    let server = TcpStream::connect(target).ok()?;
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").ok()?;
    let (mut from, mut to) = (client.try_clone().ok()?, server.try_clone().ok()?);
    let up = thread::spawn(move || {
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(std::net::Shutdown::Write);
    });
    let (mut from, mut to) = (server, client);
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(std::net::Shutdown::Write);
    up.join().ok()
}
