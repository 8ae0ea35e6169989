# Everything that users and developers start. The work is in scripts/dev/; each step installs what it needs,
# and says so first. `make help` lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.NOTPARALLEL:

STATIC := lint types sanity
CHECKS := unit integration versions regression windows mysql8 debian13 ubuntu24 sidecar molecule

.PHONY: help setup backup pyz test static $(STATIC) $(CHECKS) machine debian11 ubuntu22 ubuntu26 sid bench docs clean

help: ## show this list
	@sed -nE 's/^([a-z0-9]+):.*## (.*)/  make \1\t\2/p' Makefile | expand -t 22

setup: ## make .venv with Ansible and this collection
	@scripts/dev/collection.sh

backup: ## back up DATABASE_URL (or a sample database) into BACKUP_DIR (./backups)
	@scripts/dev/backup.sh

pyz: ## build build/dbfleet.pyz, the command for hosts without Ansible
	@scripts/dev/pyz.sh

test: static $(CHECKS) ## all checks and tests, in the order below

static: ## lint and types, and sanity beside them
	@scripts/dev/static.sh

lint: ## style of Python, YAML, Ansible content and shell scripts
	@scripts/dev/lint.sh

types: ## types of the engine (mypy --strict)
	@scripts/dev/types.sh

sanity: ## ansible-test sanity
	@scripts/dev/sanity.sh

unit: ## unit tests
	@scripts/dev/unit.sh

integration: ## tests with real databases and tools
	@scripts/dev/integration.sh

versions: ## backups of PostgreSQL 13, 14 and 16 (downloads 70 MB)
	@scripts/dev/versions.sh

regression: ## backups of what PostgreSQL's own regression suite leaves behind (15, 17, 18)
	@scripts/dev/regression.sh

windows: ## the command, the wrapper script and the roles on Windows, under Wine
	@scripts/dev/windows.sh

mysql8: ## backups of MySQL 8.0, whose server and tools run under Wine
	@scripts/dev/mysql8.sh

debian13: ## MariaDB 11.8 and SQLite with the Python of Debian 13, in podman
	@scripts/dev/distribution.sh debian-13

ubuntu24: ## Ubuntu 24.04 in podman: physical backups of MySQL 8.0 by Percona's xtrabackup, hosts with databases
	@scripts/dev/distribution.sh ubuntu-24.04
	@scripts/dev/ubuntu_hosts.sh

sidecar: ## the container image with a scheduler, in podman
	@scripts/dev/sidecar.sh

molecule: ## tests on a fleet of containers (SCENARIO=name for one)
	@scripts/dev/molecule.sh $(SCENARIO)

machine: ## a backup server on a kernel of its own: quotas, reboot (20 minutes, not part of test)
	@scripts/dev/machine.sh

debian11: ## Python 3.9, SQLite 3.34, PostgreSQL 13 and OpenSSH 8.4, of Debian 11 (not part of test)
	@scripts/dev/distribution.sh debian-11

ubuntu22: ## MariaDB 10.6, PostgreSQL 14, SQLite 3.37 and Python 3.10, of Ubuntu 22.04 (not part of test)
	@scripts/dev/distribution.sh ubuntu-22.04

ubuntu26: ## MySQL 8.4 with xtrabackup and Python 3.14, of Ubuntu 26.04 (not part of test)
	@scripts/dev/distribution.sh ubuntu-26.04

sid: ## MySQL 9.7, PostgreSQL 18 and SQLite with Python 3.14, of Debian's next release (not part of test)
	@scripts/dev/distribution.sh debian-sid

bench: ## benchmarks
	@scripts/dev/bench.sh

docs: ## render the reference of every module and role into build/docs
	@scripts/dev/docs.sh

clean: ## remove .venv, build and caches; keeps data and backups
	@rm -rf .venv build .ansible .mypy_cache .pytest_cache .ruff_cache .hypothesis tests/output
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
