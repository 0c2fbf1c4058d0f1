//! A real client, spoken to over its management interface as graphical interfaces do.

use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use data_encoding::BASE64;

use super::network::Network;
use crate::rig::PATIENCE;

/// How a login ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    Connected,
    /// With what the client was told.
    Rejected(String),
}

/// What somebody at a client types.
#[derive(Clone, Debug, Default)]
pub struct Typed<'a> {
    pub user: &'a str,
    pub password: &'a str,
    /// What goes into the field of the static challenge, where there is one.
    pub response: &'a str,
    /// The answers to the questions, in their order.
    pub answers: &'a [&'a str],
}

/// A client process.
pub struct Client {
    child: Child,
    reader: BufReader<UnixStream>,
    writer: UnixStream,
    socket: PathBuf,
    /// The questions that were shown.
    pub questions: Vec<String>,
}

impl Client {
    /// Starts a client on the configuration in `directory`, called `name`, with `options` besides.
    pub fn start(network: &Network, directory: &Path, name: &str, options: &[&str]) -> Self {
        let socket = directory.join(format!("{name}.management"));
        let child = network
            .clients
            .command("openvpn")
            .args(["--cd", directory.to_str().unwrap(), "--config", "client.conf"])
            .args(["--management", socket.to_str().unwrap(), "unix", "--management-hold"])
            .args(["--management-query-passwords", "--log"])
            .arg(directory.join(format!("{name}.log")))
            .args(options)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let began = Instant::now();
        let writer = loop {
            match UnixStream::connect(&socket) {
                Ok(stream) => break stream,
                Err(error) => assert!(began.elapsed() < PATIENCE, "{error}"),
            }
            thread::sleep(Duration::from_millis(5));
        };
        writer.set_read_timeout(Some(PATIENCE)).unwrap();
        let reader = BufReader::new(writer.try_clone().unwrap());
        let mut client = Self { child, reader, writer, socket, questions: Vec::new() };
        client.say("state on");
        client
    }

    /// Logs in, to the end.
    pub fn log_in(&mut self, typed: &Typed<'_>) -> End {
        let mut answers: VecDeque<&str> = typed.answers.iter().copied().collect();
        let mut challenge: Option<(String, String)> = None;
        loop {
            let line = self.line();
            if line.starts_with(">HOLD:") {
                self.say("hold release");
            } else if line.starts_with(">PASSWORD:Need 'Auth'") {
                match challenge.take() {
                    Some((user, state)) => {
                        let answer = answers.pop_front().expect("an answer to one more question");
                        self.enter(&user, &format!("CRV1::{state}::{answer}"));
                    }
                    None if line.contains(" SC:") => {
                        let [password, response] =
                            [typed.password, typed.response].map(|text| BASE64.encode(text.as_bytes()));
                        self.enter(typed.user, &format!("SCRV1:{password}:{response}"));
                    }
                    None => self.enter(typed.user, typed.password),
                }
            } else if let Some(reason) = line.strip_prefix(">PASSWORD:Verification Failed: 'Auth'") {
                let reason = reason.trim_start_matches(" ['").trim_end_matches("']");
                let fields: Vec<&str> = reason.splitn(5, ':').collect();
                let ["CRV1", _, state, user, prompt] = fields[..] else { return End::Rejected(reason.to_owned()) };
                let user = String::from_utf8(BASE64.decode(user.as_bytes()).unwrap()).unwrap();
                challenge = Some((user, state.to_owned()));
                self.questions.push(prompt.to_owned());
            } else if let Some(question) = line.strip_prefix(">INFOMSG:CR_TEXT:") {
                self.questions.push(question.split_once(':').unwrap().1.to_owned());
                let answer = answers.pop_front().expect("an answer to one more question");
                self.say(&format!("cr-response {}", BASE64.encode(answer.as_bytes())));
            } else if line.contains(",TEMP[") || line.contains("AUTH_FAILED") {
                return End::Rejected(line);
            } else if line.starts_with(">STATE:") && line.contains(",CONNECTED,SUCCESS,") {
                return End::Connected;
            }
        }
    }

    /// Says something to the client.
    pub fn say(&mut self, line: &str) {
        writeln!(self.writer, "{line}").unwrap();
    }

    fn enter(&mut self, user: &str, password: &str) {
        let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
        self.say(&format!("username \"Auth\" {}", quoted(user)));
        self.say(&format!("password \"Auth\" {}", quoted(password)));
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        let read = self.reader.read_line(&mut line).unwrap_or_else(|error| panic!("{error}: {}", self.log()));
        assert!(read > 0, "the client has ended: {}", self.log());
        line.trim_end().to_owned()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.socket.with_extension("log")).unwrap_or_default()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // So that the server learns of it; a client that has ended already does not.
        let _ = writeln!(self.writer, "signal SIGTERM");
        let began = Instant::now();
        while began.elapsed() < PATIENCE / 10 && matches!(self.child.try_wait(), Ok(None)) {
            thread::sleep(Duration::from_millis(5));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
