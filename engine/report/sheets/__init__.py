"""The sheets of a run: its rows, its findings, and its cases."""

from engine.report.sheets.cases import CaseSheet
from engine.report.sheets.findings import FindingSheet, name_value_columns
from engine.report.sheets.rows import RowSheet

__all__ = ["CaseSheet", "FindingSheet", "RowSheet", "name_value_columns"]
