"""The sheets of a run: its rows, its findings, its cases, and summaries of them."""

from engine.report.sheets.cases import CaseSheet
from engine.report.sheets.findings import FindingSheet, name_value_columns
from engine.report.sheets.rows import RowSheet
from engine.report.sheets.summaries import SummaryRow, SummarySheet

__all__ = [
    "CaseSheet",
    "FindingSheet",
    "RowSheet",
    "SummaryRow",
    "SummarySheet",
    "name_value_columns",
]
