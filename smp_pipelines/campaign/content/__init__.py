"""Content: what one person gets of a step, a mail or a page, made from templates and blocks; and its checks."""
