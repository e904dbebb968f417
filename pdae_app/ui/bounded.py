"""A slider whose number box takes whatever is typed."""

import math

import gradio as gr


class BoundedSlider(gr.Slider):
    """`gr.Slider` that takes the nearest value it has, as its page shows it.

    Gradio's own answers a number out of range, and an emptied box, with an error.
    """

    # Tells Gradio to use Slider's own front end.
    is_template = True

    def preprocess(self, payload: float | None) -> float:
        """The value within the range; of an emptied box the one that the page shows, 0."""
        if not isinstance(payload, int | float) or math.isnan(payload):
            payload = 0.0
        return super().preprocess(min(max(payload, self.minimum), self.maximum))
