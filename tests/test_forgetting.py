"""Sessions of visitors who have left are dropped."""

import time
from datetime import datetime, timedelta
from types import SimpleNamespace

import gradio as gr
import pytest
from gradio.state_holder import StateHolder

from pdae_app.private_folder import Sweep
from pdae_app.ui.forgetting import forget_those_who_left

HOUR = timedelta(hours=1)


@pytest.fixture
def page():
    """A page with a session a kind of visitor."""
    with gr.Blocks() as blocks:
        kept = gr.State("nothing", time_to_live=3600)
        gr.Textbox()
    holder, now = StateHolder(), datetime.now()
    holder.set_blocks(blocks)
    for name, closed, age in (
        ("left", True, 2 * HOUR),
        ("just left", True, HOUR / 2),
        ("stays", False, 2 * HOUR),
    ):
        holder[name][kept._id] = name
        holder[name].is_closed = closed
        holder.time_last_used[name] = now - age
    return blocks


def test_only_those_who_left_an_hour_ago_are_forgotten(page):
    forget_those_who_left(page)
    holder = page.state_holder
    assert list(holder.session_data) == ["just left", "stays"] == list(holder.time_last_used)


def test_one_who_comes_back_begins_anew(page):
    forget_those_who_left(page)
    (kept,) = (block for block in page.blocks.values() if isinstance(block, gr.State))
    assert page.state_holder["left"][kept._id] == "nothing"
    assert page.state_holder["stays"][kept._id] == "stays"


def test_a_page_that_is_not_served_has_nobody():
    forget_those_who_left(SimpleNamespace())


def test_the_sweep_goes_on_when_what_else_is_done_fails(tmp_path, capsys):
    calls = []

    def fail():
        calls.append(len(calls))
        if len(calls) < 3:
            raise KeyError("a session")

    Sweep(tmp_path).start(0.01, also=fail)
    for _ in range(500):
        if len(calls) > 2:
            break
        time.sleep(0.01)
    assert len(calls) > 2 and "a session" in capsys.readouterr().err
