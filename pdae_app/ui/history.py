"""Undo and redo: how the sliders stood, one entry a change."""

from dataclasses import dataclass

# Entries kept; a visitor who goes back further starts anew.
KEPT = 100


@dataclass(frozen=True)
class Settings:
    """The guidance scale and the sliders that are not at 0, by name."""

    scale: float = 1.0
    sliders: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class History:
    """What is on the page now, what was before it, and what was undone."""

    now: Settings = Settings()
    past: tuple[Settings, ...] = ()
    future: tuple[Settings, ...] = ()

    def then(self, settings: Settings) -> "History":
        """After a change."""
        if settings == self.now:
            return self
        return History(settings, (*self.past, self.now)[-KEPT:])

    def back_to(self, settings: Settings) -> "History":
        """The changes after these settings undone."""
        history = self
        while history.now != settings and history.past:
            history = history.undone()
        return history if history.now == settings else self.then(settings)

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
