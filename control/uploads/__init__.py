"""Uploads as facts tell them: their outcome, their deliveries, the end of their content."""
