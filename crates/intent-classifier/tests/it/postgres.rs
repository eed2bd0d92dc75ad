//! A real Postgres, started by the tests in a temporary folder. The unit tests include this file, too.
//!
//! Tests that only need a database share one cluster: whoever comes first starts it, and it stops some seconds after the
//! last test process has ended, however that ended. Tests that break things have a cluster of their own.

use std::{
    env,
    ffi::OsStr,
    fs::{self, File},
    hash::{DefaultHasher, Hash, Hasher},
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

use tempfile::TempDir;

/// Settings that make a throw-away cluster quick; the disk of a test is never pulled out.
const SETTINGS: &str = "fsync=off\nsynchronous_commit=off\nfull_page_writes=off\nshared_buffers=32MB\n\
    max_connections=300\nlog_min_messages=fatal\n";

/// Makes an empty database in the shared cluster and returns its URL.
pub(crate) fn database() -> String {
    static SOCKETS: OnceLock<PathBuf> = OnceLock::new();
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let sockets = SOCKETS.get_or_init(shared_cluster);
    let name = format!("test_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    psql(sockets, 5432, &format!("CREATE DATABASE {name}"));
    let host = sockets.display().to_string().replace('/', "%2F");
    format!("postgres://postgres@localhost:5432/{name}?host={host}")
}

/// Runs SQL in the database with this URL.
pub(crate) fn execute(url: &str, sql: &str) {
    run(Command::new("psql").args(["--quiet", "--no-psqlrc", "-v", "ON_ERROR_STOP=1", "-c", sql, url]));
}

/// A cluster of its own, with one empty database, reached over TCP; stopped when dropped.
pub(crate) struct Cluster {
    folder: TempDir,
    port: u16,
}

impl Cluster {
    pub(crate) fn start() -> Self {
        let folder = TempDir::new().expect("there is room for a folder");
        give_to_postgres(folder.path());
        init(folder.path());
        let cluster = Self { folder, port: free_port() };
        cluster.start_again();
        psql(cluster.folder.path(), cluster.port, "CREATE DATABASE test");
        cluster
    }

    /// The URL of its database.
    pub(crate) fn url(&self) -> String {
        self.url_at(self.port)
    }

    /// The URL of its database behind a proxy.
    pub(crate) fn url_at(&self, port: u16) -> String {
        format!("postgres://postgres@127.0.0.1:{port}/test?sslmode=disable")
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Stops it as an administrator in a hurry does: connections are cut, nothing committed is lost.
    pub(crate) fn stop(&self) {
        pg_ctl(self.folder.path(), &["-m", "fast", "stop"]);
    }

    /// Starts it after it was stopped.
    pub(crate) fn start_again(&self) {
        let folder = self.folder.path().display();
        let options = format!("-c listen_addresses=127.0.0.1 -p {} -k {folder}", self.port);
        pg_ctl(self.folder.path(), &["-o", &options, "start"]);
    }

    /// Freezes every process of it: connections stay open and nobody answers.
    pub(crate) fn pause(&self) {
        self.signal("STOP");
    }

    /// Lets it go on.
    pub(crate) fn resume(&self) {
        self.signal("CONT");
    }

    /// Runs SQL as the superuser, in another database than that of [`Cluster::url`].
    pub(crate) fn execute(&self, sql: &str) {
        psql(self.folder.path(), self.port, sql);
    }

    fn signal(&self, name: &str) {
        let file = self.folder.path().join("data/postmaster.pid");
        // It may have been stopped.
        let Ok(file) = fs::read_to_string(file) else { return };
        let postmaster: u32 = file.lines().next().and_then(|line| line.parse().ok()).expect("its first line is the id");
        let children = fs::read_dir("/proc").expect("there is a /proc").filter_map(|entry| {
            let id: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
            // The fields after the name in parentheses: state, parent.
            let parent: u32 = stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()?;
            (parent == postmaster).then_some(id)
        });
        for id in children.chain([postmaster]) {
            // A connection may have ended since it was listed.
            let _ = Command::new("kill").args(["-s", name, &id.to_string()]).stderr(Stdio::null()).status();
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.resume();
        let stop = as_postgres(&program("pg_ctl"))
            .args(["-D", &data(self.folder.path()), "-m", "immediate", "stop"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        // It may have been stopped by the test.
        let _ = stop;
    }
}

/// Finds or starts the cluster that all test processes of this checkout share; returns the folder of its socket.
fn shared_cluster() -> PathBuf {
    let mut checkout = DefaultHasher::new();
    env!("CARGO_MANIFEST_DIR").hash(&mut checkout);
    let folder = env::temp_dir().join(format!("intent-classifier-postgres-{:016x}", checkout.finish()));
    fs::create_dir_all(&folder).expect("there is room for a folder");
    let lock =
        |name: &str| File::options().create(true).append(true).open(folder.join(name)).expect("the folder is ours");
    let starting = lock("start.lock");
    starting.lock().expect("the lock is free some time");
    let using = lock("users.lock");
    using.lock_shared().expect("nobody stops the cluster while it is being started");
    // Until this process ends.
    std::mem::forget(using);
    let running = as_postgres(&program("pg_ctl"))
        .args(["-D", &data(&folder), "status"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !running {
        let _ = fs::remove_dir_all(folder.join("data"));
        give_to_postgres(&folder);
        init(&folder);
        let options = format!("-c listen_addresses= -p 5432 -k {}", folder.display());
        pg_ctl(&folder, &["-o", &options, "start"]);
        stop_when_unused(&folder);
    }
    folder
}

/// Leaves a process behind that stops the cluster when no test process uses it any more.
fn stop_when_unused(folder: &Path) {
    const WATCH: &str = r#"
        cd "$1" && exec 9>>start.lock
        while sleep 5; do
            flock 9
            if flock --nonblock --exclusive users.lock true; then
                "${@:2}" -D "$1/data" -m immediate stop
                rm -rf "$1/data"
                exit
            fi
            flock --unlock 9
        done"#;
    let stop = as_postgres(&program("pg_ctl"));
    let stop: Vec<&OsStr> = std::iter::once(stop.get_program()).chain(stop.get_args()).collect();
    // `setsid` leaves the watch behind and ends at once.
    Command::new("setsid")
        .args(["--fork", "bash", "-c", WATCH, "bash"])
        .arg(folder)
        .args(stop)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("bash and setsid are there");
}

fn init(folder: &Path) {
    let arguments = ["-D", &data(folder), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync"];
    run(as_postgres(&program("initdb")).args(arguments));
    let settings = folder.join("data/postgresql.auto.conf");
    fs::write(settings, SETTINGS).expect("the folder is there");
}

fn pg_ctl(folder: &Path, arguments: &[&str]) {
    let log = folder.join("log").display().to_string();
    run(as_postgres(&program("pg_ctl")).args(["-D", &data(folder), "-l", &log, "-w", "-t", "60"]).args(arguments));
}

fn psql(socket: &Path, port: u16, sql: &str) {
    let database = format!("host={} port={port} user=postgres dbname=postgres", socket.display());
    run(Command::new("psql").args(["--quiet", "--no-psqlrc", "-v", "ON_ERROR_STOP=1", "-c", sql, &database]));
}

fn data(folder: &Path) -> String {
    folder.join("data").display().to_string()
}

/// Postgres refuses to run as root.
fn as_postgres(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("runuser");
    command.args(["-u", "postgres", "--"]).arg(program);
    command
}

fn give_to_postgres(folder: &Path) {
    if is_root() {
        run(Command::new("chown").arg("postgres").arg(folder));
    }
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

/// Finds a program of the server, which Debian does not put on the path.
fn program(name: &str) -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let debian = versions.map(|version| version.path().join("bin").join(name));
    let on_path = env::var_os("PATH").map_or_else(Vec::new, |path| env::split_paths(&path).collect());
    debian
        .chain(on_path.into_iter().map(|folder| folder.join(name)))
        .filter(|program| program.is_file())
        .max()
        .unwrap_or_else(|| panic!("there is no `{name}`: run `scripts/install-system-packages test`"))
}

/// Returns a port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
    listener.local_addr().expect("it is bound").port()
}

fn run(command: &mut Command) {
    // A server that is left running must not hold the pipes of the test.
    let log = tempfile::tempfile().expect("there is room for a file");
    let copy = || Stdio::from(log.try_clone().expect("a file can be opened twice"));
    let status = command.current_dir("/").stdin(Stdio::null()).stdout(copy()).stderr(copy()).status();
    let status = status.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    if !status.success() {
        use std::io::{Read, Seek};
        let (mut log, mut text) = (log, String::new());
        let _ = log.rewind().and_then(|()| log.read_to_string(&mut text));
        panic!("{command:?}: {status}\n{text}");
    }
}
