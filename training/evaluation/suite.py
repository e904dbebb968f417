"""All tables of one model: pictures and tools for it, and results that a killed run finds again."""

import hashlib
import json
import time
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

import torch
from torchvision.utils import save_image

from pdae_app.bundle_files import sha256
from pdae_app.whole import whole_file
from training.data import DataConfig, open_source
from training.evaluation.case import Case
from training.evaluation.distances import Distance, lpips
from training.evaluation.features import Features, load_features, named
from training.evaluation.held_out import Squares, load_squares
from training.evaluation.identity import load_embedder
from training.evaluation.judge import (
    Judge,
    JudgeConfig,
    check_unseen,
    load_judge,
    read_judge,
)
from training.evaluation.model import Model
from training.evaluation.overlap import Seen, kept_hashes, looked_at
from training.evaluation.sizes import QUICK, Sizes
from training.evaluation.table import LeftOutError, Table
from training.evaluation.tables import (
    attributes,
    critical_stages,
    fake_detection,
    few_shot,
    gap,
    interpolation,
    likelihood,
    losses,
    manipulation,
    memorisation,
    reconstruction,
    truncation,
    unconditional,
    unfamiliar,
    variations,
)
from training.evaluation.tools import Tools

TABLES = {
    module.__name__.rpartition(".")[2]: module
    for module in (
        reconstruction,
        attributes,
        manipulation,
        interpolation,
        gap,
        unconditional,
        truncation,
        variations,
        memorisation,
        unfamiliar,
        fake_detection,
        few_shot,
        losses,
        critical_stages,
        likelihood,
    )
}


@dataclass(frozen=True)
class SuiteConfig:
    """What evaluate.py measures models on, and with what.

    `data` without its splits; `test_split` is measured on, `train_split` are pictures that models
    learned from (null: none are known). `align` null frames pictures as each model has it.
    `features` of distances of sets: "inception", "dinov2", "judge", or a dotted name; null takes
    Inception where its `inception` file is given, else the judge's. `judge` is a file, else one is
    trained on the training pictures. `lpips` is AlexNet's file; "none" goes without. `embedder`
    is a dotted name in place of dlib's. `people` shows pictures of real people on the page. `sizes`
    are how much is measured, without `quick`.
    """

    data: DataConfig
    out: str = "runs/evaluation"
    tables: tuple[str, ...] = tuple(TABLES)
    quick: bool = False
    test_split: str | None = None
    train_split: str | None = None
    align: str | None = None
    features: str | None = None
    inception: str | None = None
    lpips: str | None = None
    judge: str | None = None
    judge_config: JudgeConfig = field(default_factory=JudgeConfig)
    embedder: str | None = None
    others: str | None = None
    people: bool = False
    seed: int = 0
    sizes: Sizes = field(default_factory=Sizes)

    def __post_init__(self):
        unknown = set(self.tables) - set(TABLES)
        if unknown:
            raise ValueError(
                f"there is no table {', '.join(sorted(unknown))}; known: {', '.join(TABLES)}"
            )

    @property
    def in_force(self) -> Sizes:
        """`sizes`, the papers' numbers where nothing else was asked for; or few."""
        return QUICK if self.quick else self.sizes


@dataclass(frozen=True)
class Bench:
    """A model with everything that its tables are measured with, and what is to be warned of."""

    case: Case
    warnings: list[str]
    key: str


def prepared(config: SuiteConfig, model: Model) -> Bench:
    """Pictures of the model's size, and the tools, which are made when a table asks for them.

    Raises:
        ValueError: no pictures, a given file that is not what it is given as, or a judge that has
            seen the pictures.
    """
    sizes, bundle = config.in_force, model.bundle
    data = replace(config.data, align=config.align or bundle.framing, split=None)
    test_split, train_split = _splits(config, data)
    held = replace(data, split=test_split, most=sizes.held_out)
    learned = replace(data, split=train_split, most=sizes.training) if train_split else None
    seen, size, channels = looked_at(open_source(held)), bundle.picture_size, model.channels
    held_out = load_squares(held, size, channels)
    others = None
    if config.others:
        elsewhere = replace(data, folder=config.others, labels=None, split=None, align="center")
        others = load_squares(elsewhere, size, channels)
    case = Case(
        model,
        held_out,
        _tools(config, learned, held_out, seen),
        sizes,
        read_training=partial(load_squares, learned, size, channels) if learned else None,
        others=others,
        seed=config.seed,
        class_column=data.class_column or "class",
    )
    return Bench(case, _warnings(model, seen), _key(config, case, seen, learned))


def _splits(config: SuiteConfig, data: DataConfig) -> tuple[str | None, str | None]:
    """The parts to measure on and to know as training pictures: as asked, or as the labels say.

    Raises:
        ValueError: parts that nothing names, or one and the same.
    """
    test, train = config.test_split, config.train_split
    if not (test or train):
        known = {row.get("split") for row in open_source(data).rows} if data.labels else set()
        return tuple(name if name in known else None for name in ("test", "train"))
    if not (data.labels or data.dataset or data.torchvision):
        raise ValueError("the parts of a folder are named by the column split of its labels")
    if test == train:
        raise ValueError(f"{test!r} cannot be measured on and learned from at once")
    return test, train


def _tools(
    config: SuiteConfig, training: DataConfig | None, held_out: Squares, seen: Seen
) -> Tools:
    """Whatever can be had here. What was given as a file is read now, so that none is a surprise.

    Raises:
        ValueError: such a file is something else.
    """

    def judge() -> Judge:
        found = _judge(config, training, held_out)
        check_unseen(found, set(filter(None, seen.hashes)))
        return found

    def features() -> Features:
        name = config.features or ("inception" if config.inception else "judge")
        return load_features(
            name, tools.needed("judge") if name == "judge" else None, config.inception
        )

    makers = {"judge": judge, "features": features, "lpips": partial(_lpips, config.lpips)}
    makers["embed"] = named(config.embedder) if config.embedder else load_embedder
    tools = Tools(makers)
    given = {"judge": config.judge, "lpips": config.lpips}
    given["features"] = config.inception if config.features in (None, "inception") else None
    for name in (name for name, file in given.items() if file and file != "none"):
        if tools.get(name) is None:
            raise ValueError(tools.missing[name])
    return tools


def _lpips(file: str | None) -> Distance:
    if file == "none":
        raise ValueError("LPIPS is left out, as asked.")
    return lpips(file)


def _judge(config: SuiteConfig, training: DataConfig | None, held_out: Squares) -> Judge:
    if config.judge:
        return read_judge(Path(config.judge))
    if training is None:
        raise ValueError(
            "there is no judge: it learns from labelled training pictures (--labels, --train)"
        )
    return load_judge(_judge_config(config), training, held_out.rows)


def _judge_config(config: SuiteConfig) -> JudgeConfig:
    classifier = replace(config.judge_config.classifier, epochs=config.in_force.judge_epochs)
    return replace(config.judge_config, classifier=classifier)


def _warnings(model: Model, seen: Seen) -> list[str]:
    """What is wrong with the pictures."""
    warnings, size, count = [], model.bundle.picture_size, len(seen.hashes)
    kept = kept_hashes(model.bundle.folder)
    if kept is None:
        warnings.append(
            f"{model.name} does not say what it was trained on (training/evaluation/overlap.py "
            "keeps hashes beside a bundle): whether it has seen these pictures is not known."
        )
    elif known := len(kept.intersection(filter(None, seen.hashes))):
        warnings.append(
            f"{known} of the {count} pictures are among those that {model.name} was trained on: "
            "its figures are too good."
        )
    small = sum(0 < side < size for side in seen.sides)
    if small:
        warnings.append(
            f"{small} of the {count} pictures are smaller than the {size} pixels of {model.name}, "
            "and were enlarged: fine detail is not in them."
        )
    return warnings


def _key(config: SuiteConfig, case: Case, seen: Seen, learned: DataConfig | None) -> str:
    """A hash of all that a result depends on, but for the program."""
    source = open_source(learned) if learned else None
    facts = [
        case.model.bundle.identity,
        asdict(config.in_force),
        seen.hashes,
        [case.held_out.rows, case.class_column],
        source and [source.rows, [source.fingerprint(i) for i in range(len(source.rows))]],
        [str(config.others), config.seed, config.align, config.people],
        [config.features, config.embedder, asdict(_judge_config(config))],
        [_file_hash(file) for file in (config.inception, config.lpips, config.judge)],
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def _file_hash(name: str | None) -> str | None:
    """What a file of weights holds; a word that names no file, as it is."""
    return sha256(Path(name)) if name and Path(name).is_file() else name


def result_path(config: SuiteConfig, model: Model, table: str) -> Path:
    """Where a table lies: apart from those of other models in folders that are called alike.

    A quick look never takes the place of the whole measurement.
    """
    name = f"{model.name}-{model.bundle.identity[:8]}" + ("-quick" if config.quick else "")
    return Path(config.out) / name / f"{table}.json"


def run(config: SuiteConfig, bench: Bench) -> list[dict]:
    """The tables of one model; those that are there already are kept.

    Tables that nobody asked for, but that were measured before on the same, come along.
    """
    records = []
    for name in TABLES:
        path = result_path(config, bench.case.model, name)
        record = _kept(path, bench)
        if record is None and name not in config.tables:
            continue
        if record is None:
            number = config.tables.index(name) + 1
            print(f"{bench.case.model.name}, {number} of {len(config.tables)}: {name}", flush=True)
            record = _measured(config, bench, name, path)
        records.append(record)
    return records


def _kept(path: Path, bench: Bench) -> dict | None:
    """A result of the same things, which is not measured again; no tool that it lacks is there."""
    try:
        record = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return None
    if record.get("key") != bench.key or "left out" in record:
        return None
    if any(bench.case.tools.get(name) is not None for name in record["lacked"]):
        return None
    return record | {"model": bench.case.model.name, "warnings": bench.warnings}


def _measured(config: SuiteConfig, bench: Bench, name: str, path: Path) -> dict:
    """One table, written whole."""
    module, case, start = TABLES[name], bench.case, (time.perf_counter(), time.process_time())
    case.tools.asked.clear()
    record = {
        "table": name,
        "title": module.TITLE,
        "of": module.OF,
        "model": case.model.name,
        "size": "quick" if config.quick else "full",
        "key": bench.key,
        "warnings": bench.warnings,
    }
    try:
        table = module.measure(case)
    except (LeftOutError, ValueError) as reason:
        record["left out"] = str(reason)
        table = None
    if table is not None:
        record |= _plain(table, config, path)
    record["lacked"] = sorted(case.tools.asked.intersection(case.tools.missing))
    record["seconds"] = round(time.perf_counter() - start[0], 1)
    record["processor seconds"] = round(time.process_time() - start[1], 1)
    record["threads"] = torch.get_num_threads()
    text = json.dumps(record, indent=1) + "\n"
    with whole_file(path) as unfinished:
        unfinished.write_text(text)
    return json.loads(text)


def _plain(table: Table, config: SuiteConfig, path: Path) -> dict:
    """The table as JSON has it; pictures as files beside, those of people only where asked."""
    pictures = {}
    if config.people or not table.people:
        for number, (caption, picture) in enumerate(table.pictures.items()):
            place = path.with_suffix("") / f"{number}.png"
            with whole_file(place) as unfinished:
                save_image(picture / 2 + 0.5, unfinished)
            pictures[caption] = str(place.relative_to(config.out))
    curves = [asdict(curve) for curve in table.curves]
    return {
        "rows": table.rows,
        "protocol": table.protocol,
        "notes": table.notes,
        "curves": curves,
        "pictures": pictures,
    }
