"""Every table, for models of every family, in numbers that take no time."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pdae_app.bundle import Bundle, save_bundle
from pdae_app.convert.__main__ import main as convert
from tests.evaluating import SMALL, config, model
from tests.oracle import arrays, flags, write_diffae, write_pdae
from tests.tiny import (
    UNET,
    tiny_bundle,
    tiny_class_bundle,
    tiny_latent_bundle,
    tiny_pdae_on_vdm,
    tiny_vdm,
)
from training.data import DataConfig, open_source
from training.evaluate import main, measure
from training.evaluation import suite
from training.evaluation.case import Case, Tools
from training.evaluation.distances import squared_error
from training.evaluation.features import Features
from training.evaluation.held_out import load_squares
from training.evaluation.model import load_model
from training.evaluation.names import told_apart
from training.evaluation.overlap import keep_hashes, kept_hashes, pass_on_hashes
from training.evaluation.page import markdown, page, sentences
from training.evaluation.reconstruction import coded
from training.evaluation.suite import TABLES, SuiteConfig, prepared, result_path, run
from training.evaluation.tables import (
    attributes,
    memorisation,
    reconstruction,
)
from training.pixel_classifier import ClassifierConfig, label_table
from training.report import model_tables

# Its fixtures: folder, data and small.
pytest_plugins = ("tests.evaluating",)


def written_bundle(bundle, folder):
    save_bundle(bundle, folder)
    return load_model(str(folder), "cpu")


def dpm(classes=()):
    from pdae_app.models.unet import UNet

    torch.manual_seed(0)
    unet = UNet(replace(UNET, classes=len(classes) or None)).eval().requires_grad_(False)
    return Bundle(unet, tiny_bundle().diffusion, classes=classes)


# What a family has not: classes, a likelihood; codes of pictures, of which sliders and few-shot
# generation are made.
LEFT_OUT = {
    "pdae": {"critical_stages", "likelihood"},
    "diffae": {"critical_stages", "likelihood"},
    "classes": {"attributes", "manipulation", "unfamiliar", "few_shot", "likelihood"},
}


def official_diffae(folder):
    """The official layout of a tiny Diff-AE, converted: 32 px, with sliders and a latent DPM."""
    names = ("autoencoder", "latent", "classifier", "latents")
    return converted("diffae", write_diffae(folder / "files"), names, folder / "bundle").bundle


@pytest.mark.parametrize("kind", LEFT_OUT)
def test_every_table(kind, data, tmp_path, small):
    if kind == "diffae":
        bundle = official_diffae(tmp_path)
    else:
        bundle = {"pdae": tiny_bundle, "classes": tiny_class_bundle}[kind]()
    wanted = config(data, tmp_path / "out")
    records = run(wanted, prepared(wanted, model(bundle, kind)))
    assert {r["table"] for r in records if "left out" in r} == LEFT_OUT[kind], [
        r["left out"] for r in records if "left out" in r
    ]
    for record in records:
        if "left out" not in record:
            assert record["rows"] and record["protocol"], record["table"]
        saved = json.loads(result_path(wanted, model(bundle, kind), record["table"]).read_text())
        assert saved == json.loads(json.dumps(record))
    drawn = next(r["rows"] for r in records if r["table"] == "unconditional")
    true_codes = set() if kind == "classes" else {"with true codes"}
    assert {row["way"] for row in drawn} == {"DPM alone", "with new codes"} | true_codes
    text, whole = markdown(records), page(records, tmp_path / "out", "evaluate")
    for record in records:
        assert record["title"] in text and f"<a href=#{record['table']}" in whole
        assert ("Measured in" in sentences([record])[-1]) == ("left out" not in record)
    assert "<svg" in whole and "data:image/png" in whole
    assert "do not say" not in text and "does not say what it was trained on" in text


@pytest.mark.parametrize(
    "make", [tiny_latent_bundle, tiny_pdae_on_vdm, dpm, lambda: dpm(("cat", "dog"))]
)
def test_other_families(make, data, tmp_path, small):
    tables = ("reconstruction", "gap", "unconditional", "losses", "interpolation")
    wanted = config(data, tmp_path / "out", tables=tables)
    bench = prepared(wanted, model(make()))
    records = {r["table"]: r for r in run(wanted, bench)}
    assert "left out" not in records["unconditional"]
    assert "left out" not in records["losses"]
    reads = bench.case.model.family.reads_pictures
    assert ("left out" in records["reconstruction"]) != reads


def test_a_likelihood(data, tmp_path, small):
    vdm = tiny_vdm("vdm_v", size=16)
    bundle = replace(dpm(), unet=vdm.networks.unet, variational=vdm)
    bundle = replace(bundle, diffusion=replace(bundle.diffusion, schedule=vdm.sampling_process))
    wanted = config(data, tmp_path / "out", tables=("likelihood",))
    (record,) = run(wanted, prepared(wanted, model(bundle)))
    assert "left out" not in record, record["left out"]
    (row,) = record["rows"]
    parts = sum(row[name]["mean"] for name in ("recon", "latent", "diffusion"))
    assert row["bits per dimension"]["mean"] == pytest.approx(parts)


def converted(kind, files, names, out):
    """The official files of a tiny model as a bundle."""
    assert convert([kind, *flags(files, *names), "--heads", HEADS[kind], "--out", str(out)]) == 0
    return load_model(str(out), "cpu")


HEADS = {"pdae": "4", "diffae": "1"}


def errors(model, protocol, steps, oracle):
    """The table's MSE (N,) by steps, of the reference's pictures."""
    subject = coded(model, oracle["in_x0"])
    sizes = replace(SMALL, inversion=10, steps=steps)
    return {t: squared_error(made, oracle["in_x0"]) for t, _, made in protocol(subject, sizes)}


def test_the_protocol_of_pdae_gives_the_reference_s_figures(tmp_path):
    names = ("autoencoder", "latents", "classifier", "latent_dpm")
    model = converted("pdae", write_pdae(tmp_path / "files"), names, tmp_path / "bundle")
    oracle = arrays()
    found = errors(model, reconstruction.pdae, (5, 10), oracle)
    for steps, name in ((5, "autoenc_ddim10_ddim5"), (10, "rec_ddim10")):
        expected = squared_error(oracle[name], oracle["in_x0"])
        torch.testing.assert_close(found[steps], expected, rtol=1e-3, atol=1e-6)


def test_the_protocol_of_diffae_gives_the_reference_s_figures(tmp_path):
    names = ("autoencoder", "latent", "classifier", "latents")
    model = converted("diffae", write_diffae(tmp_path / "files"), names, tmp_path / "bundle")
    oracle = arrays("diffae_tiny32")
    found = errors(model, reconstruction.diffae, (10,), oracle)
    rendered = oracle["render_T10"].reshape(oracle["in_x0"].shape) * 2 - 1
    expected = squared_error(rendered, oracle["in_x0"])
    torch.testing.assert_close(found[10], expected, rtol=1e-3, atol=1e-6)


def test_a_killed_run_goes_on_and_other_pictures_are_measured_anew(data, tmp_path, small, capsys):
    out = tmp_path / "out"
    wanted = config(data, out, tables=("losses", "attributes"))
    first = run(wanted, prepared(wanted, model(tiny_bundle())))
    (out / "tiny-unsaved-quick" / "attributes.json").unlink()
    capsys.readouterr()
    again = run(wanted, prepared(wanted, model(tiny_bundle())))
    assert "losses" not in capsys.readouterr().out
    assert [record["table"] for record in again] == ["attributes", "losses"]
    assert again[1] == first[1] and again[0]["rows"] == first[0]["rows"]
    other = replace(wanted, seed=1)
    run(other, prepared(other, model(tiny_bundle())))
    assert "losses" in capsys.readouterr().out


def test_a_quick_look_and_other_tables_leave_what_was_measured(data, tmp_path, small):
    quick = config(data, tmp_path / "out", tables=("losses",))
    full = replace(quick, quick=False, sizes=SMALL)
    bench = prepared(full, model(tiny_bundle()))
    (before,) = run(full, bench)
    run(quick, prepared(quick, model(tiny_bundle())))
    both = run(replace(full, tables=("attributes",)), bench)
    assert [record["table"] for record in both] == ["attributes", "losses"] and both[1] == before


def test_what_looks_is_part_of_the_key(data, tmp_path, small):
    files = [tmp_path / name for name in ("one.pth", "other.pth")]
    for number, file in enumerate(files):
        torch.save({"x": torch.full((1,), float(number))}, file)
    wanted = config(data, tmp_path / "out", features="judge")
    tools = [replace(wanted, inception=str(file)) for file in files]
    keys = [prepared(given, model(tiny_bundle())).key for given in tools]
    judge = replace(wanted.judge_config, classifier=ClassifierConfig(batch_size=8, seed=1))
    other = prepared(replace(tools[0], judge_config=judge), model(tiny_bundle())).key
    assert len({*keys, other}) == 3
    assert prepared(tools[0], model(tiny_bundle())).key == keys[0]


def test_what_is_no_judge_is_a_sentence(tmp_path):
    (tmp_path / "j.safetensors").write_bytes(b"rubbish")
    with pytest.raises(ValueError, match="is no judge's file"):
        suite.read_judge(tmp_path / "j.safetensors")
    with pytest.raises(ValueError, match="the labels have no columns Bald"):
        label_table([{"file": "a", "Male": "1"}], ["Male", "Bald"])


def test_several_models_are_one_table(data, tmp_path, small):
    for name in "ab":
        save_bundle(tiny_bundle(), tmp_path / name / "bundle")
    wanted = config(data, tmp_path / "out", tables=("losses",))
    names = [str(tmp_path / name / "bundle") for name in "ab"]
    records = measure(wanted, names, "command")
    assert [record["model"] for record in records] == ["a-bundle", "b-bundle"]
    text = (tmp_path / "out" / "tables.md").read_text()
    assert "| model |" in text and text.count("Conditional against") == 1
    with pytest.raises(ValueError, match="the same is named twice"):
        measure(wanted, [names[0]] * 2, "command")


def test_folders_of_equal_name_in_separate_runs_lie_apart(data, tmp_path, small, capsys):
    names = [str(tmp_path / name / "bundle") for name in "ab"]
    for seed, name in enumerate(names):
        save_bundle(tiny_bundle(seed), name)
    wanted = config(data, tmp_path / "out", tables=("losses",))
    apart = [measure(wanted, [name], "command")[0] for name in names]
    assert apart[0]["rows"] != apart[1]["rows"]
    capsys.readouterr()
    together = measure(wanted, names, "command")
    assert "losses" not in capsys.readouterr().out  # both are kept
    assert [record["rows"] for record in together] == [record["rows"] for record in apart]
    folders = sorted(str(p) for p in (tmp_path / "out").iterdir() if p.is_dir())
    assert len(folders) == 2
    text = model_tables(folders)
    assert all(f"| {Path(folder).name} |" in text for folder in folders)


def test_names_are_as_long_as_they_need_to_be():
    paths = [Path(p) for p in ("/x/a/bundle", "/y/a/bundle", "/y/b/bundle")]
    assert told_apart(paths) == ["x-a-bundle", "y-a-bundle", "y-b-bundle"]
    assert told_apart(paths[1:]) == ["a-bundle", "b-bundle"]
    assert told_apart(paths[:1]) == ["bundle"]


def test_pictures_that_the_model_has_seen_are_told(data, tmp_path, small):
    seen = written_bundle(tiny_bundle(), tmp_path / "bundle")
    wanted = config(data, tmp_path / "out", tables=("losses",))
    assert "does not say" in prepared(wanted, seen).warnings[0]
    keep_hashes(replace(data, split="train"), str(tmp_path / "bundle"))
    assert len(kept_hashes(tmp_path / "bundle")) == 24
    assert prepared(wanted, seen).warnings == []
    overlapping = replace(wanted, test_split="train", train_split="test")
    (warning,) = prepared(overlapping, seen).warnings
    assert warning.startswith("24 of the 24 pictures are among those that bundle was trained on")
    save_bundle(seen.bundle, tmp_path / "bundle")
    assert len(kept_hashes(tmp_path / "bundle")) == 24  # the file stays with its bundle
    save_bundle(seen.bundle, tmp_path / "next")
    pass_on_hashes(tmp_path / "bundle", str(tmp_path / "next"))
    keep_hashes(replace(data, split="test"), str(tmp_path / "last"), str(tmp_path / "next"))
    assert len(kept_hashes(tmp_path / "next")) == 24 and len(kept_hashes(tmp_path / "last")) == 48


def test_small_pictures_are_told(data, tmp_path, small):
    wanted = config(data, tmp_path / "out", tables=("losses",))
    bench = prepared(wanted, model(tiny_latent_bundle()))
    assert any("24 of the 24 pictures are smaller than the 32 pixels" in w for w in bench.warnings)


def test_a_judge_of_test_pictures_is_refused(data, tmp_path, small):
    wanted = config(data, tmp_path / "out", tables=("losses",))
    turned = replace(wanted, test_split="train", train_split="test")
    prepared(turned, model(tiny_bundle())).case.tools.needed("judge")
    (file,) = (tmp_path / "judge").iterdir()
    with pytest.raises(ValueError, match="learned from 24 of the 24 test pictures"):
        prepared(replace(wanted, judge=str(file)), model(tiny_bundle()))
    with pytest.raises(ValueError, match="there is no judge"):
        suite.read_judge(tmp_path / "nothing")


def test_without_labels_what_needs_them_says_so(folder, tmp_path, small):
    bare = DataConfig(str(folder), cache=str(folder / "cache"))
    tables = ("attributes", "manipulation", "memorisation", "few_shot", "unconditional")
    wanted = config(bare, tmp_path / "out", tables=tables)
    records = run(wanted, prepared(wanted, model(tiny_bundle())))
    said = {r["table"]: r["left out"] for r in records}
    assert "no labels of 0 and 1" in said["attributes"]
    assert "--labels" in said["manipulation"] and "--train" in said["memorisation"]
    assert "there is no judge" in said["unconditional"]


def test_parts_that_cannot_be(folder, data, tmp_path):
    bare = replace(data, labels=None)
    for wanted, message in (
        (config(bare, tmp_path / "out", test_split="test"), "named by the column split"),
        (config(data, tmp_path / "out", test_split="a", train_split="a"), "at once"),
    ):
        with pytest.raises(ValueError, match=message):
            prepared(wanted, model(tiny_bundle()))


def case_of(data, split="test", features=None, count=None):
    tools = Tools({"features": lambda: features} if features else None)
    held_out = load_squares(replace(data, split=split, align="center", most=count), 16, 3)
    return Case(model(tiny_bundle()), held_out, tools, SMALL)


def test_an_empty_class_is_named(data, tmp_path):
    rows = (tmp_path / "labels.csv").write_text
    source = open_source(replace(data, split="test")).rows
    lines = ["file,Smiling,Male"] + [f"{r['file']},{r['Smiling']},1" for r in source]
    rows("\n".join(lines) + "\n")
    case = case_of(replace(data, labels=str(tmp_path / "labels.csv")), split=None)
    table = attributes.measure(case)
    assert any("Male is left out" in note for note in table.notes)
    assert "30 % to test" in table.protocol[0]


def test_one_picture_is_refused(data):
    colour = Features("colour", lambda x: x.mean(dim=(2, 3)))
    case = case_of(data, features=colour, count=1)
    with pytest.raises(ValueError, match="two real pictures"):
        suite.unconditional.measure(case)
    with pytest.raises(ValueError, match="two pictures"):
        suite.interpolation.measure(case)
    with pytest.raises(ValueError, match="training pictures"):
        memorisation.measure(case)


def test_the_command(data, folder, tmp_path, small, monkeypatch, capsys):
    save_bundle(tiny_bundle(), tmp_path / "bundle")
    words = ["evaluate.py", str(tmp_path / "bundle"), "--data", str(folder)]
    words += ["--labels", str(folder / "labels.csv"), "--quick", "--tables", "losses"]
    words += ["--out", str(tmp_path / "out"), "--lpips", "none", "--align", "center"]
    words += [f"data.cache={folder / 'cache'}", f"judge_config.folder={tmp_path / 'judge'}"]
    words += ["judge_config.size=16", "judge_config.picture_size=16"]
    monkeypatch.setattr("sys.argv", words)
    main()
    assert "page.html" in capsys.readouterr().out
    assert (tmp_path / "out" / "page.html").read_text().startswith("<!doctype html>")
    monkeypatch.setattr("sys.argv", ["evaluate.py"])
    with pytest.raises(ValueError, match="name a model"):
        main()
    monkeypatch.setattr("sys.argv", ["evaluate.py", str(tmp_path / "bundle")])
    with pytest.raises(ValueError, match="--data FOLDER"):
        main()
    with pytest.raises(ValueError, match="no table nonsense"):
        SuiteConfig(data, tables=("nonsense",))
    assert len(TABLES) == 15
