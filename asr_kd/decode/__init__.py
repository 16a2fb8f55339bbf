"""The stage that turns log-posteriors into words."""
