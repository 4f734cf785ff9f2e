"""What a transceiver counts of packets and calls: every reason there is, by one word.

The words are the label `event` of `trunkline_transceiver_events_total`; they are only ever added
to. `docs/operations/transceiver-drops.md` says of each what happened and what to do. The reasons of
`wire` and of DTLS failures are words of their own modules; tests hold that they are all in here.
"""

from __future__ import annotations

from enum import StrEnum


class Counted(StrEnum):
    """Each counter, by its name in the metrics."""

    # Faults of ours
    CALL_FAULTS = "call_faults"
    PACKET_FAULTS = "packet_faults"
    SCTP_FAULT = "sctp_fault"

    # The trunk
    OUT_DATAGRAMS = "out_datagrams"
    OUT_LOST = "out_lost"
    OUT_OVERSIZE = "out_oversize"
    OUT_NO_PATH = "out_no_path"
    OUT_UNANSWERED = "out_unanswered"
    TRUNK_SHORT = "trunk_short"
    TRUNK_VERSION = "trunk_version"
    TRUNK_KEY = "trunk_key"
    TRUNK_TAG = "trunk_tag"
    TRUNK_EMPTY = "trunk_empty"
    TRUNK_LENGTH = "trunk_length"
    TRUNK_FRAME_TYPE = "trunk_frame_type"
    TRUNK_REPLAY = "trunk_replay"
    TRUNK_STALE = "trunk_stale"
    TRUNK_FRAMES = "trunk_frames"
    TRUNK_PART = "trunk_part"
    TRUNK_CLAIM = "trunk_claim"
    IN_STALE = "in_stale"

    # STUN and ICE
    UNKNOWN_UFRAG = "unknown_ufrag"
    UNKNOWN_ADDRESS = "unknown_address"
    ADDRESS_TAKEN_OVER = "address_taken_over"
    STUN_SHORT = "stun_short"
    STUN_TYPE = "stun_type"
    STUN_COOKIE = "stun_cookie"
    STUN_LENGTH = "stun_length"
    STUN_ATTRIBUTE = "stun_attribute"
    STUN_FINGERPRINT = "stun_fingerprint"
    STUN_NO_USERNAME = "stun_no_username"
    STUN_USERNAME = "stun_username"
    ICE_METHOD = "ice_method"
    ICE_NOT_REQUEST = "ice_not_request"
    ICE_UNASKED_RESPONSE = "ice_unasked_response"
    ICE_LOCAL_UFRAG = "ice_local_ufrag"
    ICE_REMOTE_UFRAG = "ice_remote_ufrag"
    ICE_INTEGRITY = "ice_integrity"
    ICE_UNKNOWN_ATTRIBUTE = "ice_unknown_attribute"
    ICE_ROLE_CONFLICT = "ice_role_conflict"
    ICE_CONSENT_EXPIRED = "ice_consent_expired"
    NO_SELECTED_ADDRESS = "no_selected_address"
    SESSION_UNKNOWN_ADDRESS = "session_unknown_address"
    SESSION_UNKNOWN_KIND = "session_unknown_kind"
    SESSION_ENDED = "session_ended"

    # DTLS
    DTLS_WAITING_FULL = "dtls_waiting_full"
    DTLS_BEFORE_CHECK = "dtls_before_check"
    DTLS_SIZE = "dtls_size"
    DTLS_MALFORMED = "dtls_malformed"
    DTLS_REPEATED = "dtls_repeated"
    DTLS_REJECTED = "dtls_rejected"
    DTLS_REPLAY = "dtls_replay"
    DTLS_ENDED = "dtls_ended"
    DTLS_EVENTS_FULL = "dtls_events_full"
    DTLS_TRANSMIT_FULL = "dtls_transmit_full"
    DTLS_SEND_NOT_CONNECTED = "dtls_send_not_connected"
    DTLS_FAILED_TIMEOUT = "dtls_failed_timeout"
    DTLS_FAILED_TOO_MANY_DATAGRAMS = "dtls_failed_too_many_datagrams"
    DTLS_FAILED_WRITE = "dtls_failed_write"
    DTLS_FAILED_FINGERPRINT_MISMATCH = "dtls_failed_fingerprint_mismatch"
    DTLS_FAILED_NO_SRTP_PROFILE = "dtls_failed_no_srtp_profile"
    DTLS_FAILED_NO_SHARED_CIPHER = "dtls_failed_no_shared_cipher"
    DTLS_FAILED_VERSION = "dtls_failed_version"
    DTLS_FAILED_NO_CERTIFICATE = "dtls_failed_no_certificate"
    DTLS_FAILED_PEER_ALERT = "dtls_failed_peer_alert"
    DTLS_FAILED_PROTOCOL = "dtls_failed_protocol"

    # SRTP, RTP and RTCP
    RTP_RECEIVED = "rtp_received"
    RTP_SENT = "rtp_sent"
    RTP_LOST = "rtp_lost"
    RTP_LATE = "rtp_late"
    RTP_DUPLICATE = "rtp_duplicate"
    RTP_RECOVERED = "rtp_recovered"
    RTP_UP_LEFT_OUT = "rtp_up_left_out"
    RTP_DOWN_LEFT_OUT = "rtp_down_left_out"
    RTP_BEFORE_KEYS = "rtp_before_keys"
    RTCP_BEFORE_KEYS = "rtcp_before_keys"
    RTP_PAYLOAD_TYPE = "rtp_payload_type"
    RTP_SHORT = "rtp_short"
    RTP_VERSION = "rtp_version"
    RTP_LENGTH = "rtp_length"
    RTP_PADDING = "rtp_padding"
    RED_SHORT = "red_short"
    RED_BLOCKS = "red_blocks"
    RED_PAYLOAD_TYPE = "red_payload_type"
    RTCP_SHORT = "rtcp_short"
    RTCP_VERSION = "rtcp_version"
    RTCP_LENGTH = "rtcp_length"
    RTCP_BODY = "rtcp_body"
    RTCP_PACKETS = "rtcp_packets"
    SRTP_AUTHENTICATION = "srtp_authentication"
    SRTP_REPLAY = "srtp_replay"
    SRTP_TOO_OLD = "srtp_too_old"
    SRTP_MALFORMED = "srtp_malformed"
    SRTP_STREAM_LIMIT = "srtp_stream_limit"
    SRTP_TOO_LONG = "srtp_too_long"

    # Between caller and backend
    OPUS_MALFORMED = "opus_malformed"
    ENCODER_REFUSED = "encoder_refused"
    AUDIO_NOT_WANTED = "audio_not_wanted"
    AUDIO_REFUSED = "audio_refused"
    CALL_BACKEND_LOST = "call_backend_lost"
    CALL_BACKEND_RESTORED = "call_backend_restored"
    CALL_BACKEND_NOT_RESTORED = "call_backend_not_restored"
    HELD_SOUND_DROPPED = "held_sound_dropped"
    HELD_MESSAGES_FULL = "held_messages_full"
    DATA_NOT_OFFERED = "data_not_offered"
    DATA_WAITING_FULL = "data_waiting_full"
    DATA_REFUSED = "data_refused"

    # SCTP and data channels
    SCTP_ENDED = "sctp_ended"
    SCTP_SIZE = "sctp_size"
    SCTP_MALFORMED = "sctp_malformed"
    SCTP_TOO_MANY_CHUNKS = "sctp_too_many_chunks"
    SCTP_NO_ASSOCIATION = "sctp_no_association"
    SCTP_TSN = "sctp_tsn"
    SCTP_HELD_LIMIT = "sctp_held_limit"
    SCTP_SACK = "sctp_sack"
    SCTP_MESSAGE = "sctp_message"
    SCTP_MESSAGE_SIZE = "sctp_message_size"
    SCTP_NO_CHANNEL = "sctp_no_channel"
    SCTP_CHANNEL_REOPENED = "sctp_channel_reopened"
    SCTP_CHANNEL_LIMIT = "sctp_channel_limit"
    SCTP_LABEL = "sctp_label"
    SCTP_TOO_LARGE = "sctp_too_large"
    SCTP_SEND = "sctp_send"
    SCTP_PASSED_OVER = "sctp_passed_over"

    # Checkpoints
    CHECKPOINTS = "checkpoints"
    CHECKPOINTS_FAILED = "checkpoints_failed"
    CHECKPOINT_TOO_LARGE = "checkpoint_too_large"

    # Takeovers
    SUSPICIONS_FALSE = "suspicions_false"
    SUSPICIONS_FULL = "suspicions_full"
    NODES_FENCED = "nodes_fenced"
    CALLS_TAKEN_OVER = "calls_taken_over"
    TAKEOVER_TOO_OLD = "takeover_too_old"
    TAKEOVER_UNREADABLE = "takeover_unreadable"
    TAKEOVER_VERSION = "takeover_version"
    TAKEOVER_NOT_RESUMABLE = "takeover_not_resumable"
    TAKEOVER_HERE_ALREADY = "takeover_here_already"
    TAKEOVER_NO_ROOM = "takeover_no_room"
    TAKEOVER_NO_BACKEND = "takeover_no_backend"
    TAKEOVER_BACKEND_REFUSED = "takeover_backend_refused"
    TAKEOVER_LATE = "takeover_late"

    # The HTTP port
    HTTP_UNPROVEN = "http_unproven"
    HTTP_MALFORMED = "http_malformed"
    HTTP_UNREAD = "http_unread"
    HTTP_GAVE_WAY = "http_gave_way"
    HTTP_TURNED_AWAY = "http_turned_away"
    HTTP_FAILED = "http_failed"
    SIDEBAND_FAILED = "sideband_failed"

    # Calls that move to another process
    MOVE_MOVED = "move_moved"
    MOVE_REFUSED_NO_ROOM = "move_refused_no_room"
    MOVE_REFUSED_STATE = "move_refused_state"
    MOVE_TIMED_OUT = "move_timed_out"
    MOVE_ABORTED = "move_aborted"
    MOVE_TAKEN_BACK = "move_taken_back"
    MOVE_IN_DOUBT = "move_in_doubt"
    MOVE_TAKEN_IN = "move_taken_in"
    MOVE_FORGOTTEN = "move_forgotten"
    MOVE_PASSED_ON = "move_passed_on"
    MOVE_WAITING_FULL = "move_waiting_full"

    # How calls ended
    CALL_ENDED_HANGUP = "call_ended_hangup"
    CALL_ENDED_CLIENT_CLOSED = "call_ended_client_closed"
    CALL_ENDED_TIMEOUT = "call_ended_timeout"
    CALL_ENDED_DRAINED = "call_ended_drained"
    CALL_ENDED_FAILED = "call_ended_failed"
    CALL_ENDED_OPERATOR = "call_ended_operator"
    CALL_ENDED_REFUSED = "call_ended_refused"
    CALL_ENDED_BUDGET = "call_ended_budget"
    CALL_ENDED_MOVED = "call_ended_moved"
    CALL_ENDED_FENCED = "call_ended_fenced"


def call_ended(reason: str) -> Counted:
    """The counter of calls that ended so; `reason` is one of `call.states.END_REASONS`."""
    return Counted(f"call_ended_{reason}")


def move_outcome(outcome: str) -> Counted:
    """The counter of moves that came out so; `outcome` is a `moves.outgoing.Outcome`."""
    return Counted(f"move_{outcome}")


def takeover_refused(reason: str) -> Counted:
    """The counter of takeovers refused so; `reason` is one of `recovery.refusal.Refusal`."""
    return Counted(f"takeover_{reason}")


def dtls_failed(reason: str) -> Counted:
    """The counter of calls whose DTLS failed so; `reason` is `transport.dtls.Failed.reason`."""
    return Counted(f"dtls_failed_{reason}")
