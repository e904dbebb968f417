"""Ten photographs of kinds that people bring, none of them trained on, through the page itself.

    python -m benchmarks.unseen --shared ../shared --keep /tmp/unseen

The photographs are made of pictures of the split `test`: pasted into larger ones, turned, darkened,
shrunk, packed as HEIC. A browser uploads each, sets *Smiling* to 1 and saves the whole photograph.
With --keep the photographs and what became of them stay in a folder, to be looked at.
"""

import argparse
import csv
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance
from pillow_heif import from_pillow
from playwright.sync_api import Page, sync_playwright

from benchmarks.slider_release import running_app
from benchmarks.tables import publish
from pdae_app.faces.detect import detect_faces
from pdae_app.faces.photo import open_photo

# A picture of the data sets is so many times as wide as its face's box.
LOOSE = 1.96
# Signs that a photograph has been opened, and that an edit has ended or could not begin.
OPENED, ENDED = r"Ready|No face|This |could not", r"Done in|This |could not"
# Milliseconds that the page may take for one step on a busy machine.
PATIENCE = 600_000
BROWSER_FLAGS = ["--no-sandbox", "--disable-gpu"]


@dataclass(frozen=True)
class Photograph:
    """One that is brought to the page: its kind in words, its file, and how many faces it shows."""

    kind: str
    path: Path
    faces: int = 1


class Tests:
    """The pictures of the split `test`, the larger ones."""

    def __init__(self, shared: Path):
        with open(shared / "faces2" / "manifest.csv", newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["split"] == "test"]
        rows = [row for row in rows if not row["flags"]]
        self.rows = sorted(rows, key=lambda row: row["file"])
        self.folder = shared / "faces2"

    def picture(self, number: int, **labels: str) -> Image.Image:
        """One of those with these labels, such as Eyeglasses="1"."""
        fitting = [r for r in self.rows if all(r[name] == at for name, at in labels.items())]
        return open_photo(self.folder / fitting[number * 7 % len(fitting)]["file"])

    def most_turned(self) -> Image.Image:
        """The one whose eyes are nearest together for the size of its face."""
        snapshots = [row for row in self.rows if not row["source"].startswith("congress")]
        pictures = [open_photo(self.folder / row["file"]) for row in snapshots]
        return min(pictures, key=_eyes_apart)


def _eyes_apart(picture: Image.Image) -> float:
    found = detect_faces(picture)
    return found[0].eye_distance / picture.width if found else float("inf")


def photographs(tests: Tests, folder: Path) -> Iterator[Photograph]:
    """Make the ten, one after the other."""

    def saved(kind: str, image: Image.Image, faces: int = 1, suffix: str = ".jpg", **options):
        path = folder / (re.sub(r"\W+", "-", kind) + suffix)
        image.save(path, **({"quality": 92} if suffix == ".jpg" else {}) | options)
        return Photograph(kind, path, faces)

    people = [tests.picture(number) for number in range(7)]
    yield saved("group of five", scene((1600, 900), people[:5], [300, 260, 280, 240, 300]), 5)
    yield saved("two, one far behind", scene((1600, 1200), people[5:7], [700, 150]), 2)
    tilted = scene((1200, 900), [tests.picture(8)], [520]).rotate(28, Image.Resampling.BICUBIC)
    yield saved("tilted by 28 degrees", tilted)
    dark = ImageEnhance.Brightness(scene((1200, 900), [tests.picture(9)], [480])).enhance(0.15)
    yield saved("dark: 15 % of the light", dark)
    yield saved("small: a face of 46 pixels", scene((1600, 1200), [tests.picture(10)], [90]))
    yield saved("turned away, the most of all", scene((1200, 900), [tests.most_turned()], [560]))
    glasses = tests.picture(1, Eyeglasses="1")
    yield saved("glasses, black and white, coarse JPEG", grey(glasses), quality=20)
    heic = folder / "heic.heic"
    from_pillow(scene((4032, 3024), [tests.picture(11)], [1400])).save(heic, quality=80)
    yield Photograph("HEIC of 12 megapixels", heic)
    yield saved("24 megapixels", scene((6000, 4000), [tests.picture(12)], [2200]))
    sideways = scene((1600, 1200), [tests.picture(13)], [640]).rotate(90, expand=True)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees to the right to look at it
    yield saved("sideways, by its EXIF upright", sideways, exif=exif)


def scene(size: tuple[int, int], people: list[Image.Image], widths: list[int]) -> Image.Image:
    """Pictures of people side by side in a wider one, before a wall that becomes lighter."""
    width, height = size
    light = np.linspace(90, 190, width, dtype=np.float32)[None, :, None]
    wall = np.broadcast_to(light, (height, width, 3)).astype(np.uint8)
    whole, step = Image.fromarray(wall), width / len(people)
    for number, (person, wide) in enumerate(zip(people, widths, strict=True)):
        wide = min(wide, int(step))
        person = person.resize((wide, round(wide * person.height / person.width)), 3)
        x = round(step * (number + 0.5) - wide / 2)
        whole.paste(person, (x, max(0, (height - person.height) // (2 + number % 2))))
    return whole


def grey(picture: Image.Image) -> Image.Image:
    """Without colours."""
    return picture.convert("L").convert("RGB")


def through_the_page(page: Page, photograph: Photograph, keep: Path) -> dict:
    """Upload, edit and save one; the row of what happened."""
    before, start = emptied(page), time.monotonic()
    page.set_input_files("#photo input[type=file]", photograph.path)
    told = told_next(page, before, OPENED)
    row = {
        "photograph": photograph.kind,
        "size": "x".join(map(str, open_photo(photograph.path).size)),
        "faces found": f"{faces_offered(page)} of {photograph.faces}",
        "opened in": f"{time.monotonic() - start:.1f} s",
        "said to be unusual": "yes" if page.locator("#notice").is_visible() else "no",
    }
    if not told.startswith("Ready"):
        return row | {"edited in": "", "changed": "", "outcome": outcome(told)}
    start = time.monotonic()
    box = page.locator(".attribute-slider", has_text="Smiling").locator("input[type=number]")
    box.fill("1")
    box.press("Tab")
    told = told_next(page, told, ENDED)
    row["edited in"] = f"{time.monotonic() - start:.1f} s"
    with page.expect_download() as download:
        page.click("#save-photo")
    path = keep / download.value.suggested_filename
    download.value.save_as(path)
    return row | {"changed": changed(photograph.path, path), "outcome": outcome(told)}


def emptied(page: Page) -> str:
    """Take the photograph before away: two that show no face would be told in the same words."""
    remove = page.locator("#photo button[aria-label='Remove Image']")
    if remove.count():
        remove.click()
    page.wait_for_selector("#status:has-text('Choose a photograph')")
    return page.inner_text("#status")


def told_next(page: Page, before: str, pattern: str) -> str:
    """What the status says next that fits the pattern."""
    page.wait_for_function(
        """([before, pattern]) => {
          const text = document.querySelector("#status").innerText;
          if (text !== before) window.moved = true;
          return window.moved && new RegExp(pattern).test(text);
        }""",
        arg=[before, pattern],
    )
    page.evaluate("window.moved = false")
    return page.inner_text("#status").strip()


def faces_offered(page: Page) -> int:
    """How many faces the page offers to choose from."""
    words = page.locator("#framing label").all_inner_texts()
    return sum(word.strip().startswith("Face") for word in words)


def changed(before: Path, after: Path) -> str:
    """The part of the pixels that an edit changed by more than one of 255."""
    old, new = (np.asarray(open_photo(path), np.int16) for path in (before, after))
    if old.shape != new.shape:
        return "size"
    return f"{np.mean(np.abs(new - old).max(axis=2) > 1):.1%} of the pixels"


def outcome(told: str) -> str:
    """What the status says beside its time, and beside the seconds that Gradio counts in it."""
    said = re.sub(r"^[\d./]+s\s+", "", told)
    return " ".join(re.sub(r"^Done in [\d.]+ s\.\s*", "", said).split()) or "edited"


def main() -> None:
    """Take the ten through the page and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--model", default="checkpoints/faces128")
    parser.add_argument("--keep", type=Path, help="a folder for the photographs and results")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        keep = options.keep or Path(folder)
        keep.mkdir(parents=True, exist_ok=True)
        made = list(photographs(Tests(options.shared), keep))
        with running_app(options.model) as app, sync_playwright() as driver:
            browser = driver.chromium.launch(
                executable_path=shutil.which("chromium"), args=BROWSER_FLAGS
            )
            page = browser.new_page(viewport={"width": 1366, "height": 768})
            page.set_default_timeout(PATIENCE)
            page.goto(app.address)
            page.wait_for_selector("#photo")
            rows = [through_the_page(page, photograph, keep) for photograph in made]
            browser.close()
    publish("unseen", rows, "*Smiling* at 1. Times are of a machine that was busy with other work.")


if __name__ == "__main__":
    main()
