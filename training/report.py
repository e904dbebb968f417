"""The figures of `evaluate.py` as Markdown tables, for README and model cards.

    python training/report.py runs/faces128-evaluation/figures.json

Several are several models, set side by side. With `--into README.md`, what stands there between
the lines `<!-- figures -->` and `<!-- /figures -->` is written anew. A folder of the evaluation by
tables stands for all its tables: between `<!-- tables -->` and `<!-- /tables -->`.
"""

import argparse
import json
from pathlib import Path

from pdae_app.whole import whole_file
from training.evaluation.names import told_apart
from training.evaluation.page import markdown
from training.evaluation.suite import TABLES
from training.loop import run_script
from training.markdown import table

MEASURES = ("carried", "leak", "identity")


def spoken(name: str) -> str:
    """An attribute's name for people."""
    return name.replace("_", " ")


def measures(figures: dict | None) -> list[str]:
    """Carried, leak and identity as cells, empty where they were not measured."""
    formats = {"carried": "{:.0%}", "leak": "{:.3f}", "identity": "{:.3f}"}
    values = [(figures or {}).get(key) for key in MEASURES]
    pairs = zip(formats.values(), values, strict=True)
    return ["" if value is None else form.format(value) for form, value in pairs]


def reconstruction(figures: dict) -> str:
    """MSE and SSIM with inferred and random x_T."""
    steps, rows = figures["steps"], []
    for name, values in figures["reconstruction"].items():
        steps_said = f", {steps} steps" if "random" in name else ""
        steps_said = f", {steps} + {steps} plain DDIM steps" if "inferred" in name else steps_said
        cells = f"{values['MSE']:.2g}", f"{values['SSIM']:.4f}"
        rows.append((f"reconstruction, {name}{steps_said}", *cells))
    return table(("", "MSE on [0, 1]", "SSIM"), rows)


def attributes(figures: dict) -> str:
    """AUROC, and what the judge says of edits."""
    columns = (
        "attribute",
        "AUROC of the direction on z",
        "AUROC of the judge on pixels",
        "carried at ±1",
        "leak",
        "identity",
        "the judge's probability rises from -1 to +1 for",
        "taken away at -1 from who has it",
    )
    ours, judge, rows = figures["AUROC of z"], figures["AUROC of the judge"], []
    for name in ours:
        edit = figures["edits"].get(name)
        scores = (f"{scores[name]:.3f}" if scores.get(name) else "" for scores in (ours, judge))
        rises = f"{edit['rises for']:.0%}" if edit else ""
        away = figures.get("taken away", {}).get(name)
        gone = f"{away['part']:.0%}" if away else ""
        rows.append((spoken(name), *scores, *measures(edit), rises, gone))
    scores = ([score for score in scores.values() if score] for scores in (ours, judge))
    means = (f"{sum(known) / len(known):.3f}" if known else "" for known in scores)
    rows.append(("mean", *means, *measures(mean_at(figures, 1.0)), "", ""))
    return table(columns, rows)


def mean_at(figures: dict, strength: float) -> dict:
    """The mean over attributes at one strength."""
    means = (row for row in figures["curves"] if row["attribute"] == "mean")
    return next(row for row in means if row["strength"] == strength)


def curves(figures: dict) -> str:
    """Means over all attributes by strength."""
    means = [row for row in figures["curves"] if row["attribute"] == "mean"]
    rows = ((f"±{mean['strength']:g}", *measures(mean)) for mean in means)
    return table(("sliders at", *MEASURES), rows)


def gap(figures: dict) -> str:
    """The posterior-mean gap by timestep."""
    places = figures["gap"]
    rows = [(name, *(f"{p[name]:.1e}" for p in places)) for name in ("without", "with")]
    rows.append(("filled", *(f"{p['filled']:.0%}" for p in places)))
    return table(("t", *(p["t"] for p in places)), rows)


def side_by_side(models: list[dict], titles: list[str]) -> str:
    """Carried, leak and identity of several models, an attribute a line."""
    names = list(dict.fromkeys(name for model in models for name in model["edits"]))
    columns, rows = ("attribute", *(f"{title}: {m}" for title in titles for m in MEASURES)), []
    for name in names:
        cells = (measures(model["edits"].get(name)) for model in models)
        rows.append((spoken(name), *(cell for part in cells for cell in part)))
    means = (measures(mean_at(model, 1.0)) for model in models)
    rows.append(("mean", *(cell for part in means for cell in part)))
    return table(columns, rows)


def report(figures: dict) -> str:
    """All tables of a model."""
    parts = [f"Edits of {figures['people']} held-out people, {figures['edit steps']} steps:"]
    parts += [attributes(figures), curves(figures)]
    known = figures.get("identity of photographs", {})
    parts += [f"Identity of {k}: {v:.3f}." for k, v in known.items() if v is not None]
    if "reconstruction" in figures:
        std = figures["reconstruction"]["inferred x_T"]["x_T std"]
        parts += [
            f"On {figures['pictures']} held-out pictures:",
            reconstruction(figures),
        ]
        parts += [f"The inferred x_T has a standard deviation of {std:.2f} (1 would be ideal)."]
        parts += ["The posterior-mean gap (mean squared error), without and with the shift:"]
        parts += [gap(figures)]
    return "\n\n".join(parts)


def filled(text: str, mark: str, inside: str) -> str:
    """A document with what stands between a mark's two lines written anew.

    Raises:
        ValueError: it has no such lines.
    """
    first, last = f"<!-- {mark} -->", f"<!-- /{mark} -->"
    head, found, rest = text.partition(first)
    _, ended, tail = rest.partition(last)
    if not found or not ended:
        raise ValueError(f"there are no lines {first} and {last} to write between")
    return f"{head}{first}\n\n{inside.strip()}\n\n{last}{tail}"


def cards(paths: list[str]) -> str:
    """The figures of one model card, or of several beside each other."""
    models = [read(path) for path in paths]
    if len(models) == 1:
        return report(models[0])
    titles = titled([figures["model"] for figures in models], paths)
    both = zip(titles, models, strict=True)
    parts = (f"## {title}\n\n{report(figures)}" for title, figures in both)
    return "\n\n".join([side_by_side(models, titles), *parts])


def titled(models: list[str], results: list[str]) -> list[str]:
    """Short names of models that are no two alike: of their own, or of where their results lie."""
    own = [Path(model) for model in models]
    places = [Path(place).resolve() for place in results]
    return told_apart(own if len(set(own)) == len(own) else places)


def read(path: str | Path) -> dict:
    """The mapping that a file of results holds.

    Raises:
        ValueError: it holds something else.
    """
    try:
        found = json.loads(Path(path).read_text())
    except ValueError as error:
        raise ValueError(
            f"{path} is no file of results ({error}); evaluate.py writes them"
        ) from error
    if not isinstance(found, dict) or "model" not in found:
        raise ValueError(f"{path} is no file of results; evaluate.py writes them")
    return found


def model_tables(folders: list[str]) -> str:
    """The tables that `evaluate.py MODEL` left in one model's folder, or in several models'.

    Raises:
        ValueError: there are none.
    """
    found = [tables_in(folder) for folder in folders]
    titles = titled([records[0]["model"] for records in found], folders)
    records = [
        record | {"model": title}
        for title, records in zip(titles, found, strict=True)
        for record in records
    ]
    return markdown(records, level=3)


def tables_in(folder: str) -> list[dict]:
    """The records of a model's folder, in the order of the tables."""
    paths = (Path(folder) / f"{name}.json" for name in TABLES)
    records = [read(path) for path in paths if path.is_file()]
    if not records:
        raise ValueError(f"{folder} holds no tables of evaluate.py")
    return records


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", nargs="+", metavar="figures.json or FOLDER")
    parser.add_argument("--into", metavar="FILE.md", help="the document to write into")
    flags = parser.parse_args()
    folders = {Path(name).is_dir() for name in flags.results}
    if len(folders) > 1:
        raise ValueError("files of figures and folders of tables do not stand in one document part")
    whole = folders == {True}
    text = model_tables(flags.results) if whole else cards(flags.results)
    if flags.into is None:
        print(text)
        return
    document = filled(Path(flags.into).read_text(), "tables" if whole else "figures", text)
    with whole_file(flags.into) as partial:
        partial.write_text(document)


if __name__ == "__main__":
    run_script(main)
