"""The gate's checks as JUnit XML, the form in which CI services show test results."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree as Xml

from bench.analysis.gate.judge import Check, GateResult
from bench.report.escape import printable
from bench.report.gate.text import change_text, interval_text

SUITE = "vcbench gate"

# What XML 1.0 cannot hold in any form: surrogates, and two code points of the last plane.
_NO_XML = re.compile("[\ud800-\udfff\ufffe\uffff]")


def write_junit(path: Path, result: GateResult) -> None:
    """Write one test case a check.

    A check that failed is a ``failure``; one that could not be judged an ``error``; an inconclusive one ``skipped``, or
    a ``failure`` where it blocks. Without any check there is one test case, in error: an empty suite reads as passed.
    Valid against the schemas of Jenkins' xUnit plug-in (junit-10) and of Ant (windyroad).
    """
    cases = [_case(result, check) for check in result.checks] or [_empty()]
    kinds = [next((child.tag for child in case), "passed") for case in cases]
    suite = Xml.Element(
        "testsuite",
        {
            "name": SUITE,
            "package": "vcbench",
            "id": "0",
            "hostname": "localhost",
            "timestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S"),
            "tests": str(len(cases)),
            "failures": str(kinds.count("failure")),
            "errors": str(kinds.count("error")),
            "skipped": str(kinds.count("skipped")),
            "time": f"{sum(check.seconds for check in result.checks):.3f}",
        },
    )
    properties = Xml.SubElement(suite, "properties")
    sides = (("baseline", result.baseline), ("candidate", result.candidate))
    for name, folders in sides:
        for folder in folders:
            Xml.SubElement(properties, "property", {"name": name, "value": _text(folder)})
    suite.extend(cases)
    Xml.SubElement(suite, "system-out").text = ""
    Xml.SubElement(suite, "system-err").text = "\n".join(map(_text, result.warnings))
    root = Xml.Element("testsuites")
    root.append(suite)
    Xml.indent(root)
    path.parent.mkdir(parents=True, exist_ok=True)
    Xml.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)


def is_junit(path: Path) -> bool:
    """Whether `write_junit` may write here: nothing is there, or an empty file, a device, or what it wrote before."""
    if not path.is_file():
        return True
    with path.open("rb") as stream:
        beginning = stream.read(400)
    return not beginning or f'<testsuite name="{SUITE}"'.encode() in beginning


def _case(result: GateResult, check: Check) -> Xml.Element:
    case = Xml.Element(
        "testcase",
        {"classname": _text(f"vcbench.{check.codec}"), "name": _text(check.rule), "time": f"{check.seconds:.3f}"},
    )
    blocks = result.blocks(check)
    tag = {"fail": "failure", "error": "error", "inconclusive": "failure" if blocks else "skipped"}.get(check.verdict)
    if tag is not None:
        told = Xml.SubElement(case, tag, {"message": _text(check.reason)})
        if tag != "skipped":  # Ant's schema gives it no type
            told.set("type", check.verdict)
        told.text = "\n".join(map(_text, _lines(check)))
    return case


def _empty() -> Xml.Element:
    case = Xml.Element("testcase", {"classname": "vcbench", "name": "anything to judge", "time": "0.000"})
    message = "neither side has a cell to judge"
    Xml.SubElement(case, "error", {"message": message, "type": "error"}).text = message
    return case


def _lines(check: Check) -> list[str]:
    lines = [f"change: {change_text(check)}, interval: {interval_text(check)}", check.reason]
    for item in check.per_sequence:
        value = item.reason if item.change is None else f"{item.change:+.4g} {check.unit}"
        lines.append(f"{item.sequence}: {value}")
    return lines + list(check.notes)


def _text(text: str) -> str:
    return _NO_XML.sub("\ufffd", printable(text))
