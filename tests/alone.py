"""Runs a function in a process of its own, to measure the whole process.

Other tests leave threads, event loops and open files in the process of the tests, so
tests that count objects, open files or threads use this.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

_PROGRAM = """
import importlib, json, sys
module, name, given = json.loads(sys.argv[1])
found = getattr(importlib.import_module(module), name)(*given)
print()
print(json.dumps(found))
"""


def alone(
    function: Callable[Parameters, Result],
    *args: Parameters.args,
    **kwargs: Parameters.kwargs,
) -> Result:
    """Call a module's function in a new Python process and return its result.

    Arguments (by position) and the result travel as JSON. Coverage is not measured
    there: its tracer allocates.
    """
    assert not kwargs
    request = json.dumps([function.__module__, function.__name__, args])
    ran = subprocess.run(
        [sys.executable, "-c", _PROGRAM, request],
        cwd=Path(__file__).parents[1],
        env={name: one for name, one in os.environ.items() if "COVERAGE" not in name},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    result: Result = json.loads(ran.stdout.splitlines()[-1])
    return result
