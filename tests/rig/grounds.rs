//! Both stores: what holds over one has to hold over the other.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Home;
use super::postgres::Cluster;
use super::services::skip;

/// A home on one of the stores.
pub struct Ground {
    pub home: Home,
    /// What the store is called.
    pub name: &'static str,
    cluster: Option<Cluster>,
}

impl Ground {
    /// A home on the embedded store, and one on PostgreSQL where that is installed; one of them alone where `COUNTERSIGN_STORE` is
    /// its name.
    pub fn all() -> Vec<Self> {
        let only = std::env::var("COUNTERSIGN_STORE").ok();
        let is_wanted = |name: &str| only.as_ref().is_none_or(|only| only == name);
        let embedded = is_wanted("embedded").then(|| Self { home: Home::init(), name: "embedded", cluster: None });
        let shared = is_wanted("PostgreSQL").then(cluster).flatten();
        let shared =
            shared.map(|cluster| Self { home: home_on(&cluster, None), name: "PostgreSQL", cluster: Some(cluster) });
        [embedded, shared].into_iter().flatten().collect()
    }

    /// The cluster, where the store is in one.
    pub fn cluster(&mut self) -> Option<&mut Cluster> {
        self.cluster.as_mut()
    }
}

/// A cluster with an empty database; `None`, after a line that says what to install, where there is no PostgreSQL.
pub fn cluster() -> Option<Cluster> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("countersign-test-postgres-{}-{count}", std::process::id());
    match Cluster::start(&std::env::temp_dir().join(name)) {
        Some(cluster) => {
            cluster.create("mfa");
            Some(cluster)
        }
        None => skip("skipped: there is no PostgreSQL; run: apt-get install postgresql"),
    }
}

/// A gateway's home on the database of `cluster`, with the key of `like` where there is one.
pub fn home_on(cluster: &Cluster, like: Option<&Home>) -> Home {
    let home = Home::init();
    if let Some(other) = like {
        home.keep("master.key", &std::fs::read_to_string(other.dir().join("master.key")).unwrap());
    }
    home.set("plugin", "store", &cluster.url("mfa", ""));
    home.run(&["store", "migrate"], "").ok();
    home
}
