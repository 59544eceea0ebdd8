"""Forms: what their files say, and whether that fits the CRM and the steps."""
