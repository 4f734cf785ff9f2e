"""The page of calls that outlive their servers: moves, takeovers, and what they need."""

from __future__ import annotations

from k8s.panels import RATE, Dashboard, Panel, drops, events, of_relay, of_transceiver

CHECKPOINTS = "rate(" + of_transceiver("events_total", ', event="checkpoints"') + RATE + ")"

MOVES = Dashboard(
    "trunkline-moves",
    "Trunkline / moves and takeovers",
    [
        Panel(
            "Calls that moved",
            "cps",
            "An upgrade, a scale-down, a drain. Both lines are alike: one side gives, one takes.",
            [events("move_moved|move_taken_in")],
        ),
        Panel(
            "Moves that were refused or failed",
            "cps",
            "Such a call stays and is tried again. For long without moves: there is no room.",
            [events("move_refused_.+|move_timed_out|move_aborted|move_taken_back|move_in_doubt")],
        ),
        Panel(
            "Calls that nobody took",
            "cps",
            "Callers noticed each of these. Zero is the aim.",
            [
                events(
                    "call_ended_drained|takeover_too_old|takeover_unreadable|call_backend_not_restored"
                )
            ],
        ),
        Panel(
            "Calls taken over from lost transceivers",
            "cps",
            "They go on, after a short silence.",
            [events("calls_taken_over")],
        ),
        Panel(
            "Takeovers that were refused",
            "cps",
            "Another process may still take the call; docs/operations/takeover.md has each reason.",
            [events("takeover_.+")],
        ),
        Panel(
            "Transceivers that were lost, and fenced",
            "cps",
            "By those who found out; and calls that such a process dropped when it learned of it.",
            [events("nodes_fenced|call_ended_fenced")],
        ),
        Panel(
            "Suspicions",
            "cps",
            "False ones: a transceiver has too little time, or the network loses packets.",
            [
                events("suspicions_false|suspicions_full"),
                (f"sum(rate({of_relay('suspicions_total')}{RATE}))", "said by relays"),
                (f"sum(rate({of_relay('suspicions_unsaid_total')}{RATE}))", "unsaid"),
            ],
        ),
        Panel(
            "Checkpoints a second, for each live call",
            "short",
            "About one. Lower: a crash would cost calls, or repeat more of them.",
            [(f"sum({CHECKPOINTS}) / sum({of_transceiver('calls')})", "checkpoints")],
        ),
        Panel(
            "Checkpoints that were not written",
            "cps",
            "Redis is away or slow; or a call holds more messages than a checkpoint takes.",
            [events("checkpoints_failed|checkpoint_too_large")],
        ),
        Panel(
            "Calls whose backend was lost",
            "cps",
            "Restored ones go on at another backend. The others ended.",
            [events("call_backend_.+")],
        ),
        Panel(
            "Packets on their way round",
            "pps",
            "For calls that moved a moment ago. For long: a relay does not take claims.",
            [events("move_passed_on|move_waiting_full")],
        ),
        Panel(
            "Claims that relays refused",
            "pps",
            "Nothing, unless keys or cluster numbers differ, or versions that must not meet.",
            [drops("trunk_claim.*")],
        ),
        Panel(
            "Packets of transceivers that are not believed",
            "pps",
            "One that was lost is back. It ends its calls within seconds and begins anew.",
            [drops("trunk_fenced")],
        ),
    ],
)
