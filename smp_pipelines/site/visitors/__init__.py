"""The pages for visitors: forms, pages, and what links in mails lead to."""
