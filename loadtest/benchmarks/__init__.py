"""The benchmarks by name, one file each. A new one is added to the tuple here."""

from loadtest.benchmark import Scenario
from loadtest.benchmarks import call, capacity, impaired, overhead, sequence, setup, soak

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
