"""How exactly eyes are placed, on one's own pictures of one face each.

    python -m benchmarks.alignment --pictures FOLDER --count 200

There are no marked eyes to compare with: each picture is turned, scaled and darkened by known
amounts, and the eyes must go along. With --landmarks MODEL (dlib's 68-point file, whose licence
keeps it out of the product) its eyes are the judge, in parts of the eye distance.
"""

import argparse
import random
import time
from collections import defaultdict
from pathlib import Path

import dlib
import numpy as np
from PIL import Image

from benchmarks.tables import publish
from pdae_app.faces.detect import Face, detect_faces
from pdae_app.faces.photo import PhotoError, open_photo

ANGLES = (-45, -30, -15, 15, 30, 45)
SCALES = (0.5, 0.75, 1.5)
LIGHTS = (0.2, 0.5)


def eye_points(face: Face) -> np.ndarray:
    """(2, 2): left and right, x and y."""
    return np.array([face.left_eye, face.right_eye])


def error(found: list[Face], true: np.ndarray) -> float:
    """Mean distance of both eyes from the true ones, in parts of the eye distance; inf if none."""
    if not found:
        return float("inf")
    distance = np.linalg.norm(true[1] - true[0])
    return float(np.linalg.norm(eye_points(found[0]) - true, axis=1).mean() / distance)


def turned(photo: Image.Image, eyes: np.ndarray, angle: float) -> tuple[Image.Image, np.ndarray]:
    """The picture and its eyes, turned by so many degrees."""
    other = photo.rotate(angle, Image.Resampling.BICUBIC, expand=True)
    turn = np.radians(angle)
    matrix = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    return other, (eyes - np.array(photo.size) / 2) @ matrix.T + np.array(other.size) / 2


def changes(photo: Image.Image, eyes: np.ndarray):
    """(what was done, the picture, where its eyes are now)."""
    for angle in ANGLES:
        yield f"turned by {abs(angle)} degrees", *turned(photo, eyes, angle)
    for scale in SCALES:
        size = tuple(round(side * scale) for side in photo.size)
        factor = np.array(size) / photo.size
        yield f"{scale:g} times as large", photo.resize(size), eyes * factor
    for light in LIGHTS:
        darker = photo.point([round(light * value) for value in range(256)] * 3)
        yield f"{light:g} times as bright", darker, eyes


class Landmarks:
    """Eyes by dlib's 68 points: the middle between the two corners, over boxes a little apart."""

    def __init__(self, path: str):
        self.predictor, self.detector = dlib.shape_predictor(path), dlib.get_frontal_face_detector()

    def __call__(self, photo: Image.Image) -> np.ndarray | None:
        pixels = np.asarray(photo.resize((2 * photo.width, 2 * photo.height)))
        found = self.detector(pixels, 0)
        if not found:
            return None
        points = self.predictor(pixels, max(found, key=lambda box: box.area())).parts()
        corners = np.array([(points[i].x, points[i].y) for i in (36, 39, 42, 45)], float) / 2
        return corners.reshape(2, 2, 2).mean(axis=1)


def measure(paths: list[Path], landmarks: Landmarks | None) -> dict[str, list[float]]:
    """Errors, and seconds a picture, by what was done."""
    rows = defaultdict(list)
    for path in paths:
        try:
            photo = open_photo(path)
        except PhotoError:
            continue
        start = time.perf_counter()
        faces = detect_faces(photo)
        rows["seconds"].append(time.perf_counter() - start)
        rows["found"].append(float(bool(faces)))
        if not faces:
            continue
        marked = landmarks(photo) if landmarks else None
        if marked is not None:
            rows["against 68 landmarks"].append(error(faces, marked))
        for what, other, eyes in changes(photo, eye_points(faces[0])):
            rows[what].append(error(detect_faces(other), eyes))
    return rows


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", required=True, type=Path)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--landmarks")
    arguments = parser.parse_args()
    paths = sorted(arguments.pictures.rglob("*.jpg"))
    random.Random(0).shuffle(paths)
    rows = measure(paths[: arguments.count], arguments.landmarks and Landmarks(arguments.landmarks))
    found, seconds = rows.pop("found"), rows.pop("seconds")
    notes = (
        f"A face was found in {np.mean(found):.1%} of {len(found)} pictures, in "
        f"{np.median(seconds):.3f} s at the median, {np.max(seconds):.2f} s at most. Errors in "
        "parts of the eye distance."
    )
    table = [
        {
            "eyes": what,
            "median": f"{np.median(errors):.1%}",
            "ninth decile": f"{np.quantile(errors, 0.9):.1%}",
            "not found": f"{np.isinf(errors).mean():.1%}",
        }
        for what, errors in rows.items()
    ]
    publish("alignment", table, notes)


if __name__ == "__main__":
    main()
