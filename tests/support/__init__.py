"""What several test modules share: a small theatre, a mail server that does as it is told, processes, servers."""
