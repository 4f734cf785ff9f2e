"""The lite agent: what it answers, whom it selects, when it gives up."""

from __future__ import annotations

import pytest

from transceiver.transport.ice import (
    CONSENT_S,
    MAX_ADDRESSES,
    SILENCE_S,
    AddressForgotten,
    AddressLearned,
    Credentials,
    GenerationEnded,
    IceLite,
    Outcome,
    Selected,
)
from wire import stun
from wire.address import pack_address
from wire.stun import Attribute, MessageClass, Method

OURS = Credentials("ours", "our-password", "theirs")
HOME = pack_address("192.0.2.1", 4000)
AWAY = pack_address("2001:db8::1", 5000)
PRIORITY = 1_000_000


def check(
    credentials: Credentials = OURS,
    *,
    nominate: bool = True,
    priority: int = PRIORITY,
    extra: tuple[tuple[int, bytes], ...] = (),
    **changes: object,
) -> bytes:
    username = changes.get("username", f"{credentials.local_ufrag}:{credentials.remote_ufrag}")
    attributes: list[tuple[int, bytes]] = [(Attribute.USERNAME, str(username).encode())]
    attributes.append((Attribute.PRIORITY, priority.to_bytes(4)))
    attributes += [(Attribute.USE_CANDIDATE, b"")] if nominate else []
    password = changes.get("password", credentials.local_password)
    return stun.write(
        int(str(changes.get("method", int(Method.BINDING)))),
        MessageClass(int(str(changes.get("message_class", 0)))),
        b"transaction!",
        attributes + list(extra),
        None if password is None else str(password),
    )


def give(ice: IceLite, packet: bytes, address: bytes = HOME, now: float = 0.0) -> Outcome:
    return ice.handle(stun.read(packet), packet, address, now)


def test_a_valid_check_is_answered_with_the_address_it_came_from() -> None:
    """XOR-MAPPED-ADDRESS names the caller's address, signed with our password."""
    ice = IceLite(OURS)
    for address in (HOME, AWAY):
        response, _, reason = give(ice, check(), address)
        assert response is not None and not reason
        message = stun.read(response)
        value = message.find(Attribute.XOR_MAPPED_ADDRESS)
        assert value is not None
        assert message.message_class is MessageClass.SUCCESS
        assert stun.read_xor_address(value, message.transaction_id) == address
        assert stun.has_integrity(message, response, OURS.local_password)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"password": "guessed"}, "ice_integrity"),
        ({"password": None}, "ice_integrity"),
        ({"username": "forged:theirs"}, "ice_local_ufrag"),
        ({"username": "ours:stranger"}, "ice_remote_ufrag"),
        ({"username": "ours"}, "stun_username"),
        ({"method": 0x080}, "ice_method"),  # GOOG-PING
        ({"message_class": int(MessageClass.INDICATION)}, "ice_not_request"),
        ({"message_class": int(MessageClass.SUCCESS)}, "ice_not_request"),
    ],
)
def test_what_does_not_authenticate_is_not_answered(
    changes: dict[str, object], reason: str
) -> None:
    """A stranger gets silence and a counted reason, and leaves no address behind."""
    ice = IceLite(OURS)
    outcome = give(ice, check(**changes))  # type: ignore[arg-type]
    assert outcome == Outcome(None, (), reason)
    assert ice.addresses == () and ice.expiry_s() is None


def test_a_controlled_caller_gets_487() -> None:
    """Both sides cannot be controlled, and a lite agent cannot change its role."""
    ice = IceLite(OURS)
    packet = check(extra=((Attribute.ICE_CONTROLLED, bytes(8)),))
    response, events, reason = give(ice, packet)
    assert response is not None and reason == "ice_role_conflict" and not events
    code = stun.read(response).find(Attribute.ERROR_CODE)
    assert code is not None and stun.read_error_code(code) == 487


def test_an_unknown_required_attribute_gets_420_and_its_number() -> None:
    """An attribute below 0x8000 that we do not know is named in the refusal."""
    ice = IceLite(OURS)
    packet = check(extra=((0x7777, b"?"), (0x8777, b"optional")))
    response, _, reason = give(ice, packet)
    assert response is not None and reason == "ice_unknown_attribute"
    message = stun.read(response)
    code = message.find(Attribute.ERROR_CODE)
    assert code is not None and stun.read_error_code(code) == 420
    assert message.find(Attribute.UNKNOWN_ATTRIBUTES) == b"\x77\x77"


def test_the_first_check_selects_and_a_nominated_one_replaces_it() -> None:
    """Before nomination any valid address serves; a nominated one outranks it."""
    ice = IceLite(OURS)
    first = give(ice, check(nominate=False, priority=9), HOME)
    assert first.events == (AddressLearned(HOME), Selected(HOME))
    second = give(ice, check(priority=5), AWAY)
    assert second.events == (AddressLearned(AWAY), Selected(AWAY))


def test_a_rebound_nat_moves_the_selection_with_its_first_check() -> None:
    """The same candidate from a new port is selected at once."""
    ice = IceLite(OURS)
    give(ice, check(), HOME, 0.0)
    assert Selected(AWAY) in give(ice, check(), AWAY, 0.5).events
    assert ice.selected == AWAY


@pytest.mark.parametrize("nominate", [True, False])
def test_a_worse_path_waits_until_the_selected_one_is_silent(nominate: bool) -> None:
    """A lower priority or no USE-CANDIDATE takes over after `SILENCE_S`, not before."""
    ice = IceLite(OURS)
    give(ice, check(), HOME, 0.0)
    worse = check(nominate=nominate, priority=PRIORITY - nominate)
    give(ice, worse, AWAY, SILENCE_S - 0.1)
    assert ice.selected == HOME
    give(ice, worse, AWAY, SILENCE_S)
    assert ice.selected == AWAY


def test_addresses_are_bounded_and_the_selected_one_stays() -> None:
    """The address silent longest gives way; the selected one never does."""
    ice = IceLite(OURS)
    give(ice, check(), HOME, 0.0)
    others = [pack_address("198.51.100.1", 1000 + index) for index in range(MAX_ADDRESSES)]
    for index, address in enumerate(others):
        outcome = give(ice, check(nominate=False, priority=1), address, 0.01 * (index + 1))
    assert AddressForgotten(others[0]) in outcome.events
    assert len(ice.addresses) == MAX_ADDRESSES
    assert ice.selected == HOME and HOME in ice.paths


def test_consent_ends_thirty_seconds_after_the_last_valid_check() -> None:
    """Invalid checks do not keep a session alive."""
    ice = IceLite(OURS)
    assert not ice.expired(1e9)
    give(ice, check(), HOME, 10.0)
    give(ice, check(password="guessed"), HOME, 30.0)
    assert not ice.expired(10.0 + CONSENT_S - 0.01)
    assert ice.expired(10.0 + CONSENT_S)


def test_a_restart_keeps_the_old_credentials_until_the_new_are_used() -> None:
    """Media stays where it is until the first check of the new generation, which moves it."""
    ice = IceLite(OURS)
    give(ice, check(), HOME)
    new = Credentials("newer", "newer-password", "theirs2")
    assert ice.restart(new) is None
    assert list(ice.local_ufrags) == ["ours", "newer"]
    assert give(ice, check(), HOME, 1.0).response is not None
    outcome = give(ice, check(new, nominate=False, priority=1), AWAY, 1.1)
    assert outcome.events == (GenerationEnded("ours"), AddressLearned(AWAY), Selected(AWAY))
    assert give(ice, check(), HOME, 1.2) == Outcome(None, (), "ice_local_ufrag")
    assert list(ice.local_ufrags) == ["newer"]


def test_a_second_restart_replaces_one_that_was_never_used() -> None:
    """At most two generations are alive."""
    ice = IceLite(OURS)
    ice.restart(Credentials("b", "password-b", "theirs"))
    assert ice.restart(Credentials("c", "password-c", "theirs")) == GenerationEnded("b")
    assert ice.local_ufrags == ("ours", "c")


def test_a_forgotten_address_hands_the_selection_to_the_newest_other() -> None:
    """When another session proves to own the address, packets no longer go there."""
    ice = IceLite(OURS)
    give(ice, check(nominate=False), HOME, 0.0)
    give(ice, check(), AWAY, 1.0)
    ice.forget(AWAY)
    assert ice.selected == HOME and AWAY not in ice.paths
    ice.forget(HOME)
    assert ice.selected is None


def test_a_check_of_ours_is_a_check_that_a_full_agent_answers() -> None:
    """Signed with the caller's password, named for it, in the controlled role; none once it did."""
    ice = IceLite(Credentials("ours", "our-password", "theirs", "their-password"))
    assert ice.check() is None
    give(ice, check())
    packet = ice.check()
    assert packet is not None
    message = stun.read(packet)
    assert stun.username(message) == ("theirs", "ours")
    assert stun.has_integrity(message, packet, "their-password")
    assert message.find(Attribute.ICE_CONTROLLED) is not None
    for kind in (MessageClass.SUCCESS, MessageClass.ERROR):
        wrong = stun.write(Method.BINDING, kind, b"another one!")
        assert give(ice, wrong).reason == "ice_unasked_response"
        right = stun.write(Method.BINDING, kind, message.transaction_id)
        assert give(ice, right, AWAY).reason == "ice_not_request"
    assert ice.path is not None and not ice.path.answered
    assert give(ice, stun.write(Method.BINDING, kind, message.transaction_id)).reason == ""
    assert ice.path.answered and ice.check() is None


def test_a_caller_without_a_password_is_asked_nothing() -> None:
    """A state of an older release does not have it."""
    ice = IceLite(OURS)
    give(ice, check())
    assert ice.check() is None


def test_a_refused_check_counts_as_well() -> None:
    """Errors stay within the limit together with what else was sent."""
    ice = IceLite(OURS)
    give(ice, check())
    assert ice.path is not None
    ice.path.allowance_bytes = -1000
    odd = check(extra=((0x7F, b""),))
    assert give(ice, odd) == Outcome(None, reason="ice_unknown_attribute")
