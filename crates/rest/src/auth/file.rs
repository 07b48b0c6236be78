//! The files that say who may call: users with hashed passwords, hashed tokens, and Connect's users in clear.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::str::FromStr;

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use bcrypt::HashParts;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::jaas;
use super::role::Role;

/// A file of users is some kilobytes; what is larger is some other file.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;
/// A cost of 16 takes seconds already.
const MAX_BCRYPT_COST: u32 = 16;
/// Kibibytes of one Argon2 verification.
const MAX_ARGON2_MEMORY: u32 = 256 * 1024;
/// Passes of one Argon2 verification.
const MAX_ARGON2_PASSES: u32 = 64;

type Sha = [u8; 32];

pub(super) fn sha256(bytes: &[u8]) -> Sha {
    Sha256::digest(bytes).into()
}

/// What proves that somebody is who he says.
#[derive(Clone)]
pub(super) enum Password {
    /// `$2a$`, `$2b$`, `$2y$`
    Bcrypt(String),
    /// `$argon2id$`, `$argon2i$`, `$argon2d$`
    Argon2(String),
    /// Of Connect's file, in clear there; its SHA-256.
    Clear(Sha),
}

impl Password {
    fn parse(hash: &str) -> Result<Self, String> {
        if hash.starts_with("$argon2") {
            let parsed = PasswordHash::new(hash).map_err(|_| "its Argon2 hash cannot be read".to_owned())?;
            let params = argon2::Params::try_from(&parsed).map_err(|_| "its Argon2 hash cannot be read".to_owned())?;
            if params.m_cost() > MAX_ARGON2_MEMORY || params.t_cost() > MAX_ARGON2_PASSES {
                return Err(format!(
                    "its Argon2 hash asks for more than {MAX_ARGON2_MEMORY} KiB or {MAX_ARGON2_PASSES} passes"
                ));
            }
            return Ok(Self::Argon2(hash.to_owned()));
        }
        if ["$2a$", "$2b$", "$2y$"].iter().any(|kind| hash.starts_with(kind)) {
            let parts = HashParts::from_str(hash).map_err(|_| "its bcrypt hash cannot be read".to_owned())?;
            if parts.get_cost() > MAX_BCRYPT_COST {
                return Err(format!("its bcrypt hash has a cost above {MAX_BCRYPT_COST}"));
            }
            return Ok(Self::Bcrypt(hash.to_owned()));
        }
        Err(
            "its hash is neither of bcrypt (`$2y$…`, as `htpasswd -B` writes it) nor of Argon2 (`$argon2id$…`)"
                .to_owned(),
        )
    }

    /// Takes a tenth of a second, on purpose.
    pub(super) fn verify(&self, password: &str) -> bool {
        match self {
            Self::Bcrypt(hash) => bcrypt::verify(password, hash).unwrap_or(false),
            Self::Argon2(hash) => PasswordHash::new(hash)
                .is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok()),
            Self::Clear(sha) => sha.ct_eq(&sha256(password.as_bytes())).into(),
        }
    }

    /// Changes with the stored text: what was verified against another one counts no more.
    pub(super) fn fingerprint(&self) -> &[u8] {
        match self {
            Self::Bcrypt(hash) | Self::Argon2(hash) => hash.as_bytes(),
            Self::Clear(sha) => sha,
        }
    }
}

/// Somebody who may call with a password.
#[derive(Clone)]
pub(super) struct User {
    pub(super) password: Password,
    pub(super) role: Role,
}

/// By name.
pub(super) type Users = BTreeMap<String, User>;

/// Somebody who may call with a token.
pub(super) struct Token {
    pub(super) name: String,
    pub(super) sha: Sha,
    pub(super) role: Role,
}

/// A line for `rest.auth.users.file`, with the password hashed by Argon2id.
///
/// # Errors
/// A name, a password or a role that such a line cannot have.
pub fn user_line(name: &str, password: &str, role: &str) -> Result<String, String> {
    let name = name.trim();
    if name.is_empty() || name.starts_with('#') || name.chars().any(|c| c == ':' || c.is_control()) {
        return Err(
            "a name is not empty, does not begin with `#`, and has neither colons nor control characters".to_owned(),
        );
    }
    if password.is_empty() || password.len() > super::MAX_SECRET {
        return Err(format!("a password has 1 to {} bytes", super::MAX_SECRET));
    }
    let role = Role::parse(role).map_err(|_| format!("`{role}` is none of `read`, `operate`, `admin`"))?;
    let salt = super::random::<16>()?;
    let hash: PasswordHash = Argon2::default()
        .hash_password_with_salt(password.as_bytes(), &salt)
        .map_err(|error| format!("the password cannot be hashed: {error}"))?;
    Ok(format!("{name}:{hash}:{role}"))
}

fn read(path: &Path) -> Result<String, String> {
    let cannot = |error: std::io::Error| format!("{} cannot be read: {error}", path.display());
    let metadata = fs::metadata(path).map_err(cannot)?;
    if !metadata.is_file() || metadata.len() > MAX_FILE_BYTES {
        return Err(format!("{} is no file of users or tokens", path.display()));
    }
    fs::read_to_string(path).map_err(cannot)
}

/// Name, hash and role of each line; the hash has no colon.
fn lines<T>(path: &Path, mut entry: impl FnMut(&str, &str, Role) -> Result<T, String>) -> Result<Vec<T>, String> {
    let text = read(path)?;
    let lines = text.lines().enumerate().map(|(index, line)| (index, line.trim()));
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let entries = lines.map(|(index, line)| {
        let mut parts = line.split(':');
        let read = match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(name), Some(hash), Some(role), None) if !name.trim().is_empty() => {
                Role::parse(role.trim()).and_then(|role| entry(name.trim(), hash.trim(), role))
            }
            _ => Err("it is not `name:hash:role`".to_owned()),
        };
        // Neither name nor hash: a line that is not understood may be a password.
        read.map_err(|what| format!("line {} of {} cannot be used: {what}", index + 1, path.display()))
    });
    let entries: Vec<T> = entries.collect::<Result<_, _>>()?;
    if entries.is_empty() {
        return Err(format!("{} names nobody: nobody could call", path.display()));
    }
    Ok(entries)
}

/// The users of `rest.auth.users.file`.
pub(super) fn users(path: &Path) -> Result<Users, String> {
    let entry = |name: &str, hash: &str, role| {
        let password = Password::parse(hash)?;
        Ok((name.to_owned(), User { password, role }))
    };
    let entries = lines(path, entry)?;
    let count = entries.len();
    let users: Users = entries.into_iter().collect();
    if users.len() != count {
        return Err(format!("{} names a user twice", path.display()));
    }
    Ok(users)
}

/// The tokens of `rest.auth.tokens.file`.
pub(super) fn tokens(path: &Path) -> Result<Vec<Token>, String> {
    lines(path, |name, hash, role| {
        let sha = hex(hash).ok_or("its hash is not the SHA-256 of a token, in 64 hexadecimal digits")?;
        Ok(Token {
            name: name.to_owned(),
            sha,
            role,
        })
    })
}

fn hex(text: &str) -> Option<Sha> {
    let mut sha = Sha::default();
    let digits = text.as_bytes();
    if digits.len() != 64 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    for (byte, pair) in sha.iter_mut().zip(digits.chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(sha)
}

/// The users of Connect's basic authentication, who may do everything there.
pub(super) fn connect_users(jaas: &Path) -> Result<Users, String> {
    let text = read(jaas)?;
    let path = jaas::users_file(&text).map_err(|what| format!("{} cannot be used: {what}", jaas.display()))?;
    let properties = klamm_java_compat::properties::parse(&read(&path)?)
        .map_err(|what| format!("{} cannot be used: {what}", path.display()))?;
    if properties.is_empty() {
        return Err(format!("{} names nobody: nobody could call", path.display()));
    }
    let user = |(name, password): (String, String)| {
        let password = Password::Clear(sha256(password.as_bytes()));
        let role = Role::Admin;
        (name, User { password, role })
    };
    Ok(properties.into_iter().map(user).collect())
}

/// The file that a JAAS file names, to be watched; none while it cannot be read.
pub(super) fn connect_users_file(jaas: &Path) -> Option<std::path::PathBuf> {
    jaas::users_file(&read(jaas).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The password is `secret`.
    const BCRYPT: &str = "$2y$04$5lDX7AOz/LvfLG0WJxHn1uCmFIVb0RaIXHVhVZ1rQ5ofBUxqqtFQu";
    const ARGON2: &str = "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$";

    fn file(text: &str) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        fs::write(&path, text).unwrap();
        (dir, path)
    }

    #[test]
    fn hashes_of_both_kinds_are_verified() {
        let params = argon2::Params::new(64, 1, 1, None).unwrap();
        let argon2 = Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
        let argon2: PasswordHash = argon2.hash_password_with_salt(b"secret", b"somesalt").unwrap();
        let bcrypt = bcrypt::hash_with_salt("secret", 4, *b"sixteen bytes so").unwrap();
        let text = format!(
            "# people\n\nada:{argon2}:admin\nbob:{}:read\n",
            bcrypt.format_for_version(bcrypt::Version::TwoY)
        );
        let (_dir, path) = file(&text);
        let users = users(&path).unwrap();
        for (name, role) in [("ada", Role::Admin), ("bob", Role::Read)] {
            assert_eq!(users[name].role, role);
            assert!(users[name].password.verify("secret"), "{name}");
            assert!(
                !users[name].password.verify("Secret") && !users[name].password.verify(""),
                "{name}"
            );
        }
    }

    #[test]
    fn a_line_that_is_written_is_read() {
        let line = user_line("ada", "pass:wörd", "operate").unwrap();
        let (_dir, path) = file(&line);
        let users = users(&path).unwrap();
        assert_eq!(users["ada"].role, Role::Operate);
        assert!(users["ada"].password.verify("pass:wörd") && !users["ada"].password.verify("password"));
        assert_ne!(user_line("ada", "pass:wörd", "operate").unwrap(), line, "salted");
        for (name, password, role) in [
            ("a:b", "p", "read"),
            ("", "p", "read"),
            ("a", "", "read"),
            ("a", "p", "root"),
        ] {
            assert!(user_line(name, password, role).is_err(), "{name} {role}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_by_line_and_without_its_words() {
        let heavy = "$argon2id$v=19$m=1048576,t=1,p=1$c29tZXNhbHQ$c29tZWhhc2hzb21laGFzaHNvbWVoYXNo";
        let cases = [
            ("ada:hunter2:admin", "line 1 of", "neither of bcrypt"),
            ("\nada:{SHA}hunter2=:read", "line 2 of", "neither of bcrypt"),
            (&format!("ada:{BCRYPT}"), "line 1 of", "not `name:hash:role`"),
            (
                &format!("ada:{BCRYPT}:root"),
                "line 1 of",
                "none of `read`, `operate`, `admin`",
            ),
            (
                &format!("ada:{}:read", BCRYPT.replace("$04$", "$31$")),
                "line 1 of",
                "cost above 16",
            ),
            (&format!("ada:{ARGON2}hunter2:read"), "line 1 of", "Argon2 hash"),
            (&format!("ada:{heavy}:read"), "line 1 of", "more than 262144 KiB"),
            (&format!("a:{BCRYPT}:read\na:{BCRYPT}:admin"), "twice", ""),
            ("# nobody", "names nobody", ""),
        ];
        for (text, wanted, also) in cases {
            let (_dir, path) = file(text);
            let error = users(&path).err().unwrap();
            assert!(error.contains(wanted) && error.contains(also), "{text}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
        let (_dir, path) = file("ci:hunter2:read");
        let error = tokens(&path).err().unwrap();
        assert!(
            error.contains("64 hexadecimal digits") && !error.contains("hunter2"),
            "{error}"
        );
    }
}
