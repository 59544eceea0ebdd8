"""Submissions: what visitors fill in, from a form to the CRM's tables, and what follows from it (F05, F06, F12)."""
