"""What a report wrote before goes with the next one; what is others' stays."""

from fastpt.report.out_files import replace_files


def names(folder):
    return {path.name for path in folder.iterdir()}


def test_files_of_the_report_before_go(tmp_path):
    folder = tmp_path / "page_files"
    assert replace_files(folder, {"a.csv": "1", "b.svg": "2"}) == []
    (folder / "mine.txt").write_text("of others")
    assert replace_files(folder, {"a.csv": "3"}) == []
    assert names(folder) == {"a.csv", "files.json", "mine.txt"}
    assert (folder / "a.csv").read_text() == "3"


def test_a_file_that_was_changed_since_stays_and_is_told(tmp_path):
    folder = tmp_path / "page_files"
    replace_files(folder, {"a.tex": "1", "b.tex": "2"})
    (folder / "a.tex").write_text("by hand")
    assert replace_files(folder, {"c.tex": "3"}) == [
        f"{folder}/a.tex is of a report before, was changed since, and stays"
    ]
    assert names(folder) == {"a.tex", "c.tex", "files.json"}


def test_a_page_without_files_leaves_none_of_the_page_before(tmp_path):
    folder = tmp_path / "page_files"
    replace_files(folder, {"a.tex": "1"})
    replace_files(folder, {})
    assert not folder.exists()
    replace_files(folder, {})
    assert not folder.exists()


def test_nothing_outside_the_folder_is_deleted(tmp_path):
    folder = tmp_path / "page_files"
    replace_files(folder, {"a.tex": "1"})
    (tmp_path / "x").write_text("1")
    (folder / "files.json").write_text('{"../x": "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"}')
    replace_files(folder, {"a.tex": "1"})
    assert (tmp_path / "x").exists()
