"""Runs what a document shows: a reader follows it to the letter, in an empty folder.

Blocks that begin with a file's name are written as this file, as a reader would.
"""

from __future__ import annotations

from .newcomer import VALUES, Newcomer, newcomer
from .reading import FENCE, MAKEFILE, ROOT, TEN_LINES, Block, Document
from .served import ServedNewcomer, served_newcomer

__all__ = [
    "FENCE",
    "MAKEFILE",
    "ROOT",
    "TEN_LINES",
    "VALUES",
    "Block",
    "Document",
    "Newcomer",
    "ServedNewcomer",
    "newcomer",
    "served_newcomer",
]
