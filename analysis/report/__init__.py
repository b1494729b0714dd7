"""The report: a campaign as one HTML file to look at, without a network and without a server.

    from analysis.report import write_report
    write_report(memo.open("campaigns/demo"), Path("report.html"))

The page comes from `template.html`, `report.css` and the scripts of this folder; its Content-Security-Policy allows
these by their hashes and nothing else. Text of the corpus reaches it in two ways, both through `memo.text`: into the
page by a template that escapes, and as packed data, which the script only ever sets as text. Cost: see
tests/benchmarks/test_report.py.

The table is our own, small one (table.js), because those that are kept do not fit a page of 100,000 documents. Tried
in Chromium under this policy, 100,000 rows of 7 columns on two cores: DataTables (which itables brings) takes 4.0 s to
open it when every column is set to text, 250 MB of heap, 1.0 s for another rule, adds 0.7 MB to each report, and takes
a cell for HTML where a column does not say otherwise. Tabulator is quick enough (0.5 s, sorted in 0.8 s), but comes
from PyPI only inside packages that need a web server. Ours opens in 1.2 s and sorts in 0.1 s, text in 0.8 s.
"""

from analysis.report.page import render, write_report

__all__ = ["render", "write_report"]
