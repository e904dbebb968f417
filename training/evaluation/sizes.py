"""How much is measured: the papers' numbers, or few enough for a look in minutes."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """Numbers of pictures, steps and draws; None takes all that there are.

    `held_out` and `training` pictures are read. `steps` are those that papers have as columns;
    `inversion` is how many PDAE's own script inverts with, `exact` those of our exact inversion;
    `edit_steps` and `path_steps` those of edits and of interpolations. `drawn` pictures are
    generated for a distance of sets, in the steps `draw_steps`; the nearest training pictures are
    looked for of `memorised` of them.
    """

    held_out: int | None = None
    training: int | None = None
    judge_epochs: int = 24
    steps: tuple[int, ...] = (10, 20, 50, 100)
    inversion: int = 1000
    exact: tuple[int, ...] = (10, 20, 50, 100)
    reconstructed: int = 1000
    gap: int = 1000
    people: int = 48
    strengths: tuple[float, ...] = (0.5, 1.0, 1.5)
    edit_steps: int = 10
    random_directions: int = 12
    pairs: int = 200
    path_steps: int = 100
    drawn: int = 50_000
    draw_steps: tuple[int, ...] = (10, 20, 50, 100)
    memorised: int = 1000
    scales: tuple[float, ...] = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0)
    varied: int = 64
    variations: int = 16
    seeds: int = 3
    shots: tuple[int, ...] = (10, 50)
    few_shot_drawn: int = 5000
    unfamiliar: int = 200
    detected: int = 5000
    detector_epochs: int = 12
    stages: int = 10
    staged: int = 500
    losses: int = 1000


QUICK = Sizes(
    held_out=160,
    training=1000,
    judge_epochs=10,
    steps=(10, 20),
    inversion=50,
    exact=(10,),
    reconstructed=8,
    gap=16,
    people=4,
    strengths=(1.0,),
    random_directions=2,
    pairs=6,
    path_steps=10,
    drawn=48,
    draw_steps=(10,),
    memorised=48,
    scales=(0.0, 1.0, 2.0),
    varied=4,
    variations=6,
    seeds=1,
    shots=(10,),
    few_shot_drawn=16,
    unfamiliar=8,
    detected=48,
    detector_epochs=6,
    stages=5,
    staged=30,
    losses=16,
)
