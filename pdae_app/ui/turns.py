"""A visitor's events one after the other, where several workers take events at a time."""

from gradio.queueing import Event, Queue

from pdae_app.ui.events import IN_LINE

MODEL = IN_LINE["concurrency_id"]


class TurnsQueue(Queue):
    """Gradio's queue, in which a visitor who has an event at work waits with the next.

    Events change what the visitor's page knows, and read it when they begin: two at a time would
    each begin from what was before the other. Others are let past meanwhile.
    """

    def get_events(self) -> tuple[list[Event], bool, str] | None:
        """The next events to begin, whether they are a batch, and their line; None if none may."""
        line = self.event_queue_per_concurrency_id.get(MODEL)
        if line is None:
            return super().get_events()
        at_work = {e.session_hash for job in self.active_jobs if job for e in job if _of_model(e)}
        waiting = line.queue
        line.queue = [event for event in waiting if event.session_hash not in at_work]
        try:
            found = super().get_events()
        finally:
            line.queue = waiting
        for event in found[0] if found and found[2] == MODEL else ():
            waiting.remove(event)
        return found


def _of_model(event: Event) -> bool:
    return event.concurrency_id == MODEL
