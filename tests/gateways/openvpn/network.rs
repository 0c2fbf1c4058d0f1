//! Two name spaces with a cable between them: the server's and the clients'.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

/// The server's address.
pub const SERVER: &str = "10.99.0.1";

/// Two network name spaces, which end with this.
pub struct Network {
    pub server: Space,
    pub clients: Space,
}

impl Network {
    pub fn new() -> Self {
        let network = Self { server: Space::new(), clients: Space::new() };
        let Space { holder, .. } = &network.clients;
        let peer = holder.id().to_string();
        network.server.ip(&["link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", &peer]);
        for (space, address) in [(&network.server, SERVER), (&network.clients, "10.99.0.2")] {
            space.ip(&["link", "set", "lo", "up"]);
            space.ip(&["addr", "add", &format!("{address}/24"), "dev", "cable"]);
            space.ip(&["link", "set", "cable", "up"]);
        }
        network
    }
}

/// A network name space. It is there as long as the process that made it, which reads its input until that ends.
pub struct Space {
    holder: Child,
    _input: ChildStdin,
}

impl Space {
    fn new() -> Self {
        let mut holder = Command::new("unshare")
            .args(["--net", "sh", "-c", "echo ready; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        Self { _input: holder.stdin.take().unwrap(), holder }
    }

    /// A program in the name space.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg("--target").arg(self.holder.id().to_string()).arg("--net").arg(program.as_ref());
        command
    }

    fn ip(&self, arguments: &[&str]) {
        assert!(self.command("ip").args(arguments).status().unwrap().success(), "ip {arguments:?}");
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        // It has ended already, or nobody needs it any more.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
