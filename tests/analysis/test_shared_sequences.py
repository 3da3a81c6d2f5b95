"""Which sequences a table is averaged over."""

from bench.analysis.shared_sequences import averaged_sequences, common_sequences


def test_all_that_have_most_of_the_sequences_share_those_they_all_have() -> None:
    owned = {"a": "stuv", "b": "tuv", "c": "suv"}
    assert common_sequences(owned) == (frozenset("uv"), ("a", "b", "c"))
    assert set(averaged_sequences(owned).values()) == {frozenset("uv")}


def test_one_that_lacks_most_of_them_keeps_its_own_and_takes_nothing_from_the_others() -> None:
    owned = {"a": "stuv", "rare": "s", "b": "stuv"}
    assert averaged_sequences(owned) == {"a": frozenset("stuv"), "b": frozenset("stuv"), "rare": frozenset("s")}


def test_nothing_has_nothing_in_common() -> None:
    assert common_sequences({"a": "", "b": ""}) == (frozenset(), ())
    assert averaged_sequences({"a": "", "b": "st"}) == {"a": frozenset(), "b": frozenset("st")}
