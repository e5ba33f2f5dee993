"""A support bot's day, twice: without and with Costguard. Run it with ``costguard demo``; read it as an example."""
