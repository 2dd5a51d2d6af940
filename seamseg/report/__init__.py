"""Predictions as a folder of pages for a browser, that opens from disk: no server, no network."""

from seamseg.report.material import ReportMaterial, open_material
from seamseg.report.write import write_report

__all__ = ["ReportMaterial", "open_material", "write_report"]
