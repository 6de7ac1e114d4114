"""report.html: one page for people, made from the files that were written for machines.

`page.html_report` is the entrance. Everything here is a pure function of decoded documents; nothing is computed from
captures again.
"""
