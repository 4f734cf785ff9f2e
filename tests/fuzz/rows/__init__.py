"""Every parser that a stranger, a caller, a page, a backend, an operator or Redis can reach."""

from tests.fuzz.row import Row
from tests.fuzz.rows import backend, call, fleet, http, memory, packets, realtime, settings

ROWS: dict[str, Row] = {
    row.name: row
    for room in (packets, call, http, realtime, memory, backend, fleet, settings)
    for row in room.ROWS
}
