"""Who places calls and asks about them: a server with its API key, or a page with a client secret.

A call belongs to a tenant: the tenant of the key that placed it, or of the key that made the secret
that placed it. Any key of the tenant may control it. Of the secrets, only the one that placed it
may. For everybody else there is no such call.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Principal:
    """Who asks. `key_id` names the API key in use, also the one behind a secret; `secret_id` names
    the secret, and is empty for a server. `may_set` are the members of a session that it may set
    (`fleet.page_policy`); None: all."""

    tenant: str
    key_id: str
    secret_id: str = ""
    may_set: tuple[str, ...] | None = None

    def controls(self, placed_by: Principal) -> bool:
        """Whether a call that was placed so is its to touch."""
        same_tenant = self.tenant == placed_by.tenant
        return same_tenant and self.secret_id in ("", placed_by.secret_id)


NOBODY = Principal("", "")
"""Who placed a call that nobody may ask for: no key has an empty tenant."""
