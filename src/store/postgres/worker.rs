//! The connections, in a thread of their own: whoever asks may live on any runtime, or on one that ends, and a database that
//! hangs holds nobody's thread.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::thread;
use std::time::Duration;

use deadpool_postgres::{
    Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime, Timeouts, Transaction,
};
use rustls::ClientConfig;
use tokio::sync::{mpsc, oneshot};
use tokio_postgres::Error;
use tokio_postgres::error::{DbError, SqlState};

use super::connect::Where;
use super::entry::{self, Entry};
use crate::clock;
use crate::store::{Answer, StoreError};

/// How often what another transaction got in the way of is tried again.
const TRIES: u32 = 40;

/// The longest pause before it is, in milliseconds.
const PAUSE: u64 = 64;

/// How long a connection that fell silent is waited for before it is taken for dead.
const RECYCLE: Duration = Duration::from_secs(2);

type Job = Box<dyn FnOnce(Rc<Pool>) -> Pin<Box<dyn Future<Output = ()>>> + Send>;

/// The thread that has the connections.
pub struct Worker {
    jobs: mpsc::UnboundedSender<Job>,
    /// How long a transaction may take, from its first word to the answer to its last: whoever said nothing until then says
    /// nothing any more.
    limit: Duration,
    /// The store, where nobody has looked at it yet: that comes before anything else.
    unseen: Option<Arc<Entry>>,
}

impl Worker {
    /// Starts one for `place`. Nothing is connected before something is asked; where the store is `unseen`, it is looked at then.
    ///
    /// # Errors
    /// Where there can be no thread.
    pub fn start(place: &Where, tls: Option<ClientConfig>, unseen: Option<Arc<Entry>>) -> Result<Self, StoreError> {
        let manager = Manager::from_connect(
            place.config().clone(),
            place.way(tls),
            ManagerConfig { recycling_method: RecyclingMethod::Fast },
        );
        let create = place.patience_for_all();
        let timeouts = Timeouts { wait: Some(create), create: Some(create), recycle: Some(RECYCLE) };
        let pool = Pool::builder(manager)
            .max_size(place.connections)
            .runtime(Runtime::Tokio1)
            .timeouts(timeouts)
            .build()
            .map_err(|error| StoreError::Failed(error.to_string()))?;
        let (jobs, mut asked) = mpsc::unbounded_channel::<Job>();
        let failed = |error: std::io::Error| StoreError::Failed(error.to_string());
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build().map_err(failed)?;
        thread::Builder::new()
            .name("postgres".into())
            .spawn(move || {
                let pool = Rc::new(pool);
                let all = tokio::task::LocalSet::new();
                all.block_on(&runtime, async move {
                    while let Some(job) = asked.recv().await {
                        tokio::task::spawn_local(job(Rc::clone(&pool)));
                    }
                });
            })
            .map_err(failed)?;
        Ok(Self { jobs, limit: place.patience.saturating_add(place.statement), unseen })
    }

    /// As [`Worker::run`], for whoever has no runtime.
    ///
    /// # Errors
    /// What [`Worker::run`] answers.
    pub fn wait<T: Send + 'static>(
        &self,
        operation: impl AsyncFn(&Transaction<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.wait_for(None, operation)
    }

    /// The same, waiting no longer than `within`.
    ///
    /// # Errors
    /// What [`Worker::run`] answers; that it is not reached where that takes longer.
    pub fn wait_for<T: Send + 'static>(
        &self,
        within: Option<Duration>,
        operation: impl AsyncFn(&Transaction<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (tell, told) = std::sync::mpsc::channel();
        let (limit, unseen) = (self.limit, self.unseen.clone());
        let job: Job = Box::new(move |pool| {
            Box::pin(async move {
                let (stay, _told) = oneshot::channel();
                let _ = tell.send(until_done(&pool, &stay, limit, unseen, operation).await);
            })
        });
        let ended = || StoreError::Failed("the thread of the database has ended".into());
        self.jobs.send(job).map_err(|_| ended())?;
        let Some(within) = within else { return told.recv().map_err(|_| ended())? };
        match told.recv_timeout(within) {
            Ok(answer) => answer,
            Err(RecvTimeoutError::Timeout) => Err(StoreError::Unreachable("it says nothing".into())),
            Err(RecvTimeoutError::Disconnected) => Err(ended()),
        }
    }

    /// Runs `operation` in a transaction, until it is committed, or fails for another reason than that others were faster.
    /// It is over when this answers; whoever no longer waits for that finds it wholly done or not at all.
    pub fn run<'a, T: Send + 'static>(
        &self,
        operation: impl AsyncFn(&Transaction<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Answer<'a, T> {
        let (tell, told) = oneshot::channel();
        let (limit, unseen) = (self.limit, self.unseen.clone());
        let job: Job = Box::new(move |pool| {
            Box::pin(async move {
                let answer = until_done(&pool, &tell, limit, unseen, operation).await;
                // Where nobody waits any more, nobody is told.
                let _ = tell.send(answer);
            })
        });
        let sent = self.jobs.send(job);
        Box::pin(async move {
            let ended = || StoreError::Failed("the thread of the database has ended".into());
            sent.map_err(|_| ended())?;
            told.await.map_err(|_| ended())?
        })
    }
}

async fn until_done<T>(
    pool: &Pool,
    tell: &oneshot::Sender<Result<T, StoreError>>,
    limit: Duration,
    unseen: Option<Arc<Entry>>,
    operation: impl AsyncFn(&Transaction<'_>) -> Result<T, Error>,
) -> Result<T, StoreError> {
    let mut tries = 0;
    let mut until = None;
    loop {
        let mut client = pool.get().await.map_err(|error| unreachable_database(&error))?;
        // What it took to find a server is no part of it, and has limits of its own.
        let until = *until.get_or_insert_with(|| clock::after(limit));
        let seen = async {
            if let Some(entry) = unseen.as_ref().filter(|entry| !entry.is_known()) {
                let found = transact(&mut client, &async |tx: &Transaction<'_>| entry::look(tx).await).await?;
                if let Err(error) = entry.admit(found) {
                    return Ok(Err(error));
                }
            }
            transact(&mut client, &operation).await.map(Ok)
        };
        let ended = tokio::time::timeout(clock::left(until), seen).await;
        if ended.is_err() || client.is_closed() {
            // Nobody gets it again: whatever was said last may be on its way, and comes to an end with the connection.
            drop(Object::take(client));
        }
        let error = match ended {
            Ok(Ok(answer)) => return answer,
            Ok(Err(error)) => error,
            Err(_elapsed) => return Err(StoreError::Unreachable("it fell silent".into())),
        };
        tries += 1;
        let is_over = tries >= TRIES || tell.is_closed() || clock::left(until).is_zero();
        if !is_in_the_way(&error) || is_over {
            return Err(failed(&error));
        }
        let most = (1_u64 << tries.min(6)).min(PAUSE);
        let pause = getrandom::u64().unwrap_or(0) % most;
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
}

async fn transact<T>(
    client: &mut Object,
    operation: &impl AsyncFn(&Transaction<'_>) -> Result<T, Error>,
) -> Result<T, Error> {
    // At the level of isolation that the database has for its sessions.
    let transaction = client.transaction().await?;
    let answer = operation(&transaction).await?;
    transaction.commit().await?;
    Ok(answer)
}

/// Whether it was others who were faster: the same again may succeed.
fn is_in_the_way(error: &Error) -> bool {
    // What two make at once is there when the second tries again.
    let codes = [
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::DUPLICATE_TABLE,
        SqlState::DUPLICATE_SCHEMA,
        SqlState::DUPLICATE_OBJECT,
    ];
    let is_catalog = |error: &DbError| {
        *error.code() == SqlState::UNIQUE_VIOLATION && error.constraint().is_some_and(|name| name.starts_with("pg_"))
    };
    error.as_db_error().is_some_and(|error| codes.contains(error.code()) || is_catalog(error))
}

fn unreachable_database(error: &PoolError) -> StoreError {
    match error {
        PoolError::Backend(error) => failed(error),
        PoolError::Timeout(_) => StoreError::Unreachable("no connection in time".into()),
        PoolError::Closed | PoolError::NoRuntimeSpecified | PoolError::PostCreateHook(_) => {
            StoreError::Failed(error.to_string())
        }
    }
}

/// What an error of the database means for the operator.
pub fn failed(error: &Error) -> StoreError {
    let text = told(error);
    match error.code() {
        Some(code) if *code == SqlState::DISK_FULL => StoreError::Full,
        Some(code) if *code == SqlState::READ_ONLY_SQL_TRANSACTION || *code == SqlState::INSUFFICIENT_PRIVILEGE => {
            StoreError::ReadOnly(text)
        }
        Some(code) if *code == SqlState::QUERY_CANCELED || *code == SqlState::LOCK_NOT_AVAILABLE => StoreError::Busy,
        Some(code) if *code == SqlState::DATA_CORRUPTED || *code == SqlState::INDEX_CORRUPTED => {
            StoreError::Damaged(text)
        }
        Some(_) => StoreError::Failed(text),
        None => StoreError::Unreachable(text),
    }
}

/// The error with its causes, which the crate's own text leaves out. What the database says of a statement holds no values.
fn told(error: &Error) -> String {
    let mut text = match error.as_db_error() {
        Some(error) => format!("{}: {}", error.code().code(), error.message()),
        None => error.to_string(),
    };
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause.filter(|_| error.as_db_error().is_none()) {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}
