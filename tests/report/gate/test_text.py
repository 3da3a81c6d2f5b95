"""The gate's JUnit XML and Markdown hold whatever a name holds."""

from __future__ import annotations

import html.parser
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench.analysis.gate.judge import Check, GateResult, SequenceChange
from bench.report.gate.junit import is_junit, write_junit
from bench.report.gate.text import summary, write_markdown

NASTY = "<script>alert(1)</script> =cmd|' /C calc'!A0 a|b\nnext `code` ]]> &amp; \x00\x1b[2J\ud800\uffff \u202e"


def result(*checks: Check, inconclusive: str = "pass", warnings: tuple[str, ...] = ()) -> GateResult:
    return GateResult(("main",), (NASTY,), checks, inconclusive, warnings)  # type: ignore[arg-type]


def check(verdict: str, codec: str = "x265", **fields: object) -> Check:
    return Check(codec, "bd_rate(psnr_y)>0.5%", verdict, f"because {NASTY}", **fields)  # type: ignore[arg-type]


WORSE = SequenceChange("", NASTY, 1.25, None, False)
EVERY = (
    check("fail", NASTY, change=1.25, low=0.5, high=2.0, unit="%", per_sequence=(WORSE,)),
    check("error", per_sequence=(SequenceChange("uvg", "Beauty", None, NASTY, False),)),
    check("inconclusive", change=0.75, low=-0.5, high=2.0, unit="%", notes=(NASTY,)),
    check("pass", change=0.0, low=0.0, high=0.0, unit="%", exact=True),
)  # fmt: skip


def read(path: Path) -> ElementTree.Element:
    (suite,) = ElementTree.parse(path).getroot()
    assert suite.tag == "testsuite"
    return suite


@pytest.mark.parametrize(("inconclusive", "third", "failures"), [("pass", "skipped", 1), ("fail", "failure", 2)])
def test_each_check_is_a_test_case_of_its_kind(tmp_path: Path, inconclusive: str, third: str, failures: int) -> None:
    path = tmp_path / "new" / "gate.xml"
    write_junit(path, result(*EVERY, inconclusive=inconclusive))
    suite = read(path)
    cases = suite.findall("testcase")
    assert [[child.tag for child in case] for case in cases] == [["failure"], ["error"], [third], []]
    counts = {name: int(suite.attrib[name]) for name in ("tests", "failures", "errors", "skipped")}
    assert counts == {"tests": 4, "failures": failures, "errors": 1, "skipped": 2 - failures}
    assert "because <script>" in cases[0][0].attrib["message"]
    assert "+1.25 %" in (cases[0][0].text or "")


def test_xml_has_no_character_that_xml_cannot_hold(tmp_path: Path) -> None:
    write_junit(tmp_path / "gate.xml", result(*EVERY, warnings=(NASTY,)))
    text = (tmp_path / "gate.xml").read_text(encoding="utf-8")
    read(tmp_path / "gate.xml")
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]", text)
    assert "<script" not in text


def test_required_attributes_of_the_schemas_are_there(tmp_path: Path) -> None:
    """Those of Ant's schema, the stricter of the two: the order of elements, and what may not be left out."""
    write_junit(tmp_path / "gate.xml", result(*EVERY))
    suite = read(tmp_path / "gate.xml")
    assert {"name", "timestamp", "hostname", "tests", "failures", "errors", "time", "package", "id"} <= set(
        suite.attrib
    )
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", suite.attrib["timestamp"])
    tags = [child.tag for child in suite]
    assert tags == ["properties", *["testcase"] * 4, "system-out", "system-err"]
    for case in suite.findall("testcase"):
        assert set(case.attrib) == {"classname", "name", "time"}
        # milliseconds: Jenkins' schema takes no more digits
        assert re.fullmatch(r"\d+\.\d{3}", case.attrib["time"])
        for child in case:
            assert set(child.attrib) == ({"message"} if child.tag == "skipped" else {"message", "type"})


def test_a_gate_without_checks_is_a_test_in_error(tmp_path: Path) -> None:
    write_junit(tmp_path / "gate.xml", result())
    suite = read(tmp_path / "gate.xml")
    assert (suite.attrib["tests"], suite.attrib["errors"]) == ("1", "1")
    assert "failed: there is nothing to judge" in summary(result())


class Tags(html.parser.HTMLParser):
    """Which tags a text opens and closes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.opened: list[str] = []
        self.closed: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.opened.append(tag)

    def handle_endtag(self, tag: str) -> None:
        self.closed.append(tag)


def test_markdown_has_no_tag_but_its_own_and_every_row_its_columns() -> None:
    text = summary(result(*EVERY, warnings=(NASTY,)))
    tags = Tags(text)
    assert set(tags.opened) == set(tags.closed) == {"details", "summary"}
    assert tags.opened.count("details") == tags.closed.count("details") == 5
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {7}
    assert len(rows) == 2 + 3 + 2 + 1
    assert "\x1b" not in text and "\u202e" not in text


def test_what_blocks_comes_first_and_what_passed_is_folded() -> None:
    text = summary(result(*reversed(EVERY)))
    assert text.startswith("## Gate failed: 1 failed, 1 not comparable, 1 inconclusive, 1 passed\n")
    assert text.index("❌ fail") < text.index("❌ error") < text.index("⚠️ inconclusive") < text.index("<details>")
    assert text.index("<details>") < text.index("✅ pass")


def test_markdown_stays_under_a_megabyte_and_says_what_is_left_out(tmp_path: Path) -> None:
    many = tuple(
        check(verdict, f"codec{number}", per_sequence=(SequenceChange("", "s" * 300, 1.0, None, False),) * 20)
        for number in range(2000)
        for verdict in ("fail", "pass")
    )
    write_markdown(tmp_path / "summary.md", result(*many, warnings=("w" * 300,) * 100))
    size = (tmp_path / "summary.md").stat().st_size
    text = (tmp_path / "summary.md").read_text(encoding="utf-8")
    assert 900_000 < size < 1_000_000
    assert "parts do not fit" in text
    tags = Tags(text)
    assert tags.opened.count("details") == tags.closed.count("details")


def test_a_table_too_long_is_cut_between_rows() -> None:
    text = summary(result(*(check("fail", f"codec{number}") for number in range(500))), most=20_000)
    assert len(text.encode()) <= 20_000
    rows = [line for line in text.splitlines() if line.startswith("| ❌")]
    assert len(rows) > 20
    assert all(len(re.findall(r"(?<!\\)\|", row)) == 7 for row in rows)


def test_a_file_of_the_gate_is_known_from_any_other(tmp_path: Path) -> None:
    path = tmp_path / "gate.xml"
    assert is_junit(path)
    path.touch()
    assert is_junit(path)
    write_junit(path, result(*EVERY))
    assert is_junit(path)
    for content in ("notes", '<testsuites><testsuite name="mine"/></testsuites>'):
        path.write_text(content)
        assert not is_junit(path)


def test_a_summary_follows_what_others_wrote_and_replaces_an_earlier_one(tmp_path: Path) -> None:
    path = tmp_path / "summary.md"
    for _ in range(2):
        write_markdown(path, result(*EVERY))
        assert path.read_text() == summary(result(*EVERY))
    path.write_text("# Coverage\n92 %\n")
    write_markdown(path, result(*EVERY))
    assert path.read_text() == "# Coverage\n92 %\n\n" + summary(result(*EVERY))
