"""The keys of a job, as every module takes them. A unit test keeps this page equal to the key table."""

from __future__ import annotations


class ModuleDocFragment:
    """``dbfleet.recovery.job``."""

    DOCUMENTATION = r"""
requirements:
  - Python 3.9 or newer on the host that runs the module.
  - C(zstd) on that host, unless O(compression.method) is V(gzip) or V(none).
  - C(gpg) or C(age) on that host, where O(encryption.method) says so.
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
"""
