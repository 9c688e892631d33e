"""Where settings come from: the document, its secret files, how to read it again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from .documents import Document

T = TypeVar("T")
"""The settings."""


class Origin(Generic[T]):
    """The document that settings were read from.

    All origins are equal, so that settings compare by their values.

    Attributes:
        document: The document.
        files: The secret files that were read.
        again: Reads the settings again.
    """

    def __init__(
        self,
        document: Document,
        files: tuple[str, ...] = (),
        again: Callable[[], T] | None = None,
    ) -> None:
        self.document = document
        self.files = files
        self.again = again

    def __reduce__(self) -> tuple[type[Origin[T]], tuple[Document]]:
        # Another process has another environment to read from: leave it behind.
        return Origin, (self.document,)

    def __deepcopy__(self, _: object) -> Origin[T]:
        return self

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Origin | None)

    __hash__ = None  # type: ignore[assignment]
