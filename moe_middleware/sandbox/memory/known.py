"""The customers and experiences that a workspace file defines, by their names."""

from __future__ import annotations

from collections.abc import Mapping

from ..workspace.workspace import Workspace


class Known:
    """A workspace's customers and experiences, by the names that calls use."""

    def __init__(self, workspace: Workspace) -> None:
        self.customers = {one.customer_id: one for one in workspace.customers}
        self.keys = {one.cid_token: one.key for one in workspace.experiences}
        self.tokens = {key: token for token, key in self.keys.items()}
        self._by_identifier: dict[tuple[str, str] | str, str] = {}
        for customer in workspace.customers:
            for name, value in customer.identifiers.items():
                # A fetch may give the value alone; of several customers the first
                # counts.
                for key in ((name, value), value):
                    self._by_identifier.setdefault(key, customer.customer_id)

    def find(self, user_identifiers: Mapping[str, str] | str) -> str | None:
        """Return the customer of the first identifier that has one."""
        if isinstance(user_identifiers, str):
            return self._by_identifier.get(user_identifiers)
        found = map(self._by_identifier.get, user_identifiers.items())
        return next((one for one in found if one is not None), None)
