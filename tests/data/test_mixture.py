import numpy as np
import pytest
import toydata

from aufer_jax.data import loader, mixture, records
from aufer_jax.data.mixture import Mixed, Part, Single
from aufer_jax.data.views import Augment, Spec

SPEC = Spec(size=16, aus=toydata.AUS)


def mixed(ratio=(4, 1), aux=1):
    names = [f"aux{i}" for i in range(aux)]
    others = [(toydata.images(7, name), SPEC) for name in names]
    return Mixed((toydata.images(), SPEC), others, ratio)


def records_of(keys):
    kept = [toydata.image_record(i, key=key) for i, key in enumerate(keys)]
    return records.MemorySource(toydata.info(), kept)


def batches(data, count, **options):
    stream = loader.train_batches(data, threads=0, **({"batch_size": 10, "seed": 0} | options))
    return [next(stream) for _ in range(count)]


def test_the_pattern_is_target_first_and_repeats():
    assert [mixed().slot(p)[0] for p in range(10)] == [0, 0, 0, 0, 1] * 2
    target = (toydata.images(), SPEC)
    assert Mixed(target, [target]).ratio == (4, 1)  # unless said otherwise
    assert [mixed((8, 2)).slot(p)[0] for p in range(5)] == [0, 0, 0, 0, 1]
    assert [mixed((1, 2), aux=2).slot(p)[0] for p in range(6)] == [0, 1, 2, 0, 1, 2]
    assert [mixed((2, 1), aux=2).slot(p)[0] for p in range(6)] == [0, 0, 1, 0, 0, 2]


@pytest.mark.parametrize(("ratio", "aux"), [((4, 1), 1), ((3, 2), 1), ((2, 3), 2), ((1, 1), 3)])
def test_every_part_is_read_without_gaps(ratio, aux):
    data = mixed(ratio, aux)
    turns = [[] for _ in data.parts]
    for position in range(180):
        part, turn = data.slot(position)
        turns[part].append(turn)
    assert all(seen == list(range(len(seen))) for seen in turns)
    assert len(turns[0]) == 180 * ratio[0] // sum(ratio)


def parts(rows):
    """The target rows and the auxiliary rows of a batch mixed 4:1."""
    place = np.arange(len(rows)) % 5
    return rows[place < 4], rows[place == 4]


def test_auxiliary_rows_teach_through_aus_only_and_target_rows_not():
    for batch in batches(mixed(), 2):
        target, aux = parts(batch["expression"])
        assert target.shape == (8,) and (target >= 0).all() and (aux == -1).all()
        target, aux = parts(batch["au_known"])
        assert target.shape == (8, 6) and not target.any() and aux.any(1).all()


def test_each_part_sees_all_its_records_once_an_epoch():
    stream = batches(mixed(), 7)  # 56 target rows: 2.8 epochs of 20; 14 aux rows: 2 epochs of 7
    target = np.concatenate([parts(b["id"])[0] for b in stream])
    aux = np.concatenate([parts(b["id"])[1] for b in stream])
    assert len(set(target[:20])) == len(set(target[20:40])) == 20
    assert target[:20].tolist() != target[20:40].tolist()
    assert len(set(aux[:7])) == len(set(aux[7:])) == 7


def test_a_mixture_resumes_by_position():
    whole, later = batches(mixed(), 6), batches(mixed(), 2, start=4)
    for a, b in zip(whole[4:], later, strict=True):
        for name in a:
            np.testing.assert_array_equal(a[name], b[name])


def test_every_device_holds_the_ratio_at_every_step():
    names = [f"face{i}" for i in range(20)]
    targets = {records.key_id(name) for name in names}
    target = (records_of(names), SPEC)
    data = Mixed(target, [(records_of(["a", "b", "c"]), SPEC)], (4, 1))
    for batch in batches(data, 5, batch_size=40):
        for rows in np.split(batch["id"], 4):  # what four devices get
            assert sum(row in targets for row in rows) == 8


def test_a_small_auxiliary_set_repeats_looking_fresh():
    spec = Spec(size=16, aus=toydata.AUS, augment=Augment(shift=3, brightness=0.3))
    data = Mixed((toydata.images(), spec), [(records_of(["a"]), spec)], (4, 1))
    found = np.concatenate([parts(b["image"])[1] for b in batches(data, 4)])
    assert len(found) == 8 and len({image.tobytes() for image in found}) == 8


def test_parts_say_what_they_teach():
    target = Part(toydata.images(), SPEC, aus=True)
    aux = Part(toydata.images(7, "aux"), SPEC, expressions=True)
    (batch,) = batches(Mixed(target, [aux], (1, 1)), 1)
    assert (batch["expression"] >= 0).all() and batch["au_known"].any(1).all()


def test_balanced_rows_repeat_small_classes_and_leave_out_unknown():
    rows = mixture.balanced_rows(np.array([0, 1, 0, -1, 2, 0, 1]))
    assert rows.tolist() == [0, 2, 5, 1, 6, 1, 4, 4, 4]
    with pytest.raises(ValueError, match="no record has an expression"):
        mixture.balanced_rows(np.array([-1, -1]))


def test_a_balanced_part_shows_every_class_as_often():
    source = toydata.images(9)
    for i, record in enumerate(source.records):
        record["expression"] = 0 if i < 6 else 1 if i < 8 else 2
    stream = batches(Part(source, SPEC, balanced=True), 3, batch_size=6)  # one epoch of 18
    labels = np.concatenate([b["expression"] for b in stream])
    assert np.bincount(labels).tolist() == [6, 6, 6]


def test_a_mixture_of_one_has_no_pattern():
    alone = Single(Part(toydata.images(), SPEC))
    assert (alone.ratio, alone.period) == ((1,), 1)
    assert [alone.slot(position) for position in (0, 7)] == [(0, 0), (0, 7)]


def test_wrong_mixtures_are_named():
    target = (toydata.images(), SPEC)
    with pytest.raises(ValueError, match="ratio"):
        Mixed(target, [target], (0, 1))
    with pytest.raises(ValueError, match="at least one"):
        Mixed(target, [])
    with pytest.raises(ValueError, match=r"spec\.size: got 32 for toy, must be the target's, 16"):
        Mixed(target, [(toydata.images(), Spec(size=32, aus=toydata.AUS))])
    with pytest.raises(ValueError, match="multiple of 5"):
        loader.train_batches(mixed(), batch_size=8, seed=0)
    with pytest.raises(ValueError, match="no records"):
        loader.train_batches(toydata.images(0), SPEC, batch_size=8, seed=0)
