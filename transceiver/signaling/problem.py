"""The refusals of the signaling API: PROBLEMS is the whole list (`fleet.problem`)."""

from __future__ import annotations

from fleet import problem
from fleet.problem import JITTER_S, PROBLEM_TYPE, problem_object

__all__ = ["JITTER_S", "PROBLEMS", "PROBLEM_TYPE", "Problem", "problem_object"]

# code → (status, title). The title does not change from one occurrence to the next (RFC 9457 §3.1).
PROBLEMS: dict[str, tuple[int, str]] = {
    # the offer (see offer_policy)
    "not_sdp": (400, "The body is not a usable SDP offer"),
    "too_large": (413, "The body is too large"),
    "too_many_sections": (422, "The offer has too many sections"),
    "no_mid": (422, "A section of the offer has no identifier"),
    "bad_mid": (422, "A section of the offer has a bad identifier"),
    "no_audio": (422, "The offer has no audio"),
    "no_opus": (422, "The offer has no Opus"),
    "no_bundle": (422, "The offer does not bundle its sections"),
    "no_rtcp_mux": (422, "The offer does not multiplex RTCP"),
    "ice_lite": (422, "The caller is ICE-lite"),
    "no_ice_credentials": (422, "The offer has no ICE credentials"),
    "bad_ice_credentials": (422, "The ICE credentials are malformed"),
    "no_fingerprint": (422, "The offer has no certificate fingerprint"),
    "bad_fingerprint": (422, "The certificate fingerprint cannot be used"),
    "bad_setup": (422, "The DTLS role of the offer cannot be used"),
    "unknown_backend": (422, "The session asks for an unknown model backend"),
    # the request
    "bad_request": (400, "The request cannot be read"),
    "bad_form": (400, "The form cannot be read"),
    "bad_session": (400, "The session is not a JSON object"),
    "bad_fragment": (400, "The body is not an SDP fragment"),
    "bad_secret_request": (400, "The request for a client secret cannot be used"),
    "session_too_large": (413, "The session does not fit into a client secret"),
    "no_call_id": (400, "The request names no call"),
    "missing_key": (401, "An API key is needed"),
    "wrong_key": (401, "The API key is not known"),
    "expired_secret": (401, "The client secret has expired"),
    "not_allowed_for_page": (403, "A page may not set this"),
    "forbidden_host": (403, "The console is not served under this host name"),
    "not_found": (404, "There is nothing here"),
    "no_such_call": (404, "There is no such call"),
    "method_not_allowed": (405, "The method is not allowed here"),
    # between processes of a fleet
    "move_refused": (409, "The call cannot go on here"),
    "move_no_room": (409, "This process takes no more calls"),
    "no_such_node": (410, "The process is no more"),
    "misdirected": (421, "The request is for another process"),
    "node_silent": (504, "The process does not answer"),
    # the request, again
    "request_timeout": (408, "The request took too long to arrive"),
    "stale_etag": (412, "The ICE session has changed"),
    "wrong_content_type": (415, "The body has the wrong type"),
    "upgrade_required": (426, "The request must become a WebSocket"),
    "no_if_match": (428, "If-Match is required"),
    # limits of a key or a model
    "limit_unconnected": (429, "As many calls wait for their callers as this key may have"),
    "limit_calls": (429, "As many calls are live as this key or model may have"),
    "limit_rate": (429, "Calls come faster than this key or model may place them"),
    "limit_tokens": (429, "The budget of this key or model is used up"),
    # us
    "internal": (500, "Something went wrong here"),
    "backend_absent": (503, "The model backend is not there"),
    "backend_refused": (503, "The model backend does not take the call"),
    "backend_full": (503, "The model backend is full"),
    "too_many_sidebands": (503, "The call has as many side bands as it may"),
    "too_many_calls": (503, "All lines are busy"),
    "draining": (503, "This server takes no new calls"),
    "owner_silent": (503, "The server that has the call does not answer"),
}


class Problem(problem.Problem):
    """A refusal of the signaling API; `code` is a key of PROBLEMS."""

    codes = PROBLEMS
