"""Figures of what was found; they need `pip install "optaxctl[plot]"`."""

from optaxctl.report._lr_find import lr_find
from optaxctl.report._schedules import schedule

__all__ = ["lr_find", "schedule"]
