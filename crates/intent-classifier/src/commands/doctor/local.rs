//! What can be seen without asking anybody: secrets, files, space, limits.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use reqwest::Url;

use super::Finding;
use crate::{
    config::{Secret, Settings},
    feedback::spool_folder,
};

/// A shorter password can be guessed.
const MIN_PASSWORD_CHARS: usize = 12;
/// What examples on the web use as passwords; compared without regard to case and to what is no letter or digit.
const WELL_KNOWN: [&str; 8] =
    ["changeme", "password", "postgres", "secret", "example", "admin", "intentclassifier", "redis"];
/// Less free space than this is worth a look, and less than this is too little, in bytes.
const FREE_BYTES: [u64; 2] = [1 << 30, 100 << 20];
/// Fewer open files than this limit the number of connections.
const MIN_OPEN_FILES: u64 = 4096;

/// Checks all that is on this machine.
pub(super) fn check(settings: &Settings, file: Option<&Path>) -> Vec<Finding> {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    vec![
        authentication(settings),
        passwords(settings),
        permissions(settings, file),
        disk_space(&settings.database.data_directory),
        spool(&spool_folder(&settings.database.data_directory)),
        open_files(&limits),
    ]
}

fn authentication(settings: &Settings) -> Finding {
    let host = settings.server.host;
    if settings.auth.enabled {
        return Finding::ok("authentication", "on; its secret or key passed the checks of the configuration");
    }
    if host.is_loopback() {
        return Finding::ok("authentication", format!("off, and only this machine reaches {host}"));
    }
    let found = format!("off, and other machines reach {host}: anybody may change feature flags");
    let advice = "set `AUTH_ENABLED=true` and `JWT_SECRET` (`openssl rand -base64 48`), or listen on 127.0.0.1";
    Finding::warning("authentication", found, advice)
}

fn passwords(settings: &Settings) -> Finding {
    let of_url = |url: &Option<Secret>| {
        let url = Url::parse(url.as_ref()?.reveal()).ok()?;
        url.password().map(str::to_owned)
    };
    let plain = |password: &Option<Secret>| password.as_ref().map(|password| password.reveal().to_owned());
    let (database, redis) = (&settings.database, &settings.redis);
    let passwords = [
        ("DATABASE_URL", of_url(&database.url)),
        ("POSTGRES_PASSWORD", plain(&database.postgres_password).filter(|_| database.postgres_host.is_some())),
        ("REDIS_URL", of_url(&redis.url)),
        ("REDIS_PASSWORD", plain(&redis.password).filter(|_| redis.host.is_some())),
    ];
    let weak: Vec<&str> = passwords
        .iter()
        .filter(|(_, password)| password.as_deref().is_some_and(is_weak))
        .map(|(variable, _)| *variable)
        .collect();
    if weak.is_empty() {
        return Finding::ok("passwords", "none that can be guessed");
    }
    let found = format!("the password in `{}` is short or a well-known one", weak.join("`, `"));
    Finding::warning("passwords", found, "set a drawn one, there and here: `openssl rand -base64 24`")
}

fn is_weak(password: &str) -> bool {
    let letters: String = password.to_lowercase().chars().filter(|letter| letter.is_alphanumeric()).collect();
    password.chars().count() < MIN_PASSWORD_CHARS || WELL_KNOWN.iter().any(|known| letters.contains(known))
}

fn permissions(settings: &Settings, file: Option<&Path>) -> Finding {
    let secret =
        [Some(PathBuf::from(".env")), settings.tls.key_file.clone(), Some(settings.database.data_directory.clone())];
    let trusted = [
        file.map(Path::to_owned),
        settings.models.pack.clone(),
        settings.flags.file.clone(),
        Some(settings.models.directory.clone()),
    ];
    let mode = |path: &PathBuf| fs::metadata(path).ok().map(|metadata| metadata.permissions().mode());
    let exposed = |paths: &[Option<PathBuf>], bits: u32| -> Vec<String> {
        let open = paths.iter().flatten().filter(|path| mode(path).is_some_and(|mode| mode & bits != 0));
        open.map(|path| path.display().to_string()).collect()
    };
    let (writable, readable) = (exposed(&trusted, 0o002), exposed(&secret, 0o007));
    if !writable.is_empty() {
        let writable = writable.join("`, `");
        let advice = format!("`chmod o-w {writable}`");
        return Finding::error("permissions", format!("everybody may change `{writable}`"), advice);
    }
    if readable.is_empty() {
        return Finding::ok("permissions", "nobody else reads secrets or data, or changes what is trusted");
    }
    let readable = readable.join("`, `");
    let advice = format!("`chmod o-rwx {readable}`");
    Finding::warning("permissions", format!("everybody may look into `{readable}`"), advice)
}

fn disk_space(data_directory: &Path) -> Finding {
    // Of a folder that is not made yet, its parent tells.
    let existing = std::path::absolute(data_directory).ok();
    let existing = existing.iter().flat_map(|path| path.ancestors()).find(|path| path.exists());
    let Some(Ok(space)) = existing.map(rustix::fs::statvfs) else {
        let found = format!("cannot be told for `{}`", data_directory.display());
        return Finding::warning("disk space", found, "check that `DATA_DIR` is on a mounted disk");
    };
    let free_bytes = space.f_bavail.saturating_mul(space.f_frsize);
    let found = format!("{} MiB free for `{}`", free_bytes >> 20, data_directory.display());
    let advice = "make room, or move `DATA_DIR`: feedback waits there while the database is away";
    let [little, too_little] = FREE_BYTES;
    if free_bytes < too_little {
        Finding::error("disk space", found, advice)
    } else if free_bytes < little {
        Finding::warning("disk space", found, advice)
    } else {
        Finding::ok("disk space", found)
    }
}

fn spool(folder: &Path) -> Finding {
    let files = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let bytes: u64 = files.filter_map(|file| file.metadata().ok()).map(|metadata| metadata.len()).sum();
    if bytes == 0 {
        return Finding::ok("spool", "no feedback waits for the database");
    }
    Finding::warning(
        "spool",
        format!("{bytes} bytes of feedback wait in `{}`", folder.display()),
        "keep this folder until the database takes it: see docs/runbooks/feedback-spool-growing.md",
    )
}

fn open_files(limits: &str) -> Finding {
    let line = limits.lines().find(|line| line.starts_with("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().nth(3));
    match soft.map(|soft| (soft, soft.parse::<u64>())) {
        Some((_, Ok(limit))) if limit < MIN_OPEN_FILES => Finding::warning(
            "open files",
            format!("at most {limit}, and every connection takes one"),
            "raise it: `ulimit -n 65536`, `LimitNOFILE=65536` (systemd), `ulimits` (compose)",
        ),
        Some((limit, _)) => Finding::ok("open files", format!("at most {limit}")),
        None => Finding::skipped("open files", "the system does not tell the limit"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::Status;

    #[test]
    fn a_password_is_weak_when_it_is_short_or_stands_in_examples() {
        for weak in ["", "hunter2", "postgres-postgres", "Change_Me_Please_Now"] {
            assert!(is_weak(weak), "{weak}");
        }
        assert!(!is_weak("bX9/7Zq0w1kP3vT5"));
    }

    #[test]
    fn the_limit_of_open_files_is_read_as_linux_writes_it() {
        let limits =
            |soft: &str| format!("Limit  Soft Limit  Hard Limit  Units\nMax open files  {soft}  4096  files\n");
        assert_eq!(open_files(&limits("1024")).status, Status::Warning);
        assert_eq!(open_files(&limits("65536")).status, Status::Ok);
        assert_eq!(open_files(&limits("unlimited")).status, Status::Ok);
        assert_eq!(open_files("").status, Status::Skipped);
    }
}
