"""Measure models as the papers do: every table by one command, side by side, as a page to read.

    python training/evaluate.py runs/mine --data MY_PICTURES --labels MY_LABELS.csv --quick

Any bundle, PDAE, Diff-AE, converted ones, class models or DPMs alone; several are one table.
Without --quick the papers' numbers of pictures are taken, or those of sizes.NAME=N. A killed run
goes on where it was when the same command is given again. Results: OUT/MODEL/TABLE.json,
OUT/tables.md, OUT/page.html.

    python training/evaluate.py --config training/configs/faces128/evaluate.yaml people=16

with a configuration and no model measures the figures of a model card (figures.json).
"""

import argparse
import json
import shlex
import sys
from pathlib import Path

import torch

from pdae_app.whole import whole_file
from training.config import describe, load
from training.evaluation.card import CardConfig, write_card
from training.evaluation.model import load_model
from training.evaluation.names import told_apart
from training.evaluation.page import markdown, page
from training.evaluation.suite import TABLES, SuiteConfig, prepared, run
from training.loop import run_script
from training.report import report

# Flags, and the keys of `SuiteConfig` that they set.
FLAGS = {
    "data": ("data.folder", "the folder of pictures"),
    "labels": ("data.labels", "CSV with a column file, labels of 0 and 1, numbers, split, person"),
    "test": ("test_split", "the split to measure on (as the labels say: test)"),
    "train": ("train_split", "the split that models learned from (as the labels say: train)"),
    "out": ("out", "where results go (runs/evaluation)"),
    "align": ("align", "how pictures are framed (as each model's)"),
    "features": ("features", "inception, dinov2, judge, or package.module:function"),
    "inception": ("inception", "file of Inception's weights"),
    "lpips": ("lpips", "file of AlexNet's weights, or none"),
    "judge": ("judge", "file of train_judge.py"),
    "embedder": ("embedder", "package.module:function that embeds faces"),
    "others": ("others", "folder of other things, for the table unfamiliar"),
}


def parsed(arguments: list[str]) -> tuple[argparse.Namespace, list[str], list[str]]:
    """The command line: flags, models, and overrides `key=value`."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="keys:\n" + "\n".join(describe(SuiteConfig)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("given", nargs="*", metavar="MODEL or key=value")
    parser.add_argument("--config", help="YAML file of keys")
    for name, (_, words) in FLAGS.items():
        parser.add_argument(f"--{name}", help=words)
    parser.add_argument(
        "--tables", nargs="+", choices=TABLES, metavar="TABLE", help=", ".join(TABLES)
    )
    parser.add_argument("--quick", action="store_true", help="few pictures, in minutes")
    parser.add_argument("--show-people", action="store_true", help="real people on the page, too")
    flags = parser.parse_intermixed_args(arguments)
    models = [word for word in flags.given if "=" not in word]
    return flags, models, [word for word in flags.given if "=" in word]


def suite_config(flags: argparse.Namespace, overrides: list[str]) -> SuiteConfig:
    """The configuration that flags and overrides make.

    Raises:
        ConfigError: an unknown key, or no pictures.
    """
    chosen = {key: getattr(flags, name) for name, (key, _) in FLAGS.items()}
    chosen |= {"tables": flags.tables, "quick": flags.quick or None}
    chosen["people"] = flags.show_people or None
    words = [f"{key}={json.dumps(value)}" for key, value in chosen.items() if value is not None]
    if not flags.config and not any(word.startswith("data.") for word in words + overrides):
        raise ValueError("name the pictures to measure on: --data FOLDER")
    return load(SuiteConfig, flags.config, [*words, *overrides])


def measure(config: SuiteConfig, models: list[str], command: str) -> list[dict]:
    """All tables of all models, written as JSON, Markdown and HTML as they come.

    Raises:
        ValueError: a model is named twice, or cannot be measured.
    """
    device, records = "cuda" if torch.cuda.is_available() else "cpu", []
    folders = [Path(n).resolve() if Path(n).is_dir() else Path(n.replace("/", "-")) for n in models]
    titles = told_apart(folders)
    for title, model in zip(titles, [load_model(name, device) for name in models], strict=True):
        found = run(config, prepared(config, model))
        records += [record | {"model": title} for record in found]
        publish(records, Path(config.out), command)
    return records


def publish(records: list[dict], out: Path, command: str) -> None:
    """The pages of what is there."""
    texts = {"tables.md": markdown(records), "page.html": page(records, out, command)}
    for name, text in texts.items():
        with whole_file(out / name) as partial:
            partial.write_text(text)


def main() -> None:
    """The command line."""
    flags, models, overrides = parsed(sys.argv[1:])
    if models:
        config = suite_config(flags, overrides)
        command = "python training/evaluate.py " + shlex.join(sys.argv[1:])
        print(markdown(measure(config, models, command)))
        print(f"wrote {Path(config.out) / 'page.html'}")
    elif flags.config:
        print(report(write_card(load(CardConfig, flags.config, overrides))))
    else:
        raise ValueError("name a model: a bundle's folder, or owner/name of the Hub")


if __name__ == "__main__":
    run_script(main)
