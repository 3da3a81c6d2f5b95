"""vcbench: run video codecs fairly, measure, compare."""

from __future__ import annotations

__version__ = "0.1.0"
