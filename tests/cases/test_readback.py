"""Files that are not what fastpt wrote, and wrong use.

Never right: a signal, a traceback, no end; other pixels, labels or numbers in silence; work of before that is lost.
"""

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fastpt.files import file_sha256, write_sealed_json
from tests.cases.conftest import FASTPT, BrokenCase, Command, Ran, command, environment, process
from tests.cases.workplace import CLIP, RECIPE, copy, digests, events, files_below, sets, steps, write_yaml
from tests.conftest import picture

pytestmark = pytest.mark.long
TRAIN_CHANGED = ("train", "recipe.yaml", "--run-dir", "run", *sets("data.train=changed", "schedule.steps=2"))


# --- a prepared split ---------------------------------------------------------------------------------------------


def change_samples(split: Path, change: Callable[[dict[str, list]], None], sealed: bool = False) -> None:
    """Change columns of samples.parquet; `sealed`: the manifest gets the new checksum, as a forger would do it."""
    file = split / "samples.parquet"
    table = pq.read_table(file)
    columns = {name: table[name].to_pylist() for name in table.column_names}
    change(columns)
    arrays = [pa.array(columns[field.name], field.type) for field in table.schema]
    pq.write_table(pa.table(arrays, schema=table.schema), file, compression="zstd", use_dictionary=False)
    if sealed:
        new = {"bytes": file.stat().st_size, "sha256": file_sha256(file)}
        forge(split, lambda manifest: manifest["files"][0].update(new))


def forge(split: Path, change: Callable[[dict], None]) -> None:
    """Change dataset.json and seal it anew."""
    manifest = json.loads((split / "dataset.json").read_text())
    del manifest["self_sha256"]
    change(manifest)
    write_sealed_json(split / "dataset.json", manifest)


def load(kind: str, path: Path) -> Ran:
    return command(sys.executable, "-m", "tests.cases.delivery", kind, path.absolute())


def assert_refused_or_as_whole(ran: Ran, whole: Ran, name: str) -> None:
    """An error that holds `name`; or nothing is delivered but what the whole split gives, and bad ones are counted."""
    if not ran.refused(name):
        (found, bad), (wanted, _) = (json.loads(one.output.splitlines()[-1]) for one in (ran, whole.must()))
        assert found.items() <= wanted.items()
        assert len(found) + bad == len(wanted)


@pytest.mark.parametrize("factor", [0, 4])
def test_stored_sizes_that_are_not_the_pictures(here, factor):
    split = copy("data/pets/train", "changed")
    whole = load("split", split)

    def change(columns: dict) -> None:
        for side in ("width", "height"):
            columns[side] = [factor * value for value in columns[side]]

    change_samples(split, change, sealed=True)
    assert_refused_or_as_whole(load("split", split), whole, "changed|sample")


def test_sizes_in_an_ffcv_file_of_others_that_are_not_the_pictures(here):
    beton = min(Path("data/pets/train/images").glob("*.beton"))
    content = bytearray(beton.read_bytes())
    fields = int.from_bytes(content[2:4], "little")
    first = 24 + 1041 * fields  # header and descriptors; then mode, width and height of the first picture
    content[first + 1 : first + 5] = bytes(4)
    Path("other.beton").write_bytes(content)
    assert_refused_or_as_whole(load("ffcv", Path("other.beton")), load("ffcv", beton), "other.beton|sample")


def change_labels(columns: dict) -> None:
    columns["clean_label"][:2] = [(label + 1) % 3 for label in columns["clean_label"][:2]]


def change_places(columns: dict) -> None:
    for name in ("shard", "offset", "size", "width", "height", "xxh3"):
        columns[name][0], columns[name][1] = columns[name][1], columns[name][0]


@pytest.mark.parametrize("change", [change_labels, change_places])
def test_changed_samples_are_not_delivered(here, change):
    split = copy("data/pets/train", "changed")
    whole = load("split", split)
    change_samples(split, change)
    assert_refused_or_as_whole(load("split", split), whole, "samples.parquet")


@pytest.mark.parametrize("change", [change_labels, change_places])
def test_changed_samples_are_not_trained_on(here, fastpt, change):
    change_samples(copy("data/pets/train", "changed"), change)
    assert fastpt(*TRAIN_CHANGED).refused("changed/samples.parquet")


FORGERIES = {
    "a negative count": lambda manifest: manifest["counts"].update(samples=-5),
    "too many samples": lambda manifest: manifest["counts"].update(samples=4000),
    "a path in a shard's name": lambda manifest: manifest["shards"][0].update(
        name="../../data/pets/train/images/train-00000.beton"  # there, and of the right length
    ),
    "no name": lambda manifest: manifest.pop("name"),
}


@pytest.mark.parametrize("forgery", FORGERIES)
@pytest.mark.parametrize("verb", ["info", "train"])
def test_nonsense_in_a_manifest_is_refused(here, fastpt, verb, forgery):
    forge(copy("data/pets/train", "changed"), FORGERIES[forgery])
    assert fastpt(*(("info", "changed") if verb == "info" else TRAIN_CHANGED)).refused("changed")


def test_an_offset_past_the_end_is_refused(here, fastpt):
    def change(columns: dict) -> None:
        columns["offset"][3] = 10**12

    change_samples(copy("data/pets/train", "changed"), change, sealed=True)
    assert fastpt(*TRAIN_CHANGED).refused("changed")


def test_a_renamed_noise_plan_is_refused(here, fastpt):
    noise = copy("data/pets/train", "changed") / "noise"
    for suffix in ("json", "npy"):
        (noise / f"symmetric-0.25-seed0.{suffix}").rename(noise / f"symmetric-0.25-seed1.{suffix}")
    assert fastpt(*TRAIN_CHANGED, *sets("data.noise=symmetric-0.25-seed1")).refused("symmetric-0.25-seed1")


# --- preparation that was stopped ---------------------------------------------------------------------------------


def draw(first: int) -> None:
    """24 pictures in three classes; those that are there already stay."""
    for i in range(24):
        path = Path(f"drawn/class-{i % 3}/{i:03d}.jpg")
        path.parent.mkdir(parents=True, exist_ok=True)
        content = picture(first + i, size=(60, 44))
        if not path.exists() or path.read_bytes() != content:
            path.write_bytes(content)


def prepare(fastpt: Command, out: str) -> Ran:
    options = ("--source", "drawn", "--name", "pets", "--shard-samples", 8, "--workers", 1, "--out", out)
    return fastpt("prep", "imagefolder", *options)


def stopped(fastpt: Command) -> None:
    """A preparation that ended with an error, since one picture could not be read; all but the manifest is there."""
    draw(0)
    Path("drawn/class-0/000.jpg").write_bytes(b"")
    if not prepare(fastpt, "pets").refused("000.jpg"):
        raise BrokenCase("a picture without a byte was accepted")


def assert_refused_or_as_fresh(fastpt: Command, *names: str) -> None:
    """The same command gives an error that holds the names, or the bytes of a preparation that was never stopped."""
    if not prepare(fastpt, "pets").refused(*names):
        prepare(fastpt, "fresh").must()
        assert digests("pets") == digests("fresh")


@pytest.mark.parametrize("damage", [Path.unlink, lambda shard: os.truncate(shard, shard.stat().st_size - 1)])
def test_damaged_shards_of_a_stopped_preparation_are_made_again(fastpt, damage):
    stopped(fastpt)
    draw(0)  # mended
    for shard in Path("pets/train/images").glob("*.beton"):
        damage(shard)
    assert_refused_or_as_fresh(fastpt, r"\.beton")


def test_a_source_that_changes_while_its_preparation_is_stopped(fastpt):
    stopped(fastpt)
    draw(7000)
    assert_refused_or_as_fresh(fastpt, r"class-\d/\d+\.jpg changed")


# --- training that was stopped ------------------------------------------------------------------------------------


def resume(fastpt: Command) -> Ran:
    return fastpt("train", "recipe.yaml", "--run-dir", "run", "--resume", *LONG)


LONG = sets("schedule.steps=30", "evaluate.every_epochs=100")


def goes_on(fastpt: Command, run: Path, step: int, *names: str) -> bool:
    """Whether it goes on; asserts that it does from a step, or ends with an error and leaves that step's checkpoint."""
    before, kept = trained(run, step), digests(steps(run)[step])
    if resume(fastpt).refused(*names):
        assert digests(steps(run)[step]) == kept
        return False
    assert trained(run, step) == before, "steps were trained again"
    return True


def trained(run: Path, until: int) -> list[dict]:
    """What was recorded up to a step. It holds times, so a step that is trained again has another record."""
    return [event for event in events(run, "train") if event["step"] <= until]


@pytest.mark.parametrize("content", [b"", b"garbage", b"\xff\0", b"step-00000001"])
def test_a_damaged_latest_loses_no_checkpoint(killed, fastpt, content):
    (killed / "checkpoints" / "latest").write_bytes(content)
    goes_on(fastpt, killed, 8, "latest")


@pytest.mark.parametrize("name", ["model.safetensors", "manifest.json"])
def test_a_folder_for_a_file_of_a_checkpoint_is_damage_like_any_other(killed, fastpt, name):
    (steps(killed)[8] / name).unlink()
    (steps(killed)[8] / name).mkdir()
    assert goes_on(fastpt, killed, 6)


def fill_the_disk(bytes_a_file: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_a_file, bytes_a_file))


def test_a_full_disk_at_a_checkpoint_is_one_plain_error(killed):
    ran = process(
        *("train", "recipe.yaml", "--run-dir", "run", "--resume", *LONG), preexec_fn=partial(fill_the_disk, 100_000)
    )
    assert ran.refused("checkpoint")


def test_a_run_goes_on_when_there_is_room_again(killed, fastpt):
    process(
        *("train", "recipe.yaml", "--run-dir", "run", "--resume", *LONG), preexec_fn=partial(fill_the_disk, 100_000)
    )
    assert goes_on(fastpt, killed, 8)


@pytest.mark.parametrize("content", [b": [", b"", b"\xff\xfe"])
def test_a_damaged_recipe_of_a_run_is_named(killed, fastpt, content):
    (killed / "recipe.yaml").write_bytes(content)
    before = digests(killed / "checkpoints")
    assert resume(fastpt).refused("recipe.yaml")
    assert digests(killed / "checkpoints") == before


def test_a_lost_export_of_a_finished_run_is_written_again_or_said_how(finished, fastpt):
    shutil.rmtree(finished / "export")
    before = events(finished, "train")
    if not fastpt("train", "recipe.yaml", "--run-dir", "run", "--resume").refused("export"):
        assert (finished / "export" / "model.safetensors").is_file()
    assert events(finished, "train") == before


@pytest.mark.parametrize(("order", "decoder"), [("random", "cpu"), ("quasi_random", "cpu"), ("quasi_random", "dali")])
def test_several_splits_are_trained_on(here, fastpt, order, decoder):
    splits = [{"path": "data/words/train"}, {"path": "data/more-words/train", "weight": 2}]
    without = {name: value for name, value in CLIP.items() if name != "clip"}
    write_yaml("both.yaml", without, train=splits, val=None, order=order, decoder=decoder)
    fastpt("train", "both.yaml", "--run-dir", "run").worked()


# --- tuning -------------------------------------------------------------------------------------------------------


TUNE = ("tune", "--run", "run", "--suite", "small.yaml", "--lp", "--epochs", 3)


def numbers(results: str) -> list:
    found = json.loads(Path(results).read_text())
    return [found["rows"], found["spectra"]]


def test_files_of_kept_features_that_changed_places(finished, fastpt):
    fastpt(*TUNE, "--out", "results.json").must()
    before = numbers("results.json")
    one, two = sorted(Path("cache").rglob("*.safetensors"))
    for old, new in ((one, Path("aside")), (two, one), (Path("aside"), two)):
        old.rename(new)
    if not fastpt(*TUNE, "--out", "results.json").refused(r"\.safetensors"):
        assert numbers("results.json") == before


@pytest.mark.parametrize("name", ["../../../x", "{here}/elsewhere", "x\0y"])
def test_a_path_for_the_name_of_a_suite_writes_nothing_elsewhere(finished, fastpt, name):
    sets_ = [{"name": "pets", "train": "data/pets/train", "test": "data/pets/val"}]
    write_yaml("small.yaml", {"name": name.format(here=Path.cwd()), "id": sets_})
    before = files_below("..")
    fastpt(*TUNE).refused("name")
    new = files_below("..") - before
    assert not [path for path in new if not path.startswith(("here/run/tune/", "here/cache/"))]


def test_heads_that_were_trained_are_kept_when_tuning_is_killed(monkeypatch):
    """Killed at 70 % of its processor time; the rest then takes less, and the numbers are those of one never killed."""
    write_feature_sets("abc", samples=1500, dim=192)
    tune = ("tune", "--suite", "features.yaml", "--mlp", "--nmtune", "--threads", 1)
    start = processor_seconds(*tune, "--epochs", 1, "--out", "start.json")  # nearly all of it is imports
    full = (*tune, "--epochs", 25, "--out", "results.json")
    work = processor_seconds(*full) - start
    Path("again").mkdir()  # a folder of its own, so that nothing kept by the whole one helps
    for file in [*Path().glob("*.npy"), Path("features.yaml")]:
        shutil.copy(file, "again")
    monkeypatch.chdir("again")
    monkeypatch.setenv("XDG_CACHE_HOME", str(Path("cache").absolute()))
    kill(full, lambda pid: taken(pid) > start + 0.7 * work)
    assert processor_seconds(*full) - start < 0.65 * work
    assert numbers("results.json") == numbers("../results.json")


def write_feature_sets(names: str, samples: int, dim: int) -> None:
    """features.yaml, a suite of sets of ten classes."""
    rng, sets_ = np.random.default_rng(0), []
    centres = rng.normal(size=(10, dim))
    for name in names:
        files = {}
        for part, count in (("train", samples), ("test", 200)):
            labels = np.arange(count) % 10
            files[part] = {"features": f"{name}-{part}.npy", "labels": f"{name}-{part}-labels.npy"}
            np.save(files[part]["features"], (centres[labels] + 2 * rng.normal(size=(count, dim))).astype(np.float32))
            np.save(files[part]["labels"], labels)
        sets_.append({"name": name, **files})
    write_yaml("features.yaml", {"name": "features", "id": sets_})


def processor_seconds(*words: object) -> float:
    """What `fastpt WORDS` takes."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    process(*words).must()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def taken(pid: int) -> float:
    """Processor time of a process so far, seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def kill(words: tuple, due: Callable[[int], bool]) -> None:
    """Start `fastpt WORDS` and kill it with -9 once `due(its pid)`, unless it has ended before."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([*FASTPT, *map(str, words)], env=environment(), **quiet) as started:
        while started.poll() is None and not due(started.pid):
            time.sleep(0.005)
        started.kill()


# --- wrong use ----------------------------------------------------------------------------------------------------

BENCH = ("bench", "data/pets/train", "--size", 32)
PREP = ("prep", "imagefolder", "--source", "drawn", "--name", "x", "--workers", 1)


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (("train", "deep.yaml"), r"deep\.yaml"),
        (("train", "recipe.yaml", "--run-dir", "run", *sets("data.noise=" + "[" * 2000)), r"data\.noise"),
        ((*PREP, "--out", "x", "--max-side", "²"), "--max-side"),
        ((*BENCH, "--seconds", "nan"), "--seconds"),
        ((*BENCH, "--seconds", "inf"), "--seconds"),
        ((*BENCH, "--seconds", 0.1, "--model-rate", "nan"), "--model-rate"),
        ((*BENCH, "--seconds", 0.1, "--model-rate", "inf"), "--model-rate"),
        (("train", "recipe.yaml", "--run-dir", "run", *sets(f"seed={10**23}")), "seed"),
        (("train", "recipe.yaml", "--run-dir", "run", *sets(f"schedule.steps={10**30}")), "steps"),
        (("train", "recipe.yaml", "--run-dir", "run", *sets(f"data.size={10**12}")), "data.size"),
        (("tune", "--suite", "small.yaml", "--num-seeds", 10**20), "--num-seeds"),
        (("tune", "--suite", "small.yaml", "--threads", 10**20), "--threads"),
        ((*BENCH, "--batch-size", 10**20), "--batch-size"),
        ((*PREP, "--out", ""), "--out"),
        (("train", "recipe.yaml", "--run-dir", "", *sets("schedule.steps=2")), "--run-dir"),
        (("materialize", "data/pets/train", "--noise", "clean", "--format", "ffcv", "--out", ""), "--out"),
    ],
    ids=lambda value: None if isinstance(value, tuple) else value,
)
def test_what_makes_no_sense_is_refused_and_writes_nothing(here, words, name):
    draw(0)
    Path("deep.yaml").write_text("a: " + "[" * 3000 + "]" * 3000)
    write_yaml("recipe.yaml", RECIPE)
    before = files_below(".")
    ran = process(*words, limit=30)
    assert ran.refused(name)
    assert not {path for path in files_below(".") - before if not path.startswith("run/")}


def shell(line: str, **options) -> Ran:
    """A line for bash; "$@" in it is fastpt."""
    return command("bash", "-c", line, "bash", *FASTPT, **options)


def test_training_with_stdout_closed(here):
    if not shell('"$@" train recipe.yaml --run-dir run >&-').refused("stdout|standard output"):
        assert Path("run/export").is_dir()


@pytest.mark.parametrize("words", ["info data/pets", "verify data/pets/train", "--help", "info --help", "--version"])
def test_output_into_a_full_disk(here, words):
    assert shell(f'"$@" {words} >/dev/full').refused("[Nn]o space|stdout|standard output")


def test_preparation_with_stderr_closed(here):
    draw(0)
    shell('"$@" prep imagefolder --source drawn --name pets --workers 1 --out made 2>&-').worked()
    assert Path("made/train/dataset.json").is_file()


def test_a_pipe_that_is_closed_ends_a_command_quietly(here):
    shell('"$@" info data/pets 2>told | head -c 0; cat told').worked()


NOBODY = ("unshare", "--user", "--map-user=12345", "env", "-u", "HOME", "-u", "XDG_CACHE_HOME")


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare")
def test_training_on_captions_as_a_user_without_a_home(here):
    if command(*NOBODY, "true").code:
        pytest.skip("namespaces of users are not allowed here")
    ran = command(*NOBODY, *FASTPT, "train", "clip.yaml", "--run-dir", "run")
    if not ran.refused("XDG_CACHE_HOME"):
        ran.worked()


def test_an_ffcv_file_of_others_where_home_is_a_file(here):
    Path("file").touch()
    beton = min(Path("data/pets/train/images").glob("*.beton")).absolute()
    code = "import sys; from fastpt import Dataset; from fastpt.errors import FastptError\n"
    code += "try: Dataset.from_ffcv(sys.argv[1])\nexcept FastptError as error: sys.exit(f'Error: {error}')"
    home = ("env", "-u", "XDG_CACHE_HOME", f"HOME={Path('file').absolute()}")
    command(*home, sys.executable, "-c", code, beton).refused("file", "XDG_CACHE_HOME|HOME|cache")
