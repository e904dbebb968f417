"""From any picture file to an aligned square and back."""

import numpy as np
import pytest
from PIL import Image

from pdae_app.engine.framing import Framed, Photograph
from pdae_app.faces.align import (
    FRAMINGS,
    Alignment,
    NoFaceError,
    align_face,
    center_square,
    crop,
    find_alignment,
)
from pdae_app.faces.detect import Face, detect_faces
from pdae_app.faces.paste import kept_detail, paste_difference, paste_replacement, soft_mask
from pdae_app.faces.photo import PhotoError, open_photo
from pdae_app.ui.framing import made_here
from pdae_app.ui.session import EXAMPLES
from tests.attacks import ENDLESS_EPS, corrupt_exif_jpeg, encoded, many_scans_jpeg


@pytest.fixture(scope="module")
def example():
    return open_photo(EXAMPLES[2])


def test_every_example_has_one_face_with_eyes_in_their_places():
    for path in EXAMPLES:
        photo = open_photo(path)
        assert len(detect_faces(photo)) == 1, path
        (face,) = detect_faces(crop(photo, find_alignment(photo).widened(0.3), 320))
        inside = (np.array([face.left_eye, face.right_eye]) / 320 * 1.6) - 0.3
        assert np.abs(inside - FRAMINGS["face"]).max() < 0.015, path


def eye_errors(found, true):
    """Of both eyes, in parts of the eye distance."""
    errors = np.subtract((found.left_eye, found.right_eye), true)
    return np.linalg.norm(errors, axis=1) / np.linalg.norm(np.subtract(*true))


@pytest.mark.parametrize("angle", [-45, -30, -15, 15, 30, 45])
def test_eyes_of_tilted_faces_are_found_where_they_went(angle):
    errors = []
    for path in EXAMPLES:
        photo = open_photo(path)
        photo = photo.resize((400, 400 * photo.height // photo.width))
        face = detect_faces(photo)[0]
        turned = photo.rotate(angle, Image.Resampling.BICUBIC, expand=True)
        turn, center = np.radians(angle), np.array(photo.size) / 2
        matrix = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
        eyes = [
            matrix @ (eye - center) + np.array(turned.size) / 2
            for eye in (face.left_eye, face.right_eye)
        ]
        errors += eye_errors(detect_faces(turned)[0], eyes).tolist()
    assert np.median(errors) < 0.03 and max(errors) < 0.1


@pytest.mark.parametrize("light", [0.15, 0.4, 2.0])
def test_eyes_are_found_in_little_light_and_much(light):
    for path in EXAMPLES:
        photo = open_photo(path)
        face = detect_faces(photo)[0]
        other = photo.point(lambda value: min(255, round(light * value)))
        found = detect_faces(other)[0]
        assert eye_errors(found, (face.left_eye, face.right_eye)).max() < 0.06, path


def test_framing_does_not_depend_on_size(example):
    big = example.resize((900, 900), Image.Resampling.BICUBIC)
    small = np.asarray(crop(example, find_alignment(example), 64), float)
    large = np.asarray(crop(big, find_alignment(big), 64), float)
    assert np.abs(small - large).mean() < 6


def test_several_faces_come_largest_first(example):
    sheet = Image.new("RGB", (620, 300), (120, 130, 140))
    for x, side in ((10, 180), (200, 280), (490, 120)):
        sheet.paste(example.resize((side, side)), (x, 5))
    faces = detect_faces(sheet)
    assert len(faces) == 3
    assert [face.eye_distance for face in faces] == sorted(
        (face.eye_distance for face in faces), reverse=True
    )
    assert 200 < faces[0].center[0] < 480
    with pytest.raises(NoFaceError, match="3 found"):
        find_alignment(sheet, which=3)


def wall_with(example, heads):
    """A large photograph of a wall with heads of these widths in pixels, side by side."""
    wall = Image.new("RGB", (1600, 1200), (120, 130, 140))
    for number, wide in enumerate(heads):
        wall.paste(example.resize((2 * wide, 2 * wide)), (100 + 800 * number, 300))
    return wall


def test_a_head_of_a_twentieth_of_the_short_side_is_found(example):
    (face,) = detect_faces(wall_with(example, [60]))
    expected = detect_faces(example)[0]
    assert face.eye_distance == pytest.approx(expected.eye_distance * 120 / example.width, rel=0.1)


def test_somebody_far_behind_is_found_beside_a_large_face(example):
    near, far = detect_faces(wall_with(example, [330, 75]))
    assert near.eye_distance > 3 * far.eye_distance and far.center[0] > 900


def test_clothes_are_no_face():
    for path in EXAMPLES:
        photo = open_photo(path)
        chest = photo.crop((0, round(0.7 * photo.height), *photo.size))
        assert not detect_faces(chest.resize((3 * chest.width, 3 * chest.height))), path.name


def test_no_face_offers_the_centre_square():
    wall = Image.new("RGB", (300, 200), (90, 120, 90))
    with pytest.raises(NoFaceError, match="centre square"):
        find_alignment(wall)
    square = crop(wall, center_square(wall), 32)
    assert square.size == (32, 32) and square.getpixel((5, 5)) == (90, 120, 90)


@pytest.mark.parametrize("framing", ["face", "ffhq", "celeba"])
def test_alignment_carries_the_eyes_to_their_places(framing):
    face = Face((40.0, 80.0), (70.0, 95.0))
    matrix = np.array(align_face(face, framing).matrix)
    for place, eye in zip(FRAMINGS[framing], (face.left_eye, face.right_eye), strict=True):
        assert np.allclose(matrix @ (*place, 1), eye)


def test_models_of_other_things_see_the_centre(example):
    assert find_alignment(example, framing="center") == center_square(example)


def test_crop_of_the_whole_square_is_the_picture(example):
    side = min(example.size)
    square = example.crop((0, 0, side, side))
    assert np.array_equal(np.asarray(crop(square, center_square(square), side)), np.asarray(square))


@pytest.mark.parametrize(
    "mode", ["RGB", "L", "P", "RGBA", "LA", "CMYK", "1", "I;16", "I", "F", "YCbCr", "HSV"]
)
def test_every_mode_becomes_rgb(example, mode):
    if mode in ("I;16", "I", "F"):
        grey = np.asarray(example.convert("L"), np.float64)
        kinds = {"I;16": np.uint16, "I": np.int32, "F": np.float32}
        factor = 1 if mode == "F" else 257
        picture = Image.fromarray((grey * factor).astype(kinds[mode]))
    else:
        picture = example.convert(mode)
    photo = open_photo(picture)
    assert photo.mode == "RGB" and photo.size == example.size
    if mode not in ("1", "P"):
        error = np.asarray(photo.convert("L"), float) - np.asarray(example.convert("L"), float)
        assert np.abs(error).mean() < 6


def test_transparency_becomes_white():
    clear = Image.new("RGBA", (20, 20), (255, 0, 0, 0))
    assert open_photo(clear).getpixel((3, 3)) == (255, 255, 255)


def test_exif_orientation_is_applied(example):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 270 degrees
    wide = example.resize((200, 100))
    photo = open_photo(encoded(wide, "JPEG", exif=exif))
    assert photo.size == (100, 200)
    expected = np.asarray(wide.transpose(Image.Transpose.ROTATE_270), float)
    assert np.abs(np.asarray(photo, float) - expected).mean() < 4


def test_animations_give_their_first_frame(example):
    other = Image.new("RGB", example.size)
    data = encoded(example, "GIF", save_all=True, append_images=[other])
    assert np.asarray(open_photo(data)).mean() > 50


def huge_png():
    """A valid header of 20000 x 10000 pixels with almost no data behind it."""
    data = bytearray(encoded(Image.new("L", (16, 16)), "PNG"))
    data[16:24] = (20000).to_bytes(4, "big") + (10000).to_bytes(4, "big")
    import zlib

    data[29:33] = zlib.crc32(bytes(data[12:29])).to_bytes(4, "big")
    return bytes(data)


def bad_files(example):
    jpeg = encoded(example, "JPEG")
    return {
        "text": (b"this is not a picture", "not a picture"),
        "empty": (b"", "not a picture"),
        "truncated": (jpeg[: len(jpeg) // 3], "damaged or incomplete"),
        "1x1": (encoded(Image.new("RGB", (1, 1)), "PNG"), "only 1 x 1"),
        "huge": (huge_png(), "too large"),
        "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a picture"),
        "missing": ("/nowhere/face.jpg", "no file"),
    }


@pytest.mark.parametrize("kind", ["text", "empty", "truncated", "1x1", "huge", "svg", "missing"])
def test_bad_files_are_told_in_a_sentence(example, kind):
    source, message = bad_files(example)[kind]
    with pytest.raises(PhotoError, match=message):
        open_photo(source)


def test_no_other_program_is_started_for_a_picture(tmp_path, monkeypatch):
    """Pillow hands EPS to Ghostscript, which runs what is in the file."""
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", lambda *_, **__: pytest.fail("started"))
    path = tmp_path / "photo.png"
    path.write_bytes(ENDLESS_EPS)
    with pytest.raises(PhotoError, match="not a picture that can be read"):
        open_photo(path)
    assert not made_here(str(path))


@pytest.mark.parametrize("kind", ["PPM", "TGA", "ICO", "PCX", "SGI", "IM", "JPEG2000", "DDS"])
def test_formats_that_nobody_needs_are_not_read(example, kind):
    with pytest.raises(PhotoError, match="not a picture that can be read"):
        open_photo(encoded(example.resize((64, 64)), kind))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_usual_formats_are_read(example, kind):
    photo = open_photo(encoded(example, kind))
    assert np.abs(np.asarray(photo, int) - np.asarray(example, int)).mean() < 12


def test_a_picture_with_corrupt_exif_is_read_as_it_stands():
    assert open_photo(corrupt_exif_jpeg()).size == (64, 64)


def test_a_jpeg_of_endless_scans_is_refused():
    assert open_photo(many_scans_jpeg(1)).size == (64, 64)
    with pytest.raises(PhotoError, match="scans"):
        open_photo(many_scans_jpeg(1000))


def test_large_jpegs_are_decoded_small_and_others_refused(example, monkeypatch):
    monkeypatch.setenv("PDAE_MEGAPIXELS", "0.05")
    large = example.resize((320, 300))
    photo = open_photo(encoded(large, "JPEG", quality=95))
    assert photo.size == (160, 150)
    expected = np.asarray(large.reduce(2), int)
    assert np.abs(np.asarray(photo, int) - expected).mean() < 3
    for data in (encoded(large, "PNG"), encoded(example.resize((600, 600)), "JPEG")):
        with pytest.raises(PhotoError, match=r"smaller than 0\.05 million"):
            open_photo(data)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "I;16", "F"])
def test_strips_make_the_picture_that_the_whole_makes(example, mode, monkeypatch):
    picture = example.convert("L") if mode in ("I;16", "F") else example.convert(mode)
    if mode in ("I;16", "F"):
        kind = np.uint16 if mode == "I;16" else np.float32
        picture = Image.fromarray((np.asarray(picture, np.float64) * 200).astype(kind))
    elif mode != "P":
        picture.putalpha(example.convert("L").rotate(90))
    whole = open_photo(picture)
    monkeypatch.setattr("pdae_app.faces.photo.STRIP", 5000)
    assert np.array_equal(np.asarray(open_photo(picture)), np.asarray(whole))


def test_soft_mask_is_one_inside_and_fades_out():
    mask = soft_mask(64)
    assert mask[32, 32] == 1 and mask.max() == 1 and mask[0].max() < 0.01
    assert (np.diff(mask[32, :32]) >= 0).all()


def test_pasting_no_difference_changes_nothing(example):
    alignment = find_alignment(example)
    square = crop(example, alignment, 64)
    pasted = paste_difference(example, alignment, square, square)
    assert np.array_equal(np.asarray(pasted), np.asarray(example))


def test_pasted_difference_lands_on_the_face_and_keeps_the_rest(example):
    alignment = find_alignment(example)
    square = crop(example, alignment, 64)
    mouth = np.asarray(square).copy()
    mouth[44:50, 26:38] = np.minimum(mouth[44:50, 26:38].astype(int) + 60, 255)
    pasted = paste_difference(example, alignment, Image.fromarray(mouth), square)
    assert pasted.size == example.size
    change = np.abs(np.asarray(pasted, int) - np.asarray(example, int)).sum(axis=2)
    x, y = np.array(alignment.matrix) @ (0.5, 47 / 64, 1)
    assert change[int(y), int(x)] > 100
    far = change.copy()
    reach = int(alignment.side * 0.3)
    far[max(0, int(y) - reach) : int(y) + reach, max(0, int(x) - reach) : int(x) + reach] = 0
    assert far.max() == 0
    # The way back: the square of the result shows the edit.
    again = np.asarray(crop(pasted, alignment, 64), int)
    assert np.abs(again[45:49, 28:36] - mouth[45:49, 28:36]).mean() < 14


def test_detail_goes_with_what_it_belonged_to():
    """Stripes that an edit takes away leave no finer ones; where they are recoloured, all stay."""
    photo = np.full((256, 256, 3), 120, np.uint8)
    column = np.arange(64)
    stripes = (40 * (column // 8 % 2) + 20 * (column % 2)).astype(np.uint8)
    photo[96:160, 96:160] += stripes[None, :, None]
    photo = Image.fromarray(photo)
    square = photo.resize((64, 64), Image.Resampling.BOX)
    smooth = np.asarray(square).copy()
    smooth[22:42, 22:42] = 140
    gone = paste_difference(photo, center_square(photo), Image.fromarray(smooth), square)
    inside = np.asarray(gone, float)[112:144, 112:144]
    assert inside.std() < 3 and abs(inside.mean() - 140) < 2
    paler = Image.fromarray((np.asarray(square) * 0.7 + 70).astype(np.uint8))
    kept = paste_difference(photo, center_square(photo), paler, square)
    fine = np.diff(np.asarray(kept, float)[112:144, 112:144, 0], axis=1)[:, ::8]
    assert np.abs(fine).mean() > 15
    squares = (np.asarray(image, np.float32) for image in (paler, square))
    assert (kept_detail(*squares) == 1).all()


def test_replacement_shows_the_square_itself(example):
    alignment = find_alignment(example)
    blue = Image.new("RGB", (64, 64), (0, 0, 255))
    pasted = np.asarray(paste_replacement(example, alignment, blue))
    x, y = np.array(alignment.matrix) @ (0.5, 0.5, 1)
    assert tuple(pasted[int(y), int(x)]) == (0, 0, 255)


def test_squares_beyond_the_edge_are_pasted_within(example):
    alignment = find_alignment(example).widened(0.8)
    square = crop(example, alignment, 64)
    brighter = Image.fromarray(
        np.minimum(np.asarray(square).astype(int) + 40, 255).astype(np.uint8)
    )
    pasted = paste_difference(example, alignment, brighter, square)
    assert pasted.size == example.size


@pytest.mark.parametrize("paste", [paste_difference, lambda *p: paste_replacement(*p[:3])])
def test_pasting_in_strips_makes_the_picture_that_the_whole_makes(example, paste, monkeypatch):
    alignment = find_alignment(example)
    square = crop(example, alignment, 64)
    parts = example, alignment, square.transpose(Image.Transpose.FLIP_LEFT_RIGHT), square
    whole = np.asarray(paste(*parts), int)
    monkeypatch.setattr("pdae_app.faces.paste.STRIP", 5000)
    assert np.abs(np.asarray(paste(*parts), int) - whole).max() <= 1


def test_photographs_of_iphones_are_read(example, tmp_path):
    example.save(tmp_path / "anna.heic", quality=95)
    found = np.asarray(open_photo(tmp_path / "anna.heic"), int)
    assert np.abs(found - np.asarray(example, int)).mean() < 3


def test_a_large_leaning_face_is_not_missed_for_a_small_upright_one(example):
    """The finer search found the small one, and the picture was not turned any more."""
    photo = Image.new("RGB", (1600, 1200), (120, 130, 140))
    large = example.resize((900, 900)).rotate(60, Image.Resampling.BICUBIC)
    photo.paste(large, (50, 150))
    photo.paste(example.resize((100, 100)), (1400, 50))
    first, *others = detect_faces(photo)
    assert first.eye_distance > 100 and first.center[0] < 1000
    assert [face.center[0] > 1400 for face in others] == [True]
    assert find_alignment(photo, 1).side < find_alignment(photo, 0).side / 3


def test_what_lies_beyond_the_photograph_is_blurred_for_people():
    """Mirrored, it would be a second head; the model goes on to see it so."""
    noise = np.random.default_rng(0).integers(0, 256, (100, 100, 3), np.uint8)
    photo = Image.fromarray(noise)
    left_half_outside = Alignment(((80.0, 0.0, -40.0), (0.0, 80.0, 10.0)))
    framed = Framed(Photograph(photo), left_half_outside)
    square, view = np.asarray(framed.square(80), float), np.asarray(framed.view(80), float)
    np.testing.assert_array_equal(view[:, 40:], square[:, 40:])
    assert view[:, :32].std() < 0.3 * square[:, :32].std()
    inside = Framed(Photograph(photo), Alignment(((80.0, 0.0, 10.0), (0.0, 80.0, 10.0))))
    np.testing.assert_array_equal(np.asarray(inside.view(80)), np.asarray(inside.square(80)))
