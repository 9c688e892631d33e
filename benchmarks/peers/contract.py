"""What a peer of the benchmarks may do; none does all.

- ``async fetch(user)`` sends the request of one fetch, reads its answer, and returns
  one value of it.
- ``page(user, reads)`` serves one request in which the variation is read so many times.
  An ordinary function is one that blocks its thread.
- ``record(user)`` records one impression, on the request's own thread.
- ``flush()`` delivers what is recorded; it returns when that is done or on its way.
- ``close()`` ends as the package's documents say before a process ends.

Everything here runs with the Python of the rivals' own virtual environment, where
moe_middleware is not installed; only ``ours`` runs with ours.
"""

from __future__ import annotations

KEY = "homepage-banner"
CONTEXT = {
    "cid": "66d55ae445921e4d35ae4368_F_T_WP_AB_2_P_0_AU_5A",
    "experience": "Homepage banner",
    "moe_locale_id": "0",
    "moe_variation_id": "2",
    "audience_name": "All Users",
    "audience_id": "5A",
    "type": "Web Personalization",
    "experience_type": "API based Experience",
}
"""The context of every recorded impression, the same for all peers."""

DEFAULTS = "defaults"
"""The variant of a peer that keeps all limits of its package, for ``losses``."""

USERS = [f"customer-{number}" for number in range(1_000)]
