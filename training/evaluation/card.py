"""A model card's figures: a bundle with sliders on held-out people, as one JSON file.

Reconstruction, the posterior-mean gap, and every slider; `training/report.py` writes its tables.
The contact sheets that are drawn show people of the test split: to be looked at, not shared.
"""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from pdae_app.engine.quality import FAST
from pdae_app.whole import whole_file
from training.data import DataConfig
from training.evaluation.edits import at_one, curve, edited_people, judged, mean_rows
from training.evaluation.identity import FaceEmbedder, NoEmbedderError, load_embedder, yardsticks
from training.evaluation.judge import Judge, JudgeConfig, load_judge
from training.evaluation.model import Model
from training.evaluation.reconstruction import coded, gap, reconstruction
from training.evaluation.sheets import save_sheet
from training.evaluation.subject import Subject, load_subject
from training.evaluation.taken_away import having, taken_away


@dataclass(frozen=True)
class CardConfig:
    """Everything that `evaluate.py --config` takes.

    `people` test people are edited in `edit_steps`, as the app edits; and, to see what is taken
    away, as many who have a slider's attribute, with that slider at -1. Reconstruction and gap are
    measured on `limit` test pictures (null: all, 0: left out), in `steps`.
    """

    model: str
    out: str
    data: DataConfig
    test_split: str = "test"
    people: int = 48
    edit_steps: int = FAST
    limit: int | None = None
    steps: int = 100
    sheets: bool = True
    judge: JudgeConfig = field(default_factory=JudgeConfig)


def measure_reconstruction(subject: Subject, limit: int | None, steps: int) -> dict:
    """Reconstruction and gap, on pictures from all over the test split."""
    count = len(subject.squares) if limit is None else min(limit, len(subject.squares))
    if not count:
        return {}
    places = np.linspace(0, len(subject.squares) - 1, count).round().astype(int).tolist()
    editor = subject.editor
    model = Model(editor.name, editor.bundle, editor.device)
    pictures = coded(model, subject.squares[places])
    figures = {"reconstruction": reconstruction(pictures, steps), "gap": gap(pictures)}
    return {"pictures": count, "steps": steps} | figures


def measure_edits(subject: Subject, judge: Judge, sheets: Path | None) -> dict:
    """Every slider that the judge knows, on the subject's people."""
    embed = _embedder()
    real = judge.real(subject.squares, subject.rows)
    names = [name for name in subject.editor.attributes if name in judge.names]
    edits, rows = {}, []
    for edited in tqdm(edited_people(subject, names), "editing", len(names), leave=False):
        verdicts = judged(edited, judge, embed)
        edits[edited.name] = at_one(verdicts, judge.names, real)
        rows += curve(verdicts, judge.names, real)
        if sheets:
            save_sheet(edited, subject.faces, sheets)
    figures = {"people": len(subject.people), "edit steps": subject.steps, "edits": edits}
    figures["curves"] = mean_rows(rows) + rows
    figures["taken away"] = {
        name: taken_away(who, judge, name, real)
        for name in tqdm(names, "taking away", leave=False)
        if (who := having(subject, name, len(subject.people))).people
    }
    if embed:
        figures["identity of photographs"] = yardsticks(embed, subject.squares, subject.rows)
    return figures


def _embedder() -> FaceEmbedder | None:
    try:
        return load_embedder()
    except NoEmbedderError as missing:
        print(missing)
        return None


def measure(config: CardConfig) -> dict:
    """All figures of a bundle."""
    test = replace(config.data, split=config.test_split)
    subject = load_subject(config.model, test, config.people, config.edit_steps)
    judge = load_judge(config.judge, config.data, subject.rows)
    figures = {
        "model": config.model,
        "AUROC of z": {a.name: a.auroc for a in subject.editor.bundle.latents.attributes},
        "AUROC of the judge": judge.scores(subject.squares, subject.rows),
    }
    sheets = Path(config.out) / "sheets" if config.sheets else None
    figures |= measure_edits(subject, judge, sheets)
    return figures | measure_reconstruction(subject, config.limit, config.steps)


def write_card(config: CardConfig) -> dict:
    """Measure a bundle, and write `figures.json`."""
    figures = measure(config)
    with whole_file(Path(config.out) / "figures.json") as partial:
        partial.write_text(json.dumps(figures, indent=2) + "\n")
    return figures
