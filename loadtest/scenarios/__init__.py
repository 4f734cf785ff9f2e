"""The scenarios by name: one file each; a new one is added to the tuple here."""

from loadtest.scenario import Scenario
from loadtest.scenarios import call, capacity, impaired, overhead, sequence, setup, soak

SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        call.SCENARIO,
        sequence.SCENARIO,
        capacity.SCENARIO,
        impaired.SCENARIO,
        overhead.SCENARIO,
        setup.SCENARIO,
        soak.SCENARIO,
    )
}
