"""A short soak: visitors who come and leave in every way, while the app comes to harm."""

from benchmarks.soak import soak

# A thread that is killed says so itself.
KILLED = "SystemExit"


def test_visitors_and_harm_leave_nothing_behind(tiny_folder):
    soaked = soak(str(tiny_folder), minutes=0.25)
    first, last = soaked.rows[0], soaked.rows[-1]
    assert soaked.counts["edits"] and not soaked.counts.get("wrong pictures")
    assert soaked.counts["tabs closed"] and soaked.counts["model threads killed"]
    assert not [fault for fault in soaked.faults if not fault.startswith(KILLED)]
    assert last["files of visitors"] <= first["files of visitors"]
    assert last["open files"] <= first["open files"] + 5
    assert soaked.folders_left == 0
