"""What is said of how long something takes."""

from pdae_app.engine.inside import EVALUATIONS
from pdae_app.engine.waiting import opening_seconds, run_seconds, run_sentence


def test_a_run_is_counted_in_evaluations(editor):
    seconds = run_seconds(editor, 50, opening=True)
    assert seconds == opening_seconds(editor, 10) + 50 * editor.sampler.step_seconds
    assert EVALUATIONS == 76


def test_what_is_short_needs_no_words():
    assert run_sentence(1.9) == ""
    assert run_sentence(12.4) == "It takes about 12 s at most on this computer."
    assert run_sentence(150) == "It takes about 2 minutes at most on this computer."
