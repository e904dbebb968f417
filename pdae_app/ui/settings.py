"""What sets many sliders at a time: a preset's file, a look, another photograph."""

from dataclasses import replace

import gradio as gr
from gradio.events import Dependency

from pdae_app.engine.aims import averaged
from pdae_app.engine.keep import KeepMask
from pdae_app.engine.preset import Preset, read_preset
from pdae_app.ui.borrow_panel import EVERYTHING
from pdae_app.ui.edit_panels import MAKE_AVERAGE
from pdae_app.ui.events import AT_ONCE, HIDDEN, LAST_WINS, QUIET, Newest
from pdae_app.ui.history import History
from pdae_app.ui.models import Chosen
from pdae_app.ui.photo_panel import not_open_words
from pdae_app.ui.session import Opened


def with_sliders(sliders: dict[str, float]):
    """A move of the history to these sliders, the others as they are; at 0 there is none."""

    def moved(history: History) -> History:
        together = {**history.now.sliders, **sliders}
        standing = {name: strength for name, strength in together.items() if strength}
        return history.then(replace(history.now, sliders=standing))

    return moved


class Settings:
    """The handlers that take sliders from elsewhere, each one step to undo."""

    def __init__(self, rendering):
        self.rendering, self.panels = rendering, rendering.panels

    def connect(self) -> list[Dependency]:
        """Wire them; what is to be followed by a rendering."""
        panels, outputs = self.panels, self.panels.moving
        looks, borrow = panels.looks, panels.borrow
        return [
            panels.load_preset.upload(
                self.rendering.reported(self.load_preset),
                [panels.chosen, *panels.wanted, panels.load_preset],
                outputs,
                **QUIET,
                **HIDDEN,
                **LAST_WINS,
            ),
            looks.cards.select(
                self.wear, [panels.chosen, looks.presets, *panels.wanted], outputs, **AT_ONCE
            ),
            panels.average.input(
                self.rendering.reported(self.make_average),
                [panels.chosen, *panels.wanted, panels.average],
                outputs,
                **AT_ONCE,
            ),
            borrow.taking.success(
                self.take_over, [panels.chosen, borrow.sliders, *panels.wanted], outputs, **AT_ONCE
            ),
        ]

    def wear(
        self,
        chosen: Chosen,
        looks: dict,
        opened: Opened | None,
        opening: Newest,
        rendering: Newest,
        pasting: str,
        keep: KeepMask | None,
        history: History,
        event: gr.SelectData,
    ) -> dict:
        """The sliders as the look that was clicked on says."""
        preset = looks.get(event.value["caption"], history.now)  # none while they are drawn
        wanted = (opened, opening, rendering, pasting, keep, history)
        return self.rendering.moved_by(lambda history: history.then(preset))(chosen, *wanted)

    def take_over(self, chosen: Chosen, sliders: dict | None, *wanted) -> dict:
        """The sliders as another photograph stands on them, those of other attributes as before."""
        if sliders is None:
            return self.rendering.unchanged()

        return self.rendering.moved_by(with_sliders(sliders))(chosen, *wanted)

    def make_average(self, chosen: Chosen, opened: Opened | None, opening: Newest, *values) -> dict:
        """One attribute of this person, or all, as they are on average."""
        *wanted, name = values
        back = {self.panels.average: MAKE_AVERAGE}
        if opened is None or name == MAKE_AVERAGE:
            return back | ({self.panels.status: not_open_words(opening)} if opened is None else {})
        editor = self.panels.models.of(chosen)
        names = editor.attributes if name == EVERYTHING else [name]
        sliders = dict.fromkeys(names, 0.0) | averaged(editor, opened.portrait.code, names)
        moved = self.rendering.moved_by(with_sliders(sliders))
        return moved(chosen, opened, opening, *wanted) | back

    def load_preset(self, chosen: Chosen, *values) -> dict:
        """The sliders as a preset's file says."""
        *wanted, path = values
        loaded = read_preset(path, self.panels.models.of(chosen).attributes)
        preset = Preset(loaded.sliders, loaded.scale)
        return self.rendering.moved_by(lambda history: history.then(preset))(chosen, *wanted)
