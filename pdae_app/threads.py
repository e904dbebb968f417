"""How torch's threads wait for each other."""

from collections.abc import MutableMapping

# What says it; where a person has set one, nothing is changed.
KNOWN = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "OMP_NUM_THREADS")
# Turns of a loop: enough where the others are at work too, and soon over where they are not.
BRIEFLY = "1000"


def wait_patiently(environment: MutableMapping[str, str]) -> None:
    """Let them sleep soon, and on a shared Space at once. To be called before torch is imported.

    By themselves they spin for milliseconds, each on a core; where another program has a core, an
    edit then takes five times as long (benchmarks/README.md).
    """
    if any(name in environment for name in KNOWN):
        return
    if "SPACE_ID" in environment:
        environment["OMP_WAIT_POLICY"] = "PASSIVE"
    else:
        environment["GOMP_SPINCOUNT"] = BRIEFLY
