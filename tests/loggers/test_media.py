"""What is given in many forms arrives in one."""

from __future__ import annotations

import io
import struct
import wave
import zlib
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fulmen.loggers import media
from fulmen.loggers.media_files import _place_of, content_of, wav_bytes
from fulmen.loggers.pixels import as_pixels
from fulmen.utilities.exceptions import MisconfigurationException

pictures = st.tuples(st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3, 4]), st.integers(0, 2**31)).map(
    lambda drawn: np.random.default_rng(drawn[3]).integers(0, 256, drawn[:3], dtype=np.uint8)
)


def decoded(png: bytes) -> Any:
    """The pixels of a PNG file without filters, by the standard's own words."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    place, data, header = 8, b"", b""
    while place < len(png):
        length = struct.unpack(">I", png[place : place + 4])[0]
        name, content = png[place + 4 : place + 8], png[place + 8 : place + 8 + length]
        assert struct.unpack(">I", png[place + 8 + length : place + 12 + length])[0] == zlib.crc32(name + content)
        header = content if name == b"IHDR" else header
        data += content if name == b"IDAT" else b""
        place += 12 + length
    width, height, depth, kind = struct.unpack(">IIBB", header[:10])
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[kind]
    rows = np.frombuffer(zlib.decompress(data), np.uint8).reshape(height, 1 + width * channels)
    assert depth == 8
    assert not rows[:, 0].any()
    return rows[:, 1:].reshape(height, width, channels)


@given(pictures)
def test_a_png_file_holds_the_pixels(pixels: Any) -> None:
    assert np.array_equal(decoded(media.Image(pixels).png()), pixels)


@given(pictures.filter(lambda pixels: not {*pixels.shape[:2]} & {1, 3, 4}))
def test_all_forms_of_a_picture_are_the_same(pixels: Any) -> None:
    first = np.moveaxis(pixels, 2, 0)
    forms = [pixels, first, torch.tensor(pixels), torch.tensor(first), pixels.astype(int)]
    forms += [pixels / 255, torch.tensor(first / 255), torch.tensor(first / 255).float().requires_grad_()]
    forms += [[first], torch.tensor(first)[None]]
    if pixels.shape[2] == 1:
        forms += [pixels[..., 0], torch.tensor(pixels[..., 0])]
    for form in forms:
        (image,) = media.images_of(form)
        assert image.pixels.dtype == np.uint8
        assert np.array_equal(image.pixels, pixels)


def test_where_both_could_be_a_tensor_has_its_channels_first_and_an_array_last() -> None:
    both = np.arange(3 * 5 * 3, dtype=np.uint8).reshape(3, 5, 3)
    assert as_pixels(both).shape == (3, 5, 3)
    assert as_pixels(torch.tensor(both)).shape == (5, 3, 3)


def test_pictures_of_pillow_and_of_other_types() -> None:
    pillow = pytest.importorskip("PIL.Image")
    gray = np.arange(20, dtype=np.uint8).reshape(4, 5)
    assert np.array_equal(as_pixels(pillow.fromarray(gray))[..., 0], gray)
    assert as_pixels(pillow.new("RGBA", (5, 4))).shape == (4, 5, 4)
    assert as_pixels(pillow.new("P", (5, 4))).shape == (4, 5, 3)
    assert as_pixels(torch.eye(7).bool())[0, :2, 0].tolist() == [255, 0]
    assert as_pixels(torch.full((7, 7), 0.5, dtype=torch.bfloat16))[0, 0, 0] == 128


def test_a_list_and_a_batch_are_several_pictures_with_their_captions() -> None:
    images = media.images_of([torch.zeros(2, 3, 7, 7), torch.zeros(7, 8)], ["a", "b", "c"])
    assert [(image.pixels.shape, image.caption) for image in images] == [
        ((7, 7, 3), "a"), ((7, 7, 3), "b"), ((7, 8, 1), "c"),
    ]  # fmt: skip
    assert {image.caption for image in media.images_of(torch.zeros(2, 3, 7, 7), "both")} == {"both"}


def test_a_picture_out_of_range_is_cut_off_and_said_so() -> None:
    with pytest.warns(UserWarning, match=r"image - image.min\(\)"):
        pixels = as_pixels(torch.tensor([[-1.0, 0.5, 3.0, float("nan"), 0.0]]))
    assert pixels[0, :, 0].tolist() == [0, 128, 255, 0, 0]


def test_what_was_logged_may_change_afterwards() -> None:
    image, sound, values = np.zeros((7, 7), np.uint8), np.zeros(8, np.float32), torch.zeros(3)
    items: list[Any] = [*media.images_of(image), *media.audios_of(sound), *media.histograms_of(values)]
    image += 9
    sound += 1
    values += 1
    assert not items[0].pixels.any()
    assert not items[1].samples.any()
    assert not items[2].values.any()


def test_all_forms_of_a_table_are_the_same() -> None:
    pandas = pytest.importorskip("pandas")
    forms = [
        media.tables_of(["a", "b"], [[1, 2], [3, 4]]),
        media.tables_of(["a", "b"], np.array([[1, 2], [3, 4]])),
        media.tables_of(["a", "b"], torch.tensor([[1, 2], [3, 4]])),
        media.tables_of(["a", "b"], [torch.tensor([1, 2]), (torch.tensor(3), 4)]),
        media.tables_of({"a": [1, 3], "b": torch.tensor([2, 4])}),
        media.tables_of(dataframe=pandas.DataFrame({"a": [1, 3], "b": [2, 4]})),
        media.tables_of(pandas.DataFrame({"a": [1, 3], "b": [2, 4]})),
    ]
    for (table,) in forms:
        assert (table.columns, table.rows) == (["a", "b"], [[1, 2], [3, 4]])
    assert media.tables_of(data=[["x", None]])[0].columns == ["0", "1"]
    assert content_of(forms[0][0]) == (b"a,b\r\n1,2\r\n3,4\r\n", ".csv")


def test_a_figure_is_kept_as_it_was() -> None:
    matplotlib = pytest.importorskip("matplotlib.figure")
    figure = matplotlib.Figure(figsize=(2, 1), dpi=50)
    axes = figure.subplots()
    canvas = figure.canvas
    (before,) = media.figures_of(figure)
    axes.plot([0, 1], [1, 0], linewidth=9)
    (after,) = media.figures_of(axes)
    assert before.pixels.shape == after.pixels.shape == (50, 100, 4)
    assert not np.array_equal(before.pixels, after.pixels)
    assert figure.canvas is canvas


@pytest.mark.parametrize(
    ("sound", "expected"),
    [
        (torch.tensor([0.0, 0.5, -1.0]), [0.0, 0.5, -1.0]),
        (np.array([0, 16384, -32768], np.int16), [0.0, 0.5, -1.0]),
        (np.array([128, 192, 0], np.uint8), [0.0, 0.5, -1.0]),
        ([0.0, 0.5, -1.0], [0.0, 0.5, -1.0]),
        (torch.tensor([[0.0, 2.0, float("nan")]]), [0.0, 1.0, 0.0]),
    ],
)
def test_all_forms_of_sound(sound: Any, expected: list[float]) -> None:
    (audio,) = media.audios_of(sound, 8000)
    assert audio.samples.shape == (3, 1)
    assert audio.samples[:, 0].tolist() == pytest.approx(expected, abs=0.01)
    with wave.open(io.BytesIO(wav_bytes(audio))) as file:
        assert (file.getnchannels(), file.getframerate(), file.getnframes()) == (1, 8000, 3)
        read = np.frombuffer(file.readframes(3), "<i2") / 32767
    assert read == pytest.approx(audio.samples[:, 0], abs=1e-4)


def test_stereo_in_both_orders_and_several_sounds() -> None:
    stereo = torch.rand(2, 50)
    first, last = media.audios_of([stereo, stereo.T], [8000, None])
    assert np.array_equal(first.samples, last.samples)
    assert (first.sample_rate, last.sample_rate) == (8000, 44100)


def test_videos() -> None:
    frames = torch.randint(0, 256, (5, 3, 6, 8), dtype=torch.uint8)
    (one,) = media.videos_of(frames, fps=10)
    assert one.frames.shape == (5, 6, 8, 3)
    assert np.array_equal(one.frames, frames.permute(0, 2, 3, 1).numpy())
    assert [video.fps for video in media.videos_of(frames[None].repeat(2, 1, 1, 1, 1))] == [4.0, 4.0]
    pillow = pytest.importorskip("PIL.Image")
    moving = pillow.open(io.BytesIO(one.apng()))
    assert (moving.n_frames, moving.size) == (5, (8, 6))
    for index in range(5):
        moving.seek(index)
        assert np.array_equal(np.array(moving.convert("RGB")), one.frames[index])


def test_a_histogram_leaves_out_what_is_not_finite() -> None:
    (item,) = media.histograms_of(torch.tensor([[1.0, float("nan")], [2.0, float("inf")]]), bins=2)
    counts, edges = item.counts()
    assert (item.values.tolist(), counts.tolist(), edges.tolist()) == ([1.0, 2.0], [1, 1], [1.0, 1.5, 2.0])


@pytest.mark.parametrize(
    ("make", "given", "remedy"),
    [
        ("images_of", (torch.zeros(2, 9, 9),), "Log some of the channels"),
        ("images_of", (torch.zeros(9),), "Log some of the channels"),
        ("images_of", ("cat.png",), r"PIL.Image.open"),
        ("images_of", (torch.zeros(9, 9).to(torch.complex64),), r"image.float\(\)"),
        ("images_of", (torch.zeros(2, 1, 9, 9), ["one"]), "Pass one for each"),
        ("figures_of", (torch.zeros(9, 9),), r"plt.gcf\(\)"),
        ("tables_of", (["a"],), r"columns=\["),
        ("tables_of", (["a"], [[1, 2]]), "Fill up short rows"),
        ("tables_of", ({"a": [1], "b": [1, 2]},), "Fill up the short ones"),
        ("audios_of", (torch.zeros(99, 99),), "Pass one sound of shape"),
        ("audios_of", (["la"],), r"torch.as_tensor"),
        ("videos_of", (torch.zeros(9, 9),), "permute"),
        ("histograms_of", (["a"],), r"torch.as_tensor"),
    ],
)
def test_what_has_no_such_form_is_refused(make: str, given: Any, remedy: str) -> None:
    with pytest.raises(MisconfigurationException, match=remedy):
        getattr(media, make)(*given)


@pytest.mark.parametrize(
    ("make", "given", "remedy"),
    [
        ("audios_of", (torch.zeros(9), 0), r"sample_rate=16_000"),
        ("audios_of", (torch.zeros(9), -5), r"sample_rate=16_000"),
        ("audios_of", (torch.zeros(9), 0.5), r"sample_rate=16_000"),
        ("audios_of", (torch.zeros(9), 10**12), r"sample_rate=16_000"),
        ("audios_of", (torch.zeros(9), "fast"), r"sample_rate=16_000"),
        ("videos_of", (torch.zeros(2, 3, 8, 8), 0), "fps=25"),
        ("videos_of", (torch.zeros(2, 3, 8, 8), float("nan")), "fps=25"),
        ("videos_of", (torch.zeros(2, 3, 8, 8), "fast"), "fps=25"),
        ("histograms_of", ([1.0], 0), "bins=100"),
        ("histograms_of", ([1.0], 2.5), "bins=100"),
        ("tables_of", ([["1", "2"]], ["x", "y"]), r'columns=\["x", "y"\], data='),
        ("tables_of", (["x"], ["1", "2"]), r'columns=\["x", "y"\], data='),
        ("tables_of", (["x"], [{"x": 1}]), r'columns=\["x", "y"\], data='),
        ("tables_of", (["x"], torch.zeros(3)), r'columns=\["x", "y"\], data='),
    ],
)
def test_what_no_file_could_hold_is_refused_with_its_key(make: str, given: Any, remedy: str) -> None:
    with pytest.raises(MisconfigurationException, match=rf"Logged as 'the key'(.|\n)*{remedy}"):
        media.items_of(make, "the key", *given)


def test_a_key_is_a_string() -> None:
    with pytest.raises(MisconfigurationException, match="Pass a string: `'3'`"):
        media.items_of("texts_of", 3, "text")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("make", "given", "kind"),
    [
        ("audios_of", torch.zeros(0), "audio"),
        ("videos_of", torch.zeros(0, 3, 8, 8, dtype=torch.uint8), "video"),
        ("images_of", torch.zeros(3, 0, 8), "image"),
        ("images_of", [], "image"),
    ],
)
def test_what_is_empty_is_left_out_with_one_warning(make: str, given: Any, kind: str) -> None:
    key = f"{make} {len(given)}"
    with pytest.warns(UserWarning, match=f"nothing in the {kind} that was logged as '{key}'") as caught:
        assert [media.items_of(make, key, given) for _ in range(3)] == [[], [], []]
    assert len(caught) == 1


def test_of_several_only_the_empty_ones_are_left_out() -> None:
    with pytest.warns(UserWarning, match="nothing in the audio that was logged as 'several'"):
        (item,) = media.items_of("audios_of", "several", [torch.zeros(0), torch.ones(9)])
    assert item.samples.shape == (9, 1)  # type: ignore[attr-defined]


@given(
    st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=9),
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(0, 3),
    st.integers(1, 99),
)
def test_a_histogram_counts_every_value(values: list[float], more: float, times: int, bins: int) -> None:
    (item,) = media.histograms_of(np.array(values + [more] * times), bins)
    counts, edges = item.counts()
    assert counts.sum() == len(values) + times
    assert len(edges) == bins + 1
    assert np.isfinite(edges).all()
    assert (np.diff(edges) >= 0).all()


@given(st.floats(1e-12, 1e12))
def test_every_number_of_frames_a_second_makes_a_video(fps: float) -> None:
    (item,) = media.videos_of(torch.zeros(2, 1, 1, 1), fps)
    start = item.apng().index(b"fcTL") + 24
    numerator, denominator = struct.unpack(">HH", item.apng()[start : start + 4])
    if 0.01 < fps < 1000:
        assert numerator / denominator == pytest.approx(1 / fps, rel=0.1)


@given(st.lists(st.text(st.characters(), min_size=0, max_size=400), min_size=1, max_size=40).map("/".join))
def test_every_key_becomes_a_path_that_systems_take(key: str) -> None:
    path = _place_of(key)
    parts = path.split("/")
    assert len(path.encode()) <= 1000
    assert all(0 < len(part.encode()) <= 200 and part not in (".", "..") for part in parts) or path == ""


def test_long_keys_that_differ_at_their_ends_are_kept_apart() -> None:
    assert len({_place_of("k" * 300 + end) for end in "abc"} | {_place_of("k/" * 900 + end) for end in "abc"}) == 6
    assert _place_of("a/b: c") == "a/b_ c"
