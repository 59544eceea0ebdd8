"""A local mail catcher: takes every mail over SMTP, delivers none, and shows them in an inbox page."""
