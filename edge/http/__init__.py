"""The HTTP door: one pure translator for each dialect, and the handlers that drive the intake."""
