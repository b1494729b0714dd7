"""The report: a campaign as one HTML file to look at, without a network and without a server.

    from analysis.report import write_report
    write_report(memo.open("campaigns/demo"), Path("report.html"))

The page comes from `template.html`, `report.css` and the scripts of this folder; its Content-Security-Policy allows
these by their hashes and nothing else. Text of the corpus reaches it in two ways, both through `memo.text`: into the
page by a template that escapes, and as packed data, which the script only ever sets as text. Cost: see
tests/benchmarks/test_report.py.

A table of one's own, in 300 lines, because those that are kept do not fit a page of 100,000 documents (tried in
Chromium): DataTables takes 4.0 s to open it with every column set to text and 210 to 250 MB, 1.0 s to change the rule,
adds 0.7 MB to each report, and takes a cell for HTML where a column does not say otherwise. Tabulator is quick enough,
but on PyPI only inside packages that bring a web server with them.
"""

from analysis.report.page import render, write_report

__all__ = ["render", "write_report"]
