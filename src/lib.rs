//! The second factor of a session gateway.
//!
//! A gateway starts `countersign serve` and writes requests to its input, one JSON object a line; each is answered by one
//! verdict on its output: accept, reject or need_info. The same executable is the administrator's tool.
//!
//! ```text
//! line → gateway (codec) → engine (decide) → client (verify here, or ask a service) → store (consume, count) → settle
//!      → audit → line
//! ```
//!
//! # Layers
//!
//! A module uses those above it in this table and none below; `tests/layers.rs` reads the imports and holds it.
//!
//! | layer | modules | what they are |
//! |---|---|---|
//! | 0 | `domain` | the words: no I/O, no clock, no wire format |
//! | 1 | `files`, `ready`, `child`, `otp`, `policy`, `gateway` | guarded files; descriptors asked without waiting; programs that are run; algorithms; rules; who asks |
//! | 2 | `config`, `clock` | plugin.ini, typed; the one reader of clocks |
//! | 3 | `secret`, `net`, `simulate` | sealing; names and TLS; services that go wrong, to be tried against |
//! | 4 | `store` | what is remembered |
//! | 5 | `client`, `directory` | who verifies; who a directory says a user is |
//! | 6 | `engine`, `log`, `metrics`, `setup`, `confine` | the decision; the audit line; figures; from plugin.ini to all of these; what a process gives up |
//! | 7 | `serve` | streams, signals, concurrency |
//! | 8 | `admin` | the subcommands |

pub mod admin;
pub mod child;
pub mod client;
pub mod clock;
pub mod config;
pub mod confine;
pub mod directory;
pub mod domain;
pub mod engine;
pub mod files;
pub mod gateway;
pub mod log;
pub mod metrics;
pub mod net;
pub mod otp;
pub mod policy;
pub mod ready;
pub mod secret;
pub mod serve;
pub mod setup;
pub mod simulate;
pub mod store;
