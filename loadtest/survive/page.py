"""The report of `survive`: one HTML file, with the sound of one caller over each fault."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from html import escape

import av
import numpy as np
from matplotlib.figure import Figure

from loadtest.benchmark import Result
from loadtest.scenario_runs.page import page as whole_page
from loadtest.sound import SAMPLE_RATE_HZ
from loadtest.survive.ear import Packet
from loadtest.survive.trial import Seen
from loadtest.survive.verdict import histogram

EVERY = 48  # samples: one point a millisecond
SIZE_INCHES = (9.0, 1.8)


def page(result: Result, seen: Mapping[str, Seen]) -> str:
    """Write the whole page: verdict, checks, figures, a picture and a histogram for each fault."""
    parts = "".join(_fault(one) for one in seen.values())
    head, over_time, tail = whole_page("loadtest survive", result, []).partition(
        "<h2>Over time</h2>"
    )
    return head + "<h2>One caller's ear</h2>" + parts + tail if over_time else head + parts


def _fault(seen: Seen) -> str:
    fault = seen.fault
    picture = draw(seen.drawn, seen.drawn_at_s) if seen.drawn else "<p>Nothing was heard.</p>"
    text = escape("\n".join(histogram(seen.gaps_ms)))
    title = f"{fault.name}: {fault.what}"
    return f"<h3>{escape(title)}</h3>{picture}<pre>{text}</pre>"


def draw(heard: Sequence[Packet], at_s: float) -> str:
    """The sound of packets where they came, as an `<svg>`; the blow is a dashed line at 0."""
    figure = Figure(figsize=SIZE_INCHES, layout="constrained")
    axes = figure.add_subplot()
    decoder = av.AudioCodecContext.create("libopus", "r")
    for packet in heard:
        sound = np.concatenate(
            [
                frame.to_ndarray().reshape(-1)[:: len(frame.layout.channels)]
                for frame in decoder.decode(av.Packet(packet.payload))
            ]
            or [np.zeros(0)]
        )[::EVERY]
        times = packet.came_s - at_s + np.arange(len(sound)) * EVERY / SAMPLE_RATE_HZ
        axes.plot(times, sound, color="#1f6feb", linewidth=0.6)
    axes.axvline(0.0, color="#d1242f", linestyle="--", linewidth=0.8)
    axes.set_xlabel("seconds from the fault")
    axes.set_yticks([])
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    svg = text.getvalue()
    return svg[svg.index("<svg") :]
