"""Undo and redo: how the sliders stood, one entry a change."""

from dataclasses import dataclass, field

from pdae_app.engine.preset import Preset

# Entries kept; a visitor who goes back further starts anew.
KEPT = 100


@dataclass(frozen=True)
class History:
    """What is on the page now, what was before it, and what was undone."""

    now: Preset = field(default_factory=Preset)
    past: tuple[Preset, ...] = ()
    future: tuple[Preset, ...] = ()

    def then(self, preset: Preset) -> "History":
        """After a change."""
        if preset == self.now:
            return self
        return History(preset, (*self.past, self.now)[-KEPT:])

    def back_to(self, preset: Preset) -> "History":
        """With the changes after this preset undone."""
        history = self
        while history.now != preset and history.past:
            history = history.undone()
        return history if history.now == preset else self.then(preset)

    def undone(self) -> "History":
        """One change back, if there is one."""
        if not self.past:
            return self
        return History(self.past[-1], self.past[:-1], (self.now, *self.future))

    def redone(self) -> "History":
        """One undone change forth, if there is one."""
        if not self.future:
            return self
        return History(self.future[0], (*self.past, self.now), self.future[1:])
