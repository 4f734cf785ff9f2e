"""The refusals of the API: PROBLEMS is the whole list (`fleet.problem`)."""

from __future__ import annotations

from fleet import problem

# code → (status, title)
PROBLEMS: dict[str, tuple[int, str]] = {
    "bad_request": (400, "The request cannot be read"),
    "bad_filter": (400, "A filter cannot be used"),
    "bad_cursor": (400, "The cursor is none of this list"),
    "denied": (401, "A token or an API key is needed"),
    "not_for_viewers": (403, "A viewer may not do this"),
    "not_for_keys": (403, "An API key does not open this"),
    "forbidden_host": (403, "The record is not served under this host name"),
    "not_found": (404, "There is nothing here"),
    "no_such_call": (404, "There is no such call"),
    "method_not_allowed": (405, "The method is not allowed here"),
    "internal": (500, "Something went wrong here"),
    "store_unavailable": (503, "The store of the record does not answer"),
    "busy": (503, "Too many requests wait for the store"),
}


class Problem(problem.Problem):
    """A refusal of this API; `code` is a key of PROBLEMS."""

    codes = PROBLEMS
