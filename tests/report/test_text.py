from fastpt.report.text import duration, listing, rate


def test_numbers_in_words():
    assert rate(0.05) == "5\u00a0%"
    assert rate(0.125) == "12.5\u00a0%"
    assert rate(None) == "unknown rate"
    assert [duration(s) for s in (None, 5.25, 65, 3725)] == [
        "–",
        "5.2\u00a0s",
        "1\u00a0min 5\u00a0s",
        "1\u00a0h 2\u00a0min",
    ]
    assert [listing(list(words)) for words in ("", "a", "ab", "abc")] == ["", "a", "a and b", "a, b and c"]
