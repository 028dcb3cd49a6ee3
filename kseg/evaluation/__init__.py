"""How good a network's masks are, at the photos' own size: counts per photo, scores, intervals, comparisons."""
