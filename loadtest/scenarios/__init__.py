"""The scenarios by name: one file each; a new one is added to the tuple here."""

from loadtest.scenario import Scenario
from loadtest.scenarios import call, sequence

SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario for scenario in (call.SCENARIO, sequence.SCENARIO)
}
