"""What was used and what it costs: a double-entry ledger, and the outcomes that write it."""
