"""Everything that stores hold as one folder of pages for any host: an index, leaderboards, history, and each report.

`stored` divides the rows of a store into groups that one report can show, without their suite files; `pages` and
`history` make the pages of them in a common `layout`, and `write` writes the folder."""

from __future__ import annotations

from afrad_bench.site.write import Written, write_site

__all__ = ["Written", "write_site"]
