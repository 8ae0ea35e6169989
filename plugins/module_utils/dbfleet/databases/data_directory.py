"""What restores of physical backups have in common: a data directory that is built beside its target."""

from __future__ import annotations

import abc
import os
import threading
from contextlib import ExitStack
from typing import ClassVar, Generic, Optional, Protocol, TypeVar

from ..errors import DbfleetError
from .base import Restoration, RestoreRequest
from .place import Place, building, check_place, is_occupied, owner_of


class Built(Protocol):
    """What is built from the backups of a chain; ``data`` is its data directory."""

    data: str

    def finish(self) -> None:
        """Join what came in. Raises ``DamagedError``, and what its tools do."""


Building = TypeVar("Building", bound=Built)


class DataDirectoryRestoration(Restoration, Generic[Building]):
    """See :class:`Restoration`. Without a place it is a trial in the request's folder."""

    trial_folder: ClassVar[str]

    def __init__(self, place: Optional[Place], request: RestoreRequest, *, tools: Optional[str]) -> None:
        self._place = place
        self._request = request
        self._tools = tools
        self._stack = ExitStack()
        self._owner: Optional[tuple[int, int]] = None
        self._building: Optional[Building] = None
        self._finishing = threading.Lock()
        self._finished = False
        self._failure: Optional[DbfleetError] = None

    def __enter__(self) -> DataDirectoryRestoration[Building]:
        if self._place is not None:
            check_place(self._place, replace=self._request.replace)
            self._owner = owner_of(self._place)
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    @abc.abstractmethod
    def _begin(self, root: str) -> Building:
        """Begin to build in the new folder ``root``."""

    def _complete(self, built: Building) -> None:
        """Everything has come in."""
        built.finish()

    @abc.abstractmethod
    def _trial_url(self) -> Optional[str]:
        """The URL of the server of a trial, where one was started."""

    def _begun(self) -> Building:
        if self._building is None:
            if self._place is not None:
                root = self._stack.enter_context(building(self._place))
            else:
                root = os.path.join(self._request.folder(), self.trial_folder)
                os.mkdir(root, 0o700)
            self._building = self._begin(root)
        return self._building

    def _finish(self) -> Building:
        """Complete what was received, once; raises again what it raised."""
        built = self._begun()
        with self._finishing:  # it is examined and measured side by side
            if self._failure is not None:
                raise self._failure
            if not self._finished:
                try:
                    self._complete(built)
                except DbfleetError as error:
                    self._failure = error
                    raise
                self._finished = True
        return built

    def location(self) -> str:
        """The URL of the trial's server, or the data directory."""
        return self._trial_url() or self._begun().data

    def replaces(self) -> bool:
        """Whether something is in the target directory."""
        return self._place is not None and is_occupied(self._place)
