"""What was decided, in the words that every reader gets: a terminal, a report, the service. Pure, and without markup."""
