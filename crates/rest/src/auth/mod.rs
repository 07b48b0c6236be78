//! Who calls, and what he may do.
//!
//! A password is verified on a blocking thread, one at a time, and remembered for a minute, so a flood of logins takes one
//! core at most and holds up nobody who is known. Wrong logins of one address are few a minute.

mod file;
mod jaas;
mod role;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::{HeaderMap, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use klamm_runtime::Authentication;
use subtle::ConstantTimeEq as _;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use tracing::warn;

pub use self::file::user_line;
use self::file::{Token, User, Users, sha256};
pub(crate) use self::role::Role;
use crate::clients::Buckets;
use crate::reload::{Reload, Reloaded};

/// Longest password or token that is looked at.
const MAX_SECRET: usize = 1024;
/// How long a verified password is remembered.
const REMEMBERED: Duration = Duration::from_secs(60);
/// Wrong logins of one address at once.
const FAILURES: f64 = 10.0;
/// And how many more a second.
const FAILURES_PER_SECOND: f64 = 1.0 / 6.0;
/// How long a login waits for those before it.
const VERIFY_WAIT: Duration = Duration::from_secs(5);
/// Logins that wait.
const VERIFY_QUEUE: usize = 32;

/// Somebody who is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) name: String,
    pub(crate) role: Role,
}

/// Why a caller is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unknown {
    /// He says nothing about who he is.
    Silent,
    /// What he says is wrong. The user whose name he gives, if there is one.
    Wrong(Option<String>),
    /// He was wrong too often.
    TooOften,
    /// Too many log in at this moment.
    Busy,
}

/// Where the users of a password come from.
struct UserFile {
    users: Reloaded<Users>,
}

/// A password that was right.
struct Remembered {
    digest: [u8; 32],
    until: Instant,
}

/// Tells callers apart.
pub(crate) struct Authenticator {
    users: Vec<Arc<UserFile>>,
    tokens: Option<Arc<Reloaded<Vec<Token>>>>,
    /// By user, so there are no more of them than users.
    remembered: Mutex<HashMap<String, Remembered>>,
    /// Makes what is remembered worthless outside of this process.
    salt: [u8; 32],
    failures: Buckets,
    verifier: Arc<Semaphore>,
    queue: Semaphore,
}

impl Reload for UserFile {
    fn look(&self) {
        self.users.look();
    }
}

enum Given<'a> {
    Nothing,
    Basic(String, String),
    Bearer(&'a str),
    Unreadable,
}

impl Authenticator {
    /// Reads the files; none if nothing says who may call.
    ///
    /// # Errors
    /// A file that cannot be used.
    pub(crate) fn try_new(settings: &Authentication) -> Result<Option<Self>, String> {
        if !settings.is_on() {
            return Ok(None);
        }
        let mut users = Vec::new();
        if let Some(path) = settings.users.clone() {
            let files = vec![path.clone()];
            users.push(Reloaded::try_new(
                "users of the REST API",
                move || files.clone(),
                move || file::users(&path),
            )?);
        }
        if let Some(path) = settings.jaas.clone() {
            let jaas = path.clone();
            let files = move || {
                let named = file::connect_users_file(&jaas);
                [Some(jaas.clone()), named].into_iter().flatten().collect()
            };
            let load = move || file::connect_users(&path);
            users.push(Reloaded::try_new("users of the REST API", files, load)?);
        }
        let tokens = settings.tokens.clone().map(|path| {
            let files = vec![path.clone()];
            Reloaded::try_new(
                "tokens of the REST API",
                move || files.clone(),
                move || file::tokens(&path),
            )
        });
        Ok(Some(Self {
            users: users.into_iter().map(|users| Arc::new(UserFile { users })).collect(),
            tokens: tokens.transpose()?.map(Arc::new),
            remembered: Mutex::default(),
            salt: random()?,
            failures: Buckets::new(FAILURES, FAILURES_PER_SECOND),
            verifier: Arc::new(Semaphore::new(1)),
            queue: Semaphore::new(VERIFY_QUEUE),
        }))
    }

    /// What is to be read again when it changes.
    pub(crate) fn reloads(&self) -> Vec<Arc<dyn Reload>> {
        let users = self.users.iter().map(|users| Arc::clone(users) as Arc<dyn Reload>);
        let tokens = self.tokens.iter().map(|tokens| Arc::clone(tokens) as Arc<dyn Reload>);
        users.chain(tokens).collect()
    }

    /// What a client may answer to a 401 with.
    pub(crate) fn challenges(&self) -> Vec<&'static str> {
        let basic = (!self.users.is_empty()).then_some("Basic realm=\"klamm\", charset=\"UTF-8\"");
        let bearer = self.tokens.is_some().then_some("Bearer realm=\"klamm\"");
        basic.into_iter().chain(bearer).collect()
    }

    /// Who calls from `address`.
    ///
    /// # Errors
    /// He is not known.
    pub(crate) async fn caller(&self, headers: &HeaderMap, address: IpAddr) -> Result<Caller, Unknown> {
        let result = match given(headers) {
            Given::Nothing => return Err(Unknown::Silent),
            Given::Unreadable => Err(Unknown::Wrong(None)),
            Given::Bearer(token) => self.by_token(token).ok_or(Unknown::Wrong(None)),
            Given::Basic(name, password) => {
                let user = self.user(&name);
                if let Some(user) = user.as_ref().filter(|user| self.remembers(&name, user, &password)) {
                    let role = user.role;
                    return Ok(Caller { name, role });
                }
                // Paid before it is verified: many at once are as many as one after the other.
                if !self.failures.take(address) {
                    return Err(Unknown::TooOften);
                }
                let is_right = self.verify(user.as_ref(), &password).await;
                // What was not looked at was no failure.
                if is_right != Some(false) {
                    self.failures.give_back(address);
                }
                return match (is_right, user) {
                    (Some(true), Some(user)) => {
                        self.remember(&name, &user, &password);
                        let role = user.role;
                        Ok(Caller { name, role })
                    }
                    (None, _) => Err(Unknown::Busy),
                    // A name that nobody has may be a password in the wrong place: it goes nowhere.
                    (Some(_), user) => Err(Unknown::Wrong(user.map(|_| name))),
                };
            }
        };
        // A token is looked up at once and cannot be guessed: failures are counted only so that they are few in the log.
        if result.is_err() && !self.failures.take(address) {
            return Err(Unknown::TooOften);
        }
        result
    }

    fn user(&self, name: &str) -> Option<User> {
        self.users
            .iter()
            .find_map(|file| file.users.current().get(name).cloned())
    }

    fn by_token(&self, token: &str) -> Option<Caller> {
        let sha = sha256(token.as_bytes());
        let tokens = self.tokens.as_ref()?.current();
        // All are compared, each in constant time.
        let mut found = None;
        for token in tokens.iter().filter(|token| bool::from(token.sha.ct_eq(&sha))) {
            found = Some(Caller {
                name: token.name.clone(),
                role: token.role,
            });
        }
        found
    }

    /// Whether the password is the user's; none if too many wait for the same.
    async fn verify(&self, user: Option<&User>, password: &str) -> Option<bool> {
        // A name that nobody has takes as long as one that somebody has.
        let stand_in = || {
            self.users
                .iter()
                .find_map(|file| file.users.current().values().next().cloned())
        };
        let exists = user.is_some();
        let Some(checked) = user.cloned().or_else(stand_in) else {
            return Some(false);
        };
        let password = password.to_owned();
        let _place = self.queue.try_acquire().ok()?;
        let turn = timeout(VERIFY_WAIT, Arc::clone(&self.verifier).acquire_owned())
            .await
            .ok()?
            .ok()?;
        let verified = tokio::task::spawn_blocking(move || {
            // Kept until the thread is free, which is later than the request if that is given up.
            let _turn = turn;
            checked.password.verify(&password)
        });
        match verified.await {
            Ok(is_right) => Some(is_right && exists),
            Err(error) => {
                warn!(%error, "a password cannot be verified");
                None
            }
        }
    }

    fn digest(&self, user: &User, password: &str) -> [u8; 32] {
        sha256(&[&self.salt, user.password.fingerprint(), b"\0", password.as_bytes()].concat())
    }

    fn remembers(&self, name: &str, user: &User, password: &str) -> bool {
        let digest = self.digest(user, password);
        let remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        let known = remembered.get(name).filter(|known| known.until > Instant::now());
        known.is_some_and(|known| known.digest.ct_eq(&digest).into())
    }

    fn remember(&self, name: &str, user: &User, password: &str) {
        let known = Remembered {
            digest: self.digest(user, password),
            until: Instant::now() + REMEMBERED,
        };
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        // Users that are gone from the file leave nothing behind.
        remembered.retain(|_, known| known.until > Instant::now());
        remembered.insert(name.to_owned(), known);
    }
}

/// Bytes that nobody can guess.
fn random<const N: usize>() -> Result<[u8; N], String> {
    let mut bytes = [0; N];
    let provider = rustls::crypto::ring::default_provider();
    let filled = provider.secure_random.fill(&mut bytes);
    filled.map_err(|_| "the system gives no random bytes".to_owned())?;
    Ok(bytes)
}

fn given(headers: &HeaderMap) -> Given<'_> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = match (values.next(), values.next()) {
        (None, _) => return Given::Nothing,
        (Some(value), None) => value,
        (Some(_), Some(_)) => return Given::Unreadable,
    };
    let parts = value.to_str().ok().and_then(|text| text.trim().split_once(' '));
    let Some((scheme, credentials)) = parts.filter(|(_, credentials)| credentials.len() <= 2 * MAX_SECRET) else {
        return Given::Unreadable;
    };
    let credentials = credentials.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Given::Bearer(credentials);
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return Given::Unreadable;
    }
    let decoded = STANDARD
        .decode(credentials)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok());
    match decoded.as_deref().and_then(|text| text.split_once(':')) {
        Some((name, password)) if password.len() <= MAX_SECRET => Given::Basic(name.to_owned(), password.to_owned()),
        _ => Given::Unreadable,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn hash(password: &str) -> String {
        let parts = bcrypt::hash_with_salt(password, 4, *b"sixteen bytes so").unwrap();
        parts.format_for_version(bcrypt::Version::TwoY)
    }

    struct Files {
        dir: tempfile::TempDir,
        settings: Authentication,
    }

    impl Files {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let path = |name: &str| dir.path().join(name);
            let token: String = sha256(b"t0ken").iter().map(|byte| format!("{byte:02x}")).collect();
            fs::write(
                path("users"),
                format!("ada:{}:admin\nbob:{}:read\n", hash("pw:1"), hash("pw2")),
            )
            .unwrap();
            fs::write(path("tokens"), format!("ci:{token}:operate\n")).unwrap();
            fs::write(path("connect"), "eve=pw3\n").unwrap();
            let jaas = format!(
                "KafkaConnect {{ a.PropertyFileLoginModule required file=\"{}\"; }};",
                path("connect").display()
            );
            fs::write(path("jaas"), jaas).unwrap();
            let settings = Authentication {
                users: Some(path("users")),
                tokens: Some(path("tokens")),
                jaas: Some(path("jaas")),
                public_paths: Vec::new(),
            };
            Self { dir, settings }
        }

        fn open(&self) -> Authenticator {
            Authenticator::try_new(&self.settings).unwrap().unwrap()
        }
    }

    async fn call(authenticator: &Authenticator, authorization: &str) -> Result<Caller, Unknown> {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, authorization.parse().unwrap());
        authenticator.caller(&headers, HERE).await
    }

    fn basic(pair: &str) -> String {
        format!("Basic {}", STANDARD.encode(pair))
    }

    fn known(name: &str, role: Role) -> Result<Caller, Unknown> {
        Ok(Caller {
            name: name.to_owned(),
            role,
        })
    }

    #[tokio::test]
    async fn users_and_tokens_are_known_with_their_roles() {
        let files = Files::new();
        let authenticator = files.open();
        let wrong = |name: &str| Err(Unknown::Wrong(Some(name.to_owned())));
        let cases = [
            (basic("ada:pw:1"), known("ada", Role::Admin), "a password with a colon"),
            (basic("ada:pw:1"), known("ada", Role::Admin), "remembered"),
            (
                basic("ada:pw2"),
                wrong("ada"),
                "somebody else's, and remembered is only the right one",
            ),
            (
                basic("bob:pw2").replace("Basic", "BASIC"),
                known("bob", Role::Read),
                "any case",
            ),
            (basic("eve:pw3"), known("eve", Role::Admin), "of Connect's file"),
            (basic("zoe:pw2"), Err(Unknown::Wrong(None)), "nobody of that name"),
            ("Bearer t0ken".to_owned(), known("ci", Role::Operate), "a token"),
            ("Bearer t0kem".to_owned(), Err(Unknown::Wrong(None)), "no token"),
            (
                "Bearer pw2".to_owned(),
                Err(Unknown::Wrong(None)),
                "a password is no token",
            ),
            ("Basic !".to_owned(), Err(Unknown::Wrong(None)), "no base64"),
            ("Digest x".to_owned(), Err(Unknown::Wrong(None)), "another scheme"),
        ];
        for (authorization, wanted, why) in cases {
            assert_eq!(call(&authenticator, &authorization).await, wanted, "{why}");
        }
        assert_eq!(
            authenticator.caller(&HeaderMap::new(), HERE).await,
            Err(Unknown::Silent)
        );
        let settings = Authentication {
            tokens: files.settings.tokens.clone(),
            ..Authentication::default()
        };
        let tokens_only = Authenticator::try_new(&settings).unwrap().unwrap();
        assert_eq!(
            call(&tokens_only, &basic("ada:pw:1")).await,
            Err(Unknown::Wrong(None)),
            "no users at all"
        );
    }

    #[tokio::test]
    async fn a_changed_password_ends_what_was_remembered() {
        let files = Files::new();
        let authenticator = files.open();
        assert!(call(&authenticator, &basic("ada:pw:1")).await.is_ok());
        fs::write(files.dir.path().join("users"), format!("ada:{}:operate\n", hash("new"))).unwrap();
        authenticator.reloads().iter().for_each(|reload| reload.look());
        assert!(call(&authenticator, &basic("ada:pw:1")).await.is_err(), "the old one");
        assert_eq!(
            call(&authenticator, &basic("ada:new")).await,
            known("ada", Role::Operate)
        );
        assert!(
            call(&authenticator, &basic("bob:pw2")).await.is_err(),
            "no longer there"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn wrong_logins_are_few_and_hold_up_nobody_else() {
        let files = Files::new();
        let authenticator = files.open();
        assert!(call(&authenticator, &basic("ada:pw:1")).await.is_ok());
        let mut refused = 0;
        while call(&authenticator, &basic("bob:guess")).await != Err(Unknown::TooOften) {
            refused += 1;
            assert!(refused <= 20, "they are not counted");
        }
        assert_eq!(refused, 10);
        assert_eq!(
            call(&authenticator, &basic("bob:pw2")).await,
            Err(Unknown::TooOften),
            "not even the right one"
        );
        assert!(
            call(&authenticator, &basic("ada:pw:1")).await.is_ok(),
            "remembered, from the same address"
        );
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, basic("bob:pw2").parse().unwrap());
        let elsewhere = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
        assert!(
            authenticator.caller(&headers, elsewhere).await.is_ok(),
            "from another address"
        );
        tokio::time::advance(Duration::from_secs(7)).await;
        assert!(call(&authenticator, &basic("bob:pw2")).await.is_ok(), "after a while");
    }
}
