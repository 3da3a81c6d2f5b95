"""Two decoded frames against each other, as pictures."""

from __future__ import annotations

from bench.report.site.data_script import write_script
from bench.report.site.pictures import write_pictures
from bench.report.site.section import Report, Section


def _write(report: Report) -> None:
    (report.out / "pictures").mkdir()
    shown = write_pictures(report.measured, report.cells, report.folder, report.pictures)
    write_script(report.data, "pictures", shown)


SECTION = Section("Frames", order=2, write=_write)
