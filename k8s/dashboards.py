"""The Grafana dashboards, which are written from this file.

    python -m k8s.dashboards          writes k8s/components/monitoring/dashboards/*.json

Every panel names metrics that the processes export; a test asks running ones.
"""

from __future__ import annotations

from pathlib import Path

from k8s.moves_dashboard import MOVES
from k8s.panels import (
    RATE,
    Dashboard,
    Panel,
    by_pod,
    delay,
    events,
    of_relay,
    of_transceiver,
    written,
)

FOLDER = Path(__file__).parent / "components" / "monitoring" / "dashboards"

CALLS = Dashboard(
    "trunkline-calls",
    "Trunkline / calls",
    [
        Panel(
            "Live calls and room for them",
            "short",
            "Room falls when processes are late or busy. Calls near it: add transceivers.",
            [
                (f"sum({of_transceiver('calls')})", "calls"),
                (f"sum({of_transceiver('capacity_calls')})", "room"),
            ],
        ),
        Panel(
            "Calls of each transceiver",
            "short",
            "Even lines. One that falls to zero was drained or lost.",
            [(of_transceiver("calls"), "{{pod}}")],
        ),
        Panel(
            "Calls that ended, by reason",
            "cps",
            "hangup and client_closed are callers' own. Everything else is worth a look.",
            [events("call_ended_.+")],
        ),
        Panel(
            "Lateness of the event loop",
            "s",
            "Callers hear it from 20 ms on.",
            [(of_transceiver("loop_lateness_seconds"), "{{pod}}")],
        ),
        Panel(
            "Share of a core",
            "percentunit",
            "Above 0.8 the process takes fewer calls.",
            [(of_transceiver("loop_busy_ratio"), "{{pod}}")],
        ),
        Panel(
            "Refused by a limit",
            "cps",
            "Callers got 429. A key that should have more: raise its limit.",
            [events("limit_refused_.+")],
        ),
        Panel(
            "Link to the backends",
            "cps",
            "Losses end calls. Dropped audio: a backend reads too slowly.",
            [events("link_losses|link_audio_dropped|link_data_overflows|link_connects")],
        ),
        Panel(
            "Packets not sent to relays",
            "pps",
            "The trunk socket could not take them, or nobody has heard from the caller yet.",
            [events("out_lost|out_no_path|out_oversize")],
        ),
        Panel(
            "Trunk datagrams refused",
            "pps",
            "Nothing, unless keys differ or a stranger reaches the trunk.",
            [events("trunk_.+|unknown_ufrag|unknown_address")],
        ),
    ],
)

RELAYS = Dashboard(
    "trunkline-relays",
    "Trunkline / relays",
    [
        Panel(
            "Packets from callers",
            "pps",
            "One voice call is about 50 a second each way.",
            [by_pod("up_packets_total")],
        ),
        Panel(
            "Packets to callers",
            "pps",
            "As many as from callers, while everybody is heard and answered.",
            [by_pod("down_packets_total")],
        ),
        Panel(
            "Traffic",
            "Bps",
            "What the network has to carry, and what egress costs.",
            [
                (f"sum(rate({of_relay('up_bytes_total')}{RATE}))", "from callers"),
                (f"sum(rate({of_relay('down_bytes_total')}{RATE}))", "from transceivers"),
            ],
        ),
        Panel(
            "Time in a relay",
            "s",
            "From receive call to send call. Milliseconds: a core is shared or throttled.",
            [delay(0.5, "up"), delay(0.99, "up"), delay(0.99, "down")],
        ),
        Panel(
            "Lost in the kernel",
            "pps",
            "Always zero. Else a worker comes too late: more workers, or cores of their own.",
            [by_pod("up_queue_overflow_total"), by_pod("down_queue_overflow_total")],
        ),
        Panel(
            "Drops by reason",
            "pps",
            "docs/operations/relay-drops.md has a line for each.",
            [
                (
                    f"sum by (reason) (rate({of_relay('drops_total')}{RATE})) > 0",
                    "{{reason}}",
                )
            ],
        ),
        Panel(
            "Live flows",
            "short",
            "About one a call. Far more: strangers, or callers whose network changes.",
            [(f"sum by (pod) ({of_relay('flows')})", "{{pod}}")],
        ),
        Panel(
            "Flows found again",
            "cps",
            "Rises for seconds when a relay is replaced or the load balancer deals anew.",
            [
                (f"sum(rate({of_relay(f'recovered_{source}_total')}{RATE}))", source)
                for source in ("sibling", "redis", "stun")
            ],
        ),
        Panel(
            "Redis, as relays see it",
            "cps",
            "Failures and unanswered questions hurt only callers of a relay that was replaced.",
            [
                (f"sum(rate({of_relay(f'flow_store_{what}_total')}{RATE}))", what)
                for what in ("writes", "write_failures", "unanswered", "refused")
            ],
        ),
        Panel(
            "Transceivers in each relay's directory",
            "short",
            "The same line everywhere, and as many as there are.",
            [(of_relay("nodes"), "{{pod}}")],
        ),
        Panel(
            "Workers replaced",
            "short",
            "A worker that died or stuck; a spare took its socket over.",
            [
                (
                    f"sum by (pod) (increase({of_relay('worker_restarts_total')}{RATE}))",
                    "{{pod}}",
                )
            ],
        ),
        Panel(
            "STUN requests",
            "cps",
            "A live call asks every few seconds. A jump without calls is a flood.",
            [by_pod("stun_requests_total")],
        ),
        Panel(
            "Calls held for another transceiver than their token",
            "short",
            "Calls that moved, and those of transceivers that were lost; old ones too.",
            [(f"sum by (pod) ({of_relay('claims_held')})", "{{pod}}")],
        ),
        Panel(
            "Claims of calls",
            "cps",
            "Many at once when a transceiver is drained or lost; each live one again in 20 s.",
            [
                (f"sum(rate({of_relay(f'{what}_total')}{RATE}))", what)
                for what in ("claims", "claims_answered", "flows_claimed", "checks_claimed")
            ],
        ),
        Panel(
            "Transceivers that fell silent, or are not believed any more",
            "short",
            "A suspicion for each whose last call has ended is usual. A fenced one was lost.",
            [
                (
                    f"sum by (pod) (increase({of_relay('suspicions_total')}{RATE}))",
                    "silent, {{pod}}",
                ),
                (f"sum by (pod) (increase({of_relay('suspicions_unsaid_total')}{RATE}))", "unsaid"),
                (of_relay("fenced_nodes"), "fenced, {{pod}}"),
            ],
        ),
    ],
)

DASHBOARDS = (CALLS, RELAYS, MOVES)


def main() -> None:
    """Write all files."""
    FOLDER.mkdir(exist_ok=True)
    for dashboard in DASHBOARDS:
        (FOLDER / f"{dashboard.name}.json").write_text(written(dashboard))


if __name__ == "__main__":
    main()
