from fastpt.progress import Progress


def test_the_rate_of_a_job_that_goes_on_is_that_of_what_it_does(monkeypatch, capsys):
    clock = iter([0.0, 5.0, 20.0, 20.0])
    monkeypatch.setattr("fastpt.progress.time.monotonic", lambda: next(clock))
    progress = Progress("prep", "pictures")
    progress(1_200_000, 2_000_000)
    progress(1_200_400, 2_000_000)
    assert capsys.readouterr().err == "prep: 1,200,400 of 2,000,000 pictures, 20 a second\n"
