"""Names of Jinja that are no promise of its makers', and that the tag depends on.

A Jinja without one of them fails here, by name, before anything else seems to be wrong:
mend ``moe_middleware/jinja/``, and then the cap in ``pyproject.toml``.
"""

from __future__ import annotations

import inspect

import pytest
from jinja2 import Environment, Template, utils
from jinja2.runtime import Context

OVERRIDDEN = {"_get_default_module": False, "_get_default_module_async": True}
"""Methods of Template that we override, and whether each is a coroutine function."""


@pytest.mark.parametrize("name", OVERRIDDEN)
def test_overridden_method_is_there_and_takes_the_context(name: str) -> None:
    method = getattr(Template, name, None)

    assert method is not None, f"this Jinja has no Template.{name}, which we override"
    assert list(inspect.signature(method).parameters) == ["self", "ctx"]
    assert inspect.iscoroutinefunction(method) is OVERRIDDEN[name]


def test_an_import_without_context_goes_through_the_overridden_method() -> None:
    called = []

    class Watched(Template):
        def _get_default_module(self, ctx: Context | None = None) -> object:  # type: ignore[override]
            called.append(self.name)
            return super()._get_default_module(ctx)

    class Watching(Environment):
        template_class = Watched

    environment = Watching()
    environment.globals["part"] = environment.from_string(
        "{% macro a() %}{% endmacro %}"
    )

    environment.from_string("{% import part as parts %}").render()

    assert called, "this Jinja makes the module of an import in another way"


def test_module_is_kept_where_we_look_for_it() -> None:
    template = Environment().from_string("text")
    assert vars(template)["_module"] is None, "this Jinja has no Template._module"

    made = template.module

    assert vars(template)["_module"] is made


def test_what_we_read_of_jinja_is_there() -> None:
    context = Environment().from_string("").new_context({"a": 1})

    assert "range" in context.globals_keys
    assert context.resolve_or_missing("b") is utils.missing
    assert Environment().concat is Environment.concat
    assert Environment().finalize is None
