from ops.demo.__main__ import closing


def test_the_last_words_say_what_was_seen() -> None:
    assert closing({"delivered": 14}, 21.26) == (
        "All 14 files arrived once and whole at both destinations, and what we held of them is"
        " destroyed: seen from outside, in 21.3 s."
    )
