"""What an account for backups is, and what a server can do with one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Callable, Optional


@dataclass(frozen=True)
class Account:
    """An account that may read ``databases`` (none: all of the server) and not write.

    ``host`` is where it may come from (MySQL, MariaDB). ``replication`` adds what physical backups and log
    archives need; ``create_databases`` and ``bypass_row_security`` are attributes of PostgreSQL's roles.
    """

    name: str
    databases: tuple[str, ...] = ()
    host: str = "localhost"
    replication: bool = False
    create_databases: bool = False
    bypass_row_security: bool = False


@dataclass(frozen=True)
class Step:
    """One change: ``shown`` to people, and what does it. Nothing of a secret is in ``shown``."""

    shown: str
    act: Callable[[], None]


class AccountServer(ABC):
    """A server, logged in to as an account that may manage others."""

    @abstractmethod
    def standing(self, account: Account) -> Optional[Mapping[str, Any]]:
        """What the account is and may do now; ``None`` when there is none of that name.

        Raises ``RefusedError`` for one that is no account for backups: it would lose what somebody needs.
        """

    @abstractmethod
    def wanted(self, account: Account) -> Mapping[str, Any]:
        """What :meth:`standing` should tell. Raises ``NotFoundError`` for a database that is not there."""

    @abstractmethod
    def knows(self, account: Account, password: str) -> bool:
        """Whether ``password`` is the one of the account."""

    @abstractmethod
    def steps(self, account: Account, password: Optional[str]) -> Sequence[Step]:
        """What makes the account as wanted, with a new ``password`` where there is one."""

    @abstractmethod
    def removal(self, account: Account) -> Sequence[Step]:
        """What removes the account. Raises ``RefusedError`` when something belongs to it."""
