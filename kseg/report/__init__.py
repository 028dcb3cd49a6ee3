"""A training run, an evaluation or both as one HTML page that needs nothing else: see ``kseg.report.page``."""
