"""Keeps Jinja from rendering personal templates once for all visitors."""

from __future__ import annotations

from jinja2 import Template
from jinja2.environment import TemplateModule
from jinja2.runtime import Context

from ..personalizer.fragments import noting


class _PersonalTemplate(Template):
    """A template whose rendered tags are not cached.

    Jinja renders a template that is included or imported without context only once, for
    all visitors.
    """

    def _get_default_module(self, ctx: Context | None = None) -> TemplateModule:
        # From an async environment, Jinja raises here.
        if self._is_made(ctx) or self.environment.is_async:
            return super()._get_default_module(ctx)
        with noting() as noted:
            module = self.make_module()
        if not noted.personal:
            self._module = module
        return module

    async def _get_default_module_async(
        self, ctx: Context | None = None
    ) -> TemplateModule:
        if self._is_made(ctx):
            return await super()._get_default_module_async(ctx)
        with noting() as noted:
            module = await self.make_module_async()
        if not noted.personal:
            self._module = module
        return module

    def _is_made(self, ctx: Context | None) -> bool:
        """Whether it is prepared already, or is rendered anew every time."""
        # With globals of the importing template, Jinja keeps no module.
        if ctx is not None and ctx.globals_keys - self.globals.keys():
            return True
        return self._module is not None


def personal(kind: type[Template]) -> type[Template]:
    if issubclass(kind, _PersonalTemplate):
        return kind
    return type(f"Personal{kind.__name__}", (_PersonalTemplate, kind), {})
