"""Faces and their eyes, found offline with the Haar cascades that OpenCV's 4.x wheels carry.

Viola & Jones 2001 ("Rapid Object Detection using a Boosted Cascade of Simple Features"). A cascade
misses profiles and strong tilts, so the picture is also tried turned either way.
"""

import threading
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

# Detection runs on a copy with at most this many pixels a side: faces stay far larger than the
# cascades' 24 pixels, and time stays bounded for any upload.
WORKING_SIDE = 640

# Degrees by which the picture is turned where the eyes are not found upright.
TURN = 20

# Where the eyes lie inside a box of the frontal face cascade, in units of its side.
# Medians over the training photographs in which both eyes were found.
BOX_EYES = ((0.315, 0.40), (0.68, 0.40))


@dataclass(frozen=True)
class Face:
    """One face in pixels of the photograph; "left" and "right" as the viewer sees them."""

    left_eye: tuple[float, float]
    right_eye: tuple[float, float]
    eyes_found: bool

    @property
    def eye_distance(self) -> float:
        """Pixels between the eyes: the measure of a face's size."""
        return float(np.hypot(*np.subtract(self.right_eye, self.left_eye)))

    @property
    def center(self) -> tuple[float, float]:
        """The point between the eyes."""
        return tuple(np.add(self.left_eye, self.right_eye) / 2)


# A classifier keeps scratch data while it runs, so every thread loads its own.
_thread = threading.local()


def _cascade(name: str) -> cv2.CascadeClassifier:
    loaded = vars(_thread).setdefault("cascades", {})
    if name not in loaded:
        loaded[name] = _load_cascade(name)
    return loaded[name]


def _load_cascade(name: str) -> cv2.CascadeClassifier:
    try:
        folder = cv2.data.haarcascades
    except AttributeError as error:
        raise RuntimeError(
            "This OpenCV carries no face cascades (version 5 dropped them). "
            'Install another one: pip install "opencv-python-headless<5"'
        ) from error
    return cv2.CascadeClassifier(f"{folder}haarcascade_{name}.xml")


def detect_faces(photo: Image.Image) -> list[Face]:
    """All faces in an RGB photograph, largest first; an empty list if there are none."""
    grey = cv2.cvtColor(np.asarray(photo), cv2.COLOR_RGB2GRAY)
    scale = min(1.0, WORKING_SIDE / max(grey.shape))
    if scale < 1:
        grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    faces = _best([_detect_turned(grey, 0)])
    if not faces or not faces[0].eyes_found:
        faces = _best([faces, *(_detect_turned(grey, angle) for angle in (-TURN, TURN))])
    return [_scaled(face, 1 / scale) for face in faces]


def _best(attempts: list[list[Face]]) -> list[Face]:
    """The first attempt whose largest face shows its eyes, else the first that found any face."""
    attempts = [sorted(a, key=lambda face: -face.eye_distance) for a in attempts if a]
    with_eyes = [faces for faces in attempts if faces[0].eyes_found]
    return next(iter(with_eyes + attempts), [])


def _detect_turned(grey: np.ndarray, angle: float) -> list[Face]:
    height, width = grey.shape
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), angle, 1.0)
    if angle:
        grey = cv2.warpAffine(grey, turn, (width, height), borderMode=cv2.BORDER_REPLICATE)
    back = cv2.invertAffineTransform(turn)
    grey = cv2.equalizeHist(grey)
    smallest = max(24, min(grey.shape) // 12)
    boxes = _cascade("frontalface_default").detectMultiScale(
        grey, scaleFactor=1.1, minNeighbors=6, minSize=(smallest, smallest)
    )
    return [_turned(_face_in(grey, *box), back) for box in boxes]


def _face_in(grey: np.ndarray, x: int, y: int, width: int, height: int) -> Face:
    """The face in a detected box: its eyes where they are found, else where they usually lie."""
    expected = np.array([(x + u * width, y + v * height) for u, v in BOX_EYES])
    eyes = [_eye_near(grey, point, width) for point in expected]
    found = all(eye is not None for eye in eyes) and _plausible(eyes, width)
    left, right = _steadied(np.array(eyes), expected) if found else expected
    return Face(tuple(map(float, left)), tuple(map(float, right)), found)


def _steadied(eyes: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Found eyes, moved apart or together halfway to the distance that the face's box suggests.

    Place and tilt come from the eyes; their distance alone is noisy (a glance sideways, the rim of
    glasses), and it would set the framing's scale.
    """
    center = eyes.mean(axis=0)
    distances = [np.linalg.norm(pair[1] - pair[0]) for pair in (eyes, expected)]
    return center + (eyes - center) * np.sqrt(distances[1] / distances[0])


def _eye_near(grey: np.ndarray, expected: np.ndarray, face_width: int) -> np.ndarray | None:
    """The centre of the eye found closest to `expected`, searched in a window around it."""
    reach = 0.22 * face_width
    x0, y0 = np.maximum(expected - reach, 0).astype(int)
    x1, y1 = (expected + reach).astype(int)
    # Cascades want eyes of at least 20 pixels; small windows are enlarged to allow that.
    window = grey[y0:y1, x0:x1]
    if min(window.shape, default=0) < 4:
        return None
    zoom = 128 / window.shape[0]
    window = cv2.resize(window, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC)
    for name in ("eye_tree_eyeglasses", "eye", "lefteye_2splits", "righteye_2splits"):
        boxes = _cascade(name).detectMultiScale(window, 1.05, 3, minSize=(32, 32))
        if len(boxes):
            centers = np.array([(x + w / 2, y + h / 2) for x, y, w, h in boxes]) / zoom + (x0, y0)
            return centers[np.argmin(np.linalg.norm(centers - expected, axis=1))]
    return None


def _plausible(eyes: list[np.ndarray], face_width: int) -> bool:
    dx, dy = eyes[1] - eyes[0]
    return 0.28 < dx / face_width < 0.52 and abs(dy) < 0.35 * dx


def _turned(face: Face, matrix: np.ndarray) -> Face:
    def move(point):
        return tuple(map(float, matrix @ np.array([*point, 1.0])))

    return Face(move(face.left_eye), move(face.right_eye), face.eyes_found)


def _scaled(face: Face, factor: float) -> Face:
    def move(point):
        return tuple(factor * value for value in point)

    return Face(move(face.left_eye), move(face.right_eye), face.eyes_found)
