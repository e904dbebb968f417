"""The benchmark of a slider's release asks the page's own endpoints, which change with the page."""

from benchmarks.slider_release import measure


def test_a_release_is_timed_to_the_whole_photograph(address):
    row = measure(address, "Fast", 1)
    assert 0 < row["first preview"] <= row["final"] <= row["whole photograph"]
    assert row["opening, once"] > 0
