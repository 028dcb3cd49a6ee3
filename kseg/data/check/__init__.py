"""What is wrong with a data set, all of it in one pass over the files, and a copy with most of it mended.

``contents`` knows files by their bytes, ``listing`` folders by their names; ``examining`` looks at one sample (with
``masks`` and ``turning``), ``duplicates`` at all of them together; ``checking`` does everything and sums up, ``fixing``
writes the copy, pair by pair as ``mending`` says.
"""

from kseg.data.check.checking import Check, check_data
from kseg.data.check.findings import Finding, Kind, Severity
from kseg.data.check.fixing import fix_data

__all__ = ["Check", "Finding", "Kind", "Severity", "check_data", "fix_data"]
