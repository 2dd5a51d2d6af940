"""Browser reports of predictions: a folder with an HTML page that opens from disk, without a server or network."""

from seamseg.report.material import ReportMaterial, open_material
from seamseg.report.write import write_report

__all__ = ["ReportMaterial", "open_material", "write_report"]
