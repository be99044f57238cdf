"""Where accounts want their files: one contract, a module for each kind."""
