"""Where training pictures come from: LMDB, torchvision, datasets, CelebA's labels, no cache."""

import io
import pickle
import struct
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from pdae_app.ui.session import EXAMPLES
from training.data import (
    AugmentedSquares,
    DataConfig,
    SeededBatches,
    held_out_squares,
    load_pictures,
    open_source,
    plain_squares,
)
from training.sources import Folder, Torchvision, optional_import, read_labels

COLORS = [(200, 30, 30), (30, 200, 30), (30, 30, 200)]


def picture(color, size=40):
    return Image.new("RGB", (size, size), color)


def encoded(image, kind="PNG"):
    stream = io.BytesIO()
    image.save(stream, kind)
    return stream.getvalue()


def config(tmp_path, **options):
    options = {"align": "center", "flip": False, "cache": str(tmp_path / "cache")} | options
    return DataConfig(**options)


def assert_colors(pictures, size=16):
    squares = (plain_squares(pictures, size) + 1) * 127.5
    for square, color in zip(squares, COLORS, strict=True):
        assert np.abs(square.mean(dim=(1, 2)).numpy() - np.array(color)).max() < 3


@pytest.fixture
def lmdb_folder(tmp_path):
    lmdb = pytest.importorskip("lmdb")
    folder = tmp_path / "faces.lmdb"
    with lmdb.open(str(folder), map_size=1 << 24) as env, env.begin(write=True) as transaction:
        for i, color in enumerate(COLORS):
            transaction.put(f"256-{i:05d}".encode(), encoded(picture(color)))
        transaction.put(b"length", b"3")
    return folder


def test_diffaes_lmdb(tmp_path, lmdb_folder):
    pictures = load_pictures(config(tmp_path, folder=str(lmdb_folder)), 16)
    assert [row["file"] for row in pictures.rows] == ["256-00000", "256-00001", "256-00002"]
    assert_colors(pictures)


def test_lmdb_with_celebas_labels_and_in_other_processes(tmp_path, lmdb_folder):
    labels = tmp_path / "attributes.txt"
    labels.write_text("2\nMale Young\n0.jpg -1  1\n2.jpg  1 -1\n")
    source = open_source(config(tmp_path, folder=str(lmdb_folder), labels=str(labels)))
    assert [(row["file"], row["Male"], row["Young"]) for row in source.rows] == [
        ("256-00000", "0", "1"),
        ("256-00002", "1", "0"),
    ]
    spawned = pickle.loads(pickle.dumps(source))
    assert spawned.open(1).getpixel((3, 3)) == COLORS[2]


def test_threads_and_sources_share_an_lmdb(tmp_path, lmdb_folder):
    """LMDB lets a process have a database open once only."""
    sources = [open_source(config(tmp_path, folder=str(lmdb_folder))) for _ in range(2)]
    with ThreadPoolExecutor(4) as pool:
        pictures = pool.map(lambda i: sources[i % 2].open(i % 3), range(60))
    assert [p.getpixel((3, 3)) for p in pictures] == [COLORS[i % 3] for i in range(60)]


def test_workers_read_an_lmdb(tmp_path, lmdb_folder):
    """A forked worker must not use the handle that it inherits."""
    data = config(tmp_path, folder=str(lmdb_folder), cache=None)
    dataset = AugmentedSquares(load_pictures(data, 16), data, 16)
    assert dataset[0, 0].shape == (3, 16, 16)  # opened here, before the workers start
    batches = DataLoader(dataset, batch_sampler=SeededBatches(3, 3, 0, 0, 2), num_workers=2)
    assert [tuple(batch.shape) for batch in batches] == [(3, 3, 16, 16)] * 2


def write_mnist(root):
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, count in (("train", 5), ("t10k", 2)):
        images = np.arange(count, dtype=np.uint8).repeat(784) * 20
        (raw / f"{name}-images-idx3-ubyte").write_bytes(
            struct.pack(">IIII", 2051, count, 28, 28) + images.tobytes()
        )
        (raw / f"{name}-labels-idx1-ubyte").write_bytes(
            struct.pack(">II", 2049, count) + bytes(range(count))
        )


def test_torchvisions_mnist_with_its_classes(tmp_path):
    write_mnist(tmp_path)
    data = config(tmp_path, folder=str(tmp_path), torchvision="MNIST", class_column="class")
    dataset = AugmentedSquares(load_pictures(data, 32), data, 32, channels=1)
    assert len(dataset) == 5 and dataset.classes[:2] == ["0 - zero", "1 - one"]
    square, label = dataset[3, 0]
    assert square.shape == (1, 32, 32) and label == 3
    assert float(square.mean()) == pytest.approx(60 / 127.5 - 1, abs=0.01)
    assert len(open_source(replace(data, split="test")).rows) == 2


def test_torchvisions_celeba_brings_forty_attributes(tmp_path, monkeypatch):
    from torchvision import datasets

    monkeypatch.setattr(datasets.CelebA, "_check_integrity", lambda self: True)
    base = tmp_path / "celeba"
    (base / "img_align_celeba").mkdir(parents=True)
    files = ["000001.jpg", "000002.jpg", "000003.jpg"]
    for file, color in zip(files, COLORS, strict=True):
        (base / "img_align_celeba" / file).write_bytes(encoded(picture(color)))
    names = " ".join(f"A{i}" for i in range(40))
    values = "\n".join(f"{f} {' '.join(['1', '-1'] * 20)}" for f in files)
    (base / "list_attr_celeba.txt").write_text(f"3\n{names}\n{values}\n")
    for name in ("bbox", "landmarks_align"):
        rows = "".join(f"{f} 1 2 3 4\n" for f in files)
        (base / f"list_{name}_celeba.txt").write_text(f"3\na b c d\n{rows}")
    (base / "list_eval_partition.txt").write_text("".join(f"{f} 0\n" for f in files))
    (base / "identity_CelebA.txt").write_text("".join(f"{f} {i}\n" for i, f in enumerate(files)))
    pictures = load_pictures(config(tmp_path, folder=str(tmp_path), torchvision="CelebA"), 16)
    assert_colors(pictures)
    row = pictures.rows[2]
    assert (row["A0"], row["A1"], row["A39"], row["person"]) == ("1", "0", "0", "2")


def test_torchvision_sets_that_are_not_there_are_told(tmp_path):
    with pytest.raises(ValueError, match=r"MNIST cannot be read.*data.download=true"):
        Torchvision("MNIST", str(tmp_path), None, False)
    with pytest.raises(ValueError, match="one of CelebA, CIFAR10, LSUN, MNIST"):
        Torchvision("ImageNet", str(tmp_path), None, False)


def test_a_hugging_face_data_set(tmp_path):
    datasets = pytest.importorskip("datasets")
    table = {
        "image": [{"bytes": encoded(picture(c)), "path": None} for c in COLORS],
        "kind": ["red", "green", "blue"],
        "count": [1, 2, 3],
        "label": [0, 1, 0],
    }
    features = datasets.Features(
        image=datasets.Image(),
        kind=datasets.Value("string"),
        count=datasets.Value("int64"),
        label=datasets.ClassLabel(names=["warm", "cold"]),
    )
    folder = tmp_path / "set"
    datasets.Dataset.from_dict(table, features=features).save_to_disk(str(folder))
    pictures = load_pictures(config(tmp_path, dataset=str(folder)), 16)
    assert_colors(pictures)
    assert pictures.rows[1] == {"file": "1", "kind": "green", "count": "2", "label": "cold"}
    with pytest.raises(ValueError, match="cannot be read"):
        load_pictures(config(tmp_path, dataset=str(tmp_path / "nothing")), 16)


def test_without_a_cache_squares_are_made_when_asked_for(tmp_path, capsys):
    folder = tmp_path / "colors"
    folder.mkdir()
    for i, color in enumerate(COLORS):
        (folder / f"{i}.png").write_bytes(encoded(picture(color)))
    live = config(tmp_path, folder=str(folder), cache=None)
    cached = replace(live, cache=str(tmp_path / "cache"))
    assert np.array_equal(load_pictures(live, 16).squares[1], load_pictures(cached, 16).squares[1])
    (folder / "1.png").write_bytes(b"no picture")
    broken = load_pictures(live, 16).squares
    assert np.array_equal(broken[1], broken[2])  # its successor stands in
    assert capsys.readouterr().err.count("1.png") == 1
    assert not list((tmp_path / "cache").glob("*.tmp"))


def test_a_broken_pictures_successor_has_its_own_class(tmp_path):
    for number, (color, kind) in enumerate(zip(COLORS, ("a", "b", "c"), strict=True)):
        folder = tmp_path / "sorted" / kind
        folder.mkdir(parents=True)
        (folder / f"{number}.png").write_bytes(encoded(picture(color)))
    (tmp_path / "sorted" / "b" / "1.png").write_bytes(b"no picture")
    live = config(tmp_path, folder=str(tmp_path / "sorted"), cache=None, class_column="class")
    dataset = AugmentedSquares(load_pictures(live, 16), live, 16)
    (broken, its_class), (successor, its_own) = dataset[1, 0], dataset[2, 0]
    assert torch.equal(broken, successor) and its_class == its_own == 2


def test_folders_name_classes_and_splits_are_held_out(tmp_path):
    for i, color in enumerate(COLORS):
        folder = tmp_path / "sorted" / ("warm" if i == 0 else "cold")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{i}.png").write_bytes(encoded(picture(color)))
    data = config(tmp_path, folder=str(tmp_path / "sorted"), class_column="class")
    dataset = AugmentedSquares(load_pictures(data, 16), data, 16)
    assert dataset.classes == ["cold", "warm"]
    assert sorted(dataset[i, 0][1] for i in range(3)) == [0, 0, 1]
    labels = tmp_path / "labels.csv"
    labels.write_text("file,split\ncold/1.png,train\nwarm/0.png,test\n")
    split = replace(data, labels=str(labels), split="train", held_out="test", class_column=None)
    assert len(load_pictures(split, 16).rows) == 1
    held_out = held_out_squares(split, 16)
    assert held_out.shape == (1, 3, 16, 16) and held_out[0, 0].mean() > 0.5
    with pytest.raises(ValueError, match="no column 'kind'"):
        AugmentedSquares(load_pictures(data, 16), replace(data, class_column="kind"), 16)


def test_labels_are_checked(tmp_path):
    with pytest.raises(ValueError, match="no file of labels"):
        read_labels(tmp_path / "nothing.csv")
    wrong = tmp_path / "wrong.csv"
    wrong.write_text("name,Smiling\na.jpg,1\n")
    with pytest.raises(ValueError, match="no column `file`; it has name, Smiling"):
        read_labels(wrong)
    with pytest.raises(ValueError, match=r"set data\.folder"):
        open_source(DataConfig())
    with pytest.raises(ValueError, match="pip install no_such_package"):
        optional_import("no_such_package")
    assert Folder(str(EXAMPLES[0].parent)).rows[0]["class"] == "examples"
