import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from datasets_prep import convert
from datasets_prep.convert import prepare
from datasets_prep.listing import Found
from datasets_prep.shard import Options, ShardJob
from fastpt.errors import FastptError
from fastpt.files import atomic_write
from tests.conftest import made_up, picture, prepared


def content(folder: Path) -> dict[str, str]:
    """Every file below `folder`, by its hash."""
    files = (file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.mark.parametrize("format", ["ffcv", "wds"])
def test_the_result_does_not_depend_on_the_number_of_workers(tmp_path, format):
    one = prepared(tmp_path / "one", made_up(30, captions=True), [0.2], workers=1, shard_samples=8, format=format)
    three = prepared(tmp_path / "three", made_up(30, captions=True), [0.2], workers=3, shard_samples=8, format=format)
    assert content(one.path) == content(three.path)
    assert len(one.manifest["shards"]) == 4


def test_only_the_split_remains(tmp_path):
    prepared(tmp_path, made_up(10), [0.5])
    assert sorted(content(tmp_path)) == [
        "train/dataset.json",
        "train/images/train-00000.beton",
        "train/noise/symmetric-0.5-seed0.json",
        "train/noise/symmetric-0.5-seed0.npy",
        "train/rejected.jsonl",
        "train/samples.parquet",
    ]


def test_what_another_process_writes_beside_the_pictures_stays(tmp_path):
    there = prepared(tmp_path, made_up(4))
    (there.path / "noise").mkdir()
    with atomic_write(there.path / "noise/mine.npy") as file:  # as a `fastpt noise` that is at work
        prepared(tmp_path, made_up(4))
        file.write(b"mine")
    assert (there.path / "noise/mine.npy").read_bytes() == b"mine"


def test_a_shard_that_a_killed_job_was_writing_goes(tmp_path):
    there = prepared(tmp_path, made_up(4))
    (there.path / "images/.train-00000.beton.1.fastpt.tmp").touch()
    prepared(tmp_path, made_up(4))
    assert [path.name for path in there.path.glob("images/.*")] == []


KILLED_JOB = """
import sys, time
from pathlib import Path
from tests.conftest import Pictures, made_up, prepared

class Slow(Pictures):
    def __call__(self, i):
        time.sleep(0.01)
        return super().__call__(i)

prepared(Path(sys.argv[1]), made_up(120, read=Slow()), [0.2], workers=2, shard_samples=10)
"""


@pytest.mark.parametrize("moment", [0.2, 0.5])
def test_a_job_killed_while_writing_goes_on_and_ends_byte_identical(tmp_path, moment):
    whole = prepared(tmp_path / "whole", made_up(120), [0.2], shard_samples=10)
    job = subprocess.Popen([sys.executable, "-c", KILLED_JOB, str(tmp_path / "killed")], start_new_session=True)
    parts = tmp_path / "killed/train/.parts"
    while len(list(parts.glob("*.parquet"))) < moment * 12:
        assert job.poll() is None, "the job ended before it could be killed"
        time.sleep(0.005)
    job.send_signal(signal.SIGKILL)
    job.wait()
    _wait_until_no_worker_is_left(job.pid)
    assert not (tmp_path / "killed/train/dataset.json").exists()
    resumed = prepared(tmp_path / "killed", made_up(120), [0.2], workers=3, shard_samples=10)
    assert content(resumed.path) == content(whole.path)


def _wait_until_no_worker_is_left(session: int) -> None:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            os.killpg(session, 0)
        except ProcessLookupError:
            return
        time.sleep(0.02)
    raise AssertionError("workers outlived their parent")


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 1
    file.write_bytes(content)


DAMAGE = {
    "missing": Path.unlink,
    "cut": lambda file: os.truncate(file, file.stat().st_size - 1),
    "zeros at the end": lambda file: file.write_bytes(file.read_bytes()[:-40] + bytes(40)),
    "a flipped bit": flip,
    "empty": lambda file: file.write_bytes(b""),
}


@pytest.mark.parametrize(
    ("store", "files"),
    [
        ("ffcv", "images/*.beton"),
        ("ffcv", ".parts/*0.parquet"),
        ("wds", "images/*.tar"),
        ("wds", "images/*.idx"),
        ("wds", ".parts/*0.parquet"),
    ],
)
@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_what_a_stopped_job_left_is_made_again_where_it_is_not_as_it_was_written(
    tmp_path, monkeypatch, store, files, damage
):
    def prepare(out: str) -> Path:
        return prepared(tmp_path / out, made_up(20), shard_samples=5, format=store).path

    with monkeypatch.context() as stop:
        stop.setattr(convert, "_finish", lambda *_: signal.raise_signal(signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            prepare("stopped")
    damage(min((tmp_path / "stopped/train").glob(files)))
    assert content(prepare("stopped")) == content(prepare("whole"))


def test_a_killed_worker_is_noticed_and_its_shard_made_again(tmp_path):
    marker = tmp_path / "died"

    def deadly(i):
        if i == 7 and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return picture(i)

    dataset = prepared(tmp_path / "data", made_up(20, read=deadly), workers=2, shard_samples=5)
    assert marker.exists()
    assert len(dataset) == 20


def test_a_shard_that_kills_every_worker_fails_by_name(tmp_path):
    def deadly(i):
        if i == 7:
            os.kill(os.getpid(), signal.SIGKILL)
        return picture(i)

    with pytest.raises(
        FastptError, match=r"3 times while making train-0000\d\.beton; .* died \(SIGKILL\) at picture pictures/0007"
    ):
        prepared(tmp_path, made_up(20, read=deadly), workers=1, shard_samples=5)


def test_unusable_pictures_are_named_and_nothing_is_silent(tmp_path):
    def missing(i):
        if i == 3:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory")
        return {5: b"", 6: picture(6)[:300]}.get(i, picture(i))

    dataset = prepared(tmp_path, made_up(20, read=missing, rejected=(("lost", "no caption"),)), max_rejects=0.5)
    rejected = [json.loads(line) for line in (dataset.path / "rejected.jsonl").read_text().splitlines()]
    assert {entry["key"] for entry in rejected} == {"lost", *(f"pictures/{i:04d}.jpg" for i in (3, 5, 6))}
    assert all(entry["reason"] for entry in rejected)
    assert len(dataset) == 17
    assert dataset.manifest["counts"]["rejected"] == 4


LARGE = picture(1, icc_profile=bytes(8 << 20))  # with its profile more than a page of an FFCV file


def test_a_picture_that_no_page_of_an_ffcv_file_holds_is_left_out_by_name(tmp_path):
    split = made_up(3, special={1: LARGE})
    told = r"8,\d{3},\d{3} bytes, and a page of an FFCV file 8,388,608: --format wds or a smaller --max-side keeps it"
    with pytest.raises(FastptError, match=rf"1 of 3 samples cannot be used \(pictures/0001\.jpg: .*{told}"):
        prepared(tmp_path / "ffcv", split)
    (rejected,) = convert.read_all(Found.only([split]), Options(), 1, lambda *_: None)["train"]
    assert rejected.key == "pictures/0001.jpg"
    kept = prepared(tmp_path / "ffcv", split, max_rejects=0.5)
    assert "pictures/0001.jpg" not in kept.keys
    assert len(prepared(tmp_path / "wds", split, format="wds")) == 3


def test_a_shard_is_not_made_again_for_a_picture_that_no_page_holds(tmp_path):
    job = ShardJob(made_up(2, special={1: LARGE}), np.arange(2), 0, tmp_path, Options())
    for folder in ("images", ".parts"):
        (tmp_path / folder).mkdir()
    job.make(lambda: None)
    assert job.is_done()


def test_too_many_unusable_pictures_end_the_job_until_told_otherwise(tmp_path):
    split = made_up(20, special={4: b""})
    with pytest.raises(FastptError, match=r"1 of 20 samples cannot be used \(pictures/0004\.jpg: the file is empty\)"):
        prepared(tmp_path, split, max_rejects=0.01)
    assert len(prepared(tmp_path, split, max_rejects=0.05)) == 19


def test_what_was_mended_in_the_source_is_seen_when_the_job_goes_on(tmp_path):
    damaged = made_up(20, special={4: b"", 9: b"rubbish"})
    with pytest.raises(FastptError, match="2 of 20"):
        prepared(tmp_path / "data", damaged, shard_samples=5)
    whole = prepared(tmp_path / "whole", made_up(20), shard_samples=5)
    assert content(prepared(tmp_path / "data", made_up(20), shard_samples=5).path) == content(whole.path)


def test_noise_is_the_same_in_another_format_size_and_order(tmp_path):
    one = prepared(tmp_path / "one", made_up(40, captions=True), [0.3])
    two = prepared(tmp_path / "two", made_up(40, captions=True), [0.3], format="wds", order="source", shard_samples=7)
    noise = [dict(zip(dataset.keys, dataset.targets(0.3).tolist(), strict=True)) for dataset in (one, two)]
    assert noise[0] == noise[1]
    assert one.keys != two.keys


def test_running_a_finished_job_again_adds_only_new_noise(tmp_path):
    prepared(tmp_path, made_up(20), [0.2])
    before = content(tmp_path)
    dataset = prepared(tmp_path, made_up(20), [0.2, 0.4])
    after = content(tmp_path)
    assert set(after) - set(before) == {f"train/noise/symmetric-0.4-seed0.{suffix}" for suffix in ("json", "npy")}
    assert all(after[name] == before[name] for name in before)
    assert np.isclose(dataset.noise_plan(0.4).realised_rate, 0.4)


@pytest.mark.parametrize(
    ("change", "named"), [({"seed": 1}, "seed was 0, now 1"), ({"format": "wds"}, "format was ffcv")]
)
def test_other_options_into_the_same_folder_are_refused(tmp_path, change, named):
    prepared(tmp_path, made_up(10))
    with pytest.raises(FastptError, match=named):
        prepared(tmp_path, made_up(10), **change)


def test_a_second_writer_is_refused(tmp_path):
    job = prepare(Found.only([made_up(5)]), tmp_path, "a", Options(), [], 1, 0.0, lambda *_: None)
    next(job)  # still inside: the first split is handed over, the lock is held
    with pytest.raises(FastptError, match="another process is writing"):
        prepared(tmp_path, made_up(5))
    assert list(job) == []


def test_a_full_disk_is_told_and_the_same_call_goes_on(tmp_path, monkeypatch):
    def full(path):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(convert.manifest, "file_entry", full)
        with pytest.raises(FastptError, match=r"No space left on device.*goes on where it stopped"):
            prepared(tmp_path, made_up(20), shard_samples=5)
    whole = prepared(tmp_path / "whole", made_up(20), shard_samples=5)
    assert content(prepared(tmp_path, made_up(20), shard_samples=5).path) == content(whole.path)


def test_more_shards_than_the_table_can_number_are_refused_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setattr(convert, "MOST_SHARDS", 4)
    told = r"40 samples would be 14 shards, and a split has at most 4\. Give --shard-samples 10 or more\."
    with pytest.raises(FastptError, match=told):
        prepared(tmp_path, made_up(40), shard_samples=3)
    assert not (tmp_path / "train").exists()
    assert len(prepared(tmp_path, made_up(40), shard_samples=10)) == 40


def test_a_foreign_folder_is_not_written_into(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "thesis.txt").write_text("mine")
    with pytest.raises(FastptError, match="is no prepared split"):
        prepared(tmp_path, made_up(5))
    assert sorted(content(tmp_path / "train")) == ["thesis.txt"]


@pytest.mark.parametrize("damage", ["samples.parquet", "images/train-00000.beton"])
def test_a_finished_split_that_lost_a_file_is_not_called_done(tmp_path, damage):
    prepared(tmp_path, made_up(5))
    (tmp_path / "train" / damage).unlink()
    with pytest.raises(FastptError, match=f"{Path(damage).name} is missing"):
        prepared(tmp_path, made_up(5))


def test_a_source_that_changed_since_is_told_apart_from_other_options(tmp_path):
    prepared(tmp_path, made_up(5))
    with pytest.raises(FastptError, match="the source has changed since"):
        prepared(tmp_path, made_up(6))


def test_a_source_of_the_same_names_with_other_pictures_is_refused(tmp_path):
    prepared(tmp_path, made_up(30))
    others = {i: picture(100 + i) for i in range(30)}
    with pytest.raises(FastptError, match=r"of the same names: of 8 .*, 8 are not .* such as pictures/0000\.jpg"):
        prepared(tmp_path, made_up(30, special=others))
    larger = {29: picture(29, (96, 64))}
    with pytest.raises(FastptError, match=r"of 8 .*, 1 are not .* such as pictures/0029\.jpg"):
        prepared(tmp_path, made_up(30, special=larger))


def test_pictures_that_would_be_encoded_otherwise_are_told(tmp_path, caplog):
    before, now = ({0: picture(seed, format="PNG"), 1: b"rubbish"} for seed in (1, 2))
    kept = prepared(tmp_path, made_up(9, special=before), max_rejects=1)
    assert prepared(tmp_path, made_up(9, special=before), max_rejects=1).images_id == kept.images_id
    assert not caplog.messages
    assert prepared(tmp_path, made_up(9, special=now), max_rejects=1).images_id == kept.images_id
    (told,) = caplog.messages
    assert "1 of 7 pictures that were looked at would be encoded otherwise now, such as pictures/0000.jpg" in told


def test_no_lock_is_left_when_a_job_fails(tmp_path):
    with pytest.raises(FastptError, match="the first for this reason: the file is empty"):
        prepared(tmp_path, made_up(1, special={0: b""}), max_rejects=1.0)
    assert not (tmp_path / ".lock").exists()


def test_an_interrupt_says_that_the_same_command_goes_on(tmp_path):
    command = [sys.executable, "-c", "from fastpt.cli import main; main()", "prep", "demo", "--out", str(tmp_path)]
    job = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    while not (tmp_path / "train/.parts/settings.json").exists():
        assert job.poll() is None, "the job ended before it could be interrupted"
        time.sleep(0.02)
    time.sleep(0.2)
    job.send_signal(signal.SIGINT)
    _, said = job.communicate(timeout=30)
    assert job.returncode == 130
    assert said.strip().endswith("Stopped. The same command goes on where it stopped.")
    assert not (tmp_path / "train/dataset.json").exists()
    _wait_until_no_worker_is_left(job.pid)
