"""What the evaluation holds in memory, and what it makes only when a table asks for it."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from tests.evaluating import SMALL, config, model
from tests.tiny import tiny_bundle, tiny_class_bundle
from training.data import open_source
from training.evaluate import main
from training.evaluation import albums, suite
from training.evaluation.albums import Album, drawn_album
from training.evaluation.case import Case
from training.evaluation.distances import PIXELS
from training.evaluation.features import Features
from training.evaluation.held_out import Squares, load_squares
from training.evaluation.judge import Judge
from training.evaluation.overlap import hashes
from training.evaluation.suite import prepared, run
from training.evaluation.tables import memorisation, unconditional
from training.evaluation.tools import Tools
from training.loop import run_script
from training.pixel_classifier import small_cnn

# Its fixtures: folder, data and small.
pytest_plugins = ("tests.evaluating",)


def squares_of(data, split):
    return load_squares(replace(data, split=split, align="center"), 16, 3)


def case_of(data, kind=Case, **options):
    colour = Features("colour", lambda x: x.mean(dim=(2, 3)), batch_size=5)
    tools, sizes = Tools({"features": lambda: colour}), replace(SMALL, drawn=20)
    tiny = replace(model(tiny_bundle()), batch_size=5)
    options = {"read_training": lambda: squares_of(data, "train")} | options
    return kind(tiny, squares_of(data, "test"), tools, sizes, **options)


def test_pictures_are_drawn_and_read_piece_by_piece(monkeypatch):
    monkeypatch.setattr(albums, "PIECE", 4)
    torch.manual_seed(0)
    pictures, asked = torch.rand(10, 3, 8, 8) * 2 - 1, []

    def draw(places):
        asked.append(places)
        return pictures[places.start : places.stop]

    album = drawn_album(10, (3, 8, 8), draw, "drawing")
    assert asked == [range(0, 4), range(4, 8), range(8, 10)]
    assert len(album) == 10 and len(album.at(slice(3))) == 3
    torch.testing.assert_close(album[:], pictures, atol=1 / 255 + 1e-6, rtol=0)
    torch.testing.assert_close(album.at([7, 2])[:], album[[7, 2]])
    monkeypatch.setattr(albums.shutil, "disk_usage", lambda _: SimpleNamespace(free=100))
    with pytest.raises(ValueError, match=r"draw fewer \(sizes.drawn\), or set TMPDIR"):
        drawn_album(10, (3, 8, 8), draw, "drawing")


@pytest.mark.parametrize("table", [unconditional, memorisation])
def test_no_table_of_many_pictures_holds_them_all(table, data, monkeypatch):
    monkeypatch.setattr(albums, "PIECE", 5)
    asked, squares = [], squares_of(data, "train")

    def read(places):
        asked.append(len(places))
        return squares.pictures[places]

    counted = Squares(Album(read, range(len(squares))), squares.rows)
    assert table.measure(case_of(data, read_training=lambda: counted)).rows
    assert sum(asked) >= len(squares) == 24 and max(asked) <= memorisation.SHOWN


def test_what_no_table_asks_for_is_not_made(data, tmp_path, small):
    wanted = config(data, tmp_path / "out", tables=("losses", "gap"))
    bench = prepared(wanted, model(tiny_bundle()))
    assert all("left out" not in record for record in run(wanted, bench))
    assert not (tmp_path / "judge").exists() and "training" not in vars(bench.case)
    asking = replace(wanted, tables=("unconditional",))
    records = run(asking, prepared(asking, model(tiny_bundle())))
    assert "rows" in next(r for r in records if r["table"] == "unconditional")
    assert len(list((tmp_path / "judge").iterdir())) == 1


def test_a_table_is_measured_anew_when_what_it_lacked_is_there(data, tmp_path, small, monkeypatch):
    def missing(file):
        raise ValueError("LPIPS cannot be downloaded here")

    wanted = config(data, tmp_path / "out", tables=("reconstruction",), lpips=None)
    monkeypatch.setattr(suite, "lpips", missing)
    (without,) = run(wanted, prepared(wanted, model(tiny_bundle())))
    assert without["lacked"] == ["lpips"] and "LPIPS cannot be downloaded here" in without["notes"]
    (kept,) = run(wanted, prepared(wanted, model(tiny_bundle())))
    assert kept == without
    monkeypatch.setattr(suite, "lpips", lambda file: replace(PIXELS, name="LPIPS"))
    (found,) = run(wanted, prepared(wanted, model(tiny_bundle())))
    assert found["lacked"] == [] and "LPIPS" in found["rows"][0]


@pytest.mark.parametrize("flag", ["inception", "lpips", "judge"])
def test_a_given_file_that_is_garbage_stops_the_command(
    flag, folder, tmp_path, monkeypatch, capsys
):
    (tmp_path / "rubbish.pth").write_bytes(b"rubbish" * 30)
    words = ["evaluate.py", "bundle", f"--{flag}", str(tmp_path / "rubbish.pth"), "--quick"]
    words += ["--data", str(folder), "--labels", str(folder / "labels.csv"), "--align", "center"]
    words += [f"data.cache={folder / 'cache'}", f"out={tmp_path / 'out'}"]
    monkeypatch.setattr("sys.argv", words)
    monkeypatch.setattr("training.evaluate.load_model", lambda *_: model(tiny_bundle()))
    with pytest.raises(SystemExit):
        run_script(main)
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert told.startswith("error: ") and "rubbish.pth" in told
    assert not (tmp_path / "out").exists()


def test_a_judge_that_has_seen_test_pictures_gives_no_features(data, tmp_path, small, monkeypatch):
    wanted = config(data, tmp_path / "out", tables=("unconditional",))
    judge = Judge(small_cnn(1).eval(), ["Smiling"], 16, frozenset(hashes(open_source(data))))
    monkeypatch.setattr(suite, "load_judge", lambda *_: judge)
    (record,) = run(wanted, prepared(wanted, model(tiny_bundle())))
    assert "learned from 24 of the 24 test pictures" in record["left out"]


class Copying(Case):
    """Its new pictures are training pictures."""

    def new_pictures(self, steps, count):
        return self.training.pictures.at(slice(count))


def test_a_model_that_copies_training_pictures_is_flagged_by_the_table(data):
    copied = {row["by"]: row for row in memorisation.measure(case_of(data, Copying)).rows}
    assert {"pixels", "colour's features", "z"} <= set(copied)
    for row in copied.values():
        assert row["flagged"] == "yes" and row["to training"]["mean"] < 1e-3
    honest = memorisation.measure(case_of(data)).rows
    assert honest[0]["flagged"] == "no" and honest[0]["to training"]["mean"] > 1


def test_classes_are_read_from_the_column_that_is_named(data, tmp_path, small):
    labels = tmp_path / "labels.csv"
    labels.write_text(Path(data.labels).read_text().replace(",class\n", ",kind\n"))
    other = replace(data, labels=str(labels))
    wanted = config(other, tmp_path / "out", tables=("losses",))
    (record,) = run(wanted, prepared(wanted, model(tiny_class_bundle())))
    assert "data.class_column=NAME" in record["left out"]
    named = replace(wanted, data=replace(other, class_column="kind"))
    (record,) = run(named, prepared(named, model(tiny_class_bundle())))
    assert record["rows"][0]["conditional"]["mean"] > 0
