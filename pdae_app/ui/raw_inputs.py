"""Inputs of the programmatic endpoints: typed for the documentation, checked by us.

Gradio's own checks run before a handler and end in tracebacks; here the value arrives as it was
sent, and `pdae_app.ui.api` says what is wrong with it. `is_template` tells Gradio to use the
parent's own front end.
"""

import gradio as gr


def as_sent(component, payload):
    """The value without Gradio's checks and wrapping."""
    return getattr(payload, "root", payload)


class RawNumber(gr.Number):
    """A number, or anything else."""

    is_template, preprocess = True, as_sent


class RawText(gr.Textbox):
    """A text, or anything else."""

    is_template, preprocess = True, as_sent


class RawFlag(gr.Checkbox):
    """A yes or no, or anything else."""

    is_template, preprocess = True, as_sent


class RawJSON(gr.JSON):
    """Parsed JSON, or its text; the documentation shows the `example`."""

    is_template, preprocess = True, as_sent

    def __init__(self, *args, example: dict | None = None, **kwargs):
        self.example = example
        super().__init__(*args, **kwargs)

    def example_payload(self) -> dict | None:
        return self.example

    def example_value(self) -> dict | None:
        return self.example
