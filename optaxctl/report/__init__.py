"""Recorded runs as pages and figures; figures need `pip install "optaxctl[plot]"`."""

from optaxctl.report._compare import Comparison, compare
from optaxctl.report._figure import plot
from optaxctl.report._lr_find import lr_find
from optaxctl.report._run import html
from optaxctl.report._schedules import schedule

__all__ = ["Comparison", "compare", "html", "lr_find", "plot", "schedule"]
