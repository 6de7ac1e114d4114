"""Is it real? Which shares moved and whether that is chance; label maturity, selective labels, calibration."""
