"""What the page keeps of visitors who have left."""

import time

import gradio as gr

from pdae_app.memory import give_back
from pdae_app.private_folder import AGE


def forget_those_who_left(page: gr.Blocks, age: float = AGE) -> None:
    """Drop the sessions whose connection ended and that did nothing for `age` seconds.

    Gradio empties their states after an hour, but keeps its copy of the page's settings, about a
    megabyte each, for as many sessions as `state_session_capacity` allows. A connected tab keeps
    its session: what it shows would no longer fit the settings that a new one begins with.
    """
    holder = getattr(page, "state_holder", None)  # there is none before the page is launched
    if holder is None:
        return
    before = len(holder.session_data)
    with holder.lock:
        for session, used in list(holder.time_last_used.items()):
            state = holder.session_data.get(session)
            if state is None or (state.is_closed and time.time() - used.timestamp() > age):
                holder.session_data.pop(session, None)
                holder.time_last_used.pop(session, None)
    if len(holder.session_data) < before:
        give_back()
