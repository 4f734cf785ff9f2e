"""A page's events under the policy of its tenant (`fleet.page_policy`)."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from pydantic_core import from_json

from backends.realtime.refusals import Refusal
from fleet.page_policy import NotForPages, PagePolicy


class Page:
    """Who sends the events of one call. `may_set` None: no page, and nothing is checked.

    `session_json` is the session that the call began with: what is in it was allowed.
    """

    def __init__(self, may_set: Collection[str] | None, session_json: str) -> None:
        self._policy = None if may_set is None else PagePolicy(may_set, _members(session_json))

    def checked(self, event: dict[str, Any]) -> dict[str, Any]:
        """The event, as far as the page may say it. Raises Refusal not_allowed_for_page."""
        if self._policy is None:
            return event
        try:
            return self._policy.event(event)
        except NotForPages as error:
            message = (
                f"A page may not set '{error.param}', unless its client secret was made with it."
            )
            refusal = Refusal("not_allowed_for_page", message, error.param)
            raise refusal.about(event.get("event_id")) from None


def _members(session_json: str) -> dict[str, Any]:
    try:
        members = from_json(session_json) if session_json else {}
    except ValueError:  # it opens the call with an error; nothing of it is there to be repeated
        return {}
    return members if isinstance(members, dict) else {}


ANYBODY = Page(None, "")
"""No page: a server, or a caller with an API key."""
