"""The keys of a job, as every module takes them. A unit test keeps this page equal to the key table."""

from __future__ import annotations


class ModuleDocFragment:
    """``dbfleet.recovery.job``."""

    DOCUMENTATION = r"""
requirements:
  - Python 3.9 or newer on the host that runs the module.
  - C(zstd) on that host, unless O(compression.method) is V(gzip) or V(none).
  - C(gpg) or C(age) on that host, where O(encryption.method) says so.
  - The Python package C(paramiko) on that host, where a repository is at an C(sftp://) URL.
notes:
  - Passwords belong into files that O(source.password_file) and O(encryption.passphrase_file) name. A URL
    that holds a password is kept out of logs and results as a whole.
  - The module runs in a folder that nobody chose, so relative paths and relative SQLite URLs are refused.
    Playbooks of this collection make them absolute when they run on C(localhost).
options:
  job:
    description:
      - Name of a job that is installed on the host as C(/etc/dbfleet/jobs.d/NAME.json).
      - Options that are given as well are stronger than what the file says.
    type: str
  name:
    description:
      - Name of the job and prefix of every file name, made of lower-case letters, digits, V(_) and V(-).
      - The default is the name of the installed job, or else a name made from O(source.url).
    type: str
  source:
    description: The database that the job protects.
    type: dict
    suboptions:
      url:
        description:
          - The database, as applications write it in E(DATABASE_URL), such as
            V(sqlite:////var/lib/app/app.db).
        type: str
      password_file:
        description: File on the host whose first line is the password of the source.
        type: path
      databases:
        description:
          - List of databases of the server, of which each one is kept by itself. V(*) means all of them, and then
            also what belongs to the server as a whole, such as its roles.
          - The default is the database in O(source.url).
        type: list
        elements: str
      schemas:
        description: List of patterns; only schemas that match one are backed up. For PostgreSQL.
        type: list
        elements: str
      exclude_schemas:
        description: List of patterns; schemas that match one are not backed up. For PostgreSQL.
        type: list
        elements: str
      tables:
        description: List of patterns of the database's own dump tool; only tables that match one are backed up.
        type: list
        elements: str
      exclude_tables:
        description: List of patterns of the database's own dump tool; tables that match one are not backed up.
        type: list
        elements: str
      tools:
        description: Folder on the host with the database's own tools, where they are not found by themselves.
        type: path
  repository:
    description: Where backups are kept.
    type: dict
    suboptions:
      url:
        description: A store URL such as V(file:///var/backups/app), or the absolute path of a folder.
        type: str
      file_mode:
        description:
          - Mode of stored files, as an octal number. Quote it, as in V("0640").
          - The default is V(0600).
        type: raw
      folder_mode:
        description:
          - Mode of created folders, as an octal number. Quote it, as in V("0750").
          - The default is V(0700).
        type: raw
      identity_file:
        description:
          - Private key on the host for the login at an SFTP server. It also serves O(retention.archive_to).
          - Without it and O(repository.password_file), the keys of the agent are tried, then C(~/.ssh/id_ed25519),
            C(~/.ssh/id_ecdsa) and C(~/.ssh/id_rsa).
        type: path
      known_hosts_file:
        description:
          - File on the host with the host keys of SFTP servers that are trusted. A server whose key it does not have
            is refused, and no key is ever added.
          - Without it C(~/.ssh/known_hosts) and C(/etc/ssh/ssh_known_hosts) are read.
        type: path
      password_file:
        description:
          - File on the host whose first line is the passphrase of O(repository.identity_file), or without one the
            password of the account at the SFTP server.
        type: path
  method:
    description:
      - V(logical) keeps SQL that any version reads, V(physical) only the database's own files.
      - The default is V(logical).
    type: str
    choices: [logical, physical]
  type:
    description:
      - V(full), V(incremental) (what changed since the parent), or V(auto) (incremental where a chain can go
        on).
      - The default is V(full).
    type: str
    choices: [full, incremental, auto]
  format:
    description:
      - How a logical backup is written, for databases that have a choice. PostgreSQL has V(custom), from which
        single tables can be restored, V(plain) SQL, and V(directory), which is written in parallel.
      - The default is the best one for restores.
    type: str
    choices: [plain, custom, directory]
  compression:
    description: How artifacts are compressed.
    type: dict
    suboptions:
      method:
        description:
          - The tool that compresses.
          - The default is V(zstd).
        type: str
        choices: [zstd, gzip, none]
      level:
        description: Compression level. The default is 3 for V(zstd) and 6 for V(gzip).
        type: int
      threads:
        description:
          - Compression threads.
          - The default is V(0), which takes what the host has.
        type: int
  encryption:
    description: How artifacts are encrypted.
    type: dict
    suboptions:
      method:
        description:
          - V(gpg) with a passphrase (AES256) or recipients, V(age) with recipients, or V(none).
          - The default is V(none).
        type: str
        choices: [none, gpg, age]
      recipients:
        description: GnuPG key ids or age public keys that can read the backups.
        type: list
        elements: str
      passphrase_file:
        description: File on the host whose first line is the GnuPG passphrase.
        type: path
      identity_file:
        description: File on the host with the age identity. Only needed to read backups.
        type: path
      gpg_home:
        description: GnuPG home folder with the keys. The default is GnuPG's own.
        type: path
  retention:
    description:
      - Which backups prune keeps. A backup stays when any rule keeps it.
      - Where no rule is given, the newest of each of 7 days, 5 weeks and 12 months are kept.
    type: dict
    suboptions:
      keep_last:
        description: Keep the newest N backups.
        type: int
      keep_within:
        description: Keep every backup younger than this, such as V(30d) or V(12h).
        type: str
      keep_hourly:
        description: Keep the newest backup of each of the last N hours that have one.
        type: int
      keep_daily:
        description: Keep the newest backup of each of the last N days that have one.
        type: int
      keep_weekly:
        description: Keep the newest backup of each of the last N ISO weeks that have one.
        type: int
      keep_monthly:
        description: Keep the newest backup of each of the last N months that have one.
        type: int
      keep_yearly:
        description: Keep the newest backup of each of the last N years that have one.
        type: int
      min_keep:
        description:
          - Never keep fewer good backups than this.
          - The default is V(1).
        type: int
      archive_after:
        description: Move kept backups older than this, such as V(30d), to O(retention.archive_to).
        type: str
      archive_to:
        description: Store URL that old backups are moved to.
        type: str
  proof:
    description: What is measured of the data inside the backup's own snapshot, to be compared after a
      restore.
    type: dict
    suboptions:
      level:
        description:
          - V(none), V(rows) (rows of each table) or V(content) (also a digest of their content).
          - The default is V(rows).
        type: str
        choices: [none, rows, content]
      queries:
        description: List of SQL queries whose answers a restore must give again.
        type: list
        elements: str
      command:
        description:
          - Program and arguments that a verification at level V(restore) runs. It finds the restored database
            in E(DBFLEET_RESTORED), and must end with 0.
        type: list
        elements: str
      scratch_url:
        description:
          - Server on which a verification may create databases of its own for a while.
          - The default is a server that is started on the host for the verification and removed after it.
        type: str
      scratch_password_file:
        description: File on the host whose first line is the password for O(proof.scratch_url).
        type: path
  limits:
    description: What a run may take of the host.
    type: dict
    suboptions:
      parallel:
        description:
          - How many artifacts or tables are worked on at once.
          - The default is V(2).
        type: int
      bandwidth:
        description: Bytes a second written to or read from the repository at most, such as V(50M).
        type: str
      nice:
        description: Niceness of the run, 0 to 19.
        type: int
      min_free:
        description:
          - Room that a backup leaves on the repository, a share such as V(10%) or a size such as V(2G).
          - The default is V(2%).
        type: str
      timeout:
        description: Longest time that a run may take, such as V(4h).
        type: str
      lock_wait:
        description:
          - How long to wait for a lock of the database or of the job, such as V(2m).
          - The default is V(30) seconds.
        type: str
      chain_length:
        description:
          - Backups in a chain, the full one included, before a new full one is taken.
          - The default is V(30).
        type: int
  health:
    description: From when on M(dbfleet.recovery.health_info) finds fault.
    type: dict
    suboptions:
      max_age:
        description:
          - Age of the newest good backup that is too much, such as V(26h). V(0) means no age is.
          - The default is V(93600) seconds, which are 26 hours.
        type: str
      max_unverified:
        description:
          - How long ago the last verification that passed is too long ago, such as V(8d). V(0) means no time is.
          - The default is V(691200) seconds, which are 8 days.
        type: str
  log_archive:
    description: How the transaction log is kept between physical backups, for C(dbfleet log-archive) and restores.
    type: dict
    suboptions:
      max_lag:
        description:
          - How old what the log archive lacks may become; what is new in the unfinished log file is stored this often.
          - The default is V(10) seconds.
        type: str
      slot:
        description:
          - Replication slot by which PostgreSQL keeps its log for the archiver.
          - The default is V(dbfleet_) and the name of the job.
        type: str
      slot_limit:
        description:
          - Log that the server may have to keep for the archiver before it is a finding, such as V(20G).
          - The default is 10 GiB.
        type: str
      spool:
        description:
          - Private folder on the host for log files on their way.
          - The default is in the state folder of the host.
        type: path
"""
