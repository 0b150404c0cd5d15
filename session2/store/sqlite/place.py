"""The file of an SQLite database: made, and looked at before it is opened."""

from __future__ import annotations

import contextlib
import os
import tempfile
from typing import NamedTuple

from ...errors import StoreMissing, StoreUnavailable
from .. import rights


class Place(NamedTuple):
    """Where a database is.

    It must not be opened here: closing it would drop the locks SQLite has on it in this process.
    """

    path: str
    shared: bool
    """The group may do all that the owner may."""

    how: str = StoreMissing.CREATE
    """What makes one that is missing."""

    def check(self, create: bool) -> None:
        """Make the file if it is to be made; `ConfigurationError` if others may have put something there."""
        try:
            if create:
                self._create()
            rule = rights.rule_of(self.shared)
            if rights.look(self.path, rule) is None:
                raise self._missing()
            rights.check_parent(self.path, rule)
        except (FileNotFoundError, NotADirectoryError):  # of a folder
            raise self._impossible() if create else self._missing() from None
        except OSError as error:
            raise StoreUnavailable(f"the SQLite database {self.path} cannot be used: {error.strerror}") from error

    def _missing(self) -> StoreUnavailable:
        folder = os.path.dirname(self.path)
        if not os.path.isdir(folder):
            return StoreMissing(f"there is no SQLite database {self.path}, for there is no folder {folder}",
                                f"mkdir {folder} and then {self.how}")
        return StoreMissing(f"there is no SQLite database {self.path}", self.how)

    def _impossible(self) -> StoreUnavailable:
        folder = os.path.dirname(self.path)
        return StoreUnavailable(f"{self.path} cannot be made, for there is no folder {folder}; make the folder first")

    def _create(self) -> None:
        """Make the file, empty and for its owner only, if it is missing."""
        if os.path.lexists(self.path):
            return
        descriptor, temporary = tempfile.mkstemp(dir=os.path.dirname(self.path))
        try:
            if self.shared:
                os.fchmod(descriptor, 0o660)
            rights.leave_file_to(descriptor, os.path.dirname(self.path))
            with contextlib.suppress(FileExistsError):
                os.link(temporary, self.path)
        finally:
            os.close(descriptor)
            os.unlink(temporary)
