"""Pictures of another split, of no class that is known, under the labels and captions of this one."""

import json
import pickle
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from datasets_prep.materialize import materialize
from fastpt import Dataset, Loader
from fastpt.cli import main
from fastpt.data.concat import ConcatDataset
from fastpt.errors import DamagedData, FastptError
from fastpt.noise import add_noise
from fastpt.noise.exchange import export_plan, import_plan
from fastpt.noise.kinds.symmetric import symmetric
from fastpt.noise.verify import verify_plans
from fastpt.report.preview import write_preview
from fastpt.torch import FastptDataset, FastptMapDataset
from tests.conftest import made_up, picture, prepared

COUNT, OTHERS = 40, 24


def strangers(classes=("strange", "stranger"), **fields):
    """Pictures of other classes, unlike those of the split."""
    listing = made_up(OTHERS, classes=len(classes), special={i: picture(500 + i) for i in range(OTHERS)})
    return replace(listing, classes=[*classes], class_names=[*classes], **fields)


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    """mine/train, with labels and captions, and other/train."""
    folder = tmp_path_factory.mktemp("open-set")
    prepared(folder / "mine", made_up(COUNT, captions=True), shard_samples=16)
    prepared(folder / "other", strangers(), shard_samples=10)
    return folder


@pytest.fixture
def data(saved, tmp_path) -> Path:
    shutil.copytree(saved, tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def mine(data) -> Dataset:
    return Dataset(data / "mine/train")


@pytest.fixture
def other(data) -> Dataset:
    return Dataset(data / "other/train")


def open_set(mine, other, rate=0.3, seed=0):
    return add_noise(mine, rate, seed, kind="open-set", files={"from": other.path})


def test_the_number_is_exact_of_each_class_its_share_and_no_picture_comes_twice(mine, other):
    plan = open_set(mine, other)
    replaced = plan.array >= 0
    assert replaced.sum() == 12
    assert np.bincount(mine.clean_labels[replaced]).tolist() == [3, 3, 3, 3]
    assert len(np.unique(plan.array[replaced])) == 12
    assert (plan.realised_rate, plan.realised_per_class) == (0.3, [0.3] * 4)


def test_what_is_replaced_at_a_low_rate_has_the_same_picture_at_a_higher_one(mine, other):
    low, high = open_set(mine, other, 0.1).array, open_set(mine, other, 0.5).array
    assert (low >= 0).sum() == 4
    assert np.array_equal(low[low >= 0], high[low >= 0])


def test_those_that_symmetric_noise_of_the_rate_and_seed_flips_are_replaced(mine, other):
    flipped = symmetric(mine.stored_keys, mine.clean_labels, mine.classes, 0.3, 0) != mine.clean_labels
    assert np.array_equal(open_set(mine, other).array >= 0, flipped)


def test_it_follows_the_keys_of_both_splits_not_their_rows(mine, other, tmp_path):
    ours = prepared(tmp_path / "a", made_up(COUNT, captions=True), seed=5)
    theirs = prepared(tmp_path / "b", strangers(), seed=6, format="wds")

    def pairs(split, lent):
        array = open_set(split, lent).array
        return {(split.keys[row], lent.keys[array[row]]) for row in np.flatnonzero(array >= 0)}

    assert ours.keys != mine.keys
    assert theirs.keys != other.keys
    assert pairs(ours, theirs) == pairs(mine, other)


def test_targets_stay_and_what_is_replaced_is_wrong_of_labels_and_captions_alike(mine, other):
    plan = open_set(mine, other)
    for of in ("labels", "captions"):
        assert np.array_equal(mine.targets(plan.name, of), mine.targets(None, of))
        assert np.array_equal(mine.wrong(plan.name, of), plan.array >= 0)
    assert np.array_equal(mine.wrong(0.3), plan.array >= 0)


def test_pictures_of_known_classes_are_not_taken(mine, tmp_path, caplog):
    mixed = prepared(tmp_path / "mixed", strangers(("Class 2", "strange")))
    plan = open_set(mine, mixed)
    assert set(mixed.clean_labels[plan.array[plan.array >= 0]]) == {1}
    assert "it has 12 of 24 pictures of classes that are known here" in caplog.text


def test_too_few_pictures_are_an_error_with_the_most_that_there_are(mine, other):
    with pytest.raises(FastptError, match=r"needs 28 pictures.* has 24 .* The maximum here is 0\.6"):
        open_set(mine, other, 0.7)


def assert_replaced(shown, mine, other, plan) -> None:
    ids = np.arange(len(mine))
    for row, jpeg in zip(ids, shown.jpegs(ids, checked=True), strict=True):
        lent = int(plan.array[row])
        assert np.array_equal(jpeg, mine.jpeg(row) if lent < 0 else other.jpeg(lent))


def test_a_loader_delivers_the_pictures_in_the_order_and_crops_of_any_rate(mine, other):
    def batches(dataset):
        return list(Loader(dataset, 8, 32, crop="random", order="random", seed=3, threads=1))

    plan = open_set(mine, other)
    assert_replaced(mine.shown(plan.name), mine, other, plan)
    for before, after in zip(batches(mine), batches(mine.shown(plan.name)), strict=True):
        assert np.array_equal(before.sample_ids, after.sample_ids)
        same = (before.images == after.images).flatten(1).all(1).numpy()
        assert np.array_equal(same, plan.array[before.sample_ids.numpy()] < 0)


def test_a_split_without_such_noise_is_shown_as_it_is(mine):
    assert mine.shown(None) is mine


def test_several_splits_are_shown_as_one(mine, other, data):
    plan = open_set(mine, other)
    shutil.copytree(mine.path, data / "twin/train")
    several = ConcatDataset([mine.path, data / "twin/train"], [2, 1])
    shown = several.shown(plan.name, "labels")
    arrays = [plan.array] * 3
    assert np.array_equal(several.wrong(plan.name, "labels"), np.concatenate(arrays) >= 0)
    assert np.array_equal(several.noise_plan(plan.name, "labels").array, np.concatenate(arrays))
    assert shown.images_id != several.images_id
    for start, expected in zip((0, COUNT, 2 * COUNT), arrays, strict=True):
        row = int(np.flatnonzero(expected >= 0)[0])
        (jpeg,) = shown.jpegs(np.array([start + row]), checked=True)
        assert np.array_equal(jpeg, other.jpeg(int(expected[row])))
        index = int(shown.samples.shard[start + row])
        assert shown.shard_name(index) == other.shard_name(int(other.samples.shard[expected[row]]))
    assert len(list(Loader(shown, 8, 32, seed=0, order="quasi_random", threads=1))) == 15


def test_plans_of_labels_and_pictures_do_not_mix(mine, other, data):
    shutil.copytree(mine.path, data / "twin/train")
    add_noise(Dataset(data / "twin/train"), 0.3, 0)
    open_set(mine, other)
    with pytest.raises(FastptError, match="change labels and pictures"):
        ConcatDataset([mine.path, data / "twin/train"], [1, 1]).noise_plan(0.3, "labels")


def test_splits_that_are_moved_together_find_each_other(mine, other, data, tmp_path):
    plan = open_set(mine, other)
    shutil.move(data, tmp_path / "elsewhere")
    moved = Dataset(tmp_path / "elsewhere/mine/train")
    assert_replaced(moved.shown(plan.name), moved, Dataset(tmp_path / "elsewhere/other/train"), plan)


def test_a_split_that_is_gone_is_named_and_the_rest_of_the_plan_is_still_told(mine, other, data):
    plan = open_set(mine, other)
    shutil.rmtree(data / "other")
    with pytest.raises(FastptError, match=rf"pictures of noise plan {plan.name} are those of made-up/train at .*other"):
        mine.shown(plan.name)
    told = CliRunner().invoke(main, ["info", str(mine.path)])
    assert told.exit_code == 0
    assert "realised 0.3 (12 wrong pictures" in told.output


def test_other_pictures_in_the_place_of_the_split_are_refused(mine, other, data):
    plan = open_set(mine, other)
    shutil.rmtree(data / "other")
    prepared(data / "other", strangers(), seed=9)
    with pytest.raises(FastptError, match="those of another made-up/train than lies at"):
        mine.shown(plan.name)


def test_equal_arrays_of_two_splits_are_two_noises(mine, other, tmp_path):
    first = open_set(mine, other)
    for path in (mine.path / "noise").iterdir():
        path.unlink()
    second = open_set(mine, prepared(tmp_path / "twin", replace(strangers(), read=lambda i: picture(900 + i))))
    assert np.array_equal(first.array, second.array) == (first.array_sha256 == second.array_sha256)
    assert first.identity != second.identity


def test_the_same_plan_of_another_split_is_refused(mine, other, tmp_path):
    open_set(mine, other)
    with pytest.raises(FastptError, match="was made from another file"):
        open_set(mine, prepared(tmp_path / "third", replace(strangers(), read=lambda i: picture(900 + i))))


def test_the_deep_check_makes_it_again(mine, other):
    plan = open_set(mine, other)
    assert verify_plans(mine) == []
    replaced = np.flatnonzero(plan.array >= 0)
    changed = plan.array.copy()
    changed[replaced[:2]] = changed[replaced[1::-1]]
    seal(mine, plan, changed)
    assert verify_plans(mine) == [
        f"{mine.path}: noise plan {plan.name} is not the open-set noise of its rate and seed."
    ]


@pytest.mark.parametrize("value", [-2, OTHERS, 2**62], ids=["below -1", "beyond the split", "far beyond it"])
def test_rows_that_no_picture_has_are_damage(mine, other, value):
    plan = open_set(mine, other)
    changed = plan.array.copy()
    changed[0] = value
    seal(mine, plan, changed)
    with pytest.raises((DamagedData, FastptError), match=plan.name):
        mine.shown(plan.name)


@pytest.mark.parametrize("of", ["sounds", ["pictures"], None], ids=["unknown", "a list", "nothing"])
def test_a_plan_of_what_nobody_knows_is_damage(mine, other, of):
    plan = open_set(mine, other)
    seal(mine, plan, plan.array, of=of)
    with pytest.raises(DamagedData, match="are not those of a plan"):
        mine.noise_plan(plan.name)


def seal(mine, plan, array, **changes) -> None:
    """Write another array under the plan, with a new sum and seal."""
    from fastpt.files import file_sha256, write_sealed_json

    path = mine.path / "noise" / plan.name
    stated = json.loads(path.with_name(f"{plan.name}.json").read_text())
    np.save(path.with_name(f"{plan.name}.npy"), array)
    stated["array_sha256"] = file_sha256(path.with_name(f"{plan.name}.npy"))
    del stated["self_sha256"]
    stated |= changes
    write_sealed_json(path.with_name(f"{plan.name}.json"), stated)


def test_a_plan_is_taken_over_with_the_split_that_its_pictures_are_of(mine, other, tmp_path):
    plan = open_set(mine, other)
    identity = export_plan(mine, plan, tmp_path / "plan.parquet")
    theirs = prepared(tmp_path / "theirs", made_up(COUNT, captions=True), seed=4)
    lent = prepared(tmp_path / "lent", strangers(), seed=8, format="wds")
    taken = import_plan(theirs, tmp_path / "plan.parquet", lent)
    here = theirs.path / "noise" / f"{plan.name}.npy"
    written = here.read_bytes()
    for path in here.parent.iterdir():
        path.unlink()
    assert open_set(theirs, lent).name == taken.plan.name
    assert here.read_bytes() == written
    assert taken.plan_sha256 == identity


def test_a_plan_of_captions_alone_is_taken_over(other, tmp_path):
    def captions(folder, **settings):
        return prepared(folder, made_up(COUNT, classes=0, captions=True), **settings)

    split, theirs = captions(tmp_path / "a"), captions(tmp_path / "b", seed=2)
    plan = open_set(split, other)
    assert (plan.array >= 0).sum() == 12
    export_plan(split, plan, tmp_path / "plan.parquet")
    taken = import_plan(theirs, tmp_path / "plan.parquet", other).plan.array
    shown = {theirs.keys[row]: taken[row] for row in np.flatnonzero(taken >= 0)}
    assert shown == {split.keys[row]: plan.array[row] for row in np.flatnonzero(plan.array >= 0)}


def test_a_plan_of_a_split_of_another_format_and_order_is_exported_as_the_same_file(mine, other, tmp_path):
    lent = prepared(tmp_path / "lent", strangers(), seed=8, format="wds")
    identity = export_plan(mine, open_set(mine, other), tmp_path / "plan.parquet")
    theirs = prepared(tmp_path / "theirs", made_up(COUNT, captions=True), seed=4)
    assert export_plan(theirs, open_set(theirs, lent), tmp_path / "theirs.parquet") == identity


def test_a_sample_is_not_lent_its_own_picture(tmp_path):
    """Of splits without labels both orders are by the keys, so that the same pairs meet themselves."""
    split = prepared(tmp_path / "a", made_up(COUNT, classes=0, captions=True))
    stored_anew = {i: picture(900 + i) for i in range(COUNT)}
    again = prepared(tmp_path / "b", made_up(COUNT, classes=0, captions=True, special=stored_anew))
    for other in (split, again):
        with pytest.raises(FastptError, match="would lend 12 samples their own picture"):
            open_set(split, other)
    assert split.noise_plans() == []


def test_an_import_says_what_split_it_wants(mine, other, tmp_path):
    export_plan(mine, open_set(mine, other), tmp_path / "plan.parquet")
    with pytest.raises(FastptError, match=r"is of pictures of made-up/train\. Say --from"):
        import_plan(mine, tmp_path / "plan.parquet")
    wrong = prepared(tmp_path / "wrong", replace(strangers(), keys=[f"{i}.jpg" for i in range(OTHERS)]))
    with pytest.raises(FastptError, match=r"shows 12 pictures that .* does not have, such as 'pictures/"):
        import_plan(mine, tmp_path / "plan.parquet", wrong)
    export_plan(mine, add_noise(mine, 0.2, 0), tmp_path / "labels.parquet")
    with pytest.raises(FastptError, match="takes no pictures from elsewhere"):
        import_plan(mine, tmp_path / "labels.parquet", other)


def test_made_solid_it_has_the_pictures_and_says_which_are_wrong(mine, other, tmp_path):
    plan = open_set(mine, other)
    materialize(mine, plan.name, "wds", tmp_path / "solid")
    with tarfile.open(next((tmp_path / "solid").glob("*.tar"))) as tar:
        content = {name: tar.extractfile(name).read() for name in tar.getnames()}
    stems = sorted({name.partition(".")[0] for name in content})
    known = [json.loads(content[f"{stem}.json"]) for stem in stems]
    assert [one["is_noisy"] for one in known] == (plan.array >= 0).tolist()
    for row, stem in enumerate(stems):
        lent = int(plan.array[row])
        assert content[f"{stem}.jpg"] == (mine.jpeg(row) if lent < 0 else other.jpeg(lent)).tobytes()


def test_datasets_of_torch_show_it(mine, other):
    plan = open_set(mine, other)
    row = int(np.flatnonzero(plan.array >= 0)[0])
    for dataset in (single := FastptMapDataset(mine, plan.name), pickle.loads(pickle.dumps(single))):
        shown, target = dataset[row]
        assert target == mine.clean_labels[row]
        assert shown.tobytes() == FastptMapDataset(other)[int(plan.array[row])][0].tobytes()
    images = {}
    for noise in (None, plan.name):
        batches = FastptDataset(mine, 8, 32, seed=0, noise=noise, threads=1)
        images[noise] = {
            int(i): one for batch in batches for one, i in zip(batch.images, batch.sample_ids, strict=True)
        }
    differ = [bool((images[None][i] != images[plan.name][i]).any()) for i in range(COUNT)]
    assert differ == (plan.array >= 0).tolist()


def test_a_preview_shows_what_was_lent(mine, other, tmp_path):
    plan = open_set(mine, other)
    write_preview(mine, [plan.name], 4, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "open-set noise of pictures, seed 0" in page
    assert "of made-up/train" in page


def test_the_command_makes_tells_exports_and_takes_over(mine, other, tmp_path):
    def run(*words):
        return CliRunner().invoke(main, ["noise", str(mine.path), *map(str, words)])

    made = run("--kind", "open-set", "--rate", 0.3, "--from", other.path, "--export", tmp_path / "p.parquet")
    assert made.exit_code == 0, made.output
    assert "realised 0.3 (12 wrong pictures, from made-up/train)" in made.output
    assert "of each class: 0.3 (class 0) to 0.3 (class 0)" in run("--of", "pictures").output
    for path in (mine.path / "noise").iterdir():
        path.unlink()
    taken = run("--import", tmp_path / "p.parquet", "--from", other.path)
    assert (taken.exit_code, "realised 0.3" in taken.output) == (0, True)
    for refused, why in (("--csv", "of which no CSV is read"), ("--picture", "no classes to draw")):
        ran = run(refused, tmp_path / {"--csv": "a.csv", "--picture": "a.png"}[refused])
        assert (ran.exit_code, why in ran.output) == (1, True), ran.output
    document = json.loads(run("--json").output)
    assert (document["of"], document["confusion"]) == ("pictures", None)
