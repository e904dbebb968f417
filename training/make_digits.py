"""Write scikit-learn's 1,797 digits of 8 x 8 pixels as pictures, with a split, for small runs.

Every pixel is written twice in both directions, because pictures below 16 pixels a side are taken
for broken ones; reduced to 8 x 8 they are the digits again, exactly.

python training/make_digits.py data/digits
"""

import argparse
import csv
from pathlib import Path

import numpy as np
from PIL import Image

TEST_EVERY = 5


def write_digits(folder: Path) -> None:
    """PNG files and `labels.csv`; every fifth picture is of the split "test"."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    # 17 levels, 0 to 16, spread over 0 to 255.
    pictures = np.minimum(digits.images * 16, 255).astype(np.uint8)
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "labels.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["file", "split", "digit"])
        for i, (picture, digit) in enumerate(zip(pictures, digits.target, strict=True)):
            name = f"{i:04d}.png"
            Image.fromarray(picture.repeat(2, axis=0).repeat(2, axis=1)).save(folder / name)
            rows.writerow([name, "train" if i % TEST_EVERY else "test", digit])


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where to write")
    write_digits(parser.parse_args().folder)


if __name__ == "__main__":
    main()
