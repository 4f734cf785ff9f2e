"""What became of a call, told from its events. Pure: events in, a Story with a diagnosis out.

    events, contents, Before ─▶ Facts ─┬─▶ lines of media, turns, tools, usage ─┐
                                       └─▶ rules ─▶ findings ─▶ Diagnosis ──────┴─▶ Story

No sequence of events makes it raise, whoever wrote them.
"""
