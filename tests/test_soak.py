"""Half a minute of `benchmarks.soak`; its hour is run by hand."""

import sys

import pytest

from benchmarks.soak import soak
from pdae_app.memory import resident_mb

MINUTES = 0.4


def test_nothing_of_visitors_is_left(tiny_folder):
    if not resident_mb() or sys.platform != "linux":
        pytest.skip("memory and open files are counted by Linux's /proc")
    soaked = soak(str(tiny_folder), MINUTES)
    started, first, last, later = soaked.rows
    assert soaked.counts.get("edits", 0) >= 4, soaked.counts
    assert "wrong pictures" not in soaked.counts and not soaked.tracebacks
    for what in ("tabs closed", "uploads aborted", "half requests"):
        assert soaked.counts[what] >= 4
    assert soaked.counts["model threads killed"] and soaked.counts["clock jumps"]
    assert last["open files"] <= first["open files"] + 8
    assert last["memory (MB)"] < first["memory (MB)"] + 100
    assert later["files of visitors"] == started["files of visitors"]
    assert soaked.folders_left == 0
