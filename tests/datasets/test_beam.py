"""`prepare` by Apache Beam: the same records and the same report as without."""

import dataclasses
import json
import logging
import pathlib

import clips_source
import faces_source as faces
import numpy as np
import pytest

from aufer_jax import cli
from aufer_jax.datasets import beam, catalog, items
from aufer_jax.datasets.prepare import prepare
from aufer_jax.datasets.prepare_report import Report

COUNT = 60

needs_beam = pytest.mark.skipif(
    __import__("importlib.util").util.find_spec("apache_beam") is None,
    reason="apache-beam is not installed (the extra `beam`)",
)


@pytest.fixture(autouse=True)
def quiet():
    """Beam tells much, and the suite makes warnings errors."""
    logging.getLogger("apache_beam").setLevel(logging.ERROR)


def build(folder):
    """Faces of ten people with landmarks and AUs, some broken, cut in two, turned or too large."""
    faces.write_images(folder / "images", COUNT)
    rows = [
        {
            "file": f"images/face{i}.jpg",
            "expression": faces.word(i),
            "subject": f"person {i % 10}",
            "AU12_r": f"{faces.face(i)['au'][faces.AUS.index(12)]:.3f}",
        }
        | faces.points(i)
        for i in range(COUNT)
    ]
    others = faces.unusual() | faces.broken()
    others["turned.jpg"] = (faces.turned(faces.pixels(3), 6), "")
    for i, (name, (data, _)) in enumerate(others.items()):
        (folder / "images" / name).write_bytes(data)
        rows.append(rows[i] | {"file": f"images/{name}"})
    faces.write_csv(folder / "labels.csv", rows)


def records(data_dir, split):
    source = catalog.source("mine", split, data_dir)
    return [source[i] for i in range(len(source))]


def told(report: Report):
    """The report without what differs from run to run."""
    values = json.loads(json.dumps(dataclasses.asdict(report)))
    return {k: v for k, v in values.items() if k not in ("folder", "seconds", "from_cache")}


def same(a, b):
    assert a.keys() == b.keys()
    for name, value in a.items():
        np.testing.assert_array_equal(value, b[name], err_msg=name)


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    folder = tmp_path_factory.mktemp("beam")
    build(folder / "in")
    plain = prepare("folder", folder / "in", name="mine", data_dir=folder / "plain")
    piece, beam.PIECE = beam.PIECE, 16  # several for each split
    try:
        piped = prepare("folder", folder / "in", name="mine", data_dir=folder / "beam", beam=True)
    finally:
        beam.PIECE = piece
    return folder, plain, piped


@needs_beam
@pytest.mark.filterwarnings("ignore")
def test_beam_writes_the_same_records_in_the_same_order(both):
    folder, plain, _ = both
    assert plain.written == COUNT + len(faces.unusual()) + 1
    infos = [catalog.info("mine", folder / way) for way in ("plain", "beam")]
    assert infos[0] == infos[1] and set(infos[0].splits) == {"train", "validation", "test"}
    for split in infos[0].splits:
        pairs = zip(records(folder / "plain", split), records(folder / "beam", split), strict=True)
        for a, b in pairs:
            same(a, b)


@needs_beam
def test_beam_tells_the_same(both):
    folder, plain, piped = both
    assert told(plain) == told(piped)
    assert len(plain.unreadable) == len(faces.broken())
    one, other = (folder / way / "mine" for way in ("plain", "beam"))
    for name in ("splits.csv", "contact_sheet.png", "NOTICE"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    assert {path.name for path in one.iterdir()} == {path.name for path in other.iterdir()}


@needs_beam
def test_the_files_of_the_dataset_are_those_of_the_ordinary_path(both):
    folder = both[0]
    made = catalog.prepared("mine", folder / "plain")["records"]
    one, other = (
        {path.name: path.stat().st_size for path in root.rglob("*.*")}
        for root in (folder / way / "mine" / made for way in ("plain", "beam"))
    )
    assert one.pop("dataset_info.json") and other.pop("dataset_info.json")  # names the module
    assert one == other and sum(".array_record-00000-of-00001" in name for name in one) == 3


@needs_beam
def test_preparing_again_by_the_other_way_does_nothing(both):
    folder = both[0]
    assert prepare("folder", folder / "in", name="mine", data_dir=folder / "beam").already_prepared


@needs_beam
@pytest.mark.filterwarnings("ignore")
def test_clips_and_their_aus_are_the_same_too(tmp_path):
    for c in range(8):
        place = f"{faces.word(c)}/clip{c}"
        clips_source.folder(tmp_path / "in" / place, 3 + c % 3, 10 * c)
        rows = [(t + 1, 0.95, (12,) if t % 2 else ()) for t in range(3 + c % 3)]
        clips_source.write(tmp_path / "openface" / f"clip{c}.csv", clips_source.openface(rows))
    clips_source.write(tmp_path / "in" / faces.word(0) / "broken" / "1.png", b"")
    options = {"name": "mine", "au": str(tmp_path / "openface")}
    plain = prepare("clips", tmp_path / "in", data_dir=tmp_path / "plain", **options)
    piped = prepare("clips", tmp_path / "in", data_dir=tmp_path / "beam", beam=True, **options)
    assert told(plain) == told(piped) and plain.written == 8 and len(plain.unreadable) == 1
    for split in catalog.info("mine", tmp_path / "plain").splits:
        ours = records(tmp_path / "plain", split), records(tmp_path / "beam", split)
        for a, b in zip(*ours, strict=True):
            same(a, b)
            assert a["au_known"].any()


@needs_beam
@pytest.mark.filterwarnings("ignore")
def test_an_interrupted_preparation_goes_on(tmp_path, monkeypatch):
    """The pipeline fails at its second piece and in writing; what was checked stays checked."""
    faces.class_folders(tmp_path / "in", 24)
    monkeypatch.setattr(beam, "PIECE", 8)
    whole, seen = items.ImageItems.check, []

    def check(medium, face):
        seen.append(face.file)
        if len(seen) > 12:
            raise RuntimeError("power cut")
        return whole(medium, face)

    def run():
        return prepare(
            "folder", tmp_path / "in", name="mine", data_dir=tmp_path / "data", beam=True
        )

    with monkeypatch.context() as broken:
        broken.setattr(items.ImageItems, "check", check)
        with pytest.raises(Exception, match="power cut"):
            run()
    assert "mine" not in catalog.names(tmp_path / "data")
    known = 8 * len(list((tmp_path / "data/mine/checked.beam").glob("*.found")))
    with monkeypatch.context() as broken:
        broken.setattr(items.ImageItems, "content", check)
        with pytest.raises(Exception):  # noqa: B017
            run()
    assert "mine" not in catalog.names(tmp_path / "data")
    assert known < 24 == 8 * len(list((tmp_path / "data/mine/checked.beam").glob("*.found")))
    report = run()
    assert report.from_cache == 24 == report.written
    left = {path.name for path in (tmp_path / "data/mine").iterdir()}
    assert "checked.beam" not in left
    assert not [p for p in pathlib.Path(tmp_path / "data").rglob("*") if "incomplete" in p.name]


@needs_beam
@pytest.mark.filterwarnings("ignore")
def test_the_command_takes_the_flags_of_beam(tmp_path, capsys):
    faces.class_folders(tmp_path / "in", 8)
    command = ["data", "prepare", "folder", "--name", "mine", "--source", str(tmp_path / "in")]
    command += ["--data-dir", str(tmp_path / "data"), "--beam"]
    flags = "--runner=BundleBasedDirectRunner"
    assert cli.main([*command, f"--beam-options={flags}"]) == 0
    assert "8 images from" in capsys.readouterr().out


def test_options_of_beam_need_beam(tmp_path):
    faces.class_folders(tmp_path / "in", 2)
    with pytest.raises(ValueError, match="beam_options: '--runner=x' need beam"):
        prepare("folder", tmp_path / "in", name="mine", beam_options="--runner=x")
    with pytest.raises(ValueError, match="workers: with Beam"):
        prepare("folder", tmp_path / "in", name="mine", beam=True, workers=2)


def test_without_beam_it_is_said_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "apache_beam", None)
    faces.class_folders(tmp_path / "in", 2)
    with pytest.raises(ValueError, match=r"pip install 'aufer-jax\[beam\]'"):
        prepare("folder", tmp_path / "in", name="mine", data_dir=tmp_path / "data", beam=True)
    assert "mine" not in catalog.names(tmp_path / "data")
